//! Calls to a cluster: what OpenSearch and Elasticsearch both understand, and nothing else.
//!
//! A call is made once; whoever calls knows what may be repeated.

use std::error::Error as StdError;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result, pem};
use opensearch::auth::Credentials;
use opensearch::cert::{Certificate, CertificateValidation};
use opensearch::http::headers::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use opensearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use serde_json::Value;
use url::Url;

pub use opensearch::http::Method;

use crate::config::Config;

/// How much of an answer stands in an error, in characters.
const SHOWN_CHARS: usize = 1_000;

/// What to look at where nobody answers.
const UNANSWERED: &str = "is the cluster up, and can this machine reach it? Look at `url`: its \
                          host, its port (mostly 9200), http or https; and at `ca_certificate`";

/// A cluster.
pub struct Client {
    transport: Transport,
    /// Its address without what logs in.
    shown: String,
    timeout: Duration,
}

/// What the cluster said.
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client with these settings; connects with its first call.
    ///
    /// # Errors
    /// Config: the address, the login or the certificates are none.
    pub fn new(config: &Config) -> Result<Self> {
        let url = address(&config.url)?;
        let shown = shown(&url);
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url));
        if let (Some(user), Some(password)) = (&config.username, &config.password) {
            builder = builder.auth(Credentials::Basic(user.clone(), password.clone()));
        }
        if let Some(key) = &config.api_key {
            builder = builder.header(AUTHORIZATION, api_key(key)?);
        }
        if let Some(file) = &config.ca_certificate {
            let of_setting = |error: Error| error.field("ca_certificate");
            // It takes one certificate, or the text of all.
            let bundle = pem::bundle(file).map_err(of_setting)?;
            let certificate = Certificate::from_pem(&bundle).map_err(|error| {
                let message = format!("could not use what {:?} holds", file.display());
                of_setting(Error::config(message).because(error))
            })?;
            builder = builder.cert_validation(CertificateValidation::Full(certificate));
        }
        let transport = builder.build();
        let transport = transport.map_err(|error| {
            Error::config("no client can be made of the settings").because(error)
        })?;
        Ok(Self { transport, shown, timeout: config.timeout.0 })
    }

    /// The address, without what logs in.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Calls, with JSON.
    ///
    /// # Errors
    /// Retryable External: no answer came.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.send(method, path, "application/json", body).await
    }

    /// Calls, with lines of JSON.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn call_lines(&self, path: &str, body: Bytes) -> Result<Answer> {
        self.send(Method::Post, path, "application/x-ndjson", Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Option<Bytes>,
    ) -> Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let timeout = Some(self.timeout);
        let no_query: Option<&()> = None;
        let answer = self.transport.send(method, path, headers, no_query, body, timeout).await;
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let status = answer.status_code().as_u16();
        let body = answer.bytes().await.map_err(|error| self.unanswered(&error))?;
        Ok(Answer { status, body })
    }

    /// The error of a call without an answer. What the client says itself repeats the address; what
    /// happened is said last in the chain of its errors.
    fn unanswered(&self, error: &(dyn StdError + 'static)) -> Error {
        let mut last = error;
        while let Some(source) = last.source() {
            last = source;
        }
        let error = Error::transient(format!("no answer from {:?}", self.shown));
        error.because(last.to_string()).hint(UNANSWERED)
    }
}

impl Answer {
    /// The body as JSON, where the call succeeded.
    ///
    /// # Errors
    /// External: it did not; retryable where the cluster is busy or in trouble.
    pub fn json(&self, what: impl FnOnce() -> String) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            return Err(self.error(what()));
        }
        serde_json::from_slice(&self.body).transient(what)
    }

    /// The error of a call that did not succeed.
    pub fn error(&self, what: String) -> Error {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().take(SHOWN_CHARS).collect();
        let error = Error::external(what).because(format!("status {}: {text}", self.status));
        match self.status {
            408 | 429 | 500.. => error.retryable(),
            401 | 403 => error.hint("check the login, and what it is allowed"),
            _ => error,
        }
    }
}

/// Reads the address of a cluster.
///
/// # Errors
/// Config: it is none.
pub fn address(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        Error::config("the address of the cluster is none")
            .field("url")
            .hint("write http://host:9200 or https://host:9200")
    })
}

/// An address without what logs in.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for addresses that have no host.
    let _ = shown.set_username("").and_then(|()| shown.set_password(None));
    shown.as_str().trim_end_matches('/').to_owned()
}

fn api_key(key: &str) -> Result<HeaderValue> {
    let encoded = match key.contains(':') {
        true => BASE64_STANDARD.encode(key),
        false => key.to_owned(),
    };
    let mut value = HeaderValue::from_str(&format!("ApiKey {encoded}"))
        .map_err(|_| Error::config("the API key is none").field("api_key"))?;
    value.set_sensitive(true);
    Ok(value)
}
