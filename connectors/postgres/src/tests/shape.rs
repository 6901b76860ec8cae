use arrow::array::{Int32Array, TimestampMicrosecondArray};
use arrow::datatypes::TimeUnit;
use contract::sink::{Proof, ReadBack};
use contract::{Origin, record};
use futures::TryStreamExt;

use super::*;

const WEB_LOGS: &str = "origin: false, create: { serial_id: id, columns: { ip: varchar(64) not null, \
    ts: timestamptz not null, method: varchar(16), ua_device: varchar(64), ua_os: varchar(128), \
    ua_browser: varchar(128), country: varchar(128), city: varchar(128) }, \
    indexes: { INDEX_ts: [ts], INDEX_endpoint: [endpoint], INDEX_status: [status] } }";

fn web_logs() -> RecordBatch {
    let text = |name: &str| {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        Field::new(name, dictionary, true)
    };
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = schema(vec![
        Field::new("ip", DataType::Utf8View, true),
        Field::new("ts", ts, true),
        text("method"),
        text("endpoint"),
        number("status"),
        number("response_time_ms"),
        Field::new("user_agent", DataType::Utf8View, true),
        text("ua_device"),
        text("ua_os"),
        text("ua_browser"),
        text("country"),
        text("city"),
    ]);
    let word = |word: Option<&str>| -> ArrayRef {
        Arc::new(
            [word]
                .into_iter()
                .collect::<arrow::array::DictionaryArray<arrow::datatypes::Int32Type>>(),
        )
    };
    let view = |word: &str| -> ArrayRef { Arc::new(StringViewArray::from(vec![word])) };
    let at = TimestampMicrosecondArray::from(vec![1_431_857_103_250_000]).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        view("203.0.113.7"),
        Arc::new(at),
        word(Some("GET")),
        word(Some("/")),
        Arc::new(Int32Array::from(vec![200])),
        Arc::new(Int32Array::from(vec![None])),
        view("curl/8"),
        word(None),
        word(Some("Other")),
        word(Some("curl 8")),
        word(Some("DE")),
        word(None),
        Arc::new(Int64Array::from(vec![0])),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

#[tokio::test]
async fn a_table_is_made_exactly_as_its_settings_say() {
    let Some(place) = Place::new().await else { return };
    let settings = WEB_LOGS.replace("INDEX", &place.table);
    assert!(deliver(&place, &settings, web_logs()).await.is_empty());
    let columns = place
        .query(
            "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default \
             FROM information_schema.columns WHERE table_name = '{t}' ORDER BY ordinal_position",
        )
        .await;
    let sequence = format!("integer,,NO,\"nextval('{}_id_seq'::regclass)\"", place.table);
    assert_eq!(
        columns,
        [
            &*format!("id,{sequence}"),
            "ip,\"character varying\",64,NO,",
            "ts,\"timestamp with time zone\",,NO,",
            "method,\"character varying\",16,YES,",
            "endpoint,text,,YES,",
            "status,integer,,YES,",
            "response_time_ms,integer,,YES,",
            "user_agent,text,,YES,",
            "ua_device,\"character varying\",64,YES,",
            "ua_os,\"character varying\",128,YES,",
            "ua_browser,\"character varying\",128,YES,",
            "country,\"character varying\",128,YES,",
            "city,\"character varying\",128,YES,",
        ]
    );
    let indexes = place
        .query("SELECT indexdef FROM pg_indexes WHERE tablename = '{t}' ORDER BY indexname")
        .await;
    let table = &place.table;
    let index = |name: &str, column: &str| {
        format!("\"CREATE INDEX {table}_{name} ON public.{table} USING btree ({column})\"")
    };
    let primary =
        format!("\"CREATE UNIQUE INDEX {table}_pkey ON public.{table} USING btree (id)\"");
    assert_eq!(
        indexes,
        [index("endpoint", "endpoint"), primary, index("status", "status"), index("ts", "ts")]
    );
    let row = place.query("SELECT * FROM {t}").await;
    let ts = place.query("SELECT '2015-05-17T10:05:03.25Z'::timestamptz").await.remove(0);
    assert_eq!(row, [format!("1,203.0.113.7,{ts},GET,/,200,,curl/8,,Other,\"curl 8\",DE,")]);
}

#[tokio::test]
async fn a_table_that_is_there_stays_as_it_is() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (text varchar(10), more text DEFAULT 'x', number smallint, \
             _epoch bigint, _split text, _position bigint)",
        )
        .await;
    deliver(&place, "create: true", rows(0..2)).await;
    assert_eq!(
        place.query("SELECT * FROM {t}").await,
        ["\"row 0\",x,0,1,a.log,0", "\"row 1\",x,1,1,a.log,1"]
    );
}

