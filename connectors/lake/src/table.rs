//! Opens Delta tables on stores whose local puts survive a power loss.
//!
//! No table is created here, and none is changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::error::Context;
use contract::{Error, ErrorKind, Result};
use deltalake::kernel::EagerSnapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use parquet::errors::ParquetError;
use stores::{Manner, Settings};
use tracing::warn;
use url::Url;
use uuid::Uuid;

use crate::sparing::Sparing;

/// How the kernel of Delta Lake and the readers of files say that a store failed, or that the
/// system did: an error of the disk, no descriptor left, a time-out, a server of files that forgot
/// us. Their errors are text.
const STORE_FAILED: [&str; 7] = [
    "Error interacting with object store",
    "(os error 5)",
    "(os error 11)",
    "(os error 23)",
    "(os error 24)",
    "(os error 110)",
    "(os error 116)",
];

/// The wait before a disk that failed is read once more.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The folder of a table's log.
const LOG: &str = "_delta_log";
/// With which an entry of it begins.
const VERSION_DIGITS: usize = 20;

/// Where a table lies, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The store, which has a URL.
    pub store: Settings,
}

impl Location {
    /// A folder, or a URL of whose store the environment says all.
    pub fn new(url: impl Into<String>) -> Self {
        Self { store: Settings::at(url) }
    }

    /// A folder or a URL.
    pub fn url(&self) -> &str {
        self.store.url.as_deref().unwrap_or_default()
    }

    /// A table of the embedded lake.
    pub fn embedded(data: &Path, table: &str) -> Self {
        Self::new(data.join("lake").join(table).to_string_lossy())
    }

    /// The folder, if it is on local disk.
    ///
    /// # Errors
    /// Config: not a place that we know.
    pub fn folder(&self) -> Result<Option<PathBuf>> {
        stores::local_folder(self.url())
    }

    /// Whether both are one place, whatever the keys.
    pub fn is_at(&self, other: &Self) -> bool {
        match (self.folder(), other.folder()) {
            (Ok(Some(_)), Ok(Some(_))) => stores::is_one_location(self.url(), other.url()),
            (Ok(None), Ok(None)) => {
                self.store.endpoint == other.store.endpoint
                    && stores::is_one_location(self.url(), other.url())
            }
            _ => false,
        }
    }

    /// The place as people may see it.
    pub fn shown(&self) -> &str {
        self.store.shown()
    }
}

/// Opens a table at its newest version; none if there is no table at that place. A disk that fails
/// once is read once more; other stores do that by themselves.
///
/// # Errors
/// Config: not a place that we know. External: the store or the table cannot be read.
pub async fn open(location: &Location) -> Result<Option<DeltaTable>> {
    match open_at_once(location).await {
        Err(error) if error.retry() && location.folder()?.is_some() => {
            warn!(error = error.chain(), "reading the table once more");
            tokio::time::sleep(READ_AGAIN_AFTER).await;
            open_at_once(location).await
        }
        opened => opened,
    }
}

async fn open_at_once(location: &Location) -> Result<Option<DeltaTable>> {
    if !exists_locally(location)? {
        return Ok(None);
    }
    if let Some(folder) = location.folder()? {
        refuse_no_entries(&folder)?;
    }
    let mut table = DeltaTable::new(log_store(location)?);
    match table.load().await {
        Ok(()) => Ok(Some(table)),
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(unreadable(location.shown(), error)),
    }
}

/// The newest version of a table with its list of files; none if there is no table.
///
/// # Errors
/// External: the table cannot be read.
pub async fn snapshot(log_store: &LogStoreRef) -> Result<Option<EagerSnapshot>> {
    if let Ok(folder) = log_store.root_url().to_file_path() {
        refuse_no_entries(&folder)?;
    }
    match EagerSnapshot::try_new(log_store.as_ref(), None).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(DeltaTableError::NotATable(_)) => Ok(None),
        Err(error) => Err(unreadable(log_store.root_url().as_str(), error)),
    }
}

/// Refuses a local log with something else than a file in the place of an entry. Whoever lists it
/// passes that over, and takes what stood there for something that never was.
fn refuse_no_entries(table: &Path) -> Result<()> {
    let log = table.join(LOG);
    if !refuse_no_folder(&log, "the table's log")? {
        return Ok(());
    }
    let entries = log.read_dir().transient(|| format!("could not list the log {log:?}"))?;
    for entry in entries {
        let entry = entry.transient(|| format!("could not list the log {log:?}"))?;
        let name = entry.file_name();
        let is_entry = name.as_encoded_bytes().iter().take_while(|it| it.is_ascii_digit()).count();
        let kind =
            entry.file_type().transient(|| format!("could not look at {:?}", entry.path()))?;
        if is_entry == VERSION_DIGITS && kind.is_dir() {
            return Err(Error::external(format!(
                "{:?} is a folder, where an entry of the table's log should be",
                entry.path()
            ))
            .hint("move it away, and restore the entry that stood there"));
        }
    }
    Ok(())
}

