//! The settings of the memory connector.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a `memory` source.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Rows in each split; the column `number` counts from 0.
    pub rows_max: u64,

    /// Rows in one batch.
    #[serde(default = "batch_rows_default")]
    pub batch_rows: u64,

    /// Splits, named `0`, `1`, ….
    #[serde(default = "splits_default")]
    pub splits: u32,
}

/// Settings of a `memory` sink.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// The name under which the rows are kept; the sink's own name by default.
    #[serde(default)]
    pub store: Option<String>,

    /// Which kind of destination to play.
    #[serde(default)]
    pub kind: Kind,

    /// Refuse rows whose column `number` is a multiple of this; 0 refuses none.
    #[serde(default)]
    pub refuse_multiples_of: u64,
}

/// The kinds of destination of EPOCH §3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rows and token in one transaction.
    #[default]
    Transaction,
    /// Rows wait under a name until they are published.
    Staged,
    /// Rows overwrite themselves by origin.
    Idempotent,
    /// Rows are gone once flushed.
    None,
}

fn batch_rows_default() -> u64 {
    1024
}

fn splits_default() -> u32 {
    1
}
