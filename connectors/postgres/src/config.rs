//! The settings of a `postgres` sink; the doc comments are their documentation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use contract::quantity::Period;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Settings of a `postgres` sink.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database: `postgres://user:password@host:5432/database`, several hosts with commas
    /// between them. As in libpq, `?sslmode=` takes `disable`, `prefer` (default), `require`,
    /// `verify-ca` or `verify-full`, beside `sslrootcert`, `sslcert` and `sslkey` (PEM files).
    pub url: String,

    /// The password, instead of one in `url`, where some characters would have to be written as
    /// `%40`.
    #[serde(default)]
    pub password: Option<String>,

    /// The table: `table`, which is in the schema `public`, or `schema.table`. Columns in braces
    /// let rows name it: `logs_{tenant}`, with times as `logs_{ts:%Y_%m}`; `{{` and `}}` stand for
    /// braces.
    pub table: String,

    /// Whether a table is made if there is none: `false`, `true` for the input's columns with
    /// fitting types, or the settings of its columns. One that rows name is made when the first of
    /// them comes. A table that exists stays as it is.
    #[serde(default)]
    pub create: Create,

    /// Where rows name their table, the most of them that a lineage writes to before the next
    /// start. Rows that name one more become dead letters.
    #[serde(default = "tables_max_default")]
    pub tables_max: usize,

    /// Columns that are a key: a row with a key that is there already takes its place. The table
    /// must have a unique index on exactly these columns; `create` makes it. `audit` can then
    /// prove nothing, because rows disappear under others.
    #[serde(default)]
    pub upsert_by: Vec<String>,

    /// Whether rows carry where they came from, in the columns `_split`, `_position` and
    /// `_epoch`, and in `_ordinal` where several rows come of one record. Without them `audit` can
    /// only count.
    #[serde(default = "contract::section::yes")]
    pub origin: bool,

    /// How long a connection may take to come about.
    #[serde(default = "connect_timeout_default")]
    pub connect_timeout: Period,

    /// How long the server may take to answer a statement, waiting for locks included.
    #[serde(default = "statement_timeout_default")]
    pub statement_timeout: Period,

    /// The server gives up a transaction in which nothing happens for this long, as when a process
    /// sleeps. Must be longer than `epoch.interval` and the longest failure of another sink that
    /// should not make the epoch's rows be sent again.
    #[serde(default = "idle_timeout_default")]
    pub idle_timeout: Period,
}

/// Whether and how a table is made.
#[derive(Clone, Debug, Default)]
pub enum Create {
    /// It must exist.
    #[default]
    Never,
    /// It is made if it does not exist.
    IfAbsent(TableConfig),
}

/// How a table is made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// Name of a first column that the server numbers, the table's primary key; its type is
    /// `serial` unless `columns` says `bigserial`.
    #[serde(default)]
    pub serial_id: Option<String>,

    /// Types of single columns in SQL, as `varchar(64) not null`; the others fit what comes in.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,

    /// Indexes: from name to a list of columns. Where rows name their table, the server names
    /// each index, because no two in a schema may have one name.
    #[serde(default)]
    pub indexes: BTreeMap<String, Vec<String>>,
}

impl Config {
    /// The settings of a new table, if one may be made.
    pub fn new_table(&self) -> Option<&TableConfig> {
        match &self.create {
            Create::Never => None,
            Create::IfAbsent(table) => Some(table),
        }
    }
}

/// Reads `true`, `false` or a map. A visitor rather than an untagged enum, so that an error inside
/// the map keeps its place and its hint.
impl<'de> Deserialize<'de> for Create {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = Create;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`true`, `false` or the settings of a new table")
            }

            fn visit_bool<E: Error>(self, wanted: bool) -> Result<Create, E> {
                match wanted {
                    true => Ok(Create::IfAbsent(TableConfig::default())),
                    false => Ok(Create::Never),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Create, A::Error> {
                let table = TableConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Create::IfAbsent(table))
            }
        }
        from.deserialize_any(Choice)
    }
}

impl Serialize for Create {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => to.serialize_bool(false),
            Self::IfAbsent(table) => table.serialize(to),
        }
    }
}

impl JsonSchema for Create {
    fn schema_name() -> Cow<'static, str> {
        "Create".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<TableConfig>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, table] })
    }
}

/// The server locks the tables of an epoch until it is committed, and by default has room for some
/// 6,400 locks.
pub fn tables_max_default() -> usize {
    1000
}

fn connect_timeout_default() -> Period {
    Period::from_secs(10)
}

fn statement_timeout_default() -> Period {
    Period::from_secs(60)
}

fn idle_timeout_default() -> Period {
    Period::from_secs(15 * 60)
}
