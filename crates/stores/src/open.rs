//! Opens what settings name.

use std::sync::Arc;

use contract::{Error, Result, pem};
use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider};
use object_store::azure::{
    AzureAccessKey, AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder,
};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};

use crate::bucket::{Bucket, Wish};
use crate::credentials::{are_wrong, credentials_hint};
use crate::location::{BucketLocation, Location};
use crate::settings::{Addressing, Provider, Settings};
use crate::{DurableLocal, local_folder};

/// Where Google's own storage is.
const GOOGLE: &str = "https://storage.googleapis.com";
/// The region of an S3 bucket where nobody names one.
pub const REGION: &str = "us-east-1";

/// How a store is used, beyond what its settings say.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// What objects are that are uploaded in parts.
    pub content_type: Option<&'static str>,
    /// How often and how long a request is tried again before its error is the caller's.
    pub retry: RetryConfig,
}

/// A bucket or container that was opened.
pub struct Opened {
    /// Reads, lists and puts, in the whole bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// Uploads that are seen once they are complete, by whichever process.
    pub uploads: Arc<dyn MultipartStore>,
    /// Where in the bucket the URL points.
    pub prefix: Path,
    cloud: Cloud,
    options: ClientOptions,
}

impl Opened {
    /// Whether it is of GCS.
    pub fn is_google(&self) -> bool {
        matches!(self.cloud, Cloud::Google { .. })
    }

    /// What makes the bucket, which `object_store` does not, and tells of it what that does not.
    pub fn bucket(&self, wish: Wish) -> Bucket {
        Bucket::new(self.cloud.clone(), self.options.clone(), wish)
    }
}

/// Who answers for a bucket, and the credentials that it takes.
#[derive(Clone)]
pub(crate) enum Cloud {
    /// S3, or what speaks like it.
    S3 {
        /// The URL of the bucket.
        address: String,
        /// The URL of the service that has it.
        service: String,
        /// What that calls it.
        bucket: String,
        /// Its region.
        region: String,
        /// Who asks.
        credentials: AwsCredentialProvider,
    },
    /// Azure Blob Storage.
    Azure {
        /// The URL of the container.
        address: String,
        /// Its account.
        account: String,
        /// Who asks.
        credentials: AzureCredentialProvider,
    },
    /// Google Cloud Storage.
    Google {
        /// The URL of the JSON API.
        endpoint: String,
        /// The bucket's name.
        bucket: String,
        /// Who asks.
        credentials: GcpCredentialProvider,
    },
}

/// Opens what settings name, rooted at their prefix. A local folder is made.
///
/// # Errors
/// Config: not a URL that we know, or a setting that the store does not know. External: the folder
/// cannot be made.
pub fn open(settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    let url = named(settings)?;
    match Location::parse(url)? {
        Location::Folder(folder) => Ok(Arc::new(DurableLocal::open(&folder)?)),
        Location::Bucket(place) => {
            let opened = open_bucket(settings, place, &Manner::default())?;
            Ok(Arc::new(PrefixStore::new(opened.objects, opened.prefix)))
        }
    }
}

/// Opens a bucket or container.
///
/// # Errors
/// Config: a setting that the store does not know, or settings that do not suffice.
pub fn open_bucket(settings: &Settings, place: BucketLocation, manner: &Manner) -> Result<Opened> {
    match place.provider {
        Provider::S3 => open_s3(settings, place, manner),
        Provider::Azure => open_azure(settings, place, manner),
        Provider::Google => open_google(settings, place, manner),
    }
}

/// Checks what [`open`] can refuse without opening anything. Where no place is named, there is
/// nothing to check.
///
/// # Errors
/// Config: not a URL that we know, a setting that the store does not know, or settings that,
/// together with the environment, do not suffice.
pub fn check(settings: &Settings) -> Result<()> {
    let local = settings.url.as_deref().map_or(Ok(None), local_folder)?;
    if settings.url.is_none() || local.is_some() {
        if settings.is_bare() {
            return Ok(());
        }
        let message = "a local folder has no endpoint, region, keys, certificates or options";
        return Err(Error::config(message).field("url"));
    }
    match Location::parse(named(settings)?)? {
        Location::Folder(_) => Ok(()),
        // A client is made of its settings alone, and asks nobody before its first request.
        Location::Bucket(place) => open_bucket(settings, place, &Manner::default()).map(drop),
    }
}

fn named(settings: &Settings) -> Result<&str> {
    settings.url.as_deref().ok_or_else(|| {
        Error::config("no store is named").field("url").hint("add `url: …`: a folder or a URL")
    })
}

