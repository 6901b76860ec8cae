//! What one attempt knows of its splits, and what it was told of them.
//!
//! It begins with what a checkpoint knows and goes with the attempt. A split that is found becomes
//! one of those that are known; what did not change is not told again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::discovery::{Finished, Gone, Moved, Retired};
use contract::source::{KnownSplit, Split};
use contract::{Result, SplitId};

use crate::found::Found;
use crate::graves::{Graves, tombstone};
use crate::identity::Descriptor;
use crate::matching::Candidate;

/// A file to which nobody wrote for so long is not amid a rotation when it is gone.
const AGE_MIN: Duration = Duration::from_secs(3600);

/// The splits of an attempt.
#[derive(Default)]
pub struct Attempt {
    /// By id.
    pub candidates: Vec<Candidate>,
    /// What is left of those that retired.
    pub graves: Graves,
}

/// Files that recorded ranges were read from: how their splits knew theirs before, and now.
pub type Restored = HashMap<SplitId, (Arc<Descriptor>, Arc<Descriptor>)>;

impl Attempt {
    /// Lets splits have the files that recorded ranges of theirs were read from. A file that has a
    /// split keeps it.
    pub fn restore(&mut self, restored: &Restored) {
        let owners = self.candidates.iter();
        let owners: HashMap<_, _> =
            owners.map(|one| (one.descriptor.signature.file(), one.id.clone())).collect();
        for candidate in &mut self.candidates {
            if let Some((before, now)) = restored.get(&candidate.id)
                && *before == candidate.descriptor
                && owners.get(&now.signature.file()).is_none_or(|owner| *owner == candidate.id)
            {
                candidate.descriptor = now.clone();
            }
        }
    }

    /// Knows what a checkpoint knows; nothing was told yet.
    ///
    /// # Errors
    /// Bug: a split is not ours.
    pub fn new(known: &[KnownSplit]) -> Result<Self> {
        let candidates = known.iter().map(|known| {
            let descriptor = Descriptor::of(known)?;
            let position = known.position.clone();
            Ok(Candidate::new(known.split.id.clone(), position, descriptor.into()))
        });
        let candidates = candidates.collect::<Result<_>>()?;
        let mut attempt = Self { candidates, graves: Graves::default() };
        attempt.sort();
        Ok(attempt)
    }

    /// Notes how far splits are committed.
    pub fn hear(&mut self, moved: Moved) {
        for (id, position) in moved {
            if let Ok(place) = self.place(&id) {
                let candidate = &mut self.candidates[place];
                (candidate.position, candidate.is_finished) = (Some(position.clone()), false);
                candidate.committed = Some(position);
            }
        }
    }

    /// Forgets splits that retired, but for what is left of them.
    pub fn bury(&mut self, retired: Vec<Retired>) {
        self.graves.add(retired);
        let graves = &self.graves;
        self.candidates.retain(|one| !graves.has(&one.id));
    }

    /// Splits that are gone for so long that nobody moves their files about any more, and of which
    /// the runtime was not told so, with what is left of each.
    ///
    /// # Errors
    /// Bug: a position is not ours.
    pub fn take_finished(&mut self, after: Duration) -> Result<Vec<Finished>> {
        let mut finished = Vec::new();
        for one in self.candidates.iter_mut().filter(|one| !one.is_finished) {
            let is_old = one.descriptor.signature.age() > AGE_MIN;
            let is_due = |since: Instant| is_old || since.elapsed() >= after;
            if !one.gone_since.is_some_and(is_due) {
                continue;
            }
            one.is_finished = true;
            let (id, at) = (one.id.clone(), one.committed.clone());
            let tombstone = tombstone(one)?;
            finished.extend(tombstone.map(|tombstone| Finished { id, at, tombstone }));
        }
        Ok(finished)
    }

    /// Adds splits that are new.
    pub fn add(&mut self, new: Vec<Candidate>) {
        if !new.is_empty() {
            self.candidates.extend(new);
            self.sort();
        }
    }

    /// Whether a split is known, or was.
    pub fn has(&self, id: &SplitId) -> bool {
        self.place(id).is_ok() || self.graves.has(id)
    }

    /// Splits whose files a look that saw all did not find, each once.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        let lost = self
            .candidates
            .iter_mut()
            .filter(|one| one.found.is_none() && one.gone_since.is_none());
        let gone = lost.map(|one| {
            (one.gone_since, one.is_told, one.is_finished) = (Some(Instant::now()), false, false);
            Gone { id: one.id.clone(), end: one.end.take() }
        });
        gone.collect()
    }

    /// Forgets the files that were found: another look finds them again.
    pub fn forget_files(&mut self) {
        self.candidates.iter_mut().for_each(|one| one.found = None);
    }

    fn place(&self, id: &SplitId) -> std::result::Result<usize, usize> {
        self.candidates.binary_search_by(|one| one.id.cmp(id))
    }

    fn sort(&mut self) {
        self.candidates.sort_by(|one, other| one.id.cmp(&other.id));
    }
}

impl Candidate {
    /// The split as it is now, if it was not told so.
    pub fn news(&mut self, found: &Found) -> Option<Split> {
        let has_changed = !found.is_as(&self.descriptor);
        if has_changed {
            self.descriptor = found.descriptor().into();
        }
        (self.gone_since, self.end) = (None, found.end());
        let was_told = std::mem::replace(&mut self.is_told, true);
        (has_changed || !was_told).then(|| {
            let text = serde_json::to_value(&*self.descriptor);
            let descriptor = text.expect("paths were checked to be text");
            Split { id: self.id.clone(), descriptor }
        })
    }
}

/// The first of the ids of a new split that nobody has.
pub fn first_free(
    ids: impl Iterator<Item = SplitId>,
    attempt: &Attempt,
    new: &HashSet<SplitId>,
) -> SplitId {
    let mut free = ids.filter(|id| !attempt.has(id) && !new.contains(id));
    free.next().expect("there are more numbers than splits")
}
