//! Metrics by split, for as many splits as Prometheus can bear.
//!
//! A source of files may know thousands of splits, and every one would be a series for ever. Splits
//! of which their source says that they belong together, a family, share one series. The first
//! [`SERIES_MAX`] of a pipeline have one of their own; all others share one, `other`. Who leaves
//! gives its place and its count to `other` and begins at 0 if it comes back, so that the sum never
//! falls. Series of the usual kind stay for ever; so these are kept and shown here.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::Lineage;
use contract::source::{Lag, Split};

use super::catalog::{self as name, METRICS};

/// Splits or families of a pipeline that have series of their own.
const SERIES_MAX: usize = 200;
/// The split of all the others together.
const OTHER: &str = "other";
/// Barriers after which a split that is not there any more has no record that is still to be
/// counted.
const LEAVES_AFTER: u8 = 2;

/// What every pipeline of the process shows, by its name.
static SHOWN: Mutex<BTreeMap<String, Arc<Mutex<Seen>>>> = Mutex::new(BTreeMap::new());

/// A source and the name of a series.
type Key = (String, String);
/// What a series shows under the name of a metric, if anything.
type Value = fn(&Series) -> Option<i64>;

/// What is shown of the splits of a pipeline.
pub struct Splits {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Splits and families with series of their own.
    own: BTreeMap<Key, Series>,
    /// What all the others of a source share.
    others: BTreeMap<String, Series>,
    /// Where the splits stand that are read now, by lineage.
    lags: HashMap<Lineage, Vec<(Key, Lag)>>,
    /// Series of which nothing is there any more, with the barriers since.
    leaving: BTreeMap<Key, u8>,
}

/// What is shown of a split, of a family, or of all others.
#[derive(Default)]
struct Series {
    records: Option<u64>,
    position: Option<i64>,
    /// What lies beyond the positions; 0 of whatever is not read, if it ever was known.
    lag: Lag,
    /// The splits of a family that were seen.
    members: HashSet<u64>,
}

impl Seen {
    /// The name under which a split is shown.
    fn key(&self, source: &str, split: &Split) -> Key {
        (source.to_owned(), split.family().unwrap_or(split.id.as_str()).to_owned())
    }

    /// The series of a split, which is one of it from now on.
    fn series(&mut self, source: &str, split: &Split) -> &mut Series {
        let key = self.key(source, split);
        if !self.own.contains_key(&key) && self.own.len() >= SERIES_MAX {
            return self.others.entry(key.0).or_default();
        }
        let series = self.own.entry(key).or_default();
        series.members.insert(number_of(split));
        series
    }

    /// The name under which a lag is added up.
    fn shown_key(&self, key: &Key) -> Key {
        match self.own.contains_key(key) {
            true => key.clone(),
            false => (key.0.clone(), OTHER.to_owned()),
        }
    }

    /// Adds up the lags of all that have one series; what is not read any more lacks nothing.
    fn add_up(&mut self) {
        let mut sums: BTreeMap<Key, Lag> = BTreeMap::new();
        for (key, lag) in self.lags.values().flatten() {
            let sum = sums.entry(self.shown_key(key)).or_default();
            sum.records = add(sum.records, lag.records);
            sum.bytes = add(sum.bytes, lag.bytes);
        }
        let own = self.own.iter_mut().map(|((source, name), series)| (source, &**name, series));
        let others = self.others.iter_mut().map(|(source, series)| (source, OTHER, series));
        for (source, name, series) in own.chain(others) {
            let sum = sums.get(&(source.clone(), name.to_owned())).copied().unwrap_or_default();
            series.lag.records = sum.records.or(series.lag.records.map(|_| 0));
            series.lag.bytes = sum.bytes.or(series.lag.bytes.map(|_| 0));
        }
    }

    /// Lets those go that were not there for a while and are not read.
    fn let_go(&mut self) {
        let read: HashSet<_> = self.lags.values().flatten().map(|(key, _)| key.clone()).collect();
        let mut gone = Vec::new();
        for (key, barriers) in self.leaving.iter_mut().filter(|(key, _)| !read.contains(*key)) {
            *barriers += 1;
            if *barriers >= LEAVES_AFTER {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.leaving.remove(&key);
            let records = self.own.remove(&key).and_then(|series| series.records);
            if let Some(records) = records {
                let other = self.others.entry(key.0).or_default();
                other.records = Some(other.records.unwrap_or(0) + records);
            }
        }
    }
}

impl Splits {
    /// What is shown of a pipeline goes on where its last run in this process ended.
    pub fn new(pipeline: &str) -> Self {
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { seen: shown.entry(pipeline.to_owned()).or_default().clone() }
    }

