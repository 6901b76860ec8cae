//! The table that is made where there is none.

use arrow::datatypes::{DataType, Field, Schema};
use contract::record::{ORDINAL, POSITION, is_origin};
use contract::{Error, Result, Section};

use crate::catalog::{self, TableColumn};
use crate::client::Connection;
use crate::config::TableConfig;
use crate::layout::written;
use crate::table::{TableName, check_columns, is_name, quoted, quoted_list};

/// What makes a table.
pub struct NewTable<'a> {
    /// Its name.
    pub table: &'a TableName,
    /// Whether it is the only one of its sink.
    pub is_only: bool,
    /// The columns of every batch.
    pub schema: &'a Schema,
    /// Whether it gets the origin.
    pub with_origin: bool,
    /// The settings.
    pub config: &'a TableConfig,
    /// Its key, where rows replace others.
    pub key: &'a [String],
}

impl NewTable<'_> {
    /// The statements that make it, in order.
    ///
    /// # Errors
    /// Config: the settings do not suit the columns.
    pub fn statements(&self) -> Result<Vec<String>> {
        let mut definitions = Vec::new();
        if let Some(id) = &self.config.serial_id {
            definitions.push(self.serial(id)?);
        }
        let mut names: Vec<&str> = self.config.serial_id.iter().map(String::as_str).collect();
        for index in written(self.schema, self.with_origin) {
            let field = self.schema.field(index);
            definitions.push(self.column(field)?);
            names.push(field.name());
        }
        self.check_names(&names)?;
        if !self.key.is_empty() {
            let kind = if self.config.serial_id.is_some() { "UNIQUE" } else { "PRIMARY KEY" };
            definitions.push(format!("{kind} ({})", quoted_list(as_texts(self.key))));
        }
        let table = self.table;
        let mut statements = vec![format!("CREATE TABLE {table} ({})", definitions.join(", "))];
        for (name, columns) in &self.config.indexes {
            let columns = quoted_list(as_texts(columns));
            // No two indexes of a schema have one name: the server finds one for each table.
            let name = if self.is_only { format!("{} ", quoted(name)) } else { String::new() };
            statements.push(format!("CREATE INDEX {name}ON {table} ({columns})"));
        }
        Ok(statements)
    }

    fn serial(&self, id: &str) -> Result<String> {
        let wanted = self.config.columns.get(id).map_or("serial", |wanted| wanted.trim());
        let known = ["smallserial", "serial", "bigserial"];
        match known.iter().find(|known| known.eq_ignore_ascii_case(wanted)) {
            Some(known) => Ok(format!("{} {known} PRIMARY KEY", quoted(id))),
            None => Err(Error::config(format!("{wanted:?} is no type that the server numbers"))
                .field(format!("create.columns.{id}"))
                .hint("write serial or bigserial")),
        }
    }

    fn column(&self, field: &Field) -> Result<String> {
        let name = field.name();
        if let Some(wanted) = self.config.columns.get(name) {
            check_type(name, wanted)?;
            return Ok(format!("{} {wanted}", quoted(name)));
        }
        let fitting = fitting_type(field.data_type()).ok_or_else(|| {
            Error::config(format!(
                "no type of PostgreSQL fits column {name:?}: {}",
                field.data_type()
            ))
            .hint("convert it in a `sql` transform")
        })?;
        let rule = match is_origin(name) {
            // Fewer ways may lead to the sink later: then no row has a number.
            true if name == ORDINAL => " NOT NULL DEFAULT 0",
            true => " NOT NULL",
            false => "",
        };
        Ok(format!("{} {fitting}{rule}", quoted(name)))
    }

    fn check_names(&self, names: &[&str]) -> Result<()> {
        check_columns(names.iter().copied())?;
        let known = |name: &str, field: String| match names.contains(&name) {
            true => Ok(()),
            false => Err(Error::config(format!("the table has no column {name:?}"))
                .field(field)
                .hint(Section::did_you_mean(name, names.iter().copied()))),
        };
        for name in self.config.columns.keys() {
            known(name, format!("create.columns.{name}"))?;
        }
        for name in self.key {
            known(name, "upsert_by".to_owned())?;
        }
        for (index, columns) in &self.config.indexes {
            let field = format!("create.indexes.{index}");
            if !is_name(index) || columns.is_empty() {
                return Err(Error::config("an index needs a name and a column").field(field));
            }
            for column in columns {
                known(column, field.clone())?;
            }
        }
        Ok(())
    }
}

