//! The settings of the source and of the sink.

use contract::quantity::ByteSize;
use formats::encode::EncodeFormat;
use schemars::JsonSchema;
use serde::Deserialize;

/// Reads lines from standard input, plain or compressed with gzip or zstd.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A longer line becomes a dead letter, with so many of its first bytes.
    #[serde(default = "line_bytes_max_default")]
    pub line_bytes_max: ByteSize,
}

/// Writes rows to standard output.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// How rows are written.
    #[serde(default)]
    pub format: EncodeFormat,

    /// Whether rows carry their origin: the columns `_split`, `_position` and `_epoch`.
    #[serde(default)]
    pub origin: bool,
}

fn line_bytes_max_default() -> ByteSize {
    ByteSize(1 << 20)
}
