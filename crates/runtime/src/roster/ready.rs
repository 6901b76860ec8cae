//! Splits that wait for a reader: the families take turns, and of each the one that is ready since
//! the longest time goes first.
//!
//! Pure. So a folder with many files keeps no other one waiting, nor does one that comes later.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// What splits share, by number: those of one number take one place in the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family(usize);

/// The splits that wait, by number.
#[derive(Debug, Default)]
pub struct Ready {
    /// By source and what its splits share, the number of the family.
    numbers: HashMap<usize, HashMap<Option<Box<str>>, Family>>,
    known: usize,
    /// By family, its splits by the time since which they are ready, and in the order in which they
    /// came. Families without any are left out.
    families: HashMap<Family, BTreeSet<(Instant, u64, usize)>>,
    /// By family, the number of its source.
    sources: HashMap<Family, usize>,
    /// The families that have splits, each once.
    turns: VecDeque<Family>,
    /// How many splits came.
    came: u64,
    len: usize,
}

impl Ready {
    /// The family of those splits of a source that share something, or that share nothing.
    pub fn family(&mut self, source: usize, shared: Option<&str>) -> Family {
        let of_source = self.numbers.entry(source).or_default();
        let number = &mut self.known;
        let family = *of_source.entry(shared.map(Box::from)).or_insert_with(|| {
            *number += 1;
            Family(*number)
        });
        self.sources.insert(family, source);
        family
    }

    /// The sources that have splits which wait.
    pub fn sources(&self) -> BTreeSet<usize> {
        self.turns.iter().filter_map(|family| self.sources.get(family).copied()).collect()
    }

    /// A split is ready, and has been so since a time.
    pub fn push(&mut self, family: Family, since: Instant, split: usize) {
        let splits = self.families.entry(family).or_default();
        if splits.is_empty() {
            self.turns.push_back(family);
        }
        splits.insert((since, self.came, split));
        self.came += 1;
        self.len += 1;
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<usize> {
        let family = self.turns.pop_front()?;
        let splits = self.families.get_mut(&family)?;
        let (_, _, split) = splits.pop_first()?;
        if splits.is_empty() {
            self.families.remove(&family);
        } else {
            self.turns.push_back(family);
        }
        self.len -= 1;
        Some(split)
    }

    /// The next ones, up to a limit.
    pub fn first(&self, limit: usize) -> Vec<usize> {
        let of = |family: &Family| self.families.get(family).map(BTreeSet::iter);
        let mut turns: VecDeque<_> = self.turns.iter().take(limit).filter_map(of).collect();
        let mut first = Vec::new();
        while first.len() < limit
            && let Some(mut family) = turns.pop_front()
        {
            if let Some((_, _, split)) = family.next() {
                first.push(*split);
                turns.push_back(family);
            }
        }
        first
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_take_turns_and_the_one_that_waits_longest_goes_first() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut ready = Ready::default();
        let families = [(0, None), (0, Some("eu")), (1, None)];
        let families = families.map(|(source, shared)| ready.family(source, shared));
        assert_eq!(ready.family(0, Some("eu")), families[1]);
        for (family, since, split) in
            [(0, 5, 10), (0, 5, 11), (0, 1, 12), (0, 9, 13), (1, 9, 20), (2, 9, 30), (2, 8, 31)]
        {
            ready.push(families[family], at(since), split);
        }
        assert_eq!((ready.len(), ready.sources()), (7, BTreeSet::from([0, 1])));
        assert_eq!(ready.first(2), [12, 20]);
        assert_eq!(ready.first(9), [12, 20, 31, 10, 30, 11, 13]);
        let first: Vec<_> = (0..4).filter_map(|_| ready.pop()).collect();
        assert_eq!(first, [12, 20, 31, 10]);
        // One that comes late waits for no family, but for its turn.
        ready.push(families[1], at(20), 21);
        let rest: Vec<_> = std::iter::from_fn(|| ready.pop()).collect();
        assert_eq!(rest, [30, 11, 21, 13]);
        assert_eq!(ready.len(), 0);
    }
}
