//! The counts of a pipeline that another process runs, from its ledger.

use std::collections::BTreeMap;

use metrics::counter;
use state::ledger::{Counts, Entry};

use super::catalog as name;
use super::instruments::columns;
use crate::graph::DEAD_LETTERS;

/// Sums over the ledger of one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    processed: u64,
    errors: u64,
    sinks: BTreeMap<String, Counts>,
}

impl Totals {
    /// Adds the entries of one epoch of a lineage, or of epochs that were folded into one.
    pub fn add(&mut self, entries: &[Entry]) {
        let mut read: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in entries {
            self.sinks.entry(entry.sink.clone()).or_default().add(&entry.counts);
            if entry.sink == DEAD_LETTERS {
                self.errors += entry.counts.delivered;
            } else {
                let known = read.entry(entry.split.as_str()).or_default();
                *known = (*known).max(entry.counts.read);
            }
        }
        self.processed += read.values().sum::<u64>();
    }

    /// Adds the sums of another lineage.
    pub fn merge(&mut self, other: &Self) {
        self.processed += other.processed;
        self.errors += other.errors;
        for (sink, counts) in &other.sinks {
            self.sinks.entry(sink.clone()).or_default().add(counts);
        }
    }

    /// Shows the sums as the counters of the pipeline, marked so that nobody who also asks the
    /// process that runs it counts twice.
    pub fn show(&self, pipeline: &str) {
        let own = || pipeline.to_owned();
        let mark = || ("from", "ledger".to_owned());
        let labels = || [("pipeline", own()), mark()];
        counter!(name::PROCESSED, &labels()).absolute(self.processed);
        counter!(name::ERRORS, &labels()).absolute(self.errors);
        for (sink, counts) in &self.sinks {
            for (column, rows) in columns(counts) {
                let labels = [
                    ("pipeline", own()),
                    ("sink", sink.clone()),
                    ("column", column.to_owned()),
                    mark(),
                ];
                counter!(name::LEDGER_ROWS, &labels).absolute(rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use state::ledger::{Counts, Entry};

    use super::Totals;

    #[test]
    fn a_record_counts_once_however_many_sinks_have_it() {
        let entry = |split: &str, sink: &str, rows: u64| Entry {
            split: split.into(),
            sink: sink.into(),
            counts: Counts { read: rows, delivered: rows, ..Counts::default() },
            hash: String::new(),
        };
        let mut totals = Totals::default();
        totals.add(&[entry("a", "lake", 5), entry("a", "warehouse", 5), entry("b", "lake", 2)]);
        totals.add(&[entry("a", "lake", 1), entry("a", "dead_letters", 1)]);
        assert_eq!((totals.processed, totals.errors), (8, 1));
        assert_eq!(totals.sinks["lake"].delivered, 8);
    }
}