/// Keeps two processes from making the same table at once: a name for all that Logmill makes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('logmill'))";

/// Makes a table in a transaction of its own, unless it is there.
///
/// # Errors
/// From the server.
pub async fn make_if_absent(
    connection: &Connection,
    table: &TableName,
    statements: &[String],
) -> Result<()> {
    if catalog::exists(connection, table).await? {
        return Ok(());
    }
    let what = format!("could not create table \"{}\"", table.shown());
    connection.execute(&what, &format!("BEGIN; {LOCK}")).await?;
    if !catalog::exists(connection, table).await? {
        connection.execute(&what, &statements.join("; ")).await?;
    }
    connection.execute(&what, "COMMIT").await
}

/// Gives a table of rows that were never numbered the column for their numbers. It stands in none
/// that was made before several ways led to the sink; without origin there is nothing to number.
///
/// # Errors
/// From the server.
pub async fn number_rows(connection: &Connection, table: &TableName) -> Result<()> {
    let columns = catalog::columns(connection, table).await?;
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    if has(ORDINAL) || !has(POSITION) {
        return Ok(());
    }
    let what = format!("could not add a column to table \"{}\"", table.shown());
    connection.execute(&what, &format!("BEGIN; {LOCK}")).await?;
    let column = format!("{} bigint NOT NULL DEFAULT 0", quoted(ORDINAL));
    let add = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}");
    connection.execute(&what, &add).await?;
    connection.execute(&what, "COMMIT").await
}

/// Gives the numbers of rows, which come no more once a single way leads to the sink, a value that
/// stands for none. Tables that were made before had none.
///
/// # Errors
/// From the server.
pub async fn leave_rows_unnumbered(connection: &Connection, table: &TableName) -> Result<()> {
    let columns = catalog::columns(connection, table).await?;
    let starves = |column: &TableColumn| column.not_null && !column.has_default;
    if !columns.iter().any(|column| column.name == ORDINAL && starves(column)) {
        return Ok(());
    }
    let what = format!("could not alter a column of table \"{}\"", table.shown());
    let alter = format!("ALTER TABLE {table} ALTER COLUMN {} SET DEFAULT 0", quoted(ORDINAL));
    connection.execute(&what, &alter).await
}

/// Makes the schema of a table in a transaction of its own, unless it is there.
///
/// # Errors
/// From the server.
pub async fn make_schema_if_absent(connection: &Connection, table: &TableName) -> Result<()> {
    if catalog::schema_exists(connection, table).await? {
        return Ok(());
    }
    let what = format!("could not create schema {:?}", table.schema);
    let schema = quoted(&table.schema);
    let statements = format!("BEGIN; {LOCK}; CREATE SCHEMA IF NOT EXISTS {schema}; COMMIT");
    connection.execute(&what, &statements).await
}

fn as_texts(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

/// Lets types through and nothing that would end the definition of a column.
fn check_type(name: &str, wanted: &str) -> Result<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || " _(),.".contains(letter);
    let open = wanted.matches('(').count();
    let mut depth = 0;
    let nested = wanted.chars().all(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        (0..=1).contains(&depth) && (letter != ',' || depth == 1)
    });
    let sound = wanted.starts_with(|first: char| first.is_ascii_alphabetic())
        && wanted.chars().all(allowed)
        && nested
        && depth == 0
        && open <= 1;
    match sound {
        true => Ok(()),
        false => Err(Error::config(format!("{wanted:?} is no type of a column"))
            .field(format!("create.columns.{name}"))
            .hint("write it as in SQL: varchar(64) not null")),
    }
}

