//! What a position remembers of the way to it: places before it, near ones and ever fewer far ones,
//! each with a sum of the bytes before.
//!
//! A log that is copied, written on, read and then truncated leaves a copy that ends before the
//! position, and nothing else tells a later process what that is. It is the copy of what was read
//! if all places that it has are as they were.
//!
//! As anywhere here, a file is known by its first KiB and by the KiB before a place; of a shorter
//! one all bytes must be known.
//!
//! Invariant: a file is taken for a copy only where no place that it has disagrees, and never the
//! file itself whose beginning it holds.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use contract::{Position, Result};
use serde::{Deserialize, Serialize};

use crate::found::{Found, unreadable};
use crate::identity::{FINGERPRINT_BYTES, Fingerprint, Note, are_related, is_rotated_name};
use crate::matching::{Candidate, Failures};
use crate::stream::{Opened, Placed, is_damage};

/// How many ends of batches are remembered: what nobody writes to ends at one.
const ENDS_MAX: usize = 4;
/// How many other places are: with those about 200 bytes.
const PLACES_MAX: usize = 6;
/// How far before the position the nearest of these is, at most.
const NEAR_BYTES: i64 = 512;
/// How much farther back the next but one is, at least.
const APART: i64 = 4;
/// How many digits a sum has.
const SUM_DIGITS: usize = 10;
/// How many a distance has.
const DISTANCE_DIGITS: usize = 8;
/// So much of a compressed file is read at once.
const PIECE_BYTES: i64 = 64 << 10;
/// Added to the distance of an end; more than any distance.
const END: u32 = 1 << 31;

/// A place in a file, and the beginning of the fingerprint of what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    at: i64,
    sum: String,
    /// Whether a batch ended there.
    is_end: bool,
}

/// Places in the order in which they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail(Vec<Place>);

/// The places as a note has them: how far each lies before the position, and its sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Written(String);

impl Written {
    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far before its end the places of a batch are best.
pub fn distances() -> impl Iterator<Item = i64> {
    std::iter::successors(Some(NEAR_BYTES), |distance| Some(distance * APART)).take(PLACES_MAX)
}

impl Place {
    /// A place in a batch, with the bytes before it.
    pub fn inside(at: i64, before: &Fingerprint) -> Self {
        Self { at, sum: before.sha256.chars().take(SUM_DIGITS).collect(), is_end: false }
    }

    /// The end of a batch.
    pub fn end(at: i64, before: &Fingerprint) -> Self {
        Self { is_end: true, ..Self::inside(at, before) }
    }

    fn is_before(&self, bytes: &[u8]) -> bool {
        Fingerprint::of(bytes).sha256.starts_with(&self.sum)
    }
}

impl Trail {
    /// The places that a position has.
    ///
    /// # Errors
    /// Bug: the position is not ours.
    pub fn of(position: Option<&Position>) -> Result<Self> {
        let Some(position) = position else { return Ok(Self::default()) };
        let note = Note::of(position)?;
        Ok(note.map_or_else(Self::default, |note| Self::read(&note.trail, position.at)))
    }

    fn read(written: &Written, position: i64) -> Self {
        let digits = DISTANCE_DIGITS + SUM_DIGITS;
        let places = written.0.as_bytes().chunks_exact(digits).filter_map(|place| {
            let (distance, sum) = std::str::from_utf8(place).ok()?.split_at(DISTANCE_DIGITS);
            let distance = u32::from_str_radix(distance, 16).ok()?;
            let (is_end, at) = (distance & END > 0, position - i64::from(distance & !END));
            Some(Place { at, sum: sum.to_owned(), is_end })
        });
        Self(places.collect())
    }

