//! Follows one record: from its text or origin to its epoch, its rows in every sink, or its dead
//! letter.
//!
//! A text is looked for where the record came from, in the sources' own bytes, so that any part of
//! the original line finds it; what a source no longer has is known by its origin only. An origin
//! is looked up in the source too: a place at which no record begins has no way to follow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use contract::discovery::list;
use contract::error::Context;
use contract::record::{MESSAGE, positions};
use contract::sink::{Proof, ReadBack};
use contract::source::{Again, KnownSplit, Lineages, Source, Split, Until};
use contract::{Error, Lineage, Origin, Position, Result};
use formats::encode::{EncodeFormat, Encoder};
use futures::TryStreamExt;
use object_store::ObjectStore;
use serde::Serialize;
use state::{Checkpoint, History};

use crate::audit::AuditedSink;
use crate::results::{self, InWindow, MadeOf};

/// A source to be searched.
pub struct TracedSource {
    /// Its name in the pipeline file.
    pub name: String,
    /// Reads it.
    pub source: Arc<dyn Source>,
}

/// Where a record is looked for.
pub struct Places<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Where its records come from.
    pub sources: &'a [TracedSource],
    /// Where they go, dead letters included.
    pub sinks: &'a [AuditedSink],
    /// The checkpoints, which know when.
    pub checkpoints: &'a Arc<dyn ObjectStore>,
}

/// What is known of one record.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Where it came from, `split@position`.
    pub origin: String,
    /// The place that was asked for, where that lies inside of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The text as the source has it; none where the source no longer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What a step made it of; none for a record that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_of: Option<MadeOf>,
    /// The windows that it went into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<InWindow>,
    /// The epoch that read or made it; none if it was not read yet or the epoch is forgotten.
    pub epoch: Option<u64>,
    /// Its rows.
    pub sinks: Vec<Held>,
}

/// The rows of a record in one sink.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// Whether rows can be read back at all.
    pub readable: bool,
    /// The rows, with all their columns.
    pub rows: Vec<serde_json::Value>,
}

/// The records whose text was looked for.
pub struct Found {
    /// How many there are.
    pub records: u64,
    /// The ways of the first of them.
    pub traces: Vec<Trace>,
}

/// Follows a record by its origin, or by a place inside of it.
///
/// # Errors
/// Config: the source has no record there. External: a source, a checkpoint or a sink cannot be
/// read.
pub async fn by_origin(origin: &Origin, places: &Places<'_>) -> Result<Trace> {
    let history = Checkpoints::read(places).await?;
    let (begin, text) = match sought(origin, places, &history).await? {
        Sought::Gone => (origin.position, None),
        Sought::Record(begin, text) => (begin, Some(text)),
        Sought::Nothing(end) => {
            return Err(Error::config(format!("no record begins at \"{origin}\"")).hint(format!(
                "what the source has of \"{}\" ends at {end}; a part of the text finds it, too",
                origin.split
            )));
        }
    };
    let asked = (begin != origin.position).then(|| origin.to_string());
    let begin = Origin { position: begin, ..origin.clone() };
    Ok(Trace { asked, ..follow(&begin, text, places, &history).await? })
}

/// What a source has at an origin.
enum Sought {
    /// It no longer has the split, or cannot be read twice.
    Gone,
    /// A record that begins there or before, and its text.
    Record(i64, String),
    /// Nothing: it ends before.
    Nothing(i64),
}

async fn sought(origin: &Origin, places: &Places<'_>, history: &Checkpoints) -> Result<Sought> {
    for traced in places.sources.iter().filter(|traced| traced.source.again() != Again::Never) {
        let known = history.known(&traced.name);
        if !known.iter().any(|known| known.split.id == origin.split) {
            continue;
        }
        let splits = list(traced.source.as_ref(), Some(&known)).await?.splits;
        let Some(split) = splits.iter().find(|split| split.id == origin.split) else { continue };
        // Only where positions count records, whatever stands there can be gone to.
        let from = traced
            .source
            .lineages()
            .contains(&Lineages::Split)
            .then(|| Position::new(origin.position));
        return at(traced, split, from.as_ref(), origin.position).await;
    }
    Ok(Sought::Gone)
}

