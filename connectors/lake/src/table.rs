//! Opens Delta tables on the stores of `state`, whose puts survive a power loss.
//!
//! No table is created here, and none is changed.

use std::sync::Arc;

use contract::{Error, ErrorKind, Result};
use deltalake::kernel::EagerSnapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use url::Url;

/// Opens a table at its newest version; none if there is no table at that place.
///
/// # Errors
/// Config: not a place that we know. External: the store or the table cannot be read.
pub async fn open(location: &str) -> Result<Option<DeltaTable>> {
    if !exists_locally(location)? {
        return Ok(None);
    }
    let mut table = DeltaTable::new(log_store(location)?);
    match table.load().await {
        Ok(()) => Ok(Some(table)),
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(unreadable(location, error)),
    }
}

/// The newest version of a table with its list of files; none if there is no table.
///
/// # Errors
/// External: the table cannot be read.
pub async fn snapshot(log_store: &LogStoreRef) -> Result<Option<EagerSnapshot>> {
    match EagerSnapshot::try_new(log_store.as_ref(), None).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(unreadable(log_store.root_url().as_str(), error)),
    }
}

/// The log of a table and the store of its files; makes the folder of a local table.
///
/// # Errors
/// Config: not a place that we know. External: the folder cannot be made.
pub fn log_store(location: &str) -> Result<LogStoreRef> {
    let files = state::store::open(location)?;
    let (url, root) = match state::store::local_folder(location)? {
        Some(folder) => (state::store::folder_url(&folder)?, "/".to_owned()),
        None => {
            let url = Url::parse(location)
                .map_err(|error| Error::config("not a URL").because(error).field("url"))?;
            let root = format!("{}://{}/", url.scheme(), url.host_str().unwrap_or_default());
            (url, root)
        }
    };
    let root: Arc<dyn ObjectStore> = state::store::open(&root)?;
    Ok(default_logstore(files, root, &url, &StorageConfig::default()))
}

/// Whether a local table's folder is there, so that looking does not make it. Places elsewhere
/// answer for themselves.
///
/// # Errors
/// Config: not a place that we know.
pub fn exists_locally(location: &str) -> Result<bool> {
    Ok(state::store::local_folder(location)?.is_none_or(|folder| folder.is_dir()))
}

/// The error of a table that is there and cannot be read.
fn unreadable(location: &str, error: DeltaTableError) -> Error {
    let shown = location.split('?').next().unwrap_or_default().to_owned();
    let retry = matches!(error, DeltaTableError::ObjectStore { .. });
    let outer = Error::new(ErrorKind::External, format!("could not read lake table {shown:?}"));
    let outer = outer.because(error);
    if retry {
        return outer.retryable();
    }
    outer.hint("restore the files in its folder `_delta_log`, or move the table out of the way")
}
