//! A gzip stream as it lies: members behind one another, whole, cut off or damaged, zeros and other
//! bytes between them, and an end that may be nothing but the present one.
//!
//! What a member holds comes as it is inflated: deflate takes nothing back. Whoever reads a stream
//! that grows goes on where it ended ([`Gzip::go_on`]), or begins anew at a [`Point`].
//!
//! A compressor that stops in the middle of a member and begins another one leaves no mark, and a
//! decoder would take the new member for more of the old one. So each place that looks like the
//! header of a member is tried before anything behind it is inflated.
//!
//! Invariant: what comes out depends on the bytes of the stream alone, not on the pieces in which
//! they came nor on where the reading began.

mod header;
mod inflater;
mod member;
mod point;
mod refused;
mod scout;

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind};

use self::header::{FIXED_BYTES, Header, MAGIC};
use self::inflater::WINDOW_BYTES;
use self::member::Member;
use self::point::Candidate;
use super::Compression;
use super::input::{Input, Source};
use super::refused::Refused;
use crate::encoding::Growth;

pub use self::point::{Inside, Point, Start};
pub(super) use self::scout::first_member;

/// How much text lies between two points inside of one member, at least. Blocks end where they do,
/// so that it is 1 MiB at most for what compressors make of logs.
const POINT_TEXT_BYTES: u64 = 256 << 10;
/// How much text lies between two beginnings of members that are remembered.
const START_TEXT_BYTES: u64 = 4 << 10;
/// How many of those are remembered.
const STARTS_MAX: usize = 4 << 10;
/// A member from which reading begins anew has so much text before the position, as whoever
/// compares that text wants.
const KNOWN_TEXT_BYTES: u64 = 1 << 10;

/// What a part of it is called.
const MEMBER: &str = "gzip member";

/// A gzip stream that is read.
pub struct Gzip {
    input: Input,
    growth: Growth,
    state: State,
    /// No member begins before this byte of the compressed stream, but those that were begun.
    clear_to: u64,
    /// Bytes given, foreign ones too.
    given: u64,
    /// Text that was inflated and not given yet.
    held: VecDeque<u8>,
    /// Where the last bytes ended that were no text.
    text_from: u64,
    /// Whether any member was there.
    has_begun: bool,
    inflated: u64,
    before: Before,
    starts: VecDeque<Start>,
    /// The last place for a point, and the one before of which enough is known.
    pending: Option<Candidate>,
    ready: Option<Candidate>,
    point_from: u64,
}

enum State {
    Between,
    Inside(Box<Member>),
    /// Behind the deflated bytes of a member.
    Trailer(Box<Member>),
    /// Behind the last byte that could be inflated, or before the first one that can.
    Damaged(Refused),
    Refused(Refused),
    Broken(String),
}

impl Gzip {
    /// Reads a stream from its first byte on. Where it is open, what may be the beginning of a
    /// member waits for more, and points are made.
    pub fn new(source: Source, growth: Growth) -> Self {
        Self::from_start(source, growth, Start::default())
    }

    /// Reads a stream from the beginning of a member on, at which the source stands.
    pub fn from_start(source: Source, growth: Growth, start: Start) -> Self {
        Self {
            input: Input::resume(source, start.packed, &[]),
            growth,
            state: State::Between,
            clear_to: start.packed,
            given: start.text,
            held: VecDeque::new(),
            text_from: start.text,
            has_begun: start.packed > 0,
            inflated: 0,
            before: Before::default(),
            starts: VecDeque::from([start]),
            pending: None,
            ready: None,
            point_from: start.text + POINT_TEXT_BYTES,
        }
    }

    /// Reads a stream from a position on that a point serves; the source stands behind the point's
    /// compressed bytes. None if it serves it not.
    pub fn from_point(
        source: Source,
        growth: Growth,
        point: &Point,
        position: u64,
    ) -> Option<Self> {
        if !point.serves(position) {
            return None;
        }
        let input = Input::resume(source, point.packed, &point.packed_before);
        let state = match &point.inside {
            None => State::Between,
            Some(inside) => State::Inside(Box::new(Member::resume(*inside, point)?)),
        };
        let behind = point.text.saturating_sub(position) as usize;
        let held = &point.before[point.before.len() - behind..];
        let start = point
            .inside
            .map_or(Start { text: point.text, packed: point.packed }, |inside| inside.start);
        Some(Self {
            input,
            state,
            given: position.min(point.text),
            held: held.iter().copied().collect(),
            text_from: point.text_from,
            has_begun: true,
            before: Before(point.before.clone()),
            point_from: point.text + POINT_TEXT_BYTES,
            clear_to: point.packed,
            ..Self::from_start(Box::new(io::empty()), growth, start)
        })
    }

    /// The stream may have more bytes now.
    pub fn go_on(&mut self) {
        self.input.go_on();
    }

    /// Whether the end of the compressed stream was met: what follows it later is not seen.
    pub fn has_met_end(&self) -> bool {
        self.input.has_ended()
    }

    /// How many bytes were inflated, given or not.
    pub fn inflated(&self) -> u64 {
        self.inflated
    }

    /// How many bytes of the compressed stream were read, and the last of them.
    pub fn reached(&self) -> (u64, &[u8]) {
        self.input.reached()
    }

