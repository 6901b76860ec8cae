//! The chain of checkpoints of one lineage, in an object store.
//!
//! `<lineage>/epoch-<number>` is created, never overwritten: that create is the decision.
//! `<lineage>/complete-<number>` says that every sink holds the epoch. Old epochs are packed into
//! `<lineage>/pack-<first>-<last>`, so that a folder stays short however long a pipeline runs. The
//! splits that a checkpoint knows stand in files of `_base/<lineage>` and `_layer/<lineage>`.

mod blocks;
mod copies;
mod counted;
mod folds;
mod followed;
mod layers;
mod losses;
mod namer;
mod names;
mod old_packs;
mod packs;
mod pieces;
mod rejects;
mod shelf;
mod shortcuts;
#[cfg(test)]
mod tests;
mod tidy;
mod troubles;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Lineage, Result, failpoint};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tracing::warn;

use crate::checkpoint::{Checkpoint, sha256_hex};
use crate::ledger::Entry;
use crate::moment::Moment;
use crate::runs::RUNS;
pub use counted::Ledger;
pub use followed::Followed;
pub use losses::{Losses, Remaining};
use namer::Namer;
use names::Names;
pub use shelf::Shelf;

/// The folder of what is kept by content, beside those of the lineages.
pub(crate) const RESOURCES: &str = "resources";
/// Epochs that stay unpacked, the newest ones.
const EPOCHS_LOOSE_MIN: usize = 3;
/// Loose epochs at which the older ones are packed.
const EPOCHS_LOOSE_MAX: usize = 256;
/// How often the same bytes are put again while nobody knows whether they arrived.
const PUT_ATTEMPTS_MAX: u32 = 5;
/// How often a reader looks whose files go because the owner of the history goes on.
const LOOKS_MAX: u32 = 3;
/// Who has not seen the newest epoch for so long lists the folder before it decides another: by
/// then the epoch's name may be free again, because a later owner has packed it away.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// What came of a conditional create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The checkpoint stands; the epoch is decided.
    Decided,
    /// Another checkpoint stands under this number.
    Overtaken,
}

/// The newest checkpoint of a lineage.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Whether every sink is known to hold its epoch.
    pub complete: bool,
}

/// The checkpoints of one lineage of one pipeline.
#[derive(Clone, Debug)]
pub struct History {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Whether several machines write in the store.
    is_shared: bool,
    /// When the newest epoch was last seen, or made.
    seen: Arc<Mutex<Option<Moment>>>,
    /// Who names files, where this is the history's owner.
    namer: Option<Arc<Namer>>,
}

/// What became of a lineage since some epoch.
#[derive(Debug, Default)]
pub struct Since {
    /// The sums of all epochs up to this one, where they reach beyond the one that was asked for.
    pub folded: Option<(u64, Vec<Entry>)>,
    /// That epoch and all after it that are kept, with the time at which each was decided where
    /// that is known.
    pub epochs: Vec<(Checkpoint, Option<SystemTime>)>,
    /// The newest epoch that is known to be complete.
    pub complete: Option<u64>,
}

impl History {
    /// The history of a lineage in a store of checkpoints.
    pub fn new(store: Arc<dyn ObjectStore>, pipeline: &str, lineage: &Lineage) -> Self {
        let prefix = Path::from_iter([pipeline, lineage.as_str()]);
        Self { store, prefix, is_shared: false, seen: Arc::default(), namer: None }
    }

    /// The same history in a store in which several machines write.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// The newest checkpoint, with all its splits; none if the lineage has no history. Its owner
    /// begins anew from there.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the newest checkpoint is damaged (the
    /// error names the object).
    pub async fn newest(&self) -> Result<Option<Newest>> {
        self.namer.iter().for_each(|namer| namer.give_up());
        let mut looks = 1..LOOKS_MAX;
        loop {
            let names = self.names().await?;
            self.see();
            match self.newest_of(&names).await {
                Err(error) if looks.next().is_some() => self.unless_gone_on(error, &names).await?,
                read => return read,
            }
        }
    }

    async fn newest_of(&self, names: &Names) -> Result<Option<Newest>> {
        let Some((&epoch, path)) = names.epochs.last_key_value() else {
            self.namer.iter().for_each(|namer| namer.begin_with([].iter()));
            return Ok(None);
        };
        let complete = names.complete.last().is_some_and(|complete| *complete >= epoch);
        let checkpoint = match (self.read(path).await, complete) {
            // Nothing of a complete epoch is given again.
            (Err(error), true) if !error.retry() => match self.read_alone(path).await {
                Ok(alone) if alone.rejects_file.is_some() => {
                    warn!(error = error.chain(), "going on without what a complete epoch refused");
                    Checkpoint { rejects_file: None, ..alone }
                }
                _ => return Err(error),
            },
            (read, _) => read?,
        };
        let checkpoint = self.with_roster(checkpoint, path).await?;
        self.namer.iter().for_each(|namer| namer.begin_with(checkpoint.roster.shortcuts()));
        Ok(Some(Newest { checkpoint, complete }))
    }

