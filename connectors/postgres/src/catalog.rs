//! What the server says of a table: its columns, and which of them are a key.

use contract::{Error, Result};
use tokio_postgres::ToStatement;
use tokio_postgres::types::{Kind, Type};

use crate::client::Connection;
use crate::table::{TOKENS, TableName, is_name, quoted};

/// What a column holds, as far as writing to it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `numeric`, whatever its scale: the server rounds.
    Numeric,
    /// `text`, `varchar`, `char`, `citext` and enums.
    Text {
        /// The most characters that fit.
        chars_max: Option<usize>,
    },
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `bytea`.
    Bytea,
    /// `timestamptz` and `timestamp`, in UTC.
    Timestamp,
    /// `date`.
    Date,
    /// `inet`.
    Inet,
    /// `uuid`.
    Uuid,
    /// Nothing that we can write.
    Other,
}

impl Target {
    /// Whether it is plain text.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text { .. })
    }

    fn of(column_type: &Type, modifier: i32) -> Self {
        // The length of text is kept with the size of a header added.
        let chars_max = usize::try_from(modifier - 4).ok().filter(|_| modifier >= 4);
        match *column_type {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::TEXT => Self::Text { chars_max: None },
            Type::VARCHAR | Type::BPCHAR => Self::Text { chars_max },
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::BYTEA => Self::Bytea,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => Self::Timestamp,
            Type::DATE => Self::Date,
            Type::INET => Self::Inet,
            Type::UUID => Self::Uuid,
            _ => match column_type.kind() {
                Kind::Enum(_) => Self::Text { chars_max: None },
                Kind::Domain(inner) => Self::of(inner, modifier),
                Kind::Simple if column_type.name() == "citext" => Self::Text { chars_max: None },
                _ => Self::Other,
            },
        }
    }
}

/// A column of a table that exists.
#[derive(Clone, Debug)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub target: Target,
    /// Its type as SQL writes it.
    pub shown: String,
    /// Whether it refuses null.
    pub not_null: bool,
    /// Whether the server fills it where nothing is given.
    pub has_default: bool,
    /// Whether nothing may be given.
    pub generated: bool,
    /// The type that its values have before they are brought into the column's own.
    pub base: Base,
}

/// The type under the domains of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its name in SQL, without a length or a scale.
    pub name: String,
    /// Whether text becomes a value of it only by an explicit cast.
    pub by_cast: bool,
}

impl Base {
    fn of(column_type: &Type) -> Self {
        match column_type.kind() {
            Kind::Domain(inner) => Self::of(inner),
            kind => Self {
                name: format!("{}.{}", quoted(column_type.schema()), quoted(column_type.name())),
                by_cast: matches!(kind, Kind::Enum(_))
                    || matches!(*column_type, Type::JSON | Type::JSONB),
            },
        }
    }
}

/// Which table stands under a name, and what its columns are: another one of either must be read
/// again before a row is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The number that the server gave the table when it was made.
    pub id: u32,
    /// Table, view, partitioned or foreign table, as `pg_class` says.
    pub kind: String,
    /// Whether rules change what a statement does.
    pub has_rules: bool,
    /// The columns with everything that decides how they are written.
    pub columns: String,
}

/// Asks for the [`Shape`] of a table, by schema and name.
pub const SHAPE: &str = "SELECT c.oid, c.relkind::text, c.relhasrules, coalesce((\
     SELECT string_agg(concat_ws(' ', a.attnum, quote_ident(a.attname), a.atttypid, a.atttypmod, \
     a.attnotnull, a.atthasdef, a.attidentity::text, a.attgenerated::text), ', ' \
     ORDER BY a.attnum) FROM pg_attribute a \
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = $2";

/// The shape of a table; none if there is no such table. `statement` is [`SHAPE`], or made of it.
///
/// # Errors
/// From the server.
pub async fn shape(
    connection: &Connection,
    statement: &(impl ToStatement + ?Sized + Sync),
    table: &TableName,
) -> Result<Option<Shape>> {
    let what = format!("could not look at table \"{}\"", table.shown());
    let rows = connection.query(&what, statement, &[&table.schema, &table.name]).await?;
    Ok(rows.first().map(|row| Shape {
        id: row.get(0),
        kind: row.get(1),
        has_rules: row.get(2),
        columns: row.get(3),
    }))
}

const COLUMNS: &str = "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypmod, \
     a.attnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
     a.attgenerated <> '' OR a.attidentity = 'a', \
     (SELECT c.relkind::text FROM pg_class c WHERE c.oid = a.attrelid) \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
     WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Kinds of `pg_class` that never take rows.
const NO_TABLES: [(&str, &str); 6] = [
    ("m", "a materialized view"),
    ("S", "a sequence"),
    ("c", "a type"),
    ("i", "an index"),
    ("I", "an index"),
    ("t", "a table of the system"),
];

