//! The records that a step makes itself of many rows, and the copy of them that a replay takes.
//!
//! They are records of a split that no source has, numbered on from epoch to epoch. What one epoch
//! made is kept before the epoch is decided; from then on it is never made again, so that whoever
//! makes it need not make the same twice.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use contract::error::Context;
use contract::record::{POSITION, positions};
use contract::sink::SinkReject;
use contract::source::{OriginalKind, Reject, Split};
use contract::transform::Output;
use contract::{Error, Result};
use state::Checkpoint;
use tracing::warn;

use crate::flow::SplitContext;
use crate::owner::Owner;
use crate::sink_task::SinkReport;

/// Rows that go on at once.
const PART_ROWS: usize = 8192;

/// What a step made in one epoch.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The rows, numbered, in the columns of the step's first port.
    pub batches: Vec<RecordBatch>,
    /// Those that the step itself refuses.
    pub rejects: Vec<Reject>,
}

impl Made {
    /// What a step gave at a barrier, numbered from `next` on.
    ///
    /// # Errors
    /// Bug: rows have no position, or leave by another port than the first.
    pub fn numbered(output: Output, next: i64) -> Result<Self> {
        let batches = output.batches.into_iter().map(|(port, batch)| match port {
            0 => renumbered(&batch, next),
            _ => Err(Error::bug("what a step makes of many rows leaves by its first port")),
        });
        let rejects = output.rejects.into_iter();
        let rejects =
            rejects.map(|reject| Reject { position: reject.position + next, ..reject }).collect();
        Ok(Self { batches: batches.collect::<Result<_>>()?, rejects })
    }

    /// Gives a row that was refused its values, unless it has them: nobody can read it again.
    ///
    /// # Errors
    /// Bug: rows that were made have no positions.
    pub fn add_original(&self, reject: &mut Reject) -> Result<()> {
        if reject.original.is_none() {
            reject.original = self.shown(reject.position)?;
            reject.kind = OriginalKind::Row;
        }
        Ok(())
    }

    /// How many rows go on.
    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// Whether nothing was made.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.rejects.is_empty()
    }

    /// The number behind the last row; none if nothing was made.
    ///
    /// # Errors
    /// Bug: rows have no position.
    pub fn end(&self) -> Result<Option<i64>> {
        let mut end = self.rejects.iter().map(|reject| reject.position + 1).max();
        for batch in &self.batches {
            end = end.max(positions(batch)?.values().iter().max().map(|last| last + 1));
        }
        Ok(end)
    }

    /// The rows in parts that sinks take well.
    pub fn parts(&self) -> impl Iterator<Item = RecordBatch> {
        self.batches.iter().flat_map(|batch| {
            let rows = batch.num_rows();
            let starts = (0..rows).step_by(PART_ROWS);
            starts.map(move |start| batch.slice(start, PART_ROWS.min(rows - start)))
        })
    }

    /// The form in which it is kept: the length of the refused ones, they as JSON, then the rows.
    ///
    /// # Errors
    /// Bug: it cannot be written.
    pub fn write(&self) -> Result<Vec<u8>> {
        let rejects = serde_json::to_vec(&self.rejects).bug("refused rows are no JSON")?;
        let mut bytes = (rejects.len() as u64).to_le_bytes().to_vec();
        bytes.extend(rejects);
        let Some(first) = self.batches.first() else { return Ok(bytes) };
        let unwritten = "what a step made cannot be written";
        let mut writer = StreamWriter::try_new(&mut bytes, first.schema_ref()).bug(unwritten)?;
        self.batches.iter().try_for_each(|batch| writer.write(batch)).bug(unwritten)?;
        writer.finish().bug(unwritten)?;
        drop(writer);
        Ok(bytes)
    }

    /// Takes up what [`Made::write`] gave.
    ///
    /// # Errors
    /// External: it is something else.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::external("what a step made is damaged in its checkpoint");
        let (length, rest) = bytes.split_at_checked(8).ok_or_else(damaged)?;
        let length = u64::from_le_bytes(length.try_into().map_err(|_| damaged())?);
        let length = usize::try_from(length).map_err(|error| damaged().because(error))?;
        let (rejects, rows) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let rejects = serde_json::from_slice(rejects).map_err(|error| damaged().because(error))?;
        let mut batches = Vec::new();
        if !rows.is_empty() {
            let reader = StreamReader::try_new(Cursor::new(rows), None);
            for batch in reader.map_err(|error| damaged().because(error))? {
                batches.push(batch.map_err(|error| damaged().because(error))?);
            }
        }
        Ok(Self { batches, rejects })
    }

    /// A row as JSON; none if there is no such row.
    fn shown(&self, position: i64) -> Result<Option<Bytes>> {
        for batch in &self.batches {
            let Ok(row) = positions(batch)?.values().binary_search(&position) else { continue };
            let mut json = Vec::new();
            let mut writer = LineDelimitedWriter::new(&mut json);
            writer
                .write(&batch.slice(row, 1))
                .and_then(|()| writer.finish())
                .bug("a row that a step made is no JSON")?;
            json.pop_if(|last| *last == b'\n');
            return Ok(Some(json.into()));
        }
        Ok(None)
    }
}

