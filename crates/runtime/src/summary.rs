//! What a run did, as its closing object says it.

use std::collections::BTreeMap;
use std::time::Instant;

use contract::{Error, Result};
use serde::Serialize;
use state::Checkpoint;
use state::ledger::Counts;

use crate::graph::DEAD_LETTERS;
use crate::owner::RunContext;
use crate::run::Outcome;
use crate::troubles::{Trouble, TroubleState};

/// The closing object of `run --until-end --format json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Epochs committed by this run.
    pub epochs: u64,
    /// Records read into these epochs.
    pub read: u64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Bytes read.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What each sink got.
    pub sinks: Vec<SinkSummary>,
    /// What could not be read in the end.
    pub unread: Vec<Trouble>,
}

impl Summary {
    /// Whether the run read all that it should have. Whatever it read is committed.
    ///
    /// # Errors
    /// External: something could not be read to its end.
    pub fn check_complete(&self) -> Result<()> {
        let missing = self.unread.iter().filter(|one| one.state != TroubleState::PassedOver);
        let missing: Vec<_> = missing.collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let others = match missing.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let Trouble { split, error, hint, .. } = first;
        let error = Error::external(format!(
            "could not read \"{split}\"{others} to the end; everything else is committed: {error}"
        ));
        Err(match hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        })
    }
}

/// What one sink got, added up over epochs and splits.
#[derive(Clone, Debug, Serialize)]
pub struct SinkSummary {
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// The counts of its ledger.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Adds up committed epochs.
#[derive(Debug, Default)]
pub struct SummaryBuilder {
    epochs: u64,
    /// Records read per split: the same for all sinks that its source reaches.
    read: u64,
    sinks: BTreeMap<String, Counts>,
}

impl SummaryBuilder {
    /// Adds a committed epoch.
    pub fn add(&mut self, checkpoint: &Checkpoint) {
        self.epochs += 1;
        let mut read: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &checkpoint.ledger {
            self.sinks.entry(entry.sink.clone()).or_default().add(&entry.counts);
            if entry.sink != DEAD_LETTERS {
                let known = read.entry(entry.split.as_str()).or_default();
                *known = (*known).max(entry.counts.read);
            }
        }
        self.read += read.values().sum::<u64>();
    }

    /// Epochs so far.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Adds what another lineage did.
    pub fn merge(&mut self, other: Self) {
        self.epochs += other.epochs;
        self.read += other.read;
        for (sink, counts) in other.sinks {
            self.sinks.entry(sink).or_default().add(&counts);
        }
    }

    /// The closing object.
    pub fn finish(self, run: &RunContext, outcome: Outcome, begun: Instant) -> Summary {
        let mut sinks = self.sinks;
        let nodes = run.pipeline.sinks.iter().filter(|node| node.name != DEAD_LETTERS);
        let sinks = nodes.map(|node| SinkSummary {
            sink: node.name.clone(),
            counts: sinks.remove(&node.name).unwrap_or_default(),
        });
        Summary {
            epochs: self.epochs,
            read: self.read,
            seconds: begun.elapsed().as_secs_f64(),
            bytes: run.progress.seen().bytes,
            outcome,
            sinks: sinks.collect(),
            unread: run.progress.troubles.list(),
        }
    }
}
