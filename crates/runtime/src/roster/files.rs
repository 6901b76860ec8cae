//! Keeps the files few in which the splits of a lineage stand: they are merged beside everything
//! else, and the next checkpoint names what came of it.

use contract::Result;
use state::Checkpoint;
use state::checkpoint::{NamedFile, RosterFiles};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tracing::warn;

use crate::attempt::Attempt;

/// The answer of a merge: the files that were merged, and the base that they became.
pub type Merging = oneshot::Receiver<(RosterFiles, NamedFile)>;

impl Attempt<'_> {
    /// Begins to merge the files of the newest checkpoint, if they are many and nobody does so.
    pub fn merge_files(&mut self) {
        let files = &self.checkpoint.files;
        if self.merging.is_some() || !files.want_base() {
            return;
        }
        let (done, merging) = oneshot::channel();
        self.merging = Some(merging);
        let (history, files) = (self.owner.history.clone(), files.clone());
        self.spawn(async move { merge(&history, files, done).await });
    }

    /// Lets a checkpoint that is to be decided name the base that was made, if one was.
    pub fn take_base(&mut self, next: &mut Checkpoint) {
        let Some(merging) = &mut self.merging else { return };
        match merging.try_recv() {
            Ok((merged, base)) => next.files.rebase(&merged, base),
            // The next epoch begins another merge.
            Err(TryRecvError::Closed) => {}
            Err(TryRecvError::Empty) => return,
        }
        self.merging = None;
    }
}

/// Nothing depends on it: where it fails, the files stay as they are.
async fn merge(
    history: &state::History,
    files: RosterFiles,
    done: oneshot::Sender<(RosterFiles, NamedFile)>,
) -> Result<()> {
    match history.merge(files.clone()).await {
        Ok(base) => drop(done.send((files, base))),
        Err(error) => warn!(error = error.chain(), "could not merge the files of splits"),
    }
    Ok(())
}
