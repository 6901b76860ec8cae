//! Makes documents of rows and sends them, several bulks at once.
//!
//! Rows may be seen before their epoch is decided: sending them again changes nothing. The moment
//! of the epoch is the document's version ([`version`]), so that a process that was replaced cannot
//! overwrite what its successor wrote.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use async_trait::async_trait;
use contract::error::Context;
use contract::failpoint::reach;
use contract::record::{Origins, is_origin};
use contract::sink::{
    Commit, CommitOutcome, Footprint, Prepared, Rejects, Room, SinkReject, Stage, Writer,
    WriterContext,
};
use contract::transform::EpochStart;
use contract::{Error, Lineage, Result, SplitId};
use formats::encode::{EncodeFormat, Encoder};
use formats::template::{Groups, Values};
use formats::unwritable;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bulk::{Bulk, Document, Done};
use crate::client::Client;
use crate::config::Config;
use crate::identity::Indices;
use crate::names::{Names, origin_id};
use crate::version;

/// Bulks on their way at once, at most; fewer where memory is short.
const BULKS_AT_ONCE_MAX: usize = 4;
/// What a bulk costs in memory, in its own size: its documents, and the request made of them.
const BULK_COPIES: usize = 2;

/// Writes the epochs of lineages as documents.
pub struct SearchWriter {
    indices: Indices,
    names: Arc<Names>,
    with_origin: bool,
    bulk_bytes_max: usize,
    bulks_at_once: usize,
    /// The moment of the epoch under way, in microseconds since 1970.
    now_us: Option<i64>,
    /// What is known of its rows.
    stage: Stage,
    /// A lineage's rows since its last epoch.
    taken: HashMap<Lineage, Taken>,
}

#[derive(Default)]
struct Taken {
    rows: u64,
    bulk: Bulk,
    under_way: JoinSet<Result<Done>>,
    rejects: Rejects,
    /// How many stand in which index.
    indices: BTreeMap<String, u64>,
}

impl SearchWriter {
    /// Makes a writer.
    pub fn new(client: Client, names: Arc<Names>, config: &Config, ctx: &WriterContext) -> Self {
        let most = ctx.memory_bytes.min(ctx.client_bytes) / BULK_COPIES;
        let bulk_bytes_max = config.bulk_bytes_max.as_usize().min(most.max(1));
        let bulks_at_once = match names.id_template() {
            // Rows of one id follow each other.
            Some(_) => 1,
            None => (ctx.client_bytes / BULK_COPIES / bulk_bytes_max).clamp(1, BULKS_AT_ONCE_MAX),
        };
        Self {
            indices: Indices::new(Arc::new(client)),
            names,
            with_origin: config.origin,
            bulk_bytes_max,
            bulks_at_once,
            now_us: None,
            stage: Stage::default(),
            taken: HashMap::new(),
        }
    }

    /// Makes documents of rows; those that have no name or no JSON are rejects.
    fn documents(&self, records: &RecordBatch, version: i64) -> Result<Documents> {
        let origins = Origins::of(records)?;
        let written = self.written(records)?;
        let mut refused: HashMap<usize, String> = HashMap::new();
        for row in unwritable::rows(EncodeFormat::Json, &written)? {
            refused.insert(row.row, row.reason);
        }
        let keep: BooleanArray =
            (0..records.num_rows()).map(|row| Some(!refused.contains_key(&row))).collect();
        let writable = filter_record_batch(&written, &keep);
        let mut text = Vec::new();
        Encoder::new(EncodeFormat::Json, &written.schema())
            .encode(&writable.bug("could not leave out rows")?, &mut text)?;
        // Line breaks inside a value are escaped: each row is one line.
        let mut lines = text.split_inclusive(|byte| *byte == b'\n');
        let indices = Named::new(self.names.index_template().divide(records)?, |values| {
            self.names.index(values)
        });
        let ids = self.names.id_template().map(|ids| ids.divide(records)).transpose()?;
        let ids = ids.map(|ids| Named::new(ids, |values| self.names.id(values)));
        let split_id = self.names.split_id(origins.split(0));
        let split = SplitId::new(origins.split(0));
        let mut documents = Documents::default();
        for row in 0..records.num_rows() {
            let mut document = Document {
                split: split.clone(),
                position: origins.numbers().position(row),
                ordinal: origins.numbers().ordinal(row),
                id: String::new(),
                version,
                stage: self.stage,
                named: ids.is_some(),
                with_origin: self.with_origin,
                lines: Vec::new(),
                earlier: Vec::new(),
            };
            if let Some(reason) = refused.get(&row) {
                documents.rejects.push(document.reject(reason));
                continue;
            }
            let source = lines.next().ok_or_else(|| Error::bug("a row has no line"))?;
            let id = match &ids {
                Some(ids) => ids.of_row(row).map(str::to_owned),
                None => Ok(origin_id(&split_id, document.position, document.ordinal)),
            };
            match (indices.of_row(row), id) {
                (Ok(index), Ok(id)) => {
                    document.lines = lines_of(index, &id, version, source);
                    document.id = id;
                    documents.named.push((index.to_owned(), document));
                }
                (Err(reason), _) => documents.rejects.push(document.reject(reason)),
                (_, Err(reason)) => documents.rejects.push(document.reject(reason)),
            }
        }
        Ok(documents)
    }

