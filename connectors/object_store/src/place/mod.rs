//! Where objects go: the store behind a URL, its uploads, and the prefix in it.
//!
//! A local folder is a store like the others: its puts and uploads survive a power loss.

pub mod left;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Result};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use stores::{Bucket, DurableLocal, LocalUploads, Location, Manner, Provider, Settings, Wish};

use crate::config::Config;

/// Parts of an upload, except the last one, have this size: the smallest that S3 allows.
pub const PART_BYTES: usize = 5 << 20;

/// A request is tried again so often before the runtime backs off.
const RETRIES_MAX: usize = 5;
/// A request is not tried again after this.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// An opened store.
pub struct Place {
    /// Reads, lists and puts.
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads that are seen once they are complete, by whichever process.
    pub uploads: Arc<dyn MultipartStore>,
    prefix: Path,
    bucket: Option<Bucket>,
    makes_bucket: bool,
}

impl Place {
    /// The full name of an object.
    ///
    /// # Errors
    /// Bug: the key is no path.
    pub fn path(&self, key: &str) -> Result<Path> {
        let prefix = self.prefix.as_ref();
        let text = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        Path::parse(&text).bug("the key of an object is no path")
    }

    /// The name of an object below the prefix.
    pub fn key(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(self.prefix.as_ref())?;
        Some(rest.strip_prefix('/').unwrap_or(rest).to_owned())
    }

    /// Whether the bucket is there, as far as the store tells: who may not list it is not told.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn has_bucket(&self) -> Result<bool> {
        let prefix = Some(&self.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        stores::has_bucket(self.objects.as_ref(), prefix).await
    }

    /// Makes the bucket or container if there is none.
    ///
    /// # Errors
    /// External: the store refuses. Config: it cannot be done here.
    pub async fn ensure_bucket(&self) -> Result<()> {
        match &self.bucket {
            Some(bucket) if self.makes_bucket => bucket.ensure().await,
            _ => Ok(()),
        }
    }

    /// The bucket; none where it is a folder.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// The bucket's name and when it was made, which tells it from another one of that name; none
    /// where the store does not tell.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn identity(&self) -> Result<Option<(String, String)>> {
        let Some(bucket) = &self.bucket else { return Ok(None) };
        Ok(bucket.made().await?.map(|made| (bucket.name().to_owned(), made)))
    }
}

/// Checks what can be checked without a connection.
///
/// # Errors
/// Config: the URL, an option, or a setting that the store does not have.
pub fn check(config: &Config) -> Result<()> {
    let location = Location::parse(config.url())?;
    let google = matches!(&location, Location::Bucket(it) if it.provider == Provider::Google);
    let is_made_in_google = google && config.create_bucket;
    if config.project.is_some() && !is_made_in_google {
        return Err(Error::config("only a GCS bucket that is made needs a project")
            .field("project")
            .hint("leave it out, or set `create_bucket: true`"));
    }
    if is_made_in_google {
        project(config)?;
    }
    stores::check(&reached(config, &location))
}

/// The store's settings, without what is only said to make a bucket.
fn reached(config: &Config, location: &Location) -> Settings {
    let mut settings = config.store.clone();
    let google = matches!(location, Location::Bucket(it) if it.provider == Provider::Google);
    if google && config.create_bucket {
        settings.region = None;
    }
    settings
}

/// Opens the store.
///
/// # Errors
/// Config: the settings do not suffice. External: the folder cannot be made.
pub fn open(config: &Config) -> Result<Place> {
    let location = Location::parse(config.url())?;
    let settings = reached(config, &location);
    let place = match location {
        Location::Folder(folder) => return open_local(&folder, config.create_bucket),
        Location::Bucket(place) => place,
    };
    let manner = Manner { content_type: Some(config.content_type()), retry: retry() };
    let opened = stores::open_bucket(&settings, place, &manner)?;
    // To find out a project is only worth it for a bucket that is made.
    let project = match opened.is_google() && config.create_bucket {
        true => project(config)?,
        false => String::new(),
    };
    let bucket = Some(opened.bucket(Wish { project, location: config.store.region.clone() }));
    let stores::Opened { objects, uploads, prefix, .. } = opened;
    Ok(Place { objects, uploads, prefix, bucket, makes_bucket: config.create_bucket })
}

fn open_local(folder: &FilePath, make: bool) -> Result<Place> {
    if !make && !folder.is_dir() {
        return Err(Error::external(format!("folder \"{}\" does not exist", folder.display()))
            .hint("make it, or set `create_bucket: true`"));
    }
    let objects = Arc::new(DurableLocal::open(folder)?);
    let uploads = Arc::new(LocalUploads::open(objects.root(), PART_BYTES)?);
    Ok(Place { objects, uploads, prefix: Path::default(), bucket: None, makes_bucket: make })
}

/// The project in which a bucket of GCS is made.
fn project(config: &Config) -> Result<String> {
    let project = stores::project(config.project.as_deref(), &config.store);
    project.map_err(|error| {
        error
            .field("create_bucket")
            .hint("set `project: …`, or the environment variable GOOGLE_CLOUD_PROJECT")
    })
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig::default();
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_a_store_does_not_have_are_refused() {
        let said = |settings: &str| {
            let config = Config::read(&testkit::section(settings)).expect("settings");
            check(&config).err().map(|error| error.chain()).unwrap_or_default()
        };
        let text = said("{ url: s3://logs, options: { tmeout: 1s } }");
        assert!(text.contains("no option \"tmeout\""), "{text}");
        let made = |project: &str| {
            let parts = ["client_email", "private_key", "private_key_id"];
            let parts = parts.map(|part| format!("\"{part}\": \"\"")).join(", ");
            let key = format!("'{{\"project_id\": {project}, \"disable_oauth\": true, {parts}}}'");
            said(&format!(
                "{{ url: gs://logs, region: EU, create_bucket: true, secret_key: {key} }}"
            ))
        };
        assert_eq!(made("\"shop\""), "", "the key names the project");
        assert!(made("null").contains("none is named"));
        assert!(said("{ url: gs://logs, project: shop }").contains("that is made needs a project"));
        assert!(said("{ url: gs://logs, region: EU }").contains("has no region"));
        assert!(said("{ url: out, endpoint: http://x }").contains("a local folder"));
        assert_eq!(said("{ url: s3://logs, options: { timeout: 5s } }"), "", "an option of S3");
    }
}
