//! How each split of an attempt is just now: it waits for a reader, is read, rests, or failed.
//!
//! Pure: no I/O and no clock of its own. A split is ready when what discovery says of it is not
//! what it was when its reader was opened; nothing here looks through all splits for that. One that
//! an earlier attempt read so far rests from the beginning.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use contract::Position;

use super::ready::{Family, Ready};

/// A broken split that changed is tried again, but not sooner than this after the last time.
const CHANGED_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The splits that an attempt knows, by their number in the checkpoint.
#[derive(Debug, Default)]
pub struct Phases {
    known: HashMap<usize, Known>,
    /// Those that wait for a reader.
    waiting: Ready,
    /// When splits become ready by themselves.
    due: BTreeSet<(Instant, usize)>,
}

#[derive(Debug)]
struct Known {
    source: usize,
    family: Family,
    phase: Phase,
    /// How often discovery said something else of it.
    said: u32,
    /// The same when the reader was opened; none if whatever is said is news.
    mark: Option<u32>,
    /// When discovery said something else of it last.
    since: Instant,
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

/// A split that discovery saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its number in the checkpoint.
    pub index: usize,
    /// The number of its source.
    pub source: usize,
    /// What it shares with others of its source.
    pub family: Option<&'a str>,
    /// Whether its descriptor is another one than before.
    pub is_news: bool,
    /// Whether all is committed that it held when it had this descriptor.
    pub is_read: bool,
}

/// A split that is to be opened.
#[derive(Debug)]
pub struct Next {
    /// Its number in the checkpoint.
    pub index: usize,
    /// The number of its source.
    pub source: usize,
    /// Where to go on, if a reader left since the last commit.
    pub position: Option<Position>,
}

