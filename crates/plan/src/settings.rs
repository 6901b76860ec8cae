//! The settings of a pipeline as a whole: epochs, memory, checkpoints, retries, history.
//!
//! What belongs to one source, transform or sink stands in its own section instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use contract::quantity::{ByteSize, Period};
use contract::section::Value;
use contract::spec::EPOCH_INTERVAL;
use contract::transform::MEMORY_BYTES;
use contract::{Error, Result, Section};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::document::Values;
use crate::idle::{self, Idle};
use crate::measure::{self, Measure};
use crate::schedule::Schedule;

/// The settings of a pipeline, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long an epoch lasts before its barrier.
    pub epoch_interval: Duration,
    /// How many bytes of records end an epoch early.
    pub epoch_bytes_max: u64,
    /// How many bytes batches, state and writers may hold together.
    pub memory_limit: u64,
    /// Where checkpoints live.
    pub checkpoint: stores::Settings,
    /// How long External errors are retried; none for the runtime's own limit.
    pub retry_for: Option<Duration>,
    /// What becomes of a run in which a split cannot be read.
    pub on_split_error: OnSplitError,
    /// How long the history of epochs is kept.
    pub history_keep: Duration,
    /// What `serve` shows.
    pub serve: Serve,
    /// When `serve` runs the pipeline; none if it does not.
    pub schedule: Option<Schedule>,
    /// Metrics under names of one's own.
    pub metrics: Vec<Measure>,
    /// Variables without effect.
    pub without_effect: Vec<Idle>,
}

/// When an epoch ends and is committed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Epoch {
    /// The longest that an epoch lasts before it is committed.
    interval: Period,
    /// Bytes of records after which an epoch is committed early.
    bytes_max: ByteSize,
}

impl Default for Epoch {
    fn default() -> Self {
        Self { interval: Period(EPOCH_INTERVAL), bytes_max: ByteSize(256 << 20) }
    }
}

/// How much memory the pipeline uses. Several in one process share the largest of their limits.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// Bytes that the pipeline may hold, in fixed shares: batches under way, states of steps, what
    /// writers gather, what is read ahead, what is on its way to sinks. Over them sources wait,
    /// epochs end earlier, and a state that is too large stops the run.
    limit: ByteSize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { limit: ByteSize(MEMORY_BYTES) }
    }
}

/// What happens when another system fails.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retry {
    /// How long a run that gets nowhere begins again before it stops. Without it a run that follows
    /// its sources tries for ever, and a run with an end for half a minute.
    #[serde(rename = "for")]
    for_period: Option<Period>,
}

/// The settings that stand at the top level themselves.
#[derive(Default, JsonSchema)]
#[serde(default)]
pub(crate) struct TopLevel {
    /// What becomes of a run in which a split (a file) cannot be read: `isolate` reads the others,
    /// names it and tries it again and again; `stop` begins again at the last checkpoint while the
    /// error may pass, and else stops.
    on_split_error: OnSplitError,

    /// Files of secrets for `${secret:path}`: YAML or JSON with mode 600. The first that has a
    /// secret gives it; `LOGMILL_SECRETS` goes before them, `secrets.json` in the data folder
    /// behind. Those that are empty or do not exist are left out.
    secrets: Vec<Option<String>>,

    /// Metrics under names that boards already use, made of ours: `name` or `name{label="value"}`
    /// to an expression such as `sum by (sink) (logmill_ledger_rows_total{column="lost"}) * 2`.
    /// It may have series by name and labels, `sum`, `sum by`, `+ - * /`, numbers, parentheses.
    metrics: BTreeMap<String, String>,

    /// Variables without effect, and why: settings of a system that this pipeline replaces, whose
    /// mechanism is gone. They may be set, in files of values too, and `check` names those that
    /// are. `FLUSH_*` is every name that begins with `FLUSH_`.
    without_effect: BTreeMap<String, String>,
}

/// What becomes of a run in which a split cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnSplitError {
    /// The others are read, and this one is tried again.
    #[default]
    Isolate,
    /// It is the failure of the run.
    Stop,
}

/// How far back epochs can be looked up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct History {
    /// How long checkpoints and ledger rows are kept.
    keep: Period,
}

impl Default for History {
    fn default() -> Self {
        Self { keep: Period(Duration::from_secs(30 * 24 * 3600)) }
    }
}

