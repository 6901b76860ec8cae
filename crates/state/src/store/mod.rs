//! Opens object stores by URL; on local disk, one whose puts survive a power loss.
//!
//! Credentials of S3, Azure and GCS come from the environment, as in their own tools, unless an
//! [`Access`] says otherwise.

mod access;
mod durable;
mod promise;
mod staging;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::error::Context;
use contract::{Error, Result};
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

pub use access::Access;
pub use durable::{DurableLocal, make_folders, sync_folder};
pub use promise::creates_once;
pub use staging::STAGING;

/// How the variables begin that say something about a store; `TOKEN` may be anybody's.
const PROVIDERS: [&str; 3] = ["aws_", "azure_", "google_"];

/// Opens the store that a path or URL names (`./dir`, `file:///dir`, `s3://bucket/prefix`,
/// `az://container/prefix`, `gs://bucket/prefix`), rooted at that prefix. A local folder is made.
///
/// # Errors
/// Config: not a URL that we know. External: the folder cannot be made.
pub fn open(location: &str) -> Result<Arc<dyn ObjectStore>> {
    open_with(location, &Access::default())
}

/// As [`open`], with more than the environment says. None of it is for a local folder.
///
/// # Errors
/// As for [`open`]; Config also: a setting that the store does not know.
pub fn open_with(location: &str, access: &Access) -> Result<Arc<dyn ObjectStore>> {
    if let Some(folder) = local_folder(location)? {
        return Ok(Arc::new(DurableLocal::open(&folder)?));
    }
    let url = Url::parse(location).map_err(|error| bad_url(location).because(error))?;
    let variables = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let variables =
        variables.filter(|(name, _)| PROVIDERS.iter().any(|provider| name.starts_with(provider)));
    let options = variables.chain(access.options(url.scheme())?);
    let (store, prefix) = object_store::parse_url_opts(&url, options)
        .map_err(|error| bad_url(location).because(error))?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

/// Checks what [`open_with`] can refuse without opening anything.
///
/// # Errors
/// Config: not a URL that we know, or a setting that the store does not know.
pub fn check(location: &str, access: &Access) -> Result<()> {
    if local_folder(location)?.is_some() {
        if *access != Access::default() {
            return Err(Error::config("a local folder has no endpoint, region, keys or options")
                .field("url"));
        }
        return Ok(());
    }
    let url = Url::parse(location).map_err(|error| bad_url(location).because(error))?;
    ObjectStoreScheme::parse(&url).map_err(|error| bad_url(location).because(error))?;
    access.options(url.scheme()).map(|_| ())
}

/// The folder that a location names, if it is on local disk.
///
/// # Errors
/// Config: a `file://` URL that is no path.
pub fn local_folder(location: &str) -> Result<Option<PathBuf>> {
    if !location.contains("://") {
        return Ok(Some(PathBuf::from(location)));
    }
    let Some(rest) = location.strip_prefix("file://") else { return Ok(None) };
    match Url::parse(location).ok().and_then(|url| url.to_file_path().ok()) {
        Some(path) => Ok(Some(path)),
        None => Err(bad_url(location).hint(format!("write an absolute path: file:///{rest}"))),
    }
}

/// A path as the URL of its folder, with a slash at the end.
///
/// # Errors
/// External: the folder does not exist or cannot be made absolute.
pub fn folder_url(folder: &Path) -> Result<Url> {
    let absolute = folder
        .canonicalize()
        .external(|| format!("could not find folder {:?}", folder.display()))?;
    Url::from_directory_path(&absolute)
        .map_err(|()| Error::bug(format!("no URL for folder {:?}", absolute.display())))
}

fn bad_url(location: &str) -> Error {
    let shown = location.split('?').next().unwrap_or_default();
    Error::config(format!("could not open store {shown:?}"))
        .hint("use a path, file:///…, s3://bucket/…, az://container/… or gs://bucket/…")
}
