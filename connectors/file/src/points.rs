//! Where growing gzip files are gone on with: the points in them, by split.
//!
//! They spare work and are never the truth: a file of which no point is known is inflated from the
//! member before the position on. Here is the one place that keeps them ([`Points::put`]) and asks
//! for them ([`Points::nearest`]) as long as a process lives; what a position brings along from an
//! earlier one ([`crate::shortcuts`]) is met here.
//!
//! Invariant: a file that rests has one point at most, of less than 33 KiB.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::SplitId;
use formats::compression::gzip::Point;

/// How many files have points: with all of them at rest inside of members 33 MiB, between members
/// about 2 MiB.
const SPLITS_MAX: usize = 1_024;
/// How many points a file has while it is read: one before what is committed, and newer ones.
const POINTS_MAX: usize = 3;

/// The points of all splits of a source.
#[derive(Debug, Default)]
pub struct Points(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    splits: HashMap<SplitId, Of>,
    /// Grows with each point that is kept.
    clock: u64,
}

/// The points of one split, the nearest to its beginning first.
#[derive(Debug, Default)]
struct Of {
    points: Vec<(u64, Vec<u8>)>,
    used: u64,
}

impl Points {
    /// Keeps a point of a split.
    pub fn put(&self, split: &SplitId, point: &Point) {
        let mut kept = self.lock();
        kept.clock += 1;
        let clock = kept.clock;
        let of = kept.splits.entry(split.clone()).or_default();
        of.used = clock;
        of.points.retain(|(text, _)| *text < point.text);
        of.points.push((point.text, point.to_bytes()));
        // The first one may be the only one that serves the position of the newest checkpoint.
        if of.points.len() > POINTS_MAX {
            of.points.remove(1);
        }
        if kept.splits.len() > SPLITS_MAX {
            let oldest = kept.splits.iter().min_by_key(|(_, of)| of.used);
            let oldest = oldest.map(|(split, _)| split.clone());
            oldest.map(|split| kept.splits.remove(&split));
        }
    }

    /// Keeps a point that an earlier process passed, of a split that has none.
    pub fn meet(&self, split: &SplitId, point: &Point) {
        let is_known = self.lock().splits.contains_key(split);
        if !is_known {
            self.put(split, point);
        }
    }

    /// Forgets what nobody needs any more, as everything before a position is committed.
    pub fn acknowledge(&self, split: &SplitId, at: i64) {
        let at = at.max(0).cast_unsigned();
        let mut kept = self.lock();
        let Some(of) = kept.splits.get_mut(split) else { return };
        let serves = |bytes: &[u8]| Point::of_bytes(bytes).is_some_and(|point| point.serves(at));
        let newest = of.points.iter().rposition(|(_, bytes)| serves(bytes));
        of.points.drain(..newest.unwrap_or(0));
    }

    /// The newest point that serves a position.
    pub fn nearest(&self, split: &SplitId, at: i64) -> Option<Point> {
        let at = at.max(0).cast_unsigned();
        let kept = self.lock();
        let points = kept.splits.get(split)?.points.iter().rev();
        let mut points = points.filter_map(|(_, bytes)| Point::of_bytes(bytes));
        points.find(|point| point.serves(at))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: u64) -> Point {
        let (before, packed_before) = (vec![b'x'; 2 << 10], Vec::new());
        let (packed, text_from) = (text / 2, 0);
        Point { text, packed, before, text_from, packed_before, inside: None }
    }

    fn nearest(points: &Points, split: &SplitId, at: i64) -> Option<u64> {
        points.nearest(split, at).map(|point| point.text)
    }

    #[test]
    fn the_newest_point_that_serves_a_position_is_found() {
        let (points, split) = (Points::default(), SplitId::new("a"));
        assert_eq!(nearest(&points, &split, 9_000), None);
        for text in [10_000, 20_000, 30_000, 40_000] {
            points.put(&split, &point(text));
        }
        assert_eq!(nearest(&points, &split, 9_500), Some(10_000), "as far as its text goes back");
        assert_eq!(nearest(&points, &split, 8_500), None);
        assert_eq!(nearest(&points, &split, 35_000), Some(30_000));
        points.acknowledge(&split, 40_000);
        assert_eq!(nearest(&points, &split, 35_000), None);
        assert_eq!(nearest(&points, &split, 39_500), Some(40_000));
        points.put(&split, &point(15_000));
        assert_eq!(nearest(&points, &split, 50_000), Some(15_000), "it is another file now");
    }

    #[test]
    fn the_oldest_split_makes_room() {
        let points = Points::default();
        for number in 0..=SPLITS_MAX {
            points.put(&SplitId::new(number.to_string()), &point(5_000));
        }
        assert_eq!(nearest(&points, &SplitId::new("0"), 5_000), None);
        assert_eq!(nearest(&points, &SplitId::new("1"), 5_000), Some(5_000));
    }
}
