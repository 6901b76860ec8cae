//! Questions to a lake table, by DataFusion: files outside of the range are not opened.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::error::Context;
use contract::{Error, ErrorKind};
use datafusion::common::ScalarValue;
use query::opened::{OpenedTable, TABLE, TablePlace};

use super::backend::{Backend, Version};
use super::cell::{self, Row, kind_of};
use super::columns::{Column, Columns};
use super::filter::Value;
use super::question::{Question, Scope};
use super::sql::{Dialect, Sql, Writer};
use crate::problem::{Answer, Problem};

/// A lake table.
pub struct Lake {
    place: TablePlace,
    name: String,
    time: String,
}

impl Lake {
    /// The table at a place, with its column of times.
    pub fn new(place: TablePlace, name: &str, time: &str) -> Self {
        Self { place, name: name.to_owned(), time: time.to_owned() }
    }

    fn columns(&self, table: &OpenedTable) -> Columns {
        let schema = table.schema();
        let columns = schema.fields().iter().filter_map(|field| {
            let kind = kind_of(field.data_type())?;
            Some(Column { name: field.name().clone(), kind, cast: None })
        });
        Columns { all: columns.collect(), time: self.time.clone() }
    }
}

#[async_trait]
impl Backend for Lake {
    async fn newest(&self) -> Answer<Arc<dyn Version>> {
        let table = self.place.newest().await?;
        let table = table.ok_or_else(|| {
            Problem::not_found(format!("there is no table {:?} yet", self.name))
                .hint("the first records that `logmill run` commits make it")
        })?;
        let columns = self.columns(&table);
        Ok(Arc::new(LakeVersion { table, columns }))
    }
}

struct LakeVersion {
    table: Arc<OpenedTable>,
    columns: Columns,
}

#[async_trait]
impl Version for LakeVersion {
    fn number(&self) -> u64 {
        self.table.version()
    }

    fn mark(&self) -> i64 {
        self.table.version().cast_signed()
    }

    fn columns(&self) -> &Columns {
        &self.columns
    }

    fn question(&self, question: &Question) -> Answer<Sql> {
        Writer::new(Dialect::Lake, TABLE, &self.columns).question(question)
    }

    fn records(&self, scope: &Scope, limit: u64) -> Answer<Sql> {
        Writer::new(Dialect::Lake, TABLE, &self.columns).records(scope, limit)
    }

    async fn rows(&self, sql: &Sql) -> Answer<Vec<Row>> {
        rows(&self.table, sql).await
    }

    async fn after(&self, mark: i64, scope: &Scope, limit: u64) -> Answer<Vec<Row>> {
        let new = self.table.since(mark.cast_unsigned()).await?;
        rows(&new, &self.records(scope, limit)?).await
    }
}

async fn rows(table: &OpenedTable, sql: &Sql) -> Answer<Vec<Row>> {
    let mut values: Vec<_> = sql.values.iter().map(scalar).collect();
    if let Some(first) = &sql.first {
        let answer = ask(table, first, values.clone()).await?;
        let time = answer.iter().find(|batch| batch.num_rows() > 0);
        let time = time.map(|batch| ScalarValue::try_from_array(batch.column(0), 0));
        let time = time.transpose().bug("a time is no value")?;
        values.push(time.unwrap_or(ScalarValue::Null));
    }
    Ok(cell::rows(&ask(table, sql, values).await?, &sql.kinds)?)
}

async fn ask(table: &OpenedTable, sql: &Sql, values: Vec<ScalarValue>) -> Answer<Vec<RecordBatch>> {
    let batches = table.ask(&sql.text, values).await;
    Ok(batches.map_err(|error| match error.kind() {
        // The query is ours, whatever the request said.
        ErrorKind::Config => Error::bug("a query of ours is wrong").because(error),
        _ => error,
    })?)
}

fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Text(text) => ScalarValue::Utf8View(Some(text.clone())),
        Value::Integer(number) => ScalarValue::Int64(Some(*number)),
        Value::Real(number) => ScalarValue::Float64(Some(*number)),
        Value::Time(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), Some("UTC".into())),
        Value::Boolean(value) => ScalarValue::Boolean(Some(*value)),
    }
}
