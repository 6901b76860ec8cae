//! What a sink holds: first as sums, then, where these differ, as positions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{and, cast, filter_record_batch, is_not_null, max, min};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use contract::error::Context;
use contract::record::{EPOCH, OriginSum, POSITION, SPLIT, ordinals, positions, split_seed};
use contract::sink::ReadBack;
use contract::{Error, Result};
use futures::TryStreamExt;

use super::AuditedSink;
use super::expected::{Expected, Stretch};

/// The sums of what a sink holds, by split and epoch.
#[derive(Default)]
pub struct Found {
    sums: HashMap<Stretch, OriginSum>,
    /// Rows of later epochs than those that are compared.
    pub later: BTreeMap<Stretch, Later>,
    /// Whether there are rows of decided epochs whose splits nobody knows: those of another
    /// pipeline that writes here too.
    pub is_shared: bool,
    /// Rows that say nothing of where they came from.
    pub foreign: u64,
}

/// Rows that are not compared with the ledger.
pub struct Later {
    /// How many.
    pub rows: u64,
    /// Where in their split they lie.
    pub positions: Range<i64>,
}

impl Found {
    /// Reads all rows of the complete epochs.
    ///
    /// # Errors
    /// External: the sink cannot be read.
    pub async fn read(pipeline: &str, audited: &AuditedSink, expected: &Expected) -> Result<Self> {
        let mut found = Self::default();
        let mut batches = audited.sink.read_back(pipeline, ReadBack::Origins).await?;
        while let Some(all) = batches.try_next().await? {
            let batch = with_origin(&all)?;
            found.foreign += (all.num_rows() - batch.num_rows()) as u64;
            for run in Runs::of(&batch)? {
                if let Some(stretch) = expected.later(&run.split, run.epoch) {
                    found.add_later(stretch, &batch.slice(run.from, run.rows))?;
                }
                found.is_shared |= expected.is_of_another(&run.split, run.epoch);
                let Some(stretch) = expected.stretch(&run.split, run.epoch) else { continue };
                let seed = split_seed(&run.split);
                let rows = batch.slice(run.from, run.rows);
                found.sums.entry(stretch).or_default().add_batch(seed, &rows)?;
            }
        }
        Ok(found)
    }

    fn add_later(&mut self, stretch: Stretch, rows: &RecordBatch) -> Result<()> {
        let positions = positions(rows)?;
        let (Some(first), Some(last)) = (min(positions), max(positions)) else { return Ok(()) };
        let later = Later { rows: 0, positions: first..last + 1 };
        let known = self.later.entry(stretch).or_insert(later);
        known.rows += rows.num_rows() as u64;
        known.positions = known.positions.start.min(first)..known.positions.end.max(last + 1);
        Ok(())
    }

    /// What is held of a split and epoch.
    pub fn sum(&self, stretch: &Stretch) -> OriginSum {
        self.sums.get(stretch).copied().unwrap_or_default()
    }

    /// Every split and epoch of which something is held.
    pub fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.sums.keys()
    }
}

/// The rows of those splits and epochs that differ, as (position, ordinal).
pub struct Positions {
    rows: HashMap<Stretch, Vec<(i64, i64)>>,
}

impl Positions {
    /// Reads the sink again, for the positions in these splits and epochs.
    ///
    /// # Errors
    /// External: the sink cannot be read.
    pub async fn read(
        pipeline: &str,
        audited: &AuditedSink,
        expected: &Expected,
        differing: &[Stretch],
    ) -> Result<Self> {
        let mut rows: HashMap<_, _> =
            differing.iter().map(|stretch| (stretch.clone(), Vec::new())).collect();
        let mut batches = audited.sink.read_back(pipeline, ReadBack::Origins).await?;
        while let Some(all) = batches.try_next().await? {
            let batch = with_origin(&all)?;
            for run in Runs::of(&batch)? {
                let stretch = expected.stretch(&run.split, run.epoch);
                let Some(rows) = stretch.and_then(|stretch| rows.get_mut(&stretch)) else {
                    continue;
                };
                let batch = batch.slice(run.from, run.rows);
                let none = Int64Array::from(vec![0; run.rows]);
                let ordinals = ordinals(&batch).unwrap_or(&none).values();
                let positions = positions(&batch)?.values();
                rows.extend(positions.iter().copied().zip(ordinals.iter().copied()));
            }
        }
        Ok(Self { rows })
    }

    /// The rows of a split and epoch, sorted.
    pub fn of(&self, stretch: &Stretch) -> Vec<(i64, i64)> {
        let mut rows = self.rows.get(stretch).cloned().unwrap_or_default();
        rows.sort_unstable();
        rows
    }
}

fn no_origin() -> Error {
    Error::external("the sink's rows do not carry their origin")
}

/// The rows that say where they came from; others were written by somebody else.
fn with_origin(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut keep: Option<BooleanArray> = None;
    for name in [SPLIT, POSITION, EPOCH] {
        // A file of another writer lacks the column where ours would hold null.
        let Some(column) = batch.column_by_name(name) else { return Ok(batch.slice(0, 0)) };
        if column.null_count() == 0 {
            continue;
        }
        let is_told = is_not_null(column).external(|| no_origin().to_string())?;
        keep = Some(match keep {
            Some(keep) => and(&keep, &is_told).external(|| no_origin().to_string())?,
            None => is_told,
        });
    }
    match keep {
        Some(keep) => filter_record_batch(batch, &keep).bug("could not leave out rows"),
        None => Ok(batch.clone()),
    }
}

/// Neighbouring rows of one split and epoch.
struct Run {
    split: String,
    epoch: u64,
    from: usize,
    rows: usize,
}

/// The runs of a batch, in order.
struct Runs {
    keys: Vec<i32>,
    names: StringArray,
    epochs: Int64Array,
    at: usize,
}

impl Runs {
    fn of(batch: &RecordBatch) -> Result<Self> {
        if batch.num_rows() == 0 {
            let (names, epochs) = (StringArray::new_null(0), Int64Array::new_null(0));
            return Ok(Self { keys: Vec::new(), names, epochs, at: 0 });
        }
        let splits = batch.column_by_name(SPLIT).ok_or_else(no_origin)?;
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let splits = cast(splits, &dictionary).external(|| no_origin().to_string())?;
        let splits = splits.as_dictionary::<Int32Type>();
        let epochs = batch.column_by_name(EPOCH).ok_or_else(no_origin)?;
        let epochs = epochs.as_primitive_opt::<Int64Type>().ok_or_else(no_origin)?;
        Ok(Self {
            keys: splits.keys().values().to_vec(),
            names: splits.values().as_string::<i32>().clone(),
            epochs: epochs.clone(),
            at: 0,
        })
    }
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let from = self.at;
        let key = *self.keys.get(from)?;
        let epoch = self.epochs.value(from);
        let same = |row: usize| self.keys[row] == key && self.epochs.value(row) == epoch;
        self.at = (from..self.keys.len()).find(|row| !same(*row)).unwrap_or(self.keys.len());
        Some(Run {
            split: self.names.value(usize::try_from(key).ok()?).to_owned(),
            epoch: epoch.cast_unsigned(),
            from,
            rows: self.at - from,
        })
    }
}
