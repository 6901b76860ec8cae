//! Keeps the folder of a lineage short: packs old epochs, folds those that are older than the
//! history that is kept, deletes what no checkpoint can need.
//!
//! A crash between any two steps leaves something twice, never nothing; readers take each epoch
//! once.

use contract::{Result, failpoint};
use tracing::warn;

use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, History};

/// Epochs between two tidyings of old checkpoints.
const COLLECT_EVERY: u64 = 16;
/// The same in a store that several machines share.
const COLLECT_EVERY_SHARED: u64 = 256;

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
            failpoint::reach("tidy.deleted").await?;
        }
        for epoch in names.complete.iter().filter(|epoch| **epoch < newest) {
            self.delete(&self.prefix.clone().join(format!("complete-{epoch:020}"))).await?;
            failpoint::reach("tidy.deleted").await?;
        }
        if names.epochs.len() > EPOCHS_LOOSE_MAX {
            self.pack(&names).await?;
            self.fold(&names, keep_from_us).await?;
        }
        Ok(())
    }
}