    /// Whether to look again: what was listed may be gone since, where its owner went on, or packed
    /// it away.
    async fn unless_gone_on(&self, error: Error, listed: &Names) -> Result<()> {
        match !error.retry() && self.names().await?.goes_on_from(listed) {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// The number of the newest checkpoint, readable or not.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn newest_epoch(&self) -> Result<Option<u64>> {
        Ok(self.names().await?.epochs.last_key_value().map(|(epoch, _)| *epoch))
    }

    /// The checkpoint of an epoch that is not packed yet.
    ///
    /// # Errors
    /// External: it is not there, or damaged.
    pub async fn epoch(&self, epoch: u64) -> Result<Checkpoint> {
        self.read(&self.path_of(epoch)).await
    }

    /// Creates a checkpoint if none stands under its number. This is the decision and the fence.
    /// Of its splits, what would make it long is put into a file first.
    ///
    /// # Errors
    /// Retryable External: nobody knows whether it arrived, after several tries.
    pub async fn decide(&self, checkpoint: &mut Checkpoint) -> Result<Decision> {
        if !self.has_seen_lately() {
            let newest = self.newest_epoch().await?;
            if newest.is_some_and(|newest| newest > checkpoint.epoch) {
                return Ok(Decision::Overtaken);
            }
        }
        checkpoint.note_refused();
        let decision = self.create(checkpoint).await?;
        if decision == Decision::Decided {
            self.see();
            let turnover = checkpoint.roster.take_turnover();
            self.namer.iter().for_each(|namer| namer.decided(checkpoint, &turnover));
        }
        Ok(decision)
    }

    async fn create(&self, checkpoint: &mut Checkpoint) -> Result<Decision> {
        self.set_shortcuts_apart(checkpoint).await?;
        self.set_changes_apart(checkpoint).await?;
        let rejects = self.set_rejects_apart(checkpoint).await?;
        let written = checkpoint.to_bytes();
        rejects::put_back(checkpoint, rejects);
        let bytes = Bytes::from(written?);
        let path = self.path_of(checkpoint.epoch);
        let mut failure = None;
        for _ in 0..PUT_ATTEMPTS_MAX {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&path, bytes.clone().into(), options).await;
            failpoint::reach("decide.answer").await?;
            match put {
                Ok(_) => return Ok(Decision::Decided),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    return self.whose(&path, &bytes).await;
                }
                Err(error) => failure = Some(error),
            }
        }
        let error = Error::transient(format!("could not write checkpoint \"{path}\""));
        Err(match failure {
            Some(cause) => error.because(cause),
            None => error,
        })
    }

    fn see(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Moment::now());
    }

    fn has_seen_lately(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| seen.elapsed() < LOOK_AGAIN_AFTER)
    }

    /// Our own bytes may stand there already: a store can apply a put and answer with an error.
    async fn whose(&self, path: &Path, bytes: &Bytes) -> Result<Decision> {
        let standing = self.bytes(path).await?;
        Ok(if standing == *bytes { Decision::Decided } else { Decision::Overtaken })
    }

    /// Notes that every sink holds an epoch. May be repeated.
    ///
    /// # Errors
    /// Retryable External: the store does not answer; nothing depends on the mark being there.
    pub async fn mark_complete(&self, epoch: u64) -> Result<()> {
        let path = self.prefix.clone().join(format!("complete-{epoch:020}"));
        let put = self.store.put(&path, Bytes::new().into()).await;
        put.transient(|| format!("could not write mark \"{path}\""))?;
        Ok(())
    }

    /// Moves a damaged newest checkpoint out of the way, keeping its bytes. A mark that its epoch
    /// is complete goes first: it would be taken for one of the epoch that comes in its place.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn set_aside(&self, epoch: u64) -> Result<()> {
        let path = self.path_of(epoch);
        let bytes = self.bytes(&path).await?;
        let aside = self.prefix.clone().join(format!("damaged-{}", &sha256_hex(&bytes)[..16]));
        let put = self.store.put(&aside, bytes.into()).await;
        put.transient(|| format!("could not write \"{aside}\""))?;
        self.delete(&self.prefix.clone().join(format!("complete-{epoch:020}"))).await?;
        self.delete(&path).await
    }

    /// Keeps the state of a step, durable before the checkpoint that names it.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_state(&self, step: &str, epoch: u64, state: Bytes) -> Result<String> {
        let sum = &sha256_hex(&state)[..16];
        let name = format!("state-{epoch:020}-{step}-{sum}");
        let path = self.prefix.clone().join(name.as_str());
        let put = self.store.put(&path, state.into()).await;
        put.transient(|| format!("could not write state \"{path}\""))?;
        Ok(name)
    }

    /// The state that a checkpoint names.
    ///
    /// # Errors
    /// External: it is gone or damaged, or the store does not answer (retryable).
    pub async fn state(&self, name: &str) -> Result<Bytes> {
        let path = self.prefix.clone().join(name);
        let state = self.bytes(&path).await?;
        match name.ends_with(&sha256_hex(&state)[..16]) {
            true => Ok(state),
            false => Err(Error::external(format!("\"{path}\" is damaged"))),
        }
    }

    /// Keeps a resource by its content, for as long as a checkpoint may need it.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_resource(&self, sha256: &str, content: Bytes) -> Result<()> {
        let path = self.resource_path(sha256);
        if self.store.head(&path).await.is_ok() {
            return Ok(());
        }
        let put = self.store.put(&path, content.into()).await;
        put.transient(|| format!("could not keep resource \"{path}\""))?;
        Ok(())
    }

    /// The content of a resource that was kept.
    ///
    /// # Errors
    /// External: it is not there.
    pub async fn resource(&self, sha256: &str) -> Result<Bytes> {
        self.bytes(&self.resource_path(sha256)).await
    }

    /// Keeps what a lineage reads where no source could give it again, before its first checkpoint.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_input(&self, input: Bytes) -> Result<()> {
        let path = self.input_path();
        let put = self.store.put(&path, input.into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        Ok(())
    }

    /// What [`History::keep_input`] kept; none once it is forgotten.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn input(&self) -> Result<Option<Bytes>> {
        self.if_there(&self.input_path()).await
    }

    /// Deletes the input of a lineage that has come to its end.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn forget_input(&self) -> Result<()> {
        self.delete(&self.input_path()).await
    }

    /// All checkpoints that are kept, without refused rows, old ones without state and committables
    /// too, in order. Only the newest has all splits; the others have those that they name.
    ///
    /// # Errors
    /// External: the store does not answer, or a checkpoint is damaged.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let mut looks = 1..LOOKS_MAX;
        loop {
            let names = self.names().await?;
            match self.checkpoints_of(&names).await {
                Err(error) if looks.next().is_some() => self.unless_gone_on(error, &names).await?,
                read => return read,
            }
        }
    }

    async fn checkpoints_of(&self, names: &Names) -> Result<Vec<Checkpoint>> {
        let mut epochs = BTreeMap::new();
        // What the newest one names is gone soonest.
        if let Some((epoch, path)) = names.epochs.last_key_value() {
            let slim = self.read_slim(path).await?;
            epochs.insert(*epoch, self.with_roster(slim, path).await?);
        }
        self.with_others(epochs, names).await
    }

    /// All checkpoints, of which some are known; the others with the splits that they name.
    async fn with_others(
        &self,
        mut epochs: BTreeMap<u64, Checkpoint>,
        names: &Names,
    ) -> Result<Vec<Checkpoint>> {
        for path in &names.packs {
            for checkpoint in self.unpack(path).await? {
                epochs.entry(checkpoint.epoch).or_insert(checkpoint);
            }
        }
        for (epoch, path) in &names.epochs {
            if !epochs.contains_key(epoch) {
                epochs.insert(*epoch, self.read_slim(path).await?);
            }
        }
        Ok(epochs.into_values().collect())
    }

    /// What became of the lineage since an epoch, whose reader has seen all before it. Reads no
    /// more than that.
    ///
    /// # Errors
    /// As for [`History::checkpoints`].
    pub async fn since(&self, epoch: u64) -> Result<Since> {
        let mut looks = 1..LOOKS_MAX;
        loop {
            let names = self.names().await?;
            match self.since_of(&names, epoch).await {
                Err(error) if looks.next().is_some() => self.unless_gone_on(error, &names).await?,
                read => return read,
            }
        }
    }

    async fn since_of(&self, names: &Names, epoch: u64) -> Result<Since> {
        let mut since = Since { complete: names.complete.last().copied(), ..Since::default() };
        if names.folded_until() > epoch {
            since.folded = Some((names.folded_until(), self.folded(names).await?));
        }
        let mut epochs: BTreeMap<u64, Checkpoint> = BTreeMap::new();
        for path in names.packs_from(epoch) {
            let unpacked = self.unpack(path).await?;
            epochs.extend(unpacked.into_iter().map(|checkpoint| (checkpoint.epoch, checkpoint)));
        }
        for (number, path) in names.epochs.range(epoch..) {
            if !epochs.contains_key(number) {
                epochs.insert(*number, self.read_slim(path).await?);
            }
        }
        let epochs = epochs.into_iter().filter(|(number, _)| *number >= epoch);
        since.epochs =
            epochs.map(|(number, checkpoint)| (checkpoint, names.decided(number))).collect();
        Ok(since)
    }

    async fn delete(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                Err(Error::transient(format!("could not delete \"{path}\"")).because(error))
            }
        }
    }

    async fn read(&self, path: &Path) -> Result<Checkpoint> {
        let failed = |error: Error| error.context(format!("could not read checkpoint \"{path}\""));
        self.with_rejects(self.read_alone(path).await?).await.map_err(failed)
    }

    /// A checkpoint without any refused rows. They are recovery's: a history of many refusals is
    /// much larger without need.
    async fn read_slim(&self, path: &Path) -> Result<Checkpoint> {
        let mut checkpoint = self.read_alone(path).await?;
        checkpoint.sinks.values_mut().for_each(|sink| sink.rejects = Vec::new());
        Ok(checkpoint)
    }

    /// A checkpoint without the refused rows that stand beside it.
    async fn read_alone(&self, path: &Path) -> Result<Checkpoint> {
        let bytes = self.bytes(path).await?;
        let place = format!("{path}");
        let read = Checkpoint::from_bytes(&bytes).and_then(|checkpoint| checkpoint.of(&place));
        read.map_err(|error| error.context(format!("could not read checkpoint \"{path}\"")))
    }

    async fn bytes(&self, path: &Path) -> Result<Bytes> {
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.transient(|| format!("could not read \"{path}\"")),
            Err(object_store::Error::NotFound { .. }) => {
                Err(Error::external(format!("\"{path}\" is not in the checkpoint store")))
            }
            Err(error) if is_refused(&error) => {
                Err(Error::external(format!("could not read \"{path}\"")).because(error))
            }
            Err(error) => {
                Err(Error::transient(format!("could not read \"{path}\"")).because(error))
            }
        }
    }

    async fn if_there(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.head(path).await {
            Ok(_) => self.bytes(path).await.map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => {
                Err(Error::transient(format!("could not look for \"{path}\"")).because(error))
            }
        }
    }

    fn losses_path(&self, epoch: u64) -> Path {
        self.prefix.clone().join(format!("losses-{epoch:020}"))
    }

    fn path_of(&self, epoch: u64) -> Path {
        self.prefix.clone().join(format!("epoch-{epoch:020}"))
    }

    fn input_path(&self) -> Path {
        self.prefix.clone().join("input")
    }

    fn resource_path(&self, sha256: &str) -> Path {
        let pipeline = self.prefix.parts().next();
        let pipeline = pipeline.map_or_else(String::new, |part| part.as_ref().to_owned());
        Path::from_iter([pipeline.as_str(), RESOURCES, sha256])
    }

    async fn names(&self) -> Result<Names> {
        let mut names = Names::default();
        let mut listed = self.store.list(Some(&self.prefix));
        loop {
            let next = listed.try_next().await;
            let Some(meta) = next.transient(|| format!("could not list \"{}\"", self.prefix))?
            else {
                names.sort();
                return Ok(names);
            };
            names.add(meta.location, meta.last_modified.into());
        }
    }
}

