//! Leases and decisions on every store that several machines can share: one in memory, and real
//! servers where there are any.

#![allow(clippy::panic, clippy::unwrap_used)]

mod files;
mod packing;
mod packs;
mod retired;
mod shortcuts;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::failpoint::{self, Action};
use contract::{ErrorKind, Lineage};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use state::history::Decision;
use state::{Checkpoint, CheckpointStore};
use stores::Settings;
use testkit::services;
use tokio::sync::Mutex;

/// How long a lease lasts in these tests.
const TTL: Duration = Duration::from_millis(600);

/// Failpoints and their like belong to the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

fn main_lineage() -> Lineage {
    Lineage::main()
}

fn in_memory() -> CheckpointStore {
    CheckpointStore::shared(Arc::new(InMemory::new()), TTL, "memory")
}

/// Makes the holder of a lease one of another machine, so that nothing is known of it.
async fn move_away(store: &CheckpointStore, pipeline: &str) {
    let path = lease_of(pipeline);
    let bytes = store.objects().get(&path).await.unwrap().bytes().await.unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    record["holder"]["boot"] = "elsewhere".into();
    record["holder"]["id"] = "another".into();
    let bytes = serde_json::to_vec(&record).unwrap();
    store.objects().put(&path, bytes.into()).await.unwrap();
}

fn lease_of(pipeline: &str) -> Path {
    Path::from_iter([pipeline, "main", "lease"])
}

/// What every store must do for owners: one lives, one is refused, one takes over.
async fn check_leases(store: &CheckpointStore) {
    let pipeline = services::unique("lease");
    let first = store.lease(&pipeline, &main_lineage()).await.unwrap();
    first.verify().await.unwrap();
    let refused = store.lease(&pipeline, &main_lineage()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotOwner, "{}", refused.chain());
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    first.verify().await.unwrap();
    first.release().await;
    assert!(first.verify().await.is_err(), "what was given back is not held");
    let second = store.lease(&pipeline, &main_lineage()).await.unwrap();
    // An owner that died without a word: proved in this process, waited for elsewhere.
    drop(second);
    let third = store.lease(&pipeline, &main_lineage()).await.unwrap();
    move_away(store, &pipeline).await;
    let begun = Instant::now();
    let fourth = store.lease(&pipeline, &main_lineage()).await.unwrap();
    assert!(begun.elapsed() >= TTL, "an owner that may live is waited for");
    let lost = third.prove().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::NotOwner, "{}", lost.chain());
    assert!(fourth.prove().await.unwrap());
    fourth.release().await;
}

/// What every store must do for decisions.
async fn check_decisions(store: &CheckpointStore) {
    let pipeline = services::unique("decide");
    let history = store.history(&pipeline, &main_lineage());
    let checkpoint = |epoch: u64, writer: &str| Checkpoint {
        epoch,
        writer: writer.to_owned(),
        ..Checkpoint::first(&pipeline, &main_lineage(), 7)
    };
    for epoch in 0..3 {
        assert_eq!(history.decide(&mut checkpoint(epoch, "a")).await.unwrap(), Decision::Decided);
    }
    assert_eq!(history.decide(&mut checkpoint(2, "a")).await.unwrap(), Decision::Decided);
    assert_eq!(history.decide(&mut checkpoint(2, "b")).await.unwrap(), Decision::Overtaken);
    history.mark_complete(2).await.unwrap();
    let newest = history.newest().await.unwrap().unwrap();
    assert_eq!((newest.checkpoint.epoch, newest.complete), (2, true));
    assert_eq!(store.lineages(&pipeline).await.unwrap(), [main_lineage()]);
    history.keep_resource("abc", "text".into()).await.unwrap();
    assert_eq!(&history.resource("abc").await.unwrap()[..], b"text");
    assert_eq!(store.lineages(&pipeline).await.unwrap(), [main_lineage()]);
}

/// Takes a short lease instead of the one that people wait for.
async fn check_at(url: &str, access: &Settings) {
    let objects = stores::open(&access.moved(url)).unwrap();
    let store = CheckpointStore::shared(objects, TTL, url);
    check_decisions(&store).await;
    check_leases(&store).await;
}

