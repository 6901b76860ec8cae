//! Reads rows back from a table: origins for `audit`, whole rows for `where`.
//!
//! Rows come as a stream, as many at once as make a batch; the connection lives as long as it.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::Schema;
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::sink::{BatchStream, ReadBack};
use contract::{Error, Origin, Result};
use futures::stream::{self, Fuse, StreamExt, TryStreamExt};
use tokio_postgres::{Row, RowStream};

use crate::catalog::{self, TableColumn, Target};
use crate::client::Connection;
use crate::failure::external;
use crate::table::{TableName, quoted};

/// Rows of a batch that is read back.
const BATCH_ROWS: usize = 1 << 13;

/// A column that is read back.
#[derive(Clone, Debug)]
enum Wanted {
    Number(String),
    Text(String),
}

/// Reads what a table holds; nothing where there is no table.
///
/// # Errors
/// Config: rows do not carry their origin. External.
pub async fn read_back(
    connection: Connection,
    table: &TableName,
    what: ReadBack,
) -> Result<BatchStream> {
    let columns = catalog::columns(&connection, table).await?;
    read_columns(Arc::new(connection), (table, &columns), what).await
}

/// Reads what tables hold that rows named, one after the other. With origin, those without its
/// columns hold nothing of ours.
pub fn read_back_all(
    connection: Connection,
    tables: Vec<TableName>,
    what: ReadBack,
    with_origin: bool,
) -> BatchStream {
    let connection = Arc::new(connection);
    let each = stream::iter(tables).then(move |table| {
        let (connection, what) = (connection.clone(), what.clone());
        async move {
            let columns = catalog::columns(&connection, &table).await?;
            if with_origin && !Carried::by(&columns).origin {
                return Ok(Box::pin(stream::empty()) as BatchStream);
            }
            read_columns(connection, (&table, &columns), what).await
        }
    });
    Box::pin(each.try_flatten())
}

/// Which columns of the origin a table has.
struct Carried {
    origin: bool,
    ordinal: bool,
}

impl Carried {
    fn by(columns: &[TableColumn]) -> Self {
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        Self { origin: has(SPLIT) && has(POSITION) && has(EPOCH), ordinal: has(ORDINAL) }
    }
}

async fn read_columns(
    connection: Arc<Connection>,
    (table, columns): (&TableName, &[TableColumn]),
    what: ReadBack,
) -> Result<BatchStream> {
    if columns.is_empty() {
        return Ok(Box::pin(stream::empty()));
    }
    let carried = Carried::by(columns);
    match what {
        ReadBack::Origins if carried.origin => origins(connection, table, carried.ordinal).await,
        ReadBack::Origins => count(&connection, table).await,
        ReadBack::Record(origin) if carried.origin => {
            record(connection, table, columns, &origin).await
        }
        ReadBack::Record(_) => {
            Err(Error::config("the rows of this table do not carry their origin")
                .hint("set `origin: true` before the table is made"))
        }
    }
}

async fn origins(
    connection: Arc<Connection>,
    table: &TableName,
    with_ordinal: bool,
) -> Result<BatchStream> {
    let mut wanted = vec![Wanted::Text(SPLIT.to_owned()), Wanted::Number(POSITION.to_owned())];
    if with_ordinal {
        wanted.push(Wanted::Number(ORDINAL.to_owned()));
    }
    wanted.push(Wanted::Number(EPOCH.to_owned()));
    // Rows of somebody else have no origin: they are counted.
    let statement = select(&wanted, table, "");
    rows(connection, table, &statement, None, wanted).await
}

async fn record(
    connection: Arc<Connection>,
    table: &TableName,
    columns: &[TableColumn],
    origin: &Origin,
) -> Result<BatchStream> {
    let wanted = columns.iter().map(|column| match column.target {
        Target::Int2 | Target::Int4 | Target::Int8 => Wanted::Number(column.name.clone()),
        _ => Wanted::Text(column.name.clone()),
    });
    let wanted: Vec<_> = wanted.collect();
    let statement = select(&wanted, table, "WHERE _split = $1 AND _position = $2");
    rows(connection, table, &statement, Some(origin), wanted).await
}

/// As many rows without columns as the table has.
async fn count(connection: &Connection, table: &TableName) -> Result<BatchStream> {
    let what = reading(table);
    let found = connection.query(&what, &format!("SELECT count(*) FROM {table}"), &[]).await?;
    let found: i64 = found.first().map_or(0, |row| row.get(0));
    let options = RecordBatchOptions::new().with_row_count(usize::try_from(found).ok());
    let schema = Arc::new(Schema::empty());
    let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options)
        .bug("rows cannot be counted");
    Ok(Box::pin(stream::iter([batch])))
}

fn select(wanted: &[Wanted], table: &TableName, condition: &str) -> String {
    let columns = wanted.iter().map(|wanted| match wanted {
        Wanted::Number(name) => format!("{}::bigint", quoted(name)),
        Wanted::Text(name) => format!("{}::text", quoted(name)),
    });
    let columns: Vec<_> = columns.collect();
    format!("SELECT {} FROM {table} {condition}", columns.join(", "))
}

async fn rows(
    connection: Arc<Connection>,
    table: &TableName,
    statement: &str,
    origin: Option<&Origin>,
    wanted: Vec<Wanted>,
) -> Result<BatchStream> {
    let what = reading(table);
    let found = match origin {
        Some(origin) => {
            let split = origin.split.as_str();
            connection.stream(&what, statement, &[&split, &origin.position]).await?
        }
        None => connection.stream(&what, statement, &[]).await?,
    };
    let open = Open { _connection: connection, rows: Box::pin(found.fuse()), wanted, what };
    Ok(Box::pin(stream::try_unfold(open, async |mut open| {
        let batch = open.next_batch().await?;
        Ok(batch.map(|batch| (batch, open)))
    })))
}

struct Open {
    _connection: Arc<Connection>,
    rows: Pin<Box<Fuse<RowStream>>>,
    wanted: Vec<Wanted>,
    what: String,
}

impl Open {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        while rows.len() < BATCH_ROWS {
            match self.rows.next().await {
                Some(Ok(row)) => rows.push(row),
                Some(Err(error)) => return Err(external(error, &self.what)),
                None => break,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let columns = self.wanted.iter().enumerate().map(|(at, wanted)| match wanted {
            Wanted::Number(name) => Ok((name, Arc::new(numbers(&rows, at)?) as ArrayRef, true)),
            Wanted::Text(name) => Ok((name, Arc::new(texts(&rows, at)?) as ArrayRef, true)),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_from_iter_with_nullable(columns)
            .map(Some)
            .bug("rows that were read do not make a batch")
    }
}

fn numbers(rows: &[Row], at: usize) -> Result<Int64Array> {
    let values = rows.iter().map(|row| row.try_get::<_, Option<i64>>(at));
    let values: std::result::Result<Vec<_>, _> = values.collect();
    values.map(Int64Array::from).bug("a number that was read is none")
}

fn texts(rows: &[Row], at: usize) -> Result<StringArray> {
    let values = rows.iter().map(|row| row.try_get::<_, Option<&str>>(at));
    let values: std::result::Result<Vec<_>, _> = values.collect();
    values.map(StringArray::from).bug("a text that was read is none")
}

fn reading(table: &TableName) -> String {
    format!("could not read table \"{}\"", table.shown())
}
