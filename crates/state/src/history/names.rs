//! What lies in the folder of a lineage, by kind.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use object_store::path::Path;

/// The objects of a lineage.
#[derive(Debug, Default)]
pub struct Names {
    /// Checkpoints that are not packed, by epoch.
    pub epochs: BTreeMap<u64, Path>,
    /// When each epoch was decided, by the store's clock.
    decided: BTreeMap<u64, SystemTime>,
    /// Epochs that are marked as complete, in order.
    pub complete: Vec<u64>,
    /// States of steps, with their epochs.
    pub states: Vec<(u64, Path)>,
    /// Files of refused rows, with their epochs.
    pub rejects: Vec<(u64, Path)>,
    /// Packed epochs, in order.
    pub packs: Vec<Path>,
    /// Cumulative ledgers, in order; the last one counts.
    pub folds: Vec<Path>,
}

impl Names {
    /// Whether an epoch was decided less than so long ago.
    pub fn is_younger(&self, epoch: u64, than: Duration) -> bool {
        let decided = self.decided.get(&epoch);
        decided.is_some_and(|decided| decided.elapsed().unwrap_or_default() < than)
    }

    /// Whether epochs were decided, packed or folded since others were listed.
    pub fn goes_on_from(&self, listed: &Self) -> bool {
        let tidied = (&self.packs, &self.folds) != (&listed.packs, &listed.folds);
        self.newest() > listed.newest() || tidied
    }

    /// The newest epoch.
    pub fn newest(&self) -> Option<u64> {
        self.epochs.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// Rows of this epoch and all before it are added up; 0 if none are.
    pub fn folded_until(&self) -> u64 {
        let name = self.folds.last().and_then(Path::filename);
        let digits = name.and_then(|name| name.strip_prefix("fold-"));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
    }

    /// When an epoch that is not packed was decided.
    pub fn decided(&self, epoch: u64) -> Option<SystemTime> {
        self.decided.get(&epoch).copied()
    }

    /// The packs that hold this epoch or later ones.
    pub fn packs_from(&self, epoch: u64) -> impl Iterator<Item = &Path> {
        self.packs.iter().filter(move |path| {
            let name = path.filename().unwrap_or_default();
            let last = name.rsplit('-').next().and_then(|digits| digits.parse::<u64>().ok());
            last.is_none_or(|last| last >= epoch)
        })
    }

    /// The packs that may hold this epoch.
    pub fn packs_with(&self, epoch: u64) -> Vec<Path> {
        let may_hold = |path: &&Path| Self::span_of(path).is_none_or(|span| span.contains(&epoch));
        self.packs.iter().filter(may_hold).cloned().collect()
    }

    /// The epochs of a pack, as its name says.
    pub fn span_of(pack: &Path) -> Option<RangeInclusive<u64>> {
        let (first, last) = pack.filename()?.strip_prefix("pack-")?.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    }

    /// Takes in an object of this name, written at this time.
    pub fn add(&mut self, path: Path, modified: SystemTime) {
        let name = path.filename().unwrap_or_default();
        let Some((kind, rest)) = name.split_once('-') else { return };
        let number = rest.get(..20).and_then(|digits| digits.parse().ok());
        match (kind, number) {
            ("epoch", Some(epoch)) => {
                self.epochs.insert(epoch, path);
                self.decided.insert(epoch, modified);
            }
            ("complete", Some(epoch)) => self.complete.push(epoch),
            ("state", Some(epoch)) => self.states.push((epoch, path)),
            ("rejects", Some(epoch)) => self.rejects.push((epoch, path)),
            ("pack", Some(_)) => self.packs.push(path),
            ("fold", Some(_)) => self.folds.push(path),
            _ => {}
        }
    }

    /// Puts them in order, once all were taken in.
    pub fn sort(&mut self) {
        self.complete.sort_unstable();
        self.packs.sort_unstable();
        self.folds.sort_unstable();
    }
}
