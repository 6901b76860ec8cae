//! Packs: many old checkpoints in one object, a line each, without state and committables.
//!
//! They are written and read one checkpoint at a time, however many a pack holds and however long
//! each is.

use std::ops::ControlFlow;
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Result, failpoint};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use super::names::Names;
use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, History};
use crate::Checkpoint;

/// Parts in which a pack is written; stores want at least 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Decisions stay under their names for so long where others may sleep on the same history.
const SHARED_LOOSE_FOR: Duration = Duration::from_secs(24 * 3600);

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
        let mut pack = BufWriter::with_capacity(self.store.clone(), path.clone(), PART_BYTES);
        let named = match self.write_pack(&mut pack, old.iter().map(|(_, path)| *path)).await {
            Ok(named) => named,
            Err(error) => {
                // What was uploaded so far is no object yet.
                let _ = pack.abort().await;
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

    /// Writes checkpoints one after the other, so that no more than one of them and a part of the
    /// pack are in memory. Returns the files of refused rows that they name.
    async fn write_pack(
        &self,
        pack: &mut BufWriter,
        old: impl Iterator<Item = &Path>,
    ) -> Result<Vec<String>> {
        let mut named = Vec::new();
        for path in old {
            let mut checkpoint = self.read_alone(path).await?;
            named.extend(checkpoint.rejects_file.iter().map(|file| file.name.clone()));
            checkpoint.states.clear();
            checkpoint.sinks.values_mut().for_each(|sink| sink.committable = None);
            let mut line = serde_json::to_vec(&checkpoint).bug("a checkpoint is no JSON")?;
            line.push(b'\n');
            pack.put(line.into()).await.transient(|| "could not write a part".to_owned())?;
        }
        pack.shutdown().await.transient(|| "could not write the end".to_owned())?;
        Ok(named)
    }

    /// All checkpoints of a pack.
    pub(super) async fn unpack(&self, path: &Path) -> Result<Vec<Checkpoint>> {
        let mut checkpoints = Vec::new();
        self.for_each_packed(path, |checkpoint| {
            checkpoints.push(checkpoint);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(checkpoints)
    }

    /// Goes through the checkpoints of a pack in their order, as far as `visit` wants to. Only one
    /// of them is in memory.
    pub(super) async fn for_each_packed<T: DeserializeOwned>(
        &self,
        path: &Path,
        mut visit: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<()> {
        let unreadable = || format!("could not read \"{path}\"");
        let mut chunks = self.store.get(path).await.transient(unreadable)?.into_stream();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(chunk) = chunks.try_next().await.transient(unreadable)? {
            let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
            while let Some(piece) = pieces.next() {
                rest.extend_from_slice(piece);
                if pieces.peek().is_none() {
                    break;
                }
                let line = std::mem::take(&mut rest);
                let read = serde_json::from_slice(&line);
                if visit(read.external(|| format!("\"{path}\" is damaged"))?).is_break() {
                    return Ok(());
                }
            }
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(Error::external(format!("\"{path}\" is damaged: it ends in a line"))),
        }
    }
}
