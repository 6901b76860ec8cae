//! The ledger: what was read and what became of it, per epoch, split and sink.
//!
//! The rows live in the checkpoints, written by the very decision that they describe; the table
//! `ledger` is a view over them. What is packed or folded lies there by column (`columns`).

pub mod columns;

use contract::{Error, Result};
use serde::{Deserialize, Serialize};

/// The names of all counts, as columns, in the order of [`Counts::values`].
pub const COUNTS: [&str; 11] = [
    "read",
    "expanded",
    "delivered",
    "filtered",
    "deduplicated",
    "late",
    "aggregated",
    "dead_lettered",
    "rejected_after",
    "staged",
    "lost",
];

/// The split of a row that counts those of a family, or of a source, that are not known any more.
pub const GONE: &str = "";

/// The counts of one split for one sink in one epoch, in rows that carry their origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read.
    pub read: u64,
    /// Rows beyond the first made of one record, and all that a step made of many.
    pub expanded: u64,
    /// Rows that the sink accepted.
    pub delivered: u64,
    /// Rows that a condition left out or a route sent elsewhere.
    pub filtered: u64,
    /// Rows that stood before.
    pub deduplicated: u64,
    /// Rows behind the watermark.
    pub late: u64,
    /// Rows that went into a window.
    pub aggregated: u64,
    /// Rows that a step or the sink refused.
    pub dead_lettered: u64,
    /// Rows booked as delivered before and dead-lettered or lost now.
    pub rejected_after: u64,
    /// Rows of `delivered` that are not published yet.
    pub staged: u64,
    /// Records that can no longer be read.
    pub lost: u64,
}

impl Counts {
    /// The law of conservation (EPOCH §7).
    ///
    /// # Errors
    /// Bug, with both sides of the equation.
    pub fn check(&self, split: &str, sink: &str) -> Result<()> {
        let came = self.read + self.expanded + self.rejected_after;
        let went = self.delivered
            + self.filtered
            + self.deduplicated
            + self.late
            + self.aggregated
            + self.dead_lettered
            + self.lost;
        if came == went {
            return Ok(());
        }
        Err(Error::bug(format!(
            "the ledger of split {split:?} and sink {sink:?} does not add up: {came} came, {went} \
             went ({self:?})"
        )))
    }

    /// All counts, in the order of [`COUNTS`].
    pub fn values(&self) -> [u64; COUNTS.len()] {
        [
            self.read,
            self.expanded,
            self.delivered,
            self.filtered,
            self.deduplicated,
            self.late,
            self.aggregated,
            self.dead_lettered,
            self.rejected_after,
            self.staged,
            self.lost,
        ]
    }

    /// Counts of what [`Counts::values`] gave.
    pub fn of_values(values: [u64; COUNTS.len()]) -> Self {
        let [
            read,
            expanded,
            delivered,
            filtered,
            deduplicated,
            late,
            aggregated,
            dead_lettered,
            rejected_after,
            staged,
            lost,
        ] = values;
        Self {
            read,
            expanded,
            delivered,
            filtered,
            deduplicated,
            late,
            aggregated,
            dead_lettered,
            rejected_after,
            staged,
            lost,
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.expanded += other.expanded;
        self.delivered += other.delivered;
        self.filtered += other.filtered;
        self.deduplicated += other.deduplicated;
        self.late += other.late;
        self.aggregated += other.aggregated;
        self.dead_lettered += other.dead_lettered;
        self.rejected_after += other.rejected_after;
        self.staged += other.staged;
        self.lost += other.lost;
    }
}

/// The counts as a checkpoint keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The split.
    pub split: String,
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sum over the origins of the delivered rows, in hexadecimal.
    pub hash: String,
}

impl Entry {
    /// Adds what is counted of the same split and sink elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        let sum = [&self.hash, &other.hash].into_iter().filter_map(|hash| hash_number(hash));
        self.hash = hash_text(sum.fold(0, u128::wrapping_add));
    }
}

/// A row of the table `ledger`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The pipeline's name.
    pub pipeline: String,
    /// The lineage's name.
    pub lineage: String,
    /// The epoch.
    pub epoch: u64,
    /// Split, sink, counts and hash.
    #[serde(flatten)]
    pub entry: Entry,
}

/// A sum over origins as the ledger writes it.
pub fn hash_text(hash: u128) -> String {
    format!("{hash:032x}")
}

/// Reads what [`hash_text`] wrote.
pub fn hash_number(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}
