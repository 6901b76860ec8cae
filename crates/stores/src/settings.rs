//! The settings of a store, which sections of a pipeline file read as a part of themselves.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use contract::property::Properties;
use contract::{Error, Result};
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::location::without_keys;

/// Where a store is and how it is reached; each setting goes before the environment.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A folder (a path or `file:///…`) or a store: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` (`azure`, `abfs` and `abfss` too, also in the form
    /// `abfss://container@account.dfs.core.windows.net/prefix`). What the settings beside it do
    /// not say comes from the environment, as in the stores' own tools (`AWS_…`, `AZURE_…`,
    /// `GOOGLE_…`). A sink of objects needs it; without it, a lake table lies in `lake/<table>` and
    /// checkpoints lie in `checkpoints` in the folder given by `--data`.
    pub url: Option<String>,

    /// The address of a store that is not the cloud's own, such as `http://127.0.0.1:9000`. For
    /// Azure it holds the account: `http://127.0.0.1:10000/account`.
    pub endpoint: Option<String>,

    /// Where an S3 bucket's name stands in an address.
    pub addressing: Addressing,

    /// The region of an S3 bucket; `us-east-1` by default.
    pub region: Option<String>,

    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,

    /// Refuses an endpoint without TLS, whatever `allow_http` says.
    pub require_tls: bool,

    /// A file of PEM certificates that vouch for the endpoint, beside those of the system.
    pub ca_certificate: Option<PathBuf>,

    /// S3: the id of the access key. Azure: the name of the account.
    pub access_key: Option<String>,

    /// S3: the secret of the access key. Azure: the key of the account. GCS: the key of a service
    /// account, as JSON.
    pub secret_key: Option<String>,

    /// Further options of the store by the names of the crate object_store, such as
    /// `sse_kms_key_id`, `client_id`, `proxy_url` or `timeout`.
    pub options: Properties,
}

/// Where the name of a bucket stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.endpoint/key`.
    Virtual,
}

/// Whose names a store's options have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// S3, and what speaks like it.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

/// What a provider calls a setting; none where it has no such thing.
struct Names {
    endpoint: Option<&'static str>,
    region: Option<&'static str>,
    access_key: Option<&'static str>,
    secret_key: Option<&'static str>,
    knows: fn(&str) -> bool,
}

const S3: Names = Names {
    endpoint: Some("aws_endpoint"),
    region: Some("aws_region"),
    access_key: Some("aws_access_key_id"),
    secret_key: Some("aws_secret_access_key"),
    knows: |option| AmazonS3ConfigKey::from_str(option).is_ok(),
};
const AZURE: Names = Names {
    endpoint: Some("azure_endpoint"),
    region: None,
    access_key: Some("azure_storage_account_name"),
    secret_key: Some("azure_storage_account_key"),
    knows: |option| AzureConfigKey::from_str(option).is_ok(),
};
const GOOGLE: Names = Names {
    endpoint: Some("google_base_url"),
    region: None,
    access_key: None,
    secret_key: Some("google_service_account_key"),
    knows: |option| GoogleConfigKey::from_str(option).is_ok(),
};