fn renumbered(batch: &RecordBatch, next: i64) -> Result<RecordBatch> {
    let numbers = positions(batch)?.values().iter().map(|position| position + next);
    let numbers: ArrayRef = Arc::new(numbers.collect::<Int64Array>());
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| match field.name().as_str() {
        POSITION => numbers.clone(),
        _ => column.clone(),
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).bug("rows that a step made cannot be numbered")
}

/// The splits of the steps that make records, and what they made in the epoch that ends.
#[derive(Default)]
pub struct Makers {
    /// By the number of the step.
    splits: BTreeMap<usize, Arc<SplitContext>>,
    made: BTreeMap<usize, Made>,
}

impl Makers {
    /// Those of a pipeline; their splits enter the roster of the checkpoint.
    pub fn of(owner: &Owner, checkpoint: &mut Checkpoint) -> Self {
        let steps = owner.pipeline.steps.iter().enumerate();
        let steps = steps.filter(|(_, node)| node.step.makes_records());
        let splits = steps.map(|(number, node)| {
            let split = Split::made_by(&node.name, &owner.lineage);
            let entered = checkpoint.roster.enter(&node.name, split.clone());
            (number, SplitContext::made(entered.number, split))
        });
        Self { splits: splits.collect(), made: BTreeMap::new() }
    }

    /// The split of a step; none if it makes no records.
    pub fn split(&self, step: usize) -> Option<&Arc<SplitContext>> {
        self.splits.get(&step)
    }

    /// Notes what a step made in the epoch that ends.
    pub fn note(&mut self, step: usize, made: Made) {
        self.made.insert(step, made);
    }

    /// What was made, by number of step.
    pub fn made(&self) -> impl Iterator<Item = (usize, &Arc<SplitContext>, &Made)> {
        self.made.iter().filter_map(|(step, made)| Some((*step, self.splits.get(step)?, made)))
    }

    /// Another epoch begins.
    pub fn clear(&mut self) {
        self.made.clear();
    }

    /// Gives the rows that a sink refused their originals, where a step made them: nobody could
    /// read these again.
    ///
    /// # Errors
    /// Bug: rows that were made have no positions.
    pub fn add_originals(&self, report: &mut SinkReport) -> Result<()> {
        let rejects = report.prepared.iter_mut().flat_map(|prepared| &mut prepared.rejects);
        for SinkReject { split, reject } in rejects {
            let made = self.made().find(|(_, context, _)| context.id() == split);
            if let Some((_, _, made)) = made {
                made.add_original(reject)?;
            }
        }
        Ok(())
    }
}

/// What the steps made in a decided epoch, by name. What is gone or damaged is lost to the sinks
/// that lack it, where that is accepted: it is never made again.
///
/// # Errors
/// External: a copy is gone or damaged, or the store does not answer (retryable).
pub async fn copies(owner: &Owner, checkpoint: &Checkpoint) -> Result<BTreeMap<String, Made>> {
    let mut copies = BTreeMap::new();
    for (step, copied) in &checkpoint.copies {
        let read = owner.history.copy(copied).await.and_then(|bytes| Made::read(&bytes));
        let made = read.map_err(|error| {
            error.context(format!(
                "could not read what transform {step:?} made in epoch {}",
                checkpoint.epoch
            ))
        });
        match made {
            Ok(made) => drop(copies.insert(step.clone(), made)),
            Err(error) if error.retry() => return Err(error),
            Err(error) if owner.options.accept_loss => {
                warn!(error = error.chain(), "gave up what a step made: nothing makes it again");
            }
            Err(error) => {
                return Err(error.hint(
                    "restore the file from a backup, or `run --accept-loss` to book these rows as \
                     lost to the sinks that lack them",
                ));
            }
        }
    }
    Ok(copies)
}