/// The record that begins at a position or is the last one before it.
async fn at(
    traced: &TracedSource,
    split: &Split,
    from: Option<&Position>,
    position: i64,
) -> Result<Sought> {
    let mut reader = traced.source.open(split, from, Until::End).await?;
    let mut before: Option<(i64, String)> = None;
    let mut end = from.map_or(0, |from| from.at);
    while let Some(batch) = reader.next_batch().await? {
        let messages = batch.records.column_by_name(MESSAGE);
        let Some(messages) = messages.and_then(|all| all.as_string_view_opt()) else {
            return Ok(Sought::Gone);
        };
        let positions = positions(&batch.records)?;
        let rows = positions.values().iter().enumerate();
        let row = rows.filter(|(_, at)| **at <= position).max_by_key(|(_, at)| **at);
        let row = row.map(|(row, at)| (*at, messages.value(row).to_owned()));
        let refused = batch.rejects.iter().filter(|reject| reject.position <= position);
        let refused = refused.max_by_key(|reject| reject.position).map(|reject| {
            let original = reject.original.as_deref().unwrap_or_default();
            (reject.position, String::from_utf8_lossy(original).into_owned())
        });
        let nearest = [row, refused].into_iter().flatten().max_by_key(|(at, _)| *at);
        before = nearest.or(before);
        end = batch.next.at;
        if end > position {
            break;
        }
    }
    Ok(match before {
        Some((begin, text)) if end > position => Sought::Record(begin, text),
        _ => Sought::Nothing(end),
    })
}

