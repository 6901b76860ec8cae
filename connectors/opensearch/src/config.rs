//! The settings of an OpenSearch sink; the doc comments are their documentation.

use std::path::PathBuf;

use contract::quantity::{ByteSize, Period};
use contract::{Error, Result, Section};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Settings of an OpenSearch or Elasticsearch sink.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address of the cluster, such as `https://search:9200`.
    pub url: String,

    /// The user, where the cluster asks for one.
    #[serde(default)]
    pub username: Option<String>,

    /// The user's password.
    #[serde(default)]
    pub password: Option<String>,

    /// An API key: `id:key`, or as the cluster encoded it.
    #[serde(default)]
    pub api_key: Option<String>,

    /// A file with the certificates (PEM) that sign the cluster's own, where the system does not
    /// know them.
    #[serde(default)]
    pub ca_certificate: Option<PathBuf>,

    /// The index of each row: text that may hold `{column}` for a value and
    /// `{column:%Y.%m.%d}` for a time, such as `web-logs-{ts:%Y.%m.%d}`. It begins with text.
    /// Values are written in lower case, and what an index cannot be called becomes `_`. A row in
    /// which such a column is null is refused.
    pub index: String,

    /// The `_id` of each row, of columns as in `index`: rows with the same one overwrite each
    /// other. By default it is made of pipeline, sink, split and position.
    #[serde(default)]
    pub id: Option<String>,

    /// What new indices look like (`mappings`, `settings`, `aliases`): the part `template` of an
    /// index template, which is put before the first row. The columns of the origin are added.
    #[serde(default)]
    pub template: Option<Map<String, Value>>,

    /// Whether rows carry where they came from (`_split`, `_position`, `_epoch`, and
    /// `_ordinal` where several rows come of one record). Without it nothing can be audited.
    #[serde(default = "contract::section::yes")]
    pub origin: bool,

    /// A bulk request is sent once it has this size.
    #[serde(default = "bulk_bytes_default")]
    pub bulk_bytes_max: ByteSize,

    /// How long the cluster may take for an answer.
    #[serde(default = "timeout_default")]
    pub timeout: Period,
}

impl Config {
    /// Reads and checks the settings of a sink.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn read(section: &Section) -> Result<Self> {
        let config: Self = section.read()?;
        if config.bulk_bytes_max.0 == 0 {
            return Err(Error::config("expected a number above 0").field("bulk_bytes_max"));
        }
        if config.username.is_some() != config.password.is_some() {
            return Err(Error::config("a user has a name and a password").field("username"));
        }
        if config.username.is_some() && config.api_key.is_some() {
            return Err(Error::config("either a user or an API key logs in").field("api_key"));
        }
        Ok(config)
    }
}

fn bulk_bytes_default() -> ByteSize {
    ByteSize(4 << 20)
}

fn timeout_default() -> Period {
    Period::from_secs(60)
}
