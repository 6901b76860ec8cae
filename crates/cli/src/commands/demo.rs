//! `logmill demo`: the main job on generated data, from the log file to the audit.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use contract::error::Context;
use contract::{Error, Result};
use formats::sample::AccessLog;
use query::audit::Report;
use query::{Limits, Session};
use runtime::{Pipeline, Summary};
use serde::Serialize;
use serde_json::Value;

use super::{audit, run, serve};
use crate::arguments::Global;
use crate::failure::Exit;
use crate::output::{self, bars, rows, rows::visible};
use crate::{pipeline, signals};

const EXAMPLES: &str = "\
Examples:
  logmill demo
  logmill demo --serve
  logmill --data /tmp/demo demo && logmill --data /tmp/demo query \"SELECT * FROM demo LIMIT 5\"

The log, the pipeline file and the lake stay in the data folder, for a look around.";

const PIPELINE: &str = include_str!("../demo.yaml");
const LINES: u64 = 10_000;
const SEED: u64 = 1;
/// The fraction of lines that become dead letters.
const BROKEN: f64 = 0.001;
/// Cells of the longest bar.
const BAR_WIDTH: usize = 48;

const COUNTED: &str = "SELECT count(*) AS rows FROM demo";
const BY_STATUS: &str = "SELECT status AS label, count(*) AS number FROM demo GROUP BY status \
                         ORDER BY number DESC";
const BY_PATH: &str = "SELECT path AS label, count(*) AS number FROM demo GROUP BY path \
                       ORDER BY number DESC, label LIMIT 10";
const BY_HOUR: &str = "SELECT to_char(ts, '%H:00') AS label, count(*) AS number FROM demo \
                       GROUP BY label ORDER BY label";

/// Parse 10,000 generated requests into the lake, look at them, and prove that all are there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Demo {
    /// Go on to the dashboard, at this address.
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:8000"
    )]
    serve: Option<String>,
}

/// What the demonstration found.
#[derive(Serialize)]
struct Shown {
    log: PathBuf,
    pipeline: PathBuf,
    lines: u64,
    loaded: Summary,
    rows: u64,
    by_status: Vec<Bar>,
    by_path: Vec<Bar>,
    by_hour: Vec<Bar>,
    audit: Report,
}

#[derive(Serialize)]
struct Bar {
    label: String,
    number: u64,
}

pub async fn start(demo: &Demo, global: &Global) -> Result<Exit> {
    let folder = global.data.join("demo");
    let log = folder.join("access.log");
    let file = folder.join("demo.yaml");
    prepare(&folder, &log, &file)?;
    let bound = bind(&file, &global.data)?;
    let options = run::until_end(&bound, signals::stop()?, &global.data)?;
    let loaded = run::watched(bound, options, global).await?;
    let bound = bind(&file, &global.data)?;
    let checkpoints = pipeline::checkpoints(&bound).await?;
    let sinks = pipeline::audited(&bound, &checkpoints).await?;
    let audit = query::audit::audit(&bound.name, &sinks, &checkpoints).await?;
    let session = Session::open(&global.data, Limits::default())?;
    let shown = Shown {
        log,
        pipeline: file,
        lines: LINES,
        loaded,
        rows: count(&session).await?,
        by_status: ask(&session, BY_STATUS).await?,
        by_path: ask(&session, BY_PATH).await?,
        by_hour: ask(&session, BY_HOUR).await?,
        audit,
    };
    output::value(global, &shown, |out| print(&shown, global, out))?;
    if let Some(listen) = demo.serve.clone().filter(|_| shown.audit.complete) {
        let serve = serve::Serve::of(shown.pipeline.clone(), listen);
        return serve::start(&serve, global).await;
    }
    Ok(audit::exit(&shown.audit))
}

/// Writes the log and the pipeline file, unless they are there already.
fn prepare(folder: &Path, log: &Path, file: &Path) -> Result<()> {
    let mut lines = Vec::new();
    let mut sample = AccessLog::new(SEED, LINES).with_broken(BROKEN);
    sample.write_all(&mut lines).bug("memory refuses lines")?;
    fs::create_dir_all(folder).external(|| format!("could not make {:?}", text(folder)))?;
    write_once(log, &lines)?;
    let folder = folder.canonicalize().external(|| format!("could not find {:?}", text(folder)))?;
    let place = folder.join(log.file_name().unwrap_or_default());
    let quoted = serde_json::to_string(&text(&place)).bug("a path is no text")?;
    write_once(file, PIPELINE.replace("\"${DEMO_LOG}\"", &quoted).as_bytes())
}

fn write_once(file: &Path, content: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|found| found == content) {
        return Ok(());
    }
    fs::write(file, content).external(|| format!("could not write {:?}", text(file)))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn bind(file: &Path, data: &Path) -> Result<Pipeline> {
    Ok(pipeline::load(file, data)?.pipeline)
}

async fn count(session: &Session) -> Result<u64> {
    let rows = rows::collect(session.query(COUNTED).await?).await?;
    let count = rows.first().and_then(|row| row.get("rows")?.as_u64());
    count.ok_or_else(|| Error::bug("a count has no number"))
}

async fn ask(session: &Session, sql: &str) -> Result<Vec<Bar>> {
    let rows = rows::collect(session.query(sql).await?).await?;
    let bars = rows.iter().map(|row| Bar {
        label: match &row["label"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        number: row["number"].as_u64().unwrap_or_default(),
    });
    Ok(bars.collect())
}

fn print(shown: &Shown, global: &Global, out: &mut output::Stdout) -> io::Result<()> {
    match shown.loaded.read {
        0 => writeln!(out, "Nothing to load: all {} lines were loaded before.", shown.lines)?,
        read => {
            let lines = output::plain(read, "line");
            writeln!(out, "{lines} of {} loaded.", shown.log.display())?
        }
    }
    writeln!(out, "The table demo holds {}.", output::plain(shown.rows, "row"))?;
    let parts = [
        ("Requests by status", &shown.by_status),
        ("Top paths", &shown.by_path),
        ("Hits per hour of the day (UTC)", &shown.by_hour),
    ];
    for (title, numbers) in parts {
        writeln!(out, "\n{title}")?;
        let shown = numbers.iter().map(|bar| (visible(&bar.label), bar.number));
        bars::print(out, &shown.collect::<Vec<_>>(), BAR_WIDTH)?;
    }
    writeln!(out)?;
    audit::print(&shown.audit, out)?;
    writeln!(out, "\nNext:")?;
    let data = match global.data.to_str() {
        Some("./logmill-data") | None => String::new(),
        Some(data) => format!(" --data {data}"),
    };
    writeln!(out, "  logmill{data} query \"SELECT ua_browser, count(*) FROM demo GROUP BY 1\"")?;
    writeln!(out, "  logmill{data} dead-letters list")?;
    writeln!(out, "  logmill{data} audit {}", shown.pipeline.display())
}
