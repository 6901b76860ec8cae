//! The settings of an object store sink; the doc comments are their documentation.

use contract::quantity::ByteSize;
use contract::spec::joined;
use contract::{Error, Result, Section};
use formats::encode::EncodeFormat;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use stores::Settings;

/// Settings of an object store sink.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where objects go.
    #[serde(skip)]
    pub store: Settings,

    /// The names of objects below the prefix. `{column}` stands for a value, `{column:%Y-%m-%d}`
    /// for a time; rows with different ones go to different objects. `{pipeline}`, `{sink}`,
    /// `{split}` (a hash of pipeline, sink and split), `{position}` (of the first row), `{epoch}`
    /// and `{unix}` (the seconds since 1970 of the first row, in the first time column of the
    /// template, else in `ts`) tell objects apart; `{split}` and `{position}` must be there. Where
    /// several ways lead to the sink, `w` and a hash of the way follow the position, and in what a
    /// replay of dead letters writes, `r` and a hash of the replay.
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
    /// `region` says where a GCS bucket that is made is to lie; `US` by default.
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

    /// Whether rows carry where they came from (`_split`, `_position`, `_epoch`, and
    /// `_ordinal` where several rows come of one record). Without it `audit` can only count.
    #[serde(default = "contract::section::yes")]
    pub origin: bool,
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
    /// The settings and those of the store, for people.
    pub fn schema() -> Schema {
        joined(schemars::schema_for!(Self), schemars::schema_for!(Settings), &["url"])
    }

    /// Reads and checks the settings of a sink.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn read(section: &Section) -> Result<Self> {
        let (store, config) = section.read_with::<Settings, Self>()?;
        if store.url.is_none() {
            return Err(Error::config("the key \"url\" is missing")
                .at(section.place())
                .hint("add `url: …`: a folder, s3://bucket/…, az://container/… or gs://bucket/…"));
        }
        let config = Self { store, ..config };
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

    /// Where objects go: a folder or a URL.
    pub fn url(&self) -> &str {
        self.store.url.as_deref().unwrap_or_default()
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

fn bytes_max_default() -> ByteSize {
    ByteSize(128 << 20)
}