impl Settings {
    /// A place of which the environment says all else.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    /// The settings at another place of the same store.
    #[must_use]
    pub fn moved(&self, url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..self.clone() }
    }

    /// The place, without what may be a secret in it; empty where none is named.
    pub fn shown(&self) -> &str {
        self.url.as_deref().map(without_keys).unwrap_or_default()
    }

    /// The bucket or container of the place, without what lies in it.
    pub fn shown_bucket(&self) -> &str {
        let shown = self.shown();
        let begin = shown.find("://").map_or(0, |at| at + "://".len());
        let end = shown[begin..].find('/').map_or(shown.len(), |at| begin + at);
        &shown[..end]
    }

    /// Whether anything but the place is said.
    pub fn is_bare(&self) -> bool {
        *self == Self { url: self.url.clone(), ..Self::default() }
    }

    /// The settings as options of a provider's store.
    ///
    /// # Errors
    /// Config: the store has no such setting, or the endpoint has no TLS where it must.
    pub fn provided(&self, provider: Provider) -> Result<Vec<(String, String)>> {
        let names = match provider {
            Provider::S3 => S3,
            Provider::Azure => AZURE,
            Provider::Google => GOOGLE,
        };
        self.check_tls()?;
        self.refuse_keys_in_endpoint()?;
        if provider != Provider::S3 && self.addressing != Addressing::Path {
            return Err(Error::config("only S3 puts buckets into addresses").field("addressing"));
        }
        let mut options = Vec::new();
        for (setting, value, name) in [
            ("endpoint", &self.endpoint, names.endpoint),
            ("region", &self.region, names.region),
            ("access_key", &self.access_key, names.access_key),
            ("secret_key", &self.secret_key, names.secret_key),
        ] {
            let Some(value) = value else { continue };
            let name = name.ok_or_else(|| {
                Error::config(format!("{provider} has no {setting}")).field(setting)
            })?;
            options.push((name.to_owned(), value.clone()));
        }
        if self.allow_http {
            options.push(("allow_http".to_owned(), "true".to_owned()));
        }
        for (name, value) in &self.options {
            if !(names.knows)(name) {
                return Err(Error::config(format!("{provider} has no option {name:?}"))
                    .field("options")
                    .hint("options have the names of the crate `object_store`"));
            }
            options.push((name.clone(), value.to_string()));
        }
        Ok(options)
    }

    /// Errors of the store's client show its address.
    fn refuse_keys_in_endpoint(&self) -> Result<()> {
        match self.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains('@')) {
            false => Ok(()),
            true => Err(Error::config("the endpoint holds a user or a password")
                .field("endpoint")
                .hint("write `https://host:port`, and who asks as `access_key` and `secret_key`")),
        }
    }

    fn check_tls(&self) -> Result<()> {
        let plain = self.endpoint.as_ref().is_some_and(|url| !url.starts_with("https://"));
        if self.require_tls && plain {
            return Err(Error::config("the endpoint does not use TLS")
                .field("endpoint")
                .hint("write `https://…`, or leave `require_tls` out"));
        }
        Ok(())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::S3 => "S3",
            Self::Azure => "Azure Blob Storage",
            Self::Google => "Google Cloud Storage",
        })
    }
}

/// Keys are not for logs.
impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_names_of_its_own_and_refuses_what_it_lacks() {
        let text = |text: &str| Some(text.to_owned());
        let mut settings = Settings { secret_key: text("key"), ..Settings::default() };
        let only = |settings: &Settings, provider| {
            settings.provided(provider).expect("known")[0].0.clone()
        };
        assert_eq!(only(&settings, Provider::S3), "aws_secret_access_key");
        assert_eq!(only(&settings, Provider::Azure), "azure_storage_account_key");
        assert_eq!(only(&settings, Provider::Google), "google_service_account_key");
        assert!(!format!("{settings:?}").contains("key"), "{settings:?}");
        settings.region = text("here");
        let error = settings.provided(Provider::Azure).expect_err("Azure has no regions");
        assert_eq!(error.field_name(), Some("region"));
        settings.region = None;
        settings.options.insert("virtual_hosted_style_request".into(), "true".into());
        settings.provided(Provider::S3).expect("an option of S3");
        let error = settings.provided(Provider::Google).expect_err("not one of GCS");
        assert_eq!(error.field_name(), Some("options"));
    }

    #[test]
    fn tls_can_be_demanded() {
        let mut settings = Settings {
            endpoint: Some("http://minio:9000".to_owned()),
            allow_http: true,
            require_tls: true,
            ..Settings::default()
        };
        let error = settings.provided(Provider::S3).expect_err("no TLS");
        assert_eq!(error.field_name(), Some("endpoint"));
        settings.endpoint = Some("https://minio:9000".to_owned());
        settings.provided(Provider::S3).expect("TLS");
    }
}