fn open_s3(settings: &Settings, place: BucketLocation, manner: &Manner) -> Result<Opened> {
    let BucketLocation { bucket, prefix, .. } = place;
    let is_virtual = settings.addressing == Addressing::Virtual;
    let mut told = settings.clone();
    if let Some(endpoint) = told.endpoint.as_mut().filter(|_| is_virtual) {
        *endpoint = with_bucket(endpoint, &bucket)?;
    }
    let options = client(settings, manner)?;
    let mut builder = AmazonS3Builder::new().with_client_options(options.clone());
    for (name, value) in from_environment("aws_").chain(told.provided(Provider::S3)?) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_bucket_name(&bucket).with_retry(manner.retry.clone());
    let builder = match is_virtual {
        true => builder.with_virtual_hosted_style_request(true),
        false => builder,
    };
    check_pair(&builder)?;
    let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
    let region = region.unwrap_or_else(|| REGION.to_owned());
    let store = Arc::new(builder.build().map_err(unusable)?);
    let credentials = store.credentials().clone();
    let address = s3_address(settings, &bucket, &region);
    let service = s3_service(settings, &region);
    let cloud = Cloud::S3 { address, service, bucket, region, credentials };
    Ok(Opened { objects: store.clone(), uploads: store, prefix, cloud, options })
}

fn open_azure(settings: &Settings, place: BucketLocation, manner: &Manner) -> Result<Opened> {
    let BucketLocation { bucket, prefix, account, .. } = place;
    let options = client(settings, manner)?;
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(options.clone());
    for (name, value) in from_environment("azure_").chain(settings.provided(Provider::Azure)?) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = variable("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    if let Some(account) = account {
        builder = builder.with_account(account);
    }
    let builder = builder.with_container_name(&bucket).with_retry(manner.retry.clone());
    let account = account_of(&builder)?;
    check_key(&builder)?;
    let store = Arc::new(builder.build().map_err(unusable)?);
    let cloud = || format!("https://{account}.blob.core.windows.net");
    let endpoint = settings.endpoint.clone().unwrap_or_else(cloud);
    let address = format!("{}/{bucket}", endpoint.trim_end_matches('/'));
    let credentials = store.credentials().clone();
    let cloud = Cloud::Azure { address, account, credentials };
    Ok(Opened { objects: store.clone(), uploads: store, prefix, cloud, options })
}

fn open_google(settings: &Settings, place: BucketLocation, manner: &Manner) -> Result<Opened> {
    let BucketLocation { bucket, prefix, .. } = place;
    let options = client(settings, manner)?;
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(options.clone());
    if let Some(file) = variable("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(file);
    }
    for (name, value) in from_environment("google_").chain(settings.provided(Provider::Google)?) {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    let builder = builder.with_bucket_name(&bucket).with_retry(manner.retry.clone());
    let store = Arc::new(builder.build().map_err(unusable)?);
    let endpoint = settings.endpoint.clone().unwrap_or_else(|| GOOGLE.to_owned());
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let credentials = store.credentials().clone();
    let cloud = Cloud::Google { endpoint, bucket, credentials };
    Ok(Opened { objects: store.clone(), uploads: store, prefix, cloud, options })
}

/// Refuses a key of Azure that can be none.
fn check_key(builder: &MicrosoftAzureBuilder) -> Result<()> {
    let key = builder.get_config_value(&AzureConfigKey::AccessKey);
    match key.is_none_or(|key| AzureAccessKey::try_new(&key).is_ok()) {
        true => Ok(()),
        false => Err(Error::config("the key of Azure is not base64").field("secret_key").hint(
            "set `secret_key` (else AZURE_STORAGE_ACCOUNT_KEY) to `key1` or `key2` of the account, \
             whole, with the `=` at its end",
        )),
    }
}

/// Refuses half of an access key of S3.
fn check_pair(builder: &AmazonS3Builder) -> Result<()> {
    let key = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId);
    let secret = builder.get_config_value(&AmazonS3ConfigKey::SecretAccessKey);
    let (given, missing) = match (key, secret) {
        (Some(_), None) => ("access_key", "secret_key"),
        (None, Some(_)) => ("secret_key", "access_key"),
        _ => return Ok(()),
    };
    let message = format!("a key of S3 is a pair: there is `{given}` and no `{missing}`");
    Err(Error::config(message).field(missing).hint(
        "set `access_key` and `secret_key`, or the variables AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY",
    ))
}

/// The account of Azure; of an emulator its own.
fn account_of(builder: &MicrosoftAzureBuilder) -> Result<String> {
    let emulated = builder.get_config_value(&AzureConfigKey::UseEmulator);
    let is_emulated = emulated.is_some_and(|emulated| emulated == "true");
    match builder.get_config_value(&AzureConfigKey::AccountName) {
        Some(account) => Ok(account),
        None if is_emulated => Ok(String::new()),
        None => Err(Error::config("no account of Azure is named").field("access_key").hint(
            "set `access_key` to its name, or the variable AZURE_STORAGE_ACCOUNT_NAME, or write \
             abfss://container@account.dfs.core.windows.net/prefix",
        )),
    }
}

