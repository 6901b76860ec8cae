//! Copies of a log that somebody takes before he truncates it: what was read of the log is not read
//! of its copy again, whichever of both happens between two listings.
//!
//! A long copy is told by its bytes (`discover`). A short one might be an old file that is equal by
//! chance, so it waits for a while whether the log is truncated; then it is that log.
//!
//! Invariant: a file that waits is a split, or the file of one, at the latest when it was changed
//! `rotate_wait` ago.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use contract::quantity::Period;
use contract::{Result, SplitId};

use crate::found::Found;
use crate::identity::{Signature, family, is_rotated_name};
use crate::matching::{Candidate, Failures};
use crate::repeats::{Twin, words_of_twins};

/// A file, by file system and number.
type File = (u64, u64);

/// Remembers copies of files that are there.
#[derive(Debug)]
pub struct Copies {
    rotate_wait: Duration,
    /// Those that hold nothing but the beginning of a split's file, or more than all of it.
    of: HashMap<File, Copy>,
    /// Since when short ones wait.
    waiting: HashMap<File, Instant>,
}

/// A file that has something in common with that of a split.
#[derive(Debug)]
struct Copy {
    /// As it was then.
    seen: Signature,
    split: SplitId,
    /// Whether the file of the split held all of it.
    is_part: bool,
    /// Whether it may be a log of its own.
    is_twin: bool,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Waiting {
    /// When the first one is looked at again; none if none waits.
    pub again_in: Option<Duration>,
    /// A sentence about each.
    pub warnings: Vec<String>,
}

impl Waiting {
    fn look_again_in(&mut self, wait: Duration) {
        self.again_in = Some(self.again_in.map_or(wait, |again| again.min(wait)));
    }
}

impl Copies {
    /// None is known yet.
    pub fn new(rotate_wait: Duration) -> Self {
        Self { rotate_wait, of: HashMap::new(), waiting: HashMap::new() }
    }

    /// A file holds nothing but the beginning of a split's file.
    pub fn note(&mut self, copy: &Found, split: SplitId) {
        let seen = copy.signature;
        self.of.insert(seen.file(), Copy { seen, split, is_part: true, is_twin: false });
    }

    /// Forgets files that are not there any more.
    pub fn retain(&mut self, there: &[Found]) {
        if self.of.is_empty() && self.waiting.is_empty() {
            return;
        }
        let there: HashSet<_> = there.iter().map(|found| found.signature.file()).collect();
        self.of.retain(|file, _| there.contains(file));
        self.waiting.retain(|file, _| there.contains(file));
    }

    /// Gives copies to the splits whose files were truncated; of one that was read beyond the end
    /// of its copy nothing is read again. Returns the other files.
    ///
    /// # Errors
    /// External: a file cannot be read. Bug: a position is not ours.
    pub fn give(
        &self,
        unknown: Vec<Found>,
        candidates: &mut [Candidate],
        failures: &mut Failures,
    ) -> Result<Vec<Found>> {
        let mut left = Vec::new();
        for mut found in unknown {
            let copy = self.of.get(&found.signature.file());
            let copy = copy.filter(|copy| copy.seen == found.signature);
            let is_of = |one: &&mut Candidate| copy.is_some_and(|copy| copy.split == one.id);
            let candidate = candidates.iter_mut().find(|one| one.found.is_none() && is_of(one));
            let is_part = copy.is_some_and(|copy| copy.is_part);
            let (Some(candidate), Some(end)) = (candidate, found.end()) else {
                left.push(found);
                continue;
            };
            if copy.is_some_and(|copy| copy.is_twin) {
                let (is_one, alike) = candidate.is_inherited(&found, false)?;
                failures.note(&found.path, alike);
                if !is_one {
                    left.push(found);
                    continue;
                }
            }
            let position = candidate.position.clone();
            let is_in = match &position {
                // What it had more than the log then may be something else than the log has now.
                Some(position) if position.at > end && !is_part => Some(false),
                Some(position) if position.at > end => {
                    found.from = found.position_at_end()?;
                    Some(false)
                }
                Some(position) => found.holds_before(position)?,
                None => Some(true),
            };
            match is_in {
                Some(true) => candidate.found = Some(found),
                Some(false) => left.push(found),
                None => failures.any_moved = true,
            }
        }
        Ok(left)
    }