/// Whether a split of this name was ever read, as far as a checkpoint knows it. Once it is gone and
/// its epochs are folded, the sinks know it.
///
/// # Errors
/// External: a checkpoint or a sink cannot be read.
pub async fn is_known(origin: &Origin, places: &Places<'_>) -> Result<bool> {
    let history = Checkpoints::read(places).await?;
    let mut kept = history.lineages.iter().flatten();
    if kept.any(|kept| kept.roster.of_id(&origin.split).next().is_some()) {
        return Ok(true);
    }
    let readable = |audited: &&AuditedSink| audited.sink.promise().proof == Proof::Origin;
    for audited in places.sinks.iter().filter(readable) {
        if !rows(origin, audited, places.pipeline).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Follows the first `limit` records whose text contains `text`, and counts all of them.
///
/// # Errors
/// External: a source, a checkpoint or a sink cannot be read.
pub async fn by_text(text: &str, limit: usize, places: &Places<'_>) -> Result<Found> {
    let history = Checkpoints::read(places).await?;
    let (mut records, mut traces) = (0, Vec::new());
    for traced in places.sources.iter().filter(|traced| traced.source.again() != Again::Never) {
        let known = history.known(&traced.name);
        let splits = list(traced.source.as_ref(), Some(&known)).await?.splits;
        for split in &splits {
            let room = limit - traces.len();
            let (count, found) = search(traced, split, text, room).await?;
            records += count;
            for (origin, line) in found {
                traces.push(follow(&origin, Some(line), places, &history).await?);
            }
        }
    }
    Ok(Found { records, traces })
}

/// How many records of a split contain `text`, and the first of them, up to `limit`.
async fn search(
    traced: &TracedSource,
    split: &Split,
    text: &str,
    limit: usize,
) -> Result<(u64, Vec<(Origin, String)>)> {
    let (mut count, mut found) = (0, Vec::new());
    let mut reader = traced.source.open(split, None, Until::End).await?;
    while let Some(batch) = reader.next_batch().await? {
        let records = &batch.records;
        let Some(messages) =
            records.column_by_name(MESSAGE).and_then(|all| all.as_string_view_opt())
        else {
            return Ok((count, found));
        };
        let positions = positions(records)?;
        for row in 0..messages.len() {
            if !messages.value(row).contains(text) {
                continue;
            }
            count += 1;
            if found.len() < limit {
                let origin = Origin { split: split.id.clone(), position: positions.value(row) };
                found.push((origin, messages.value(row).to_owned()));
            }
        }
    }
    Ok((count, found))
}

async fn follow(
    origin: &Origin,
    text: Option<String>,
    places: &Places<'_>,
    history: &Checkpoints,
) -> Result<Trace> {
    let mut sinks = Vec::with_capacity(places.sinks.len());
    for audited in places.sinks {
        let readable = audited.sink.promise().proof == Proof::Origin;
        let rows =
            if readable { rows(origin, audited, places.pipeline).await? } else { Vec::new() };
        sinks.push(Held { sink: audited.name.clone(), readable, rows });
    }
    let (epoch, made_of) = match results::of(origin, history, &sinks) {
        Some((epoch, made_of)) => (epoch, Some(made_of)),
        None => (history.epoch_of(origin), None),
    };
    let (origin, windows) = (origin.to_string(), Vec::new());
    Ok(Trace { origin, asked: None, text, made_of, windows, epoch, sinks })
}

async fn rows(
    origin: &Origin,
    audited: &AuditedSink,
    pipeline: &str,
) -> Result<Vec<serde_json::Value>> {
    let wanted = ReadBack::Record(origin.clone());
    let batches = audited.sink.read_back(pipeline, wanted).await?;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    let batches = batches.iter().map(readable).collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    for batch in &batches {
        Encoder::new(EncodeFormat::Json, &batch.schema()).encode(batch, &mut lines)?;
    }
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows = rows.map(|row| {
        let mut row: serde_json::Value = serde_json::from_slice(row).bug("a row is no JSON")?;
        if let Some(row) = row.as_object_mut() {
            row.retain(|_, value| !value.is_null());
        }
        Ok(row)
    });
    rows.collect()
}

/// The rows with bytes as text: the originals of dead letters are read by people.
fn readable(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields = Vec::new();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = match field.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let bytes = cast(column, &DataType::BinaryView).bug("bytes cannot be viewed")?;
                let texts = bytes.as_binary_view().iter();
                let texts = texts.map(|bytes| bytes.map(String::from_utf8_lossy));
                Arc::new(texts.collect::<StringArray>()) as ArrayRef
            }
            _ => column.clone(),
        };
        let field = field.as_ref().clone().with_nullable(true);
        fields.push(field.with_data_type(column.data_type().clone()));
        Ok(column)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &rows).bug("columns differ in length")
}

/// The checkpoints of all lineages of a pipeline that read its sources. Replays read what these
/// read before them.
pub(crate) struct Checkpoints {
    /// In order of their epochs.
    pub lineages: Vec<Vec<Checkpoint>>,
}

impl Checkpoints {
    /// Reads all of them.
    pub async fn read(places: &Places<'_>) -> Result<Self> {
        let mut lineages = Vec::new();
        let found = state::history::lineages_of(places.checkpoints, places.pipeline).await?;
        for lineage in found.iter().filter(|lineage| !lineage.is_replay()) {
            lineages.push(Self::of(places, lineage).await?);
        }
        Ok(Self { lineages })
    }

    async fn of(places: &Places<'_>, lineage: &Lineage) -> Result<Vec<Checkpoint>> {
        History::new(places.checkpoints.clone(), places.pipeline, lineage).checkpoints().await
    }

    fn newest(&self) -> impl Iterator<Item = &Checkpoint> {
        self.lineages.iter().filter_map(|lineage| lineage.last())
    }

    fn known(&self, source: &str) -> Vec<KnownSplit> {
        self.newest().flat_map(|newest| newest.roster.known(source)).collect()
    }

    /// The epoch whose cuts hold the origin.
    fn epoch_of(&self, origin: &Origin) -> Option<u64> {
        let mut all = self.lineages.iter().flatten();
        all.find(|checkpoint| results::reads(checkpoint, origin)).map(|one| one.epoch)
    }
}
