//! What a table holds after epochs went well or did not, on a real server.

mod altered;
mod epochs;
mod named;
mod refusals;
mod shape;
mod states;
mod timeouts;
mod tls;
mod unfit;
mod upsert;
mod values;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::record::{for_sink, position_field, sink_schema};
use contract::sink::{
    Commit, CommitOutcome, Held, Prepared, Sink, SinkReject, Writer, WriterContext,
};
use contract::{Lineage, Result, SplitId};
use testkit::services::{find, unique};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::client::{Connection, Connector};
use crate::config::Config;
use crate::sink::PostgresSink;
use crate::url::Address;

/// Failpoints belong to the process: who arms one keeps all others out.
static FAILPOINTS: RwLock<()> = RwLock::const_new(());

/// A table of its own on the server.
struct Place {
    url: String,
    table: String,
    _guard: Option<RwLockReadGuard<'static, ()>>,
}

impl Place {
    /// None where there is no server.
    async fn new() -> Option<Self> {
        let guard = FAILPOINTS.read().await;
        Self::unguarded().map(|place| Self { _guard: Some(guard), ..place })
    }

    /// For the test that arms failpoints itself.
    fn unguarded() -> Option<Self> {
        let url = find("postgres")?;
        Some(Self { url, table: unique("t"), _guard: None })
    }

    fn config(&self, settings: &str) -> Config {
        let Self { url, table, .. } = self;
        let text = format!("{{ url: {url:?}, table: {table}, {settings} }}");
        testkit::section(&text).read().unwrap()
    }

    /// A sink of its own, as another process would have it.
    fn sink(&self, settings: &str) -> PostgresSink {
        PostgresSink::new(self.config(settings)).unwrap()
    }

    async fn connection(&self) -> Connection {
        let config = format!("{{ url: {:?}, table: any }}", self.url);
        let config = testkit::section(&config).read().unwrap();
        let address = Address::read(&config).unwrap();
        Connector::new(address, &config).connect("test").await.unwrap()
    }

    async fn execute(&self, statements: &str) {
        let statements = statements.replace("{t}", &self.table);
        self.connection().await.execute("a test", &statements).await.unwrap();
    }

    /// The rows of a query as lines, columns with commas between them, null as nothing.
    async fn query(&self, statement: &str) -> Vec<String> {
        let statement = statement.replace("{t}", &self.table);
        let statement = format!("SELECT q::text FROM ({statement}) q");
        let rows = self.connection().await.query("a test", &statement, &[]).await.unwrap();
        let lines = rows.iter().map(|row| row.get::<_, String>(0));
        lines.map(|line| line[1..line.len() - 1].to_owned()).collect()
    }

    async fn count(&self) -> i64 {
        let statement = format!("SELECT count(*) FROM {}", self.table);
        let rows = self.connection().await.query("a test", &statement, &[]).await.unwrap();
        rows[0].get(0)
    }
}

fn lineage() -> Lineage {
    Lineage::new("main")
}

fn ctx(schema: &Schema) -> WriterContext {
    WriterContext {
        pipeline: "p".into(),
        sink: "s".into(),
        incarnation: 7,
        writer_id: unique("w"),
        schema: sink_schema(schema, true),
        memory_bytes: 16 << 20,
        client_bytes: 16 << 20,
        threads: 1,
    }
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    let mut fields = fields;
    fields.push(position_field());
    Arc::new(Schema::new(fields))
}

/// Rows with a number and a text.
fn row_schema() -> SchemaRef {
    let number = Field::new("number", DataType::Int64, true);
    schema(vec![number, Field::new("text", DataType::Utf8View, true)])
}

fn rows(range: Range<i64>) -> RecordBatch {
    let numbers: Int64Array = range.clone().collect();
    let texts: StringViewArray =
        range.clone().map(|number| Some(format!("row {number}"))).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(numbers), Arc::new(texts), Arc::new(range.collect::<Int64Array>())];
    RecordBatch::try_new(row_schema(), columns).unwrap()
}

async fn fence(sink: &PostgresSink) -> Held {
    sink.fence_and_read(&ctx(&row_schema()), &lineage()).await.unwrap()
}

async fn open(sink: &PostgresSink, schema: &Schema) -> Box<dyn Writer> {
    sink.open(ctx(schema)).await.unwrap()
}

/// What `open` refuses, with its hint.
async fn refused(sink: &PostgresSink, schema: &Schema) -> String {
    fence(sink).await;
    let Err(error) = sink.open(ctx(schema)).await else { panic!("it opened") };
    format!("{:?}: {}; {}", error.kind(), error.chain(), error.hint_text().unwrap_or("-"))
}

async fn write(writer: &mut dyn Writer, records: RecordBatch, epoch: u64) -> Result<()> {
    let schema = sink_schema(&records.schema(), true);
    let records = for_sink(&records, &schema, &SplitId::new("a.log"), epoch)?;
    writer.write(&lineage(), records).await.map(drop)
}

async fn prepare(writer: &mut dyn Writer, records: RecordBatch, epoch: u64) -> Prepared {
    write(writer, records, epoch).await.unwrap();
    writer.prepare(&lineage(), epoch).await.unwrap()
}

fn commit_of(epoch: u64, prev: Option<u64>) -> Commit {
    Commit { lineage: lineage(), epoch, prev, committable: None }
}

async fn commit(writer: &mut dyn Writer, epoch: u64, prev: Option<u64>) -> Result<CommitOutcome> {
    writer.commit(&commit_of(epoch, prev)).await
}

/// Writes one epoch into a new table with these settings; returns what was refused.
async fn deliver(place: &Place, settings: &str, records: RecordBatch) -> Vec<SinkReject> {
    let sink = place.sink(settings);
    fence(&sink).await;
    let mut writer = open(&sink, &records.schema()).await;
    let rows = records.num_rows() as u64;
    let prepared = prepare(writer.as_mut(), records, 1).await;
    assert_eq!(prepared.rows + prepared.rejects.len() as u64, rows, "every row is counted once");
    let committed = commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(committed, CommitOutcome::Committed);
    prepared.rejects
}
