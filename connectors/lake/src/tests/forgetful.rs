//! A store that does what it is told and loses the answer, so that its client meets itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::json;

use super::care::{commit_epochs, file_count};
use super::{config, positions, sink};
use crate::maintenance::Care;
use crate::table::{self, Location};

/// Loses the answer to the first create.
#[derive(Debug)]
struct Forgetful {
    store: Arc<dyn ObjectStore>,
    armed: AtomicBool,
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
        let put = self.store.put_opts(location, payload, opts).await?;
        if creates && self.armed.swap(false, Ordering::Relaxed) {
            let path = location.to_string();
            return Err(Error::AlreadyExists { path, source: "it was created".into() });
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
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

fn forgetful(log_store: &LogStoreRef) -> LogStoreRef {
    let store = log_store.object_store(None);
    let files = Arc::new(Forgetful { store, armed: AtomicBool::new(true) });
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
    let care = Care { log_store: forgetful(&log_store), config: config(settings) };
    care.merge_small_files().await.expect("merged");
    assert_eq!(file_count(folder.path()).await, 1);
    assert_eq!(positions(&quiet).await, (0..200).collect::<Vec<_>>());
}