/// Refuses what is no folder, and never becomes one, in the place of `what`. Returns whether a
/// folder is there.
fn refuse_no_folder(path: &Path, what: &str) -> Result<bool> {
    let found = match path.metadata() {
        Ok(found) if found.is_dir() => return Ok(true),
        Ok(_) => "a file",
        // A link is there, and leads nowhere or to itself.
        Err(_) if path.is_symlink() => "a link that leads to no folder",
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(false);
        }
        Err(error) => {
            let error = Error::transient(format!("could not look at {path:?}")).because(error);
            return Err(error);
        }
    };
    Err(Error::external(format!("{path:?} is {found}, where the folder of {what} should be"))
        .hint("move it away; restore the folder if it was there before"))
}

/// The log of a table and the store of its files; makes the folder of a local table.
///
/// # Errors
/// Config: not a place that we know. External: the folder cannot be made.
pub fn log_store(location: &Location) -> Result<LogStoreRef> {
    let place = stores::Location::parse(location.url())?;
    let (files, root, url): (Arc<dyn ObjectStore>, _, _) = match place {
        stores::Location::Folder(folder) => {
            refuse_no_folder(&folder, "the table")?;
            let files = stores::open(&location.store)?;
            (files, stores::open(&Settings::at("/"))?, stores::folder_url(&folder)?)
        }
        stores::Location::Bucket(bucket) => {
            let opened = stores::open_bucket(&location.store, bucket, &Manner::default())?;
            let files = PrefixStore::new(opened.objects.clone(), opened.prefix);
            let url = Url::parse(location.url())
                .map_err(|error| Error::config("not a URL").because(error).field("url"))?;
            (Arc::new(files), opened.objects, url)
        }
    };
    Ok(Sparing::over(default_logstore(files, root, &url, &StorageConfig::default())))
}

/// Whether a local table's folder is there, so that looking does not make it. Places elsewhere
/// answer for themselves.
///
/// # Errors
/// Config: not a place that we know. External: something else stands there.
pub fn exists_locally(location: &Location) -> Result<bool> {
    location.folder()?.map_or(Ok(true), |folder| refuse_no_folder(&folder, "the table"))
}

/// Sees whether a store that is not on local disk lets only one of two writers create an entry of
/// the log, without which epochs would be lost.
///
/// # Errors
/// External: it does not, or does not answer.
pub async fn prove_store(location: &Location, log_store: &LogStoreRef) -> Result<()> {
    if location.folder()?.is_some() {
        return Ok(());
    }
    // Readers of a table leave alone what begins with `_`.
    let name = ObjectPath::from(format!("_probe-{}", Uuid::new_v4()));
    let proved = stores::creates_once(log_store.object_store(None).as_ref(), &name).await;
    let shown = location.shown();
    let proved = proved.map_err(|error| {
        let hint = stores::credentials_hint(&error.chain())
            .unwrap_or("does the bucket exist, and do `endpoint`, `region` and the keys fit it?");
        error.context(format!("could not write to {shown:?}")).hint(hint)
    })?;
    if proved {
        return Ok(());
    }
    Err(Error::external(format!(
        "the store of {shown:?} does not keep conditions of writes: two processes could write \
         one entry of the table's log"
    ))
    .hint("use a store with conditional writes (If-None-Match), or a local folder"))
}

/// Whether an error is the store's, which may answer the next time, and not the table's.
fn may_pass(text: &str) -> bool {
    STORE_FAILED.iter().any(|said| text.contains(said))
}

/// The error of a file of a table that cannot be read.
pub fn unread_file(path: &ObjectPath, error: ParquetError) -> Error {
    let retry = may_pass(&error.to_string());
    let error =
        Error::external(format!("could not read file {path} of a lake table")).because(error);
    if retry { error.retryable() } else { error }
}

/// The error of a table that is there and cannot be read.
fn unreadable(location: &str, error: DeltaTableError) -> Error {
    let shown = location.split('?').next().unwrap_or_default().to_owned();
    let retry =
        matches!(error, DeltaTableError::ObjectStore { .. }) || may_pass(&error.to_string());
    let outer = Error::new(ErrorKind::External, format!("could not read lake table {shown:?}"));
    let outer = outer.because(error);
    if stores::names_no_bucket(&outer.chain()) {
        return Error::external(format!(
            "could not read lake table {shown:?}: the bucket is not there"
        ))
        .hint("make it with `logmill setup FILE --apply`, or correct `url`, `endpoint`, `region`");
    }
    if retry {
        let hint = stores::credentials_hint(&outer.chain());
        return match hint {
            Some(hint) => outer.retryable().hint(hint),
            None => outer.retryable(),
        };
    }
    outer.hint("restore the files in its folder `_delta_log`, or move the table out of the way")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_once_is_not_a_broken_table() {
        let error = |text: &str| unreadable("/lake/t", DeltaTableError::Generic(text.to_owned()));
        assert!(error("Arrow error: External: Input/output error (os error 5)").retry());
        assert!(error("Error interacting with object store: timed out").retry());
        assert!(!error("Invalid JSON in log record, line 1").retry());
    }
}