    /// The nearest member before a position, with a KiB of text between.
    pub fn start_before(&self, position: u64) -> Start {
        let is_before = |start: &&Start| start.text + KNOWN_TEXT_BYTES <= position;
        self.starts.iter().rev().find(is_before).copied().unwrap_or_default()
    }

    /// Why the bytes that come next are none of a member's; none while they are.
    pub fn refusal(&self) -> Option<&Refused> {
        match &self.state {
            State::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// Inflates text: at least a byte, unless there is no room or something else follows.
    ///
    /// # Errors
    /// Unexpected end: the stream ends in the middle of a member. Invalid data: a member is damaged
    /// and no other one follows it, or there is none at all. Else: it cannot be read.
    pub fn read_text(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let given = self.give_held(into);
            if given > 0 {
                return Ok(given);
            }
            self.state = match std::mem::replace(&mut self.state, State::Between) {
                State::Between => match self.begin()? {
                    State::Between => return Ok(0),
                    state => state,
                },
                State::Inside(mut member) => match self.inflate(&mut member, into) {
                    Err(error) => {
                        self.state = State::Inside(member);
                        return Err(error);
                    }
                    Ok((written, then)) => {
                        self.given += written as u64;
                        self.state = self.behind(member, then);
                        if written > 0 {
                            return Ok(written);
                        }
                        continue;
                    }
                },
                State::Trailer(member) => match self.check(&member) {
                    Err(error) => {
                        self.state = State::Trailer(member);
                        return Err(error);
                    }
                    Ok(state) => state,
                },
                State::Damaged(refused) => match self.find_next(refused) {
                    Ok(state) => state,
                    Err(error) => {
                        self.state = State::Broken(error.to_string());
                        return Err(error);
                    }
                },
                state @ State::Refused(_) => {
                    self.state = state;
                    return Ok(0);
                }
                State::Broken(message) => {
                    self.state = State::Broken(message.clone());
                    return Err(io::Error::new(ErrorKind::InvalidData, message));
                }
            };
        }
    }

    fn give_held(&mut self, into: &mut [u8]) -> usize {
        let bytes = self.held.len().min(into.len());
        into.iter_mut().zip(self.held.drain(..bytes)).for_each(|(place, byte)| *place = byte);
        self.given += bytes as u64;
        bytes
    }

    /// What comes behind a member.
    fn begin(&mut self) -> io::Result<State> {
        loop {
            let zeros = self.input.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            self.input.consume(zeros);
        }
        let Some(header) = self.header()? else {
            let is_empty = self.has_begun || self.input.offset() == 0;
            return if is_empty { Ok(State::Between) } else { Err(Compression::Gzip.is_none()) };
        };
        let offset = self.input.offset();
        let Header::Whole(length) = header else {
            let is_begun = self.input.held().starts_with(&MAGIC[..2]);
            return Ok(match (self.has_begun, is_begun) {
                (true, _) => State::Refused(Refused::behind_members(MEMBER, offset)),
                (false, true) => {
                    self.has_begun = true;
                    State::Damaged(Refused::damaged(MEMBER, offset, offset))
                }
                (false, false) => State::Damaged(Refused::before_members(MEMBER, offset)),
            });
        };
        self.has_begun = true;
        if let Some(cut) = self.member_within(1..length)? {
            let bytes = self.take(cut);
            return Ok(State::Refused(Refused::cut_off(MEMBER, offset, bytes)));
        }
        let start = Start { text: self.text(), packed: offset };
        if self.starts.back().is_none_or(|last| last.text + START_TEXT_BYTES <= start.text) {
            self.starts.push_back(start);
            let excess = self.starts.len().saturating_sub(STARTS_MAX);
            self.starts.drain(..excess);
        }
        self.input.consume(length);
        self.clear_to = self.clear_to.max(self.input.offset());
        Ok(State::Inside(Box::new(Member::new(start))))
    }

    /// What stands at the next byte; none at the end of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut wanted = FIXED_BYTES;
        loop {
            let bytes = self.input.peek(wanted)?;
            match Header::of(bytes) {
                _ if bytes.is_empty() => return Ok(None),
                Header::Short if bytes.len() >= wanted => wanted = bytes.len() + 1,
                Header::Short => return Err(ErrorKind::UnexpectedEof.into()),
                header => return Ok(Some(header)),
            }
        }
    }

    /// Text that was inflated, given or not, and what was foreign.
    fn text(&self) -> u64 {
        self.given + self.held.len() as u64
    }

    /// Takes bytes that were looked at.
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let taken = self.input.held()[..bytes].to_vec();
        self.input.consume(bytes);
        taken
    }
}

/// The last bytes given or held, as far back as a block may refer.
#[derive(Default)]
struct Before(Vec<u8>);

impl Before {
    fn push(&mut self, bytes: &[u8]) {
        if bytes.len() >= WINDOW_BYTES {
            self.0.clear();
        } else if self.0.len() + bytes.len() > 2 * WINDOW_BYTES {
            let excess = self.0.len() - WINDOW_BYTES;
            self.0.drain(..excess);
        }
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(WINDOW_BYTES)..]);
    }

    fn bytes(&self) -> &[u8] {
        &self.0[self.0.len().saturating_sub(WINDOW_BYTES)..]
    }
}
