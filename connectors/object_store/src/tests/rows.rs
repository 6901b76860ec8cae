//! Values that hurt, and rows of others under the same prefix.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use contract::sink::{ReadBack, Room, Sink};
use contract::spec::BuildContext;
use contract::{Origin, SplitId, record};
use futures::TryStreamExt;

use super::{Bench, commit, prepare, rows, write};
use crate::sink::ObjectSink;

const YEAR_0: i64 = -62_167_219_200_000_000;
const YEAR_9999: i64 = 253_402_300_799_000_000;

fn hostile() -> Vec<String> {
    let plain =
        ["", "\"quoted\", 'twice'", "two\nlines\r\n", "a\0b", "../../etc/passwd", "%2e%2e/é漢"];
    let mut texts: Vec<String> = plain.map(str::to_owned).to_vec();
    texts.extend(["z".to_owned(), "x".repeat(1 << 20)]);
    texts
}

fn hostile_rows() -> RecordBatch {
    let texts = hostile();
    let count = texts.len() as i64;
    let times = [1, 2, YEAR_0, YEAR_9999, 0, i64::MAX, i64::MIN, -1];
    let numbers = [f64::NAN, f64::INFINITY, 0.1, -0.0, f64::MAX, 1.0, 2.0, f64::MIN_POSITIVE];
    RecordBatch::try_from_iter([
        ("text", Arc::new(StringArray::from(texts)) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"))),
        ("number", Arc::new(Float64Array::from(numbers.to_vec()))),
        (record::POSITION, Arc::new((0..count).collect::<Int64Array>())),
    ])
    .expect("a batch")
}

/// Writes hostile rows under names made of them; all but those that are refused arrive intact.
async fn check(store: &str, settings: &str, refused: &[i64]) {
    let key = "key: \"x={text}/y={ts:%Y-%m}/{split}-{position}\"";
    let Some(bench) = Bench::new(store, &format!("{settings}, {key}")) else { return };
    let batch = hostile_rows();
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    let rejected: Vec<_> = prepared.rejects.iter().map(|row| row.reject.position).collect();
    assert_eq!(rejected, refused, "{store}, {settings}");
    assert_eq!(prepared.rows, 8 - refused.len() as u64);
    commit(writer.as_mut(), 1, &prepared).await;
    let arrived: Vec<_> = (0..8).filter(|position| !refused.contains(position)).collect();
    assert_eq!(bench.positions().await, arrived, "{store}, {settings}");
    let names: Vec<_> = bench.objects().await.into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| name.starts_with("x=") && name.split('/').count() == 3));
    assert!(names.iter().any(|name| name.contains("/y=0000-01/")), "{names:?}");
    assert!(names.iter().any(|name| name.contains("/y=9999-12/")), "{names:?}");
    for position in arrived {
        let origin = Origin { split: SplitId::new("a.log"), position };
        let found = bench.sink.read_back("shop", ReadBack::Record(origin)).await.expect("readable");
        let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
        assert_eq!(found.len(), 1, "row {position} of {store}");
        let text = found[0].column_by_name("text").expect("its column").clone();
        let text = arrow::compute::cast(&text, &arrow::datatypes::DataType::Utf8).expect("text");
        let text = arrow::array::AsArray::as_string::<i32>(&text).iter().next().flatten();
        let expected = &hostile()[usize::try_from(position).expect("small")];
        assert!(text.unwrap_or_default() == expected, "row {position} of {store}, {settings}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_values_arrive_intact_and_below_the_prefix() {
    for store in ["local", "s3", "azure", "gcs"] {
        // JSON has no NaN; it and CSV have no form for a time beyond the calendar.
        check(store, "format: jsonl", &[0, 1, 5, 6]).await;
        check(store, "format: csv, compression: zstd", &[5, 6]).await;
        check(store, "format: parquet", &[]).await;
    }
}

/// JSON whose text is none: half a pair of surrogates, which no reader of text takes.
#[tokio::test]
async fn origins_are_read_whatever_else_stands_in_a_line() {
    let values = [r#"{"t":"cut \ud83d","_split":"x"}"#, r#"{"\udc00":[1]}"#, r#"{"t":"whole"}"#];
    let numbers: ArrayRef = Arc::new((0..3).collect::<Int64Array>());
    let fields = [Field::new("j", DataType::Utf8, true), record::position_field()];
    let [json, position] = fields;
    let schema = Arc::new(Schema::new(vec![record::with_json_mark(json), position]));
    let columns = vec![Arc::new(StringArray::from(values.to_vec())) as ArrayRef, numbers];
    let batch = RecordBatch::try_new(schema, columns).expect("a batch");
    for store in ["local", "s3"] {
        let Some(bench) = Bench::new(store, "format: jsonl, compression: gzip") else { continue };
        let mut writer = bench.writer(&batch.schema()).await;
        let prepared = prepare(writer.as_mut(), 1, &batch).await;
        commit(writer.as_mut(), 1, &prepared).await;
        assert_eq!(bench.positions().await, [0, 1, 2], "{store}");
        let origin = Origin { split: SplitId::new("a.log"), position: 0 };
        let found = bench.sink.read_back("shop", ReadBack::Record(origin)).await.expect("readable");
        let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
        let column = found[0].column_by_name("j").expect("its column").clone();
        let text = arrow::compute::cast(&column, &DataType::Utf8).expect("text");
        assert_eq!(arrow::array::AsArray::as_string::<i32>(&text).value(0), values[0]);
    }
}

#[tokio::test]
async fn sinks_under_one_prefix_do_not_see_each_other() {
    let bench = Bench::local("key: \"{split}-{position}-{epoch}\"");
    let ctx = BuildContext::new("shop", "other", bench.folder.path());
    let other = ObjectSink::new(bench.config.clone(), &ctx).expect("a sink");
    let batch = rows(0..10, 10);
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.positions().await.len(), 10);
    let found = other.read_back("shop", ReadBack::Origins).await.expect("readable");
    let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
    assert!(found.is_empty());
}

#[tokio::test]
async fn each_split_has_objects_of_its_own() {
    let bench = Bench::local("key: \"{split}-{position}-{epoch}\"");
    let batch = rows(0..10, 10);
    let mut writer = bench.writer(&batch.schema()).await;
    for split in ["a.log", "b.log"] {
        write(writer.as_mut(), split, 1, &batch, 3).await;
    }
    let prepared = writer.prepare(&super::lineage(), 1).await.expect("prepared");
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.objects().await.len(), 2);
    assert_eq!(bench.positions().await.len(), 20);
}

