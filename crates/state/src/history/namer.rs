//! Names that are used once, and who deletes what carries them.
//!
//! A file that a checkpoint names is called `<kind>-<term>-<number>-<sum>`: the term of the lease
//! under which it was made, a number of its own in that, and what it holds. So nobody ever finds
//! under a name another file than was meant. An attempt that is dropped leaves its files where they
//! are; only the collector deletes, and nothing that one of the newest checkpoints names, that is
//! still to be named, or that somebody else may be about to name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use contract::error::Context;
use contract::{Result, failpoint};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::OnceCell;
use tracing::warn;

use super::copies::COPIES;
use super::layers::{BASES, LAYERS};
use super::shortcuts::{SHORTCUT, SHORTCUTS};
use super::{EPOCHS_LOOSE_MIN, History};
use crate::Checkpoint;
use crate::checkpoint::{NamedFile, RosterFiles};
use crate::lease::Lease;
use crate::roster::Turnover;

/// Folders in which files lie that checkpoints name.
const KINDS: [&str; 4] = [BASES, LAYERS, COPIES, SHORTCUTS];

/// Makes names for the owner of a lineage, and remembers which of them are needed.
#[derive(Debug)]
pub struct Namer {
    lease: Arc<Lease>,
    term: OnceCell<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last name.
    last: u64,
    /// Names that no checkpoint has yet.
    made: BTreeSet<String>,
    /// Those of an attempt that was dropped: its last decision may still arrive.
    doubtful: BTreeSet<String>,
    /// What the newest checkpoints name, by their epochs.
    pinned: BTreeMap<u64, Vec<String>>,
    /// The shortcuts that splits have now; none while nobody knows.
    shortcuts: Option<BTreeSet<Arc<str>>>,
    /// Whether this owner decided anything.
    has_decided: bool,
    /// Whether it decided anything since it began anew.
    goes_on: bool,
    /// Whether the newest files cannot be merged.
    cannot_merge: bool,
}

impl Namer {
    /// A namer for whoever holds a lease.
    pub fn new(lease: Arc<Lease>) -> Self {
        Self { lease, term: OnceCell::new(), state: Mutex::default() }
    }

    /// Keeps a file under a name that was never used.
    ///
    /// # Errors
    /// Retryable External: the store does not answer. NotOwner: the lease is somebody else's.
    pub async fn keep(&self, history: &History, kind: &str, content: Bytes) -> Result<NamedFile> {
        let term = self.term(history).await?;
        let sum = NamedFile::sum(&content);
        let name = {
            let mut state = self.state();
            state.last += 1;
            let kind = kind.trim_start_matches('_');
            let name = format!("{kind}-{term:020}-{:020}-{sum}", state.last);
            state.made.insert(name.clone());
            name
        };
        let path = history.path_of_file(kind, &name);
        let bytes = content.len() as u64;
        let put = history.store.put(&path, content.into()).await;
        if put.is_err() {
            // Should it arrive after all, nobody will ever name it.
            self.state().made.remove(&name);
        }
        put.transient(|| format!("could not write \"{path}\""))?;
        Ok(NamedFile { name, bytes })
    }

    /// Whether the next decision is to put all splits into a base, as they are in memory: its files
    /// are many and it is the first since a start, as runs that end after one epoch have no other
    /// time for it; or they cannot be merged.
    pub fn wants_base(&self, files: &RosterFiles) -> bool {
        let state = self.state();
        state.cannot_merge || !state.goes_on && files.want_base()
    }

    /// The newest files cannot be merged: one of them is gone or damaged.
    pub fn cannot_merge(&self) {
        self.state().cannot_merge = true;
    }

    /// They are done without.
    pub fn has_base(&self) {
        self.state().cannot_merge = false;
    }

    /// A checkpoint stands: what it names is kept for as long as it is one of the newest.
    /// The shortcuts that splits have left are kept as long as it, too.
    pub fn decided(&self, checkpoint: &Checkpoint, turnover: &Turnover) {
        let mut state = self.state();
        state.has_decided = true;
        state.goes_on = true;
        // Nothing else can be decided under this number any more.
        state.doubtful.clear();
        let mut names: Vec<_> = checkpoint.named_files().map(str::to_owned).collect();
        for name in names.iter().map(String::as_str).chain(turnover.named.iter().map(|one| &**one))
        {
            state.made.remove(name);
        }
        if checkpoint.epoch == 0 {
            state.shortcuts = Some(BTreeSet::new());
        }
        if let Some(shortcuts) = &mut state.shortcuts {
            shortcuts.extend(turnover.named.iter().cloned());
            turnover.left.iter().for_each(|name| _ = shortcuts.remove(name));
        }
        names.extend(turnover.left.iter().map(|name| name.as_ref().to_owned()));
        state.pinned.insert(checkpoint.epoch, names);
        while state.pinned.len() > EPOCHS_LOOSE_MIN {
            state.pinned.pop_first();
        }
    }

