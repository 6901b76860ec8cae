//! What a position remembers of the way to it: places before it, near ones and ever fewer far ones,
//! each with a sum of all bytes of the file before.
//!
//! A log that is copied, written on, read and then truncated leaves a copy that ends before the
//! position, and nothing else tells a later process what that is. What it holds before a place is
//! passed over if all of it is what was read; what stands behind the last place is read.
//!
//! Short files are often equal by chance. One of less than a KiB is such a copy only if a place is
//! known just where it ends, and nobody wrote to it after what was read of the log was written.
//!
//! Invariant: no byte is passed over but as one of those that a sum of what was read covers, and
//! never of the file itself whose beginning another one holds.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use contract::{Position, Result};
use serde::{Deserialize, Serialize};

use crate::found::{Found, unreadable};
use crate::identity::{FINGERPRINT_BYTES, Note, are_related, is_rotated_name};
use crate::matching::{Candidate, Failures};
use crate::stream::{Opened, Placed, is_damage};
use crate::sum::Sum;

/// How many of the nearest places are remembered, whatever they are.
pub const NEAREST_MAX: usize = 8;
/// How many ends of batches are remembered: what nobody writes to ends at one.
const ENDS_MAX: usize = 4;
/// How many other places are.
const PLACES_MAX: usize = 5;
/// How far before the position the nearest of these is, at most.
const NEAR_BYTES: i64 = 512;
/// How much farther back the next but one is, at least.
const APART: i64 = 4;
/// How many bytes of a sum a place keeps.
const SUM_BYTES: usize = 6;
/// All that is remembered, in bytes, before it becomes text: that has a third more.
const WRITTEN_BYTES_MAX: usize = 140;
/// So much of a copy is read at once.
const PIECE_BYTES: i64 = 64 << 10;

/// A place in a file, and the sum of what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    at: i64,
    sum: u64,
    /// Whether a batch ended there.
    is_end: bool,
}

/// Places in the order in which they stand, and what is known at the position behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    places: Vec<Place>,
    /// The sum of whole blocks, see [`Sum::resumed`].
    blocks: u64,
    /// When what was read had been written, in nanoseconds since 1970.
    modified_ns: i64,
}

/// A trail as a note has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Written(String);

impl Written {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far before its end the places of a batch are best, beside the nearest ones.
pub fn distances() -> impl Iterator<Item = i64> {
    std::iter::successors(Some(NEAR_BYTES), |distance| Some(distance * APART)).take(PLACES_MAX)
}

impl Place {
    /// A place in a batch, with all bytes before it.
    pub fn inside(at: i64, before: &Sum) -> Self {
        Self { at, sum: shortened(before.value()), is_end: false }
    }

    /// The end of a batch.
    pub fn end(at: i64, before: &Sum) -> Self {
        Self { is_end: true, ..Self::inside(at, before) }
    }
}

fn shortened(sum: u64) -> u64 {
    sum >> (64 - 8 * SUM_BYTES)
}

impl Trail {
    /// What a position remembers; none if it remembers nothing, though something was read.
    ///
    /// # Errors
    /// Bug: the position is not ours.
    pub fn of(position: Option<&Position>) -> Result<Option<Self>> {
        let Some(position) = position.filter(|position| position.at > 0) else {
            return Ok(Some(Self::default()));
        };
        let note = Note::of(position)?;
        Ok(note.and_then(|note| Self::read(&note.trail, position.at)))
    }

    fn read(written: &Written, position: i64) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(&written.0).ok()?;
        let (blocks, rest) = bytes.split_first_chunk()?;
        let (modified_ns, mut rest) = rest.split_first_chunk()?;
        let mut places = Vec::new();
        while !rest.is_empty() {
            let (distance, behind) = read_number(rest)?;
            let (sum, behind) = behind.split_first_chunk::<SUM_BYTES>()?;
            let sum = sum.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let at = position - (distance >> 1).cast_signed();
            places.push(Place { at, sum, is_end: distance & 1 == 1 });
            rest = behind;
        }
        places.reverse();
        let (blocks, modified_ns) = (u64::from_le_bytes(*blocks), i64::from_le_bytes(*modified_ns));
        Some(Self { places, blocks, modified_ns })
    }

    /// When what was read had been written, in nanoseconds since 1970; 1970 if nobody knows.
    pub fn modified_ns(&self) -> i64 {
        self.modified_ns
    }

    /// The sum of the whole blocks of all bytes before the position.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The sum at the position, where the bytes before it are known.
    pub fn sum(&self, position: i64, before: &[u8]) -> Option<Sum> {
        Sum::resumed(self.blocks, position, before)
    }

    /// What was read by now had been written then.
    pub fn note_time(&mut self, modified_ns: i64) {
        self.modified_ns = modified_ns;
    }

