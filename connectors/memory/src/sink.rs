//! The sink of every kind: each method is what a real destination of that kind does.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use contract::record::{EPOCH, ORDINAL, Origins, POSITION, SPLIT, positions};
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Footprint, Held, OneLineage, Prepared, Promise, Proof,
    ReadBack, Rejects, Room, Sink, SinkKind, Token, Writer, WriterContext,
};
use contract::{Error, Lineage, Origin, Result, failpoint};

use crate::config::{Kind, SinkConfig};
use crate::store::{Store, origins, store};

/// A sink into a named store.
pub struct MemorySink {
    config: SinkConfig,
    store: Store,
}

impl MemorySink {
    /// A sink with these settings; `name` is its name in the pipeline file.
    pub fn new(config: SinkConfig, name: &str) -> Self {
        let store = store(config.store.as_deref().unwrap_or(name));
        Self { config, store }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn promise(&self) -> Promise {
        let (kind, token, sentence) = match self.config.kind {
            Kind::Transaction => (SinkKind::Transaction, true, "exactly once"),
            Kind::Staged => (SinkKind::Staged, true, "exactly once"),
            Kind::Idempotent => {
                (SinkKind::Idempotent, false, "effectively once: a repeat overwrites itself")
            }
            Kind::None => (SinkKind::None, false, "at least once"),
        };
        Promise { kind, token, proof: Proof::Origin, sentence, with_origin: true }
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        if !self.promise().token {
            return Ok(Held::Untold);
        }
        let key = key(ctx, lineage);
        let mut content = self.store.content();
        *content.fences.entry(key.clone()).or_default() += 1;
        content.open.retain(|connection, _| !connection.starts_with(&key));
        Ok(content.tokens.get(&key).map_or(Held::Nothing, |token| Held::Token(*token)))
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(MemoryWriter {
            config: self.config.clone(),
            store: self.store.clone(),
            ctx,
            lineage: OneLineage::default(),
            fence: None,
            connection: None,
            rows: 0,
            buffered: Vec::new(),
            rejects: Rejects::default(),
        }))
    }

    async fn read_back(&self, _pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let rows = self.store.rows();
        let found = rows.into_iter().map(|batch| match &what {
            ReadBack::Origins => only_origins(&batch),
            ReadBack::Record(origin) => only_record(&batch, origin),
        });
        let found: Vec<_> = found.collect();
        Ok(Box::pin(futures::stream::iter(found)))
    }
}

struct MemoryWriter {
    config: SinkConfig,
    store: Store,
    ctx: WriterContext,
    lineage: OneLineage,
    /// The fence at the first write: a later one shuts this writer out.
    fence: Option<u64>,
    /// The key of the open transaction.
    connection: Option<String>,
    rows: u64,
    buffered: Vec<RecordBatch>,
    rejects: Rejects,
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.lineage.take(lineage)?;
        let records = self.without_refused(records)?;
        self.rows += records.num_rows() as u64;
        let key = key(&self.ctx, lineage);
        let mut content = self.store.content();
        let fence = content.fences.get(&key).copied().unwrap_or(0);
        self.fence.get_or_insert(fence);
        match self.config.kind {
            Kind::Transaction => {
                let connection = format!("{key}/{}", self.ctx.writer_id);
                content.open.entry(connection.clone()).or_default().push(records);
                self.connection = Some(connection);
            }
            Kind::Staged | Kind::None => self.buffered.push(records),
            Kind::Idempotent => {
                for (row, origin) in origins(&records)?.into_iter().enumerate() {
                    content.by_origin.insert(origin, records.slice(row, 1));
                }
            }
        }
        Ok(self.rejects.room())
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        self.lineage.take(lineage)?;
        let buffered = std::mem::take(&mut self.buffered);
        let mut prepared = Prepared {
            rows: std::mem::take(&mut self.rows),
            rejects: self.rejects.take(),
            ..Prepared::default()
        };
        let mut content = self.store.content();
        match self.config.kind {
            Kind::Staged => {
                let name = format!("{}/{epoch}/{}", key(&self.ctx, lineage), self.ctx.writer_id);
                content.staged.insert(name.clone(), buffered);
                prepared.committable = Some(name.into());
            }
            Kind::None => content.visible.extend(buffered),
            Kind::Transaction | Kind::Idempotent => {}
        }
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.lineage.take(&commit.lineage)?;
        failpoint::reach("memory.commit.before").await?;
        let outcome = self.commit_one(commit);
        failpoint::reach("memory.commit.after").await?;
        Ok(outcome)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.lineage.take(lineage)?;
        self.roll_back();
        Ok(())
    }

    fn footprint(&self) -> Footprint {
        let rows = self.buffered.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        let refused = self.rejects.bytes();
        Footprint { own: rows + refused, clients: 0, refused }
    }
}

