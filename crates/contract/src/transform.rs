//! The contract of a transform: batches in, batches out, nothing else.
//!
//! Pure: no I/O, no clock but the epoch's, no randomness. The same batches in the same order give
//! the same batches again, or recovery would double or lose records.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::Result;
use crate::sink::Room;
use crate::source::Reject;

/// A checked step of a plan: knows its columns and makes its workers.
pub trait Step: Send + Sync {
    /// What comes out. One port for most steps; `route` has one for each of its outputs.
    fn ports(&self) -> &[Port];

    /// Whether rows meet inside the step. A stateless step runs in the task of each split; a
    /// stateful one runs in a task of its own, fed in the recorded order.
    fn stateful(&self) -> bool {
        false
    }

    /// Whether what comes out of the first port is made at the end of an epoch, of many rows that
    /// went in ([`Transform::close`]). Such rows are records of a split of their own. They are kept
    /// before their epoch is decided, so that a replay makes none of them anew.
    fn makes_records(&self) -> bool {
        false
    }

    /// How many columns tell apart what it makes of many rows; they come first.
    fn key_columns(&self) -> usize {
        0
    }

    /// The event time by which the step closes what it makes; none if it needs none.
    fn event_time(&self) -> Option<&EventTime> {
        None
    }

    /// Whether a column of what comes out, by any port, is the one of this name that came in, for
    /// every row: so that its times can be looked at before.
    fn passes_on(&self, _column: &str) -> bool {
        false
    }

    /// The port by which rows leave that came too late for what the step makes.
    fn late_port(&self) -> Option<usize> {
        None
    }

    /// The files whose content changes what comes out.
    fn resources(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// Makes a worker that keeps to these means. Called once per task and attempt; expensive tables
    /// are shared.
    ///
    /// # Errors
    /// Config stops the run.
    fn build(&self, means: Means) -> Result<Box<dyn Transform>>;
}

/// What a worker may use. What comes out must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// The memory of the whole pipeline, in bytes.
    pub memory_bytes: u64,
    /// The memory that was divided among the pipelines of the process, in bytes: what people set.
    pub memory_limit: u64,
    /// Bytes of it that the worker's state may take; whatever grows beyond stops the run.
    pub state_bytes: u64,
}

impl Default for Means {
    fn default() -> Self {
        let memory_limit = MEMORY_BYTES;
        Self { memory_bytes: MEMORY_BYTES, memory_limit, state_bytes: MEMORY_BYTES }
    }
}

/// The memory of a pipeline whose file does not say, in bytes.
pub const MEMORY_BYTES: u64 = 256 << 20;

/// One output of a step.
#[derive(Clone, Debug)]
pub struct Port {
    /// The name after the step's own (`steps.errors`); empty for the step itself.
    pub name: Arc<str>,
    /// The columns of every batch that comes out here.
    pub schema: SchemaRef,
}

/// A file that a step reads, kept by content while a live checkpoint names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// How far event time has come is measured so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTime {
    /// The column of points in time.
    pub column: String,
    /// How far rows of one split may stand behind the greatest time of it before they are late.
    pub disorder: Duration,
    /// A split that has nothing more to give for so long holds nobody back.
    pub idle: Duration,
    /// Rows further ahead of the epoch's `now()` tell nothing, and are refused.
    pub ahead_max: Duration,
    /// How long a split that cannot be read holds the others back; 0 for ever.
    pub hold_max: Duration,
}

/// How much of what went into a step it makes rows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What is over at this point in time, in microseconds since 1970; nothing where there is none
    /// yet. Steps without an event time make rows of everything.
    Until(Option<i64>),
    /// Everything that is over by the clock.
    Past,
    /// Everything.
    All,
}

/// What went into a step and did not come out yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows, once for each window that they went into.
    pub rows: u64,
    /// Windows.
    pub windows: u64,
    /// When the first of them is closed, in microseconds since 1970.
    pub first_us: Option<i64>,
    /// When the last of them is.
    pub last_us: Option<i64>,
    /// How far event time has come.
    pub watermark_us: Option<i64>,
}

/// What an epoch is and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Its number, from 1.
    pub epoch: u64,
    /// Its `now()` in microseconds since 1970, recorded in the checkpoint; never goes back.
    pub now_us: i64,
}

/// The worker of a step, used by one task.
pub trait Transform: Send {
    /// Called before the first batch of every epoch.
    ///
    /// # Errors
    /// Bug stops the run.
    fn start_epoch(&mut self, _epoch: EpochStart) -> Result<()> {
        Ok(())
    }

    /// Takes the rows of one split and puts what becomes of them into `out`.
    ///
    /// Every row must be accounted for: rows in + expanded = rows out + filtered + deduplicated +
    /// aggregated + rejected; the runtime checks it. A row that cannot be converted is a reject,
    /// not an error.
    ///
    /// # Errors
    /// Bug stops the run before anything else is written.
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()>;

    /// Puts the rows into `out` that are made of what went in, at a barrier; called only for a step
    /// that [makes records](Step::makes_records). They leave by its first port and count from
    /// position 0, those among them that are refused as well: the runtime numbers them on.
    ///
    /// # Errors
    /// Bug stops the run before anything else is written.
    fn close(&mut self, _close: Close, _out: &mut Output) -> Result<()> {
        Ok(())
    }

    /// What went in and did not come out yet.
    fn held(&self) -> Held {
        Held::default()
    }

    /// How far event time had come at the last barrier. Called once, after the state was restored,
    /// for a step with an [event time](Step::event_time).
    fn begin_at(&mut self, _watermark_us: Option<i64>) {}

    /// Whether there is room for more rows before the next barrier. Without, the epoch ends early.
    fn room(&self) -> Room {
        Room::Left
    }

    /// The state at a barrier; none for a stateless step.
    ///
    /// # Errors
    /// Bug stops the run.
    fn snapshot(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Takes up a state that [`Transform::snapshot`] gave.
    ///
    /// # Errors
    /// Bug: the state is not ours.
    fn restore(&mut self, _state: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What came of one batch.
#[derive(Debug, Default)]
pub struct Output {
    /// Rows that go on, with the number of the port that they leave by.
    pub batches: Vec<(usize, RecordBatch)>,
    /// Rows beyond the first made of one record.
    pub expanded: u64,
    /// Rows that a condition left out.
    pub filtered: u64,
    /// Rows that stood before.
    pub deduplicated: u64,
    /// Rows that went into what is made of many ([`Transform::close`]).
    pub aggregated: u64,
    /// The same, once for each window that they went into.
    pub entered: u64,
    /// Rows that went into some of their windows and came too late for others, once for each of
    /// the latter.
    pub missed: u64,
    /// Rows of which something was made at the end of an epoch, once for each window.
    pub closed: u64,
    /// Rows that are refused, with the reason.
    pub rejects: Vec<Reject>,
    /// Bytes that the state of the step takes in memory now, about.
    pub state_bytes: u64,
}

impl Output {
    /// Sends rows out by the step's first port.
    pub fn push(&mut self, batch: RecordBatch) {
        self.push_to(0, batch);
    }

    /// Sends rows out by a port.
    pub fn push_to(&mut self, port: usize, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.batches.push((port, batch));
        }
    }
}
