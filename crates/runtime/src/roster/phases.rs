//! How each split of an attempt is just now: it waits for a reader, is read, rests, or failed.
//!
//! Pure: no I/O and no clock of its own. A split is ready when what discovery says of it is not
//! what it was when its reader was opened; nothing here looks through all splits for that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use contract::Position;
use contract::source::Split;
use serde_json::Value;

/// A broken split that changed is tried again, but not sooner than this after the last time.
const CHANGED_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The splits that an attempt knows, by their number in the checkpoint.
#[derive(Debug, Default)]
pub struct Phases {
    known: HashMap<usize, Known>,
    /// Those that wait for a reader, in order.
    waiting: VecDeque<usize>,
    /// When splits become ready by themselves.
    due: BTreeSet<(Instant, usize)>,
}

#[derive(Debug)]
struct Known {
    source: usize,
    /// As discovery saw it last.
    split: Split,
    phase: Phase,
    /// What discovery had said when the reader was opened; none if whatever it says is news.
    mark: Option<Value>,
    /// Where the reader stood that left; not committed yet.
    position: Option<Position>,
    /// Whether discovery saw it the last time.
    is_there: bool,
    /// Where it ended, if it is not there any more and nobody was told.
    gone: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Reading,
    /// Read as far as it goes, until it changes or something in it is due.
    Resting {
        due: Option<Instant>,
    },
    /// Left alone.
    Failed {
        since: Instant,
        due: Instant,
    },
    /// Not read any more in this attempt, whatever becomes of it.
    GivenUp,
}

/// A split that is gone and has no reader.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where its reader stood; none if all of that is committed.
    pub position: Option<Position>,
    /// Where it ended.
    pub end: i64,
}

/// A split that is to be opened.
#[derive(Debug)]
pub struct Ready {
    /// Its number in the checkpoint.
    pub index: usize,
    /// The number of its source.
    pub source: usize,
    /// The split.
    pub split: Split,
    /// Where to go on, if a reader left since the last commit.
    pub position: Option<Position>,
}

impl Phases {
    /// Discovery saw a split.
    pub fn found(&mut self, index: usize, source: usize, split: Split, now: Instant) {
        let Some(known) = self.known.get_mut(&index) else {
            self.known.insert(index, Known::new(source, split));
            self.waiting.push_back(index);
            return;
        };
        (known.split, known.is_there, known.gone) = (split, true, None);
        if !known.has_changed() {
            return;
        }
        match known.phase {
            Phase::Waiting | Phase::Reading | Phase::GivenUp => {}
            Phase::Resting { .. } => self.wait(index),
            Phase::Failed { since, due } => {
                let sooner = (since + CHANGED_PAUSE_MIN).max(now).min(due);
                self.set(index, Phase::Failed { since, due: sooner });
            }
        }
    }

    /// Discovery does not see a split any more, which ended there as far as is known.
    pub fn gone(&mut self, index: usize, end: Option<i64>) {
        if let Some(known) = self.known.get_mut(&index) {
            (known.is_there, known.gone) = (false, end);
        }
    }

    /// Forgets the splits that failed and are not there: they come back as new ones if they do.
    /// Returns them.
    pub fn forget_gone(&mut self, source: usize) -> Vec<Split> {
        let failed: Vec<_> = self.due.iter().map(|(_, index)| *index).collect();
        let mut gone = Vec::new();
        for index in failed {
            let is_gone = self.known.get(&index).is_some_and(|known| {
                let has_failed = matches!(known.phase, Phase::Failed { .. });
                known.source == source && !known.is_there && has_failed
            });
            if is_gone {
                // Where its reader stood is not forgotten before it is committed.
                self.set(index, Phase::Resting { due: None });
                if let Some(known) = self.known.get_mut(&index) {
                    known.mark = None;
                    gone.push(known.split.clone());
                }
            }
        }
        gone
    }

