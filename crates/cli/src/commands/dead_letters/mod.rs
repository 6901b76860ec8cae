//! `logmill dead-letters`: the records that a step or a sink refused, why, and how they come in
//! after all.

mod acknowledge;
pub mod replay;
pub mod requests;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use contract::{Error, Result};
use desk::quoted;
use query::{Limits, Session};
use serde_json::Value;

use crate::arguments::{self, Global};
use crate::failure::Exit;
use crate::origins::{self, Chosen};
use crate::output::{self, rows, rows::visible};

const EXAMPLES: &str = "\
Examples:
  logmill dead-letters list
  logmill dead-letters list --pipeline web --limit 20
  logmill dead-letters show '/var/log/nginx/access.log@4096'
  logmill dead-letters replay web.yaml           once the pipeline file is right
  logmill dead-letters replay web.yaml --reason 'no status'
  logmill dead-letters ack web.yaml 'access.log@4096'     not needed any more
  logmill query \"SELECT reason, count(*) FROM dead_letters GROUP BY reason\"";

/// Look at records that were refused, and give them again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List open dead letters, the newest first.
    List {
        /// Only those of this pipeline.
        #[arg(long)]
        pipeline: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = arguments::at_least_one)]
        limit: usize,
        /// Also those that were replayed or closed.
        #[arg(long)]
        all: bool,
        /// Whole reasons and originals, however long; JSON always has them.
        #[arg(long)]
        full: bool,
    },
    /// Show everything about the dead letters of one record.
    Show {
        /// Its origin, `split@position`, as `list` prints it; a file also by its path from here.
        /// `#number` behind it names one of several rows of the record.
        id: String,
    },
    Replay(replay::Replay),
    #[command(name = "ack")]
    Acknowledge(acknowledge::Acknowledge),
}

pub async fn start(letters: &DeadLetters, global: &Global) -> Result<Exit> {
    let session = Session::open(&global.data, Limits::default())?;
    match &letters.action {
        Action::List { pipeline, limit, all, full } => {
            let found = session.query(&list(pipeline.as_deref(), *limit, *all)).await?;
            let count = match full {
                true => rows::print(found, global.format, rows::open(None)?).await?,
                // An origin that is cut off names no record.
                false => rows::print_short(found, global.format, "id").await?,
            };
            if count == 0 {
                output::remark(global, &none(pipeline.as_deref(), *all, &global.data));
            }
        }
        Action::Show { id } => show(&session, id, global).await?,
        Action::Replay(replay) => return replay::start(replay, global).await,
        Action::Acknowledge(letters) => {
            return acknowledge::start(letters, &session, global).await;
        }
    }
    Ok(Exit::Done)
}

fn list(pipeline: Option<&str>, limit: usize, all: bool) -> String {
    let of_pipeline = pipeline.map(|name| format!("pipeline = {}", quoted(name)));
    let open = (!all).then(|| "state = 'open'".to_owned());
    let conditions: Vec<_> = of_pipeline.into_iter().chain(open).collect();
    let condition = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let state = if all { "state, " } else { "" };
    format!(
        "SELECT concat(split, '@', position, CASE WHEN ordinal > 0 THEN concat('#', ordinal) END) \
         AS id, ts, pipeline, step, sink, {state}reason, original FROM dead_letters {condition} \
         ORDER BY ts DESC, split, position, ordinal LIMIT {limit}"
    )
}

/// What is said where there is nothing to list.
fn none(pipeline: Option<&str>, all: bool, data: &Path) -> String {
    if !data.is_dir() {
        return format!(
            "no dead letters: there is no data folder {:?}",
            data.display().to_string()
        );
    }
    let open = if all { "" } else { "open " };
    let of = pipeline.map(|name| format!(" of pipeline {name:?}")).unwrap_or_default();
    format!("no {open}dead letters{of}")
}

/// All dead letters of a record, open or not; those of one pipeline, or of any.
///
/// # Errors
/// Config: it is no origin, or there is none.
async fn of_record(session: &Session, id: &str, pipeline: Option<&str>) -> Result<Vec<Value>> {
    let is_it = |Chosen { origin, ordinal }: &Chosen| {
        let row = ordinal.map(|ordinal| format!(" AND ordinal = {ordinal}")).unwrap_or_default();
        let split = quoted(origin.split.as_str());
        format!("(split = {split} AND position = {}{row})", origin.position)
    };
    let forms = origins::required(id)?.iter().map(is_it).collect::<Vec<_>>();
    let of = pipeline.map(|name| format!(" AND pipeline = {}", quoted(name))).unwrap_or_default();
    let sql = format!(
        "SELECT * FROM dead_letters WHERE ({}){of} ORDER BY ts, ordinal",
        forms.join(" OR ")
    );
    let found = session.query(&sql).await?;
    let letters = rows::collect(found).await?;
    if letters.is_empty() {
        let of = pipeline.map(|name| format!(" of pipeline {name:?}")).unwrap_or_default();
        return Err(Error::config(format!("no dead letter{of} has the origin {id:?}"))
            .hint("`logmill dead-letters list` shows those there are"));
    }
    Ok(letters)
}

async fn show(session: &Session, id: &str, global: &Global) -> Result<()> {
    let letters = of_record(session, id, None).await?;
    output::list(global, &letters, |out| letters.iter().try_for_each(|letter| print(letter, out)))
}

fn print(letter: &Value, out: &mut output::Stdout) -> std::io::Result<()> {
    for (name, value) in letter.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => writeln!(out, "{name:<9} {}", visible(text))?,
            other => writeln!(out, "{name:<9} {other}")?,
        }
    }
    writeln!(out)
}
