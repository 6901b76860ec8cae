//! Opens object stores by URL; on local disk, one whose puts survive a power loss.
//!
//! Everything that lies in a store is reached through here, so that all sections of a pipeline
//! file take the same URLs and the same settings. Credentials of S3, Azure and GCS come from the
//! environment, as in their own tools, unless [`Settings`] say otherwise.

mod bucket;
mod credentials;
mod durable;
mod failpoints;
mod location;
mod needs;
mod open;
mod place;
mod promise;
mod settings;
mod staging;
mod uploads;

use std::path::Path;

use contract::error::Context;
use contract::{Error, Result};
use url::Url;

pub use bucket::{Bucket, Wish, project};
pub use credentials::{credentials_hint, lacks_key};
pub use durable::{DurableLocal, make_folders, sync_folder};
pub use failpoints::FAILPOINTS;
pub use location::{BucketLocation, Location, local_folder};
pub use needs::BucketNeeds;
pub use open::{
    Manner, Opened, REGION, check, has_bucket, has_no_bucket, names_no_bucket, open, open_bucket,
};
pub use place::{is_one_location, is_one_place};
pub use promise::creates_once;
pub use settings::{Addressing, Provider, Settings};
pub use staging::STAGING;
pub use uploads::LocalUploads;

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