/// The type of a column that can hold every value of an Arrow type.
fn fitting_type(data_type: &DataType) -> Option<String> {
    let plain = match data_type {
        DataType::Dictionary(_, values) => return fitting_type(values),
        DataType::Decimal128(precision, scale) => {
            return Some(match *scale >= 0 {
                true => format!("numeric({precision}, {scale})"),
                false => "numeric".to_owned(),
            });
        }
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20)",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Date32 => "date",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Null => "text",
        _ if data_type.is_string() => "text",
        _ if data_type.is_nested() => "jsonb",
        _ => return None,
    };
    Some(plain.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;
    use contract::record::{position_field, sink_schema};

    use super::*;

    fn check(settings: &str, with_origin: bool, key: &[&str], expect: &[&str]) {
        let is_only = true;
        let schema = sink_schema(
            &Schema::new(vec![
                Field::new("ip", DataType::Utf8View, true),
                Field::new(
                    "ts",
                    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                    true,
                ),
                Field::new(
                    "tags",
                    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
                    true,
                ),
                position_field(),
            ]),
            true,
        );
        let table = TableName::parse("logs.hits").unwrap();
        let config = testkit::section(settings).read().unwrap();
        let key: Vec<_> = key.iter().map(|name| (*name).to_owned()).collect();
        let new = NewTable {
            table: &table,
            is_only,
            schema: &schema,
            with_origin,
            config: &config,
            key: &key,
        };
        let said = match new.statements() {
            Ok(statements) => statements,
            Err(error) => vec![format!("{}: {error}", error.field_name().unwrap_or("-"))],
        };
        assert_eq!(said, expect, "{settings}");
    }

    #[test]
    fn settings_become_statements() {
        check(
            "{}",
            true,
            &[],
            &[
                r#"CREATE TABLE "logs"."hits" ("ip" text, "ts" timestamptz, "tags" jsonb, "_split" text NOT NULL, "_position" bigint NOT NULL, "_epoch" bigint NOT NULL)"#,
            ],
        );
        check(
            "{ serial_id: id, columns: { ip: varchar(64) not null }, indexes: { by_ts: [ts, ip] } }",
            false,
            &[],
            &[
                r#"CREATE TABLE "logs"."hits" ("id" serial PRIMARY KEY, "ip" varchar(64) not null, "ts" timestamptz, "tags" jsonb)"#,
                r#"CREATE INDEX "by_ts" ON "logs"."hits" ("ts", "ip")"#,
            ],
        );
        check(
            "{}",
            false,
            &["ip"],
            &[
                r#"CREATE TABLE "logs"."hits" ("ip" text, "ts" timestamptz, "tags" jsonb, PRIMARY KEY ("ip"))"#,
            ],
        );
        check(
            "{ serial_id: id, columns: { id: bigserial } }",
            false,
            &["ip", "ts"],
            &[
                r#"CREATE TABLE "logs"."hits" ("id" bigserial PRIMARY KEY, "ip" text, "ts" timestamptz, "tags" jsonb, UNIQUE ("ip", "ts"))"#,
            ],
        );
    }

    /// Rows of a single way have no number, and may come into a table of several ways later.
    #[test]
    fn a_number_that_is_not_given_stands_for_none() {
        let field = Field::new(ORDINAL, DataType::Int64, false);
        let schema = sink_schema(&Schema::new(vec![position_field(), field.clone()]), true);
        let table = TableName::parse("logs.hits").unwrap();
        let config = TableConfig::default();
        let new = NewTable {
            table: &table,
            is_only: true,
            schema: &schema,
            with_origin: true,
            config: &config,
            key: &[],
        };
        assert_eq!(new.column(&field).unwrap(), "\"_ordinal\" bigint NOT NULL DEFAULT 0");
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        check(
            "{ columns: { ipp: text } }",
            false,
            &[],
            &["create.columns.ipp: the table has no column \"ipp\""],
        );
        check(
            "{ indexes: { i: [_split] } }",
            false,
            &[],
            &["create.indexes.i: the table has no column \"_split\""],
        );
        check("{}", false, &["id"], &["upsert_by: the table has no column \"id\""]);
        check(
            "{ serial_id: id, columns: { id: text } }",
            false,
            &[],
            &["create.columns.id: \"text\" is no type that the server numbers"],
        );
        for wrong in ["text); drop table x; --", "text, x int", "numeric((2)", "", "'x'"] {
            let settings = format!("{{ columns: {{ ip: {wrong:?} }} }}");
            check(
                &settings,
                false,
                &[],
                &[&format!("create.columns.ip: {wrong:?} is no type of a column")],
            );
        }
    }
}
