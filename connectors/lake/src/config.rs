//! The settings of a lake sink; the doc comments are their documentation.

use std::path::Path;

use contract::quantity::{ByteSize, Period};
use contract::spec::joined;
use contract::{Error, Result, Section};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use stores::Settings;

use crate::partition::PartitionBy;
use crate::table::Location;

/// Settings of a lake sink.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the table: letters, digits, `_` and `-`. `query` knows the table under this name.
    pub table: String,

    /// Where the table lies.
    #[serde(skip)]
    pub store: Settings,

    /// Partition columns, outermost first: `day(ts)`, `hour(ts)` or `month(ts)` of a timestamp
    /// (they make the columns `ts_day`, `ts_hour`, `ts_month`), or a column of text, whole
    /// numbers, booleans or dates. One expression or a list. Fixed once the table exists.
    #[serde(default)]
    pub partition_by: Partitioning,

    /// Whether rows carry where they came from (`_split`, `_position`, `_epoch`, and
    /// `_ordinal` where several rows come of one record). Without it `audit` can only count.
    #[serde(default = "contract::section::yes")]
    pub origin: bool,

    /// Compression of the Parquet files.
    #[serde(default)]
    pub compression: Compression,

    /// A Parquet file is closed once it has this size.
    #[serde(default = "file_bytes_default")]
    pub file_bytes_max: ByteSize,

    /// A row group is closed once it has this many rows, or earlier where memory is short.
    #[serde(default = "row_group_rows_default")]
    pub row_group_rows_max: usize,

    /// How small files are merged, and when old files and log entries are removed.
    #[serde(default)]
    pub maintenance: MaintenanceConfig,
}

/// Tables that `query` fills itself.
const RESERVED: [&str; 2] = ["late", "ledger"];
/// Tables of ours in the embedded lake, of which there is no other.
const OURS: [&str; 2] = [DEAD_LETTERS, "dead_letter_states"];
/// The table of dead letters; its rows say in the column `pipeline` whose they are.
pub const DEAD_LETTERS: &str = "dead_letters";

/// Partition expressions: one, or a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Partitioning {
    /// The table is not partitioned.
    #[default]
    None,
    /// One expression.
    One(String),
    /// Several, outermost first.
    Many(Vec<String>),
}

/// How pages of a Parquet file are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard, level 1: smallest files.
    #[default]
    Zstd,
    /// Snappy: larger files, a little less work.
    Snappy,
    /// LZ4: as Snappy.
    Lz4,
    /// None.
    None,
}

/// Background care of a table, done by the pipeline that writes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// Whether this sink takes care of the table at all.
    #[serde(default = "contract::section::yes")]
    pub enabled: bool,

    /// A checkpoint of the table's log is written, small files are merged and old ones removed
    /// each time this many commits were made.
    #[serde(default = "commits_default")]
    pub every_commits: u64,

    /// Files below this size are merged with others like them.
    #[serde(default = "compact_below_default")]
    pub compact_below: ByteSize,

    /// How many files of like size must be there before they are merged; 0 turns merging off.
    #[serde(default = "compact_files_default")]
    pub compact_files_min: usize,

    /// Entries of the table's log that a checkpoint has made superfluous are kept this long, for
    /// looking at older versions.
    #[serde(default = "keep_log_default")]
    pub keep_log: Period,

    /// Data files that no longer belong to the table are kept this long, for readers that still
    /// use them.
    #[serde(default = "keep_files_default")]
    pub keep_files: Period,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            every_commits: commits_default(),
            compact_below: compact_below_default(),
            compact_files_min: compact_files_default(),
            keep_log: keep_log_default(),
            keep_files: keep_files_default(),
        }
    }
}

impl Config {
    /// The settings and those of the store, for people.
    pub fn schema() -> Schema {
        joined(schemars::schema_for!(Self), schemars::schema_for!(Settings), &[])
    }

    /// Reads and checks the settings of a sink.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn read(section: &Section) -> Result<Self> {
        let (store, config) = section.read_with::<Settings, Self>()?;
        let config = Self { store, ..config };
        config.check().map_err(|error| error.at(section.place()))?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if self.table.contains(['{', '}']) {
            return Err(Error::config(format!("{:?} names several tables", self.table))
                .field("table")
                .hint(
                    "a sink has one table, whose log holds the epoch with its token: \
                     `partition_by: column` keeps values apart in it, a `route` transform divides \
                     rows among sinks",
                ));
        }
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if self.table.is_empty() || !self.table.chars().all(allowed) {
            return Err(Error::config(format!("{:?} is no name for a table", self.table))
                .field("table")
                .hint("use letters, digits, `_` and `-`; `url` says where the table lies"));
        }
        // Queries take names in other letters for the same.
        let folded = self.table.to_lowercase();
        let is_another = self.store.url.is_some() || folded != self.table;
        let ours = is_another && OURS.contains(&folded.as_str());
        if ours || RESERVED.contains(&folded.as_str()) {
            return Err(Error::config(format!("the table {:?} belongs to logmill", self.table))
                .field("table")
                .hint("choose another name"));
        }
        for (name, zero) in [
            ("file_bytes_max", self.file_bytes_max.0 == 0),
            ("row_group_rows_max", self.row_group_rows_max == 0),
            ("maintenance.every_commits", self.maintenance.every_commits == 0),
        ] {
            if zero {
                return Err(Error::config("expected a number above 0").field(name));
            }
        }
        stores::check(&self.store)?;
        self.partitions().map(|_| ())
    }

    /// Where the table lies; `data` is the folder of the embedded lake.
    pub fn location(&self, data: &Path) -> Location {
        match self.store.url {
            Some(_) => Location { store: self.store.clone() },
            None => Location::embedded(data, &self.table),
        }
    }

    /// The partition columns, outermost first.
    ///
    /// # Errors
    /// Config: an expression that we do not know.
    pub fn partitions(&self) -> Result<Vec<PartitionBy>> {
        let expressions: &[String] = match &self.partition_by {
            Partitioning::None => &[],
            Partitioning::One(expression) => std::slice::from_ref(expression),
            Partitioning::Many(expressions) => expressions,
        };
        let read = expressions.iter().map(|expression| PartitionBy::parse(expression));
        read.collect::<Result<_>>().map_err(|error| error.field("partition_by"))
    }
}

fn file_bytes_default() -> ByteSize {
    ByteSize(128 << 20)
}

fn row_group_rows_default() -> usize {
    1 << 20
}

fn commits_default() -> u64 {
    50
}

fn compact_below_default() -> ByteSize {
    ByteSize(32 << 20)
}

fn compact_files_default() -> usize {
    8
}

fn keep_log_default() -> Period {
    Period::from_secs(24 * 3600)
}

fn keep_files_default() -> Period {
    Period::from_secs(7 * 24 * 3600)
}