    /// What nobody will read of a split that is gone; told once. One that is read is read to its
    /// end, and one that waits or failed is tried and told.
    pub fn lost(&mut self, index: usize) -> Option<Lost> {
        let known = self.known.get_mut(&index)?;
        let Phase::Resting { .. } = known.phase else { return None };
        let end = known.gone.take()?;
        Some(Lost { position: known.position.clone(), end })
    }

    /// The next split that is to have a reader.
    pub fn next(&mut self) -> Option<Ready> {
        let index = self.waiting.pop_front()?;
        let known = self.known.get_mut(&index)?;
        known.phase = Phase::Reading;
        known.mark = Some(known.split.descriptor.clone());
        let (source, split) = (known.source, known.split.clone());
        Some(Ready { index, source, split, position: known.position.take() })
    }

    /// The next splits that are to have a reader, up to a limit.
    pub fn queue(&self, limit: usize) -> Vec<usize> {
        self.waiting.iter().take(limit).copied().collect()
    }

    /// How many splits wait for a reader.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A reader found the end and was dropped, at a position.
    pub fn rests(&mut self, index: usize, position: Option<Position>, due: Option<Instant>) {
        self.set(index, Phase::Resting { due });
        if let Some(known) = self.known.get_mut(&index) {
            known.position = position.or(known.position.take());
            // It may have changed while it was read; perhaps that was read, too.
            if known.has_changed() {
                self.wait(index);
            }
        }
    }

    /// A reader failed at a position; the split is left alone for a while.
    pub fn fails(&mut self, index: usize, position: Option<Position>, now: Instant, due: Instant) {
        self.set(index, Phase::Failed { since: now, due });
        if let Some(known) = self.known.get_mut(&index) {
            known.position = position.or(known.position.take());
        }
    }

    /// A split is not tried any more in this attempt.
    pub fn give_up(&mut self, index: usize) {
        self.set(index, Phase::GivenUp);
    }

    /// Whether a split failed and is to be tried again.
    pub fn has_failed(&self) -> bool {
        let mut due = self.due.iter().filter_map(|(_, index)| self.known.get(index));
        due.any(|known| matches!(known.phase, Phase::Failed { .. }))
    }

    /// The splits that failed and are to be tried again.
    pub fn failed(&self) -> Vec<usize> {
        let has_failed = |index: &usize| {
            let known = self.known.get(index);
            known.is_some_and(|known| matches!(known.phase, Phase::Failed { .. }))
        };
        self.due.iter().map(|(_, index)| *index).filter(has_failed).collect()
    }

    /// Lets a split that failed wait for a reader now. Whether it did.
    pub fn try_now(&mut self, index: usize) -> bool {
        let known = self.known.get(&index);
        let has_failed = known.is_some_and(|known| matches!(known.phase, Phase::Failed { .. }));
        if has_failed {
            self.wait(index);
        }
        has_failed
    }

    /// When the next split becomes ready by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Lets those wait for a reader whose time has come.
    pub fn wake(&mut self, now: Instant) {
        while let Some((due, index)) = self.due.first().copied() {
            if due > now {
                return;
            }
            self.wait(index);
        }
    }

    fn wait(&mut self, index: usize) {
        self.set(index, Phase::Waiting);
        self.waiting.push_back(index);
    }

    fn set(&mut self, index: usize, phase: Phase) {
        let Some(known) = self.known.get_mut(&index) else { return };
        if let Some(due) = known.phase.due() {
            self.due.remove(&(due, index));
        }
        known.phase = phase;
        if let Some(due) = phase.due() {
            self.due.insert((due, index));
        }
    }
}

impl Known {
    fn new(source: usize, split: Split) -> Self {
        let (phase, is_there) = (Phase::Waiting, true);
        Self { source, split, phase, mark: None, position: None, is_there, gone: None }
    }

    fn has_changed(&self) -> bool {
        self.mark.as_ref() != Some(&self.split.descriptor)
    }
}

