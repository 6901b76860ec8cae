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
/// So many bytes of a zstd frame say how long its header is (RFC 8878, 3.1.1.1).
const ZSTD_FIRST_BYTES: usize = 5;

/// What decompresses one member.
pub enum Decoder {
    /// A frame, and how many bytes it wants next.
    Zstd(ZstdDecoder<'static>, usize),
    /// A stream of bzip2.
    Bzip2(bzip2::Decompress),
    /// A stream of xz.
    Xz(Stream),
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
            Compression::Bzip2 => Self::Bzip2(bzip2::Decompress::new(false)),
            Compression::Xz => Self::Xz(Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0)?),
            Compression::None | Compression::Gzip => {
                let message = "it has no members of this kind";
                return Err(io::Error::new(ErrorKind::InvalidInput, message));
            }
        })
    }

    /// How many bytes the next step wants, if there are so many.
    pub fn wanted(&self) -> usize {
        match self {
            Self::Zstd(_, wanted) => *wanted,
            Self::Bzip2(_) | Self::Xz(_) => 1,
        }
    }

    /// Decompresses as much as there is room for; there must be some. Without bytes it gives what
    /// it holds.
    pub fn step(&mut self, bytes: &[u8], into: &mut [u8]) -> Step {
        match self {
            Self::Zstd(decoder, wanted) => zstd_step(decoder, wanted, bytes, into),
            Self::Bzip2(decoder) => {
                let held = bzip2_step(decoder, &[], into);
                match held.then {
                    // A block gives its first byte when all of it was taken, and no more is then.
                    Then::More if held.written == 0 => bzip2_step(decoder, bytes, &mut into[..1]),
                    _ => held,
                }
            }
            Self::Xz(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let then = match stream.process(bytes, into, Action::Run) {
                    Ok(XzStatus::StreamEnd) => Then::End,
                    Ok(_) => Then::More,
                    Err(error @ (XzError::MemLimit | XzError::Mem)) => Then::Refusal(error.into()),
                    Err(error) => Then::Damage(error.into()),
                };
                let step = Step::since(before, (stream.total_in(), stream.total_out()), then);
                Step { is_settled: true, ..step }
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

fn bzip2_step(decoder: &mut bzip2::Decompress, bytes: &[u8], into: &mut [u8]) -> Step {
    let before = (decoder.total_in(), decoder.total_out());
    let then = match decoder.decompress(bytes, into) {
        Ok(bzip2::Status::StreamEnd) => Then::End,
        Ok(_) => Then::More,
        Err(error) => Then::Damage(error.into()),
    };
    Step::since(before, (decoder.total_in(), decoder.total_out()), then)
}

impl Step {
    fn since(before: (u64, u64), after: (u64, u64), then: Then) -> Self {
        let (read, written) = ((after.0 - before.0) as usize, (after.1 - before.1) as usize);
        Self { read, written, is_settled: written > 0, then }
    }
}

/// zstd has numbers for its errors; its binding for Rust gives their names alone.
pub fn is_about_memory(error: &io::Error) -> bool {
    error.to_string().contains("requires too much memory")
}
