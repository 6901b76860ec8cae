//! What every source must hold: any range again, also from and up to the middle of a batch; no
//! record lost when a read is dropped half-way; an end that stays where it was; what is there said
//! whole at first, then as it changes.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::util::pretty::pretty_format_batches;
use contract::discovery::{Moved, list};
use contract::record::positions;
use contract::source::{KnownSplit, Lineages, ReadBatch, Source, Split, SplitReader, Terms, Until};
use contract::spec::Connector;
use contract::{Position, Result, Section};

use crate::{build_context, must};

/// A source that gives less than this would pass every proof.
const RECORDS_MIN: usize = 2;
/// After how many steps a call is dropped at the latest.
const STEPS_MAX: usize = 4;
/// Batches that one split may have in a proof.
const BATCHES_MAX: usize = 10_000;

/// Proves a source: its settings must name something that has an end and at least two records.
///
/// # Panics
/// The source breaks its contract; the message says which part.
pub async fn check_source(connector: &dyn Connector, settings: &Section) {
    let data = tempfile::tempdir().expect("a folder");
    let source = made(connector, settings, data.path());
    begin(source.as_ref()).await;
    let discovery = must(list(source.as_ref(), None).await, "could not list splits");
    assert!(!discovery.splits.is_empty(), "the source of a proof has a split");
    let at = |split: &Split, position| KnownSplit { split: split.clone(), position };
    let begun: Vec<_> = discovery.splits.iter().map(|split| at(split, None)).collect();
    check_names(source.as_ref(), &discovery.splits, &begun).await;
    check_differences(source.as_ref(), &discovery.splits, &begun).await;
    let (mut records, mut is_cut, mut done) = (0, false, Vec::new());
    for split in &discovery.splits {
        let whole = check_split(source.as_ref(), split).await;
        records += whole.records();
        is_cut |= check_inside(source.as_ref(), split, &whole).await;
        done.push(at(split, whole.ends.last().cloned()));
    }
    assert!(records >= RECORDS_MIN, "the source of a proof gives {RECORDS_MIN} records or more");
    assert!(is_cut, "the source of a proof gives a batch of two records or more");
    check_names(source.as_ref(), &discovery.splits, &done).await;
    check_differences(source.as_ref(), &discovery.splits, &done).await;
}

/// Proves that a run with an end stops where its splits ended when it began, or when they were
/// opened, where its splits are no lineages of their own. `append` adds records to a split that
/// there is.
///
/// # Panics
/// As for [`check_source`].
pub async fn check_end(connector: &dyn Connector, settings: &Section, append: impl AsyncFnOnce()) {
    let data = tempfile::tempdir().expect("a folder");
    let made = || made(connector, settings, data.path());
    let before = read_all(made().as_ref()).await;
    let source = made();
    let begins = source.lineages().contains(&Lineages::Split);
    begin(source.as_ref()).await;
    let splits = must(list(source.as_ref(), None).await, "could not list splits").splits;
    let opened = if begins { Vec::new() } else { open_all(source.as_ref(), &splits).await };
    append().await;
    if begins {
        // The second time as after a recovery.
        for when in ["when the run began", "when the run began, opened again"] {
            let opened = open_all(source.as_ref(), &splits).await;
            assert_ends(&before, drained(opened).await, when);
        }
    } else {
        assert_ends(&before, drained(opened).await, "when it was opened");
    }
    let after = read_all(made().as_ref()).await;
    let records = |all: &[RecordBatch]| all.iter().map(RecordBatch::num_rows).sum::<usize>();
    let (before, after) = (records(&before), records(&after));
    assert!(before >= RECORDS_MIN, "the source of a proof gives {RECORDS_MIN} records or more");
    assert!(after > before, "a run that begins later gives what was appended");
}

fn assert_ends(before: &[RecordBatch], read: Vec<RecordBatch>, when: &str) {
    assert_eq!(text(before), text(&read), "a run with an end stops where its splits ended {when}");
}

fn made(connector: &dyn Connector, settings: &Section, data: &Path) -> Arc<dyn Source> {
    must(connector.source(settings, &build_context(data)), "could not make the source")
}

/// Begins a run with an end.
async fn begin(source: &dyn Source) {
    let lineages = source.lineages()[0];
    let terms = Terms { until: Until::End, lineages, fetch_bytes: usize::MAX };
    must(source.begin(&terms).await, "could not begin");
}

async fn open_all(source: &dyn Source, splits: &[Split]) -> Vec<Box<dyn SplitReader>> {
    let mut readers = Vec::new();
    for split in splits {
        readers.push(must(source.open(split, None, Until::End).await, "could not open a split"));
    }
    readers
}