    fn written(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let schema = records.schema();
        let fields = schema.fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| self.with_origin || !is_origin(field.name()));
        let wanted: Vec<_> = wanted.map(|(index, _)| index).collect();
        records.project(&wanted).bug("the columns were counted wrong")
    }
}

#[derive(Default)]
struct Documents {
    /// Each with its index.
    named: Vec<(String, Document)>,
    rejects: Vec<SinkReject>,
}

/// The names of the groups of a batch, or why they have none.
struct Named {
    of_row: Vec<u32>,
    names: Vec<std::result::Result<String, String>>,
}

impl Named {
    fn new(
        groups: Groups,
        name: impl FnMut(&Values) -> std::result::Result<String, String>,
    ) -> Self {
        Self { of_row: groups.of_row, names: groups.values.iter().map(name).collect() }
    }

    fn of_row(&self, row: usize) -> std::result::Result<&str, &str> {
        self.names[self.of_row[row] as usize].as_deref().map_err(String::as_str)
    }
}

fn lines_of(index: &str, id: &str, version: i64, source: &[u8]) -> Vec<u8> {
    let action = json!({ "index": {
        "_index": index, "_id": id, "version": version, "version_type": "external_gte",
    } });
    let mut lines = action.to_string().into_bytes();
    lines.push(b'\n');
    lines.extend_from_slice(source);
    lines
}

impl Taken {
    /// Sends what waits, as soon as few enough bulks are under way.
    async fn send(&mut self, indices: &mut Indices, at_once: usize) -> Result<()> {
        if self.bulk.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= at_once {
            self.next_answer(indices).await?;
        }
        let (bulk, client) = (std::mem::take(&mut self.bulk), indices.client.clone());
        self.under_way.spawn(async move { bulk.deliver(&client).await });
        Ok(())
    }

    async fn next_answer(&mut self, indices: &mut Indices) -> Result<()> {
        let Some(answer) = self.under_way.join_next().await else { return Ok(()) };
        let done = answer.bug("a bulk was given up")??;
        self.rejects.extend(done.rejects);
        indices.meet(done.indices.keys().map(String::as_str)).await?;
        for (index, rows) in done.indices {
            *self.indices.entry(index).or_default() += rows;
        }
        Ok(())
    }
}

#[async_trait]
impl Writer for SearchWriter {
    fn start_epoch(&mut self, epoch: EpochStart, stage: Stage) {
        (self.now_us, self.stage) = (Some(epoch.now_us), stage);
    }

    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        if records.num_rows() == 0 {
            return Ok(Room::Left);
        }
        let now_us = self.now_us.ok_or_else(|| Error::bug("rows came before their epoch"))?;
        let documents = self.documents(&records, version::of(lineage, now_us))?;
        let taken = self.taken.entry(lineage.clone()).or_default();
        taken.rows += records.num_rows() as u64;
        taken.rejects.extend(documents.rejects);
        for (index, document) in documents.named {
            taken.bulk.put(&index, document);
            if taken.bulk.bytes() >= self.bulk_bytes_max {
                taken.send(&mut self.indices, self.bulks_at_once).await?;
            }
        }
        Ok(taken.rejects.room())
    }

    async fn prepare(&mut self, lineage: &Lineage, _epoch: u64) -> Result<Prepared> {
        reach("opensearch.prepare.before").await?;
        let mut taken = self.taken.remove(lineage).unwrap_or_default();
        taken.send(&mut self.indices, self.bulks_at_once).await?;
        while !taken.under_way.is_empty() {
            taken.next_answer(&mut self.indices).await?;
        }
        let identities = self.indices.confirm(&taken.indices).await?;
        reach("opensearch.prepare.after").await?;
        let rows = taken.rows - taken.rejects.len() as u64;
        Ok(Prepared { rows, rejects: taken.rejects.take(), committable: None, identities })
    }

    async fn commit(&mut self, _commit: &Commit) -> Result<CommitOutcome> {
        Ok(CommitOutcome::Committed)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        // Bulks that are under way end with their tasks; the rows are sent again.
        self.taken.remove(lineage);
        self.indices.forget();
        Ok(())
    }

    fn footprint(&self) -> Footprint {
        let of = |taken: &Taken| Footprint {
            own: taken.bulk.bytes() + taken.rejects.bytes(),
            clients: taken.under_way.len() * self.bulk_bytes_max * BULK_COPIES,
            refused: taken.rejects.bytes(),
        };
        let all = self.taken.values().map(of);
        all.fold(Footprint::default(), |sum, one| Footprint {
            own: sum.own + one.own,
            clients: sum.clients + one.clients,
            refused: sum.refused + one.refused,
        })
    }
}
