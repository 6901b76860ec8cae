//! `logmill dead-letters`: the records that a step or a sink refused, and why.

use std::io::Write;

use clap::{Args, Subcommand};
use contract::{Error, Origin, Result};
use query::{Limits, Session};
use serde_json::Value;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::output::{self, rows, rows::visible};

const EXAMPLES: &str = "\
Examples:
  logmill dead-letters list
  logmill dead-letters list --pipeline web-logs --limit 20
  logmill dead-letters show '/var/log/nginx/access.log@4096'
  logmill query \"SELECT reason, count(*) FROM dead_letters GROUP BY reason\"";

/// Look at records that were refused.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, the newest first.
    List {
        /// Only those of this pipeline.
        #[arg(long)]
        pipeline: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show everything about the dead letters of one record.
    Show {
        /// Its origin, `split@position`, as `list` prints it.
        id: String,
    },
}

pub async fn start(letters: &DeadLetters, global: &Global) -> Result<Exit> {
    let session = Session::open(&global.data, Limits::default())?;
    match &letters.action {
        Action::List { pipeline, limit } => {
            let found = session.query(&list(pipeline.as_deref(), *limit)).await?;
            rows::print(found, global.format, rows::open(None)?).await?;
        }
        Action::Show { id } => show(&session, id, global).await?,
    }
    Ok(Exit::Done)
}

fn list(pipeline: Option<&str>, limit: usize) -> String {
    let condition = pipeline.map(|name| format!("WHERE pipeline = {}", quoted(name)));
    format!(
        "SELECT concat(split, '@', position) AS id, ts, pipeline, step, sink, reason, original \
         FROM dead_letters {} ORDER BY ts DESC, split, position LIMIT {limit}",
        condition.unwrap_or_default()
    )
}

async fn show(session: &Session, id: &str, global: &Global) -> Result<()> {
    let origin = Origin::parse(id).ok_or_else(|| {
        Error::config(format!("{id:?} is no origin")).hint("write it as `split@position`")
    })?;
    let sql = format!(
        "SELECT * FROM dead_letters WHERE split = {} AND position = {}",
        quoted(origin.split.as_str()),
        origin.position
    );
    let found = session.query(&sql).await?;
    let letters = rows::collect(found).await?;
    if letters.is_empty() {
        return Err(Error::config(format!("no dead letter has the origin {id:?}"))
            .hint("`logmill dead-letters list` shows those there are"));
    }
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

/// A text as SQL writes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