#[tokio::test]
async fn a_table_that_cannot_fit_is_refused_before_anything_is_written() {
    let Some(place) = Place::new().await else { return };
    let table = place.table.clone();
    let sink = place.sink("origin: false");
    let said = refused(&sink, &row_schema()).await;
    assert_eq!(
        said,
        format!("Config: there is no table \"public.{table}\"; create it, or set `create: true`")
    );
    for (columns, expect) in [
        ("number bigint", "table \"public.T\" has no column \"text\"; ALTER TABLE"),
        (
            "number bigint, texts text",
            "table \"public.T\" has no column \"text\"; ALTER TABLE … ADD COLUMN, or leave it out in a `sql` transform; did you mean \"texts\"?",
        ),
        (
            "number date, text text",
            "column \"number\" is Int64 here and date in table \"public.T\"; convert",
        ),
        (
            "number bigint, text integer",
            "column \"text\" is Utf8View here and integer in table \"public.T\"; convert",
        ),
        (
            "number point, text text",
            "column \"number\" is Int64 here and point in table \"public.T\"; convert",
        ),
        (
            "number bigint, text text, must text not null",
            "column \"must\" of table \"public.T\" must not be null, and the input has no such column; give it a default",
        ),
        (
            "number bigint, text text generated always as ('x') stored",
            "column \"text\" of table \"public.T\" is filled by the server alone; leave it out",
        ),
    ] {
        place.execute(&format!("DROP TABLE IF EXISTS {{t}}; CREATE TABLE {{t}} ({columns})")).await;
        let said = refused(&sink, &row_schema()).await.replace(&table, "T");
        assert!(said.starts_with(&format!("Config: {expect}")), "{columns}: {said}");
    }
    let table = "DROP TABLE {t}; CREATE TABLE {t} (number bigint, text text)";
    place.execute(table).await;
    let said = refused(&place.sink(""), &row_schema()).await;
    assert!(said.contains("has no column \"_split\"; add `_split text"), "{said}");
    let elsewhere = Place { table: unique("nowhere") + ".t", url: place.url.clone(), _guard: None };
    let error =
        elsewhere.sink("").fence_and_read(&ctx(&row_schema()), &lineage()).await.unwrap_err();
    assert!(error.chain().starts_with("there is no schema"), "{}", error.chain());
}

#[tokio::test]
async fn names_may_hold_anything() {
    let Some(mut place) = Place::new().await else { return };
    let schema_name = unique("Schema");
    let plain = place.table.clone();
    place.table = format!("\"{schema_name}.Table of \\\"{plain}\\\"\"");
    let odd = schema(vec![Field::new("a \"b\", c", DataType::Int64, true)]);
    let numbers = Arc::new(Int64Array::from(vec![1]));
    let records = RecordBatch::try_new(odd, vec![numbers.clone(), numbers]).unwrap();
    deliver(&place, "create: true", records).await;
    place.table = format!("\"{schema_name}\".\"Table of \"\"{plain}\"\"\"");
    assert_eq!(place.query("SELECT * FROM {t}").await, ["1,a.log,1,1"]);
    place.execute(&format!("DROP SCHEMA \"{schema_name}\" CASCADE")).await;
}

