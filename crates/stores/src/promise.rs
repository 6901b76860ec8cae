//! Asks a store to prove the promise on which all decisions rest.

use contract::Result;
use contract::error::Context;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tracing::debug;

/// Whether of two creates of one name the second fails. The name must be nobody else's; nothing
/// stays under it.
///
/// # Errors
/// External: the store does not answer (retryable), or cannot create under a condition.
pub async fn creates_once(store: &dyn ObjectStore, name: &Path) -> Result<bool> {
    if !create(store, name).await? {
        // A create may be tried again after its answer was lost, and then meet itself.
        return Err(contract::Error::transient(format!("\"{name}\" is there")));
    }
    let second = create(store, name).await?;
    if let Err(error) = store.delete(name).await {
        debug!(%name, %error, "could not delete a probe");
    }
    Ok(!second)
}

/// Whether this call created the object.
async fn create(store: &dyn ObjectStore, name: &Path) -> Result<bool> {
    let failed = || format!("could not write \"{name}\"");
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(name, "a probe".into(), options).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
        put @ Err(Error::NotImplemented { .. }) => put.map(|_| true).external(failed),
        put => put.map(|_| true).transient(failed),
    }
}
