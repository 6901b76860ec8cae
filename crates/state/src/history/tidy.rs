//! Keeps the folder of a lineage short: packs old epochs, folds those that are older than the
//! history that is kept, deletes what no checkpoint can need.
//!
//! A crash between any two steps leaves something twice, never nothing; readers take each epoch
//! once.

use std::time::Duration;

use bytes::Bytes;
use contract::error::Context;
use contract::{Result, failpoint};
use object_store::ObjectStoreExt;
use tracing::warn;

use super::names::Names;
use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, History};
use crate::ledger::Entry;

/// Epochs between two tidyings of old checkpoints.
const COLLECT_EVERY: u64 = 16;
/// The same in a store that several machines share.
const COLLECT_EVERY_SHARED: u64 = 256;
/// Decisions stay under their names for so long where others may sleep on the same history.
const SHARED_LOOSE_FOR: Duration = Duration::from_secs(24 * 3600);

impl History {
    /// How many epochs are made between two calls of [`History::collect`]. It lists all decisions,
    /// and in a shared store these are many and asked for over the network.
    pub fn epochs_between_collections(&self) -> u64 {
        if self.is_shared { COLLECT_EVERY_SHARED } else { COLLECT_EVERY }
    }

    /// Deletes what no checkpoint can need any more: state of all but the newest epochs, marks of
    /// earlier epochs; packs old epochs and folds those that ended before `keep_from_us`. Best
    /// effort: failures are warnings.
    pub async fn collect(&self, newest: u64, keep_from_us: i64) {
        if let Err(error) = self.try_collect(newest, keep_from_us).await {
            warn!(error = error.chain(), "could not tidy up old checkpoints");
        }
    }

    async fn try_collect(&self, newest: u64, keep_from_us: i64) -> Result<()> {
        let names = self.names().await?;
        let keep_from = newest.saturating_sub(EPOCHS_LOOSE_MIN as u64 - 1);
        let old_states = names.states.iter().filter(|(epoch, _)| *epoch < keep_from);
        for path in old_states.map(|(_, path)| path) {
            self.delete(path).await?;
        }
        for epoch in names.complete.iter().filter(|epoch| **epoch < newest) {
            self.delete(&self.prefix.clone().join(format!("complete-{epoch:020}"))).await?;
        }
        if names.epochs.len() > EPOCHS_LOOSE_MAX {
            self.pack(&names).await?;
            self.fold(&names, keep_from_us).await?;
        }
        Ok(())
    }

    /// Writes the pack first and deletes the loose epochs afterwards: a crash between leaves both,
    /// and readers take each epoch once.
    async fn pack(&self, names: &Names) -> Result<()> {
        let keep = names.epochs.len() - EPOCHS_LOOSE_MIN;
        let loose_for = if self.is_shared { SHARED_LOOSE_FOR } else { Duration::ZERO };
        let young = |epoch: &u64| names.is_younger(*epoch, loose_for);
        let old = names.epochs.iter().take(keep).take_while(|(epoch, _)| !young(epoch));
        let old: Vec<_> = old.collect();
        if old.len() < EPOCHS_LOOSE_MAX - EPOCHS_LOOSE_MIN {
            return Ok(());
        }
        let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) else { return Ok(()) };
        let mut lines = String::new();
        for (_, path) in &old {
            let mut checkpoint = self.read(path).await?;
            checkpoint.states.clear();
            checkpoint.sinks.values_mut().for_each(|sink| sink.committable = None);
            lines.push_str(&serde_json::to_string(&checkpoint).bug("a checkpoint is no JSON")?);
            lines.push('\n');
        }
        let path = self.prefix.clone().join(format!("pack-{first:020}-{last:020}"));
        let put = self.store.put(&path, Bytes::from(lines).into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        failpoint::reach("pack.written").await?;
        for (_, path) in old {
            self.delete(path).await?;
        }
        Ok(())
    }

    /// Adds up the packs that ended before `keep_from_us`, then deletes them.
    async fn fold(&self, names: &Names, keep_from_us: i64) -> Result<()> {
        let mut folded = self.folded(names).await?;
        let mut done = Vec::new();
        for path in &names.packs {
            let checkpoints = self.unpack(path).await?;
            let Some(last) = checkpoints.last().filter(|last| last.now_us < keep_from_us) else {
                break;
            };
            let until = last.epoch;
            checkpoints.iter().filter(|old| old.epoch > folded.until).for_each(|old| {
                old.ledger.iter().for_each(|entry| add_up(&mut folded.entries, entry));
            });
            folded.until = folded.until.max(until);
            done.push(path);
        }
        if done.is_empty() {
            return Ok(());
        }
        let path = self.prefix.clone().join(format!("fold-{:020}", folded.until));
        let bytes = serde_json::to_vec(&folded).bug("a ledger is no JSON")?;
        let put = self.store.put(&path, Bytes::from(bytes).into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        for path in done.into_iter().chain(&names.folds) {
            self.delete(path).await?;
        }
        Ok(())
    }
}

/// Adds an epoch's counts to the cumulative ones of its split and sink.
fn add_up(entries: &mut Vec<Entry>, entry: &Entry) {
    let same = |known: &&mut Entry| known.split == entry.split && known.sink == entry.sink;
    let Some(known) = entries.iter_mut().find(same) else {
        entries.push(entry.clone());
        return;
    };
    known.add(entry);
}
