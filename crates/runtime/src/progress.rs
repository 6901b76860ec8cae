//! What people see of a run while it goes on: numbers, no history.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use contract::{Error, SplitId};
use tracing::warn;

use crate::dead_letters::DeadLetter;
use crate::identities::Replaced;
use crate::summary::FirstRefused;
use crate::troubles::Troubles;

/// Replaced destinations that are kept for the summary.
const REPLACED_MAX: usize = 1_000;

/// Counters of a run. What an attempt did not decide leaves them with it, and is counted when it is
/// read again.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    bytes: AtomicU64,
    dead_lettered: AtomicU64,
    epochs: AtomicU64,
    /// Whether the lineages are known.
    begun: AtomicBool,
    /// Whom the run stands by for, before it begins.
    standby: Mutex<Option<String>>,
    /// Why the run ended early, if it did.
    failure: OnceLock<String>,
    /// Lineages that do not read yet, or not again.
    recovering: AtomicU64,
    /// Whether a history went over to another layout.
    has_upgraded: AtomicBool,
    /// What cannot be read.
    pub troubles: Troubles,
    /// The record that was refused first.
    first_refused: OnceLock<FirstRefused>,
    /// Destinations that were found to be others than before.
    replaced: Mutex<Vec<Replaced>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records read.
    pub read: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Records refused by steps.
    pub dead_lettered: u64,
    /// Epochs decided.
    pub epochs: u64,
}

impl Progress {
    /// Begins to count for an attempt.
    pub(crate) fn underway(self: &Arc<Self>) -> Underway {
        Underway { progress: self.clone(), undecided: Mutex::default() }
    }

    /// Notes the first record that was refused, from those of one batch with their originals.
    pub(crate) fn refuse(&self, split: &SplitId, letters: &[DeadLetter]) {
        if letters.is_empty() || self.first_refused.get().is_some() {
            return;
        }
        if let Some(letter) = letters.iter().min_by_key(|letter| letter.reject.position) {
            self.first_refused.get_or_init(|| FirstRefused::new(split, &letter.reject));
        }
    }

    /// The record that was refused first; none as long as none was.
    pub fn first_refused(&self) -> Option<&FirstRefused> {
        self.first_refused.get()
    }

    /// Tells people of destinations that are others than before, of each once.
    pub(crate) fn tell(&self, found: Vec<Replaced>) {
        let mut known = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        for one in found {
            let Replaced { sink, place, was, now, from, to, rows, .. } = &one;
            let is_told = known.iter().any(|told| {
                (&told.lineage, &told.sink, &told.place) == (&one.lineage, sink, place)
                    && (&told.was, &told.now) == (was, now)
            });
            if is_told {
                continue;
            }
            warn!(
                sink,
                place,
                was,
                now,
                epochs = format!("{from}..={to}"),
                rows,
                "the destination is another one than before: what that one held may be gone"
            );
            if known.len() < REPLACED_MAX {
                known.push(one);
            }
        }
    }

    /// Destinations that were found to be others than before.
    pub fn replaced(&self) -> Vec<Replaced> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an epoch that is decided.
    pub fn add_epoch(&self) {
        self.epochs.fetch_add(1, Ordering::Relaxed);
    }

    /// The lineages are known, and begin.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Another process owns the pipeline, and the run waits for its end. Each owner is told once.
    pub(crate) fn stand_by(&self, owner: &Error) {
        let mut standby = self.standby.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owner.chain();
        if standby.as_ref() != Some(&owner) {
            warn!("standing by: {owner}");
            *standby = Some(owner);
        }
    }

    /// A lineage recovers until this is dropped.
    pub(crate) fn recovering(self: &Arc<Self>) -> Recovering {
        self.recovering.fetch_add(1, Ordering::Relaxed);
        Recovering(self.clone())
    }

    /// A history goes over to another layout. Whether it is the first one.
    pub(crate) fn upgrades(&self) -> bool {
        !self.has_upgraded.swap(true, Ordering::Relaxed)
    }

    /// Notes that the run ended early, and why.
    pub fn fail(&self, error: &Error) {
        self.failure.get_or_init(|| format!("it stopped: {}", error.chain()));
    }

    /// Why the run does not get on now; none if it does.
    pub fn trouble(&self) -> Option<String> {
        if let Some(failure) = self.failure.get() {
            return Some(failure.clone());
        }
        match (self.begun.load(Ordering::Relaxed), self.recovering.load(Ordering::Relaxed)) {
            (false, _) => {
                let standby = self.standby.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Some(match standby {
                    Some(owner) => format!("it stands by: {owner}"),
                    None => "it has not begun to read".to_owned(),
                })
            }
            (true, 0) => None,
            (true, lineages) => Some(format!("lineages that recover: {lineages}")),
        }
    }

    /// The counters now.
    pub fn seen(&self) -> Seen {
        Seen {
            read: self.read.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            epochs: self.epochs.load(Ordering::Relaxed),
        }
    }
}

/// What an attempt read and did not decide yet. It is taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Underway {
    progress: Arc<Progress>,
    undecided: Mutex<Batches>,
}

/// What batches hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batches {
    /// Records.
    pub read: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that steps refused.
    pub dead_lettered: u64,
}

impl Underway {
    /// Adds a batch.
    pub fn add(&self, batch: Batches) {
        let Batches { read, bytes, dead_lettered } = batch;
        let Progress { read: all_read, bytes: all_bytes, dead_lettered: all, .. } = &*self.progress;
        all_read.fetch_add(read, Ordering::Relaxed);
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
        all.fetch_add(dead_lettered, Ordering::Relaxed);
        let mut undecided = self.undecided();
        undecided.read += read;
        undecided.bytes += bytes;
        undecided.dead_lettered += dead_lettered;
    }

    /// What the epoch under way holds, once its readers stand still.
    pub fn of_epoch(&self) -> Batches {
        *self.undecided()
    }

    /// An epoch is decided: what it holds stays counted.
    pub fn decided(&self, epoch: Batches) {
        let mut undecided = self.undecided();
        undecided.read -= epoch.read;
        undecided.bytes -= epoch.bytes;
        undecided.dead_lettered -= epoch.dead_lettered;
    }

    fn undecided(&self) -> MutexGuard<'_, Batches> {
        self.undecided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Batches { read, bytes, dead_lettered } = *self.undecided();
        self.progress.read.fetch_sub(read, Ordering::Relaxed);
        self.progress.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.progress.dead_lettered.fetch_sub(dead_lettered, Ordering::Relaxed);
    }
}

/// Held while a lineage recovers.
pub(crate) struct Recovering(Arc<Progress>);

impl Drop for Recovering {
    fn drop(&mut self) {
        self.0.recovering.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attempt_did_not_decide_is_not_counted() {
        let progress = Arc::<Progress>::default();
        let batch = Batches { read: 10, bytes: 100, dead_lettered: 1 };
        let attempt = progress.underway();
        attempt.add(batch);
        let epoch = attempt.of_epoch();
        attempt.add(batch);
        attempt.decided(epoch);
        assert_eq!(progress.seen().read, 20, "what is under way is shown");
        drop(attempt);
        let Seen { read, bytes, dead_lettered, .. } = progress.seen();
        assert_eq!(Batches { read, bytes, dead_lettered }, batch);
    }
}
