//! Where objects go: the store behind a URL, its uploads, and the prefix in it.
//!
//! A local folder is a store like the others: its puts and uploads survive a power loss.

mod bucket;
pub mod left;
mod local;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use contract::error::Context;
use contract::{Error, Result};
use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use state::store::{Access, DurableLocal};
use url::Url;

use crate::config::{Addressing, Config};
use bucket::{Bucket, GoogleWish};
use local::LocalUploads;

/// Where Google's own storage is.
const GOOGLE: &str = "https://storage.googleapis.com";
/// Parts of an upload, except the last one, have this size: the smallest that S3 allows.
pub const PART_BYTES: usize = 5 << 20;

/// A request is tried again so often before the runtime backs off.
const RETRIES_MAX: usize = 5;
/// A request is not tried again after this.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// The region of an S3 bucket where nobody names one.
const REGION: &str = "us-east-1";

/// Options are checked before a builder sees them.
const KNOWN: &str = "an option that is known is none";

/// What stores call a bucket that is not there.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not"];

/// Whether the store says that there is no such bucket or folder, and so no object in it.
pub fn has_no_bucket(error: &object_store::Error) -> bool {
    let text = error.to_string();
    matches!(error, object_store::Error::NotFound { .. })
        || NO_BUCKET.iter().any(|code| text.contains(code))
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A bucket of S3 and a prefix in it.
    S3(String, Path),
    /// A container of Azure and a prefix in it.
    Azure(String, Path),
    /// A bucket of GCS and a prefix in it.
    Google(String, Path),
    /// A local folder.
    Local(std::path::PathBuf),
}

/// An opened store.
pub struct Place {
    /// Reads, lists and puts.
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads that are seen once they are complete, by whichever process.
    pub uploads: Arc<dyn MultipartStore>,
    prefix: Path,
    bucket: Option<Bucket>,
    /// Who lists uploads, where the store does not remove old ones by itself.
    uploaded: Option<Bucket>,
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
        let first = self.objects.list(prefix).next().await;
        match first {
            Some(Err(error)) if has_no_bucket(&error) => Ok(false),
            Some(Err(object_store::Error::PermissionDenied { .. })) | Some(Ok(_)) | None => {
                Ok(true)
            }
            Some(Err(error)) => {
                Err(Error::transient("could not look for the bucket").because(error))
            }
        }
    }

    /// Makes the bucket or container if there is none.
    ///
    /// # Errors
    /// External: the store refuses. Config: it cannot be done here.
    pub async fn ensure_bucket(&self) -> Result<()> {
        match &self.bucket {
            Some(bucket) => bucket.ensure().await,
            None => Ok(()),
        }
    }
}

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// Config: it names no store.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(folder) = state::store::local_folder(text)? {
            return Ok(Self::Local(folder));
        }
        let bad = || {
            let shown = text.split('?').next().unwrap_or_default();
            Error::config(format!("{shown:?} names no object store"))
                .field("url")
                .hint("use s3://bucket/…, az://container/…, gs://bucket/…, file:///… or a path")
        };
        let url = Url::parse(text).map_err(|error| bad().because(error))?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(bad)?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| bad().because(error))?;
        let bucket = bucket.to_owned();
        match url.scheme() {
            "s3" => Ok(Self::S3(bucket, prefix)),
            "az" => Ok(Self::Azure(bucket, prefix)),
            "gs" => Ok(Self::Google(bucket, prefix)),
            _ => Err(bad()),
        }
    }
}

/// Checks what can be checked without a connection.
///
/// # Errors
/// Config: the URL, an option, or a setting that the store does not have.
pub fn check(config: &Config) -> Result<()> {
    let location = Location::parse(&config.url)?;
    let is_s3 = matches!(location, Location::S3(..));
    if !is_s3 && config.addressing != Addressing::Path {
        return Err(Error::config("only S3 puts buckets into addresses").field("addressing"));
    }
    let is_made_in_google = matches!(location, Location::Google(..)) && config.create_bucket;
    if config.project.is_some() && !is_made_in_google {
        return Err(Error::config("only a GCS bucket that is made needs a project")
            .field("project")
            .hint("leave it out, or set `create_bucket: true`"));
    }
    match location {
        Location::S3(bucket, _) => s3(config, &bucket).map(|_| ()),
        Location::Azure(container, _) => azure(config, &container).map(|_| ()),
        Location::Google(bucket, _) => {
            if config.create_bucket {
                project(config)?;
            }
            google(config, &bucket).map(|_| ())
        }
        Location::Local(_) if config.access() != Access::default() => {
            Err(Error::config("a local folder has no endpoint, region, keys or options")
                .field("url"))
        }
        Location::Local(_) => Ok(()),
    }
}

