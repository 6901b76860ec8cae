//! Questions to a table of PostgreSQL, in its own SQL, with the values as parameters.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use connector_postgres::quoted;
use connector_postgres::reader::Reader;
use contract::Result;
use tokio::sync::Mutex;
use tokio_postgres::Row as ServerRow;
use tokio_postgres::types::ToSql;

use super::backend::{Backend, Version};
use super::cell::{Cell, Row};
use super::columns::{Column, Columns, Kind};
use super::desk::ROWS_MAX;
use super::filter::{Filter, Test, Value};
use super::question::{Question, Scope};
use super::sql::{Dialect, Sql, Writer};
use crate::options::Limits;
use crate::problem::{Answer, Problem};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(1);
/// The column by which new rows are known, where there is one: the server numbers rows with it.
const SERIAL: &str = "id";

/// A table of PostgreSQL.
pub struct Postgres {
    reader: Arc<Reader>,
    time: String,
    begun: Instant,
    newest: Mutex<Option<(Instant, Arc<PostgresVersion>)>>,
}

impl Postgres {
    /// The table with its column of times.
    ///
    /// # Errors
    /// Config: the URL or the table is none.
    pub fn new(
        url: &str,
        password: Option<&str>,
        (table, time): (&str, &str),
        limits: &Limits,
    ) -> Result<Self> {
        let reader = Reader::new(url, password, table, limits.request_timeout)?;
        let (reader, time) = (Arc::new(reader), time.to_owned());
        Ok(Self { reader, time, begun: Instant::now(), newest: Mutex::default() })
    }

    async fn columns(&self) -> Answer<Columns> {
        let found = self.reader.columns().await?;
        if found.is_empty() {
            return Err(Problem::not_found("there is no such table in PostgreSQL yet")
                .hint("`create: true` lets the sink make it"));
        }
        let all = found.into_iter().filter_map(|(name, kind)| {
            let (kind, cast) = kind_of(&kind)?;
            Some(Column { name, kind, cast })
        });
        Ok(Columns { all: all.collect(), time: self.time.clone() })
    }

    /// Up to which row everything has been seen.
    async fn mark(&self, columns: &Columns) -> Answer<i64> {
        let (name, kind) = mark_column(columns)?;
        let (name, table) = (quoted(name), self.reader.table());
        let sql = Sql {
            text: format!("SELECT max({name}) FROM {table}"),
            values: Vec::new(),
            kinds: vec![kind],
            first: None,
        };
        let rows = rows(&self.reader, &sql).await?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Cell::Integer(mark) | Cell::Time(mark)) => *mark,
            _ => i64::MIN,
        })
    }
}

