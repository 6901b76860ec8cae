//! The members of a compressed stream, one after another: zstd frames, bzip2 and xz streams. Those
//! of gzip have rules of their own: [`super::gzip`].
//!
//! Invariant: every byte of the stream belongs to a member, to zeros between or behind members, or
//! to what follows the last one and is told as foreign.

use std::io::{self, BufRead, ErrorKind, Read};

use super::input::{Input, Source};
use super::{Compression, Limits};

/// What an xz stream may ask for: `xz -9` takes 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 1 << 30;

/// A compressed stream as the text that it holds, and what follows it.
pub struct Members {
    compression: Compression,
    limits: Limits,
    state: State,
    /// Whether any member was there.
    has_begun: bool,
}

enum State {
    Between(Input),
    Inside(Box<Member>),
    Ended,
    /// Behind the last member.
    Foreign {
        input: Input,
        from: u64,
    },
    /// A decoder that failed once would go on as if nothing had been.
    Broken(ErrorKind, String),
}

enum Member {
    Zstd(zstd::stream::read::Decoder<'static, Input>),
    Bzip2(bzip2::bufread::BzDecoder<Input>),
    Xz(liblzma::bufread::XzDecoder<Input>),
}

impl Members {
    /// Reads a stream from its first byte on.
    pub fn new(compression: Compression, source: Source, limits: Limits) -> Self {
        let state = State::Between(Input::new(source));
        Self { compression, limits, state, has_begun: false }
    }

    /// The bytes that belong to no member, once the text has ended.
    pub fn foreign(&mut self) -> Option<&mut Input> {
        match &mut self.state {
            State::Foreign { input, .. } => Some(input),
            _ => None,
        }
    }

    /// Where in the compressed stream those bytes begin.
    pub fn foreign_from(&self) -> Option<u64> {
        match &self.state {
            State::Foreign { from, .. } => Some(*from),
            _ => None,
        }
    }

    /// Whether the end of the compressed stream was met: what follows it later is not seen.
    pub fn has_met_end(&self) -> bool {
        match &self.state {
            State::Between(input) | State::Foreign { input, .. } => input.has_ended(),
            State::Inside(member) => member.input().has_ended(),
            State::Ended | State::Broken(..) => true,
        }
    }

    /// What comes behind a member.
    fn next(&mut self, mut input: Input) -> io::Result<State> {
        loop {
            let zeros = input.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 || !self.has_begun {
                break;
            }
            input.consume(zeros);
        }
        let bytes = input.peek(super::MAGIC_BYTES_MAX)?;
        if bytes.is_empty() {
            return Ok(State::Ended);
        }
        match self.compression.begins(bytes) {
            Some(true) => {
                self.has_begun = true;
                Ok(State::Inside(Box::new(self.open(input)?)))
            }
            Some(false) if self.has_begun => {
                let from = input.offset();
                Ok(State::Foreign { input, from })
            }
            Some(false) => {
                let name = self.compression.name();
                Err(io::Error::new(ErrorKind::InvalidData, format!("it is not {name}")))
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    fn open(&self, input: Input) -> io::Result<Member> {
        Ok(match self.compression {
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(self.limits.zstd_window_log())?;
                Member::Zstd(decoder)
            }
            Compression::Bzip2 => Member::Bzip2(bzip2::bufread::BzDecoder::new(input)),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0)?;
                Member::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::None | Compression::Gzip => {
                return Err(io::Error::new(
                    ErrorKind::InvalidInput,
                    "it has no members of this kind",
                ));
            }
        })
    }
}

impl Read for Members {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let outcome = self.read_member(into);
        outcome.map_err(|error| {
            let error = self.limits.explain(error);
            self.state = State::Broken(error.kind(), error.to_string());
            error
        })
    }
}

impl Members {
    fn read_member(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Between(input) => self.next(input)?,
                State::Inside(mut member) => match member.read(into) {
                    Ok(0) => State::Between(member.into_input()),
                    outcome => {
                        self.state = State::Inside(member);
                        return outcome;
                    }
                },
                State::Broken(kind, message) => {
                    self.state = State::Broken(kind, message.clone());
                    return Err(io::Error::new(kind, message));
                }
                state @ (State::Ended | State::Foreign { .. }) => {
                    self.state = state;
                    return Ok(0);
                }
            };
        }
    }
}

impl Member {
    fn input(&self) -> &Input {
        match self {
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Bzip2(decoder) => decoder.get_ref(),
            Self::Xz(decoder) => decoder.get_ref(),
        }
    }

    fn into_input(self) -> Input {
        match self {
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
        }
    }
}

impl Read for Member {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(into),
            Self::Bzip2(decoder) => decoder.read(into),
            Self::Xz(decoder) => decoder.read(into),
        }
    }
}
