//! What a position in a gzip file has beside its note: the newest point that leads to it, where the
//! member before is far.
//!
//! Invariant: whoever begins at a position with its shortcut inflates no more than a member's
//! beginning or the newest point that was passed asks for, about 1 MiB at most.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Position, Shortcut};
use formats::compression::gzip::Point;

/// From a member that is no farther than this no point is needed.
const MEMBER_BYTES_MAX: u64 = 768 << 10;
/// How many points wait for a position that they serve: a line may be longer than the text that is
/// known before a point.
const WAITING_MAX: usize = 3;

/// The shortcuts of one file that is read.
#[derive(Debug, Default)]
pub struct Shortcuts {
    /// The one of the last position.
    newest: Option<Arc<Shortcut>>,
    /// Points passed since, the nearest to the beginning first, with the first positions that they
    /// serve.
    passed: Vec<(u64, Arc<Shortcut>)>,
}

impl Shortcuts {
    /// Goes on from a position.
    pub fn of(from: Option<&Position>) -> Self {
        let newest = from.and_then(|from| from.shortcut.clone());
        Self { newest, passed: Vec::new() }
    }

    /// Notes a point that was passed.
    pub fn pass(&mut self, point: &Point) {
        let (at, content) = (point.text, Bytes::from(point.to_bytes()));
        let shortcut = Arc::new(Shortcut { at, content, kept: None });
        self.passed.push((point.serves_from(), shortcut));
        if self.passed.len() > WAITING_MAX {
            self.passed.remove(1);
        }
    }

    /// Notes a point where all that there was is read, if the others are far: some compressors make
    /// one block of whatever is written at once, and no other point lies inside of that.
    pub fn rest_at(&mut self, point: &Point, member: u64) {
        let last = self.passed.last().map(|(_, shortcut)| shortcut).or(self.newest.as_ref());
        let last = last.map_or(member, |shortcut| shortcut.at.max(member));
        if point.text > last + MEMBER_BYTES_MAX {
            self.pass(point);
        }
    }

    /// The shortcut to a position, of which the member before begins at this byte of the text.
    pub fn to(&mut self, position: u64, member: u64) -> Option<Arc<Shortcut>> {
        let serves = |(from, _): &(u64, _)| *from <= position;
        if let Some(place) = self.passed.iter().rposition(serves) {
            self.newest = self.passed.drain(..=place).next_back().map(|(_, shortcut)| shortcut);
        }
        let is_near = position <= member + MEMBER_BYTES_MAX;
        self.newest.take_if(|newest| is_near || newest.at <= member);
        self.newest.clone()
    }
}

/// The point that a position has with it.
pub fn point_of(position: Option<&Position>) -> Option<Point> {
    let position = position?;
    let point = Point::of_bytes(&position.shortcut.as_ref()?.content)?;
    point.serves(u64::try_from(position.at).ok()?).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: u64, known: usize) -> Point {
        let (before, packed_before) = (vec![b'x'; known], Vec::new());
        Point { text, packed: text / 2, before, text_from: 0, packed_before, inside: None }
    }

    fn to(shortcuts: &mut Shortcuts, position: u64, member: u64) -> Option<u64> {
        shortcuts.to(position, member).map(|shortcut| shortcut.at)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_newest_point_leads_to_a_position_unless_a_member_is_near() {
        let mut shortcuts = Shortcuts::default();
        assert_eq!(to(&mut shortcuts, 5 * MIB, 0), None, "none was passed");
        shortcuts.pass(&point(6 * MIB, 32 << 10));
        assert_eq!(to(&mut shortcuts, 5 * MIB, 0), None, "it stands too far behind");
        assert_eq!(to(&mut shortcuts, 6 * MIB, 0), Some(6 * MIB));
        assert_eq!(to(&mut shortcuts, 7 * MIB, 0), Some(6 * MIB), "the same as long as it serves");
        shortcuts.pass(&point(8 * MIB, 32 << 10));
        shortcuts.pass(&point(9 * MIB, 32 << 10));
        assert_eq!(to(&mut shortcuts, 8 * MIB, 0), Some(8 * MIB));
        assert_eq!(to(&mut shortcuts, 9 * MIB, 0), Some(9 * MIB));
        assert_eq!(to(&mut shortcuts, 10 * MIB, 9 * MIB + MIB / 2), None);
        assert_eq!(to(&mut shortcuts, 11 * MIB, 9 * MIB + MIB / 2), None, "it stands before it");
    }

    #[test]
    fn where_a_file_rests_is_a_point_only_if_the_others_are_far() {
        let mut shortcuts = Shortcuts::default();
        shortcuts.rest_at(&point(MIB, 32 << 10), MIB / 2);
        assert_eq!(to(&mut shortcuts, MIB, 0), None);
        shortcuts.rest_at(&point(2 * MIB, 32 << 10), MIB / 2);
        assert_eq!(to(&mut shortcuts, 2 * MIB, 0), Some(2 * MIB));
        shortcuts.rest_at(&point(2 * MIB + 10_000, 32 << 10), MIB / 2);
        assert_eq!(to(&mut shortcuts, 2 * MIB + 10_000, 0), Some(2 * MIB), "it is near");
    }

    #[test]
    fn a_position_brings_its_point_along() {
        let mut shortcuts = Shortcuts::default();
        shortcuts.pass(&point(6 * MIB, 32 << 10));
        let position = Position::new(7 << 20).with_shortcut(shortcuts.to(7 * MIB, 0));
        let found = point_of(Some(&position)).map(|point| point.text);
        assert_eq!(found, Some(6 * MIB));
        assert_eq!(point_of(Some(&Position { at: 5 << 20, ..position })), None);
    }

    #[test]
    fn few_points_wait() {
        let mut shortcuts = Shortcuts::default();
        (1..100).for_each(|number| shortcuts.pass(&point(number * MIB, 4 << 10)));
        assert_eq!(shortcuts.passed.len(), WAITING_MAX);
        assert_eq!(to(&mut shortcuts, 100 * MIB, 0), Some(99 * MIB));
    }
}
