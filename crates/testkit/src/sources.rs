//! What every source must hold: any range again, from any position, and no record lost when a
//! read is dropped half-way.

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use contract::record::positions;
use contract::source::{KnownSplit, Source, Split, Until};
use contract::spec::Connector;
use contract::{Position, Section};

use crate::{build_context, must};

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
    let discovery = must(source.splits(None).await, "could not list splits");
    assert!(!discovery.splits.is_empty(), "the source of a proof has a split");
    let known: Vec<_> = discovery
        .splits
        .iter()
        .map(|split| KnownSplit { split: split.clone(), position: None })
        .collect();
    let again = must(source.splits(Some(&known)).await, "could not list splits again");
    let ids = |splits: &[Split]| -> Vec<String> {
        splits.iter().map(|split| split.id.to_string()).collect()
    };
    assert_eq!(ids(&discovery.splits), ids(&again.splits), "splits keep their names");
    for split in &discovery.splits {
        check_split(source.as_ref(), split).await;
    }
}

async fn check_split(source: &dyn Source, split: &Split) {
    let whole = read(source, split, None, Until::End).await;
    let rows = text(&whole.batches);
    check_order(source, &whole);
    for (stop, position) in whole.ends.iter().enumerate() {
        let head = read(source, split, None, Until::Position(position.clone())).await;
        let tail = read(source, split, Some(position), Until::End).await;
        let both: Vec<_> = head.batches.into_iter().chain(tail.batches).collect();
        assert_eq!(rows, text(&both), "split {} cut after batch {stop}", split.id);
    }
    check_cancel(source, split, &rows).await;
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

/// Drops every call once before it answers, where it does not answer at once.
async fn check_cancel(source: &dyn Source, split: &Split, rows: &str) {
    let mut reader = must(source.open(split, None, Until::End).await, "could not open");
    let mut batches = Vec::new();
    for _ in 0..BATCHES_MAX {
        let dropped = tokio::select! {
            biased;
            answer = reader.next_batch() => Some(answer),
            () = std::future::ready(()) => None,
        };
        let answer = match dropped {
            Some(answer) => answer,
            None => reader.next_batch().await,
        };
        match must(answer, "could not read") {
            Some(batch) => batches.push(batch.records),
            None => break,
        }
    }
    assert_eq!(rows, text(&batches), "split {} with dropped calls", split.id);
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
        must(reader.acknowledge(&batch.next).await, "could not acknowledge");
        read.batches.push(batch.records);
        read.ends.push(batch.next);
    }
    panic!("split {} does not end", split.id);
}

fn text(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).map_or_else(|error| error.to_string(), |table| table.to_string())
}
