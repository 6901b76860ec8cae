//! Certificates and keys in files in PEM format, as settings name them.
//!
//! An error names the file; the setting is the caller's to add.

use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Error, Result};

/// The certificates of a file, one at least, as DER.
///
/// # Errors
/// Config: it cannot be read, or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    of_text(file, &read(file)?)
}

/// The text of a file that holds one certificate at least, for a client that takes PEM alone.
///
/// # Errors
/// As for [`certificates`].
pub fn bundle(file: &Path) -> Result<Vec<u8>> {
    let text = read(file)?;
    of_text(file, &text)?;
    Ok(text)
}

/// The first private key of a file.
///
/// # Errors
/// Config: it cannot be read, or holds none.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => without(file, "private key", "PRIVATE KEY"),
        error => unreadable(file).because(error),
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| unreadable(file).because(error))
}

fn of_text(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = read.map_err(|error| unreadable(file).because(error))?;
    match found.is_empty() {
        true => Err(without(file, "certificate", "CERTIFICATE")),
        false => Ok(found),
    }
}

fn unreadable(file: &Path) -> Error {
    Error::config(format!("could not read {:?}", file.display()))
        .hint("a file in PEM format is expected")
}

fn without(file: &Path, what: &str, label: &str) -> Error {
    Error::config(format!("{:?} holds no {what}", file.display()))
        .hint(format!("a file in PEM format is expected, with a line `-----BEGIN {label}-----`"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A file of this text, in a folder of its own.
    fn file(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("logmill-pem-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join(name);
        std::fs::write(&file, text).expect("written");
        file
    }

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nBAUG\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_file_gives_all_of_its_certificates_and_its_key() {
        let both = file("both.pem", &format!("a comment\n{ONE}{KEY}{ONE}"));
        let found = certificates(&both).expect("certificates");
        assert_eq!(found.iter().map(|one| one.to_vec()).collect::<Vec<_>>(), [[1, 2, 3]; 2]);
        assert_eq!(private_key(&both).expect("a key").secret_der(), [4, 5, 6]);
        assert!(bundle(&both).expect("its text").starts_with(b"a comment"));
    }

    #[test]
    fn a_file_without_what_is_looked_for_says_what_it_lacks() {
        let check = |file: &Path, said: &str, hint: &str| {
            let errors = [certificates(file).map(drop), bundle(file).map(drop)];
            for error in errors.map(|read| read.expect_err("nothing is there")) {
                assert!(error.chain().contains(said), "{}", error.chain());
                assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{error:?}");
            }
        };
        check(&file("key.pem", KEY), "holds no certificate", "BEGIN CERTIFICATE");
        check(&file("none.pem", "\u{1}\u{2}"), "holds no certificate", "BEGIN CERTIFICATE");
        let torn = file("torn.pem", "-----BEGIN CERTIFICATE-----\nAQ!D\n-----END CERTIFICATE-----");
        check(&torn, "could not read", "PEM format");
        check(Path::new("/none.pem"), "could not read \"/none.pem\"", "PEM format");
        let error = private_key(&file("one.pem", ONE)).expect_err("no key");
        assert!(error.chain().contains("holds no private key"), "{}", error.chain());
    }
}
