//! Packs: many old checkpoints in one object, a line each, without state and committables,
//! compressed by zstd. Those of earlier programs are plain text.
//!
//! They are written and read one checkpoint at a time, however many a pack holds and however long
//! each is.

use std::io::{self, Write};
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
use zstd::stream::raw::Operation;

use super::names::Names;
use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, History};
use crate::Checkpoint;
use crate::checkpoint::Line;

/// Parts in which a pack is written; stores want at least 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// How hard packs are compressed.
const LEVEL: i32 = 3;
/// How the compressed form begins; no line of a checkpoint does.
const MAGIC: u8 = 0x28;
/// Bytes that are unpacked at once.
const STEP_BYTES: usize = 128 << 10;
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
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL);
        let mut encoder = encoder.bug("a compressor cannot be made")?;
        encoder.include_checksum(true).bug("a compressor takes no checksum")?;
        let part = || "could not write a part".to_owned();
        for path in old {
            let mut checkpoint = self.read_alone(path).await?;
            named.extend(checkpoint.rejects_file.iter().map(|file| file.name.clone()));
            checkpoint.states.clear();
            checkpoint.sinks.values_mut().for_each(|sink| sink.committable = None);
            let mut line = checkpoint.to_line()?;
            line.push(b'\n');
            encoder.write_all(&line).bug("memory cannot be written")?;
            let packed = std::mem::take(encoder.get_mut());
            pack.put(packed.into()).await.transient(part)?;
        }
        let packed = encoder.finish().bug("memory cannot be written")?;
        pack.put(packed.into()).await.transient(part)?;
        pack.shutdown().await.transient(|| "could not write the end".to_owned())?;
        Ok(named)
    }

    /// All checkpoints of a pack.
    pub(super) async fn unpack(&self, path: &Path) -> Result<Vec<Checkpoint>> {
        let mut checkpoints = Vec::new();
        self.for_each_packed(path, |Line(checkpoint)| {
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
        let damaged = || format!("\"{path}\" is damaged");
        let mut chunks = self.store.get(path).await.transient(unreadable)?.into_stream();
        let (mut unpacker, mut text, mut rest) = (Unpacker::Undecided, Vec::new(), Vec::new());
        while let Some(chunk) = chunks.try_next().await.transient(unreadable)? {
            text.clear();
            unpacker.unpack(&chunk, &mut text).external(damaged)?;
            let chunk = &text;
            let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
            while let Some(piece) = pieces.next() {
                rest.extend_from_slice(piece);
                if pieces.peek().is_none() {
                    break;
                }
                let line = std::mem::take(&mut rest);
                let read = serde_json::from_slice(&line);
                if visit(read.external(damaged)?).is_break() {
                    return Ok(());
                }
            }
        }
        match rest.is_empty() && unpacker.is_through() {
            true => Ok(()),
            false => Err(Error::external(format!("\"{path}\" is damaged: its end is missing"))),
        }
    }
}

/// Gives the text of a pack, piece by piece.
enum Unpacker {
    /// Nothing was seen yet.
    Undecided,
    /// It is text already.
    Plain,
    /// It is compressed; whether its end was seen.
    Packed(Box<zstd::stream::raw::Decoder<'static>>, bool),
}

impl Unpacker {
    fn unpack(&mut self, chunk: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        if let (Self::Undecided, Some(first)) = (&*self, chunk.first()) {
            *self = match *first == MAGIC {
                true => Self::Packed(Box::new(zstd::stream::raw::Decoder::new()?), false),
                false => Self::Plain,
            };
        }
        let Self::Packed(decoder, is_through) = self else {
            text.extend_from_slice(chunk);
            return Ok(());
        };
        let (mut chunk, mut step) = (chunk, vec![0; STEP_BYTES]);
        loop {
            let status = decoder.run_on_buffers(chunk, &mut step)?;
            chunk = &chunk[status.bytes_read..];
            text.extend_from_slice(&step[..status.bytes_written]);
            *is_through = status.remaining == 0;
            // At its end, and where a step is not filled, all that there is was given.
            if chunk.is_empty() && (*is_through || status.bytes_written < step.len()) {
                return Ok(());
            }
            if *is_through && !chunk.is_empty() {
                return Err(io::Error::other("something stands behind its end"));
            }
        }
    }

    fn is_through(&self) -> bool {
        match self {
            Self::Undecided => false,
            Self::Plain => true,
            Self::Packed(_, is_through) => *is_through,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).expect("made");
        encoder.include_checksum(true).expect("taken");
        encoder.write_all(text).expect("written");
        encoder.finish().expect("ended")
    }

    fn unpacked(pieces: &[u8], bytes: usize) -> (Vec<u8>, bool) {
        let (mut unpacker, mut text) = (Unpacker::Undecided, Vec::new());
        for piece in pieces.chunks(bytes) {
            if unpacker.unpack(piece, &mut text).is_err() {
                return (text, false);
            }
        }
        let is_through = unpacker.is_through();
        (text, is_through)
    }

    #[test]
    fn a_pack_is_whole_whose_text_fills_its_steps() {
        for steps in 1..4 {
            for bytes in [steps * STEP_BYTES - 1, steps * STEP_BYTES, steps * STEP_BYTES + 1] {
                let text = vec![b'x'; bytes];
                let (found, is_through) = unpacked(&packed(&text), 1 << 20);
                assert!(found == text && is_through, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn a_pack_is_read_in_pieces_of_any_size_and_to_its_end() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|number| number.to_le_bytes()).collect();
        for whole in [packed(&text), [b"{".as_slice(), &text].concat()] {
            let is_plain = whole[0] == b'{';
            for bytes in [1, 7, 4096, 1 << 20] {
                let (found, is_through) = unpacked(&whole, bytes);
                let expect = if is_plain { &whole } else { &text };
                assert!(found == *expect && is_through, "pieces of {bytes}");
            }
        }
        let whole = packed(&text);
        for end in [1, whole.len() / 2, whole.len() - 1] {
            assert!(!unpacked(&whole[..end], 4096).1, "its end is missing at {end}");
        }
        assert!(!unpacked(&[whole.as_slice(), b"x"].concat(), 4096).1);
    }
}
