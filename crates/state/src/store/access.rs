//! How to reach a store elsewhere, where the environment does not say it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use contract::{Error, Result};
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;

/// Settings of a store; each one goes before the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The address of a store that is not the provider's own.
    pub endpoint: Option<String>,
    /// The region of a bucket.
    pub region: Option<String>,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
    /// S3: the id of the access key. Azure: the name of the account.
    pub access_key: Option<String>,
    /// S3: the secret access key. Azure: the key of the account. GCS: the service account's key.
    pub secret_key: Option<String>,
    /// Further options by the names that `object_store` gives them.
    pub options: BTreeMap<String, String>,
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
const GCS: Names = Names {
    endpoint: Some("google_base_url"),
    region: None,
    access_key: None,
    secret_key: Some("google_service_account_key"),
    knows: |option| GoogleConfigKey::from_str(option).is_ok(),
};

impl Access {
    /// The settings as options of the store that a URL of this scheme names.
    ///
    /// # Errors
    /// Config: the store has no such setting.
    pub fn options(&self, scheme: &str) -> Result<Vec<(String, String)>> {
        let names = match scheme {
            "az" | "azure" | "adl" | "abfs" | "abfss" => AZURE,
            "gs" => GCS,
            _ => S3,
        };
        let mut options = Vec::new();
        for (setting, value, name) in [
            ("endpoint", &self.endpoint, names.endpoint),
            ("region", &self.region, names.region),
            ("access_key", &self.access_key, names.access_key),
            ("secret_key", &self.secret_key, names.secret_key),
        ] {
            let Some(value) = value else { continue };
            let name = name.ok_or_else(|| {
                Error::config(format!("a store at {scheme}:// has no {setting}")).field(setting)
            })?;
            options.push((name.to_owned(), value.clone()));
        }
        if self.allow_http {
            options.push(("allow_http".to_owned(), "true".to_owned()));
        }
        for (name, value) in &self.options {
            if !(names.knows)(name) {
                return Err(Error::config(format!(
                    "a store at {scheme}:// has no option {name:?}"
                ))
                .field("options")
                .hint("options have the names of the crate `object_store`"));
            }
            options.push((name.clone(), value.clone()));
        }
        Ok(options)
    }
}

/// Keys are not for logs.
impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_names_of_its_own_and_refuses_what_it_lacks() {
        let text = |text: &str| Some(text.to_owned());
        let mut access = Access { secret_key: text("key"), ..Access::default() };
        let only = |access: &Access, scheme| access.options(scheme).expect("known")[0].0.clone();
        assert_eq!(only(&access, "s3"), "aws_secret_access_key");
        assert_eq!(only(&access, "az"), "azure_storage_account_key");
        assert_eq!(only(&access, "gs"), "google_service_account_key");
        assert!(!format!("{access:?}").contains("key"), "{access:?}");
        access.region = text("here");
        let error = access.options("az").expect_err("Azure has no regions");
        assert_eq!(error.field_name(), Some("region"));
        access.region = None;
        access.options.insert("virtual_hosted_style_request".into(), "true".into());
        access.options("s3").expect("an option of S3");
        let error = access.options("gs").expect_err("not one of GCS");
        assert_eq!(error.field_name(), Some("options"));
    }
}
