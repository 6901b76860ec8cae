//! Turns batches into Parquet files beside the table, and epochs into entries of its log.
//!
//! Files of different lineages and partitions never mix, so that one lineage can be left out of a
//! commit. Until a commit names a file, nobody reads it.

mod files;
mod stats;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use chrono::Utc;
use contract::error::Context;
use contract::failpoint::reach;
use contract::sink::{
    Commit, CommitOutcome, Footprint, Identity, Prepared, Room, Writer, WriterContext,
};
use contract::{Error, Lineage, Result};
use deltalake::kernel::{Add, StructField};
use deltalake::logstore::LogStoreRef;
use formats::columnar::{Means, Shape};
use futures::future::try_join_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::basic;

use crate::commit::{Committable, Wish};
use crate::config::{Compression, Config};
use crate::partition::{self, PartitionBy, PartitionKey};
use crate::schema;
use crate::shared::SharedLog;

use files::UPLOAD_BYTES;
pub use files::{ClosedFile, Files, OpenFile};

/// Files that are open at once; beyond this the one that waited longest is closed.
const FILES_OPEN_MAX: usize = 64;

/// What a table looks like to its writers.
#[derive(Clone)]
pub struct Layout {
    /// The schema in which batches are stored, partition columns included.
    pub stored: SchemaRef,
    /// The partition columns, outermost first.
    pub partitions: Vec<PartitionBy>,
    /// The table's columns.
    pub columns: Vec<StructField>,
}

impl Layout {
    /// The layout of a table for batches of this schema.
    ///
    /// # Errors
    /// Config: a column cannot be stored, or not partitioned by.
    pub fn new(schema: &Schema, partitions: Vec<PartitionBy>) -> Result<Self> {
        let stored = schema::stored(schema)?;
        for by in &partitions {
            by.check(&stored)?;
        }
        let derived: Vec<_> = partitions.iter().filter_map(PartitionBy::derived).collect();
        let columns = schema::table_columns(&stored, &derived)?;
        Ok(Self { stored, partitions, columns })
    }

    /// The names of the partition columns.
    pub fn partition_columns(&self) -> Vec<String> {
        self.partitions.iter().map(PartitionBy::column).collect()
    }

    /// The columns of the stored schema that stand in the files: all but the partition columns.
    fn in_files(&self) -> Vec<usize> {
        let partition_columns = self.partition_columns();
        let fields = self.stored.fields().iter().enumerate();
        let kept = fields.filter(|(_, field)| !partition_columns.contains(field.name()));
        kept.map(|(index, _)| index).collect()
    }
}

/// What a table's files have in common, for a writer with so much memory and so many threads.
pub fn files(
    log_store: &LogStoreRef,
    schema: SchemaRef,
    config: &Config,
    (memory_bytes, threads): (usize, usize),
) -> Arc<Files> {
    let means = Means { memory_bytes, threads, row_group_rows_max: config.row_group_rows_max };
    let shape = Arc::new(Shape::new(schema, codec(config.compression), means));
    Arc::new(Files { store: log_store.object_store(None), shape })
}

fn codec(compression: Compression) -> basic::Compression {
    match compression {
        Compression::Zstd => basic::Compression::ZSTD(basic::ZstdLevel::default()),
        Compression::Snappy => basic::Compression::SNAPPY,
        Compression::Lz4 => basic::Compression::LZ4_RAW,
        Compression::None => basic::Compression::UNCOMPRESSED,
    }
}

/// The entry of a log that adds a file.
///
/// # Errors
/// Bug: the file's footer makes no statistics.
pub fn add(
    file: ClosedFile,
    schema: &Schema,
    partition_values: HashMap<String, Option<String>>,
) -> Result<Add> {
    Ok(Add {
        stats: Some(stats::statistics(&file.metadata, schema)?),
        path: file.path,
        partition_values,
        size: file.size.cast_signed(),
        modification_time: Utc::now().timestamp_millis(),
        data_change: true,
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    })
}

/// The end of a file's name, which tells its compression.
pub fn extension(compression: Compression) -> &'static str {
    match compression {
        Compression::Zstd => "zstd.parquet",
        Compression::Snappy => "snappy.parquet",
        Compression::Lz4 => "lz4.parquet",
        Compression::None => "parquet",
    }
}

/// A table that exists, as a writer needs it.
pub struct Opened {
    /// How rows are stored.
    pub layout: Layout,
    /// Its log and its files.
    pub log_store: LogStoreRef,
    /// The log that all writers of the sink share.
    pub log: Arc<SharedLog>,
    /// Which of all tables of that name it is, and what it lacks.
    pub found: Found,
}