#[tokio::test]
async fn a_store_in_memory_keeps_owners_apart() {
    let _alone = ONE_AT_A_TIME.lock().await;
    check_decisions(&in_memory()).await;
    check_leases(&in_memory()).await;
}

#[tokio::test]
async fn s3_keeps_owners_apart() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(endpoint) = services::find("s3") else { return };
    let access = Settings {
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        allow_http: true,
        access_key: Some(services::setting("s3_key")),
        secret_key: Some(services::setting("s3_secret")),
        ..Settings::default()
    };
    let url = format!("s3://{}/checkpoints", services::setting("s3_bucket"));
    check_at(&url, &access).await;
}

#[tokio::test]
async fn gcs_keeps_owners_apart() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(endpoint) = services::find("gcs") else { return };
    let access = Settings {
        endpoint: Some(endpoint),
        allow_http: true,
        secret_key: Some(services::GCS_ACCOUNT.into()),
        ..Settings::default()
    };
    let url = format!("gs://{}/checkpoints", services::setting("gcs_bucket"));
    check_at(&url, &access).await;
}

#[tokio::test]
async fn a_holder_that_slept_finds_out_before_it_decides() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let store = in_memory();
    let sleeper = store.lease("p", &main_lineage()).await.unwrap();
    failpoint::arm("lease.renew", 1, Action::Pause);
    failpoint::halted().await;
    move_away(&store, "p").await;
    let next = store.lease("p", &main_lineage()).await.unwrap();
    failpoint::resume();
    let error = sleeper.verify().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner, "{}", error.chain());
    next.verify().await.unwrap();
}

#[tokio::test]
async fn a_holder_that_slept_and_was_not_missed_goes_on() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let store = in_memory();
    let sleeper = store.lease("p", &main_lineage()).await.unwrap();
    failpoint::arm("lease.renew", 1, Action::Pause);
    failpoint::halted().await;
    tokio::time::sleep(TTL).await;
    failpoint::resume();
    sleeper.verify().await.unwrap();
    let refused = store.lease("p", &main_lineage()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotOwner, "it lives again");
}

#[tokio::test]
async fn answers_that_get_lost_lose_no_lease() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let objects = Arc::new(Unreliable { inner: InMemory::new(), fault: Fault::LoseAnswers });
    let store = CheckpointStore::shared(objects, TTL, "unreliable");
    let lineage = main_lineage();
    let lease = loop {
        match store.lease("p", &lineage).await {
            Ok(lease) => break lease,
            Err(error) => assert!(error.retry(), "{}", error.chain()),
        }
    };
    let limit = Instant::now() + 3 * TTL;
    while Instant::now() < limit {
        match lease.prove().await {
            Ok(held) => assert!(held),
            Err(error) => assert!(error.retry(), "{}", error.chain()),
        }
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let objects = Arc::new(Unreliable { inner: InMemory::new(), fault: Fault::IgnoreConditions });
    let store = CheckpointStore::shared(objects, TTL, "careless");
    let error = store.lease("p", &main_lineage()).await.unwrap_err();
    assert!(error.to_string().contains("\"careless\" does not keep conditions"), "{error}");
    assert!(!error.retry());
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Every second put is applied and answered with an error.
    LoseAnswers,
    /// Every put overwrites.
    IgnoreConditions,
}

/// A store with a fault.
#[derive(Debug)]
struct Unreliable {
    inner: InMemory,
    fault: Fault,
}

impl fmt::Display for Unreliable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Unreliable")
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self.fault {
            Fault::IgnoreConditions => {
                let options = PutOptions { mode: PutMode::Overwrite, ..options };
                self.inner.put_opts(location, payload, options).await
            }
            Fault::LoseAnswers => {
                let put = self.inner.put_opts(location, payload, options).await?;
                match rand::random() {
                    true => Ok(put),
                    false => Err(object_store::Error::Generic {
                        store: "unreliable",
                        source: "the answer got lost".into(),
                    }),
                }
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
