//! What a row costs that a table refuses, beside rows that it takes, against a limit: from the
//! first row given to the writer to the end of `prepare`, in this process and on the server.
//!
//! `LOGMILL_TEST_POSTGRES=postgres://… cargo bench -p connector-postgres --bench refused`
//!
//! Fails where a refused row costs more than the limit in any case.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use connector_postgres::Postgres;
use contract::record::{for_sink, position_field, sink_schema};
use contract::sink::WriterContext;
use contract::spec::{BuildContext, Connector};
use contract::{Lineage, Result, SplitId};
use testkit::services::{find, unique};

const ROWS: i64 = 20_000;
const BATCH_ROWS: i64 = 2_000;
const ROUNDS: usize = 5;
/// What one refused row may cost more than none, in microseconds.
const LIMIT_US: f64 = 50.0;

/// What the table refuses: what it is called, how the table is told, and how many rows that are.
const CASES: [(&str, &str, i64); 7] = [
    ("none", "number bigint", 0),
    ("all, CHECK", "number bigint CHECK (number < 0)", ROWS),
    ("1 of 2, CHECK", "number bigint CHECK (number % 2 <> 0)", ROWS / 2),
    ("1 of 2, a key that is there", "number bigint", ROWS / 2),
    ("1 of 10, CHECK", "number bigint CHECK (number % 10 <> 0)", ROWS / 10),
    ("1 of 100, CHECK", "number bigint CHECK (number % 100 <> 0)", ROWS / 100),
    ("1 of 1000, CHECK", "number bigint CHECK (number % 1000 <> 0)", ROWS / 1000),
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Some(url) = find("postgres") else { return Ok(ExitCode::SUCCESS) };
    let (mut plain, mut worst) = (Duration::ZERO, 0.0_f64);
    println!("{ROWS} rows in one epoch, best of {ROUNDS}");
    for (name, column, refused) in CASES {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            best = best.min(deliver(&url, column, refused, name.ends_with("there")).await?);
        }
        if refused == 0 {
            plain = best;
        }
        let took = best.as_secs_f64() * 1e3;
        if refused == 0 {
            println!("{name:<30} {took:>8.1} ms");
            continue;
        }
        let each = best.saturating_sub(plain).as_secs_f64() * 1e6 / refused as f64;
        let share = each / LIMIT_US;
        worst = worst.max(share);
        println!("{name:<30} {took:>8.1} ms, {each:>6.1} µs more each, {share:.2} of the limit");
    }
    let is_within = worst <= 1.0;
    let verdict = if is_within { "within" } else { "ABOVE" };
    println!("{verdict} the limit of {LIMIT_US} µs for each refused row: {worst:.2} of it at most");
    Ok(if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long it takes to prepare the rows.
async fn deliver(url: &str, column: &str, refused: i64, keyed: bool) -> Result<Duration> {
    let table = unique("bench");
    let settings = format!("{{ url: {url:?}, table: {table}, create: false }}");
    let client = client(url).await;
    let key = if keyed { ", UNIQUE (number)" } else { "" };
    let made = format!(
        "CREATE TABLE {table} ({column}, text text, _split text, _position bigint, \
         _epoch bigint{key})"
    );
    client.batch_execute(&made).await.expect("a table");
    if keyed {
        let there = format!(
            "INSERT INTO {table} (number) SELECT 2 * n FROM generate_series(0, {}) n",
            refused - 1
        );
        client.batch_execute(&there).await.expect("rows");
    }
    let sink = Postgres.sink(&testkit::section(&settings), &context())?;
    let (ctx, lineage) = (ctx(), Lineage::new("main"));
    sink.fence_and_read(&ctx, &lineage).await?;
    let mut writer = sink.open(ctx).await?;
    let begun = Instant::now();
    for from in (0..ROWS).step_by(BATCH_ROWS as usize) {
        let schema = sink_schema(&schema(), true);
        let records = for_sink(&rows(from), &schema, &SplitId::new("a.log"), 1)?;
        writer.write(&lineage, records).await?;
    }
    let prepared = writer.prepare(&lineage, 1).await?;
    let took = begun.elapsed();
    assert_eq!(prepared.rejects.len() as i64, refused);
    writer.abort(&lineage).await?;
    client.batch_execute(&format!("DROP TABLE {table}")).await.expect("dropped");
    Ok(took)
}

async fn client(url: &str) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, messages) = connected.expect("a server");
    tokio::spawn(messages);
    client
}

fn context() -> BuildContext {
    BuildContext::new("bench", "table", Path::new("unused"))
}

fn ctx() -> WriterContext {
    WriterContext {
        pipeline: "bench".into(),
        sink: "table".into(),
        incarnation: 7,
        writer_id: unique("w"),
        schema: sink_schema(&schema(), true),
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 1,
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, true),
        Field::new("text", DataType::Utf8View, true),
        position_field(),
    ]))
}

fn rows(from: i64) -> RecordBatch {
    let numbers: Int64Array = (from..from + BATCH_ROWS).collect();
    let texts: StringViewArray =
        (from..from + BATCH_ROWS).map(|number| Some(format!("the text of row {number}"))).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(numbers.clone()), Arc::new(texts), Arc::new(numbers)];
    RecordBatch::try_new(schema(), columns).expect("a batch")
}
