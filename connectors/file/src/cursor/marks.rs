//! The places of a batch that are remembered with the bytes before them.

use contract::Position;
use formats::lines::LineBatch;

use super::{Cursor, Stop};
use crate::identity::Note;
use crate::trail::{self, Place};

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

    /// Places on the way to the end of a batch: its beginning, and ever nearer to its end.
    pub(super) fn places(&self, lines: &LineBatch) -> Vec<Place> {
        let at = lines.next - lines.bytes().cast_signed();
        if self.trail.is_none() || at == lines.next {
            return Vec::new();
        }
        let begin = (at > 0).then(|| Place::end(at, &self.before));
        let inside = trail::distances().take_while(|distance| *distance < lines.next - at);
        // Where bytes were left out, they are not here.
        let inside = inside.filter(|_| lines.gaps.is_empty());
        let positions = lines.positions.values();
        let inside = inside.filter_map(|distance| {
            let rows = positions.partition_point(|begin| *begin <= lines.next - distance);
            let place = positions[..rows].last().filter(|place| **place > at)?;
            let before = lines.consumed.get(..(place - at) as usize)?;
            Some(Place::inside(*place, &self.recent.fingerprint_with(before)))
        });
        inside.chain(begin).collect()
    }
}
