//! The settings of the source and of the sink.

use contract::quantity::ByteSize;
use formats::compression::Limits;
use formats::encode::EncodeFormat;
use formats::join::Join;
use schemars::JsonSchema;
use serde::Deserialize;

/// Reads lines from standard input, plain or compressed with gzip, zstd, bzip2 or xz.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A longer line becomes a dead letter, with so many of its first bytes.
    #[serde(default = "line_bytes_max_default")]
    pub line_bytes_max: ByteSize,

    /// The largest window of a stream of zstd, from 8MiB to 2GiB; so much memory is taken while it
    /// is read. `zstd --long` makes windows of 128MiB, `--long=31` of 2GiB.
    #[serde(default = "Limits::zstd_window_max_default")]
    pub zstd_window_max: ByteSize,

    /// Joins lines that a container runtime wrote in parts, for `format: docker` and `format: cri`:
    /// as in a source of files.
    #[serde(default)]
    pub join: Option<Join>,
}

/// Writes rows to standard output.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// How rows are written.
    #[serde(default)]
    pub format: EncodeFormat,

    /// Whether rows carry their origin: the columns `_split`, `_position` and `_epoch`, and
    /// `_ordinal` where several rows come of one record.
    #[serde(default)]
    pub origin: bool,
}

fn line_bytes_max_default() -> ByteSize {
    ByteSize(1 << 20)
}
