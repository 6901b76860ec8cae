//! What a run did, as its closing object says it.

use std::collections::BTreeMap;
use std::time::Instant;

use contract::source::Reject;
use contract::{Error, Result, SplitId};
use serde::{Serialize, Serializer};
use state::Checkpoint;
use state::ledger::Counts;

use crate::graph::DEAD_LETTERS;
use crate::identities::Replaced;
use crate::owner::RunContext;
use crate::run::Outcome;
use crate::troubles::Trouble;

/// Letters of a refused record that are kept.
const KEPT_LETTERS: usize = 8_192;

/// Letters of a refused record that are shown.
const SHOWN_LETTERS: usize = 200;

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
    /// The record that was refused first, if any was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refused: Option<FirstRefused>,
    /// What each sink got.
    pub sinks: Vec<SinkSummary>,
    /// What could not be read in the end, or waits for something to be written.
    pub unread: Vec<Trouble>,
    /// Destinations that were found to be others than before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
}

impl Summary {
    /// Whether the run read all that it should have. Whatever it read is committed.
    ///
    /// # Errors
    /// External: something could not be read to its end.
    pub fn check_complete(&self) -> Result<()> {
        let missing = self.unread.iter().filter(|one| one.state.is_failure());
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

impl Summary {
    /// Whether records were read and no sink got anything of them but dead letters: the format is
    /// not that of the input.
    pub fn all_refused(&self) -> bool {
        let mut reached = self.sinks.iter().map(|sink| sink.counts).filter(|sink| sink.read > 0);
        let mut is_any = false;
        let all = reached.all(|counts| {
            let Counts { delivered, filtered, deduplicated, late, aggregated, lost, .. } = counts;
            is_any |= counts.dead_lettered > 0;
            delivered + filtered + deduplicated + late + aggregated + lost == 0
        });
        all && is_any
    }
}

/// The record that was refused first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirstRefused {
    /// The split in which it was read.
    pub split: String,
    /// Its position there.
    pub position: i64,
    /// Why it was refused.
    pub reason: String,
    /// How it begins, at most 200 letters of it where it is shown; none if nobody has its bytes any
    /// more.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown")]
    pub line: Option<String>,
}

fn shown<S: Serializer>(
    line: &Option<String>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let line = line.as_ref().map(|line| line.chars().take(SHOWN_LETTERS).collect::<String>());
    line.serialize(serializer)
}

impl FirstRefused {
    /// A refused record with its original as text.
    pub fn new(split: &SplitId, reject: &Reject) -> Self {
        let begun = |bytes: &bytes::Bytes| {
            String::from_utf8_lossy(bytes).chars().take(KEPT_LETTERS).collect()
        };
        Self {
            split: split.to_string(),
            position: reject.position,
            reason: reject.reason.clone(),
            line: reject.original.as_ref().map(begun),
        }
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
        // Several sources may read splits of one name, each of which a sink has an entry of.
        let mut of_sinks: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for entry in &checkpoint.ledger {
            self.sinks.entry(entry.sink.clone()).or_default().add(&entry.counts);
            if entry.sink != DEAD_LETTERS {
                let place = (entry.split.as_str(), entry.sink.as_str());
                *of_sinks.entry(place).or_default() += entry.counts.read;
            }
        }
        let mut read: BTreeMap<&str, u64> = BTreeMap::new();
        for ((split, _), records) in of_sinks {
            let known = read.entry(split).or_default();
            *known = (*known).max(records);
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
        run.progress.troubles.end();
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
            first_refused: run.progress.first_refused().cloned(),
            sinks: sinks.collect(),
            unread: run.progress.troubles.list(),
            replaced: run.progress.replaced(),
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Lineage;
    use state::ledger::Entry;

    use super::*;

    fn summary(sinks: &[Counts]) -> Summary {
        let sink = |counts: &Counts| SinkSummary { sink: "sink".into(), counts: *counts };
        Summary {
            epochs: 1,
            read: 2,
            seconds: 0.0,
            bytes: 0,
            outcome: Outcome::Ended,
            first_refused: None,
            sinks: sinks.iter().map(sink).collect(),
            unread: Vec::new(),
            replaced: Vec::new(),
        }
    }

    #[test]
    fn records_of_two_sources_that_read_one_file_are_counted_for_each() {
        let entry = |sink: &str, read: u64| Entry {
            split: "a.log".into(),
            sink: sink.into(),
            counts: Counts { read, delivered: read, ..Counts::default() },
            hash: String::new(),
        };
        let ledger = vec![entry("one", 60), entry("one", 20), entry("two", 60)];
        let first = Checkpoint::first("logs", &Lineage::main(), 1);
        let mut builder = SummaryBuilder::default();
        builder.add(&Checkpoint { ledger, ..first });
        assert_eq!(builder.read, 80);
    }

    #[test]
    fn all_are_refused_where_no_sink_got_anything() {
        let refused = Counts { read: 2, dead_lettered: 2, ..Counts::default() };
        let nothing = Counts::default();
        let delivered = Counts { read: 2, delivered: 1, dead_lettered: 1, ..nothing };
        let filtered = Counts { read: 2, filtered: 2, ..nothing };
        let check = |sinks: &[Counts], expect| {
            assert_eq!(summary(sinks).all_refused(), expect, "{sinks:?}");
        };
        check(&[refused], true);
        check(&[refused, refused, nothing], true);
        check(&[refused, delivered], false);
        check(&[refused, filtered], false);
        check(&[nothing], false);
        check(&[], false);
    }
}
