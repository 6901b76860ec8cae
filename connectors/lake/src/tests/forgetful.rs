//! Stores that do not answer as they should: one loses an answer, so that its client meets itself,
//! one does not keep conditions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use serde_json::json;

use super::care::{commit_epochs, file_count};
use super::{config, positions, sink};
use crate::maintenance::Care;
use crate::sparing::Sparing;
use crate::table::{self, Location};

/// What Linux calls a disk that could not be read.
const EIO: i32 = 5;

#[derive(Debug)]
struct Forgetful {
    store: Arc<dyn ObjectStore>,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    /// The answer to the first create is lost.
    LosesAnswer(AtomicBool),
    /// What is there is overwritten.
    Overwrites,
    /// None: entries of the log that are open are counted.
    Counts(Arc<Open>),
    /// The disk fails once where an entry of the log is opened.
    FailsOpening(AtomicBool),
    /// The disk fails once in the middle of an entry of the log.
    FailsReading(AtomicBool),
}

/// Entries of a log that somebody reads now, and at most.
#[derive(Debug, Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them.
struct Entry(Arc<Open>);

impl Entry {
    fn new(open: Arc<Open>) -> Self {
        let now = open.now.fetch_add(1, Ordering::Relaxed) + 1;
        open.most.fetch_max(now, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same bytes; whoever holds them holds the entry.
fn held(entry: Entry, found: GetResult) -> GetResult {
    let (meta, range) = (found.meta.clone(), found.range.clone());
    let attributes = found.attributes.clone();
    let pieces = found.into_stream().inspect(move |_| {
        let _ = &entry;
    });
    GetResult { payload: GetResultPayload::Stream(pieces.boxed()), meta, range, attributes }
}

/// Whether an entry of the log is read, for the first time since the fault is armed.
fn is_due(location: &Path, armed: &AtomicBool) -> bool {
    location.extension() == Some("json") && armed.swap(false, Ordering::Relaxed)
}

/// The error of a disk that could not be read, as the store on local disk passes it on.
fn broken_disk() -> Error {
    let source = std::io::Error::from_raw_os_error(EIO);
    Error::Generic { store: "LocalFileSystem", source: Box::new(source) }
}

/// The first bytes, then the error of the disk.
fn torn(found: GetResult) -> GetResult {
    let (meta, range) = (found.meta.clone(), found.range.clone());
    let attributes = found.attributes.clone();
    let first = bytes::Bytes::from_static(b"{");
    let pieces = futures::stream::iter([Ok(first), Err(broken_disk())]);
    GetResult { payload: GetResultPayload::Stream(pieces.boxed()), meta, range, attributes }
}

impl fmt::Display for Forgetful {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "forgetful {}", self.store)
    }
}

#[async_trait]
impl ObjectStore for Forgetful {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let creates = opts.mode == PutMode::Create;
        match &self.fault {
            Fault::LosesAnswer(armed) => {
                let put = self.store.put_opts(location, payload, opts).await?;
                if creates && armed.swap(false, Ordering::Relaxed) {
                    let path = location.to_string();
                    return Err(Error::AlreadyExists { path, source: "it was created".into() });
                }
                Ok(put)
            }
            Fault::Overwrites => self.store.put(location, payload).await,
            Fault::Counts(_) | Fault::FailsOpening(_) | Fault::FailsReading(_) => {
                self.store.put_opts(location, payload, opts).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.store.get_opts(location, options).await?;
        match &self.fault {
            Fault::Counts(open) if location.extension() == Some("json") => {
                Ok(held(Entry::new(open.clone()), found))
            }
            Fault::FailsOpening(armed) if is_due(location, armed) => Err(broken_disk()),
            Fault::FailsReading(armed) if is_due(location, armed) => Ok(torn(found)),
            _ => Ok(found),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

fn with_fault(log_store: &LogStoreRef, fault: Fault) -> LogStoreRef {
    let files = Arc::new(Forgetful { store: log_store.object_store(None), fault });
    let (root, url) = (log_store.root_object_store(None), log_store.root_url());
    default_logstore(files, root, url, &StorageConfig::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_whose_answer_was_lost_keeps_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = json!({ "maintenance": { "enabled": false } });
    let quiet = sink(folder.path(), settings.clone());
    commit_epochs(&quiet, 20).await;
    let log_store = table::log_store(&Location::embedded(folder.path(), "hits")).expect("a table");
    let log_store = with_fault(&log_store, Fault::LosesAnswer(AtomicBool::new(true)));
    let care = Care { log_store, config: config(settings), memory_bytes: 64 << 20 };
    care.merge_small_files().await.expect("merged");
    assert_eq!(file_count(folder.path()).await, 1);
    assert_eq!(positions(&quiet).await, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_overwrites_what_is_there_is_refused_where_others_reach_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = Location::embedded(folder.path(), "hits");
    let log_store = table::log_store(&here).expect("a table");
    let there = Location::new("s3://hits/a");
    table::prove_store(&there, &log_store).await.expect("it keeps conditions");
    let careless = with_fault(&log_store, Fault::Overwrites);
    let error = table::prove_store(&there, &careless).await.expect_err("it does not");
    assert!(error.to_string().contains("does not keep conditions of writes"), "{error}");
    assert!(!error.retry(), "it will not learn");
    let entries = std::fs::read_dir(folder.path().join("lake/hits")).expect("a folder");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let left: Vec<_> = names.filter(|name| name != ".logmill").collect();
    assert!(left.is_empty(), "nothing of the probe stays: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_a_few_entries_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 60).await;
    let log_store = table::log_store(&Location::embedded(folder.path(), "hits")).expect("a table");
    let open = Arc::new(Open::default());
    let store = log_store.root_object_store(None);
    let root = Arc::new(Forgetful { store, fault: Fault::Counts(open.clone()) });
    let (files, url) = (log_store.object_store(None), log_store.root_url());
    let counted = default_logstore(files, root, url, &StorageConfig::default());
    let table = table::snapshot(&Sparing::over(counted)).await.expect("readable").expect("a table");
    assert_eq!(table.version(), 60);
    let most = open.most.load(Ordering::Relaxed);
    assert!((1..=10).contains(&most), "{most} of 61 entries were open at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_while_a_log_is_read_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 3).await;
    let log_store = table::log_store(&Location::embedded(folder.path(), "hits")).expect("a table");
    let armed = || AtomicBool::new(true);
    for fault in [Fault::FailsOpening(armed()), Fault::FailsReading(armed())] {
        let shown = format!("{fault:?}");
        let root = Arc::new(Forgetful { store: log_store.root_object_store(None), fault });
        let (files, url) = (log_store.object_store(None), log_store.root_url());
        let failing = default_logstore(files, root, url, &StorageConfig::default());
        let failing = Sparing::over(failing);
        let error = table::snapshot(&failing).await.expect_err("the disk fails");
        assert!(error.retry(), "{shown}: {}", error.chain());
        let table = table::snapshot(&failing).await.expect("once").expect("a table");
        assert_eq!(table.version(), 3, "{shown}");
    }
}
