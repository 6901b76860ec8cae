//! One member of zstd, bzip2 or xz, step by step.
//!
//! The libraries' own readers forget, when they fail, what they had just written. Here each step
//! tells it, and a step ends with a block where the format has blocks: so it is known which bytes
//! gave no text, in whatever pieces they came.

use std::io::{self, ErrorKind};

use liblzma::stream::{Action, Error as XzError, Status as XzStatus, Stream};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::{Compression, Limits};

/// What an xz stream may ask for: `xz -9` takes 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// So many bytes of bzip2 and xz, from the beginning of a member on, are one piece.
const FED_BYTES: usize = 4 << 10;
/// So many bytes of a zstd frame say how long its header is (RFC 8878, 3.1.1.1).
const ZSTD_FIRST_BYTES: usize = 5;

/// What decompresses one member.
pub enum Decoder {
    /// A frame, and how many bytes it wants next.
    Zstd(ZstdDecoder<'static>, usize),
    /// A stream of bzip2, and text that was not given yet.
    Bzip2(bzip2::Decompress, Held),
    /// A stream of xz.
    Xz(Stream),
}

/// Text of one call, of which so much was given.
pub struct Held {
    text: Vec<u8>,
    length: usize,
    given: usize,
    /// What ended that call, told with the last of its text.
    then: Then,
}

/// How far one step came.
pub struct Step {
    /// Bytes taken.
    pub read: usize,
    /// Bytes of text given.
    pub written: usize,
    /// Whether all bytes that were taken gave their text, or have none.
    pub is_settled: bool,
    /// Why it ended there.
    pub then: Then,
}

/// What ended a step.
pub enum Then {
    /// No bytes are left, or no room.
    More,
    /// The member has ended.
    End,
    /// What comes next is none of its kind.
    Damage(io::Error),
    /// It asks for more than it may have.
    Refusal(io::Error),
}

impl Decoder {
    /// From the first byte of a member on.
    ///
    /// # Errors
    /// There is no memory, or it is no such compression.
    pub fn new(compression: Compression, limits: Limits) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(limits.zstd_window_log()))?;
                Self::Zstd(decoder, ZSTD_FIRST_BYTES)
            }
            Compression::Bzip2 => {
                let held =
                    Held { text: vec![0; BZIP2_TEXT_BYTES], length: 0, given: 0, then: Then::More };
                Self::Bzip2(bzip2::Decompress::new(false), held)
            }
            Compression::Xz => Self::Xz(Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0)?),
            Compression::None | Compression::Gzip => {
                let message = "it has no members of this kind";
                return Err(io::Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }

    /// How many bytes the next step wants, if there are so many, behind those that were taken. With
    /// just these its outcome depends on no pieces: bzip2 takes a few bytes ahead, if it has them.
    pub fn wanted(&self, taken: u64) -> usize {
        match self {
            Self::Zstd(_, wanted) => *wanted,
            Self::Bzip2(..) | Self::Xz(_) => FED_BYTES - (taken % FED_BYTES as u64) as usize,
        }
    }

    /// Decompresses as much as there is room for; there must be some. Without bytes it gives what
    /// it holds.
    pub fn step(&mut self, bytes: &[u8], into: &mut [u8]) -> Step {
        match self {
            Self::Zstd(decoder, wanted) => zstd_step(decoder, wanted, bytes, into),
            Self::Bzip2(decoder, held) => bzip2_step(decoder, held, bytes, into),
            Self::Xz(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let then = match stream.process(bytes, into, Action::Run) {
                    Ok(XzStatus::StreamEnd) => Then::End,
                    Ok(_) => Then::More,
                    Err(error @ (XzError::MemLimit | XzError::Mem)) => Then::Refusal(error.into()),
                    Err(error) => Then::Damage(error.into()),
                };
                let read = (stream.total_in() - before.0) as usize;
                let written = (stream.total_out() - before.1) as usize;
                Step { read, written, is_settled: true, then }
            }
        }
    }
}

