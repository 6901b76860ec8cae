//! All splits of a history as somebody knows them who looks at it now and then, and reads only what
//! is new to him.

use contract::Result;
use tracing::debug;

use super::History;
use super::layers::lines_of;
use crate::checkpoint::RosterFiles;
use crate::{Checkpoint, Roster};

/// The splits of a history, and the files that they were read from.
#[derive(Debug, Default)]
pub struct Followed {
    roster: Roster,
    files: RosterFiles,
}

impl Followed {
    /// The splits, as the checkpoint has them that was looked at last.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }
}

impl History {
    /// Takes in the splits of the newest checkpoint, which may have been read without them. Where
    /// its owner has gone on meanwhile and given its files up, those of a later one.
    ///
    /// # Errors
    /// External: a file is gone or damaged, or the store does not answer (retryable).
    pub async fn follow(&self, known: &mut Followed, newest: &Checkpoint) -> Result<()> {
        match self.read_on(known, newest).await {
            Err(error) if !error.retry() => {
                debug!(error = error.chain(), "splits are looked up again");
                let Some(found) = self.newest().await? else { return Err(error) };
                let Checkpoint { roster, files, .. } = found.checkpoint;
                *known = Followed { roster, files };
                Ok(())
            }
            read => read,
        }
    }

    /// A base that is not known stands for all before it; of known files no layer is read twice.
    async fn read_on(&self, known: &mut Followed, newest: &Checkpoint) -> Result<()> {
        let mut new = newest.files.clone();
        match new.base == known.files.base {
            true => {
                new.base = None;
                new.layers.retain(|layer| !known.files.layers.contains(layer));
            }
            false => *known = Followed::default(),
        }
        for file in self.read_files(&new).await? {
            known.roster.fill(lines_of(&file)?.into_iter());
        }
        known.roster.fill(newest.roster.take_changes().into_iter());
        known.files.clone_from(&newest.files);
        Ok(())
    }
}