/// Opens the store.
///
/// # Errors
/// Config: the settings do not suffice. External: the folder cannot be made.
pub fn open(config: &Config) -> Result<Place> {
    let make = config.create_bucket;
    match Location::parse(&config.url)? {
        Location::S3(name, prefix) => {
            let builder = s3(config, &name)?;
            let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
            let store = Arc::new(builder.build().map_err(unusable)?);
            let region = region.unwrap_or_else(|| REGION.to_owned());
            let credentials = store.credentials().clone();
            let address = s3_address(config, &name, &region);
            let bucket = || Bucket::s3(&address, region.clone(), credentials.clone());
            let (bucket, uploaded) = (make.then(bucket), Some(bucket()));
            Ok(Place { objects: store.clone(), uploads: store, prefix, bucket, uploaded })
        }
        Location::Azure(name, prefix) => {
            let builder = azure(config, &name)?;
            let account = builder.get_config_value(&AzureConfigKey::AccountName);
            let store = Arc::new(builder.build().map_err(unusable)?);
            let account = account.unwrap_or_default();
            let cloud = || format!("https://{account}.blob.core.windows.net");
            let endpoint = config.endpoint.clone().unwrap_or_else(cloud);
            let address = format!("{}/{name}", endpoint.trim_end_matches('/'));
            let credentials = store.credentials().clone();
            let bucket = make.then(|| Bucket::azure(&address, account, credentials));
            Ok(Place { objects: store.clone(), uploads: store, prefix, bucket, uploaded: None })
        }
        Location::Google(name, prefix) => {
            let store = Arc::new(google(config, &name)?.build().map_err(unusable)?);
            let cloud = || GOOGLE.to_owned();
            let endpoint = config.endpoint.clone().unwrap_or_else(cloud);
            let bucket = match make {
                true => {
                    let wish = GoogleWish {
                        project: project(config)?,
                        name,
                        location: config.region.clone(),
                        credentials: store.credentials().clone(),
                    };
                    Some(Bucket::google(endpoint.trim_end_matches('/'), wish))
                }
                false => None,
            };
            Ok(Place { objects: store.clone(), uploads: store, prefix, bucket, uploaded: None })
        }
        Location::Local(folder) => open_local(&folder, make),
    }
}

fn open_local(folder: &FilePath, make: bool) -> Result<Place> {
    if !make && !folder.is_dir() {
        return Err(Error::external(format!("folder \"{}\" does not exist", folder.display()))
            .hint("make it, or set `create_bucket: true`"));
    }
    let objects = Arc::new(DurableLocal::open(folder)?);
    let uploads = Arc::new(LocalUploads::open(objects.root())?);
    Ok(Place { objects, uploads, prefix: Path::default(), bucket: None, uploaded: None })
}

fn s3(config: &Config, bucket: &str) -> Result<AmazonS3Builder> {
    let is_virtual = config.addressing == Addressing::Virtual;
    let mut access = config.access();
    if let Some(endpoint) = access.endpoint.as_mut().filter(|_| is_virtual) {
        *endpoint = with_bucket(endpoint, bucket)?;
    }
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(is_virtual)
        .with_retry(retry());
    options(config, &access, "s3")?.into_iter().try_fold(builder, |builder, (name, value)| {
        Ok(builder.with_config(name.parse().bug(KNOWN)?, value))
    })
}

fn azure(config: &Config, container: &str) -> Result<MicrosoftAzureBuilder> {
    let builder =
        MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry());
    let options = options(config, &config.access(), "az")?;
    options.into_iter().try_fold(builder, |builder, (name, value)| {
        Ok(builder.with_config(name.parse().bug(KNOWN)?, value))
    })
}

fn google(config: &Config, bucket: &str) -> Result<GoogleCloudStorageBuilder> {
    let builder =
        GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry());
    let mut access = config.access();
    if config.create_bucket {
        // It says where a bucket is made, and is of no use afterwards.
        access.region = None;
    }
    let options = options(config, &access, "gs")?;
    options.into_iter().try_fold(builder, |builder, (name, value)| {
        Ok(builder.with_config(name.parse().bug(KNOWN)?, value))
    })
}

