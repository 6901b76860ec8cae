//! Which column of the input goes into which column of the table, and the statements for it.

use arrow::datatypes::{Schema, SchemaRef};
use contract::record::{ORDINAL, is_origin};
use contract::{Error, Result, Section};

use crate::catalog::{Base, Shape, TableColumn, Target};
use crate::encode::fits;
use crate::sieve::Sieve;
use crate::table::{TableName, quoted, quoted_list};

/// Kinds of `pg_class` that `LOCK` takes: tables, views, partitioned tables.
const LOCKABLE: [&str; 3] = ["r", "v", "p"];
/// The temporary table of rows that replace others; behind it stands the number of the table.
const STAGE: &str = "pg_temp.logmill_upsert";

/// A column that is written.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name, here and there.
    pub name: String,
    /// Its number in a batch.
    pub index: usize,
    /// What it holds.
    pub target: Target,
    /// Whether it refuses null.
    pub not_null: bool,
    /// The type that its values have first.
    pub base: Base,
    /// Its type as SQL writes it.
    pub shown: String,
}

/// What is written where, and how.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The table.
    pub table: TableName,
    /// Its number among those that its writer knows.
    pub number: usize,
    /// Whether rows chose it: one that is gone then takes no other one with it.
    pub by_rows: bool,
    /// The table that it was made for: rows of it fit no other one.
    pub shape: Shape,
    /// Keeps the table as it is until the transaction ends; none for what cannot be locked.
    pub lock: Option<String>,
    /// The columns that are written, in the order of a row.
    pub columns: Vec<Column>,
    /// Takes rows.
    pub copy: String,
    /// Brings them from a temporary table to the table, where rows replace others.
    pub upsert: Option<Upsert>,
    /// Tries rows one by one; none where a single row would be written another way than many.
    pub sieve: Option<Sieve>,
}

/// A table as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which table it is. Looked at before the columns, so that no change between is missed.
    pub shape: Shape,
    /// Its columns.
    pub columns: Vec<TableColumn>,
}

/// What comes in.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The columns of every batch.
    pub schema: &'a SchemaRef,
    /// Whether the origin is written.
    pub with_origin: bool,
    /// Columns that are a key, where rows replace others.
    pub key: &'a [String],
    /// Whether rows choose the table.
    pub by_rows: bool,
}

/// How rows replace others.
#[derive(Clone, Debug)]
pub struct Upsert {
    /// Makes the temporary table, unless the connection has it.
    pub create: String,
    /// Moves its rows to the table.
    pub merge: String,
    /// What stands behind an `INSERT` of a row that may replace another.
    pub on_conflict: String,
    /// Empties it.
    pub clear: String,
}

/// The numbers of the columns that a table gets.
///
/// Rows always come with their origin, because a refused row is named by it.
pub fn written(schema: &Schema, with_origin: bool) -> impl Iterator<Item = usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(move |(_, field)| with_origin || !is_origin(field.name())).map(|(at, _)| at)
}

impl Layout {
    /// Brings the input's columns and those of a table together.
    ///
    /// # Errors
    /// Config: they can never fit; the message names the column and both types.
    pub fn new(
        input: &Input<'_>,
        (table, number): (&TableName, usize),
        there: &Found,
    ) -> Result<Self> {
        let Found { shape, columns: there } = there;
        let mut columns = Vec::new();
        let Input { schema, with_origin, key, by_rows } = *input;
        for index in written(schema, with_origin) {
            columns.push(column(schema, index, table, there)?);
        }
        let given = |name: &str| columns.iter().any(|column| column.name == name);
        let starving = there.iter().find(|column| {
            column.not_null && !column.has_default && !column.generated && !given(&column.name)
        });
        if let Some(column) = starving {
            return Err(Error::config(format!(
                "column {:?} of table \"{}\" must not be null, and the input has no such column",
                column.name,
                table.shown()
            ))
            .hint("give it a default, or add the column in a `sql` transform"));
        }
        let names = quoted_list(columns.iter().map(|column| column.name.as_str()));
        let stage = format!("{STAGE}_{number}");
        let upsert = (!key.is_empty()).then(|| upsert(table, &stage, &columns, key));
        let into = if upsert.is_some() { stage } else { table.to_string() };
        let copy = format!("COPY {into} ({names}) FROM STDIN (FORMAT binary)");
        // Rules hold for statements and not for `COPY`.
        let sieve =
            (!shape.has_rules).then(|| Sieve::new((table, number), &columns, upsert.as_ref()));
        let lock = LOCKABLE
            .contains(&shape.kind.as_str())
            .then(|| format!("LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE"));
        let (table, shape) = (table.clone(), shape.clone());
        Ok(Self { table, number, by_rows, shape, lock, columns, copy, upsert, sieve })
    }
}

