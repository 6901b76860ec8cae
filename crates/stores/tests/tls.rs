//! A store behind TLS whose certificate only the user knows, in front of a real server.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use object_store::{ObjectStoreExt, PutPayload};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stores::Settings;
use testkit::services;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Makes an authority and a certificate of this machine that it signs.
fn certify(folder: &Path) {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 1 -subj /CN=ca",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 1 \
         -extfile names",
    ] {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split_whitespace()).current_dir(folder);
        assert!(openssl.output().unwrap().status.success(), "{arguments}");
    }
}

/// Takes TLS off connections to a server; says at which port.
async fn terminate(folder: &Path, server: String) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(&server).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_taken_where_it_is_named() {
    let Some(server) = services::find("s3") else { return };
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let port = terminate(folder.path(), server.replace("http://", "")).await;
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
    settings.options.insert("timeout".to_owned(), "2s".to_owned());
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
