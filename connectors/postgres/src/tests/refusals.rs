//! Rows that are refused among others, in columns of every kind and by logins with few rights.

use arrow::array::{BooleanArray, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes::TimeUnit;

use super::*;

/// Rows with a column of every kind whose bytes are not their text.
fn mixed(count: i64) -> RecordBatch {
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let schema = schema(vec![
        Field::new("number", DataType::Int64, true),
        text("kind"),
        text("doc"),
        text("plain_doc"),
        text("address"),
        text("id"),
        text("short"),
        Field::new("share", DataType::Float64, true),
        Field::new("good", DataType::Boolean, true),
        Field::new("ts", ts, true),
        Field::new("local", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let texts = |of: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new((0..count).map(|row| Some(of(row))).collect::<StringViewArray>())
    };
    let times: Vec<_> = (0..count).map(|row| 1_431_857_103_250_000 + row).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..count).collect::<Int64Array>()),
        texts(&|row| if row % 10 == 1 { "bad".into() } else { "good".into() }),
        texts(&|row| if row % 10 == 2 { "{".into() } else { format!("{{\"row\": {row}}}") }),
        texts(&|row| if row % 10 == 3 { "[".into() } else { format!("[{row}]") }),
        texts(&|row| format!("10.0.0.{}", row % 256)),
        texts(&|row| format!("6f1c9f5e-0b1e-4a52-9d3c-0242ac{row:06}")),
        texts(&|row| format!("é{}", row % 10)),
        Arc::new((0..count).map(|row| Some(row as f64 / 2.0)).collect::<Float64Array>()),
        Arc::new((0..count).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::from(times)),
        Arc::new((0..count).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

const MIXED: &str = "CREATE TYPE {t}_e AS ENUM ('good'); \
     CREATE DOMAIN {t}_d AS numeric(9, 1) CHECK (VALUE <> 7 AND VALUE <> 207); \
     CREATE TABLE {t} (number bigint, kind {t}_e, doc jsonb, plain_doc json, address inet, \
     id uuid, short varchar(2), share {t}_d, good boolean, ts timestamptz, local timestamp(0), \
     _split text, _position bigint, _epoch bigint)";

#[tokio::test]
async fn rows_that_are_tried_alone_hold_what_all_others_hold() {
    let Some(place) = Place::new().await else { return };
    place.execute(MIXED).await;
    let refused = deliver(&place, "create: false", mixed(500)).await;
    let mut positions: Vec<i64> = refused.iter().map(|row| row.reject.position).collect();
    positions.sort_unstable();
    let bad = |row: &i64| [1, 2, 3].contains(&(row % 10)) || [14, 414].contains(row);
    assert_eq!(positions, (0..500).filter(bad).collect::<Vec<_>>());
    let reason = |position: i64| {
        let row = refused.iter().find(|row| row.reject.position == position).unwrap();
        row.reject.reason.replace(&place.table, "T")
    };
    assert_eq!(reason(1), "invalid input value for enum T_e: \"bad\"");
    assert!(reason(2).starts_with("invalid input syntax for type json"), "{}", reason(2));
    assert!(reason(3).starts_with("invalid input syntax for type json"), "{}", reason(3));
    assert_eq!(reason(14), "value for domain T_d violates check constraint \"T_d_check\"");
    // The same rows without the bad ones go by `COPY` alone.
    let whole = Place::new().await.unwrap();
    whole.execute(MIXED).await;
    let keep: BooleanArray = (0..500).map(|row| Some(!bad(&row))).collect();
    let good = arrow::compute::filter_record_batch(&mixed(500), &keep).unwrap();
    assert!(deliver(&whole, "create: false", good).await.is_empty());
    let all = "SELECT * FROM {t} ORDER BY number";
    assert_eq!(place.query(all).await, whole.query(all).await);
    assert_eq!(place.count().await, 348);
}

#[tokio::test]
async fn many_refused_rows_keep_the_order_of_the_others() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint CHECK (number % 3 <> 0), text text, _split text, \
             _position bigint, _epoch bigint, at serial)",
        )
        .await;
    let refused = deliver(&place, "create: false", rows(0..3000)).await;
    assert_eq!(refused.len(), 1000);
    let disordered = "SELECT 1 FROM (SELECT number - lag(number) OVER (ORDER BY at) AS d FROM {t}) x WHERE d <= 0";
    assert_eq!((place.count().await, place.query(disordered).await.len()), (2000, 0));
}

#[tokio::test]
async fn refused_rows_are_found_without_the_right_to_temporary_tables() {
    let Some(place) = Place::new().await else { return };
    let weak = unique("weak");
    // A database of its own: the right belongs to the database, and others test in ours.
    place.execute(&format!("CREATE ROLE {weak} LOGIN PASSWORD 'weak'")).await;
    place.execute(&format!("CREATE DATABASE {weak}")).await;
    let (address, _) = place.url.rsplit_once('/').expect("a URL with a database");
    let own = Place { url: format!("{address}/{weak}"), table: place.table.clone(), _guard: None };
    own.execute(&format!(
        "REVOKE TEMPORARY ON DATABASE {weak} FROM PUBLIC; \
         GRANT CREATE, USAGE ON SCHEMA public TO {weak}; \
         CREATE TABLE {{t}} (number bigint CHECK (number % 40 <> 5), text text, _split text, \
         _position bigint, _epoch bigint); GRANT INSERT ON {{t}} TO {weak}"
    ))
    .await;
    let (_, host) = own.url.split_once('@').expect("a URL with a user");
    let url = format!("postgres://{weak}:weak@{host}");
    let login = Place { url, table: own.table.clone(), _guard: None };
    assert_eq!(deliver(&login, "create: false", rows(0..200)).await.len(), 5);
    assert_eq!(own.count().await, 195);
}

#[tokio::test]
async fn rules_of_a_table_change_nothing() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint CHECK (number <> 5), text text, _split text, \
             _position bigint, _epoch bigint); CREATE TABLE {t}_log (number bigint); \
             CREATE RULE r AS ON INSERT TO {t} DO ALSO INSERT INTO {t}_log VALUES (NEW.number)",
        )
        .await;
    assert_eq!(deliver(&place, "create: false", rows(0..20)).await.len(), 1);
    assert_eq!(place.query("SELECT count(*) FROM {t}_log").await, ["0"], "`COPY` knows no rules");
}

#[tokio::test]
async fn a_trigger_that_leaves_rows_out_is_told() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint CHECK (number <> 1), text text, _split text, \
             _position bigint, _epoch bigint); \
             CREATE FUNCTION {t}_f() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.number = 7 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER f BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_f()",
        )
        .await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    write(writer.as_mut(), rows(0..20), 1).await.unwrap();
    let error = writer.prepare(&lineage(), 1).await.expect_err("a row is missing");
    assert!(error.hint_text().unwrap_or_default().contains("leaves rows out"), "{error:?}");
}
