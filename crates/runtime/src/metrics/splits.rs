//! Metrics by split, for as many splits as Prometheus can bear.
//!
//! A source of files may know thousands of splits, and every one would be a series for ever. The
//! first [`SPLITS_MAX`] of a pipeline have series of their own; all others share one, `other`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use contract::Lineage;
use contract::source::Lag;
use metrics::{Gauge, counter, gauge};

use super::catalog as name;

/// Splits of a pipeline that have series of their own.
const SPLITS_MAX: usize = 200;
/// The split of all the others together.
const OTHER: &str = "other";

/// A split: its source and its name.
type Key = (String, String);

/// What is shown of the splits of a pipeline.
pub struct Splits {
    pipeline: String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Splits with series of their own.
    own: HashMap<Key, ()>,
    /// Where the splits stand that are read now, by lineage and number.
    lags: HashMap<Lineage, Vec<(Key, Lag)>>,
    /// Every series that shows a lag.
    shown: BTreeMap<Key, (Option<Gauge>, Option<Gauge>)>,
}

impl Seen {
    /// The split under which a split is shown.
    fn key(&mut self, source: &str, split: &str) -> Key {
        let key = (source.to_owned(), split.to_owned());
        if self.own.contains_key(&key) {
            return key;
        }
        if self.own.len() < SPLITS_MAX {
            self.own.insert(key.clone(), ());
            return key;
        }
        (source.to_owned(), OTHER.to_owned())
    }
}

impl Splits {
    /// Nothing is shown yet.
    pub fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), seen: Mutex::default() }
    }

    /// Counts records of a split that are committed.
    pub fn count(&self, source: &str, split: &str, records: u64) {
        let key = self.seen.lock().unwrap_or_else(PoisonError::into_inner).key(source, split);
        counter!(name::SPLIT_RECORDS, &self.labels(&key)).increment(records);
    }

    /// Shows where the splits of a lineage stand: source, split, position, and what lies beyond.
    pub fn stand<'a>(
        &self,
        lineage: &Lineage,
        stands: impl Iterator<Item = (&'a str, &'a str, Option<i64>, Lag)>,
    ) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lags = Vec::new();
        for (source, split, position, lag) in stands {
            let key = seen.key(source, split);
            if let Some(position) = position.filter(|_| key.1 != OTHER) {
                gauge!(name::SPLIT_POSITION, &self.labels(&key)).set(position as f64);
            }
            lags.push((key, lag));
        }
        seen.lags.insert(lineage.clone(), lags);
        self.show(&mut seen);
    }

    /// The splits of a lineage are not read any more: whoever has them now knows their lag.
    pub fn forget(&self, lineage: &Lineage) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lags.remove(lineage);
        self.show(&mut seen);
    }

    /// Adds up the lags of all that have one series; what is not read any more lacks nothing.
    fn show(&self, seen: &mut Seen) {
        let mut sums: BTreeMap<Key, Lag> = BTreeMap::new();
        for (key, lag) in seen.lags.values().flatten() {
            let sum = sums.entry(key.clone()).or_default();
            sum.records = add(sum.records, lag.records);
            sum.bytes = add(sum.bytes, lag.bytes);
        }
        for (key, sum) in &sums {
            let labels = self.labels(key);
            let (records, bytes) = seen.shown.entry(key.clone()).or_default();
            if sum.records.is_some() {
                records.get_or_insert_with(|| gauge!(name::SPLIT_LAG_RECORDS, &labels));
            }
            if sum.bytes.is_some() {
                bytes.get_or_insert_with(|| gauge!(name::SPLIT_LAG_BYTES, &labels));
            }
        }
        for (key, (records, bytes)) in &seen.shown {
            let sum = sums.get(key).copied().unwrap_or_default();
            for (gauge, lag) in [(records, sum.records), (bytes, sum.bytes)] {
                if let Some(gauge) = gauge {
                    gauge.set(lag.unwrap_or(0) as f64);
                }
            }
        }
    }

    fn labels(&self, (source, split): &Key) -> [(&'static str, String); 3] {
        [("pipeline", self.pipeline.clone()), ("source", source.clone()), ("split", split.clone())]
    }
}

fn add(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    more.map_or(sum, |more| Some(sum.unwrap_or(0) + more))
}

#[cfg(test)]
mod tests {
    use super::{OTHER, SPLITS_MAX, Seen};

    #[test]
    fn thousands_of_splits_share_one_series() {
        let mut seen = Seen::default();
        let mut shown = std::collections::BTreeSet::new();
        for number in 0..5_000 {
            shown.insert(seen.key("access", &format!("file-{number}")));
        }
        assert_eq!(shown.len(), SPLITS_MAX + 1);
        assert_eq!(seen.key("access", "file-7").1, "file-7", "the first keep theirs");
        assert_eq!(seen.key("access", "file-4999").1, OTHER);
    }
}