    /// Counts records of a split that are committed.
    pub fn count(&self, source: &str, split: &Split, records: u64) {
        let mut seen = self.seen();
        let counted = &mut seen.series(source, split).records;
        *counted = Some(counted.unwrap_or(0) + records);
    }

    /// Shows where the splits of a lineage stand: source, split, position, and what lies beyond.
    pub fn stand<'a>(
        &self,
        lineage: &Lineage,
        stands: impl Iterator<Item = (&'a str, &'a Split, Option<i64>, Lag)>,
    ) {
        let mut seen = self.seen();
        let mut lags = Vec::new();
        for (source, split, position, lag) in stands {
            let key = seen.key(source, split);
            let is_alone = split.family().is_none();
            let series = seen.series(source, split);
            if series.members.contains(&number_of(split)) && is_alone {
                series.position = position.or(series.position);
            }
            lags.push((key, lag));
        }
        seen.lags.insert(lineage.clone(), lags);
        seen.let_go();
        seen.add_up();
    }

    /// The splits of a lineage are not read any more: whoever has them now knows their lag.
    pub fn forget(&self, lineage: &Lineage) {
        let mut seen = self.seen();
        seen.lags.remove(lineage);
        seen.add_up();
    }

    /// A split is there.
    pub fn came(&self, source: &str, split: &Split) {
        let mut seen = self.seen();
        let key = seen.key(source, split);
        seen.leaving.remove(&key);
    }

