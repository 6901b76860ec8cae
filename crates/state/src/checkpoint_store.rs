//! Where the checkpoints of pipelines lie, and who may write them there.
//!
//! One process reaches a local folder; a shared store is reached by many, so it is asked to prove
//! that it keeps the promise on which everything rests: of two creates of one name, one fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Lineage, Result};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult};
use stores::{DurableLocal, Settings};
use tokio::sync::OnceCell;
use tracing::debug;

use crate::History;
use crate::history;
use crate::lease::{self, Lease};
use crate::runs::Runs;

/// A store of checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    store: Arc<dyn ObjectStore>,
    reach: Reach,
    shown: Arc<str>,
}

/// Who can reach a store.
#[derive(Clone, Debug)]
enum Reach {
    /// Whoever sees this folder.
    Local(PathBuf),
    /// Anybody. Whether it keeps its promise is found out once.
    Shared { lease_ttl: Duration, probed: Arc<OnceCell<()>> },
}

impl CheckpointStore {
    /// Opens the store that settings name. A local folder is made.
    ///
    /// # Errors
    /// As for [`stores::open`].
    pub fn open(settings: &Settings) -> Result<Self> {
        stores::check(settings)?;
        match stores::local_folder(settings.url.as_deref().unwrap_or_default())? {
            Some(folder) => Self::local(&folder),
            None => Ok(Self::shared(stores::open(settings)?, lease::TTL, settings.shown())),
        }
    }

    /// Opens a local folder, which is made.
    ///
    /// # Errors
    /// External: the folder cannot be made.
    pub fn local(folder: &Path) -> Result<Self> {
        let store = Arc::new(DurableLocal::open(folder)?);
        let shown = folder.to_string_lossy().as_ref().into();
        Ok(Self { store, reach: Reach::Local(folder.to_owned()), shown })
    }

    /// A store that others reach too. A lease in it lasts for `lease_ttl` without being renewed;
    /// `shown` is how people know the store.
    pub fn shared(store: Arc<dyn ObjectStore>, lease_ttl: Duration, shown: &str) -> Self {
        let reach = Reach::Shared { lease_ttl, probed: Arc::default() };
        Self { store, reach, shown: shown.into() }
    }

    /// The objects.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The folder, if only this machine has it.
    pub fn folder(&self) -> Option<&Path> {
        match &self.reach {
            Reach::Local(folder) => Some(folder),
            Reach::Shared { .. } => None,
        }
    }

    /// How people know the store.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The history of a lineage.
    pub fn history(&self, pipeline: &str, lineage: &Lineage) -> History {
        let history = History::new(self.store.clone(), pipeline, lineage);
        match &self.reach {
            Reach::Local(_) => history,
            Reach::Shared { .. } => history.shared(),
        }
    }

    /// The scheduled runs of a pipeline.
    pub fn runs(&self, pipeline: &str) -> Runs {
        Runs::new(self.store.clone(), pipeline)
    }

    /// The file in which a resource is kept, if that is on this machine.
    pub fn resource_file(&self, pipeline: &str, sha256: &str) -> Option<PathBuf> {
        self.folder().map(|folder| folder.join(pipeline).join(history::RESOURCES).join(sha256))
    }

    /// The lineages of a pipeline that have checkpoints.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn lineages(&self, pipeline: &str) -> Result<Vec<Lineage>> {
        let found = history::lineages_of(&self.store, pipeline).await;
        found.map_err(|error| match stores::names_no_bucket(&error.chain()) {
            false => error,
            true => Error::transient(format!(
                "no bucket is there for checkpoints in {:?}",
                self.shown
            ))
            .hint("make it with `logmill setup FILE --apply`, or correct the section `checkpoint`"),
        })
    }

    /// Takes the lease of a lineage.
    ///
    /// # Errors
    /// NotOwner: another process holds it. External: the store does not answer (retryable), or
    /// lets two processes create one object.
    pub async fn lease(&self, pipeline: &str, lineage: &Lineage) -> Result<Lease> {
        let (lease_ttl, probed) = match &self.reach {
            Reach::Local(folder) => {
                return Lease::take_local(&folder.join(pipeline).join(lineage.as_str()));
            }
            Reach::Shared { lease_ttl, probed } => (*lease_ttl, probed),
        };
        let prefix = StorePath::from_iter([pipeline, lineage.as_str()]);
        let lease = Lease::take_shared(self.store.clone(), &prefix, lease_ttl).await?;
        if let Err(error) = probed.get_or_try_init(|| self.probe(pipeline)).await {
            lease.release().await;
            return Err(error);
        }
        Ok(lease)
    }

    /// Whether somebody runs a lineage now; none where nobody can tell. Takes nothing, so that
    /// nobody who starts is in the way.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn is_held(&self, pipeline: &str, lineage: &Lineage) -> Result<Option<bool>> {
        match &self.reach {
            Reach::Local(folder) => {
                Ok(lease::is_held_local(&folder.join(pipeline).join(lineage.as_str())))
            }
            Reach::Shared { lease_ttl, .. } => {
                let prefix = StorePath::from_iter([pipeline, lineage.as_str()]);
                lease::is_held_shared(&self.store, &prefix, *lease_ttl).await.map(Some)
            }
        }
    }

    /// Sees whether the store refuses a second create of one name, and an update of a state that
    /// is gone.
    async fn probe(&self, pipeline: &str) -> Result<()> {
        let name = format!("probe-{:016x}", rand::random::<u64>());
        let path = StorePath::from_iter([pipeline, &name]);
        let first = self.put(&path, "first", PutMode::Create).await?;
        let first = first.ok_or_else(|| Error::transient(format!("\"{path}\" is there")))?;
        let created_twice = self.put(&path, "second", PutMode::Create).await?.is_some();
        let updated = self.put(&path, "third", PutMode::Update(first.clone().into())).await?;
        let stale = self.put(&path, "fourth", PutMode::Update(first.into())).await?;
        if let Err(error) = self.store.delete(&path).await {
            debug!(%path, %error, "could not delete a probe");
        }
        if !created_twice && updated.is_some() && stale.is_none() {
            return Ok(());
        }
        Err(Error::external(format!(
            "the checkpoint store {:?} does not keep conditions of writes: two processes could \
             decide one epoch",
            self.shown
        ))
        .hint("use a store with conditional writes (If-None-Match, If-Match), or a local folder"))
    }

    /// What a conditional put answered; none where its condition did not hold.
    async fn put(
        &self,
        path: &StorePath,
        text: &'static str,
        mode: PutMode,
    ) -> Result<Option<PutResult>> {
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.store.put_opts(path, text.into(), options).await {
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(None),
            put @ Err(object_store::Error::NotImplemented { .. }) => {
                put.map(Some).external(|| format!("could not write \"{path}\""))
            }
            put => put.map(Some).transient(|| format!("could not write \"{path}\"")),
        }
    }
}