fn mark_column(columns: &Columns) -> Answer<(&str, Kind)> {
    match columns.find(SERIAL) {
        Some(column) if column.kind == Kind::Integer => Ok((SERIAL, Kind::Integer)),
        _ => columns.time().map(|column| (column.name.as_str(), Kind::Time)),
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn newest(&self) -> Answer<Arc<dyn Version>> {
        let mut newest = self.newest.lock().await;
        if let Some((seen, version)) = newest.as_ref()
            && seen.elapsed() < FRESH
        {
            return Ok(version.clone());
        }
        let columns = self.columns().await?;
        let mark = self.mark(&columns).await?;
        let number = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or_default();
        let reader = self.reader.clone();
        let version = Arc::new(PostgresVersion { reader, columns, number, mark });
        *newest = Some((Instant::now(), version.clone()));
        Ok(version)
    }
}

struct PostgresVersion {
    reader: Arc<Reader>,
    columns: Columns,
    number: u64,
    mark: i64,
}

#[async_trait]
impl Version for PostgresVersion {
    fn number(&self) -> u64 {
        self.number
    }

    fn mark(&self) -> i64 {
        self.mark
    }

    fn columns(&self) -> &Columns {
        &self.columns
    }

    fn question(&self, question: &Question) -> Answer<Sql> {
        Writer::new(Dialect::Postgres, &self.reader.table(), &self.columns).question(question)
    }

    fn records(&self, scope: &Scope, limit: u64) -> Answer<Sql> {
        Writer::new(Dialect::Postgres, &self.reader.table(), &self.columns).records(scope, limit)
    }

    async fn rows(&self, sql: &Sql) -> Answer<Vec<Row>> {
        rows(&self.reader, sql).await
    }

    async fn after(&self, mark: i64, scope: &Scope, limit: u64) -> Answer<Vec<Row>> {
        let (name, kind) = mark_column(&self.columns)?;
        let value = |number| match kind {
            Kind::Time => Value::Time(number),
            _ => Value::Integer(number),
        };
        let mut scope = scope.clone();
        let column = self.columns.needed(name)?;
        for (test, number) in [(Test::AtLeast, mark.saturating_add(1)), (Test::AtMost, self.mark)] {
            let value = Some(value(number));
            scope.filters.push(Filter { column: column.clone(), test, value });
        }
        self.rows(&self.records(&scope, limit)?).await
    }
}

/// What a type of PostgreSQL is to us, and what it must be made first.
fn kind_of(kind: &str) -> Option<(Kind, Option<&'static str>)> {
    match kind {
        "text" | "varchar" => Some((Kind::Text, None)),
        "bpchar" | "name" | "citext" | "inet" | "cidr" | "macaddr" | "uuid" => {
            Some((Kind::Text, Some("text")))
        }
        "int2" | "int4" | "int8" => Some((Kind::Integer, None)),
        "float4" | "float8" => Some((Kind::Real, None)),
        "numeric" => Some((Kind::Real, Some("double precision"))),
        "timestamptz" => Some((Kind::Time, None)),
        "timestamp" | "date" => Some((Kind::Time, Some("timestamptz"))),
        "bool" => Some((Kind::Boolean, None)),
        _ => None,
    }
}

async fn rows(reader: &Reader, sql: &Sql) -> Answer<Vec<Row>> {
    let values: Vec<_> = sql.values.iter().map(parameter).collect();
    let values: Vec<_> = values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
    let found = reader.query(&sql.text, &values, ROWS_MAX).await?;
    Ok(found.iter().map(|row| cells(row, &sql.kinds)).collect())
}

fn parameter(value: &Value) -> Box<dyn ToSql + Sync + Send> {
    match value {
        Value::Text(text) => Box::new(text.clone()),
        Value::Integer(number) => Box::new(*number),
        Value::Real(number) => Box::new(*number),
        Value::Time(micros) => Box::new(system_time(*micros)),
        Value::Boolean(value) => Box::new(*value),
    }
}

fn system_time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    match micros < 0 {
        true => SystemTime::UNIX_EPOCH - distance,
        false => SystemTime::UNIX_EPOCH + distance,
    }
}

fn micros(time: SystemTime) -> i64 {
    let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    }
}

fn cells(row: &ServerRow, kinds: &[Kind]) -> Row {
    kinds.iter().enumerate().map(|(at, kind)| cell(row, at, *kind)).collect()
}

/// A value; what does not fit (`infinity`) is null.
fn cell(row: &ServerRow, at: usize, kind: Kind) -> Cell {
    fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a ServerRow, at: usize) -> Option<T> {
        row.try_get::<_, Option<T>>(at).ok().flatten()
    }
    let found = match (kind, row.columns()[at].type_().name()) {
        (Kind::Text, _) => get::<String>(row, at).map(Cell::Text),
        (Kind::Integer, "int2") => get::<i16>(row, at).map(|number| Cell::Integer(number.into())),
        (Kind::Integer, "int4") => get::<i32>(row, at).map(|number| Cell::Integer(number.into())),
        (Kind::Integer, _) => get::<i64>(row, at).map(Cell::Integer),
        (Kind::Real, "float4") => get::<f32>(row, at).map(|number| Cell::Real(number.into())),
        (Kind::Real, _) => get::<f64>(row, at).map(Cell::Real),
        (Kind::Time, _) => get::<SystemTime>(row, at).map(|time| Cell::Time(micros(time))),
        (Kind::Boolean, _) => get::<bool>(row, at).map(Cell::Boolean),
    };
    found.unwrap_or_default()
}
