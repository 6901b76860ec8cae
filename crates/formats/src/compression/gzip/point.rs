//! Places in a gzip stream from which reading goes on without what stands before.
//!
//! Between two members a place is a number. Inside of one it lies between two blocks and needs the
//! text before, to which the next block may refer, and the bit at which that block begins. The
//! library does not tell this bit. So the decoder goes on, and later all eight are tried on the
//! bytes over which it went: the true one gives the very text that it gave, and where no other one
//! does, it is known.
//!
//! Invariant: a point that is given out was proved so, or stands behind what a flush leaves.

use super::KNOWN_TEXT_BYTES;
use super::inflater::{Inflater, Stops, Then, WINDOW_BYTES};

/// So much text behind a place tells at which bit a block begins there.
const PROOF_TEXT_BYTES: usize = 1 << 10;
/// So many compressed bytes are kept for it: more than so much text takes, but where blocks are
/// empty.
const PROOF_BYTES_MAX: usize = 2 << 10;
/// The beginning of a written point: the form in which it is written.
const FORM: u8 = 1;

/// Where a member begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Bytes of the stream before it, decompressed.
    pub text: u64,
    /// Bytes of the compressed stream before it.
    pub packed: u64,
}

/// A place from which reading goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Bytes of the stream before it, decompressed.
    pub text: u64,
    /// Bytes of the compressed stream before it, counting one that belongs to both sides.
    pub packed: u64,
    /// The text before, at most 32 KiB, and whatever else stood there.
    pub before: Vec<u8>,
    /// From where on all of that is text, as one piece.
    pub text_from: u64,
    /// The last compressed bytes before, at most 256: who opens the stream again compares them.
    pub packed_before: Vec<u8>,
    /// The member in which it lies; none between two.
    pub inside: Option<Inside>,
}

/// What is known of a member that is read in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Where it begins.
    pub start: Start,
    /// The bits of the last compressed byte that belong to what was read; 0 for all of them.
    pub bits: u8,
    /// The checksum of its text so far.
    pub sum: u32,
    /// How much text that was.
    pub length: u64,
}

impl Point {
    /// Whether reading can begin at a position from here, with the last KiB before it known.
    pub fn serves(&self, position: u64) -> bool {
        position >= self.serves_from()
    }

    /// The first position at which reading can begin from here.
    pub fn serves_from(&self) -> u64 {
        let known_from = self.text - self.before.len() as u64;
        let wanted = if known_from == 0 { 0 } else { known_from + KNOWN_TEXT_BYTES };
        wanted.max(self.text_from)
    }

    /// The same without text that nobody needs who begins at a position or behind it: between two
    /// members no block refers to any.
    pub fn shortened(mut self, position: u64) -> Self {
        if self.inside.is_none() && self.serves(position) {
            let needed = self.text.saturating_sub(position).saturating_add(KNOWN_TEXT_BYTES);
            let excess = (self.before.len() as u64).saturating_sub(needed);
            self.before.drain(..excess as usize);
        }
        self
    }

    /// The text before to which the next block may refer.
    pub fn window(&self) -> &[u8] {
        let length = self.inside.map_or(0, |inside| inside.length).min(WINDOW_BYTES as u64);
        &self.before[self.before.len() - (length as usize).min(self.before.len())..]
    }

    /// The point as it is kept: less than 33 KiB.
    pub fn to_bytes(&self) -> Vec<u8> {
        let inside = self.inside.unwrap_or(Inside {
            start: Start::default(),
            bits: u8::MAX,
            sum: 0,
            length: 0,
        });
        let mut bytes = vec![FORM, inside.bits];
        bytes.extend(inside.sum.to_le_bytes());
        let start = inside.start;
        let place = [self.text, self.packed, self.text_from];
        for number in place.into_iter().chain([start.text, start.packed, inside.length]) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.packed_before.len() as u16).to_le_bytes());
        bytes.extend(&self.packed_before);
        bytes.extend(&self.before);
        bytes
    }

    /// Reads a point; none if these bytes are none.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [FORM, bits] = take(&mut rest)? else { return None };
        let sum = u32::from_le_bytes(take(&mut rest)?);
        let mut number = || take(&mut rest).map(u64::from_le_bytes);
        let (text, packed, text_from) = (number()?, number()?, number()?);
        let start = Start { text: number()?, packed: number()? };
        let length = number()?;
        let packed_length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let (packed_before, before) = rest.split_at_checked(packed_length)?;
        let is_inside = bits != u8::MAX;
        let inside = is_inside.then_some(Inside { start, bits, sum, length });
        let fits = before.len() <= WINDOW_BYTES && before.len() as u64 <= text;
        let fits = fits && text_from <= text;
        let fits = fits && (!is_inside || (bits < 8 && !packed_before.is_empty()));
        let (before, packed_before) = (before.to_vec(), packed_before.to_vec());
        fits.then_some(Self { text, packed, before, text_from, packed_before, inside })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// A place between two blocks of which nobody knows the bit yet.
pub struct Candidate {
    /// The point, were its bit known.
    point: Point,
    /// The first compressed bytes behind it.
    behind: Vec<u8>,
    /// The first text behind it.
    text: Vec<u8>,
}

