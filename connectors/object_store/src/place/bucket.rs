//! Makes a bucket of S3 or a container of Azure, which object_store cannot.
//!
//! One signed request asks whether it is there, another makes it. Nothing is ever removed.

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpConnector, HttpRequest, ReqwestConnector};
use object_store::{ClientOptions, HeaderValue};

use super::REGION;

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
}

enum Signer {
    S3 { region: String, credentials: AwsCredentialProvider },
    Azure { account: String, credentials: AzureCredentialProvider },
}

impl Bucket {
    /// A bucket of S3 at its address.
    pub fn s3(address: &str, region: String, credentials: AwsCredentialProvider) -> Self {
        Self { address: format!("{address}/"), signer: Signer::S3 { region, credentials } }
    }

    /// A container of Azure at its address.
    pub fn azure(address: &str, account: String, credentials: AzureCredentialProvider) -> Self {
        let address = format!("{address}?restype=container");
        Self { address, signer: Signer::Azure { account, credentials } }
    }

    /// Makes the bucket if there is none.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or refuses.
    pub async fn ensure(&self) -> Result<()> {
        let found = self.send("HEAD", Bytes::new()).await?;
        if found != 404 {
            // What is wrong with a bucket that is there shows when it is written.
            return Ok(());
        }
        // Somebody else may have made it in between.
        match self.send("PUT", self.wish()).await? {
            200..=299 | 409 => Ok(()),
            status => {
                let message = format!("could not make bucket {:?}: status {status}", self.shown());
                let error = Error::external(message).hint("make it by hand, or check the rights");
                Err(if status >= 500 { error.retryable() } else { error })
            }
        }
    }

    /// Where the bucket is to lie.
    fn wish(&self) -> Bytes {
        match &self.signer {
            Signer::S3 { region, .. } if region != REGION => LOCATION.join(region).into(),
            _ => Bytes::new(),
        }
    }

    /// Sends a signed request and returns the status of the answer.
    async fn send(&self, method: &str, body: Bytes) -> Result<u16> {
        let length = HeaderValue::from(body.len());
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = method.parse().bug("no method")?;
        *request.uri_mut() = self.address.parse().map_err(|error| {
            Error::config(format!("{:?} is no address", self.shown())).because(error)
        })?;
        request.headers_mut().insert("content-length", length);
        let unsigned = || format!("could not get credentials for bucket {:?}", self.shown());
        match &self.signer {
            Signer::S3 { region, credentials } => {
                let credential = credentials.get_credential().await.transient(unsigned)?;
                AwsAuthorizer::new(&credential, "s3", region).authorize(&mut request, None);
            }
            Signer::Azure { account, credentials } => {
                let credential = credentials.get_credential().await.transient(unsigned)?;
                AzureAuthorizer::new(&credential, account).authorize(&mut request);
            }
        }
        let options = ClientOptions::new().with_allow_http(self.address.starts_with("http://"));
        let client = ReqwestConnector::default().connect(&options).bug("no HTTP client")?;
        let answer = client.execute(request).await;
        let answer = answer.transient(|| format!("could not reach bucket {:?}", self.shown()))?;
        Ok(answer.status().as_u16())
    }

    fn shown(&self) -> &str {
        self.address.split('?').next().unwrap_or_default()
    }
}
