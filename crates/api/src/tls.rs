//! TLS from PEM files, with or without certificates of clients.

use std::path::Path;
use std::sync::Arc;

use contract::error::Context;
use contract::{Error, Result, pem};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::options::Access;

/// What takes connections under TLS; none where the settings name no certificate.
///
/// # Errors
/// Config: a file cannot be read, or key and certificate do not belong together.
pub fn acceptor(access: &Access) -> Result<Option<TlsAcceptor>> {
    let Some((cert, key)) = &access.certificate else { return Ok(None) };
    let chain = pem::certificates(cert)?;
    let key_der = pem::private_key(key)?;
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .bug("rustls has no version of TLS")?;
    let builder = match &access.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(authorities)? {
                roots.add(certificate).map_err(|error| unusable(authorities, error))?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier = verifier.map_err(|error| unusable(authorities, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key_der).map_err(|error| {
        Error::config(format!("the certificate {:?} does not fit its key", cert.display()))
            .because(error)
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn unusable(file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::config(format!("could not use what {:?} holds", file.display())).because(error)
}