    /// Takes out the short files that may be copies of a log that is about to be truncated.
    pub fn hold(&mut self, unknown: &mut Vec<Found>, candidates: &[Candidate]) -> Waiting {
        let mut waiting = Waiting::default();
        if !unknown.iter().any(is_short_and_rotated) {
            return waiting;
        }
        let known = candidates.iter().filter_map(|one| Some((Some(&one.id), one.found.as_ref()?)));
        let fresh = unknown.iter().map(|found| (None, found));
        let live = known.chain(fresh).filter_map(|one| Some((place(one.1)?, one)));
        let live: HashMap<_, _> = live.collect();
        let mut held = HashSet::new();
        let mut copies = Vec::new();
        for found in unknown.iter().filter(|one| is_short_and_rotated(one)) {
            let folder = found.path.parent().unwrap_or(Path::new("/"));
            let Some((split, log)) = live.get(&(folder, family(&found.path))) else { continue };
            if !log.may_be_copied_as(found) {
                continue;
            }
            let file = found.signature.file();
            let Some(left) = self.wait(found) else { continue };
            waiting.look_again_in(left);
            waiting.warnings.push(format!(
                "{:?} repeats the beginning of {:?}; it is read once that is truncated, or in {}",
                found.path,
                log.path,
                Period(self.rotate_wait)
            ));
            held.insert(file);
            let is_part = log.holds_all_of(found);
            let seen = found.signature;
            let copy =
                |split: &SplitId| Copy { seen, split: split.clone(), is_part, is_twin: false };
            copies.extend(split.map(copy));
        }
        unknown.retain(|found| !held.contains(&found.signature.file()));
        self.of.extend(copies.into_iter().map(|copy| (copy.seen.file(), copy)));
        waiting
    }

    /// Takes out the files that may be what is gone, restored as far as it is written: each is one
    /// that begins so and ends too early.
    pub fn hold_unfinished(
        &mut self,
        unknown: &mut Vec<Found>,
        may_become: impl Fn(&Found) -> Result<bool>,
        waiting: &mut Waiting,
    ) -> Result<()> {
        let mut left = Vec::new();
        for found in std::mem::take(unknown) {
            let is_new = found.from.is_none() && found.unchanged_for() < self.rotate_wait;
            let wait = match is_new && may_become(&found)? {
                true => self.wait(&found),
                false => None,
            };
            let Some(wait) = wait else {
                left.push(found);
                continue;
            };
            waiting.look_again_in(wait);
            waiting.warnings.push(format!(
                "{:?} begins as a log that is gone did, and may not be all there yet; it is looked \
                 at again in {}",
                found.path,
                Period(self.rotate_wait)
            ));
        }
        *unknown = left;
        Ok(())
    }

    /// Takes out the files that may be on their way to another name: of one that is moved to
    /// another file system both are there for a while. The others are told.
    pub fn hold_twins(
        &mut self,
        unknown: &mut Vec<Found>,
        twins: Vec<Option<Twin>>,
        waiting: &mut Waiting,
    ) {
        let (mut left, mut left_twins) = (Vec::new(), Vec::new());
        for (found, twin) in std::mem::take(unknown).into_iter().zip(twins) {
            let wait = twin.as_ref().and_then(|_| self.wait(&found));
            match (wait, &twin) {
                (Some(wait), Some(twin)) => {
                    waiting.look_again_in(wait);
                    let (seen, is_part, is_twin) = (found.signature, true, true);
                    let copy =
                        |split: &SplitId| Copy { seen, split: split.clone(), is_part, is_twin };
                    self.of.extend(twin.split.iter().map(|split| (seen.file(), copy(split))));
                }
                _ => {
                    left.push(found);
                    left_twins.push(twin);
                }
            }
        }
        waiting.warnings.extend(words_of_twins(&left, &left_twins));
        *unknown = left;
    }

    /// How long a file still waits; none if it need not.
    fn wait(&mut self, found: &Found) -> Option<Duration> {
        let since = self.waiting.entry(found.signature.file()).or_insert_with(Instant::now);
        let rested = found.unchanged_for().max(since.elapsed());
        let left = self.rotate_wait.saturating_sub(rested);
        (!left.is_zero()).then_some(left)
    }
}

/// Where a log lies that nobody rotated: folder and name.
fn place(found: &Found) -> Option<(&Path, &str)> {
    let name = found.path.file_name()?.to_str()?;
    let folder = found.path.parent().unwrap_or(Path::new("/"));
    (family(&found.path) == name).then_some((folder, name))
}

fn is_short_and_rotated(found: &Found) -> bool {
    found.beginning().is_none()
        && found.from.is_none()
        && is_rotated_name(&found.path, &found.signature)
}
