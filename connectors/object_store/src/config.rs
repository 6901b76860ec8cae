//! The settings of an object store sink; the doc comments are their documentation.

use std::collections::BTreeMap;

use contract::quantity::ByteSize;
use contract::{Error, Result, Section};
use formats::encode::EncodeFormat;
use schemars::JsonSchema;
use serde::Deserialize;
use state::store::Access;

/// Settings of an object store sink.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where objects go: `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`,
    /// `file:///folder` or a path. What the settings below do not say comes from the environment,
    /// as in the stores' own tools (`AWS_…`, `AZURE_…`, `GOOGLE_…`).
    pub url: String,

    /// The address of a store that is not the cloud's own, such as `http://127.0.0.1:9000`. For
    /// Azure it holds the account: `http://127.0.0.1:10000/account`.
    #[serde(default)]
    pub endpoint: Option<String>,

    /// Whether the endpoint may be reached without TLS.
    #[serde(default)]
    pub allow_http: bool,

    /// Refuses an endpoint without TLS, whatever `allow_http` says.
    #[serde(default)]
    pub require_tls: bool,

    /// The region of an S3 bucket; `us-east-1` by default. Where a GCS bucket that is made is to
    /// lie; `US` by default.
    #[serde(default)]
    pub region: Option<String>,

    /// S3: the id of the access key. Azure: the name of the account.
    #[serde(default)]
    pub access_key: Option<String>,

    /// S3: the secret of the access key. Azure: the key of the account. GCS: the key of a service
    /// account, as JSON.
    #[serde(default)]
    pub secret_key: Option<String>,

    /// Where an S3 bucket's name stands in an address.
    #[serde(default)]
    pub addressing: Addressing,

    /// Further options of the store by the names of the crate object_store, such as
    /// `sse_kms_key_id`, `client_id`, `proxy_url` or `timeout`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,

    /// The names of objects below the prefix. `{column}` stands for a value, `{column:%Y-%m-%d}`
    /// for a time; rows with different ones go to different objects. `{pipeline}`, `{sink}`,
    /// `{split}` (a hash of pipeline, sink and split), `{position}` (of the first row), `{epoch}`
    /// and `{unix}` (the seconds since 1970 of the first row, in the first time column of the
    /// template, else in `ts`) tell objects apart; `{split}` and `{position}` must be there.
    /// Values are percent-encoded, and cut where they are long; a null or empty one is written as
    /// in Hive. Default: `{pipeline}/{sink}/{split}-{position}-{epoch}` with the extension of the
    /// format.
    #[serde(default)]
    pub key: Option<String>,

    /// How rows are written.
    #[serde(default)]
    pub format: Format,

    /// How objects are compressed; in Parquet, how their pages are. By default Parquet is
    /// compressed with zstd, and all else not at all.
    #[serde(default)]
    pub compression: Option<Compression>,

    /// Whether to make an S3 or GCS bucket, an Azure container or a folder that does not exist.
    #[serde(default)]
    pub create_bucket: bool,

    /// The project in which a GCS bucket is made; by default that of the service account, or what
    /// the environment variable `GOOGLE_CLOUD_PROJECT` says.
    #[serde(default)]
    pub project: Option<String>,

    /// An object is closed once it has this many rows, at the next position.
    #[serde(default)]
    pub rows_max: Option<u64>,

    /// An object is closed once its rows have this size before they are written and compressed,
    /// at the next position.
    #[serde(default = "bytes_max_default")]
    pub bytes_max: ByteSize,

    /// Whether rows carry where they came from (`_split`, `_position`, `_epoch`). Without it
    /// `audit` can only count.
    #[serde(default = "yes")]
    pub origin: bool,
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

/// How rows become bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Jsonl,
    /// Parquet.
    Parquet,
    /// Comma-separated values under a line of names.
    Csv,
    /// The column `message` alone where there is one, else all columns with tabs between them.
    /// `audit` cannot read it back.
    Text,
}

/// How objects are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Config {
    /// Reads and checks the settings of a sink.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn read(section: &Section) -> Result<Self> {
        let config: Self = section.read()?;
        let plain = config.endpoint.as_ref().is_some_and(|url| !url.starts_with("https://"));
        if config.require_tls && plain {
            return Err(Error::config("the endpoint does not use TLS")
                .field("endpoint")
                .hint("write `https://…`, or leave `require_tls` out"));
        }
        for (name, zero) in
            [("rows_max", config.rows_max == Some(0)), ("bytes_max", config.bytes_max.0 == 0)]
        {
            if zero {
                return Err(Error::config("expected a number above 0").field(name));
            }
        }
        Ok(config)
    }

    /// How objects are compressed.
    pub fn compression(&self) -> Compression {
        self.compression.unwrap_or(match self.format {
            Format::Parquet => Compression::Zstd,
            Format::Jsonl | Format::Csv | Format::Text => Compression::None,
        })
    }

    /// How to reach the store.
    pub fn access(&self) -> Access {
        Access {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            allow_http: self.allow_http,
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            options: self.options.clone(),
        }
    }

    /// The template of names.
    pub fn key(&self) -> String {
        let stem = "{pipeline}/{sink}/{split}-{position}-{epoch}";
        self.key.clone().unwrap_or_else(|| format!("{stem}.{}", self.extension()))
    }

    fn extension(&self) -> &'static str {
        match (self.format, self.compression()) {
            (Format::Parquet, _) => "parquet",
            (Format::Jsonl, Compression::None) => "jsonl",
            (Format::Jsonl, Compression::Gzip) => "jsonl.gz",
            (Format::Jsonl, Compression::Zstd) => "jsonl.zst",
            (Format::Csv, Compression::None) => "csv",
            (Format::Csv, Compression::Gzip) => "csv.gz",
            (Format::Csv, Compression::Zstd) => "csv.zst",
            (Format::Text, Compression::None) => "txt",
            (Format::Text, Compression::Gzip) => "txt.gz",
            (Format::Text, Compression::Zstd) => "txt.zst",
        }
    }

    /// What the store says that an object is.
    pub fn content_type(&self) -> &'static str {
        match (self.format, self.compression()) {
            (Format::Parquet, _) => "application/vnd.apache.parquet",
            (_, Compression::Gzip) => "application/gzip",
            (_, Compression::Zstd) => "application/zstd",
            (Format::Jsonl, Compression::None) => "application/json",
            (Format::Csv, Compression::None) => "text/csv",
            (Format::Text, Compression::None) => "text/plain; charset=utf-8",
        }
    }
}

impl Format {
    /// The encoder of lines; none for Parquet.
    pub fn lines(self) -> Option<EncodeFormat> {
        match self {
            Self::Jsonl => Some(EncodeFormat::Json),
            Self::Csv => Some(EncodeFormat::Csv),
            Self::Text => Some(EncodeFormat::Text),
            Self::Parquet => None,
        }
    }
}

fn yes() -> bool {
    true
}

fn bytes_max_default() -> ByteSize {
    ByteSize(128 << 20)
}