/// The columns of a table, in order; none if there is no such table.
///
/// # Errors
/// Config: something else has its name. From the server.
pub async fn columns(connection: &Connection, table: &TableName) -> Result<Vec<TableColumn>> {
    let what = format!("could not read the columns of table \"{}\"", table.shown());
    let rows = connection.query(&what, COLUMNS, &[&table.to_string()]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let kind: String = rows[0].get(6);
    if let Some((_, found)) = NO_TABLES.iter().find(|(known, _)| *known == kind) {
        return Err(Error::config(format!(
            "\"{}\" is {found}, which takes no rows",
            table.shown()
        ))
        .field("table")
        .hint("name a table, or with `create: true` what is not there yet"));
    }
    // The types come with the description of a statement, and so need no table of ours.
    let types = connection.column_types(&what, &format!("SELECT * FROM {table}")).await?;
    let columns = rows.iter().map(|row| {
        let name: String = row.get(0);
        let column_type = types.iter().find(|(known, _)| *known == name);
        let column_type = column_type.map(|(_, it)| it);
        let target = column_type.map_or(Target::Other, |it| Target::of(it, row.get(2)));
        let base = Base::of(column_type.unwrap_or(&Type::UNKNOWN));
        TableColumn {
            name,
            target,
            shown: row.get(1),
            not_null: row.get(3),
            has_default: row.get(4),
            generated: row.get(5),
            base,
        }
    });
    Ok(columns.collect())
}

/// Whether there is such a table.
///
/// # Errors
/// From the server.
pub async fn exists(connection: &Connection, table: &TableName) -> Result<bool> {
    let what = format!("could not look for table \"{}\"", table.shown());
    // Not `to_regclass`: inside a transaction it may answer from before another one committed.
    let asked = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n \
                 ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)";
    let rows = connection.query(&what, asked, &[&table.schema, &table.name]).await?;
    Ok(rows.iter().any(|row| row.get(0)))
}

/// What holds rows under names that `LIKE` takes, but for tables of tokens: whether it may be read,
/// and whether it is a partition of another one among them that may be.
const ALIKE: &str = "WITH RECURSIVE alike AS (\
     SELECT c.oid, c.relname, has_any_column_privilege(c.oid, 'SELECT') AS readable \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname LIKE $2 AND c.relname <> $3 \
     AND c.relkind IN ('r', 'p', 'f')), \
     below AS (SELECT i.inhrelid AS oid FROM pg_inherits i JOIN alike a ON a.oid = i.inhparent \
     WHERE a.readable \
     UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON b.oid = i.inhparent) \
     SELECT relname, oid, readable, oid IN (SELECT oid FROM below) FROM alike ORDER BY relname";

/// A table whose name is like others.
#[derive(Clone, Debug)]
pub struct Alike {
    /// Its name.
    pub table: TableName,
    /// The number that the server gave it.
    pub id: u32,
    /// Whether the login may read any of its columns.
    pub readable: bool,
    /// Whether its rows are read with those of a table that it is a partition of.
    pub is_partition: bool,
}

/// The tables of a schema whose names `LIKE` takes.
///
/// # Errors
/// From the server.
pub async fn alike(connection: &Connection, beside: &TableName, like: &str) -> Result<Vec<Alike>> {
    let what = format!("could not look for tables in schema {:?}", beside.schema);
    let rows = connection.query(&what, ALIKE, &[&beside.schema, &like, &TOKENS]).await?;
    let alike = rows.iter().map(|row| Alike {
        table: beside.beside(row.get(0)),
        id: row.get(1),
        readable: row.get(2),
        is_partition: row.get(3),
    });
    Ok(alike.filter(|found| is_name(&found.table.name)).collect())
}

/// Whether there is such a schema.
///
/// # Errors
/// From the server.
pub async fn schema_exists(connection: &Connection, table: &TableName) -> Result<bool> {
    let what = format!("could not look for schema {:?}", table.schema);
    let asked = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    let rows = connection.query(&what, asked, &[&table.schema]).await?;
    Ok(rows.iter().any(|row| row.get(0)))
}

/// Why the login cannot write a table by `COPY`, which may be asked for only where it can: a `COPY`
/// that does not begin takes the connection with it.
///
/// # Errors
/// From the server.
pub async fn barred(connection: &Connection, shape: &Shape) -> Result<Option<&'static str>> {
    let asked = "SELECT has_table_privilege($1::oid, 'INSERT'), row_security_active($1::oid)";
    let rows = connection.query("could not look for rights", asked, &[&shape.id]).await?;
    let answer = rows.first().map(|row| (row.get(0), row.get(1)));
    Ok(match answer {
        Some((false, _)) => Some("the login has not the right `INSERT`"),
        Some((_, true)) => Some("row security stands on it, and `COPY` does not go by that"),
        _ => None,
    })
}

/// Whether the login may use what a schema holds.
///
/// # Errors
/// From the server.
pub async fn may_use(connection: &Connection, table: &TableName) -> Result<bool> {
    let what = format!("could not look for schema {:?}", table.schema);
    let asked = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1";
    let rows = connection.query(&what, asked, &[&table.schema]).await?;
    Ok(rows.iter().any(|row| row.get(0)))
}

/// Whether the login may make temporary tables.
///
/// # Errors
/// From the server.
pub async fn may_stage(connection: &Connection) -> Result<bool> {
    let asked = "SELECT has_database_privilege(current_database(), 'TEMPORARY')";
    let rows = connection.query("could not look for the rights of the login", asked, &[]).await?;
    Ok(rows.iter().any(|row| row.get(0)))
}

const KEYS: &str = "SELECT array_agg(a.attname::text) FROM pg_index i \
     JOIN pg_attribute a ON a.attrelid = i.indrelid \
     AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
     WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate \
     AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid";

/// Whether exactly these columns are a key of the table.
///
/// # Errors
/// From the server.
pub async fn is_key(connection: &Connection, table: &TableName, key: &[String]) -> Result<bool> {
    let what = format!("could not read the indexes of table \"{}\"", table.shown());
    let mut wanted = key.to_vec();
    wanted.sort_unstable();
    let rows = connection.query(&what, KEYS, &[&table.to_string()]).await?;
    Ok(rows.iter().any(|row| {
        let mut found: Vec<String> = row.get(0);
        found.sort_unstable();
        found == wanted
    }))
}