/// What every store's client is told, before its own options.
fn client(settings: &Settings, manner: &Manner) -> Result<ClientOptions> {
    let mut options = ClientOptions::new();
    if let Some(content_type) = manner.content_type {
        options = options.with_default_content_type(content_type);
    }
    if let Some(file) = &settings.ca_certificate {
        let of_setting = |error: Error| error.field("ca_certificate");
        for certificate in pem::certificates(file).map_err(of_setting)? {
            let certificate = Certificate::from_der(&certificate).map_err(unusable)?;
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// A variable of the environment. One that is empty counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variables of a provider by the names of options. Those that are none are somebody else's.
fn from_environment(prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    let named = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let value = value.into_string().ok().filter(|value| !value.is_empty())?;
        Some((name.to_str()?.to_ascii_lowercase(), value))
    };
    std::env::vars_os().filter_map(named).filter(move |(name, _)| name.starts_with(prefix))
}

/// The address of a bucket of S3.
fn s3_address(settings: &Settings, bucket: &str, region: &str) -> String {
    let service = s3_service(settings, region);
    match settings.addressing {
        Addressing::Path => format!("{service}/{bucket}"),
        Addressing::Virtual => with_bucket(&service, bucket).unwrap_or(service),
    }
}

/// The address of a service of S3.
fn s3_service(settings: &Settings, region: &str) -> String {
    let cloud = || format!("https://s3.{region}.amazonaws.com");
    let endpoint = settings.endpoint.clone().unwrap_or_else(cloud);
    endpoint.trim_end_matches('/').to_owned()
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

/// What stores call a bucket that is not there.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not"];

/// Whether the text of an error says that there is no such bucket or container.
pub fn names_no_bucket(text: &str) -> bool {
    NO_BUCKET.iter().any(|code| text.contains(code))
}

/// Whether the store says that there is no such bucket or folder, and so no object in it.
pub fn has_no_bucket(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) || names_no_bucket(&error.to_string())
}

/// Whether the bucket of a store is there, as far as that tells: who may not list it is not told.
///
/// # Errors
/// Retryable External: the store does not answer, or does not take our key.
pub async fn has_bucket(objects: &dyn ObjectStore, prefix: Option<&Path>) -> Result<bool> {
    match objects.list(prefix).next().await {
        Some(Err(error)) if has_no_bucket(&error) => Ok(false),
        Some(Ok(_)) | None => Ok(true),
        Some(Err(error @ object_store::Error::PermissionDenied { .. })) if !are_wrong(&error) => {
            Ok(true)
        }
        Some(Err(error)) => {
            let hint = credentials_hint(&error.to_string());
            let error = Error::transient("could not look for the bucket").because(error);
            Err(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
    }
}

fn unusable(error: object_store::Error) -> Error {
    Error::config("the settings do not open the object store").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_in_the_host_or_in_the_path() {
        let address = |stands| {
            let endpoint = Some("http://minio:9000".to_owned());
            let settings = Settings { endpoint, addressing: stands, ..Settings::at("s3://logs") };
            s3_address(&settings, "logs", REGION)
        };
        assert_eq!(address(Addressing::Path), "http://minio:9000/logs");
        assert_eq!(address(Addressing::Virtual), "http://logs.minio:9000");
    }

    #[test]
    fn what_a_store_does_not_have_is_refused() {
        let settings = |settings: serde_json::Value| -> Settings {
            serde_json::from_value(settings).expect("settings")
        };
        let said = |wrong: serde_json::Value| check(&settings(wrong)).expect_err("refused").chain();
        let option = serde_json::json!({ "url": "s3://logs", "options": { "tmeout": "1s" } });
        assert!(said(option).contains("no option \"tmeout\""));
        assert!(said(serde_json::json!({ "url": "gs://logs", "region": "EU" })).contains("region"));
        let local = serde_json::json!({ "url": "out", "endpoint": "http://x" });
        assert!(said(local).contains("a local folder"));
        let no_place = serde_json::json!({ "endpoint": "http://x" });
        assert!(said(no_place).contains("a local folder"));
        let file = serde_json::json!({ "url": "s3://logs", "ca_certificate": "/none.pem" });
        assert!(said(file).contains("/none.pem"));
        let option = serde_json::json!({ "url": "s3://logs", "options": { "timeout": "5s" } });
        check(&settings(option)).expect("an option of S3");
        let option = serde_json::json!({ "url": "s3://logs", "options": { "allow_http": true } });
        check(&settings(option)).expect("an option need be no text");
    }

    #[test]
    fn half_of_what_names_the_asker_is_refused_with_the_other_half() {
        let refused = |wrong: serde_json::Value| {
            let settings: Settings = serde_json::from_value(wrong).expect("settings");
            check(&settings).expect_err("refused")
        };
        let s3 = |key: &str| refused(serde_json::json!({ "url": "s3://logs", key: "hush" }));
        for (given, missing) in [("access_key", "secret_key"), ("secret_key", "access_key")] {
            let error = s3(given);
            assert_eq!(error.field_name(), Some(missing));
            let hint = error.hint_text().expect("a hint");
            assert!(hint.contains("AWS_ACCESS_KEY_ID") && !error.chain().contains("hush"));
        }
        let error = refused(serde_json::json!({ "url": "az://logs", "secret_key": "aGk=" }));
        assert_eq!(error.field_name(), Some("access_key"));
        assert!(error.hint_text().is_some_and(|hint| hint.contains("AZURE_STORAGE_ACCOUNT_NAME")));
    }
}
