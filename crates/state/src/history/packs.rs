//! Packs: many old checkpoints in one object, without states, committables and the roster.
//!
//! They are written and read one block at a time ([`super::blocks`]). Those of earlier programs
//! stay readable ([`super::old_packs`]).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use arrow::array::RecordBatch;
use contract::{Result, failpoint};
use object_store::path::Path;
use serde::Deserialize;

use super::blocks::{BEGINNING, Blocks, Kind, Writer};
use super::names::Names;
use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, History, old_packs};
use crate::Checkpoint;
use crate::checkpoint::Line;
use crate::ledger::Entry;
use crate::ledger::columns::Columns;

/// Decisions stay under their names for so long where others may sleep on the same history.
const SHARED_LOOSE_FOR: Duration = Duration::from_secs(24 * 3600);

/// The counts of some epochs that follow each other in a pack.
pub(super) struct Counts {
    /// The last one.
    pub last: u64,
    /// Its `now()`.
    pub now_us: i64,
    /// Their rows, in order.
    pub rows: RecordBatch,
}

impl History {
    /// Writes the pack first and deletes the loose epochs afterwards: a crash between leaves both,
    /// and readers take each epoch once.
    pub(super) async fn pack(&self, names: &Names) -> Result<()> {
        let keep = names.epochs.len() - EPOCHS_LOOSE_MIN;
        let loose_for = if self.is_shared { SHARED_LOOSE_FOR } else { Duration::ZERO };
        let young = |epoch: &u64| names.is_younger(*epoch, loose_for);
        let old = names.epochs.iter().take(keep).take_while(|(epoch, _)| !young(epoch));
        let old: Vec<_> = old.collect();
        if old.len() < EPOCHS_LOOSE_MAX - EPOCHS_LOOSE_MIN {
            return Ok(());
        }
        let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) else { return Ok(()) };
        let path = self.prefix.clone().join(format!("pack-{first:020}-{last:020}"));
        let mut pack = Writer::new(self, &path, Kind::Pack);
        let named = match self.fill_pack(&mut pack, old.iter().map(|(_, path)| *path)).await {
            Ok(named) => named,
            Err(error) => {
                pack.abort().await;
                return Err(error.context(format!("could not write \"{path}\"")));
            }
        };
        failpoint::reach("pack.written").await?;
        self.forget_unnamed_rejects(names, **first..=**last, &named).await?;
        for (_, path) in old {
            self.delete(path).await?;
            failpoint::reach("pack.deleted").await?;
        }
        Ok(())
    }

    /// Writes checkpoints one after the other. Returns the files of refused rows that they name.
    async fn fill_pack(
        &self,
        pack: &mut Writer,
        old: impl Iterator<Item = &Path>,
    ) -> Result<Vec<String>> {
        let mut named = Vec::new();
        for path in old {
            let mut checkpoint = self.read_alone(path).await?;
            named.extend(checkpoint.rejects_file.iter().map(|file| file.name.clone()));
            checkpoint.states.clear();
            checkpoint.copies.clear();
            checkpoint.sinks.values_mut().for_each(|sink| sink.committable = None);
            pack.add(checkpoint).await?;
        }
        pack.finish().await?;
        Ok(named)
    }

    /// All checkpoints of a pack.
    pub(super) async fn unpack(&self, path: &Path) -> Result<Vec<Checkpoint>> {
        let mut checkpoints = Vec::new();
        self.for_each_packed(path, |checkpoint| checkpoints.push(checkpoint)).await?;
        Ok(checkpoints)
    }

    /// Goes through the checkpoints of a pack in their order. Only those of one block are in
    /// memory.
    pub(super) async fn for_each_packed(
        &self,
        path: &Path,
        mut visit: impl FnMut(Checkpoint),
    ) -> Result<()> {
        let mut pieces = self.pieces(path).await?;
        if !pieces.begins_with(BEGINNING).await? {
            let each = |Line(checkpoint)| {
                visit(checkpoint);
                Ok(ControlFlow::Continue(()))
            };
            return old_packs::for_each_line(pieces, each).await;
        }
        let mut blocks = Blocks::open(pieces).await?;
        while let Some(block) = blocks.next().await? {
            block.checkpoints()?.into_iter().for_each(&mut visit);
        }
        Ok(())
    }

    /// Goes through the counts of a pack in order of their epochs, as far as `visit` wants to,
    /// without looking at its checkpoints.
    pub(super) async fn for_each_counted(
        &self,
        path: &Path,
        mut visit: impl FnMut(Counts) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut pieces = self.pieces(path).await?;
        if !pieces.begins_with(BEGINNING).await? {
            return old_packs::for_each_line(pieces, |packed: Packed| visit(packed.counts()?))
                .await;
        }
        let mut blocks = Blocks::open(pieces).await?;
        while let Some(block) = blocks.next().await? {
            let (last, now_us) = (block.extent.last, block.extent.now_us);
            if visit(Counts { last, now_us, rows: block.rows()? })?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The counts of a checkpoint in a pack of an earlier program.
#[derive(Deserialize)]
struct Packed {
    epoch: u64,
    now_us: i64,
    #[serde(default)]
    ledger: Vec<Entry>,
    /// Numbers, sources and ids of the splits that it names.
    #[serde(default)]
    names: Vec<(usize, String, String)>,
}

impl Packed {
    fn counts(self) -> Result<Counts> {
        let names = self.names.iter().map(|(_, source, id)| (id.as_str(), source.as_str()));
        let sources: HashMap<_, _> = names.collect();
        let mut columns = Columns::default();
        for entry in &self.ledger {
            columns.add(self.epoch, entry, (sources.get(&*entry.split).copied(), None));
        }
        Ok(Counts { last: self.epoch, now_us: self.now_us, rows: columns.take()? })
    }
}