impl Candidate {
    /// A place where the decoder just stands; none if it lies inside of no member.
    pub fn new(point: Point) -> Option<Self> {
        point.inside.map(|_| Self { point, behind: Vec::new(), text: Vec::new() })
    }

    /// The decoder went on: over these bytes, which gave this text. They end no member.
    pub fn push(&mut self, bytes: &[u8], text: &[u8]) {
        let room = PROOF_BYTES_MAX - self.behind.len();
        self.behind.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let room = PROOF_TEXT_BYTES - self.text.len();
        self.text.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Whether the bit can be told by what followed.
    pub fn is_followed(&self) -> bool {
        self.text.len() == PROOF_TEXT_BYTES || self.behind.len() == PROOF_BYTES_MAX
    }

    /// The point, if its bit can be told: the true one always gives what the decoder gave.
    pub fn prove(self) -> Option<Point> {
        let (Some(inside), Some(last)) = (self.point.inside, self.point.packed_before.last())
        else {
            return None;
        };
        let way = Way { last: *last, next: *self.behind.first()? };
        let mut inflater = Inflater::new();
        let mut fitting = (0..8).filter(|bits| self.fits(&mut inflater, *bits, *last));
        let first = fitting.next()?;
        fitting.all(|bits| way.is_one(first, bits)).then_some(())?;
        Some(Point { inside: Some(Inside { bits: first, ..inside }), ..self.point })
    }

    fn fits(&self, inflater: &mut Inflater, bits: u8, last: u8) -> bool {
        if inflater.restart(bits, last, self.point.window()).is_none() {
            return false;
        }
        let (mut text, mut read, mut written) = ([0; PROOF_TEXT_BYTES], 0, 0);
        while read < self.behind.len() && written < self.text.len() {
            let into = &mut text[written..self.text.len()];
            let step = inflater.step(&self.behind[read..], into, Stops::Nowhere);
            read += step.read;
            written += step.written;
            match step.then {
                // The decoder met neither.
                Then::Damage | Then::End => return false,
                _ if step.read + step.written == 0 => break,
                _ => {}
            }
        }
        text[..written] == self.text[..written]
    }
}

/// The last byte before a place, and the next one.
struct Way {
    last: u8,
    next: u8,
}

impl Way {
    /// Whether it is all one at which of two bits a block begins: it is stored, so that the rest of
    /// a byte is passed over, and both lead to the same one.
    fn is_one(&self, one: u8, other: u8) -> bool {
        let stored = self.stored(one);
        stored.is_some() && stored == self.stored(other)
    }

    /// Whether a stored block that begins behind so many bits is the last one, and where its
    /// length stands.
    fn stored(&self, bits: u8) -> Option<(bool, u32)> {
        // None of the bits means all of them.
        let begin = if bits == 0 { 8 } else { u32::from(bits) };
        let header = u16::from_le_bytes([self.last, self.next]) >> begin & 0b111;
        (header & 0b110 == 0).then_some((header == 1, (begin + 3).div_ceil(8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_reads_what_it_writes() {
        let start = Start { text: 1, packed: 2 };
        let inside = Some(Inside { start, bits: 5, sum: 7, length: 40_000 });
        for inside in [inside, None] {
            let before = vec![b'x'; WINDOW_BYTES];
            let packed_before = vec![b'y'; 256];
            let (text, packed, text_from) = (40_001, 5_000, 39_000);
            let point = Point { text, packed, before, text_from, packed_before, inside };
            let bytes = point.to_bytes();
            assert!(bytes.len() < 33 * 1024, "{}", bytes.len());
            assert_eq!(Point::of_bytes(&bytes), Some(point));
            assert_eq!(Point::of_bytes(&bytes[..40]), None);
            assert_eq!(Point::of_bytes(&[&[9], &bytes[1..]].concat()), None);
        }
    }

    #[test]
    fn a_point_serves_what_it_knows_enough_of() {
        let point = |text: u64, known: usize, text_from: u64| Point {
            text,
            packed: 9,
            before: vec![0; known],
            text_from,
            packed_before: Vec::new(),
            inside: None,
        };
        let check = |point: Point, from: u64| {
            let first = (0..=point.text).find(|position| point.serves(*position));
            assert_eq!(first, Some(from));
        };
        check(point(100_000, WINDOW_BYTES, 0), 100_000 - 31 * 1024);
        check(point(100_000, WINDOW_BYTES, 99_000), 99_000);
        check(point(500, 500, 0), 0);
        check(point(100_000, WINDOW_BYTES, 0).shortened(99_990), 99_990);
        check(point(100_000, WINDOW_BYTES, 0).shortened(1_000_000), 100_000);
        check(point(100_000, WINDOW_BYTES, 0).shortened(1), 100_000 - 31 * 1024);
        check(point(500, 500, 0).shortened(500), 0);
        let inside = Inside { start: Start::default(), bits: 0, sum: 0, length: 100_000 };
        let point = Point { inside: Some(inside), ..point(100_000, WINDOW_BYTES, 0) };
        check(point.shortened(100_000), 100_000 - 31 * 1024);
    }
}