#[tokio::test]
async fn several_processes_make_one_table_at_once() {
    let Some(mut place) = Place::new().await else { return };
    let fresh = unique("schema");
    place.table = format!("{fresh}.t");
    let sinks: Vec<_> = (0..6).map(|_| place.sink("create: true")).collect();
    let opened = sinks.iter().enumerate().map(async |(number, sink)| {
        let lineage = Lineage::new(format!("k.t.{number}"));
        sink.fence_and_read(&ctx(&row_schema()), &lineage).await.unwrap();
        open(sink, &row_schema()).await
    });
    assert_eq!(futures::future::join_all(opened).await.len(), 6);
    place.execute(&format!("DROP SCHEMA {fresh} CASCADE")).await;
}

#[tokio::test]
async fn rows_are_read_back_as_the_promise_says() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink("create: true");
    assert_eq!(sink.promise().proof, Proof::Origin);
    let read = async |what| -> Vec<RecordBatch> {
        sink.read_back("p", what).await.unwrap().try_collect().await.unwrap()
    };
    assert!(read(ReadBack::Origins).await.is_empty(), "no table, no rows");
    deliver(&place, "create: true", rows(0..20_000)).await;
    let batches = read(ReadBack::Origins).await;
    let positions = batches.iter().flat_map(|batch| record::positions(batch).unwrap().values());
    let mut positions: Vec<i64> = positions.copied().collect();
    positions.sort_unstable();
    assert_eq!(positions, (0..20_000).collect::<Vec<_>>());
    assert!(batches.len() > 2, "they come as a stream");
    let origin = Origin { split: SplitId::new("a.log"), position: 7 };
    let found = read(ReadBack::Record(origin)).await;
    let found = arrow::util::pretty::pretty_format_batches(&found).unwrap().to_string();
    assert!(found.contains("| 7      | row 7 | a.log  | 7         | 1      |"), "{found}");
}

#[tokio::test]
async fn rows_without_their_origin_are_counted() {
    let Some(place) = Place::new().await else { return };
    let settings = "create: true, origin: false";
    deliver(&place, settings, rows(0..9)).await;
    let sink = place.sink(settings);
    assert_eq!(sink.promise().proof, Proof::Count);
    let batches = sink.read_back("p", ReadBack::Origins).await.unwrap();
    let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 9);
}

#[test]
fn one_table_is_one_destination_however_it_is_named() {
    let sink = |settings: &str| {
        let sink = PostgresSink::new(testkit::section(settings).read().unwrap()).unwrap();
        sink.destination(&sink_schema(&row_schema(), true)).unwrap()
    };
    let one = sink("{ url: \"postgres://a:secret@db/logs\", table: t }");
    assert_eq!(one.as_deref(), Some("db:5432/logs/public.t"));
    assert_eq!(
        one,
        sink("{ url: \"postgresql://b@db:5432/logs?sslmode=disable\", table: public.t }")
    );
    let wrong = testkit::section("{ url: \"postgres://db/logs\", table: t, upsert_by: [nmber] }");
    let error = PostgresSink::new(wrong.read().unwrap())
        .unwrap()
        .destination(&sink_schema(&row_schema(), true))
        .unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean \"number\"?"));
}

#[tokio::test]
async fn what_takes_no_rows_is_named_for_what_it_is() {
    for (makes, kind, says) in [
        (
            "CREATE MATERIALIZED VIEW {t} AS SELECT 1::bigint AS number",
            "MATERIALIZED VIEW",
            "a materialized view",
        ),
        ("CREATE SEQUENCE {t}", "SEQUENCE", "a sequence"),
        ("CREATE TYPE {t} AS (number bigint)", "TYPE", "a type"),
        (
            "CREATE TABLE of_{t} (number bigint); CREATE INDEX {t} ON of_{t} (number)",
            "TABLE of_",
            "an index",
        ),
    ] {
        let Some(place) = Place::new().await else { return };
        place.execute(makes).await;
        for settings in ["create: true", "create: false"] {
            let refused = place.sink(settings).open(ctx(&sink_schema(&row_schema(), true))).await;
            let error = refused.err().expect("it takes no rows");
            let said = error.chain();
            assert!(!error.retry() && said.contains(&format!("is {says}, which takes")), "{said}");
        }
        let space = if kind.ends_with('_') { "" } else { " " };
        place.execute(&format!("DROP {kind}{space}{{t}}")).await;
    }
}
