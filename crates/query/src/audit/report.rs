//! What an audit says.

use contract::sink::Proof;
use serde::Serialize;

/// The audit of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether every sink that can be read back holds exactly what the ledger says, and no decided
    /// epoch waits for somebody to finish it.
    pub complete: bool,
    /// How far was looked, by lineage.
    pub lineages: Vec<Complete>,
    /// The epochs that were decided, that some sink lacks, and that nobody is delivering.
    pub unfinished: Vec<Unfinished>,
    /// Each sink, dead letters included.
    pub sinks: Vec<SinkReport>,
    /// What went to sinks that the file does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
}

/// What a sink got that is not in the pipeline file any more, or has another name there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// The sink's name in the ledger.
    pub sink: String,
    /// Its type, where that was noted.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The place where it wrote last, where that was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Rows that were delivered there. Nobody looked whether they still are.
    pub rows: u64,
}

/// The newest epoch of a lineage that every sink is known to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Complete {
    /// The lineage's name.
    pub lineage: String,
    /// The epoch; 0 where none is complete.
    pub epoch: u64,
}

/// A decided epoch that nobody is known to have finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The lineage's name.
    pub lineage: String,
    /// The epoch.
    pub epoch: u64,
    /// What its rows were prepared for and is not there; else the next start finishes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// A table, topic, index or bucket that rows of a sink went to and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// The sink.
    pub sink: String,
    /// Its name.
    pub place: String,
}

/// The audit of one sink.
#[derive(Clone, Debug, Serialize)]
pub struct SinkReport {
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// What can be proved about it.
    pub proof: Proof,
    /// Rows that it should hold.
    pub expected: u64,
    /// Rows that it holds.
    pub found: u64,
    /// Rows that it should hold and does not.
    pub missing: u64,
    /// Rows that it holds more than once, each repetition counted.
    pub duplicate: u64,
    /// Rows that it holds and should not.
    pub unexpected: u64,
    /// Rows without an origin: somebody else's.
    pub foreign: u64,
    /// Rows that were given up with `--accept-loss`, because they could not be read again: it
    /// should not hold them.
    pub lost: u64,
    /// Where the differences are.
    #[serde(rename = "ranges")]
    pub differences: Vec<Difference>,
    /// What its rows went into that is not what stands there now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// Rows of epochs of which there is no checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<Unexplained>,
    /// Epochs that it did not see while it was not in the pipeline file; it lacks their rows, and
    /// should not hold them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Missed>,
    /// Where it wrote before, and went on elsewhere on the operator's word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Moved>,
    /// Rows that went to these places and that it does not hold: nobody looked there. It need not
    /// hold them.
    pub away: u64,
    /// Why it could not be read; the numbers then say nothing of what it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// Rows of epochs that no checkpoint has decided, also after the sink was read: they are among
/// those that are not expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexplained {
    /// The lineages whose checkpoints are missing.
    pub lineages: Vec<String>,
    /// The newest epoch of which they have one; 0 where they have none at all.
    pub decided: u64,
    /// The first epoch whose rows are there.
    pub from: u64,
    /// The newest one.
    pub until: u64,
    /// How many rows.
    pub rows: u64,
}

/// Epochs that a sink did not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Whose epochs they are.
    pub lineage: String,
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// A place where a sink wrote before, and the epochs whose rows went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Whose epochs they are.
    pub lineage: String,
    /// The sink's type then.
    #[serde(rename = "type")]
    pub kind: String,
    /// The place, where it was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The first epoch.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// Rows that were delivered there.
    pub rows: u64,
}

/// Why a sink could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// What was tried, and what came of it.
    pub error: String,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Report {
    /// Whether something is known to be wrong; else it is complete, or a sink could not be read.
    pub fn differs(&self) -> bool {
        !self.unfinished.is_empty() || self.sinks.iter().any(SinkReport::differs)
    }
}

/// A table, topic, index or bucket that was deleted, or renamed away, and in whose place there is
/// another one now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Whose rows went into it.
    pub lineage: String,
    /// Its name.
    pub place: String,
    /// Its id.
    pub was: String,
    /// The id of the one that has its name now.
    pub now: String,
    /// The first epoch whose rows went into it.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many rows went into it, as far as they were counted.
    pub rows: u64,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It should be there.
    Missing,
    /// It is there more than once.
    Duplicate,
    /// It should not be there.
    Unexpected,
}

/// Rows of one split and epoch that are wrong in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is wrong.
    pub kind: DifferenceKind,
    /// The split; empty for all that no checkpoint knows any more, of which only sums are kept.
    pub split: String,
    /// The epoch; 0 for all epochs before the ledger's own memory.
    pub epoch: u64,
    /// How many rows.
    pub rows: u64,
    /// The first position that may be concerned.
    pub from: i64,
    /// The position after the last.
    pub to: i64,
}

impl SinkReport {
    /// The report of a sink of which nothing is known yet.
    pub(super) fn new(sink: &str, proof: Proof) -> Self {
        Self {
            sink: sink.to_owned(),
            proof,
            expected: 0,
            found: 0,
            missing: 0,
            duplicate: 0,
            unexpected: 0,
            foreign: 0,
            lost: 0,
            differences: Vec::new(),
            replaced: Vec::new(),
            unexplained: None,
            gaps: Vec::new(),
            moved: Vec::new(),
            away: 0,
            unreadable: None,
        }
    }

    /// Takes back of the rows that need not be here those that are.
    pub(super) fn bring(&mut self, rows: u64) {
        self.away -= rows.min(self.away);
        self.expected += rows;
    }

    /// Counts the differences; rows that were rejected after their delivery are not missing.
    pub(super) fn add_up(&mut self, rejected_after: u64) {
        let count = |kind| {
            let same = self.differences.iter().filter(|difference| difference.kind == kind);
            same.map(|difference| difference.rows).sum::<u64>()
        };
        let missing = count(DifferenceKind::Missing);
        let duplicate = count(DifferenceKind::Duplicate);
        let unexpected = count(DifferenceKind::Unexpected);
        self.missing = missing.saturating_sub(rejected_after);
        self.duplicate = duplicate;
        self.unexpected = unexpected;
        if self.missing == 0 {
            self.differences.retain(|difference| difference.kind != DifferenceKind::Missing);
        }
    }

    /// Whether nothing is wrong, as far as the sink can be read back, and it was read.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_none() && !self.differs()
    }

    /// Whether something is wrong that the epochs which are known may explain.
    pub(super) fn differs_in_known(&self) -> bool {
        let unexplained = self.unexplained.as_ref().map_or(0, |unexplained| unexplained.rows);
        let unexpected = self.unexpected - unexplained.min(self.unexpected);
        Self { unexpected, ..self.clone() }.differs()
    }

    /// Whether something is known to be wrong. Rows that went into something else than what stands
    /// there now are there only where their origins prove it.
    pub fn differs(&self) -> bool {
        let is_there = self.proof == Proof::Origin || self.replaced.is_empty();
        self.missing > 0 || self.duplicate > 0 || self.unexpected > 0 || !is_there
    }
}
