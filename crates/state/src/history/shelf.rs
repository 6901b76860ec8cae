//! Single checkpoints among many: what stands where is listed once, and only what is asked for is
//! read.

use contract::Result;

use super::History;
use super::names::Names;
use crate::Checkpoint;

/// The checkpoints of a lineage, as far as nobody took them.
pub struct Shelf {
    history: History,
    names: Names,
}

impl History {
    /// The checkpoints of the lineage, none of which is read yet.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn shelf(&self) -> Result<Shelf> {
        Ok(Shelf { history: self.clone(), names: self.names().await? })
    }
}

impl Shelf {
    /// Takes the checkpoint of an epoch, and with it all that stand in one object with it. Each is
    /// taken once, unless it is packed meanwhile, without the refused rows that stand beside it.
    /// Nothing is taken where the epoch is not kept, or was taken before.
    ///
    /// # Errors
    /// External: the store does not answer, or a checkpoint is damaged.
    pub async fn take(&mut self, epoch: u64, mut give: impl FnMut(Checkpoint)) -> Result<()> {
        if let Some(path) = self.names.epochs.remove(&epoch) {
            match self.history.read_alone(&path).await {
                Ok(checkpoint) => {
                    give(checkpoint);
                    return Ok(());
                }
                // Somebody may have packed it away since.
                Err(error) => {
                    self.names = self.history.names().await?;
                    if self.names.epochs.remove(&epoch).is_some() {
                        return Err(error);
                    }
                }
            }
        }
        let packs = self.names.packs_with(epoch);
        let (with, others): (Vec<_>, _) = std::mem::take(&mut self.names.packs)
            .into_iter()
            .partition(|path| packs.contains(path));
        self.names.packs = others;
        for path in with {
            self.history.for_each_packed(&path, &mut give).await?;
        }
        Ok(())
    }

    /// The number of every epoch that is still there and stands alone, or first in its pack.
    pub fn left(&self) -> Vec<u64> {
        let packed = self.names.packs.iter().filter_map(Names::span_of);
        self.names.epochs.keys().copied().chain(packed.map(|span| *span.start())).collect()
    }
}
