//! Who may write: a lease per lineage, held as long as its owner lives.
//!
//! On a local store it is a lock of the kernel, on a shared one an object that is renewed. The
//! lease keeps two owners apart politely; what keeps them apart for certain is the conditional
//! create of the checkpoint, and the fence of each sink.

mod holder;
mod local;
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{Error, ErrorKind, Result};
use object_store::ObjectStore;

use local::LocalLease;
use shared::SharedLease;

/// How long a lease in a shared store lasts without being renewed.
pub const TTL: Duration = Duration::from_secs(10);

/// The right to write a lineage. Given back by [`Lease::release`], when its process dies, or, in
/// a shared store, once it has not been renewed for a while.
#[derive(Debug)]
pub struct Lease(Kind);

#[derive(Debug)]
enum Kind {
    Local { _lock: LocalLease },
    Shared(SharedLease),
}

impl Lease {
    /// Takes the lease of a lineage whose checkpoints lie in a local folder.
    ///
    /// # Errors
    /// NotOwner: another process holds it (exit 4). External: the folder cannot be written.
    pub fn take_local(folder: &Path) -> Result<Self> {
        LocalLease::take(folder).map(|lock| Self(Kind::Local { _lock: lock }))
    }

    /// Takes the lease of a lineage whose checkpoints lie under a prefix of a shared store. A
    /// holder that is proved dead loses it at once; any other is watched until it shows that it
    /// lives, for `ttl` at most.
    ///
    /// # Errors
    /// NotOwner: another process holds it and lives. Retryable External: the store does not
    /// answer.
    pub async fn take_shared(
        store: Arc<dyn ObjectStore>,
        prefix: &object_store::path::Path,
        ttl: Duration,
    ) -> Result<Self> {
        SharedLease::take(store, prefix, ttl).await.map(|lease| Self(Kind::Shared(lease)))
    }

    /// Makes sure that the lease is held. Called immediately before every decision and before
    /// every commit: whoever slept through its lease finds out here.
    ///
    /// # Errors
    /// NotOwner: another process has taken it. Retryable External: nobody knows.
    pub async fn verify(&self) -> Result<()> {
        match &self.0 {
            Kind::Local { .. } => Ok(()),
            Kind::Shared(lease) => lease.verify().await,
        }
    }

    /// Asks the store itself whether the lease is held, at this moment; a local lock cannot prove
    /// that. Called when somebody else decided an epoch: an earlier owner may have done so with a
    /// put that took its time.
    ///
    /// # Errors
    /// As for [`Lease::verify`].
    pub async fn prove(&self) -> Result<bool> {
        match &self.0 {
            Kind::Local { .. } => Ok(false),
            Kind::Shared(lease) => lease.renew().await.map(|()| true),
        }
    }

    /// The number of this holder among all holders, one after the other; none where only the
    /// kernel knows the lease.
    pub async fn term(&self) -> Option<u64> {
        match &self.0 {
            Kind::Local { .. } => None,
            Kind::Shared(lease) => Some(lease.term().await),
        }
    }

    /// Makes this holder a later one, where names of a later one are found than it took itself for:
    /// the lease was lost and made anew.
    ///
    /// # Errors
    /// As for [`Lease::verify`].
    pub async fn raise(&self, term: u64) -> Result<()> {
        match &self.0 {
            Kind::Local { .. } => Ok(()),
            Kind::Shared(lease) => lease.raise(term).await,
        }
    }

    /// Gives the lease back, so that the next owner need not wait. A local one goes back when it
    /// is dropped.
    pub async fn release(&self) {
        if let Kind::Shared(lease) = &self.0 {
            lease.release().await;
        }
    }
}

/// Whether somebody holds the lease of a lineage whose checkpoints lie in a local folder; none
/// where the system does not say.
pub fn is_held_local(folder: &Path) -> Option<bool> {
    local::is_held(folder)
}

/// Whether somebody seems to hold the lease of a lineage in a shared store.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn is_held_shared(
    store: &Arc<dyn ObjectStore>,
    prefix: &object_store::path::Path,
    ttl: Duration,
) -> Result<bool> {
    shared::is_held(store, prefix, ttl).await
}

/// The error of whoever finds the lease with somebody else.
fn taken(holder: &str, place: &str) -> Error {
    Error::new(ErrorKind::NotOwner, format!("{holder} owns this pipeline (lease {place:?})"))
        .hint("stop it, or give this pipeline another `name` or place for its checkpoints")
}
