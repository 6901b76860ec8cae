//! Makes a bucket of S3 or GCS or a container of Azure, which object_store cannot.
//!
//! One signed request asks whether it is there, another makes it. Nothing is ever removed.

mod made;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpConnector, HttpRequest, ReqwestConnector};
use object_store::gcp::GcpCredentialProvider;
use object_store::{ClientOptions, HeaderValue};
use url::form_urlencoded::byte_serialize;

use crate::open::{Cloud, REGION};
use crate::settings::Settings;

/// What S3 must be told outside its first region.
const LOCATION: [&str; 2] = [
    "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
     <LocationConstraint>",
    "</LocationConstraint></CreateBucketConfiguration>",
];

/// A bucket that may have to be made.
pub struct Bucket {
    address: String,
    signer: Signer,
    options: ClientOptions,
}

/// What only a bucket of GCS that is made is told.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The project that is to have it.
    pub project: String,
    /// Where it is to lie, if not where GCS puts it.
    pub location: Option<String>,
}

enum Signer {
    S3 { service: Service, credentials: AwsCredentialProvider },
    Azure { account: String, credentials: AzureCredentialProvider },
    Google(GoogleWish),
}

/// The service that has a bucket of S3.
struct Service {
    address: String,
    region: String,
    /// What it calls the bucket.
    bucket: String,
}

/// A bucket of GCS that may have to be made.
struct GoogleWish {
    wish: Wish,
    name: String,
    /// Who makes it.
    credentials: GcpCredentialProvider,
}

impl Bucket {
    /// The bucket of a store that was opened with these options of its client.
    pub(crate) fn new(cloud: Cloud, options: ClientOptions, wish: Wish) -> Self {
        let (address, signer) = match cloud {
            Cloud::S3 { address, service, bucket, region, credentials } => {
                let service = Service { address: service, region, bucket };
                (format!("{address}/"), Signer::S3 { service, credentials })
            }
            Cloud::Azure { address, account, credentials } => {
                let address = format!("{address}?restype=container");
                (address, Signer::Azure { account, credentials })
            }
            Cloud::Google { endpoint, bucket: name, credentials } => {
                let address = format!("{endpoint}/storage/v1/b/{name}");
                (address, Signer::Google(GoogleWish { wish, name, credentials }))
            }
        };
        Self { address, signer, options }
    }

    /// Makes the bucket if there is none.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or refuses.
    pub async fn ensure(&self) -> Result<()> {
        let ask = if matches!(self.signer, Signer::Google(_)) { "GET" } else { "HEAD" };
        let (found, _) = self.send(ask, &self.address, Bytes::new()).await?;
        if found != 404 {
            // What is wrong with a bucket that is there shows when it is written.
            return Ok(());
        }
        // Somebody else may have made it in between.
        let (method, address) = self.maker();
        match self.send(method, &address, self.wish()).await? {
            (200..=299 | 409, _) => Ok(()),
            (status, _) => {
                let message = format!("could not make bucket {:?}: status {status}", self.shown());
                let error = Error::external(message).hint("make it by hand, or check the rights");
                Err(if status >= 500 { error.retryable() } else { error })
            }
        }
    }

    /// Whether uploads that are not complete stay until somebody removes them: elsewhere than in S3
    /// the store does that by itself.
    pub fn lists_uploads(&self) -> bool {
        matches!(self.signer, Signer::S3 { .. })
    }

    /// A page of the uploads below a prefix that are not complete, as S3 lists them
    /// (`ListMultipartUploads`), after those that an earlier page ended with.
    ///
    /// # Errors
    /// Retryable External: the store does not answer. External: it refuses.
    pub async fn uploads(&self, prefix: &str, after: Option<(&str, &str)>) -> Result<Bytes> {
        let part = |text: &str| -> String { byte_serialize(text.as_bytes()).collect() };
        let mut address = format!("{}?uploads=&prefix={}", self.address, part(prefix));
        if let Some((key, upload)) = after {
            let marks = format!("&key-marker={}&upload-id-marker={}", part(key), part(upload));
            address.push_str(&marks);
        }
        match self.send("GET", &address, Bytes::new()).await? {
            (200..=299, body) => Ok(body),
            (status, _) => {
                let bucket = self.shown();
                Err(Error::external(format!("could not list the uploads of {bucket:?}: {status}")))
            }
        }
    }

