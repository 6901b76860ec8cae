//! The places of a batch that are remembered with the bytes before them, and the sum of all bytes.

use std::path::Path;

use contract::{Position, Result};
use formats::lines::LineBatch;

use super::{Cursor, Stop, unreadable};
use crate::identity::{Note, family};
use crate::stream::Opened;
use crate::sum::Sum;
use crate::trail::{self, Place, Trail};

/// How many places of a batch are marked: each costs the hash of one KiB.
const MARKS_MAX: usize = 15;

impl Cursor {
    /// Places in a batch, at about equal distances, where a line begins, with the bytes before
    /// them. Where lines may be parts of one, or bytes were left out, nothing is marked.
    pub(super) fn marks(&self, lines: &LineBatch) -> Vec<Position> {
        let is_read_again = matches!(self.stop, Stop::At(_) | Stop::Before(_));
        let is_plain_text = self.hole.is_none() && lines.gaps.is_empty() && lines.waits.is_none();
        if is_read_again || self.joins || !is_plain_text || self.opened.is_utf16() {
            return Vec::new();
        }
        let (positions, consumed) = (lines.positions.values(), &lines.consumed);
        let begin = lines.next - lines.bytes().cast_signed();
        let apart = positions.len() / (MARKS_MAX + 1) + 1;
        let places = positions.iter().skip(apart).step_by(apart);
        let marks = places.filter_map(|at| {
            let before = consumed.get(..usize::try_from(at - begin).ok()?)?;
            let is_begin = before.last() == Some(&b'\n');
            is_begin.then(|| {
                let note = Note::of_line(self.recent.fingerprint_with(before));
                Position::new(*at).with_note(note.to_text())
            })
        });
        marks.collect()
    }

    /// Goes on in the sum of all bytes with those of a batch. Returns places on the way to its
    /// end: its beginning, and line beginnings ever nearer to its end.
    pub(super) fn sum_up(&mut self, lines: &LineBatch) -> Vec<Place> {
        let begin = lines.next - lines.bytes().cast_signed();
        let (Some((_, sum)), false) = (&mut self.trail, begin == lines.next) else {
            return Vec::new();
        };
        let left_out = lines.bytes() - lines.consumed.len() as u64;
        let first = lines.gaps.first().filter(|gap| gap.position >= begin);
        // Nobody copies what is rotated by its name to truncate it.
        let is_log = self.path.file_name().is_some_and(|name| name == family(&self.path));
        let places = match (left_out, first) {
            _ if !is_log && left_out == 0 => Vec::new(),
            (0, _) => line_begins(lines, begin),
            (_, Some(_)) => Vec::new(),
            // Nobody knows where they stood.
            (_, None) => {
                self.trail = None;
                return Vec::new();
            }
        };
        let is_line = is_log && begin > 0 && self.recent.ends_line();
        let end = is_line.then(|| Place::end(begin, sum));
        let mut bytes = &lines.consumed[..];
        if let Some(gap) = first.filter(|_| left_out > 0) {
            let (before, behind) = bytes.split_at((gap.position - begin) as usize);
            sum.add(before);
            sum.add_nuls(left_out);
            bytes = behind;
        }
        let mut at = begin;
        let inside = places.into_iter().map(|place| {
            let (before, behind) = bytes.split_at((place - at) as usize);
            sum.add(before);
            (at, bytes) = (place, behind);
            Place::inside(place, sum)
        });
        let places = end.into_iter().chain(inside.collect::<Vec<_>>()).collect();
        sum.add(bytes);
        places
    }
}

/// The way to a position in a plain file, and the sum of all bytes before it; none if that is not
/// known.
pub(super) fn trail(
    (path, opened): (&Path, &Opened),
    from: Option<&Position>,
    stop: Stop,
) -> Result<Option<(Trail, Sum)>> {
    let is_followed = opened.is_plain() && matches!(stop, Stop::Never | Stop::AtEnd);
    let trail = is_followed.then(|| Trail::of(from)).transpose()?.flatten();
    let Some(trail) = trail else { return Ok(None) };
    let at = from.map_or(0, |position| position.at);
    let before = opened.before(at).map_err(|error| unreadable(path, at, error))?;
    let sum = trail.sum(at, &before);
    Ok(sum.map(|sum| (trail, sum)))
}

/// The places in a batch that are best, in order; lines begin there.
fn line_begins(lines: &LineBatch, begin: i64) -> Vec<i64> {
    let positions = lines.positions.values();
    let near = positions.iter().rev().take(trail::NEAREST_MAX).copied();
    let far = trail::distances().take_while(|distance| *distance < lines.next - begin);
    let far = far.filter_map(|distance| {
        let rows = positions.partition_point(|at| *at <= lines.next - distance);
        positions[..rows].last().copied()
    });
    let is_begin = |place: &i64| {
        let before = usize::try_from(*place - begin).ok().and_then(|end| end.checked_sub(1));
        before.is_some_and(|last| lines.consumed.get(last) == Some(&b'\n'))
    };
    let mut places: Vec<_> = near.chain(far).filter(is_begin).collect();
    places.sort_unstable();
    places.dedup();
    places
}
