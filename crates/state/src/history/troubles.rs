//! What a lineage cannot read now, and how its splits stand, kept beside its checkpoints for people
//! to see.
//!
//! Nothing depends on it: it is written when it changes, and may be missing or old.

use bytes::Bytes;
use contract::Result;
use contract::error::Context;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::History;

impl History {
    /// Keeps what cannot be read now, in place of what was kept before.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_troubles(&self, troubles: Bytes) -> Result<()> {
        let path = self.troubles_path();
        let put = self.store.put(&path, troubles.into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        Ok(())
    }

    /// What [`History::keep_troubles`] kept last; none if everything could be read.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn troubles(&self) -> Result<Option<Bytes>> {
        self.if_there(&self.troubles_path()).await
    }

    /// Everything can be read.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn forget_troubles(&self) -> Result<()> {
        self.delete(&self.troubles_path()).await
    }

    /// Keeps how the splits of a running lineage stand, in place of what was kept before.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_standing(&self, standing: Bytes) -> Result<()> {
        let path = self.standing_path();
        let put = self.store.put(&path, standing.into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        Ok(())
    }

    /// What [`History::keep_standing`] kept last; none if nothing was.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn standing(&self) -> Result<Option<Bytes>> {
        self.if_there(&self.standing_path()).await
    }

    /// Whether several machines write in the store.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn standing_path(&self) -> Path {
        self.prefix.clone().join("standing")
    }

    fn troubles_path(&self) -> Path {
        self.prefix.clone().join("troubles")
    }
}
