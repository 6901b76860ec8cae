//! Refused rows that are too many for their checkpoint: they stand in a file beside it, which it
//! names.
//!
//! The file is durable before the checkpoint is decided, under a name that is used once. Whoever
//! reads the checkpoint finds the rows in it, as if they had never been elsewhere; packs keep the
//! name alone. A file goes when its epoch is packed without naming it, or is folded.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result, failpoint};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};

use super::History;
use super::names::Names;
use crate::Checkpoint;
use crate::checkpoint::{RejectsFile, SinkRejectState, hex, sha256_hex};

/// Bytes of refused rows that stand in a checkpoint itself.
const INLINE_BYTES_MAX: usize = 1 << 20;
/// What a refused row takes beside its texts.
const ROW_BYTES: usize = 64;
/// Bytes of a piece of their file while it is made.
const PIECE_BYTES: usize = 256 << 10;

/// Refused rows by the sink that refused them.
pub(super) type BySink = BTreeMap<String, Vec<SinkRejectState>>;

impl History {
    /// Takes the refused rows out of a checkpoint, where they are too many to be written in it. By
    /// then they are kept, and the checkpoint names their file. None where it is written as it is.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub(super) async fn set_rejects_apart(&self, checkpoint: &mut Checkpoint) -> Result<BySink> {
        if bytes_of(checkpoint) <= INLINE_BYTES_MAX {
            return Ok(BySink::new());
        }
        let of_sinks = checkpoint.sinks.iter().filter(|(_, sink)| !sink.rejects.is_empty());
        let of_sinks = of_sinks.map(|(name, sink)| (name, &sink.rejects));
        let mut pieces = Pieces::default();
        serde_json::to_writer(&mut pieces, &of_sinks.collect::<BTreeMap<_, _>>())
            .bug("refused rows are no JSON")?;
        let (payload, sha256) = pieces.finish();
        let (epoch, writer) = (checkpoint.epoch, &checkpoint.writer);
        let file = RejectsFile { name: format!("rejects-{epoch:020}-{writer}"), sha256 };
        let path = self.prefix.clone().join(file.name.as_str());
        failpoint::reach("rejects.before").await?;
        let put = self.store.put(&path, payload).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        failpoint::reach("rejects.after").await?;
        checkpoint.rejects_file = Some(file);
        let sinks = checkpoint.sinks.iter_mut();
        let taken = sinks.map(|(name, sink)| (name.clone(), std::mem::take(&mut sink.rejects)));
        Ok(taken.collect())
    }

    /// The checkpoint with the refused rows that stand beside it.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the file is gone or damaged.
    pub(super) async fn with_rejects(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        let Some(file) = checkpoint.rejects_file.take() else { return Ok(checkpoint) };
        let path = self.prefix.clone().join(file.name.as_str());
        let bytes = self.bytes(&path).await?;
        let damaged =
            || Error::external(format!("\"{path}\" is damaged: refused rows stand there"));
        if sha256_hex(&bytes) != file.sha256 {
            return Err(damaged());
        }
        let rejects: BySink =
            serde_json::from_slice(&bytes).map_err(|error| damaged().because(error))?;
        put_back(&mut checkpoint, rejects);
        Ok(checkpoint)
    }

    /// Deletes the files of packed epochs that no checkpoint of them names: those of attempts that
    /// were dropped before they decided.
    pub(super) async fn forget_unnamed_rejects(
        &self,
        names: &Names,
        epochs: std::ops::RangeInclusive<u64>,
        named: &[String],
    ) -> Result<()> {
        let of_epochs = names.rejects.iter().filter(|(epoch, _)| epochs.contains(epoch));
        let is_named = |path: &Path| named.iter().any(|name| path.filename() == Some(name));
        for (_, path) in of_epochs.filter(|(_, path)| !is_named(path)) {
            self.delete(path).await?;
        }
        Ok(())
    }
}

/// Bytes that are written one after the other, in pieces: as one they would be copied, and stand
/// twice in memory, each time that they grow.
#[derive(Default)]
struct Pieces {
    written: Vec<Bytes>,
    last: Vec<u8>,
    sum: Sha256,
}

