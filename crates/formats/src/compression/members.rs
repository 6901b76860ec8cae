//! The members of a compressed stream, one after another: zstd frames, bzip2 and xz streams. Those
//! of gzip have rules of their own: [`super::gzip`].
//!
//! A decoder that was given a member which somebody cut off, and another one behind it, has taken
//! the beginning of that one when it fails. So the last bytes that were taken stay known, and the
//! next member is looked for among them first.
//!
//! Invariant: every byte of the stream belongs to a member, to zeros before, between or behind
//! members, or to what is told as refused; where a member is damaged and no other one follows, the
//! stream is broken there.

use std::io::{self, BufRead, ErrorKind, Read};

use super::decoder::{Decoder, Step, Then};
use super::input::{Input, Source};
use super::refused::{Next, Refused, Verdict};
use super::{Compression, Limits};
use crate::encoding::Growth;

/// So many bytes that were taken are kept: a block of bzip2 has at most 900 kB.
const BZIP2_KEPT_BYTES: usize = 1 << 20;
/// A block of zstd or a chunk of xz has less than 128 KiB, and shows by then what it is not.
const KEPT_BYTES: usize = 256 << 10;
/// So many bytes of what may be a member are tried at first, and at most: what gave no error until
/// then is believed.
const TRIED_BYTES: [usize; 3] = [4 << 10, 256 << 10, 1 << 20];

/// A compressed stream as the text that it holds, and what stands beside it.
pub struct Members {
    compression: Compression,
    limits: Limits,
    growth: Growth,
    input: Input,
    state: State,
    /// Whether any member was there.
    has_begun: bool,
}

enum State {
    Between,
    Inside(Box<Member>),
    /// Behind the last byte that could be decompressed.
    Damaged(Box<Damage>),
    Refused(Refused),
    /// A decoder that failed once would go on as if nothing had been.
    Broken(ErrorKind, String),
}

struct Member {
    decoder: Decoder,
    start: u64,
    /// Where the bytes end that gave their text.
    given_to: u64,
}

struct Damage {
    refused: Refused,
    /// The first byte that is refused.
    from: u64,
    /// What it is if no other member follows.
    error: io::Error,
}

impl Members {
    /// Reads a stream from its first byte on. Where it is open, what may be the beginning of a
    /// member waits for more.
    pub fn new(compression: Compression, source: Source, limits: Limits, growth: Growth) -> Self {
        let kept = match compression {
            Compression::Bzip2 => BZIP2_KEPT_BYTES,
            _ => KEPT_BYTES,
        };
        let input = Input::new(source).keeping(kept);
        Self { compression, limits, growth, input, state: State::Between, has_begun: false }
    }

    /// Why the bytes that come next are none of a member's; none while they are.
    pub fn refusal(&self) -> Option<&Refused> {
        match &self.state {
            State::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// Whether the end of the compressed stream was met: what follows it later is not seen.
    pub fn has_met_end(&self) -> bool {
        self.input.has_ended()
    }

    /// Gives what belongs to no member: at least a byte, unless it has ended or there is no room.
    ///
    /// # Errors
    /// Unexpected end: what comes next may be a member. Else: the stream cannot be read.
    pub fn read_refused(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let State::Refused(refused) = &mut self.state else { return Ok(0) };
        if into.is_empty() {
            return Ok(0);
        }
        match refused.give(into) {
            Some(0) => {
                self.state = State::Between;
                return Ok(0);
            }
            Some(given) => return Ok(given),
            None => {}
        }
        match self.ahead()? {
            Next::Nothing => Ok(0),
            Next::Unclear => Err(ErrorKind::UnexpectedEof.into()),
            Next::Member => {
                self.state = State::Between;
                Ok(0)
            }
            Next::Bytes(bytes) => {
                let room = bytes.min(into.len());
                self.input.read(&mut into[..room])
            }
        }
    }

    fn read_member(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Between) {
                State::Between => match self.next()? {
                    State::Between => return Ok(0),
                    state => state,
                },
                State::Inside(member) => {
                    let (written, state) = self.decode(member, into)?;
                    self.state = state;
                    if written > 0 {
                        return Ok(written);
                    }
                    continue;
                }
                State::Damaged(damage) => self.find_next(*damage)?,
                State::Broken(kind, message) => return Err(io::Error::new(kind, message)),
                state @ State::Refused(_) => {
                    self.state = state;
                    return Ok(0);
                }
            };
        }
    }

