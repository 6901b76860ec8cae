//! The sink in a local folder and on real stores: what a user and an auditor would notice.

mod buckets;
mod epochs;
mod full;
mod left;
mod rows;
mod ways;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Int64Type, Schema};
use contract::sink::{
    Commit, CommitOutcome, Prepared, ReadBack, Room, Sink, Writer, WriterContext,
};
use contract::spec::BuildContext;
use contract::{Lineage, SplitId, record};
use futures::TryStreamExt;
use tempfile::TempDir;
use testkit::services::{find, setting, unique};

use crate::config::Config;
use crate::place::{self, Place};
use crate::sink::ObjectSink;

/// A sink over a place of its own, and its settings.
struct Bench {
    folder: TempDir,
    config: Config,
    sink: ObjectSink,
}

impl Bench {
    /// A bucket of its own in a store (`local`, `s3`, `azure`, `gcs`); none where the store is
    /// absent.
    fn new(store: &str, settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let bucket = unique("bench");
        let endpoint = match store {
            "local" => String::new(),
            store => find(store)?,
        };
        let place = match store {
            "s3" => format!(
                "url: s3://{bucket}/a/b, endpoint: \"{endpoint}\", allow_http: true, \
                 access_key: {}, secret_key: {}",
                setting("s3_key"),
                setting("s3_secret")
            ),
            "azure" => {
                let (account, key) = (setting("azure_account"), setting("azure_key"));
                format!(
                    "url: az://{bucket}/a/b, endpoint: \"{endpoint}/{account}\", \
                     allow_http: true, access_key: {account}, secret_key: {key}"
                )
            }
            "gcs" => {
                format!(
                    "url: gs://{bucket}/a/b, endpoint: \"{endpoint}\", allow_http: true, \
                     project: shop, secret_key: '{GCS_KEY}'"
                )
            }
            _ => format!("url: \"{}/out\"", folder.path().display()),
        };
        let all = format!("{{ {place}, create_bucket: true, {settings} }}");
        let config: Config = Config::read(&testkit::section(&all)).expect("settings");
        let data = folder.path().join("data");
        let ctx = BuildContext::new("shop", "archive", &data);
        let sink = ObjectSink::new(config.clone(), &ctx).expect("a sink");
        Some(Self { folder, config, sink })
    }

    fn local(settings: &str) -> Self {
        Self::new("local", settings).expect("a local folder is always there")
    }

    fn place(&self) -> Place {
        place::open(&self.config).expect("a store")
    }

    async fn writer(&self, schema: &Schema) -> Box<dyn Writer> {
        self.writer_with(schema, 64 << 20).await
    }

    async fn writer_with(&self, schema: &Schema, memory_bytes: usize) -> Box<dyn Writer> {
        let ctx = WriterContext {
            pipeline: "shop".to_owned(),
            sink: "archive".to_owned(),
            incarnation: 7,
            writer_id: unique("w"),
            schema: record::sink_schema(schema, true),
            memory_bytes,
            client_bytes: memory_bytes,
            threads: 2,
        };
        self.sink.open(ctx).await.expect("a writer")
    }

    /// All objects, by their names below the prefix.
    async fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let place = self.place();
        let prefix = place.path("").ok();
        let listed = place.objects.list(prefix.as_ref());
        let listed: Vec<_> = listed.try_collect().await.expect("listed");
        let mut objects = Vec::new();
        for meta in listed {
            let found = place.objects.get_opts(&meta.location, Default::default()).await;
            let bytes = found.expect("there").bytes().await.expect("read");
            objects.push((place.key(&meta.location).expect("below the prefix"), bytes.to_vec()));
        }
        objects.sort();
        objects
    }

    async fn positions(&self) -> Vec<i64> {
        let batches = self.sink.read_back("shop", ReadBack::Origins).await.expect("readable");
        let batches: Vec<RecordBatch> = batches.try_collect().await.expect("readable");
        let mut positions = Vec::new();
        for batch in batches {
            let column = batch.column_by_name(record::POSITION).expect("origins").clone();
            positions.extend(column.as_primitive::<Int64Type>().values());
        }
        positions.sort_unstable();
        positions
    }
}

/// A key for a server that asks for none.
const GCS_KEY: &str =
    r#"{"disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;

fn lineage() -> Lineage {
    Lineage::new("main")
}

/// Rows with so many bytes of text each, which nothing compresses well.
fn rows(positions: std::ops::Range<i64>, bytes: usize) -> RecordBatch {
    let text = positions.clone().map(|position| {
        let mut seed = position.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let letter = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            char::from(b' ' + (seed % 94) as u8)
        });
        letter.take(bytes).collect::<String>()
    });
    let host = positions.clone().map(|position| format!("host-{}", position % 3));
    RecordBatch::try_from_iter([
        ("host", Arc::new(StringViewArray::from_iter_values(host)) as ArrayRef),
        ("text", Arc::new(StringViewArray::from_iter_values(text))),
        (record::POSITION, Arc::new(positions.collect::<Int64Array>())),
    ])
    .expect("a batch")
}

/// Writes rows as a split's, in batches of so many rows. Returns what the writer said last.
async fn write(
    writer: &mut dyn Writer,
    split: &str,
    epoch: u64,
    batch: &RecordBatch,
    step: usize,
) -> Room {
    let mut room = Room::Left;
    let schema = record::sink_schema(&batch.schema(), true);
    for from in (0..batch.num_rows()).step_by(step) {
        let part = batch.slice(from, step.min(batch.num_rows() - from));
        let part = record::for_sink(&part, &schema, &SplitId::new(split), epoch).expect("rows");
        room = writer.write(&lineage(), part).await.expect("written");
    }
    room
}

async fn prepare(writer: &mut dyn Writer, epoch: u64, batch: &RecordBatch) -> Prepared {
    write(writer, "a.log", epoch, batch, 1000).await;
    writer.prepare(&lineage(), epoch).await.expect("prepared")
}

async fn commit(writer: &mut dyn Writer, epoch: u64, prepared: &Prepared) -> CommitOutcome {
    let committable = prepared.committable.clone();
    let prev = epoch.checked_sub(1).filter(|prev| *prev > 0);
    let commit = Commit { lineage: lineage(), epoch, prev, committable };
    writer.commit(&commit).await.expect("an outcome")
}