impl MemoryWriter {
    fn commit_one(&mut self, commit: &Commit) -> CommitOutcome {
        if matches!(self.config.kind, Kind::Idempotent | Kind::None) {
            return CommitOutcome::Committed;
        }
        let key = key(&self.ctx, &commit.lineage);
        let mut content = self.store.content();
        let held = content.tokens.get(&key).map(|token| token.epoch);
        let fence = content.fences.get(&key).copied().unwrap_or(0);
        if held == Some(commit.epoch) {
            return CommitOutcome::Committed;
        }
        if held != commit.prev || self.fence.is_some_and(|own| own != fence) {
            return CommitOutcome::NotOwner;
        }
        let rows = match self.config.kind {
            Kind::Transaction => {
                self.connection.take().and_then(|connection| content.open.remove(&connection))
            }
            _ => commit
                .committable
                .as_ref()
                .and_then(serde_json::Value::as_str)
                .and_then(|name| content.staged.remove(name)),
        };
        let Some(rows) = rows else { return CommitOutcome::NeedsReplay };
        content.visible.extend(rows);
        let token = Token { epoch: commit.epoch, incarnation: self.ctx.incarnation };
        content.tokens.insert(key, token);
        CommitOutcome::Committed
    }

    fn without_refused(&mut self, records: RecordBatch) -> Result<RecordBatch> {
        let divisor = i64::try_from(self.config.refuse_multiples_of).unwrap_or(i64::MAX);
        let numbers = records
            .column_by_name("number")
            .and_then(|column| column.as_primitive_opt::<Int64Type>());
        let refuses_from = self.store.content().refuses_from;
        let (keep, reason): (BooleanArray, _) = match (numbers, divisor) {
            _ if let Some(from) = refuses_from => {
                let positions = positions(&records)?.values().iter();
                let keep = positions.map(|position| Some(*position < from));
                (keep.collect(), format!("every row from {from} on is refused"))
            }
            (Some(numbers), 1..) => {
                let keep = numbers.iter().map(|number| number.map(|number| number % divisor != 0));
                (keep.collect(), format!("a multiple of {divisor}"))
            }
            _ => return Ok(records),
        };
        let origins = Origins::of(&records)?;
        let refused = (0..records.num_rows()).filter(|row| !keep.value(*row));
        self.rejects.extend(refused.map(|row| origins.refuse(row, reason.clone())));
        filter_record_batch(&records, &keep)
            .map_err(|error| Error::bug("could not leave out refused rows").because(error))
    }

    fn roll_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.store.content().open.remove(&connection);
        }
        self.buffered.clear();
        self.rejects = Rejects::default();
        self.rows = 0;
        self.fence = None;
    }
}

impl Drop for MemoryWriter {
    /// A server rolls back what a lost connection had open.
    fn drop(&mut self) {
        self.roll_back();
    }
}

fn key(ctx: &WriterContext, lineage: &Lineage) -> String {
    format!("{}/{lineage}/{}", ctx.pipeline, ctx.sink)
}

fn only_origins(batch: &RecordBatch) -> Result<RecordBatch> {
    let wanted = [SPLIT, POSITION, ORDINAL, EPOCH];
    let schema = batch.schema();
    let columns: Vec<_> = wanted.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    batch.project(&columns).map_err(|error| Error::bug("rows lost their origin").because(error))
}

fn only_record(batch: &RecordBatch, origin: &Origin) -> Result<RecordBatch> {
    let keep: BooleanArray = origins(batch)?
        .into_iter()
        .map(|(split, position, _)| {
            Some(split == origin.split.as_str() && position == origin.position)
        })
        .collect();
    filter_record_batch(batch, &keep)
        .map_err(|error| Error::bug("could not pick rows by origin").because(error))
}
