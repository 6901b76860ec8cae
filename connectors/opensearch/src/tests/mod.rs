//! The sink against real clusters, and against one that is busy on purpose.

mod altered;
mod answers;
mod busy;
mod clusters;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Int64Type, Schema};
use contract::sink::{Prepared, ReadBack, Sink, Stage, Writer, WriterContext};
use contract::spec::BuildContext;
use contract::transform::EpochStart;
use contract::{Lineage, SplitId, record};
use futures::TryStreamExt;

use crate::config::Config;
use crate::sink::SearchSink;

fn sink(url: &str, settings: &str) -> SearchSink {
    let all = format!("{{ url: \"{url}\", {settings} }}");
    let config = Config::read(&testkit::section(&all)).expect("settings");
    let ctx = BuildContext::new("shop", "search", &std::env::temp_dir());
    SearchSink::new(config, &ctx).expect("a sink")
}

fn lineage() -> Lineage {
    Lineage::new("main")
}

async fn writer(sink: &SearchSink, schema: &Schema) -> Box<dyn Writer> {
    let ctx = WriterContext {
        pipeline: "shop".to_owned(),
        sink: "search".to_owned(),
        incarnation: 7,
        writer_id: "w".to_owned(),
        schema: record::sink_schema(schema, true),
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 2,
    };
    sink.open(ctx).await.expect("a writer")
}

/// Rows of one column of text.
fn texts(texts: &[&str]) -> RecordBatch {
    let positions = (0..texts.len() as i64).collect::<Int64Array>();
    RecordBatch::try_from_iter([
        ("text", Arc::new(StringViewArray::from(texts.to_vec())) as ArrayRef),
        (record::POSITION, Arc::new(positions)),
    ])
    .expect("a batch")
}

/// When an epoch begins, in microseconds since 1970.
fn moment(epoch: u64) -> i64 {
    1_500_000_000_000_000 + epoch.cast_signed()
}

async fn write(writer: &mut dyn Writer, epoch: u64, batch: &RecordBatch) {
    let schema = record::sink_schema(&batch.schema(), true);
    let rows = record::for_sink(batch, &schema, &SplitId::new("a.log"), epoch).expect("rows");
    writer.start_epoch(EpochStart { epoch, now_us: moment(epoch) }, Stage::Undecided);
    writer.write(&lineage(), rows).await.expect("written");
}

async fn deliver(sink: &SearchSink, epoch: u64, batch: &RecordBatch) -> Prepared {
    let mut writer = writer(sink, &batch.schema()).await;
    write(writer.as_mut(), epoch, batch).await;
    writer.prepare(&lineage(), epoch).await.expect("prepared")
}

async fn read(sink: &SearchSink, what: ReadBack) -> Vec<RecordBatch> {
    let batches = sink.read_back("shop", what).await.expect("readable");
    batches.try_collect().await.expect("readable")
}

async fn positions(sink: &SearchSink) -> Vec<i64> {
    let mut positions = Vec::new();
    for batch in read(sink, ReadBack::Origins).await {
        let column = batch.column_by_name(record::POSITION).expect("origins").clone();
        positions.extend(column.as_primitive::<Int64Type>().values());
    }
    positions.sort_unstable();
    positions
}

fn rejected(prepared: &Prepared) -> Vec<i64> {
    let mut positions: Vec<_> = prepared.rejects.iter().map(|row| row.reject.position).collect();
    positions.sort_unstable();
    positions
}