    /// A split is not there any more.
    pub fn left(&self, source: &str, split: &Split) {
        let mut seen = self.seen();
        let key = seen.key(source, split);
        let Some(series) = seen.own.get_mut(&key) else { return };
        series.members.remove(&number_of(split));
        if series.members.is_empty() {
            seen.leaving.insert(key, 0);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series of all pipelines, in Prometheus' text format.
pub fn render() -> String {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let values: [(&str, Value); 4] = [
        (name::SPLIT_RECORDS, |series| series.records.map(u64::cast_signed)),
        (name::SPLIT_POSITION, |series| series.position),
        (name::SPLIT_LAG_RECORDS, |series| series.lag.records.map(u64::cast_signed)),
        (name::SPLIT_LAG_BYTES, |series| series.lag.bytes.map(u64::cast_signed)),
    ];
    let mut text = String::new();
    for (metric, value) in values {
        let mut lines = String::new();
        for (pipeline, seen) in &shown {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let own = seen.own.iter().map(|((source, name), series)| (source, &**name, series));
            let others = seen.others.iter().map(|(source, series)| (source, OTHER, series));
            for (source, split, series) in own.chain(others) {
                let Some(value) = value(series) else { continue };
                let labels = [("pipeline", pipeline), ("source", source)];
                let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
                let (labels, split) = (labels.join(","), escaped(split));
                // Writing to a string cannot fail.
                let _ = writeln!(lines, "{metric}{{{labels},split=\"{split}\"}} {value}");
            }
        }
        let described = METRICS.iter().find(|one| one.name == metric && !lines.is_empty());
        if let Some(one) = described {
            let _ = writeln!(text, "# HELP {metric} {}", one.help);
            let _ = writeln!(text, "# TYPE {metric} {}\n{lines}", one.form.word());
        }
    }
    text
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A split among those of its family.
fn number_of(split: &Split) -> u64 {
    let mut hasher = DefaultHasher::new();
    split.id.hash(&mut hasher);
    hasher.finish()
}

fn add(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    more.map_or(sum, |more| Some(sum.unwrap_or(0) + more))
}

#[cfg(test)]
mod tests {
    use contract::SplitId;

    use super::*;

    fn split(id: &str, family: Option<&str>) -> Split {
        Split::named(SplitId::new(id), family)
    }

    /// The series of a metric of a pipeline: its split and its value.
    fn shown(metric: &str, pipeline: &str) -> Vec<(String, i64)> {
        let text = render();
        let own = format!("{metric}{{pipeline=\"{pipeline}\",");
        let lines = text.lines().filter(|line| line.starts_with(&own));
        let parts = lines.map(|line| {
            let (_, rest) = line.split_once("split=\"").expect("a split");
            let (split, value) = rest.split_once("\"} ").expect("a value");
            (split.to_owned(), value.parse().expect("a number"))
        });
        parts.collect()
    }

    fn sum(pipeline: &str) -> i64 {
        shown(name::SPLIT_RECORDS, pipeline).iter().map(|(_, records)| records).sum()
    }

    fn stand(splits: &Splits, read: &[Split]) {
        let stands = read.iter().map(|split| {
            let lag = Lag { records: Some(1), ..Lag::default() };
            ("access", split, Some(7), lag)
        });
        splits.stand(&Lineage::main(), stands);
    }

    #[test]
    fn thousands_of_splits_have_as_many_series_as_one_can_bear() {
        let splits = Splits::new("thousands");
        let name = |number: u32| split(&format!("file-{number:06}"), None);
        for number in 0..100_000 {
            splits.count("access", &name(number), 1);
        }
        let records = shown(name::SPLIT_RECORDS, "thousands");
        assert_eq!(records.len(), SERIES_MAX + 1);
        assert_eq!(records[7], ("file-000007".to_owned(), 1), "the first keep theirs");
        assert_eq!(records[SERIES_MAX], (OTHER.to_owned(), 100_000 - SERIES_MAX as i64));
        stand(&splits, &[name(7), name(5_000), name(6_000)]);
        let lags = shown(name::SPLIT_LAG_RECORDS, "thousands");
        assert_eq!(lags, [("file-000007".to_owned(), 1), (OTHER.to_owned(), 2)]);
        let positions = shown(name::SPLIT_POSITION, "thousands");
        assert_eq!(positions, [("file-000007".to_owned(), 7)]);
    }

    #[test]
    fn splits_of_a_family_share_a_series() {
        let splits = Splits::new("families");
        let read: Vec<_> = (0..1_000).map(|one| split(&format!("{one}"), Some("eu"))).collect();
        read.iter().for_each(|split| splits.count("access", split, 2));
        stand(&splits, &read);
        assert_eq!(shown(name::SPLIT_RECORDS, "families"), [("eu".to_owned(), 2_000)]);
        assert_eq!(shown(name::SPLIT_LAG_RECORDS, "families"), [("eu".to_owned(), 1_000)]);
        assert_eq!(shown(name::SPLIT_POSITION, "families"), [], "there is none of many");
    }

    #[test]
    fn who_leaves_gives_its_count_to_the_others_and_begins_anew() {
        let splits = Splits::new("leaving");
        let (gone, stays) = (split("gone", Some("a")), split("stays", Some("a")));
        let alone = split("alone", None);
        for one in [&gone, &stays, &alone] {
            splits.count("access", one, 5);
        }
        let all = sum("leaving");
        splits.left("access", &gone);
        splits.left("access", &alone);
        stand(&splits, std::slice::from_ref(&alone));
        stand(&splits, std::slice::from_ref(&alone));
        let named = |expect: &[(&str, i64)]| {
            let found = shown(name::SPLIT_RECORDS, "leaving");
            let found: Vec<_> = found.iter().map(|(name, count)| (&**name, *count)).collect();
            assert_eq!(found, expect);
        };
        named(&[("a", 10), ("alone", 5)]);
        // Its reader is gone, and the records of its last epoch are counted after the barrier.
        stand(&splits, &[]);
        splits.count("access", &alone, 1);
        named(&[("a", 10), ("alone", 6)]);
        stand(&splits, &[]);
        named(&[("a", 10), (OTHER, 6)]);
        assert_eq!(sum("leaving"), all + 1, "the sum never falls");
        splits.came("access", &alone);
        splits.count("access", &alone, 2);
        named(&[("a", 10), ("alone", 2), (OTHER, 6)]);
        splits.left("access", &stays);
        (0..2).for_each(|_| stand(&splits, &[]));
        named(&[("alone", 2), (OTHER, 16)]);
        splits.left("access", &alone);
        splits.came("access", &alone);
        (0..2).for_each(|_| stand(&splits, &[]));
        named(&[("alone", 2), (OTHER, 16)]);
    }

    #[test]
    fn names_are_labels_whatever_stands_in_them() {
        let splits = Splits::new("quo\"ted");
        splits.count("access", &split("C:\\a\nb", None), 1);
        let line = "{pipeline=\"quo\\\"ted\",source=\"access\",split=\"C:\\\\a\\nb\"} 1";
        assert!(render().contains(line), "{}", render());
    }
}
