//! SQL of strangers, each query in a process of its own.
//!
//! No library can bound what an expression allocates (`repeat`, a chain of `concat`), and a defect
//! in one must not end the server. So a query runs in a child that may read tables and nothing
//! else, watches its own memory, and is killed when its time is over or its client has left. What
//! it spills to disk lies in a folder of the server, which removes it whatever becomes of the
//! child.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use contract::error::Context;
use contract::{Error, ErrorKind, Result};
use futures::StreamExt;
use query::spill::SpillFolder;
use query::{Elsewhere, Limits, Session};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::runtime::Handle;
use utoipa::ToSchema;

use crate::problem::{Answer, Problem};

/// Bytes of an answer; the rows after them are left out.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes that the server reads from a child.
const OUTPUT_BYTES_MAX: u64 = 4 * ANSWER_BYTES_MAX as u64;
/// How often a child looks how much memory it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How a child ends that took too much memory.
const OUT_OF_MEMORY: i32 = 86;
/// How a child ends whose server is gone.
const ORPHANED: i32 = 87;
/// What a child may hold beyond its query's memory: batches under way, buffers of files.
const MEMORY_BESIDE: u64 = 128 << 20;

/// A query as a child is asked it.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    #[serde(flatten)]
    ask: Ask,
    /// Where it spills to.
    spill: PathBuf,
    /// The process that asks.
    server: u32,
}

/// A query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The data folder.
    pub data: PathBuf,
    /// The query.
    pub sql: String,
    /// Rows at most.
    pub rows_max: usize,
    /// Bytes that sorts, joins and groups may hold before they spill to disk.
    pub memory_bytes: usize,
    /// Time until the answer.
    pub time_ms: u64,
}

/// Why a query has no answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Fault {
    /// The query is wrong.
    Query,
    /// It needs more than it may have, or what it reads is damaged.
    Means,
    /// A store or a disk failed, and may answer the next time.
    Store,
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// The rows.
    Rows(Table),
    /// Why there are none.
    Refused {
        /// What is at fault.
        fault: Fault,
        /// What was wrong.
        detail: String,
        /// The way out.
        hint: Option<String>,
    },
}

/// The rows of a query.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Table {
    /// The columns.
    pub columns: Vec<TableColumn>,
    /// The rows, each with a value for each column.
    #[schema(value_type = Vec<Vec<Value>>)]
    pub rows: Vec<Vec<Value>>,
    /// Whether rows were left out.
    pub truncated: bool,
    /// How long it took.
    pub seconds: f64,
}

/// A column of an answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// `text`, `number`, `time`, `boolean`, or what it is in Arrow's words.
    pub r#type: String,
}

/// Asks a query of a child process. Dropping this kills it.
///
/// # Errors
/// 400: the query is wrong. 422: it needs more than it may have. 503.
pub async fn ask(command: std::process::Command, ask: &Ask) -> Answer<Table> {
    let failed = |error: std::io::Error| {
        tracing::warn!(%error, "could not run a query");
        Problem::busy("the query could not be run")
    };
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let spill = SpillFolder::make(&ask.data).map_err(|error| {
        tracing::warn!(error = error.chain(), "could not run a query");
        Problem::busy("the query could not be run")
    })?;
    let asked =
        Asked { ask: ask.clone(), spill: spill.path().to_owned(), server: std::process::id() };
    let child = command.spawn().map_err(failed)?;
    let mut worker = Worker { child: Some(child), spill: Some(spill) };
    let Some(child) = &mut worker.child else { return Err(Problem::busy("no process")) };
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(Problem::busy("the query could not be run"));
    };
    let asked = serde_json::to_vec(&asked).unwrap_or_default();
    let talk = async {
        stdin.write_all(&asked).await?;
        drop(stdin);
        let mut said = Vec::new();
        stdout.take(OUTPUT_BYTES_MAX).read_to_end(&mut said).await?;
        Ok::<_, std::io::Error>((said, child.wait().await?))
    };
    let limit = Duration::from_millis(ask.time_ms);
    let Ok(talked) = tokio::time::timeout(limit, talk).await else { return Err(too_long(limit)) };
    let (said, status) = talked.map_err(failed)?;
    if status.code() == Some(OUT_OF_MEMORY) {
        return Err(too_large());
    }
    match serde_json::from_slice(&said) {
        Ok(Told::Rows(table)) => Ok(table),
        Ok(Told::Refused { fault, detail, hint }) => {
            let problem = match fault {
                Fault::Query => Problem::bad_request(detail),
                Fault::Means => Problem::too_much(detail),
                Fault::Store => Problem::busy(detail),
            };
            Err(match hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            })
        }
        // Memory that the system did not give, or a defect that the query found.
        Err(_) => Err(Problem::too_much("the query ended its process").hint("ask for less")),
    }
}

/// A child; dropped, it is killed and buried, and then what it spilled is removed.
struct Worker {
    child: Option<Child>,
    spill: Option<SpillFolder>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let (Some(mut child), Ok(tasks)) = (self.child.take(), Handle::try_current()) else {
            return;
        };
        let spill = self.spill.take();
        tasks.spawn(async move {
            // One that has ended is gone already.
            let _ = child.kill().await;
            // Much may lie there.
            tokio::task::spawn_blocking(move || drop(spill));
        });
    }
}

