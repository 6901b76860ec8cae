//! Where sources begin: their first listing is decided before any split of it is opened.
//!
//! What a source finds at first starts where its settings say, and what it finds later at its
//! beginning. Which is which must not depend on how often a process was killed before it committed
//! anything, so a history says of each source that it was asked: checkpoint 0 of those that answer
//! then, an epoch that is made for it of each that comes later, into the pipeline file or because
//! its system was away.

use std::collections::BTreeSet;

use contract::source::Split;
use state::{Checkpoint, Roster};

/// What a source found first.
#[derive(Debug)]
pub struct Beginning {
    /// Its name.
    pub source: String,
    /// Its splits, which know where they start.
    pub splits: Vec<Split>,
}

impl Beginning {
    /// Enters it into a checkpoint that is not decided yet.
    pub fn enter(self, checkpoint: &mut Checkpoint) {
        for split in self.splits {
            checkpoint.roster.enter(&self.source, split);
        }
        checkpoint.begun.insert(self.source);
    }
}

/// The sources whose beginning a history holds. Programs that did not note who was asked left
/// nothing but the splits that they found.
pub fn begun(begun: &BTreeSet<String>, roster: &Roster) -> BTreeSet<String> {
    let listed = roster.states().map(|state| &state.source).collect::<BTreeSet<_>>();
    begun.iter().chain(listed).cloned().collect()
}