async fn drained(readers: Vec<Box<dyn SplitReader>>) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for mut reader in readers {
        let read = rest(reader.as_mut()).await;
        batches.extend(read.batches.into_iter().filter(|batch| batch.num_rows() > 0));
    }
    batches
}

/// All that a run with an end reads.
async fn read_all(source: &dyn Source) -> Vec<RecordBatch> {
    begin(source).await;
    let splits = must(list(source, None).await, "could not list splits").splits;
    drained(open_all(source, &splits).await).await
}

/// Asks once more for the splits, as a source is asked while it is read and after a restart.
async fn check_names(source: &dyn Source, splits: &[Split], known: &[KnownSplit]) {
    let again = must(list(source, Some(known)).await, "could not list splits again");
    let ids = |splits: &[Split]| -> Vec<String> {
        splits.iter().map(|split| split.id.to_string()).collect()
    };
    assert_eq!(ids(splits), ids(&again.splits), "splits keep their names");
}

/// Looks as two attempts at one checkpoint do: each says all at first, and then what changed, also
/// where splits are committed further meanwhile.
async fn check_differences(source: &dyn Source, splits: &[Split], known: &[KnownSplit]) {
    for attempt in ["the first attempt", "the attempt after it"] {
        let mut discoverer = source.discover(Some(known.to_vec()));
        let first = must(discoverer.look(Moved::new()).await, "could not look for splits");
        let mut there: HashMap<_, _> =
            first.found.into_iter().map(|split| (split.id, split.descriptor)).collect();
        assert!(
            splits.len() == there.len() && splits.iter().all(|one| there.contains_key(&one.id)),
            "{attempt} is told of all splits at first"
        );
        let moved = known.iter().filter_map(|one| Some((&one.split.id, one.position.clone()?)));
        let moved: Moved = moved.map(|(id, position)| (id.clone(), position)).collect();
        for moved in [Moved::new(), moved, Moved::new()] {
            let later = must(discoverer.look(moved).await, "could not look for splits again");
            assert!(later.gone.is_empty(), "a split that is there does not go");
            for split in later.found {
                let before = there.insert(split.id.clone(), split.descriptor.clone());
                let is_news = before.is_none_or(|before| before != split.descriptor);
                assert!(is_news, "what did not change is not said again: split {}", split.id);
            }
        }
    }
}

async fn check_split(source: &dyn Source, split: &Split) -> ReadSplit {
    let whole = read(source, split, None, Until::End).await;
    let rows = text(&whole.batches);
    check_order(source, &whole);
    for (stop, position) in whole.ends.iter().enumerate() {
        let head = read(source, split, None, Until::Position(position.clone())).await;
        let tail = read(source, split, Some(position), Until::End).await;
        let both: Vec<_> = head.batches.into_iter().chain(tail.batches).collect();
        assert_eq!(rows, text(&both), "split {} cut after batch {stop}", split.id);
    }
    if let Some(end) = whole.ends.last() {
        let after = read(source, split, Some(end), Until::End).await;
        assert_eq!(after.batches.len(), 0, "split {} has nothing behind its end", split.id);
    }
    check_acknowledged(source, split, &whole).await;
    check_cancel(source, split, &rows).await;
    whole
}

/// Reads again from and up to records in the middle of batches, by their positions alone, as
/// refused records are read again. Says whether there was such a record.
async fn check_inside(source: &dyn Source, split: &Split, whole: &ReadSplit) -> bool {
    let inner: Vec<i64> = whole.batches.iter().filter_map(inner_position).collect();
    let Some(last) = inner.len().checked_sub(1) else { return false };
    let mut chosen = vec![0, last / 2, last];
    chosen.dedup();
    for at in chosen {
        let (first, next) = (inner[at], inner[last.min(at + 1)]);
        for range in [first..=first, first..=next, i64::MIN..=first] {
            // The position behind a record may stand in the middle of its bytes.
            let until = Until::Position(Position::new(range.end() + 1));
            let from = (*range.start() >= 0).then(|| Position::new(*range.start()));
            let found = read(source, split, from.as_ref(), until).await;
            whole.assert_holds(split, &range, &found);
        }
        let found = read(source, split, Some(&Position::new(first)), Until::End).await;
        whole.assert_holds(split, &(first..=i64::MAX), &found);
    }
    true
}

/// The position of a record in the middle of a batch, none of one record.
fn inner_position(batch: &RecordBatch) -> Option<i64> {
    let positions = must(positions(batch), "positions").values();
    (positions.len() > 1).then(|| positions[positions.len() / 2])
}

