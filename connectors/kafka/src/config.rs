//! The settings of the source and of the sink; the doc comments are their documentation.

use std::collections::BTreeMap;

use contract::property::Properties;
use contract::quantity::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads partitions of Kafka topics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Brokers to ask first: `host:port`, or a list of them.
    pub brokers: OneOrMany,

    /// Topics to read: names, or patterns between slashes such as `/orders-.*/`, which must match
    /// the whole name. Topics and partitions that come later are found while running.
    pub topics: OneOrMany,

    /// The consumer group that divides the partitions among copies of this pipeline. Committed
    /// positions are told to it too, for tools that show lag; where to go on comes from
    /// checkpoints alone. Without a group one process reads all partitions.
    #[serde(default)]
    pub group: Option<String>,

    /// Read these partitions of every topic instead of what a group proposes.
    #[serde(default)]
    pub partitions: Option<Vec<u32>>,

    /// Where to begin on the first run: `earliest`, `latest`, a time such as
    /// `2026-01-31T00:00:00Z` (the first record that is not older), or offsets such as
    /// `{ "orders/0": 1200 }` (other partitions then begin at their beginning). Partitions that
    /// come later begin at their beginning.
    #[serde(default)]
    pub start: StartSetting,

    /// What becomes of a topic that was deleted and made anew under its name.
    #[serde(default)]
    pub recreated: Recreated,

    /// What the columns `message` and `key` are: text, or the bytes as they are.
    #[serde(default)]
    pub format: SourceFormat,

    /// Properties of librdkafka, such as `security.protocol` or `sasl.password`.
    #[serde(default)]
    pub client: Properties,
}

/// What becomes of a topic that was deleted and made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recreated {
    /// It is told, and the new topic is read from its beginning, as another one.
    #[default]
    Read,
    /// The run stops.
    Stop,
}

/// Writes rows to Kafka topics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// Brokers to ask first: `host:port`, or a list of them.
    pub brokers: OneOrMany,

    /// The topic, with columns in braces: `orders`, `logs-{service}`, or `logs-{ts:%Y-%m}` for a
    /// time. A row whose value makes no legal name, or the name of a topic that is not there, is a
    /// dead letter.
    pub topic: String,

    /// The topic whose partition 0 the token is kept under, where `topic` has columns in it.
    #[serde(default)]
    pub token_topic: Option<String>,

    /// The key, with columns in braces: `{user_id}`. A row with null in one of them has no key.
    #[serde(default)]
    pub key: Option<String>,

    /// The partition: a number, or a column in braces. Where it is null the partitioner chooses.
    #[serde(default)]
    pub partition: Option<PartitionSetting>,

    /// Headers: names with values that may have columns in braces. A header is left out of a row
    /// with null in one of them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,

    /// How the value of a record is written.
    #[serde(default)]
    pub format: SinkFormat,

    /// For `text` and `raw`: the column that becomes the value. Null becomes a tombstone.
    #[serde(default = "field_default")]
    pub field: String,

    /// Whether each epoch is one transaction: exactly once for readers that read committed
    /// records. Without it rows are seen at once, and some of them again after a crash.
    #[serde(default = "contract::section::yes")]
    pub transactional: bool,

    /// The broker drops a transaction that is open longer than this: at least three times
    /// `epoch.interval`. Without it, a minute, or three times `epoch.interval` where that is more.
    /// Where the brokers allow less (`transaction.max.timeout.ms`), that is taken.
    #[serde(default)]
    pub transaction_timeout: Option<Period>,

    /// Creates topics that are missing.
    #[serde(default)]
    pub create_topics: Option<CreateTopics>,

    /// The most topics that one process writes to; a row for one more is a dead letter.
    #[serde(default = "topics_max_default")]
    pub topics_max: usize,

    /// How the key chooses a partition.
    #[serde(default)]
    pub partitioner: Partitioner,

    /// How records are compressed.
    #[serde(default)]
    pub compression: Compression,

    /// Whether records carry where they came from, in the headers `logmill-split`,
    /// `logmill-position` and `logmill-epoch`, and in `logmill-ordinal` where several rows come of
    /// one record. Without them `audit` can only count.
    #[serde(default = "contract::section::yes")]
    pub origin: bool,

    /// Properties of librdkafka, such as `security.protocol` or `linger.ms`.
    #[serde(default)]
    pub client: Properties,
}

/// One text, or a list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Where to begin, as it is written.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StartSetting {
    /// `earliest`, `latest` or a time.
    Word(String),
    /// Offsets by `topic/partition`.
    Offsets(BTreeMap<String, i64>),
}

impl Default for StartSetting {
    fn default() -> Self {
        Self::Word("earliest".to_owned())
    }
}

/// What `message` and `key` are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceFormat {
    /// Text. Bad UTF-8 becomes U+FFFD, and `_lossy` is true.
    #[default]
    Text,
    /// Bytes, for whatever is no text.
    Raw,
}

/// How the value of a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SinkFormat {
    /// The row as a JSON object, null where nothing stands.
    #[default]
    Json,
    /// One column as text.
    Text,
    /// One column of bytes or text, as it is.
    Raw,
}

/// A number, or a template.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PartitionSetting {
    /// Always this one.
    Number(u32),
    /// A column in braces.
    Template(String),
}

/// How topics are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTopics {
    /// Number of partitions; the brokers' default if left out.
    #[serde(default)]
    pub partitions: Option<u32>,

    /// Number of replicas; the brokers' default if left out.
    #[serde(default)]
    pub replication: Option<u32>,

    /// Settings of the topic, such as `retention.ms`.
    #[serde(default)]
    pub config: Properties,
}

/// How the key chooses a partition. Rows without a key go to any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Partitioner {
    /// As Kafka's own Java clients do.
    #[default]
    Murmur2,
    /// As Sarama, the Go client, does.
    Fnv1a,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

fn field_default() -> String {
    contract::record::MESSAGE.to_owned()
}

fn topics_max_default() -> usize {
    1000
}
