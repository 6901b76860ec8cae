//! What a URL says of a place: which store, which bucket, which folder in it.

use std::path::PathBuf;

use contract::{Error, Result};
use object_store::path::Path;
use url::Url;

use crate::settings::Provider;

/// Where Azure answers for an account that stands in a URL.
const AZURE_HOSTS: [&str; 2] = [".dfs.core.windows.net", ".blob.core.windows.net"];

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A bucket or container elsewhere.
    Bucket(BucketLocation),
}

/// A bucket or container and a prefix in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLocation {
    /// Whose it is.
    pub provider: Provider,
    /// Its name.
    pub bucket: String,
    /// The account of Azure, where the URL names it.
    pub account: Option<String>,
    /// Below which all objects lie.
    pub prefix: Path,
}

impl BucketLocation {
    /// What is asked of it beside its being there, for people; nothing where all of it is meant.
    pub fn shape(&self) -> String {
        match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("prefix {prefix}"),
        }
    }
}

impl Location {
    /// Reads a path or a URL.
    ///
    /// # Errors
    /// Config: it names no store.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(folder) = local_folder(text)? {
            return Ok(Self::Folder(folder));
        }
        let bad = || bad_url(text);
        let url = Url::parse(text).map_err(|error| bad().because(error))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| bad().because(error))?;
        let provider = match url.scheme() {
            "s3" | "s3a" => Provider::S3,
            "gs" => Provider::Google,
            "az" | "azure" | "abfs" | "abfss" => Provider::Azure,
            _ => return Err(bad()),
        };
        if url.password().is_some() {
            return Err(bad().hint("keys stand beside the URL: `access_key`, `secret_key`"));
        }
        let (bucket, account) = match url.username() {
            "" => (host, None),
            container if provider == Provider::Azure => (container, Some(account(text, host)?)),
            _ => return Err(bad()),
        };
        Ok(Self::Bucket(BucketLocation { provider, bucket: bucket.to_owned(), account, prefix }))
    }
}

/// The folder that a location names, if it is on local disk.
///
/// # Errors
/// Config: a `file://` URL that is no path.
pub fn local_folder(location: &str) -> Result<Option<PathBuf>> {
    if !location.contains("://") {
        return Ok(Some(PathBuf::from(location)));
    }
    let Some(rest) = location.strip_prefix("file://") else { return Ok(None) };
    match Url::parse(location).ok().and_then(|url| url.to_file_path().ok()) {
        Some(path) => Ok(Some(path)),
        None => Err(bad_url(location).hint(format!("write an absolute path: file:///{rest}"))),
    }
}

fn account(text: &str, host: &str) -> Result<String> {
    let account = AZURE_HOSTS.iter().find_map(|suffix| host.strip_suffix(suffix));
    let account = account.ok_or_else(|| {
        bad_url(text).hint("write abfss://container@account.dfs.core.windows.net/prefix")
    })?;
    Ok(account.to_owned())
}

/// A URL as it may be shown: what stands before an `@` or behind a `?` may be a key.
pub(crate) fn without_keys(url: &str) -> &str {
    let place = url.split('?').next().unwrap_or_default();
    match place.rsplit_once('@') {
        Some((before, rest)) if before.contains("://") && !before.starts_with("abfs") => rest,
        // A container of Azure stands there; what follows a `:` is none.
        Some((before, rest)) if before.matches(':').count() > 1 => rest,
        _ => place,
    }
}

fn bad_url(location: &str) -> Error {
    let shown = without_keys(location);
    // What stood before an `@` is left out; that something did is said.
    let shown = match location.split_once("://") {
        Some((scheme, _)) if !shown.contains("://") => format!("{scheme}://…@{shown}"),
        _ => shown.to_owned(),
    };
    Error::config(format!("{shown:?} names no store"))
        .field("url")
        .hint("use a path, file:///…, s3://bucket/…, az://container/… or gs://bucket/…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(provider: Provider, bucket: &str, account: Option<&str>, prefix: &str) -> Location {
        Location::Bucket(BucketLocation {
            provider,
            bucket: bucket.to_owned(),
            account: account.map(str::to_owned),
            prefix: Path::from(prefix),
        })
    }

    #[test]
    fn urls_name_a_store_a_bucket_and_a_prefix() {
        let parse = |text: &str| Location::parse(text).expect(text);
        assert_eq!(parse("s3://logs/a/b c"), bucket(Provider::S3, "logs", None, "a/b c"));
        for scheme in ["az", "azure", "abfs", "abfss"] {
            let url = format!("{scheme}://logs/x");
            assert_eq!(parse(&url), bucket(Provider::Azure, "logs", None, "x"));
        }
        assert_eq!(parse("gs://logs/x/"), bucket(Provider::Google, "logs", None, "x"));
        let url = "abfss://logs@shop.dfs.core.windows.net/x";
        assert_eq!(parse(url), bucket(Provider::Azure, "logs", Some("shop"), "x"));
        assert_eq!(parse("file:///var/log"), Location::Folder("/var/log".into()));
        assert_eq!(parse("out"), Location::Folder("out".into()));
        for wrong in ["ftp://a/b", "s3:///key", "s3://", "s3://me@b/k", "az://c@host/k"] {
            Location::parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn an_error_shows_no_key_of_a_url() {
        for url in [
            "s3://ID:hush@logs/x",
            "s3://ID:hu/hush@logs",
            "s3://hush@logs/x?sig=hush",
            "ftp://hush@logs/x",
            "abfss://logs:hush@shop.dfs.core.windows.net/x",
            "abfss://logs@elsewhere/x?sig=hush",
            "gs:///x?hush",
        ] {
            let error = Location::parse(url).expect_err(url);
            let said = format!("{} {:?}", error.chain(), error.hint_text());
            assert!(!said.contains("hush"), "{said}");
        }
        let error = Location::parse("wasb://c@a/x").expect_err("no store of ours");
        assert_eq!(error.to_string(), "\"wasb://…@a/x\" names no store");
        assert_eq!(
            without_keys("abfss://logs@shop.dfs.core.windows.net/x?y"),
            "abfss://logs@shop.dfs.core.windows.net/x"
        );
    }
}
