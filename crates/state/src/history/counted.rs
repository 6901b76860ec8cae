//! The counts of a lineage: what is folded, what is packed, and what stands alone, each epoch once.

use std::ops::ControlFlow;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use contract::Result;
use contract::error::Context;

use super::names::Names;
use super::{History, LOOKS_MAX};
use crate::Checkpoint;
use crate::ledger::LedgerRow;
use crate::ledger::columns::{Columns, Rows};

/// The counts of a lineage.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Rows of this epoch and all before it are added up under its number; 0 if none are.
    pub folded_until: u64,
    /// In order of epochs.
    pub rows: Vec<LedgerRow>,
}

impl History {
    /// The ledger of the lineage, the newest epoch included even where it is not complete.
    ///
    /// # Errors
    /// As for [`History::checkpoints`].
    pub async fn ledger(&self) -> Result<Ledger> {
        let (folded_until, batches) = self.counted().await?;
        let mut ledger = Ledger { folded_until, rows: Vec::new() };
        let (pipeline, lineage) = self.place();
        for batch in &batches {
            let rows = Rows::of(batch)?;
            ledger.rows.extend((0..rows.len()).map(|row| LedgerRow {
                pipeline: pipeline.clone(),
                lineage: lineage.clone(),
                epoch: rows.epoch(row),
                entry: rows.get(row).entry,
            }));
        }
        Ok(ledger)
    }

    /// The same by column ([`crate::ledger::columns`]), in order of epochs.
    ///
    /// # Errors
    /// As for [`History::checkpoints`].
    pub async fn ledger_columns(&self) -> Result<Vec<RecordBatch>> {
        Ok(self.counted().await?.1)
    }

    async fn counted(&self) -> Result<(u64, Vec<RecordBatch>)> {
        let mut looks = 1..LOOKS_MAX;
        loop {
            let names = self.names().await?;
            match self.counted_of(&names).await {
                Err(error) if looks.next().is_some() => self.unless_gone_on(error, &names).await?,
                read => return read.map(|batches| (names.folded_until(), batches)),
            }
        }
    }

    pub(super) async fn counted_of(&self, names: &Names) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        let mut fold = self.open_fold(names).await?;
        while let Some(batch) = fold.next_batch().await? {
            batches.push(batch);
        }
        let mut until = names.folded_until();
        for path in &names.packs {
            self.for_each_counted(path, |counts| {
                batches.push(behind(&counts.rows, until)?);
                until = until.max(counts.last);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        let mut columns = Columns::default();
        for (epoch, path) in &names.epochs {
            // What is packed counts there; checkpoint 0 has no counts.
            if *epoch > until {
                add(&mut columns, &self.read_slim(path).await?);
            }
        }
        batches.push(columns.take()?);
        batches.retain(|batch| batch.num_rows() > 0);
        Ok(batches)
    }

    fn place(&self) -> (String, String) {
        let mut parts = self.prefix.parts();
        let mut part = || parts.next().map_or_else(String::new, |part| part.as_ref().to_owned());
        (part(), part())
    }
}

/// The rows of epochs after one.
pub(super) fn behind(batch: &RecordBatch, until: u64) -> Result<RecordBatch> {
    let rows = Rows::of(batch)?;
    let later = (0..rows.len()).map(|row| Some(rows.epoch(row) > until));
    let later = later.collect::<BooleanArray>();
    match later.true_count() == rows.len() {
        true => Ok(batch.clone()),
        false => filter_record_batch(batch, &later).bug("could not leave out epochs"),
    }
}

fn add(columns: &mut Columns, checkpoint: &Checkpoint) {
    for entry in &checkpoint.ledger {
        columns.add(checkpoint.epoch, entry, checkpoint.family_of(entry));
    }
}