/// So many bytes say how long a block of zstd is (RFC 8878, 3.1.1.2).
const ZSTD_BLOCK_HEADER_BYTES: usize = 3;

fn zstd_step(
    decoder: &mut ZstdDecoder<'_>,
    wanted: &mut usize,
    bytes: &[u8],
    into: &mut [u8],
) -> Step {
    // First what it holds, so that all text of the step is that of the bytes taken in it.
    let held = zstd_run(decoder, wanted, &[], into);
    if held.written > 0 || !matches!(held.then, Then::More) {
        return Step { is_settled: false, ..held };
    }
    // What it wants is a block with the header of the next one, and text is lost where that is bad.
    let all = *wanted;
    let block = all.checked_sub(ZSTD_BLOCK_HEADER_BYTES).filter(|block| *block > 0).unwrap_or(all);
    let fed = bytes.len().min(block);
    let step = zstd_run(decoder, wanted, &bytes[..fed], into);
    let is_whole = step.read == all || (step.written > 0 && step.read == block);
    Step { is_settled: is_whole && !matches!(step.then, Then::Damage(_)), ..step }
}

fn zstd_run(
    decoder: &mut ZstdDecoder<'_>,
    wanted: &mut usize,
    bytes: &[u8],
    into: &mut [u8],
) -> Step {
    let mut input = InBuffer::around(bytes);
    let mut output = OutBuffer::around(into);
    let outcome = decoder.run(&mut input, &mut output);
    let then = match outcome {
        Ok(0) => Then::End,
        Ok(next) => {
            *wanted = next;
            Then::More
        }
        Err(error) if is_about_memory(&error) => Then::Refusal(error),
        Err(error) => Then::Damage(error),
    };
    Step { read: input.pos(), written: output.pos(), is_settled: false, then }
}

/// So much text is taken of bzip2 at once. Where a block proves to be damaged, what the last call
/// wrote of it is lost, so that no call may depend on how much room there is.
const BZIP2_TEXT_BYTES: usize = 16 << 10;

fn bzip2_step(
    decoder: &mut bzip2::Decompress,
    held: &mut Held,
    bytes: &[u8],
    into: &mut [u8],
) -> Step {
    let (mut read, mut is_settled) = (0, false);
    if held.given == held.length {
        held.given = 0;
        held.then = bzip2_run(decoder, &[], &mut held.text, (&mut read, &mut held.length));
        if held.length == 0 && matches!(held.then, Then::More) {
            // A block gives its first byte when all of it was taken, and no more is then.
            let first = &mut held.text[..1];
            held.then = bzip2_run(decoder, bytes, first, (&mut read, &mut held.length));
            is_settled = held.length > 0;
        }
    }
    let written = into.len().min(held.length - held.given);
    into[..written].copy_from_slice(&held.text[held.given..held.given + written]);
    held.given += written;
    let is_all = held.given == held.length;
    let then = if is_all { std::mem::replace(&mut held.then, Then::More) } else { Then::More };
    Step { read, written, is_settled, then }
}

/// Says how much was read and written.
fn bzip2_run(
    decoder: &mut bzip2::Decompress,
    bytes: &[u8],
    into: &mut [u8],
    (read, written): (&mut usize, &mut usize),
) -> Then {
    let before = (decoder.total_in(), decoder.total_out());
    let then = match decoder.decompress(bytes, into) {
        Ok(bzip2::Status::StreamEnd) => Then::End,
        Ok(_) => Then::More,
        Err(error) => Then::Damage(error.into()),
    };
    *read = (decoder.total_in() - before.0) as usize;
    *written = (decoder.total_out() - before.1) as usize;
    then
}

/// zstd has numbers for its errors; its binding for Rust gives their names alone.
pub fn is_about_memory(error: &io::Error) -> bool {
    error.to_string().contains("requires too much memory")
}
