//! The sink: creates the table, reads its tokens, makes writers, reads rows back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::error::Context;
use contract::needs::State;
use contract::sink::{
    BatchStream, Held, Promise, Proof, ReadBack, Sink, SinkKind, Writer, WriterContext,
};
use contract::{Error, Lineage, Result};
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, EagerSnapshot, MetadataExt, Protocol, StructType, new_metadata};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use crate::commit::{self, Log, Owner};
use crate::config::{Config, DEAD_LETTERS};
use crate::fit::Shape;
use crate::maintenance::Caretaker;
use crate::partition::PartitionBy;
use crate::shared::SharedLog;
use crate::table::Location;
use crate::writer::{Found, LakeWriter, Layout, Opened};
use crate::{read, schema, table};

/// What a lake promises while rows carry their origin.
pub const PROMISE: Promise = Promise {
    kind: SinkKind::Staged,
    token: true,
    proof: Proof::Origin,
    sentence: "exactly once",
    with_origin: true,
};

/// A table as a sink.
pub struct LakeSink {
    config: Config,
    partitions: Vec<PartitionBy>,
    location: Location,
    /// What its writers have in common while there are any.
    log: Mutex<Weak<SharedLog>>,
    /// Whether the table was found, or made, before.
    was_there: AtomicBool,
}

impl LakeSink {
    /// Makes the sink of checked settings; `data` is the folder of the embedded lake.
    ///
    /// # Errors
    /// Config: the settings name no place or no partition that we know.
    pub fn new(config: Config, data: &Path) -> Result<Self> {
        let partitions = config.partitions()?;
        let location = config.location(data);
        let (log, was_there) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { config, partitions, location, log, was_there })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.config.table
    }

    /// Where it lies.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Whether it is there and takes rows of these columns. Makes nothing.
    ///
    /// # Errors
    /// External: the store or the table cannot be read.
    pub async fn look(&self, columns: &SchemaRef) -> Result<State> {
        if !table::exists_locally(&self.location)? {
            return Ok(State::Missing);
        }
        let layout = Layout::new(columns, self.partitions.clone())?;
        let Some(snapshot) = table::snapshot(&self.log_store()?).await? else {
            return Ok(State::Missing);
        };
        Ok(match self.check_existing(&snapshot, &layout) {
            Ok(_) => State::Present,
            Err(error) => State::Different(error.chain()),
        })
    }

    /// Makes it for rows of these columns, unless it is there.
    ///
    /// # Errors
    /// As for [`Sink::open`].
    pub async fn make(&self, columns: &SchemaRef) -> Result<()> {
        let layout = Layout::new(columns, self.partitions.clone())?;
        let log_store = self.log_store()?;
        table::prove_store(&self.location, &log_store).await?;
        self.ensure(&log_store, &layout).await.map(drop)
    }

    fn log_store(&self) -> Result<LogStoreRef> {
        table::log_store(&self.location)
    }

    /// The log that all writers of this sink share.
    fn log(&self, ctx: &WriterContext, log_store: &LogStoreRef) -> Arc<SharedLog> {
        let mut shared = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let log = Log::new(log_store.clone(), Owner::of(ctx), &self.config.table);
            let caretaker = Caretaker::new(log_store.clone(), &self.config, ctx.memory_bytes);
            let new = Arc::new(SharedLog::new(log, caretaker));
            *shared = Arc::downgrade(&new);
            new
        })
    }

    /// Creates the table if there is none, else checks that rows of this layout can be added.
    async fn ensure(&self, log_store: &LogStoreRef, layout: &Layout) -> Result<Found> {
        if let Some(snapshot) = table::snapshot(log_store).await? {
            self.was_there.store(true, Ordering::Relaxed);
            return self.check_existing(&snapshot, layout);
        }
        if self.was_there.load(Ordering::Relaxed) {
            warn!(table = self.config.table, "the table was dropped; it is made anew, empty");
        }
        let (id, entry) = self.first_entry(log_store, layout)?;
        let put = log_store.write_commit_entry(0, entry, Uuid::new_v4()).await;
        match put {
            Ok(()) => {
                self.was_there.store(true, Ordering::Relaxed);
                Ok(Found { id, lacks: HashSet::new() })
            }
            Err(TransactionError::VersionAlreadyExists(_)) => {
                let snapshot = table::snapshot(log_store).await?;
                let snapshot = snapshot.ok_or_else(|| {
                    Error::transient(format!("lake table {:?} vanished", self.config.table))
                })?;
                self.check_existing(&snapshot, layout)
            }
            Err(error) => {
                let message = format!("could not create lake table {:?}", self.config.table);
                Err(Error::transient(message).because(error))
            }
        }
    }

    fn check_existing(&self, snapshot: &EagerSnapshot, layout: &Layout) -> Result<Found> {
        let name = &self.config.table;
        let there = snapshot.metadata().partition_columns();
        let here = layout.partition_columns();
        if *there != here {
            return Err(Error::config(format!(
                "lake table {name:?} is partitioned by {there:?}, not by {here:?}"
            ))
            .field("partition_by")
            .hint("partitions are fixed once a table exists: set the old ones, or another table"));
        }
        let metadata = snapshot.metadata();
        let columns = snapshot.schema();
        schema::grow(columns.as_ref(), &layout.columns, name)?;
        let shape = Shape { name, metadata, columns: columns.as_ref() };
        shape.refuse_rules()?;
        let lacks = shape.lacks(&layout.columns).map(str::to_owned).collect();
        Ok(Found { id: metadata.id().to_owned(), lacks })
    }

    /// The id of a new table, and the entry that makes it.
    fn first_entry(
        &self,
        log_store: &LogStoreRef,
        layout: &Layout,
    ) -> Result<(String, CommitOrBytes)> {
        let columns = StructType::try_new(layout.columns.iter().cloned())
            .map_err(|error| Error::config("the columns do not make a table").because(error))?;
        let no_settings = std::iter::empty::<(&str, &str)>();
        let metadata = new_metadata(&columns, layout.partition_columns(), no_settings)
            .and_then(|metadata| metadata.with_name(self.config.table.clone()))
            .bug("could not describe a new table")?;
        let protocol: Protocol =
            serde_json::from_value(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))
                .bug("could not write the protocol of a new table")?;
        let id = metadata.id().to_owned();
        let operation = DeltaOperation::Create {
            mode: SaveMode::ErrorIfExists,
            location: log_store.root_url().clone(),
            protocol: protocol.clone(),
            metadata: metadata.clone(),
        };
        let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
        let entry = CommitData::new(actions, operation, HashMap::new(), Vec::new());
        let bytes = entry.get_bytes().bug("could not write the first entry of a table's log")?;
        Ok((id, CommitOrBytes::LogBytes(bytes)))
    }
}

