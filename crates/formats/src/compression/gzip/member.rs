//! One member: its text, its end, and the points in it.

use std::io::{self, BufRead, ErrorKind};

use zlib_rs::crc32::crc32;

use super::header::FIXED_BYTES;
use super::inflater::{Inflater, Step, Stops, Then};
use super::point::{Candidate, Inside, Point, Start};
use super::scout::{TRAILER_BYTES, trailer};
use super::{Gzip, MEMBER, POINT_TEXT_BYTES, State};
use crate::compression::refused::{Next, Refused};
use crate::encoding::Growth;

/// What a flush leaves behind a block: an empty stored one, which ends at the end of a byte.
const FLUSHED: &[u8] = &[0, 0, 0xff, 0xff];
/// So many bytes takes that, with a byte or none for the header before.
const FLUSHED_LENGTHS: [u64; 2] = [4, 5];
/// The longest that a stored block can be, and what may stand around it.
const STORED_BYTES_MAX: usize = 65_535 + 64;
/// So much text is inflated at once to see whether a block is stored.
const DOUBT_TEXT_BYTES: usize = 16 << 10;
/// So much text says that a member goes on in good order.
const DOUBT_TEXT_BYTES_MAX: usize = 1 << 20;

/// A member that is read.
pub struct Member {
    start: Start,
    inflater: Inflater,
    sum: u32,
    length: u64,
    /// The compressed byte behind which a block ended, if no text came since.
    block_end: Option<u64>,
    doubt: Option<Doubt>,
}

/// A member seems to begin in the middle of another one, which goes on as if it were its text. So
/// it is, if the other one is in order behind it.
#[derive(Default)]
pub struct Doubt {
    /// The compressed bytes that were inflated and not taken.
    read: usize,
    text: Vec<u8>,
    has_ended: bool,
}

/// What a doubt came to.
enum Doubted {
    /// The member that is read goes on.
    GoesOn,
    /// It was cut off, and another one begins.
    IsCutOff,
    /// More bytes must tell.
    Unclear,
}

impl Member {
    /// From its first deflated byte on.
    pub fn new(start: Start) -> Self {
        let inflater = Inflater::new();
        Self { start, inflater, sum: 0, length: 0, block_end: None, doubt: None }
    }

    /// From a point on.
    pub fn resume(inside: Inside, point: &Point) -> Option<Self> {
        let byte = *point.packed_before.last()?;
        let inflater = Inflater::resume(inside.bits, byte, point.window())?;
        let Inside { start, sum, length, .. } = inside;
        Some(Self { start, inflater, sum, length, block_end: None, doubt: None })
    }

    fn take(&mut self, text: &[u8]) {
        self.sum = crc32(self.sum, text);
        self.length += text.len() as u64;
    }

    fn is_right(&self, found: &[u8]) -> bool {
        found == trailer(self.sum, self.length)
    }
}

impl Gzip {
    /// Inflates some of a member's text; says how much, and what comes behind it.
    pub(super) fn inflate(
        &mut self,
        member: &mut Member,
        into: &mut [u8],
    ) -> io::Result<(usize, Behind)> {
        if member.doubt.is_some() {
            return self.doubt(member).map(|behind| (0, behind));
        }
        let bytes = match self.ahead()? {
            Next::Bytes(bytes) => bytes,
            Next::Nothing | Next::Unclear => return Err(ErrorKind::UnexpectedEof.into()),
            Next::Member => {
                member.doubt = Some(Doubt::default());
                return Ok((0, Behind::More));
            }
        };
        let stops = match self.growth {
            Growth::Open => Stops::BetweenBlocks,
            Growth::Closed => Stops::Nowhere,
        };
        let Step { read, written, then } =
            member.inflater.step(&self.input.held()[..bytes], into, stops);
        if let Some(pending) = &mut self.pending {
            pending.push(&self.input.held()[..read], &into[..written]);
        }
        self.input.consume(read);
        self.inflated += written as u64;
        member.take(&into[..written]);
        if self.growth == Growth::Open {
            self.before.push(&into[..written]);
            self.note_point(member, written, then);
        }
        Ok(match then {
            Then::More if read + written == 0 => (0, Behind::Damage),
            Then::More | Then::Block => (written, Behind::More),
            Then::End => (written, Behind::End),
            Then::Damage => (written, Behind::Damage),
        })
    }

    pub(super) fn behind(&mut self, member: Box<Member>, behind: Behind) -> State {
        let (start, offset) = (member.start.packed, self.input.offset());
        match behind {
            Behind::More => State::Inside(member),
            Behind::End => State::Trailer(member),
            Behind::Damage => State::Damaged(Refused::damaged(MEMBER, start, offset)),
            Behind::Member => State::Refused(Refused::cut_off(MEMBER, start, Vec::new())),
        }
    }

    /// Compares a member's checksum and length.
    pub(super) fn check(&mut self, member: &Member) -> io::Result<State> {
        let bytes = self.input.peek(TRAILER_BYTES)?;
        let Some(found) = bytes.get(..TRAILER_BYTES) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        if member.is_right(found) {
            self.input.consume(TRAILER_BYTES);
            return Ok(State::Between);
        }
        let start = member.start.packed;
        Ok(State::Refused(match self.member_within(0..TRAILER_BYTES)? {
            Some(next) => Refused::cut_off(MEMBER, start, self.take(next)),
            None => Refused::wrong_sum(MEMBER, start, self.take(TRAILER_BYTES)),
        }))
    }