/// A table as it was found.
pub struct Found {
    /// Which of all tables of its name it is.
    pub id: String,
    /// Columns of the layout that it lacks.
    pub lacks: HashSet<String>,
}

/// Writes the epochs of a table's lineages.
pub struct LakeWriter {
    ctx: WriterContext,
    identity: Identity,
    layout: Layout,
    /// Columns that the table lacked when it was last seen.
    lacks: HashSet<String>,
    in_files: Vec<usize>,
    files: Arc<Files>,
    file_bytes_max: u64,
    extension: &'static str,
    log: Arc<SharedLog>,
    log_store: LogStoreRef,
    open: HashMap<(Lineage, PartitionKey), Slot>,
    staged: HashMap<Lineage, Staged>,
    /// The files of prepared epochs, which are durable as this process has just written them.
    written: HashMap<(Lineage, u64), HashSet<String>>,
    files_begun: u64,
    uses: u64,
}

struct Slot {
    file: OpenFile,
    last_use: u64,
}

/// What a lineage has staged since its last epoch.
#[derive(Default)]
struct Staged {
    rows: u64,
    files: Vec<Add>,
}

impl LakeWriter {
    /// Makes a writer of a table that exists.
    ///
    /// # Errors
    /// Bug: the layout does not fit its own schema.
    pub fn new(ctx: WriterContext, config: &Config, table: Opened) -> Result<Self> {
        let Opened { layout, log_store, log, found } = table;
        let identity = Identity { place: config.table.clone(), id: found.id, rows: 0 };
        let in_files = layout.in_files();
        let file_schema = layout.stored.project(&in_files).bug("the columns were counted wrong")?;
        let means = (ctx.memory_bytes, ctx.threads);
        let files = files(&log_store, Arc::new(file_schema), config, means);
        Ok(Self {
            file_bytes_max: config.file_bytes_max.0,
            extension: extension(config.compression),
            ctx,
            identity,
            layout,
            lacks: found.lacks,
            in_files,
            files,
            log,
            log_store,
            open: HashMap::new(),
            staged: HashMap::new(),
            written: HashMap::new(),
            files_begun: 0,
            uses: 0,
        })
    }

    async fn write_part(
        &mut self,
        lineage: &Lineage,
        key: PartitionKey,
        batch: RecordBatch,
    ) -> Result<()> {
        let slot_key = (lineage.clone(), key);
        if !self.open.contains_key(&slot_key) {
            self.make_room().await?;
            let file = self.begin_file(&slot_key.1)?;
            self.open.insert(slot_key.clone(), Slot { file, last_use: 0 });
        }
        self.uses += 1;
        let slot = self.open.get_mut(&slot_key).expect("it was opened above");
        slot.last_use = self.uses;
        slot.file.write(batch).await?;
        if slot.file.size() >= self.file_bytes_max {
            self.close(&slot_key).await?;
        }
        Ok(())
    }

    fn begin_file(&mut self, key: &PartitionKey) -> Result<OpenFile> {
        self.files_begun += 1;
        let folder = partition::folder(&self.layout.partitions, key);
        let (writer, number) = (&self.ctx.writer_id, self.files_begun);
        let path = format!("{folder}part-{writer}-{number:05}.{}", self.extension);
        OpenFile::begin(self.files.clone(), path)
    }