#[async_trait]
impl Sink for LakeSink {
    fn promise(&self) -> Promise {
        let proof = if self.config.origin { Proof::Origin } else { Proof::Count };
        Promise { proof, with_origin: self.config.origin, ..PROMISE }
    }

    fn destination(&self, columns: &SchemaRef) -> Result<Option<String>> {
        Layout::new(columns, self.partitions.clone())?;
        // One bucket's name may be in use at several endpoints.
        let endpoint = self.location.store.endpoint.as_deref().unwrap_or_default();
        Ok(Some(format!("{} {endpoint}", self.location.url()).trim_end().to_owned()))
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        if !table::exists_locally(&self.location)? {
            return Ok(Held::Nothing);
        }
        let log_store = self.log_store()?;
        // On this machine a table is looked at even before a start, so that `check` says what it
        // would refuse.
        if self.location.folder()?.is_some()
            && let Some(snapshot) = table::snapshot(&log_store).await?
        {
            let layout = Layout::new(&ctx.schema, self.partitions.clone())?;
            self.check_existing(&snapshot, &layout)?;
        }
        // Nothing shuts an earlier writer out of a log; it can only add the epoch that is decided
        // anyway, and the next commit is compared with whatever the log holds by then.
        commit::held(&log_store, &Owner::of(ctx), lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let layout = Layout::new(&ctx.schema, self.partitions.clone())?;
        let log_store = self.log_store()?;
        table::prove_store(&self.location, &log_store).await?;
        let found = self.ensure(&log_store, &layout).await?;
        let log = self.log(&ctx, &log_store);
        let table = Opened { layout, log_store, log, found };
        Ok(Box::new(LakeWriter::new(ctx, &self.config, table)?))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        // Pipelines that share a folder share this table, which says of each row whose it is.
        let of = (self.config.table == DEAD_LETTERS).then(|| pipeline.to_owned());
        read::read_back(&self.location, what, of).await
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        if !table::exists_locally(&self.location)? {
            return Ok(BTreeMap::new());
        }
        let snapshot = table::snapshot(&self.log_store()?).await?;
        let id = snapshot.map(|snapshot| snapshot.metadata().id().to_owned());
        Ok(id.map(|id| (self.config.table.clone(), id)).into_iter().collect())
    }
}