    /// Whoever begins anew from the newest checkpoint names nothing that was made before, and does
    /// not know whether what was decided last stands there.
    pub fn give_up(&self) {
        let mut state = self.state();
        let made = std::mem::take(&mut state.made);
        state.doubtful.extend(made);
        state.pinned.clear();
        state.shortcuts = None;
        state.goes_on = false;
        state.cannot_merge = false;
    }

    /// The shortcuts that splits have in the checkpoint from which it begins anew.
    pub fn begin_with<'a>(&self, shortcuts: impl Iterator<Item = &'a Arc<str>>) {
        self.state().shortcuts = Some(shortcuts.cloned().collect());
    }

    /// The term of our names: that of the lease, and higher than that of every name that is there.
    async fn term(&self, history: &History) -> Result<u64> {
        let found = self.term.get_or_try_init(|| async {
            let names = list(history).await?;
            let terms = names.iter().filter_map(|path| term_of(path.filename()?));
            let highest = terms.max().unwrap_or_default();
            match self.lease.term().await {
                Some(term) if term > highest => Ok(term),
                _ => self.lease.raise(highest + 1).await.map(|()| highest + 1),
            }
        });
        found.await.copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// The same history for whoever holds its lease, who may make files that checkpoints name.
    #[must_use]
    pub fn owned(self, lease: Arc<Lease>) -> Self {
        Self { namer: Some(Arc::new(Namer::new(lease))), ..self }
    }

    /// Deletes files that no checkpoint names and that nobody is about to name. Best effort:
    /// failures are warnings.
    pub async fn collect_files(&self) {
        if let Err(error) = self.try_collect_files().await {
            warn!(error = error.chain(), "could not tidy up files of checkpoints");
        }
    }

    /// In this order: what is listed first was made before what is kept is looked up.
    async fn try_collect_files(&self) -> Result<()> {
        let Some(namer) = &self.namer else { return Ok(()) };
        let listed = list(self).await?;
        if listed.is_empty() {
            return Ok(());
        }
        let own = namer.term(self).await?;
        let (mut kept, has_decided) = {
            let state = namer.state();
            let unnamed = state.made.union(&state.doubtful).cloned();
            (unnamed.collect::<BTreeSet<_>>(), state.has_decided)
        };
        self.pin_newest(namer).await?;
        let knows_shortcuts = {
            let state = namer.state();
            kept.extend(state.pinned.values().flatten().cloned());
            let shortcuts = state.shortcuts.iter().flatten();
            kept.extend(shortcuts.map(|name| name.as_ref().to_owned()));
            state.shortcuts.is_some()
        };
        namer.lease.verify().await?;
        for path in listed {
            let Some(name) = path.filename() else { continue };
            let Some(term) = term_of(name) else { continue };
            let is_ours = term == own || term < own && has_decided;
            let is_known = knows_shortcuts || !name.starts_with(SHORTCUT);
            if is_ours && is_known && !kept.contains(name) {
                self.delete(&path).await?;
                failpoint::reach("collect.deleted").await?;
            }
        }
        Ok(())
    }

    /// Reads what the newest checkpoints name, as far as it is not known from deciding them.
    async fn pin_newest(&self, namer: &Namer) -> Result<()> {
        if namer.state().pinned.len() >= EPOCHS_LOOSE_MIN {
            return Ok(());
        }
        let names = self.names().await?;
        for (epoch, path) in names.epochs.iter().rev().take(EPOCHS_LOOSE_MIN) {
            let is_known = namer.state().pinned.contains_key(epoch);
            if !is_known {
                let checkpoint = self.read_alone(path).await?;
                let names = checkpoint.named_files().map(str::to_owned).collect();
                namer.state().pinned.insert(*epoch, names);
            }
        }
        Ok(())
    }
}

/// The files of a lineage that checkpoints name, or once named.
async fn list(history: &History) -> Result<Vec<Path>> {
    let mut found = Vec::new();
    for kind in KINDS {
        let folder = history.folder_of(kind);
        let listed = history.store.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let listed = listed.transient(|| format!("could not list \"{folder}\""))?;
        found.extend(listed.into_iter().map(|meta| meta.location));
    }
    Ok(found)
}

/// The term in a name; none if it is no name of ours.
fn term_of(name: &str) -> Option<u64> {
    name.split('-').nth(1)?.parse().ok()
}