    /// When the bucket was made, which tells it from another one of its name; none where the store
    /// does not tell us. S3 tells whoever may list all buckets (`ListBuckets`), GCS whoever may see
    /// the bucket; Azure tells nobody.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn made(&self) -> Result<Option<String>> {
        let address = match &self.signer {
            Signer::S3 { service, .. } => {
                let bucket: String = byte_serialize(service.bucket.as_bytes()).collect();
                format!("{}/?max-buckets=1000&prefix={bucket}", service.address)
            }
            Signer::Google(_) => self.address.clone(),
            Signer::Azure { .. } => return Ok(None),
        };
        let (status, body) = self.send("GET", &address, Bytes::new()).await?;
        if !(200..300).contains(&status) {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&body);
        Ok(match &self.signer {
            Signer::S3 { service, .. } => made::of_s3(&text, &service.bucket),
            Signer::Google(_) => made::of_google(&text),
            Signer::Azure { .. } => None,
        })
    }

    /// What the store calls the bucket.
    pub fn name(&self) -> &str {
        match &self.signer {
            Signer::S3 { service, .. } => &service.bucket,
            Signer::Google(google) => &google.name,
            Signer::Azure { .. } => self.shown().rsplit('/').next().unwrap_or_default(),
        }
    }

    /// The request that makes the bucket.
    fn maker(&self) -> (&'static str, String) {
        let Signer::Google(google) = &self.signer else { return ("PUT", self.address.clone()) };
        let all = self.address.rsplit_once('/').map_or("", |(all, _)| all);
        let project: String = byte_serialize(google.wish.project.as_bytes()).collect();
        ("POST", format!("{all}?project={project}"))
    }

    /// What the bucket is to be like, above all where it is to lie.
    fn wish(&self) -> Bytes {
        match &self.signer {
            Signer::Google(google) => {
                let mut bucket = serde_json::json!({ "name": google.name });
                if let Some(location) = &google.wish.location {
                    bucket["location"] = location.as_str().into();
                }
                bucket.to_string().into()
            }
            Signer::S3 { service, .. } if service.region != REGION => {
                LOCATION.join(&service.region).into()
            }
            _ => Bytes::new(),
        }
    }

    /// Sends a signed request and returns the status and the body of the answer.
    async fn send(&self, method: &str, address: &str, body: Bytes) -> Result<(u16, Bytes)> {
        let length = HeaderValue::from(body.len());
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = method.parse().bug("no method")?;
        *request.uri_mut() = address.parse().map_err(|error| {
            Error::config(format!("{:?} is no address", self.shown())).because(error)
        })?;
        request.headers_mut().insert("content-length", length);
        let unsigned = || format!("could not get credentials for bucket {:?}", self.shown());
        match &self.signer {
            Signer::S3 { service, credentials } => {
                let credential = credentials.get_credential().await.transient(unsigned)?;
                let signer = AwsAuthorizer::new(&credential, "s3", &service.region);
                signer.authorize(&mut request, None);
            }
            Signer::Azure { account, credentials } => {
                let credential = credentials.get_credential().await.transient(unsigned)?;
                AzureAuthorizer::new(&credential, account).authorize(&mut request);
            }
            Signer::Google(google) => {
                let credential = google.credentials.get_credential().await.transient(unsigned)?;
                let bearer = HeaderValue::try_from(format!("Bearer {}", credential.bearer));
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().insert("authorization", bearer.bug("a token is no header")?);
                request.headers_mut().insert("content-type", json);
            }
        }
        let plain = self.address.starts_with("http://");
        let options = self.options.clone().with_allow_http(plain);
        let client = ReqwestConnector::default().connect(&options).bug("no HTTP client")?;
        let answer = client.execute(request).await;
        let answer = answer.transient(|| format!("could not reach bucket {:?}", self.shown()))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().bytes().await;
        Ok((status, body.transient(|| format!("bucket {:?} broke off", self.shown()))?))
    }

    fn shown(&self) -> &str {
        self.address.split('?').next().unwrap_or_default()
    }
}

/// The project in which a bucket of GCS is made: the one that is named, that of the service
/// account's key, or what the environment variable `GOOGLE_CLOUD_PROJECT` says.
///
/// # Errors
/// Config: none of them says one.
pub fn project(named: Option<&str>, settings: &Settings) -> Result<String> {
    let of_key = || {
        let key = settings.secret_key.as_deref()?;
        let key: serde_json::Value = serde_json::from_str(key).ok()?;
        key.get("project_id")?.as_str().map(str::to_owned)
    };
    let project = named.map(str::to_owned).or_else(of_key);
    // A variable that is empty counts as not set.
    let given = || std::env::var("GOOGLE_CLOUD_PROJECT").ok().filter(|name| !name.is_empty());
    project.or_else(given).ok_or_else(|| {
        Error::config("a bucket of GCS is made in a project, and none is named")
            .hint("set the environment variable GOOGLE_CLOUD_PROJECT")
    })
}