/// The project in which a bucket of GCS is made.
fn project(config: &Config) -> Result<String> {
    let of_key = || {
        let key: serde_json::Value = serde_json::from_str(config.secret_key.as_deref()?).ok()?;
        key.get("project_id")?.as_str().map(str::to_owned)
    };
    let project = config.project.clone().or_else(of_key);
    project.or_else(|| std::env::var("GOOGLE_CLOUD_PROJECT").ok()).ok_or_else(|| {
        Error::config("a bucket of GCS is made in a project, and none is named")
            .field("create_bucket")
            .hint("set `project: …`, or the environment variable GOOGLE_CLOUD_PROJECT")
    })
}

/// What every store's client is told, and then the settings' own options.
fn options(config: &Config, access: &Access, scheme: &str) -> Result<Vec<(String, String)>> {
    // An upload's type is fixed when it begins, where object_store takes no other word for it.
    let content_type = ("default_content_type".to_owned(), config.content_type().to_owned());
    let mut options = vec![content_type];
    options.extend(access.options(scheme)?);
    Ok(options)
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig::default();
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// The address of a bucket of S3.
fn s3_address(config: &Config, bucket: &str, region: &str) -> String {
    let cloud = || format!("https://s3.{region}.amazonaws.com");
    let endpoint = config.endpoint.clone().unwrap_or_else(cloud);
    match config.addressing {
        Addressing::Path => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        Addressing::Virtual => with_bucket(&endpoint, bucket).unwrap_or(endpoint),
    }
}

/// Puts a bucket before the host of an endpoint.
fn with_bucket(endpoint: &str, bucket: &str) -> Result<String> {
    match endpoint.split_once("://") {
        Some((scheme, host)) => Ok(format!("{scheme}://{bucket}.{host}")),
        None => Err(Error::config(format!("{endpoint:?} is no address"))
            .field("endpoint")
            .hint("write https://host or http://host:port")),
    }
}

fn unusable(error: object_store::Error) -> Error {
    Error::config("the settings do not open the object store").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_store_a_bucket_and_a_prefix() {
        let parse = |text| Location::parse(text).expect(text);
        assert_eq!(parse("s3://logs/a/b c"), Location::S3("logs".into(), Path::from("a/b c")));
        assert_eq!(parse("az://logs"), Location::Azure("logs".into(), Path::default()));
        assert_eq!(parse("gs://logs/x/"), Location::Google("logs".into(), Path::from("x")));
        assert_eq!(parse("file:///var/log"), Location::Local("/var/log".into()));
        assert_eq!(parse("out"), Location::Local("out".into()));
        for wrong in ["ftp://a/b", "s3:///key", "s3://"] {
            Location::parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_bucket_stands_in_the_host_or_in_the_path() {
        let config = |addressing: &str| -> Config {
            serde_json::from_value(serde_json::json!({
                "url": "s3://logs", "endpoint": "http://minio:9000", "addressing": addressing,
            }))
            .expect("settings")
        };
        let address = |addressing| s3_address(&config(addressing), "logs", REGION);
        assert_eq!(address("path"), "http://minio:9000/logs");
        assert_eq!(address("virtual"), "http://logs.minio:9000");
    }

    #[test]
    fn settings_that_a_store_does_not_have_are_refused() {
        let check = |settings: serde_json::Value| {
            check(&serde_json::from_value(settings).expect("settings")).map_err(|it| it.chain())
        };
        let option = serde_json::json!({ "url": "s3://logs", "options": { "tmeout": "1s" } });
        let said = check(option).expect_err("no such option");
        assert!(said.contains("no option \"tmeout\""), "{said}");
        let made = |project: &str| {
            serde_json::json!({ "url": "gs://logs", "region": "EU",
            "create_bucket": true, "secret_key": format!("{{\"project_id\": {project}}}") })
        };
        check(made("\"shop\"")).expect("the key names the project");
        let said = check(made("null")).expect_err("no project");
        assert!(said.contains("none is named"), "{said}");
        let project = serde_json::json!({ "url": "gs://logs", "project": "shop" });
        check(project).expect_err("nothing is made");
        check(serde_json::json!({ "url": "gs://logs", "region": "EU" })).expect_err("nor here");
        check(serde_json::json!({ "url": "out", "endpoint": "http://x" })).expect_err("local");
        check(serde_json::json!({ "url": "s3://logs", "options": { "timeout": "5s" } }))
            .expect("an option of S3");
    }
}