    /// Decides whether a member ends where another one seems to begin.
    fn doubt(&mut self, member: &mut Member) -> io::Result<Behind> {
        let Some(mut doubt) = member.doubt.take() else { return Ok(Behind::More) };
        self.input.peek(STORED_BYTES_MAX + TRAILER_BYTES)?;
        let doubted = self.follow(member, &mut doubt);
        match (doubted, self.growth) {
            (Doubted::Unclear, Growth::Open) => {
                member.doubt = Some(doubt);
                Err(ErrorKind::UnexpectedEof.into())
            }
            (Doubted::IsCutOff | Doubted::Unclear, _) => {
                self.pending = None;
                Ok(Behind::Member)
            }
            (Doubted::GoesOn, _) => {
                self.pending = None;
                member.block_end = None;
                self.input.consume(doubt.read);
                self.clear_to = self.clear_to.max(self.input.offset());
                self.inflated += doubt.text.len() as u64;
                member.take(&doubt.text);
                if self.growth == Growth::Open {
                    self.before.push(&doubt.text);
                }
                self.held.extend(&doubt.text);
                Ok(if doubt.has_ended { Behind::End } else { Behind::More })
            }
        }
    }

    /// Inflates on as if nothing had begun, as far as a stored block can reach.
    fn follow(&self, member: &mut Member, doubt: &mut Doubt) -> Doubted {
        let bytes = self.input.held();
        let bytes = &bytes[..bytes.len().min(STORED_BYTES_MAX)];
        while !doubt.has_ended && doubt.read < bytes.len() {
            // First no more than a header: only what is stored shows it as it is.
            let is_seen = doubt.read >= FIXED_BYTES;
            let to = if is_seen { bytes.len() } else { FIXED_BYTES.min(bytes.len()) };
            let begin = doubt.text.len();
            doubt.text.resize(begin + DOUBT_TEXT_BYTES, 0);
            let into = &mut doubt.text[begin..];
            let step = member.inflater.step(&bytes[doubt.read..to], into, Stops::Nowhere);
            doubt.text.truncate(begin + step.written);
            doubt.read += step.read;
            let is_stuck = step.then == Then::More && step.read + step.written == 0;
            if step.then == Then::Damage || is_stuck {
                return Doubted::IsCutOff;
            }
            let seen = doubt.text.len().min(FIXED_BYTES);
            if doubt.text[..seen] != bytes[..seen] || (!is_seen && doubt.text.len() != doubt.read) {
                return Doubted::IsCutOff;
            }
            doubt.has_ended = step.then == Then::End;
            if doubt.text.len() >= DOUBT_TEXT_BYTES_MAX {
                return Doubted::GoesOn;
            }
        }
        if !doubt.has_ended {
            let is_enough = doubt.read >= STORED_BYTES_MAX;
            return if is_enough { Doubted::GoesOn } else { Doubted::Unclear };
        }
        let (sum, length) = (member.sum, member.length + doubt.text.len() as u64);
        let expect = trailer(crc32(sum, &doubt.text), length);
        match self.input.held().get(doubt.read..doubt.read + TRAILER_BYTES) {
            None => Doubted::Unclear,
            Some(found) if found == expect => Doubted::GoesOn,
            Some(_) => Doubted::IsCutOff,
        }
    }

    /// Remembers places between two blocks: the last one, and once in a while one for a point.
    fn note_point(&mut self, member: &mut Member, written: usize, then: Then) {
        let text = self.given + written as u64;
        match then {
            Then::Block => member.block_end = Some(self.input.offset()),
            _ if written > 0 => member.block_end = None,
            _ => {}
        }
        match then {
            Then::Damage | Then::End => self.pending = None,
            _ if self.pending.as_ref().is_some_and(Candidate::is_followed) => {
                self.ready = self.pending.take();
            }
            _ => {}
        }
        if then == Then::Block && self.pending.is_none() && text >= self.point_from {
            self.pending = Candidate::new(self.point_inside(member, text));
            self.point_from = text + POINT_TEXT_BYTES;
        }
    }

    fn point_inside(&self, member: &Member, text: u64) -> Point {
        let Member { start, sum, length, .. } = *member;
        let inside = Some(Inside { start, bits: 0, sum, length });
        Point { inside, ..self.point_between(text) }
    }

    fn point_between(&self, text: u64) -> Point {
        Point {
            text,
            packed: self.input.offset(),
            before: self.before.bytes().to_vec(),
            text_from: self.text_from,
            packed_before: self.input.before().to_vec(),
            inside: None,
        }
    }

    /// The newest point inside of a member that was passed since the last call.
    pub fn take_point(&mut self) -> Option<Point> {
        let point = self.ready.take()?.prove();
        if point.is_none() {
            // The next place may tell.
            self.point_from = self.text();
        }
        point
    }

    /// A point just where everything was read, if there can be one: between two members, and
    /// behind a flush, which is known by its bytes where a block has ended just before and no text
    /// came since.
    pub fn point_here(&self) -> Option<Point> {
        let is_all = self.input.held().is_empty() && self.held.is_empty();
        if self.growth != Growth::Open || !is_all || !self.has_begun {
            return None;
        }
        match &self.state {
            State::Between => Some(self.point_between(self.text())),
            State::Inside(member) if member.doubt.is_none() => {
                let quiet = member.block_end.map(|end| self.input.offset() - end);
                let is_flushed = quiet.is_some_and(|quiet| FLUSHED_LENGTHS.contains(&quiet))
                    && self.input.before().ends_with(FLUSHED);
                is_flushed.then(|| self.point_inside(member, self.text()))
            }
            _ => None,
        }
    }
}

/// What comes behind the text of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// More of the member.
    More,
    /// The end of its deflated bytes.
    End,
    /// Bytes that cannot be inflated.
    Damage,
    /// Another member.
    Member,
}
