//! Packs of earlier programs: many checkpoints, a line each, compressed by zstd or plain. They are
//! read and never written.
//!
//! One checkpoint at a time is in memory, however many a pack holds and however long each is.

use std::io;
use std::ops::ControlFlow;

use contract::error::Context;
use contract::{Error, Result};
use serde::de::DeserializeOwned;
use zstd::stream::raw::Operation;

use super::pieces::Pieces;

/// How the compressed form begins; no line of a checkpoint does.
const MAGIC: u8 = 0x28;
/// Bytes that are unpacked at once.
const STEP_BYTES: usize = 128 << 10;

/// Goes through the lines of a pack in their order, as far as `visit` wants to.
///
/// # Errors
/// External: the pack is damaged, or the store does not answer (retryable).
pub(super) async fn for_each_line<T: DeserializeOwned>(
    mut pieces: Pieces,
    mut visit: impl FnMut(T) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let (mut unpacker, mut text, mut rest) = (Unpacker::Undecided, Vec::new(), Vec::new());
    while let Some(chunk) = pieces.any().await? {
        text.clear();
        unpacker.unpack(&chunk, &mut text).external(|| pieces.damaged())?;
        let chunk = &text;
        let mut parts = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            rest.extend_from_slice(part);
            if parts.peek().is_none() {
                break;
            }
            let line = std::mem::take(&mut rest);
            let read = serde_json::from_slice(&line);
            if visit(read.external(|| pieces.damaged())?)?.is_break() {
                return Ok(());
            }
        }
    }
    match rest.is_empty() && unpacker.is_through() {
        true => Ok(()),
        false => Err(Error::external(format!("{}: its end is missing", pieces.damaged()))),
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
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("made");
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