fn too_long(limit: Duration) -> Problem {
    Problem::too_much(format!("the query took longer than {} s", limit.as_secs()))
        .hint("ask for less: a condition on time, fewer columns, no join")
}

fn too_large() -> Problem {
    Problem::too_much("the query needs more memory than it may have")
        .hint("ask for fewer groups or shorter texts")
}

/// Answers one query: what a child does. `elsewhere` is what lies outside of the data folder.
///
/// # Errors
/// External: the server does not say what to do, or does not listen.
pub async fn answer(elsewhere: impl FnOnce(&Path) -> Elsewhere) -> Result<()> {
    let mut asked = Vec::new();
    std::io::stdin().lock().read_to_end(&mut asked).external(|| "no query came".into())?;
    let Asked { ask, spill, server } =
        serde_json::from_slice(&asked).external(|| "no query came".into())?;
    watch(ask.memory_bytes as u64 + MEMORY_BESIDE, server);
    let limits = Limits { memory_bytes: ask.memory_bytes, time: None };
    let session = Session::closed(&ask.data, limits, elsewhere(&ask.data), &spill)?;
    let told = match run(&session, &ask).await {
        Ok(table) => Told::Rows(table),
        Err(error) => refused(&error, &session),
    };
    let told = serde_json::to_vec(&told).bug("an answer is no JSON")?;
    std::io::stdout().lock().write_all(&told).external(|| "nobody takes the answer".into())
}

/// An error in words that name no place of this machine.
fn refused(error: &Error, session: &Session) -> Told {
    if error.kind() != ErrorKind::Config {
        let fault = if error.retry() { Fault::Store } else { Fault::Means };
        return Told::Refused { fault, detail: error.to_string(), hint: None };
    }
    let detail = error.chain();
    let hint = match detail.starts_with("there is no table") {
        true => Some(format!("the tables are {}", session.tables().join(", "))),
        false => error.hint_text().map(str::to_owned),
    };
    Told::Refused { fault: Fault::Query, detail, hint }
}

async fn run(session: &Session, ask: &Ask) -> Result<Table> {
    let begun = Instant::now();
    let mut found = session.select(&ask.sql).await?;
    let columns = found.schema.fields().iter().map(|field| TableColumn {
        name: field.name().clone(),
        r#type: type_word(field.data_type()),
    });
    let mut table =
        Table { columns: columns.collect(), rows: Vec::new(), truncated: false, seconds: 0.0 };
    let mut bytes = 0;
    while let Some(batch) = found.batches.next().await {
        let batch = batch?;
        let room = ask.rows_max - table.rows.len();
        let taken = batch.slice(0, batch.num_rows().min(room));
        let written = write(&taken)?;
        bytes += written.len();
        if bytes > ANSWER_BYTES_MAX {
            table.truncated = true;
            break;
        }
        table.rows.extend(rows(&written, taken.num_columns())?);
        if batch.num_rows() > room {
            table.truncated = true;
            break;
        }
    }
    table.seconds = begun.elapsed().as_secs_f64();
    Ok(table)
}

/// A batch as JSON, under names that differ, whatever the query calls its columns.
fn write(batch: &RecordBatch) -> Result<Vec<u8>> {
    let schema = batch.schema();
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| field.as_ref().clone().with_name(at.to_string()));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let renamed = RecordBatch::try_new_with_options(
        schema.into(),
        batch.columns().to_vec(),
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    );
    let renamed = renamed.bug("a batch does not fit its columns")?;
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let unwritable = |error| {
        Error::config("a column has a type that cannot be shown; cast it to text").because(error)
    };
    writer.write(&renamed).map_err(unwritable)?;
    writer.finish().map_err(unwritable)?;
    Ok(writer.into_inner())
}

fn rows(written: &[u8], columns: usize) -> Result<Vec<Vec<Value>>> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let parsed: Vec<serde_json::Map<String, Value>> =
        serde_json::from_slice(written).bug("rows are no JSON")?;
    let row = |mut row: serde_json::Map<String, Value>| {
        (0..columns).map(|at| row.remove(&at.to_string()).unwrap_or_default()).collect()
    };
    Ok(parsed.into_iter().map(row).collect())
}

fn type_word(data_type: &DataType) -> String {
    match crate::analytics::cell::kind_of(data_type) {
        Some(kind) => kind.word().to_owned(),
        None => data_type.to_string(),
    }
}

/// Ends the process once it holds so many bytes more than now, or the server is gone.
fn watch(bytes_max: u64, server: u32) {
    let limit = resident().map(|now| now + bytes_max);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            if std::os::unix::process::parent_id() != server {
                std::process::exit(ORPHANED);
            }
            if limit.zip(resident()).is_some_and(|(limit, bytes)| bytes > limit) {
                std::process::exit(OUT_OF_MEMORY);
            }
        }
    });
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}