impl Phase {
    fn due(self) -> Option<Instant> {
        match self {
            Self::Resting { due } => due,
            Self::Failed { due, .. } => Some(due),
            Self::Waiting | Self::Reading | Self::GivenUp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::SplitId;

    use super::*;

    fn split(size: u64) -> Split {
        Split { id: SplitId::new("a"), descriptor: size.into() }
    }

    #[test]
    fn a_split_that_changed_while_its_reader_ended_is_read_again() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(0, 0, split(1), now);
        assert_eq!(phases.next().map(|ready| ready.index), Some(0));
        // The reader has read all of this, or it has not: nobody can tell.
        phases.found(0, 0, split(2), now);
        phases.rests(0, Some(Position::new(1)), None);
        assert_eq!(phases.next().and_then(|ready| ready.position), Some(Position::new(1)));
        phases.rests(0, Some(Position::new(2)), None);
        phases.found(0, 0, split(2), now);
        assert!(phases.next().is_none(), "it rests");
        phases.found(0, 0, split(3), now);
        assert!(phases.next().is_some());
    }

    #[test]
    fn a_split_that_failed_waits_for_its_time_or_a_change() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut phases = Phases::default();
        phases.found(0, 0, split(1), now);
        phases.next();
        phases.fails(0, None, now, now + hour);
        phases.found(0, 0, split(1), now);
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_none() && phases.has_failed());
        phases.found(0, 0, split(2), now);
        phases.wake(now);
        assert!(phases.next().is_none(), "not at once: it may grow all the time");
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_some() && !phases.has_failed());
        phases.fails(0, None, now, now + hour);
        phases.wake(now + hour);
        assert!(phases.next().is_some());
    }

    #[test]
    fn a_split_that_failed_is_tried_at_once_where_somebody_asks_for_it() {
        let now = Instant::now();
        let mut phases = Phases::default();
        for index in 0..2 {
            phases.found(index, 0, split(1), now);
        }
        phases.next();
        phases.fails(0, Some(Position::new(3)), now, now + CHANGED_PAUSE_MIN);
        assert_eq!((phases.failed(), phases.queue(9)), (vec![0], vec![1]));
        assert!(!phases.try_now(1), "it waits already");
        assert!(phases.try_now(0));
        assert_eq!((phases.failed(), phases.queue(9)), (vec![], vec![1, 0]));
        phases.next();
        assert_eq!(phases.next().and_then(|ready| ready.position), Some(Position::new(3)));
        assert_eq!(phases.next_due(), None);
    }

    #[test]
    fn something_that_is_due_wakes_a_split_that_rests() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(0, 0, split(1), now);
        phases.next();
        phases.rests(0, None, Some(now + CHANGED_PAUSE_MIN));
        assert_eq!(phases.next_due(), Some(now + CHANGED_PAUSE_MIN));
        phases.wake(now);
        assert!(phases.next().is_none());
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_some());
    }

    #[test]
    fn what_nobody_reads_of_a_split_that_is_gone_is_told_once() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(0, 0, split(1), now);
        phases.gone(0, Some(10));
        assert_eq!(phases.lost(0), None, "it waits, and is tried");
        phases.found(0, 0, split(1), now);
        phases.next();
        phases.rests(0, Some(Position::new(4)), None);
        assert_eq!(phases.lost(0), None, "it is there");
        phases.found(0, 0, split(2), now);
        phases.next();
        phases.gone(0, Some(10));
        assert_eq!(phases.lost(0), None, "it is read");
        phases.rests(0, Some(Position::new(4)), None);
        let lost = Lost { position: Some(Position::new(4)), end: 10 };
        assert_eq!((phases.lost(0), phases.lost(0)), (Some(lost), None));
    }

    #[test]
    fn a_split_that_failed_and_is_gone_is_forgotten_until_it_comes_back() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(0, 0, split(1), now);
        phases.next();
        phases.fails(0, None, now, now + CHANGED_PAUSE_MIN);
        assert!(phases.forget_gone(0).is_empty(), "it is there");
        phases.gone(0, None);
        assert!(phases.forget_gone(1).is_empty(), "it is another source's");
        assert_eq!(phases.forget_gone(0).len(), 1);
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_none());
        phases.found(0, 0, split(1), now);
        assert!(phases.next().is_some());
    }
}
