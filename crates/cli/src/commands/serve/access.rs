//! Who may ask the server: the arguments about tokens and certificates.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use api::Access;
use clap::Args;
use contract::error::Context;
use contract::{Error, Result};

/// The variable that carries the token.
const VARIABLE: &str = "LOGMILL_TOKEN";
/// The permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;
/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// A longer file is no token.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Who may ask.
#[derive(Debug, Default, Args)]
pub struct AccessArguments {
    /// A file (mode 600) with the word that every request must bring as `Authorization: Bearer`;
    /// the variable `LOGMILL_TOKEN` can hold it instead.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The server's certificate with its chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate that these authorities (PEM) signed.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl AccessArguments {
    /// What they say; `in_file` is the token of a pipeline file.
    ///
    /// # Errors
    /// Config: the token cannot be read, is too short, or others can read it.
    pub fn read(&self, in_file: Option<String>) -> Result<Access> {
        let token = match &self.token_file {
            Some(file) => Some(read_token(file)?),
            None => std::env::var(VARIABLE).ok().filter(|token| !token.trim().is_empty()),
        };
        let token = token.or(in_file);
        let token = token.map(|token| checked(token.trim())).transpose()?;
        let certificate = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Access { token, certificate, client_ca: self.tls_client_ca.clone() })
    }
}

fn read_token(file: &Path) -> Result<String> {
    let name = file.display().to_string();
    let unreadable = || format!("could not read the token file {name:?}");
    let opened = File::open(file).map_err(|error| Error::config(unreadable()).because(error))?;
    let mode = opened.metadata().external(unreadable)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(Error::config(format!("others may read the token file {name:?}"))
            .hint(format!("chmod 600 {name}")));
    }
    let mut token = String::new();
    let read = opened.take(TOKEN_BYTES_MAX).read_to_string(&mut token);
    read.map_err(|error| Error::config(unreadable()).because(error))?;
    Ok(token)
}

fn checked(token: &str) -> Result<String> {
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.len() < TOKEN_BYTES_MIN || !plain {
        return Err(Error::config(format!(
            "the token must have {TOKEN_BYTES_MIN} or more visible ASCII characters"
        ))
        .hint("`openssl rand -hex 32` makes one"));
    }
    Ok(token.to_owned())
}
