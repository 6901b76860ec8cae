//! What earlier attempts of this process staged, as far as a later one must know of it.
//!
//! A writer that is dropped after it prepared cannot tell whether its epoch was decided. The next
//! attempt can: it begins the very epoch anew only if it was not, and commits it first if it was.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::Lineage;

use crate::commit::{Published, StagedBody, StagedObject};

/// What is not settled, by lineage; of each the newest epoch alone.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Uploads of epochs that were prepared, with the number of the epoch.
    prepared: HashMap<Lineage, (u64, Vec<StagedObject>)>,
    /// The objects of decided epochs that are sent again because uploads of theirs are gone.
    lost: HashMap<Lineage, (u64, Vec<Published>)>,
}

impl Unsettled {
    /// An epoch was prepared: its uploads are durable.
    pub fn prepared(&self, lineage: &Lineage, epoch: u64, objects: &[StagedObject]) {
        let uploads = objects.iter().filter(|it| matches!(it.body, StagedBody::Upload { .. }));
        let uploads: Vec<_> = uploads.cloned().collect();
        if !uploads.is_empty() {
            self.locked().prepared.insert(lineage.clone(), (epoch, uploads));
        }
    }

    /// An epoch is to be made visible, so it was decided.
    pub fn decided(&self, lineage: &Lineage) {
        self.locked().prepared.remove(lineage);
    }

    /// An epoch begins. Returns the uploads of an attempt at it that came to nothing.
    pub fn begins(&self, lineage: &Lineage, epoch: u64) -> Vec<StagedObject> {
        let mut state = self.locked();
        let before = state.prepared.remove(lineage).filter(|(known, _)| *known == epoch);
        before.map(|(_, uploads)| uploads).unwrap_or_default()
    }

    /// Uploads of a decided epoch are gone: it is sent again, and these were its objects.
    pub fn lost(&self, lineage: &Lineage, epoch: u64, objects: Vec<Published>) {
        self.locked().lost.insert(lineage.clone(), (epoch, objects));
    }

    /// The objects of an epoch before it was sent again.
    pub fn before(&self, lineage: &Lineage, epoch: u64) -> Vec<Published> {
        let state = self.locked();
        let lost = state.lost.get(lineage).filter(|(known, _)| *known == epoch);
        lost.map(|(_, objects)| objects.clone()).unwrap_or_default()
    }

    /// An epoch is visible as it is to stay.
    pub fn published(&self, lineage: &Lineage) {
        self.locked().lost.remove(lineage);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