/// What is committed may be confirmed twice, and is confirmed again after a restart: neither
/// changes what is read.
async fn check_acknowledged(source: &dyn Source, split: &Split, whole: &ReadSplit) {
    let acknowledge = async |reader: &mut dyn SplitReader, position: &Position| {
        for _ in 0..2 {
            must(reader.acknowledge(position).await, "could not acknowledge");
        }
    };
    let mut reader = must(source.open(split, None, Until::End).await, "could not open a split");
    let mut batches = Vec::new();
    for _ in 0..BATCHES_MAX {
        let batch = must(reader.next_batch().await, "could not read a batch");
        let Some(batch) = batch else { break };
        acknowledge(reader.as_mut(), &batch.next).await;
        batches.push(batch.records);
    }
    let (rows, id) = (text(&whole.batches), &split.id);
    assert_eq!(rows, text(&batches), "split {id}, acknowledged twice after each batch");
    let Some(end) = whole.ends.first() else { return };
    let again = source.open(split, Some(end), Until::End).await;
    let mut again = must(again, "could not open a split");
    acknowledge(again.as_mut(), end).await;
    let behind = rest(again.as_mut()).await.batches;
    let both: Vec<_> = whole.batches[..1].iter().cloned().chain(behind).collect();
    assert_eq!(rows, text(&both), "split {id}, acknowledged again after a restart");
}

fn check_order(source: &dyn Source, whole: &ReadSplit) {
    let mut before = i64::MIN;
    for (batch, end) in whole.batches.iter().zip(&whole.ends) {
        assert_eq!(batch.schema(), source.schema(), "batches have the declared columns");
        for position in must(positions(batch), "positions").values() {
            assert!(*position > before, "positions rise: {position} after {before}");
            assert!(*position < end.at, "a record stands before the end of its batch");
            before = *position;
        }
    }
}

/// Drops every call after some steps of its work, where it did not answer by then.
async fn check_cancel(source: &dyn Source, split: &Split, rows: &str) {
    for steps in 1..=STEPS_MAX {
        let mut reader = must(source.open(split, None, Until::End).await, "could not open");
        let mut batches = Vec::new();
        for _ in 0..BATCHES_MAX {
            let answer = match within(reader.as_mut(), steps).await {
                Some(answer) => answer,
                None => reader.next_batch().await,
            };
            match must(answer, "could not read") {
                Some(batch) => batches.push(batch.records),
                None => break,
            }
        }
        assert_eq!(rows, text(&batches), "split {}, dropped after {steps} steps", split.id);
    }
}

/// The answer of a call that needs no more than so many steps.
async fn within(reader: &mut dyn SplitReader, steps: usize) -> Option<Result<Option<ReadBatch>>> {
    let mut call = reader.next_batch();
    for _ in 0..steps {
        if let Poll::Ready(answer) = futures::poll!(call.as_mut()) {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

struct ReadSplit {
    batches: Vec<RecordBatch>,
    ends: Vec<Position>,
}

impl ReadSplit {
    fn records(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether another read gave just the records at these positions.
    fn assert_holds(&self, split: &Split, range: &RangeInclusive<i64>, found: &Self) {
        let wanted = self.batches.iter().filter_map(|batch| {
            let positions = must(positions(batch), "positions").values().iter();
            let keep: BooleanArray = positions.map(|at| Some(range.contains(at))).collect();
            let kept = filter_record_batch(batch, &keep).expect("a row is kept or not");
            (kept.num_rows() > 0).then_some(kept)
        });
        let (wanted, found) = (text(&wanted.collect::<Vec<_>>()), text(&found.batches));
        assert_eq!(wanted, found, "split {}, read inside a batch: {range:?}", split.id);
    }
}

async fn read(
    source: &dyn Source,
    split: &Split,
    from: Option<&Position>,
    until: Until,
) -> ReadSplit {
    let mut reader = must(source.open(split, from, until).await, "could not open a split");
    rest(reader.as_mut()).await
}

async fn rest(reader: &mut dyn SplitReader) -> ReadSplit {
    let mut read = ReadSplit { batches: Vec::new(), ends: Vec::new() };
    for _ in 0..BATCHES_MAX {
        let Some(batch) = must(reader.next_batch().await, "could not read a batch") else {
            return read;
        };
        read.batches.push(batch.records);
        read.ends.push(batch.next);
    }
    panic!("a split does not end");
}

fn text(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).map_or_else(|error| error.to_string(), |table| table.to_string())
}
