//! Splits that nobody needs to know any more: they leave the roster with an epoch.
//!
//! A source says of a split that is gone what it would know its bytes by (`Finished`). It retires
//! in an epoch that reads nothing of it, once all that it held is read and no refused record of it
//! may be asked for. What is left stands beside the splits, and its source hears of it at once, so
//! that the same bytes under another name go on behind what was read.
//!
//! Invariant: between what a source said and the decision it is not asked anything else.

use std::collections::BTreeMap;

use contract::Position;
use contract::discovery::{Finished, Retired, Tombstone};
use state::checkpoint::Checkpoint;
use state::{Roster, SplitState};

use super::phases::Phases;

/// Splits that may retire, by number.
#[derive(Debug, Default)]
pub struct Retirement {
    finished: BTreeMap<usize, Offer>,
}

#[derive(Debug)]
struct Offer {
    at: Option<Position>,
    tombstone: Tombstone,
}

/// What became of an offer.
enum Fate {
    /// It can be taken now.
    Due,
    /// Not yet.
    Waits,
    /// Its source says it anew if it ever can.
    Void,
}

/// The splits of an attempt that retire.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Those that do with the epoch that is decided next, if it reads nothing of them.
    pub due: BTreeMap<usize, Tombstone>,
    /// Those that did, of which the sources were not told yet.
    pub left: Vec<Left>,
}

/// A split that retired, and the name of its source.
#[derive(Debug)]
pub struct Left {
    /// Its number.
    pub number: usize,
    /// Its source.
    pub source: String,
    /// What the source hears.
    pub retired: Retired,
}

impl Retirement {
    /// A source is done with a split.
    pub fn offer(&mut self, number: usize, finished: Finished) {
        let Finished { at, tombstone, .. } = finished;
        self.finished.insert(number, Offer { at, tombstone });
    }

    /// A split is there again.
    pub fn withdraw(&mut self, number: usize) {
        self.finished.remove(&number);
    }

    /// Takes those that may retire in the next epoch, unless it reads of them. `is_asked` says
    /// whether a source is looking for splits just now.
    pub fn due(
        &mut self,
        roster: &Roster,
        phases: &Phases,
        is_asked: impl Fn(&str) -> bool,
    ) -> BTreeMap<usize, Tombstone> {
        let mut due = BTreeMap::new();
        self.finished.retain(|number, offer| {
            match offer.fate(*number, roster, phases, &is_asked) {
                Fate::Waits => true,
                Fate::Void => false,
                Fate::Due => {
                    due.insert(*number, offer.tombstone.clone());
                    true
                }
            }
        });
        due
    }
}

impl Offer {
    fn fate(
        &self,
        number: usize,
        roster: &Roster,
        phases: &Phases,
        is_asked: impl Fn(&str) -> bool,
    ) -> Fate {
        let Some(state) = roster.get(number) else { return Fate::Void };
        let SplitState { source, known, is_read, is_clean, .. } = state;
        match phases.is_over(number, known.position.as_ref()) {
            _ if known.position != self.at || !is_clean => Fate::Void,
            true if *is_read => match is_asked(source) {
                true => Fate::Waits,
                false => Fate::Due,
            },
            true => Fate::Void,
            false => Fate::Waits,
        }
    }
}

/// Lets splits retire with the checkpoint of an epoch, but for those that it speaks of, and forgets
/// tombstones that stood long enough.
pub fn retire(
    next: &mut Checkpoint,
    due: BTreeMap<usize, Tombstone>,
    keep_from_us: i64,
) -> Vec<Left> {
    next.roster.forget_tombstones(keep_from_us);
    if due.is_empty() {
        return Vec::new();
    }
    let named: Vec<_> = next.named().into_keys().collect();
    let due = due.into_iter().filter(|(number, _)| named.binary_search(number).is_err());
    let mut left = Vec::new();
    for (number, tombstone) in due {
        let grave = next.roster.retire(number, tombstone, next.now_us);
        left.extend(grave.map(|grave| {
            let (source, retired) = (grave.source.to_string(), grave.retired());
            Left { number, source, retired }
        }));
    }
    left
}