/// Whether a file on this machine cannot be read however often it is tried: nobody may, or it is
/// none.
fn is_refused(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied};
            return matches!(error.kind(), IsADirectory | NotADirectory | PermissionDenied);
        }
        cause = error.source();
    }
    false
}

/// The pipelines and lineages that have checkpoints in a store.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn lineages(store: &Arc<dyn ObjectStore>) -> Result<Vec<(String, Lineage)>> {
    let mut found = Vec::new();
    let pipelines = store.list_with_delimiter(None).await;
    for pipeline in pipelines.transient(|| "could not list checkpoints".into())?.common_prefixes {
        let Some(pipeline) = pipeline.filename().filter(|name| *name != stores::STAGING) else {
            continue;
        };
        let lineages = lineages_of(store, pipeline).await?;
        found.extend(lineages.into_iter().map(|lineage| (pipeline.to_owned(), lineage)));
    }
    Ok(found)
}

/// The lineages of one pipeline that have checkpoints in a store.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn lineages_of(store: &Arc<dyn ObjectStore>, pipeline: &str) -> Result<Vec<Lineage>> {
    let listed = store.list_with_delimiter(Some(&Path::from(pipeline))).await;
    let listed = listed.transient(|| format!("could not list checkpoints of {pipeline:?}"))?;
    let names = listed.common_prefixes.iter().filter_map(Path::filename);
    let is_lineage = |name: &&str| ![RESOURCES, RUNS].contains(name) && !name.starts_with('_');
    Ok(names.filter(is_lineage).map(Lineage::new).collect())
}