fn column(
    schema: &Schema,
    index: usize,
    table: &TableName,
    there: &[TableColumn],
) -> Result<Column> {
    let field = schema.field(index);
    let name = field.name();
    let shown = table.shown();
    let Some(found) = there.iter().find(|column| column.name == *name) else {
        let message = format!("table \"{shown}\" has no column {name:?}");
        return Err(Error::config(message).hint(missing_hint(name, there)));
    };
    if found.generated {
        let message = format!("column {name:?} of table \"{shown}\" is filled by the server alone");
        return Err(Error::config(message).hint("leave it out in a `sql` transform"));
    }
    if !fits(field.data_type(), &found.target) {
        return Err(Error::config(format!(
            "column {name:?} is {} here and {} in table \"{shown}\"",
            field.data_type(),
            found.shown
        ))
        .hint("convert it in a `sql` transform: `arrow_cast(column, 'Int64')`, `to_char(…)`"));
    }
    Ok(Column {
        name: name.clone(),
        index,
        target: found.target,
        not_null: found.not_null,
        base: found.base.clone(),
        shown: found.shown.clone(),
    })
}

fn missing_hint(name: &str, there: &[TableColumn]) -> String {
    if name == ORDINAL {
        return format!(
            "several ways lead to this sink, and the rows of each have a number: \
             ALTER TABLE … ADD COLUMN {ORDINAL} bigint NOT NULL DEFAULT 0"
        );
    }
    if is_origin(name) {
        return "add `_split text, _position bigint, _epoch bigint` (and `_ordinal bigint` where \
                several ways lead to the sink), or set `origin: false`"
            .to_owned();
    }
    let likely = Section::did_you_mean(name, there.iter().map(|column| column.name.as_str()));
    format!("ALTER TABLE … ADD COLUMN, or leave it out in a `sql` transform; {likely}")
}

/// The newest of the rows with one key wins: rows stand in the temporary table as they came.
fn upsert(table: &TableName, stage: &str, columns: &[Column], key: &[String]) -> Upsert {
    let names = quoted_list(columns.iter().map(|column| column.name.as_str()));
    let keys = quoted_list(key.iter().map(String::as_str));
    let others = columns.iter().filter(|column| !key.contains(&column.name));
    let replaced: Vec<_> =
        others.map(|column| format!("{0} = EXCLUDED.{0}", quoted(&column.name))).collect();
    let action = match replaced.is_empty() {
        true => "NOTHING".to_owned(),
        false => format!("UPDATE SET {}", replaced.join(", ")),
    };
    let on_conflict = format!("ON CONFLICT ({keys}) DO {action}");
    Upsert {
        create: format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ON COMMIT DELETE ROWS \
             AS SELECT {names} FROM {table} WITH NO DATA"
        ),
        merge: format!(
            "INSERT INTO {table} ({names}) SELECT DISTINCT ON ({keys}) {names} FROM {stage} \
             ORDER BY {keys}, ctid DESC {on_conflict}"
        ),
        on_conflict,
        clear: format!("TRUNCATE {stage}"),
    }
}