    /// What comes behind a member.
    fn next(&mut self) -> io::Result<State> {
        loop {
            let zeros = self.input.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            self.input.consume(zeros);
        }
        let (start, is_member) = (self.input.offset(), self.compression.member_name());
        let bytes = self.input.peek(super::MAGIC_BYTES_MAX)?;
        if bytes.is_empty() {
            let is_empty = self.has_begun || start == 0;
            return if is_empty { Ok(State::Between) } else { Err(self.compression.is_none()) };
        }
        match self.compression.begins(bytes) {
            Some(true) => {
                self.has_begun = true;
                let decoder = Decoder::new(self.compression, self.limits)?;
                Ok(State::Inside(Box::new(Member { decoder, start, given_to: start })))
            }
            Some(false) if self.has_begun => {
                Ok(State::Refused(Refused::behind_members(is_member, start)))
            }
            Some(false) => {
                let refused = Refused::before_members(is_member, start);
                let error = self.compression.is_none();
                Ok(State::Damaged(Box::new(Damage { refused, from: start, error })))
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Decompresses some of a member; says how much, and what comes behind.
    fn decode(&mut self, mut member: Box<Member>, into: &mut [u8]) -> io::Result<(usize, State)> {
        let wanted = member.decoder.wanted(self.input.offset() - member.start);
        let bytes = self.input.peek(wanted)?;
        let bytes = &bytes[..bytes.len().min(wanted)];
        let has_ended = bytes.is_empty();
        let Step { read, written, is_settled, then } = member.decoder.step(bytes, into);
        self.input.consume(read);
        if is_settled {
            member.given_to = self.input.offset();
        }
        let state = match then {
            Then::End => State::Between,
            Then::Refusal(error) if written == 0 => return Err(error),
            Then::Refusal(error) => State::Broken(error.kind(), error.to_string()),
            Then::Damage(error) => self.behind_damage(&member, error),
            Then::More if read + written > 0 => State::Inside(member),
            // Cut off, it takes the next one for more of itself.
            Then::More if has_ended => self.behind_damage(&member, ErrorKind::UnexpectedEof.into()),
            Then::More => {
                let error = io::Error::new(ErrorKind::InvalidData, "it does not go on");
                self.behind_damage(&member, error)
            }
        };
        Ok((written, state))
    }

    /// Goes back to where the next member may begin.
    fn behind_damage(&mut self, member: &Member, error: io::Error) -> State {
        let (name, start, from) = (self.compression.member_name(), member.start, member.given_to);
        let refused = match error.kind() {
            ErrorKind::UnexpectedEof => Refused::cut_off(name, start, Vec::new()),
            _ => Refused::damaged(name, start, from),
        };
        self.input.go_back_to(start + 1);
        State::Damaged(Box::new(Damage { refused, from, error }))
    }

    /// Looks for a member behind a damage.
    fn find_next(&mut self, mut damage: Damage) -> io::Result<State> {
        loop {
            match self.ahead()? {
                Next::Bytes(bytes) => {
                    // What gave text is not given again.
                    let text = damage.from.saturating_sub(self.input.offset());
                    let text = usize::try_from(text).map_or(bytes, |text| text.min(bytes));
                    damage.refused.keep(&self.input.held()[text..bytes]);
                    self.input.consume(bytes);
                }
                Next::Member => return Ok(State::Refused(damage.refused)),
                // It is damaged, and nobody knows yet that it is no more than that.
                Next::Unclear | Next::Nothing => return Err(damage.error),
            }
        }
    }

    /// Looks at the next bytes without taking them.
    fn ahead(&mut self) -> io::Result<Next> {
        let bytes = self.input.peek(1)?;
        if bytes.is_empty() {
            return Ok(Next::Nothing);
        }
        match self.compression.suspect(bytes) {
            None => return Ok(Next::Bytes(bytes.len())),
            Some(0) => {}
            Some(clear) => return Ok(Next::Bytes(clear)),
        }
        Ok(match (self.verdict()?, self.growth) {
            (Verdict::Member, _) => Next::Member,
            (Verdict::Unclear, Growth::Open) => Next::Unclear,
            (Verdict::Unclear | Verdict::None, _) => Next::Bytes(1),
        })
    }

    /// Whether a member begins at the next byte.
    fn verdict(&mut self) -> io::Result<Verdict> {
        for wanted in TRIED_BYTES {
            let bytes = self.input.peek(wanted)?;
            let has_ended = bytes.len() < wanted;
            let bytes = &bytes[..bytes.len().min(wanted)];
            match self.compression.may_begin(bytes) {
                Some(true) => {}
                Some(false) => return Ok(Verdict::None),
                None => return Ok(Verdict::Unclear),
            }
            match trial(bytes, Decoder::new(self.compression, self.limits)?) {
                Verdict::Unclear if !has_ended => {}
                verdict => return Ok(verdict),
            }
        }
        Ok(Verdict::Member)
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

/// The first place among some bytes at which a member with text begins.
pub fn first_member(compression: Compression, bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = compression.suspect(&bytes[from..]) {
        from += found;
        let decoder = Decoder::new(compression, Limits::default()).ok()?;
        if trial(&bytes[from..], decoder) == Verdict::Member {
            return Some(from);
        }
        from += 1;
    }
    None
}

impl Compression {
    /// The first place at which a member with text may begin, or may begin once more bytes follow.
    fn suspect(self, bytes: &[u8]) -> Option<usize> {
        let first = match self {
            Self::Zstd => super::ZSTD_MAGIC[0],
            Self::Bzip2 => super::BZIP2_MAGIC[0],
            _ => super::XZ_MAGIC[0],
        };
        let mut places = memchr::memchr_iter(first, bytes);
        places.find(|place| self.may_begin(&bytes[*place..]) != Some(false))
    }

    /// As [`Compression::begins`], for members that may hold text: a skippable frame of zstd has
    /// too short a sign to be looked for.
    fn may_begin(self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Zstd => super::starts(bytes, super::ZSTD_MAGIC),
            _ => self.begins(bytes),
        }
    }

    /// The error of a stream in which there is none of its members.
    pub(super) fn is_none(self) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, format!("it is not {}", self.name()))
    }
}

fn trial(bytes: &[u8], mut decoder: Decoder) -> Verdict {
    let (mut begin, mut text) = (0, [0; 32]);
    loop {
        let Step { read, written, then, .. } = decoder.step(&bytes[begin..], &mut text);
        begin += read;
        match then {
            _ if written > 0 => return Verdict::Member,
            // Who reads it says what it asks for.
            Then::End | Then::Refusal(_) => return Verdict::Member,
            Then::Damage(_) => return Verdict::None,
            Then::More if read == 0 => return Verdict::Unclear,
            Then::More => {}
        }
    }
}