impl Phases {
    /// Discovery saw a split.
    pub fn found(&mut self, seen: Seen<'_>, now: Instant) {
        let Seen { index, source, family, is_news, is_read } = seen;
        let Some(known) = self.known.get_mut(&index) else {
            let family = self.waiting.family(source, family);
            self.known.insert(index, Known::new(source, family, now));
            if !is_read {
                self.wait(index, now);
            }
            return;
        };
        (known.is_there, known.gone) = (true, None);
        if is_news {
            (known.said, known.since) = (known.said + 1, now);
        }
        if !known.has_changed() {
            return;
        }
        match known.phase {
            Phase::Waiting | Phase::Reading | Phase::GivenUp => {}
            Phase::Resting { .. } => self.wait(index, now),
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
    /// Returns their numbers.
    pub fn forget_gone(&mut self, source: usize) -> Vec<usize> {
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
                    gone.push(index);
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

    /// Whether a split is gone, nobody reads it or is about to, and all that was read of it is
    /// committed. One that was never seen is gone.
    pub fn is_over(&self, index: usize, committed: Option<&Position>) -> bool {
        self.known.get(&index).is_none_or(|known| {
            let is_at_rest = matches!(known.phase, Phase::Resting { due: None } | Phase::GivenUp);
            let is_committed = known.position.as_ref().is_none_or(|one| Some(one) == committed);
            is_at_rest && !known.is_there && is_committed
        })
    }

    /// Forgets a split that is known no more.
    pub fn forget(&mut self, index: usize) {
        self.set(index, Phase::GivenUp);
        self.known.remove(&index);
    }

    /// The next split that is to have a reader.
    pub fn next(&mut self) -> Option<Next> {
        let index = self.waiting.pop()?;
        let known = self.known.get_mut(&index)?;
        known.phase = Phase::Reading;
        known.mark = Some(known.said);
        Some(Next { index, source: known.source, position: known.position.take() })
    }

    /// The next splits that are to have a reader, up to a limit.
    pub fn queue(&self, limit: usize) -> Vec<usize> {
        self.waiting.first(limit)
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
                let since = known.since;
                self.wait(index, since);
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

    /// The sources of which splits wait for a reader.
    pub fn waiting_sources(&self) -> BTreeSet<usize> {
        self.waiting.sources()
    }

    /// The sources of which splits failed and are to be tried again.
    pub fn failed_sources(&self) -> BTreeSet<usize> {
        let due = self.due.iter().filter_map(|(_, index)| self.known.get(index));
        let failed = due.filter(|known| matches!(known.phase, Phase::Failed { .. }));
        failed.map(|known| known.source).collect()
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
        if let Some(since) = known.map(|known| known.since).filter(|_| has_failed) {
            self.wait(index, since);
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
            self.wait(index, due);
        }
    }

    /// A split is to be read, and was not to be read before this.
    fn wait(&mut self, index: usize, not_before: Instant) {
        self.set(index, Phase::Waiting);
        if let Some(known) = self.known.get(&index) {
            self.waiting.push(known.family, not_before, index);
        }
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
    /// Read as far as is known now.
    fn new(source: usize, family: Family, since: Instant) -> Self {
        let (phase, said, is_there) = (Phase::Resting { due: None }, 0, true);
        let (mark, position, gone) = (Some(said), None, None);
        Self { source, family, phase, said, mark, since, position, is_there, gone }
    }

    fn has_changed(&self) -> bool {
        self.mark != Some(self.said)
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
    use super::*;

    /// Split 0, as it was before.
    const SAME: Seen<'_> =
        Seen { index: 0, source: 0, family: None, is_news: false, is_read: false };
    /// Split 0, changed.
    const NEWS: Seen<'_> = Seen { is_news: true, ..SAME };

    #[test]
    fn a_split_that_changed_while_its_reader_ended_is_read_again() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(SAME, now);
        assert_eq!(phases.next().map(|ready| ready.index), Some(0));
        // The reader has read all of this, or it has not: nobody can tell.
        phases.found(NEWS, now);
        phases.rests(0, Some(Position::new(1)), None);
        assert_eq!(phases.next().and_then(|ready| ready.position), Some(Position::new(1)));
        phases.rests(0, Some(Position::new(2)), None);
        phases.found(SAME, now);
        assert!(phases.next().is_none(), "it rests");
        phases.found(NEWS, now);
        assert!(phases.next().is_some());
    }

    #[test]
    fn a_split_that_failed_waits_for_its_time_or_a_change() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut phases = Phases::default();
        phases.found(SAME, now);
        phases.next();
        phases.fails(0, None, now, now + hour);
        phases.found(SAME, now);
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_none() && phases.has_failed());
        phases.found(NEWS, now);
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
            phases.found(Seen { index, ..SAME }, now);
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
        phases.found(SAME, now);
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
        phases.found(SAME, now);
        phases.gone(0, Some(10));
        assert_eq!(phases.lost(0), None, "it waits, and is tried");
        phases.found(SAME, now);
        phases.next();
        phases.rests(0, Some(Position::new(4)), None);
        assert_eq!(phases.lost(0), None, "it is there");
        phases.found(NEWS, now);
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
        phases.found(SAME, now);
        phases.next();
        phases.fails(0, None, now, now + CHANGED_PAUSE_MIN);
        assert!(phases.forget_gone(0).is_empty(), "it is there");
        phases.gone(0, None);
        assert!(phases.forget_gone(1).is_empty(), "it is another source's");
        assert_eq!(phases.forget_gone(0).len(), 1);
        phases.wake(now + CHANGED_PAUSE_MIN);
        assert!(phases.next().is_none());
        phases.found(SAME, now);
        assert!(phases.next().is_some());
    }

    #[test]
    fn a_split_that_was_read_before_rests_until_it_changes() {
        let now = Instant::now();
        let mut phases = Phases::default();
        phases.found(Seen { is_read: true, ..SAME }, now);
        phases.found(Seen { is_read: true, ..SAME }, now);
        assert!(phases.next().is_none() && phases.waiting() == 0);
        phases.found(NEWS, now);
        assert_eq!(phases.next().map(|next| next.index), Some(0));
    }

    #[test]
    fn a_source_of_many_splits_keeps_no_other_waiting() {
        let now = Instant::now();
        let mut phases = Phases::default();
        for index in 0..100 {
            phases.found(Seen { index, ..SAME }, now);
        }
        phases.found(Seen { index: 100, source: 1, ..SAME }, now);
        phases.found(Seen { index: 101, family: Some("eu"), ..SAME }, now);
        phases.found(Seen { index: 102, family: Some("eu"), ..SAME }, now);
        let first: Vec<_> = (0..5).filter_map(|_| phases.next()).map(|next| next.index).collect();
        assert_eq!(first, [0, 100, 101, 1, 102]);
    }
}