/// What `serve` shows of the pipeline, and to whom.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// The table that the analytics read. By default that of the pipeline's first sink of the
    /// backend's kind.
    pub table: Option<String>,

    /// The table's column of times.
    pub time: String,

    /// Where the table is.
    pub backend: ServeBackend,

    /// Lake: a folder or URL of the table. PostgreSQL: the database, as in the sink `postgres`.
    /// By default what the sink of that table says.
    pub url: Option<String>,

    /// PostgreSQL: the password, if it is not in `url`.
    pub password: Option<String>,

    /// Where `serve` listens, unless `--listen` says so: `127.0.0.1:8000`. An address that others
    /// can reach needs a token or TLS client certificates.
    pub listen: Option<String>,

    /// The word that requests must bring as `Authorization: Bearer`, unless `--token-file` names
    /// another; none if it is empty.
    pub token: Option<String>,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            table: None,
            time: "ts".to_owned(),
            backend: ServeBackend::Lake,
            url: None,
            password: None,
            listen: None,
            token: None,
        }
    }
}

/// Secrets are not for logs.
impl fmt::Debug for Serve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Serve")
            .field("table", &self.table)
            .field("time", &self.time)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Where the table of the analytics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServeBackend {
    /// A lake table.
    Lake,
    /// A table of PostgreSQL.
    Postgres,
}

/// Reads the settings from the top level of a pipeline file, which takes the variables `named`.
///
/// # Errors
/// Config, with place and setting.
pub(crate) fn read(root: &Section, named: &BTreeSet<String>) -> Result<Settings> {
    let epoch: Epoch = part(root, "epoch")?;
    let memory: Memory = part(root, "memory")?;
    let checkpoint = checkpoint(root)?;
    let retry: Retry = part(root, "retry")?;
    let history: History = part(root, "history")?;
    let top_level = TopLevel {
        on_split_error: part(root, "on_split_error")?,
        secrets: part(root, "secrets")?,
        metrics: BTreeMap::new(),
        without_effect: BTreeMap::new(),
    };
    let _: Values = part(root, "values")?;
    let serve: Serve = part(root, "serve")?;
    if epoch.interval.0.is_zero() {
        return Err(zero(root, "epoch", "interval"));
    }
    if epoch.bytes_max.0 == 0 {
        return Err(zero(root, "epoch", "bytes_max"));
    }
    if memory.limit.0 == 0 {
        return Err(zero(root, "memory", "limit"));
    }
    Ok(Settings {
        epoch_interval: epoch.interval.0,
        epoch_bytes_max: epoch.bytes_max.0,
        memory_limit: memory.limit.0,
        checkpoint,
        retry_for: retry.for_period.map(|period| period.0),
        on_split_error: top_level.on_split_error,
        history_keep: history.keep.0,
        serve,
        schedule: schedule(root)?,
        metrics: measure::read(root.get("metrics"))?,
        without_effect: idle::read(root.get("without_effect"), named)?,
    })
}

/// Where checkpoints live. What cannot be opened is refused where it stands, before anything else
/// begins.
fn checkpoint(root: &Section) -> Result<stores::Settings> {
    let checkpoint: stores::Settings = part(root, "checkpoint")?;
    // Without a place they lie in the data folder, whatever stands beside it.
    if checkpoint.url.is_none() {
        return Ok(checkpoint);
    }
    let section = root.get("checkpoint").unwrap_or(root);
    let checked = stores::check(&checkpoint).map_err(|error| {
        let setting = error.field_name().and_then(|field| section.get(field));
        within(error.at(setting.unwrap_or(section).place()), "checkpoint")
    });
    checked.map(|()| checkpoint)
}

fn schedule(root: &Section) -> Result<Option<Schedule>> {
    let is_empty = |part: &&Section| match part.value() {
        Value::Null => true,
        // What a variable is that nobody has set.
        Value::Text(text) => text.is_empty(),
        _ => false,
    };
    let written = root.get("schedule").filter(|part| !is_empty(part));
    let schedule = written.map(Schedule::read).transpose();
    schedule.map_err(|error| within(error, "schedule"))
}

/// Reads a part of the top level; without it, its default.
///
/// # Errors
/// Config, with place and setting.
pub(crate) fn part<T: Default + DeserializeOwned>(root: &Section, key: &str) -> Result<T> {
    match root.get(key) {
        Some(section) => section.read().map_err(|error| within(error, key)),
        None => Ok(T::default()),
    }
}

/// Puts the section's name before the setting's.
fn within(error: Error, key: &str) -> Error {
    let field = error.field_name().map_or_else(|| key.to_owned(), |field| format!("{key}.{field}"));
    error.context(format!("invalid setting {field:?}"))
}

fn zero(root: &Section, part: &str, key: &str) -> Error {
    let place = root.get(part).and_then(|section| section.get(key)).unwrap_or(root).place();
    Error::config("expected more than zero").at(place).field(format!("{part}.{key}"))
}
