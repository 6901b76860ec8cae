//! The sink against a table on local disk and in a bucket: what a user and an auditor would notice.

mod access;
mod altered;
mod bucket;
mod care;
mod epochs;
mod forgetful;
mod layout;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use contract::sink::{Commit, CommitOutcome, Prepared, ReadBack, Sink, Writer, WriterContext};
use contract::{Lineage, SplitId, record};
use futures::TryStreamExt;

use crate::config::Config;
use crate::sink::LakeSink;

const DAY: i64 = 86_400_000_000;

fn config(settings: serde_json::Value) -> Config {
    let mut all = serde_json::json!({ "table": "hits" });
    for (key, value) in settings.as_object().expect("settings are a map") {
        all[key] = value.clone();
    }
    Config::read(&testkit::section(&all.to_string())).expect("valid settings")
}

fn sink(folder: &Path, settings: serde_json::Value) -> LakeSink {
    LakeSink::new(config(settings), folder).expect("a sink")
}

fn plain(folder: &Path) -> LakeSink {
    sink(folder, serde_json::json!({}))
}

fn main_lineage() -> Lineage {
    Lineage::new("main")
}

/// Rows at these positions, ten to a day, as they come out of a step.
fn rows(positions: std::ops::Range<i64>) -> RecordBatch {
    let positions: Vec<i64> = positions.collect();
    let ts = positions.iter().map(|position| position / 10 * DAY);
    let ts = TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC");
    let path = positions.iter().map(|position| format!("/products/number/{position}"));
    let method = positions.iter().map(|at| if at % 3 == 0 { "POST" } else { "GET" });
    let method: DictionaryArray<Int32Type> = method.collect();
    let status = Int32Array::from_iter_values(positions.iter().map(|at| 200 + (at % 2) as i32));
    RecordBatch::try_from_iter([
        ("ts", Arc::new(ts) as ArrayRef),
        ("path", Arc::new(StringViewArray::from_iter_values(path))),
        ("method", Arc::new(method)),
        ("status", Arc::new(status)),
        (record::POSITION, Arc::new(Int64Array::from(positions))),
    ])
    .expect("a batch")
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let there = schema.fields().iter().map(|field| field.name().clone());
    let columns = there.zip(batch.columns().iter().cloned());
    RecordBatch::try_from_iter(columns.chain([(name.to_owned(), column)])).expect("a batch")
}

/// A sink's view of [`rows`], of one split and epoch.
fn delivered(batch: &RecordBatch, split: &str, epoch: u64) -> RecordBatch {
    let schema = record::sink_schema(&batch.schema(), true);
    record::for_sink(batch, &schema, &SplitId::new(split), epoch).expect("a batch")
}

fn context(schema: SchemaRef, writer_id: &str) -> WriterContext {
    WriterContext {
        pipeline: "shop".to_owned(),
        sink: "lake".to_owned(),
        incarnation: 7,
        writer_id: writer_id.to_owned(),
        schema,
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 2,
    }
}

async fn writer(sink: &LakeSink, writer_id: &str) -> Box<dyn Writer> {
    let schema = delivered(&rows(0..1), "a", 1).schema();
    sink.open(context(schema, writer_id)).await.expect("a writer")
}

/// Writes and prepares an epoch of the split `a`.
async fn prepare(writer: &mut dyn Writer, epoch: u64, at: std::ops::Range<i64>) -> Prepared {
    let batch = delivered(&rows(at), "a", epoch);
    writer.write(&main_lineage(), batch).await.expect("written");
    writer.prepare(&main_lineage(), epoch).await.expect("prepared")
}

fn decided(prepared: &Prepared, epoch: u64, prev: Option<u64>) -> Commit {
    let committable = prepared.committable.clone();
    Commit { lineage: main_lineage(), epoch, prev, committable }
}

async fn commit(writer: &mut dyn Writer, commit: Commit) -> CommitOutcome {
    writer.commit(&commit).await.expect("an outcome")
}

/// All positions that a table holds, sorted.
async fn positions(sink: &LakeSink) -> Vec<i64> {
    let batches = sink.read_back("shop", ReadBack::Origins).await.expect("readable");
    let batches: Vec<RecordBatch> = batches.try_collect().await.expect("readable");
    let mut positions = Vec::new();
    for batch in batches {
        let column = batch.column_by_name(record::POSITION).expect("origins").clone();
        positions.extend(column.as_primitive::<Int64Type>().values());
    }
    positions.sort_unstable();
    positions
}