#[tokio::test]
async fn countless_values_end_the_epoch_and_all_arrive() {
    let bench = Bench::local("key: \"{text}/{split}-{position}\"");
    let batch = rows(0..99, 20);
    let mut writer = bench.writer(&batch.schema()).await;
    assert_eq!(write(writer.as_mut(), "a.log", 1, &batch, 50).await, Room::Left);
    assert_eq!(write(writer.as_mut(), "a.log", 1, &rows(99..250, 20), 50).await, Room::Full);
    let prepared = writer.prepare(&super::lineage(), 1).await.expect("prepared");
    assert_eq!((prepared.rows, prepared.rejects.len()), (250, 0), "rows on their way are taken");
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.positions().await, (0..250).collect::<Vec<_>>());
    let room = write(writer.as_mut(), "a.log", 2, &rows(250..300, 20), 50).await;
    assert_eq!(room, Room::Left, "another epoch has room again");
}

#[tokio::test]
async fn countless_values_make_the_same_objects_whatever_the_batches() {
    let mut made = Vec::new();
    for step in [1000, 7] {
        let bench = Bench::local("key: \"{host}/{number}/{split}-{position}\", format: jsonl");
        let numbers = (0..600_i64).map(|row| row % 130).collect::<Int64Array>();
        let mut columns = rows(0..600, 5).columns().to_vec();
        columns.push(Arc::new(numbers));
        let names = ["host", "text", record::POSITION, "number"];
        let batch = RecordBatch::try_from_iter(names.into_iter().zip(columns)).expect("a batch");
        let mut writer = bench.writer(&batch.schema()).await;
        write(writer.as_mut(), "a.log", 1, &batch, step).await;
        let prepared = writer.prepare(&super::lineage(), 1).await.expect("prepared");
        commit(writer.as_mut(), 1, &prepared).await;
        made.push(bench.objects().await);
    }
    assert!(made[0].len() > 130, "{} objects", made[0].len());
    assert!(made[0] == made[1]);
}