    /// Adds places, and forgets what a position need not know.
    pub fn add(&mut self, places: impl IntoIterator<Item = Place>, position: i64, sum: &Sum) {
        self.blocks = sum.blocks();
        self.places.extend(places);
        self.places.retain(|place| 0 < place.at && place.at < position);
        self.places.sort_by_key(|place| (-place.at, !place.is_end));
        self.places.dedup_by_key(|place| place.at);
        // From the nearest to the farthest.
        let (mut kept, mut places): (Vec<Place>, Vec<Place>) = (Vec::new(), Vec::new());
        let distance = |place: &Place| position - place.at;
        let mut ends = 0;
        for place in self.places.drain(..) {
            let is_near = kept.len() < NEAREST_MAX;
            if is_near || place.is_end && ends < ENDS_MAX {
                ends += usize::from(place.is_end);
                kept.push(place);
                continue;
            }
            let before = places.len().checked_sub(2).map_or(0, |number| distance(&places[number]));
            if !places.is_empty() && distance(&place) <= APART * before.max(NEAR_BYTES / APART) {
                // The one between both is not needed.
                places.pop();
            }
            places.push(place);
        }
        places.truncate(PLACES_MAX);
        kept.extend(places);
        kept.sort_by_key(|place| place.at);
        self.places = kept;
    }

    /// What the note of a position has of it.
    pub fn write(&self, position: i64) -> Written {
        let mut bytes = Vec::with_capacity(WRITTEN_BYTES_MAX);
        bytes.extend(self.blocks.to_le_bytes());
        bytes.extend(self.modified_ns.to_le_bytes());
        for place in self.places.iter().rev() {
            let distance = (position - place.at).cast_unsigned() << 1 | u64::from(place.is_end);
            let mut written = write_number(distance);
            written.extend(&place.sum.to_be_bytes()[8 - SUM_BYTES..]);
            if bytes.len() + written.len() > WRITTEN_BYTES_MAX {
                break;
            }
            bytes.extend(written);
        }
        Written(STANDARD_NO_PAD.encode(bytes))
    }
}

/// A number in as few bytes as it needs, seven bits in each, the lowest first.
fn write_number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Such a number, and what stands behind it.
fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[place + 1..]));
        }
    }
    None
}

/// Lets each file that is the copy of what was read of a split begin at the last place up to which
/// that is certain. So is it only if the split has no file any more. Returns a sentence about each
/// that holds more.
///
/// # Errors
/// Bug: a position is not ours.
pub fn pass_over_copies(
    unknown: &mut Vec<Found>,
    candidates: &[Candidate],
    failures: &mut Failures,
) -> Result<Vec<String>> {
    let lost: Vec<_> = candidates.iter().filter(|one| one.found.is_none()).collect();
    let mut warnings = Vec::new();
    if lost.is_empty() {
        return Ok(warnings);
    }
    let mut left = Vec::new();
    for mut found in unknown.drain(..) {
        let copy = lost.iter().find_map(|candidate| match copied_to(&found, candidate) {
            Ok(copy) => copy.map(|copy| Ok((copy, &candidate.id))),
            Err(error) => Some(Err(error)),
        });
        match copy.transpose() {
            Ok(copy) => {
                if let Some((copy, id)) = copy {
                    let (path, at) = (&found.path, copy.certain.at);
                    warnings.extend((at < copy.end).then(|| {
                        format!(
                            "{path:?} may be a copy of what was read of \"{id}\"; that is certain \
                             up to byte {at}, and what stands behind may be read again"
                        )
                    }));
                    found.from = (at > 0).then_some(copy.certain);
                }
                left.push(found);
            }
            Err(error) => failures.unreadable.push((found.path, error)),
        }
    }
    *unknown = left;
    Ok(warnings)
}

/// What was read of another file.
struct Copy {
    /// The last place up to which that is certain, with the bytes before it.
    certain: Position,
    /// Where the file ends.
    end: i64,
}

/// What a file holds of what was read of a split that has no file any more; none if it is no copy.
fn copied_to(found: &Found, candidate: &Candidate) -> Result<Option<Copy>> {
    let (descriptor, position) = (&candidate.descriptor, candidate.position.as_ref());
    let may_be = are_related(&descriptor.path, &found.path)
        && is_rotated_name(&found.path, &found.signature)
        && !found.signature.is_same_file(&descriptor.signature)
        && found.from.is_none();
    let Some(position) = position.filter(|_| may_be) else { return Ok(None) };
    let is_cut_off = Note::of(position)?.is_some_and(|note| note.is_cut_off);
    let is_behind = found.end().is_some_and(|end| end >= position.at);
    let is_long = found.beginning().is_some();
    let is_other = is_long && descriptor.head.is_full() && !found.holds_head(&descriptor.head);
    let trail = Trail::of(Some(position))?.filter(|trail| !trail.places.is_empty());
    let Some(trail) = trail.filter(|_| !is_cut_off && !is_behind && !is_other) else {
        return Ok(None);
    };
    let Some(opened) = found.open()? else { return Ok(None) };
    let followed = opened.follow(&trail.places, position.at);
    let followed = followed.map_err(|error| unreadable(&found.path, &error))?;
    Ok(followed.and_then(|copy| {
        let is_known = copy.certain.at >= FINGERPRINT_BYTES as i64 || copy.certain.at == copy.end;
        let is_older = found.signature.modified_ns <= trail.modified_ns;
        match is_known && (is_older || is_long && found.may_be_copy()) {
            true => Some(copy),
            // It may be one all the same.
            false => (is_known || is_older).then_some(Copy { certain: Position::new(0), ..copy }),
        }
    }))
}

