//! What every source must hold: any range again, from any position, and no record lost when a
//! read is dropped half-way.

use std::task::Poll;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use contract::record::positions;
use contract::source::{KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
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
    let source = connector.source(settings, &build_context(data.path()));
    let source = must(source, "could not make the source");
    must(source.begin(&Until::End, source.lineages()[0]).await, "could not begin");
    let discovery = must(source.splits(None).await, "could not list splits");
    assert!(!discovery.splits.is_empty(), "the source of a proof has a split");
    let at = |split: &Split, position| KnownSplit { split: split.clone(), position };
    let begun: Vec<_> = discovery.splits.iter().map(|split| at(split, None)).collect();
    check_names(source.as_ref(), &discovery.splits, &begun).await;
    let (mut records, mut done) = (0, Vec::new());
    for split in &discovery.splits {
        let whole = check_split(source.as_ref(), split).await;
        records += whole.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        done.push(at(split, whole.ends.last().cloned()));
    }
    assert!(records >= RECORDS_MIN, "the source of a proof gives {RECORDS_MIN} records or more");
    check_names(source.as_ref(), &discovery.splits, &done).await;
}

/// Asks once more for the splits, as a source is asked while it is read and after a restart.
async fn check_names(source: &dyn Source, splits: &[Split], known: &[KnownSplit]) {
    let again = must(source.splits(Some(known)).await, "could not list splits again");
    let ids = |splits: &[Split]| -> Vec<String> {
        splits.iter().map(|split| split.id.to_string()).collect()
    };
    assert_eq!(ids(splits), ids(&again.splits), "splits keep their names");
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
    check_cancel(source, split, &rows).await;
    whole
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

async fn read(
    source: &dyn Source,
    split: &Split,
    from: Option<&Position>,
    until: Until,
) -> ReadSplit {
    let mut reader = must(source.open(split, from, until).await, "could not open a split");
    let mut read = ReadSplit { batches: Vec::new(), ends: Vec::new() };
    for _ in 0..BATCHES_MAX {
        let Some(batch) = must(reader.next_batch().await, "could not read a batch") else {
            return read;
        };
        // What is committed is confirmed again after a restart.
        for _ in 0..2 {
            must(reader.acknowledge(&batch.next).await, "could not acknowledge");
        }
        read.batches.push(batch.records);
        read.ends.push(batch.next);
    }
    panic!("split {} does not end", split.id);
}

fn text(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).map_or_else(|error| error.to_string(), |table| table.to_string())
}
