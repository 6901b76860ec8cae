//! Stores that take no more: nothing of an epoch that fails is left in them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::sink::{Sink, Writer, WriterContext};
use contract::{Result, record};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, PutPayload, PutResult};
use testkit::services::unique;

use super::{Bench, commit, lineage, prepare, rows};
use crate::commit::Committable;
use crate::key::KeyTemplate;
use crate::spill::Spill;
use crate::writer::{ObjectWriter, Target};

/// A store with room for so many bytes of parts more; what is aborted is not given back.
struct Full {
    inner: Arc<dyn MultipartStore>,
    room: AtomicU64,
    begun: Begun,
}

/// The names of all uploads that were begun.
type Begun = Arc<Mutex<BTreeSet<Path>>>;

impl std::fmt::Debug for Full {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Full")
    }
}

#[async_trait]
impl MultipartStore for Full {
    async fn create_multipart(&self, path: &Path) -> object_store::Result<MultipartId> {
        self.begun.lock().expect("not poisoned").insert(path.clone());
        self.inner.create_multipart(path).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> object_store::Result<PartId> {
        let bytes = data.content_length() as u64;
        let less = |room: u64| room.checked_sub(bytes);
        if self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            let source = "No space left on device (os error 28)".into();
            return Err(object_store::Error::Generic { store: "full", source });
        }
        self.inner.put_part(path, id, part_idx, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        self.inner.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
        self.inner.abort_multipart(path, id).await
    }
}

/// Uploads of these names that are begun and not complete. MinIO lists them by whole names alone.
async fn uploads(bench: &Bench, names: impl IntoIterator<Item = Path>) -> usize {
    let place = bench.place();
    let Some(bucket) = place.bucket() else {
        let staging = bench.folder.path().join("out").join(stores::STAGING);
        let Ok(listed) = std::fs::read_dir(staging) else { return 0 };
        let names = listed.map(|it| it.expect("an entry").file_name());
        return names.filter(|name| is_upload(name)).count();
    };
    let mut uploads = 0;
    for name in names {
        let page = bucket.uploads(name.as_ref(), None).await.expect("listed");
        uploads += String::from_utf8_lossy(&page).matches("<UploadId>").count();
    }
    uploads
}

fn is_upload(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with("upload#")
}

/// A writer into a store with so much room.
fn writer_into(bench: &Bench, room: u64, begun: &Begun) -> ObjectWriter {
    let mut place = bench.place();
    let full =
        Full { inner: place.uploads.clone(), room: AtomicU64::new(room), begun: begun.clone() };
    place.uploads = Arc::new(full);
    let config = Arc::new(bench.config.clone());
    let key = KeyTemplate::parse(&config.key(), "shop", "archive").expect("a template");
    let spill = Spill::new(bench.folder.path().join("spill"));
    let target = Target { place, spill, unsettled: Arc::default() };
    ObjectWriter::new(config, Arc::new(key), target, &context()).expect("a writer")
}

/// Writes and prepares as a sink's task does: it aborts whatever failed.
async fn attempt(writer: &mut ObjectWriter, bytes: usize) -> Result<()> {
    let batch = rows(0..3000, bytes);
    let schema = record::sink_schema(&batch.schema(), true);
    let split = contract::SplitId::new("a.log");
    let batch = record::for_sink(&batch, &schema, &split, 1).expect("rows");
    let done = async {
        for from in (0..3000).step_by(500) {
            writer.write(&lineage(), batch.slice(from, 500)).await?;
        }
        writer.prepare(&lineage(), 1).await.map(|_| ())
    };
    let done = done.await;
    writer.abort(&lineage()).await.expect("aborted");
    done
}

/// Three objects of some megabytes each, and room that ends in one of them after another.
async fn nothing_is_left(store: &str) {
    let key = "key: \"{host}/{split}-{position}\", format: jsonl";
    for (settings, bytes) in [("rows_max: 400", 1500), ("bytes_max: 100MiB", 6000)] {
        let Some(bench) = Bench::new(store, &format!("{key}, {settings}")) else { return };
        // The bucket.
        bench.sink.open(context()).await.expect("a writer");
        for room in [0, 1 << 20, 3 << 20, 7 << 20, 13 << 20] {
            let begun = Begun::default();
            let mut writer = writer_into(&bench, room, &begun);
            let error = attempt(&mut writer, bytes).await.err();
            if let Some(error) = &error {
                assert!(error.retry(), "{}", error.chain());
                let begun = std::mem::take(&mut *begun.lock().expect("not poisoned"));
                assert!(!begun.is_empty());
                assert_eq!(uploads(&bench, begun).await, 0, "{store}, {settings}, room {room}");
            }
            assert!(error.is_some() || room > 3 << 20, "{store}, {settings}, room {room}");
        }
        assert!(bench.objects().await.is_empty());
    }
}

fn context() -> WriterContext {
    WriterContext {
        pipeline: "shop".to_owned(),
        sink: "archive".to_owned(),
        incarnation: 7,
        writer_id: unique("w"),
        schema: record::sink_schema(&rows(0..1, 1).schema(), true),
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_keeps_no_upload_of_an_epoch_that_failed() {
    nothing_is_left("local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bucket_keeps_no_upload_of_an_epoch_that_failed() {
    nothing_is_left("s3").await;
}

/// A store that does not answer lets each upload wait: one that failed is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_an_upload_failed_only_those_beside_it_are_begun() {
    let bench = Bench::local("key: \"{text}/{split}-{position}\"");
    bench.sink.open(context()).await.expect("a writer");
    let begun = Begun::default();
    let mut writer = writer_into(&bench, 0, &begun);
    let batch = rows(0..60, 200_000);
    let schema = record::sink_schema(&batch.schema(), true);
    let batch = record::for_sink(&batch, &schema, &contract::SplitId::new("a.log"), 1);
    writer.write(&lineage(), batch.expect("rows")).await.expect("kept in memory");
    let error = writer.prepare(&lineage(), 1).await.expect_err("the disk is full");
    assert!(error.retry(), "{}", error.chain());
    writer.abort(&lineage()).await.expect("aborted");
    let begun = std::mem::take(&mut *begun.lock().expect("not poisoned"));
    assert!((1..20).contains(&begun.len()), "{} of 60", begun.len());
    assert_eq!(uploads(&bench, begun).await, 0);
}

/// Attempts that prepare and are dropped before the decision: each removes what the one before it
/// left.
async fn undecided(store: &str) {
    let Some(bench) = Bench::new(store, "key: \"{split}-{position}\"") else { return };
    let batch = rows(0..200, 4000);
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        let mut writer = bench.writer(&batch.schema()).await;
        let prepared = prepare(writer.as_mut(), 1, &batch).await;
        let committable = prepared.committable.expect("something is staged");
        let staged: Committable = serde_json::from_value(committable).expect("ours");
        let place = bench.place();
        names.extend(staged.objects.iter().map(|it| place.path(&it.key).expect("a path")));
        writer.abort(&lineage()).await.expect("aborted");
        assert_eq!(uploads(&bench, names.clone()).await, 1, "{store}");
    }
    // What is decided is published by the next one, and its upload is not touched before.
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    writer.abort(&lineage()).await.expect("aborted");
    let mut writer = bench.writer(&batch.schema()).await;
    commit(writer.as_mut(), 1, &prepared).await;
    prepare(writer.as_mut(), 2, &rows(200..210, 10)).await;
    assert_eq!(uploads(&bench, names).await, 0, "{store}");
    assert_eq!(bench.positions().await.len(), 200, "{store}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_are_dropped_before_the_decision_pile_up_nothing_on_disk() {
    undecided("local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_are_dropped_before_the_decision_pile_up_nothing_in_a_bucket() {
    undecided("s3").await;
}