impl Opened {
    /// The last bytes before a place on disk, as many as a fingerprint covers; none of them if the
    /// file ends before it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn before(&self, at: i64) -> io::Result<Vec<u8>> {
        let length = at.min(FINGERPRINT_BYTES as i64);
        let mut bytes = vec![0; length as usize];
        match self.file.read_exact_at(&mut bytes, (at - length).cast_unsigned()) {
            Err(error) if is_damage(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(()) => Ok(bytes),
        }
    }

    /// The sum of all bytes up to a position; none if there are fewer.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn sum_to(&self, to: i64) -> io::Result<Option<Sum>> {
        let Some(Placed { mut bytes, .. }) = self.from(0, u64::MAX)? else { return Ok(None) };
        let (mut at, mut sum, mut piece) = (0, Sum::default(), Vec::new());
        while at < to {
            piece.clear();
            let left = (to - at).min(PIECE_BYTES).cast_unsigned();
            if bytes.by_ref().take(left).read_to_end(&mut piece)? == 0 {
                return Ok(None);
            }
            sum.add(&piece);
            at += piece.len() as i64;
        }
        Ok(Some(sum))
    }

    /// The last place that the file has, and its end; none if it disagrees with any that it has,
    /// is damaged, or goes up to `most` and beyond. All of it is read for that, once.
    fn follow(&self, places: &[Place], most: i64) -> io::Result<Option<Copy>> {
        let Some(Placed { mut bytes, mut recent, .. }) = self.from(0, u64::MAX)? else {
            return Ok(None);
        };
        let mut places = places.iter().peekable();
        let (mut at, mut last, mut sum, mut piece) = (0, None, Sum::default(), Vec::new());
        while at < most {
            let left = places.peek().map_or(PIECE_BYTES, |place| place.at - at).min(PIECE_BYTES);
            piece.clear();
            match bytes.by_ref().take(left.cast_unsigned()).read_to_end(&mut piece) {
                Ok(0) => return Ok(last.map(|certain| Copy { certain, end: at })),
                Err(error) if is_damage(&error) => return Ok(None),
                outcome => outcome?,
            };
            recent.push(&piece);
            sum.add(&piece);
            at += piece.len() as i64;
            if let Some(place) = places.next_if(|place| place.at == at) {
                if shortened(sum.value()) != place.sum {
                    return Ok(None);
                }
                let note = Note::of_line(recent.fingerprint());
                last = Some(Position::new(at).with_note(note.to_text()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_remembered_in_ever_longer_steps() {
        for step in [10, 300, 5_000, 1_000_000, 1 << 33] {
            let mut trail = Trail::default();
            for number in 1..2_000i64 {
                let (last, position) = ((number - 1) * step, number * step);
                let mut sum = Sum::default();
                sum.add(&last.to_le_bytes());
                trail.note_time(number << 50);
                trail.add([Place::end(last, &sum)], position, &sum);
                let written = trail.write(position);
                assert!(written.0.len() <= 187, "{} bytes", written.0.len());
                let read = Trail::read(&written, position).expect("it was written");
                assert_eq!((read.blocks, read.modified_ns), (trail.blocks, trail.modified_ns));
                assert!(trail.places.ends_with(&read.places), "{trail:?} {read:?}");
                let back: Vec<_> =
                    read.places.iter().rev().map(|place| position - place.at).collect();
                let ends = (1..number.min(5)).map(|number| number * step);
                assert!(ends.eq(back.iter().copied().take(4)), "{back:?}");
                let is_near = |pair: &[i64]| pair[1] <= 2 * APART * pair[0].max(NEAR_BYTES);
                assert!(back.windows(2).all(is_near), "{back:?}");
                // Of a file of terabytes there is room for the nearest alone.
                let far = if step < 1 << 33 { *back.last().unwrap_or(&0) } else { i64::MAX };
                assert!(
                    far >= (50 * step.max(NEAR_BYTES / 4)).min(position / 8 - step),
                    "{back:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_trail_is_none() {
        for text in ["", "AAAA", "?", "AAAAAAAAAAAAAAAAAAAAAA/", "0000000112345678900000000212"] {
            assert_eq!(Trail::read(&Written(text.to_owned()), 100), None, "{text}");
        }
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 62] {
            assert_eq!(read_number(&write_number(number)), Some((number, &[][..])));
        }
    }
}