    /// Closes the file that waited longest if no more may be open.
    async fn make_room(&mut self) -> Result<()> {
        if self.open.len() < FILES_OPEN_MAX {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, slot)| slot.last_use);
        match oldest.map(|(key, _)| key.clone()) {
            Some(key) => self.close(&key).await,
            None => Ok(()),
        }
    }

    /// Frees memory, beginning with the largest file.
    async fn keep_budget(&mut self) -> Result<()> {
        while self.holds_too_much() {
            let largest = self.open.iter_mut().max_by_key(|(_, slot)| slot.file.memory_bytes());
            let Some((key, slot)) = largest else { return Ok(()) };
            let key = key.clone();
            slot.file.end_row_group().await?;
            if self.holds_too_much() {
                self.close(&key).await?;
            }
        }
        Ok(())
    }

    /// Whether files are to be closed. One may always be on its way.
    fn holds_too_much(&self) -> bool {
        let Footprint { own, clients, .. } = self.footprint();
        own > self.ctx.memory_bytes || clients > self.ctx.client_bytes.max(UPLOAD_BYTES)
    }

    async fn close(&mut self, key: &(Lineage, PartitionKey)) -> Result<()> {
        let Some(slot) = self.open.remove(key) else { return Ok(()) };
        let closed = slot.file.close().await?;
        let add = self.add(closed, &key.1)?;
        self.staged.entry(key.0.clone()).or_default().files.push(add);
        Ok(())
    }

    fn add(&self, closed: ClosedFile, key: &PartitionKey) -> Result<Add> {
        let values = self.layout.partition_columns().into_iter().zip(key.iter().cloned());
        add(closed, self.files.shape.schema(), values.collect())
    }

    /// Looks at the table before what is prepared is decided.
    async fn look(&mut self, lineage: &Lineage, files: &Committable) -> Result<()> {
        let lacks = self.log.look(lineage, files).await?;
        if let Some(dropped) = lacks.iter().find(|column| !self.lacks.contains(*column)) {
            let table = &self.identity.place;
            return Err(Error::config(format!(
                "column {dropped:?} of lake table {table:?} was dropped while we run"
            ))
            .hint("leave it out by a `sql` step, or start again, which adds it anew"));
        }
        self.lacks = lacks.into_iter().collect();
        Ok(())
    }

    fn take_open(&mut self, lineage: &Lineage) -> Vec<(PartitionKey, OpenFile)> {
        let open = self.open.extract_if(|(owner, _), _| owner == lineage);
        let mut files: Vec<_> = open.map(|((_, key), slot)| (key, slot.file)).collect();
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files
    }
}

#[async_trait]
impl Writer for LakeWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        let rows = records.num_rows() as u64;
        let stored = schema::convert(&records, &self.layout.stored)?;
        for (key, part) in partition::split(stored, &self.layout.partitions)? {
            let part = part.project(&self.in_files).bug("the columns were counted wrong")?;
            self.write_part(lineage, key, part).await?;
        }
        self.staged.entry(lineage.clone()).or_default().rows += rows;
        self.keep_budget().await?;
        Ok(Room::Left)
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        reach("lake.prepare.before_files").await?;
        let (keys, open): (Vec<_>, Vec<_>) = self.take_open(lineage).into_iter().unzip();
        let closed = try_join_all(open.into_iter().map(OpenFile::close)).await?;
        let mut staged = self.staged.remove(lineage).unwrap_or_default();
        for (key, closed) in keys.iter().zip(closed) {
            staged.files.push(self.add(closed, key)?);
        }
        reach("lake.prepare.after_files").await?;
        if staged.files.is_empty() {
            return Ok(Prepared::default());
        }
        let paths = staged.files.iter().map(|file| file.path.clone()).collect();
        self.written.insert((lineage.clone(), epoch), paths);
        let columns = self.layout.columns.clone();
        let mut files = Committable { files: staged.files, columns, new: None };
        let seen = self.look(lineage, &files).await;
        if let Err(error) = seen {
            // What is dropped with the attempt is removed with it.
            self.staged.insert(lineage.clone(), Staged { rows: 0, files: files.files });
            return Err(error);
        }
        files.new = Some(self.lacks.iter().cloned().collect());
        let committable = serde_json::to_value(files).bug("could not write a committable")?;
        let (rows, committable) = (staged.rows, Some(committable));
        let identities = vec![Identity { rows, ..self.identity.clone() }];
        Ok(Prepared { rows, rejects: Vec::new(), committable, identities })
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        let written = self.written.remove(&(commit.lineage.clone(), commit.epoch));
        let (incarnation, written) = (self.ctx.incarnation, written.unwrap_or_default());
        self.log.publish(Wish { commit: commit.clone(), incarnation, written }).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        for (_, file) in self.take_open(lineage) {
            file.abandon().await;
        }
        self.written.retain(|(owner, _), _| owner != lineage);
        // What was prepared may have been decided: only files that no epoch names are removed.
        let staged = self.staged.remove(lineage).unwrap_or_default();
        let store = self.log_store.object_store(None);
        for file in staged.files {
            let path = Path::parse(&file.path).bug("a staged file has no valid name")?;
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    let message = format!("could not remove staged file {:?}", file.path);
                    return Err(Error::transient(message).because(error));
                }
            }
        }
        Ok(())
    }

    fn footprint(&self) -> Footprint {
        let files = || self.open.values().map(|slot| &slot.file);
        Footprint {
            own: files().map(OpenFile::unsent_bytes).sum(),
            clients: files().map(OpenFile::sent_bytes).sum(),
            refused: 0,
        }
    }
}