    /// Adds places, and forgets what a position need not know.
    pub fn add(&mut self, places: impl IntoIterator<Item = Place>, position: i64) {
        self.0.extend(places);
        self.0.retain(|place| 0 < place.at && place.at < position);
        self.0.sort_by_key(|place| -place.at);
        self.0.dedup_by_key(|place| place.at);
        // From the nearest to the farthest.
        let (mut ends, mut places): (Vec<Place>, Vec<Place>) = (Vec::new(), Vec::new());
        let distance = |place: &Place| position - place.at;
        for place in self.0.drain(..) {
            if place.is_end && ends.len() < ENDS_MAX {
                ends.push(place);
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
        ends.extend(places);
        ends.sort_by_key(|place| place.at);
        self.0 = ends;
    }

    /// The places as the note of a position has them.
    pub fn write(&self, position: i64) -> Written {
        let digits = self.0.iter().filter_map(|place| {
            let distance = u32::try_from(position - place.at).ok().filter(|far| *far < END)?;
            let distance = if place.is_end { distance | END } else { distance };
            Some(format!("{distance:0DISTANCE_DIGITS$x}{}", place.sum))
        });
        Written(digits.collect())
    }
}

/// Lets each file that is the copy of what was read of a split begin where it ends: nothing of it
/// is read again. So is it only if the split has no file any more.
///
/// # Errors
/// Bug: a position is not ours.
pub fn pass_over_copies(
    unknown: &mut Vec<Found>,
    candidates: &[Candidate],
    failures: &mut Failures,
) -> Result<()> {
    let lost: Vec<_> = candidates.iter().filter(|one| one.found.is_none()).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let mut left = Vec::new();
    for mut found in unknown.drain(..) {
        let mut end = Ok(None);
        for candidate in &lost {
            end = copied_to(&found, candidate);
            if !matches!(end, Ok(None)) {
                break;
            }
        }
        match end {
            Ok(end) => {
                found.from = end.or(found.from);
                left.push(found);
            }
            Err(error) => failures.unreadable.push((found.path, error)),
        }
    }
    *unknown = left;
    Ok(())
}

/// The end of a file that is the copy of what was read of a split; none if it is not.
fn copied_to(found: &Found, candidate: &Candidate) -> Result<Option<Position>> {
    let (descriptor, position) = (&candidate.descriptor, candidate.position.as_ref());
    let may_be = are_related(&descriptor.path, &found.path)
        && is_rotated_name(&found.path, &found.signature)
        && !found.signature.is_same_file(&descriptor.signature)
        && found.from.is_none();
    let Some(position) = position.filter(|_| may_be) else { return Ok(None) };
    let is_cut_off = Note::of(position)?.is_some_and(|note| note.is_cut_off);
    let is_behind = found.end().is_some_and(|end| end >= position.at);
    let trail = Trail::of(Some(position))?;
    if is_cut_off || is_behind || trail.0.is_empty() {
        return Ok(None);
    }
    let Some(opened) = found.open()? else { return Ok(None) };
    let failed = |error| unreadable(&found.path, &error);
    let followed = match found.end() {
        Some(end) => opened.follow_plain(&trail, end),
        None => opened.follow(&trail, position.at),
    };
    let Some((last, end)) = followed.map_err(failed)? else { return Ok(None) };
    let is_long = end.at >= FINGERPRINT_BYTES as i64 && candidate.descriptor.head.is_full();
    // Of a long one the first KiB is known, and at least half of it.
    let is_enough = match is_long {
        true => {
            last >= FINGERPRINT_BYTES as i64
                && end.at - last <= last
                && found.holds_head(&candidate.descriptor.head)
        }
        false => last == end.at && end.at < FINGERPRINT_BYTES as i64,
    };
    Ok(is_enough.then_some(end))
}

impl Opened {
    /// The last place that a plain file has, and its end; none if any of them disagrees.
    fn follow_plain(&self, trail: &Trail, end: i64) -> io::Result<Option<(i64, Position)>> {
        let mut last = 0;
        for place in trail.0.iter().filter(|place| place.at <= end) {
            if !place.is_before(&self.before(place.at)?) {
                return Ok(None);
            }
            last = place.at;
        }
        let note = Note::of_line(Fingerprint::of(&self.before(end)?));
        Ok((last > 0).then(|| (last, Position::new(end).with_note(note.to_text()))))
    }

    /// The bytes before a place on disk, as many as a fingerprint covers; none of them if the file
    /// ends before it.
    fn before(&self, at: i64) -> io::Result<Vec<u8>> {
        let length = at.min(FINGERPRINT_BYTES as i64);
        let mut bytes = vec![0; length as usize];
        match self.file.read_exact_at(&mut bytes, (at - length).cast_unsigned()) {
            Err(error) if is_damage(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(()) => Ok(bytes),
        }
    }

    /// The same of a compressed file, which is read for it; none, too, if it is damaged or goes up
    /// to `most` and beyond.
    fn follow(&self, trail: &Trail, most: i64) -> io::Result<Option<(i64, Position)>> {
        let Some(Placed { mut bytes, mut recent, .. }) = self.from(0, u64::MAX)? else {
            return Ok(None);
        };
        let mut places = trail.0.iter().peekable();
        let (mut at, mut last, mut piece) = (0, 0, Vec::new());
        loop {
            let left = places.peek().map_or(PIECE_BYTES, |place| place.at - at).min(PIECE_BYTES);
            piece.clear();
            match bytes.by_ref().take(left.cast_unsigned()).read_to_end(&mut piece) {
                Ok(0) => break,
                Err(error) if is_damage(&error) => return Ok(None),
                outcome => outcome?,
            };
            recent.push(&piece);
            at += piece.len() as i64;
            if let Some(place) = places.next_if(|place| place.at == at) {
                if !recent.fingerprint().sha256.starts_with(&place.sum) {
                    return Ok(None);
                }
                last = at;
            }
            if at >= most {
                return Ok(None);
            }
        }
        let note = Note::of_line(recent.fingerprint());
        Ok((last > 0).then(|| (last, Position::new(at).with_note(note.to_text()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_remembered_in_ever_longer_steps() {
        for step in [10, 300, 5_000, 1_000_000] {
            let mut trail = Trail::default();
            for number in 1..2_000i64 {
                let (last, position) = ((number - 1) * step, number * step);
                trail.add([Place::end(last, &Fingerprint::of(&last.to_le_bytes()))], position);
                let written = trail.write(position);
                assert!(written.0.len() <= 180, "{} bytes", written.0.len());
                assert_eq!(Trail::read(&written, position), trail);
                let back: Vec<_> = trail.0.iter().rev().map(|place| position - place.at).collect();
                let ends = (1..number.min(5)).map(|number| number * step);
                assert!(ends.eq(back.iter().copied().take(4)), "{back:?}");
                let is_near = |pair: &[i64]| pair[1] <= 2 * APART * pair[0].max(NEAR_BYTES);
                assert!(back.windows(2).all(is_near), "{back:?}");
                let far = back.last().copied().unwrap_or_default();
                assert!(
                    far >= (50 * step.max(NEAR_BYTES / 4)).min(position / 8 - step),
                    "{back:?}"
                );
            }
        }
    }
}
