//! Where the real servers are that a test talks to.
//!
//! Nothing is started here: `cargo xtask test` and `cargo xtask services` do that, and say in
//! `LOGMILL_TEST_<NAME>` where each server is. With `REQUIRE_SERVICES=1` an absent server fails
//! the test that asks for it; otherwise that test is left out, and says so. Servers are shared,
//! so every test works under names of its own, from [`unique`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, HeaderValue};

static NAMES_GIVEN: AtomicU64 = AtomicU64::new(0);

/// The address of a server (`kafka`, `postgres`, `s3` …), or `None` where the test is left out.
///
/// # Panics
/// The server is absent, and `REQUIRE_SERVICES=1` says that no test is left out.
pub fn find(name: &str) -> Option<String> {
    let variable = variable(name);
    let address = std::env::var(&variable).ok().filter(|address| !address.is_empty());
    if address.is_some() {
        return address;
    }
    let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    assert!(!required, "{variable} is not set; `cargo xtask test` starts the server and sets it");
    eprintln!("left out: {variable} is not set; `cargo xtask services` starts the server");
    None
}

/// A setting that belongs to a server which [`find`] has found, like `s3_key`.
///
/// # Panics
/// The server is there, its setting is not.
pub fn setting(name: &str) -> String {
    let variable = variable(name);
    std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} is not set"))
}

/// A name that no other test or earlier run uses, fit for a topic, a table, a bucket and an index:
/// the prefix, then lowercase letters and digits.
pub fn unique(prefix: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let given = NAMES_GIVEN.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{:x}x{:x}x{given:x}", since.as_millis(), std::process::id())
}

/// What reaches MinIO at this address, as settings of a store.
///
/// # Panics
/// As for [`setting`].
pub fn s3_settings(endpoint: &str) -> String {
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    format!(
        "endpoint: \"{endpoint}\", allow_http: true, region: us-east-1, access_key: {key}, \
         secret_key: {secret}"
    )
}

/// The key of a service account that logs in nowhere, as a server for tests wants it.
pub const GCS_ACCOUNT: &str = concat!(
    r#"{"project_id":"tests","disable_oauth":true,"#,
    r#""client_email":"","private_key":"","private_key_id":""}"#
);

/// What reaches Google's storage for tests at this address, as settings of a store.
pub fn gcs_settings(endpoint: &str) -> String {
    format!("endpoint: \"{endpoint}\", allow_http: true, secret_key: '{GCS_ACCOUNT}'")
}

/// Makes a container in Azure under a name that nobody else uses.
///
/// # Panics
/// The server refuses.
pub async fn azure_container(prefix: &str) -> String {
    let (container, account) = (unique(prefix), setting("azure_account"));
    let address = format!("{}/{account}/{container}?restype=container", setting("azure"));
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = "PUT".parse().expect("a method");
    *request.uri_mut() = address.parse().expect("an address");
    request.headers_mut().insert("content-length", HeaderValue::from(0));
    let key = AzureAccessKey::try_new(&setting("azure_key")).expect("a key");
    let credential = AzureCredential::AccessKey(key);
    AzureAuthorizer::new(&credential, &account).authorize(&mut request);
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).expect("a client");
    let answer = client.execute(request).await.expect("the server answers");
    assert!(answer.status().is_success(), "a container is made: {}", answer.status());
    container
}

/// Removes a bucket of MinIO with all that is in it, and makes another one of its name.
///
/// # Panics
/// The server refuses.
pub async fn remake_bucket(bucket: &str) {
    change_bucket(bucket, &["DELETE", "PUT"]).await;
}

/// Removes a bucket of MinIO with all that is in it.
///
/// # Panics
/// The server refuses.
pub async fn remove_bucket(bucket: &str) {
    change_bucket(bucket, &["DELETE"]).await;
}

async fn change_bucket(bucket: &str, methods: &[&str]) {
    let address = format!("{}/{bucket}", setting("s3"));
    let credential =
        AwsCredential { key_id: setting("s3_key"), secret_key: setting("s3_secret"), token: None };
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).expect("a client");
    for method in methods {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = address.parse().expect("an address");
        request.headers_mut().insert("content-length", HeaderValue::from(0));
        // MinIO's own: objects go with their bucket.
        request.headers_mut().insert("x-minio-force-delete", HeaderValue::from_static("true"));
        AwsAuthorizer::new(&credential, "s3", "us-east-1").authorize(&mut request, None);
        let answer = client.execute(request).await.expect("the server answers");
        assert!(answer.status().is_success(), "{method} {bucket}: {}", answer.status());
    }
}

fn variable(name: &str) -> String {
    format!("LOGMILL_TEST_{}", name.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::{unique, variable};

    #[test]
    fn names_are_fit_for_every_server_and_never_given_twice() {
        let names = [unique("orders"), unique("orders")];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.starts_with("orders") && name.len() < 50, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
        }
    }

    #[test]
    fn a_server_is_named_by_its_variable() {
        assert_eq!(variable("kafka-ssl"), "LOGMILL_TEST_KAFKA_SSL");
    }
}
