//! A table's log that is read with little memory.
//!
//! The kernel of Delta Lake opens up to 1,000 entries of a log ahead of the one that it reads, and
//! makes a parser of 0.23 MB for each of them. So the care of a table that had 300 short entries
//! held 150 MB. A handful of entries ahead hides the time that a store takes as well.

use std::num::NonZero;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delta_kernel::Engine;
use delta_kernel_engine::DefaultEngineBuilder;
use delta_kernel_engine::executor::tokio::{TokioBackgroundExecutor, TokioMultiThreadExecutor};
use deltalake::DeltaResult;
use deltalake::kernel::Version;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef};
use object_store::ObjectStore;
use tokio::runtime::{Handle, RuntimeFlavor};
use uuid::Uuid;

/// Entries of a log, or parts of its checkpoint, that are open at once.
const ENTRIES_AHEAD: NonZero<usize> = NonZero::new(8).expect("eight is not zero");

/// The log of a table that opens few entries at once.
pub struct Sparing {
    inner: LogStoreRef,
}

impl Sparing {
    /// The same log, sparing.
    pub fn over(inner: LogStoreRef) -> LogStoreRef {
        Arc::new(Self { inner })
    }
}

#[async_trait]
impl LogStore for Sparing {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn refresh(&self) -> DeltaResult<()> {
        self.inner.refresh().await
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: Version,
        entry: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        self.inner.write_commit_entry(version, entry, operation).await
    }

    async fn abort_commit_entry(
        &self,
        version: Version,
        entry: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        self.inner.abort_commit_entry(version, entry, operation).await
    }

    async fn get_latest_version(&self, start: Version) -> DeltaResult<Version> {
        self.inner.get_latest_version(start).await
    }

    fn object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.object_store(operation)
    }

    fn root_object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.root_object_store(operation)
    }

    fn engine(&self, operation: Option<Uuid>) -> Arc<dyn Engine> {
        let store = self.root_object_store(operation);
        let builder = DefaultEngineBuilder::new(store).with_buffer_size(ENTRIES_AHEAD);
        let tasks = Handle::current();
        if tasks.runtime_flavor() == RuntimeFlavor::MultiThread {
            let executor = Arc::new(TokioMultiThreadExecutor::new(tasks));
            return Arc::new(builder.with_task_executor(executor).build());
        }
        let executor = Arc::new(TokioBackgroundExecutor::new());
        Arc::new(builder.with_task_executor(executor).build())
    }

    fn config(&self) -> &LogStoreConfig {
        self.inner.config()
    }
}
