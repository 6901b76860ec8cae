//! A store behind TLS whose certificate only the user knows, in front of a real server.

#![allow(clippy::unwrap_used, clippy::panic)]

use object_store::{ObjectStoreExt, PutPayload};
use stores::Settings;
use testkit::{services, tls};

#[tokio::test]
async fn a_certificate_of_ones_own_is_taken_where_it_is_named() {
    let Some(server) = services::find("s3") else { return };
    let folder = tempfile::tempdir().unwrap();
    tls::certify(folder.path());
    let port = tls::terminate(folder.path(), &server).await;
    let bucket = services::setting("s3_bucket");
    let mut settings = Settings {
        endpoint: Some(format!("https://localhost:{port}")),
        region: Some("us-east-1".to_owned()),
        require_tls: true,
        ca_certificate: Some(folder.path().join("ca.pem")),
        access_key: Some(services::setting("s3_key")),
        secret_key: Some(services::setting("s3_secret")),
        ..Settings::at(format!("s3://{bucket}/{}", services::unique("tls")))
    };
    let store = stores::open(&settings).unwrap();
    store.put(&"a".into(), PutPayload::from_static(b"text")).await.unwrap();
    let found = store.get(&"a".into()).await.unwrap().bytes().await.unwrap();
    assert_eq!(&found[..], b"text");

    settings.ca_certificate = None;
    settings.options.insert("timeout".to_owned(), "2s".into());
    let manner = stores::Manner { retry: no_retry(), ..stores::Manner::default() };
    let stores::Location::Bucket(place) =
        stores::Location::parse(settings.url.as_deref().unwrap()).unwrap()
    else {
        panic!("a bucket")
    };
    let stranger = stores::open_bucket(&settings, place, &manner).unwrap().objects;
    let error = stranger.get(&"a".into()).await.expect_err("nobody vouches for the certificate");
    assert!(!matches!(error, object_store::Error::NotFound { .. }), "{error}");
}

fn no_retry() -> object_store::RetryConfig {
    object_store::RetryConfig { max_retries: 0, ..Default::default() }
}