impl Pieces {
    /// All of them, and their sum.
    fn finish(mut self) -> (PutPayload, String) {
        self.written.push(self.last.into());
        (self.written.into_iter().collect(), hex(&self.sum.finalize()))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.last.is_empty() {
            self.last.reserve_exact(PIECE_BYTES);
        }
        let taken = bytes.len().min(PIECE_BYTES - self.last.len());
        self.last.extend_from_slice(&bytes[..taken]);
        self.sum.update(&bytes[..taken]);
        if self.last.len() == PIECE_BYTES {
            self.written.push(std::mem::take(&mut self.last).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives a checkpoint back what was taken out for it to be written.
pub(super) fn put_back(checkpoint: &mut Checkpoint, rejects: BySink) {
    checkpoint.rejects_file = None;
    for (name, rejects) in rejects {
        checkpoint.sinks.entry(name).or_default().rejects = rejects;
    }
}

fn bytes_of(checkpoint: &Checkpoint) -> usize {
    let rejects = checkpoint.sinks.values().flat_map(|sink| &sink.rejects);
    let bytes = rejects.map(|SinkRejectState(row)| {
        let original = row.reject.original.as_ref().map_or(0, Bytes::len);
        ROW_BYTES + row.split.as_str().len() + row.reject.reason.len() + original
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use contract::sink::SinkReject;
    use contract::source::Reject;
    use contract::{Lineage, SplitId};
    use futures::TryStreamExt;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::checkpoint::SinkState;
    use crate::history::Decision;

    fn history() -> History {
        History::new(Arc::new(InMemory::new()), "logs", &Lineage::main())
    }

    /// An epoch of which a sink refused rows with reasons of so many bytes together.
    fn refused(epoch: u64, writer: &str, bytes: usize) -> Checkpoint {
        let rejects = (0..8).map(|row| {
            let reject = Reject::new(row, "x".repeat(bytes / 8)).with_original(b"line"[..].into());
            SinkRejectState(SinkReject { split: SplitId::new("a.log"), reject })
        });
        let sink = SinkState { rejects: rejects.collect(), ..SinkState::default() };
        Checkpoint {
            epoch,
            writer: writer.to_owned(),
            sinks: [("lake".to_owned(), sink)].into(),
            ..Checkpoint::first("logs", &Lineage::main(), 7)
        }
    }

    async fn files(history: &History) -> Vec<String> {
        let listed = history.store.list(Some(&history.prefix)).try_collect::<Vec<_>>().await;
        let names = listed.expect("listed").into_iter();
        let mut names: Vec<_> =
            names.filter_map(|meta| meta.location.filename().map(str::to_owned)).collect();
        names.retain(|name| name.starts_with("rejects-"));
        names.sort();
        names
    }

    #[tokio::test]
    async fn rows_that_are_too_many_stand_beside_their_checkpoint() {
        let history = history();
        for (epoch, bytes, beside) in [(1, 1000, 0), (2, 2 << 20, 1)] {
            let mut checkpoint = refused(epoch, "a", bytes);
            // Who offers the same once more meets its own bytes.
            for _ in 0..2 {
                assert_eq!(history.decide(&mut checkpoint).await.expect("put"), Decision::Decided);
            }
            assert_eq!(files(&history).await.len(), beside, "{bytes} bytes");
            let path = history.path_of(epoch);
            let size = history.store.head(&path).await.expect("there").size;
            assert!(size < 10_000, "{size} bytes");
            let read = history.newest().await.expect("read").expect("there").checkpoint;
            assert_eq!(read.sinks["lake"], checkpoint.sinks["lake"]);
            assert_eq!(read.rejects_file, None, "the next epoch does not name it");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_damaged_is_named() {
        let history = history();
        history.decide(&mut refused(1, "a", 2 << 20)).await.expect("put");
        let path = history.prefix.clone().join(files(&history).await[0].as_str());
        history.store.put(&path, "{}".into()).await.expect("put");
        for said in ["is damaged", "is not in the checkpoint store"] {
            let error = history.newest().await.expect_err("no refused rows");
            assert!(error.chain().contains("rejects-"), "{error:?}");
            assert!(error.chain().contains(said), "{error:?}");
            history.delete(&path).await.expect("deleted");
        }
    }

    #[tokio::test]
    async fn only_the_newest_checkpoint_is_read_with_its_refused_rows() {
        let history = history();
        for (epoch, bytes) in [(1, 2 << 20), (2, 1000), (3, 2 << 20)] {
            history.decide(&mut refused(epoch, "a", bytes)).await.expect("put");
        }
        // What nobody needs may be gone.
        for name in files(&history).await {
            history.delete(&history.prefix.clone().join(name.as_str())).await.expect("deleted");
        }
        let all = history.checkpoints().await.expect("read");
        let since = history.since(1).await.expect("read").epochs;
        let since = since.into_iter().map(|(checkpoint, _)| checkpoint);
        let read: Vec<_> = all.into_iter().chain(since).collect();
        assert_eq!(read.len(), 6);
        assert!(read.iter().all(|checkpoint| checkpoint.sinks["lake"].rejects.is_empty()));
        history.ledger().await.expect("read");
        history.newest().await.expect_err("it may have to be given again");
        // Nothing of an epoch that every sink holds is.
        history.mark_complete(3).await.expect("marked");
        let newest = history.newest().await.expect("read").expect("there");
        assert_eq!((newest.checkpoint.epoch, newest.checkpoint.rejects_file), (3, None));
    }

    #[tokio::test]
    async fn a_file_stays_as_long_as_a_checkpoint_names_it() {
        let history = history();
        // An attempt that was killed between the file and the checkpoint.
        history.set_rejects_apart(&mut refused(2, "killed", 2 << 20)).await.expect("put");
        for epoch in 1..=300 {
            let bytes = if epoch == 2 { 2 << 20 } else { 0 };
            history.decide(&mut refused(epoch, "a", bytes)).await.expect("put");
        }
        assert_eq!(files(&history).await.len(), 2);
        history.collect(300, 0).await;
        assert_eq!(files(&history).await, [format!("rejects-{:020}-a", 2)], "a pack names it");
        for epoch in 301..=600 {
            history.decide(&mut refused(epoch, "a", 0)).await.expect("put");
        }
        history.collect(600, i64::MAX).await;
        assert!(files(&history).await.is_empty(), "its epoch is folded");
    }
}
