//! Partitions, columns, files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use contract::sink::{CommitOutcome, ReadBack, Sink, WriterContext};
use contract::{ErrorKind, Origin, SplitId, record};
use futures::TryStreamExt;
use serde_json::json;

use super::{
    commit, context, decided, delivered, main_lineage, plain, positions, prepare, rows, sink,
    with_column, writer,
};

fn parquet_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn rows_go_into_the_folder_of_their_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), json!({ "partition_by": ["day(ts)", "status"] }));
    let mut writer = writer(&sink, "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 0..30).await;
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    let files = parquet_files(&folder.path().join("lake/hits"));
    assert_eq!(files.len(), 6, "three days, two statuses each: {files:?}");
    assert!(files[0].contains("/ts_day=1970-01-01/status=200/"), "{files:?}");
    assert_eq!(positions(&sink).await, (0..30).collect::<Vec<_>>());

    let origin = Origin { split: SplitId::new("a"), position: 11 };
    let found = sink.read_back("shop", ReadBack::Record(origin)).await.expect("readable");
    let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
    let text = arrow::util::pretty::pretty_format_batches(&found).expect("printable").to_string();
    assert!(text.contains("1970-01-02 ") && text.contains("201"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_create_one_table_at_once_share_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let opened = (0..8).map(|number| sink.open(context(schema.clone(), &format!("w{number}"))));
    let opened = futures::future::join_all(opened).await;
    assert!(opened.iter().all(Result::is_ok));
    let log = std::fs::read_dir(folder.path().join("lake/hits/_delta_log")).expect("a log");
    assert_eq!(log.count(), 1, "one version");
}

#[tokio::test]
async fn the_log_tells_bounds_of_numbers_and_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = writer(&plain(folder.path()), "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 5..25).await;
    let committable = prepared.committable.expect("a file");
    let statistics = committable["files"][0]["stats"].as_str().expect("statistics");
    let statistics: serde_json::Value = serde_json::from_str(statistics).expect("JSON");
    assert_eq!(statistics["numRecords"], 20);
    for (column, min, max) in [
        ("_position", json!(5), json!(24)),
        ("_epoch", json!(1), json!(1)),
        ("_split", json!("a"), json!("a")),
        ("status", json!(200), json!(201)),
        ("ts", json!("1970-01-01T00:00:00.000Z"), json!("1970-01-03T00:00:00.000Z")),
    ] {
        assert_eq!(statistics["minValues"][column], min, "{column}");
        assert_eq!(statistics["maxValues"][column], max, "{column}");
    }
}

#[tokio::test]
async fn partitions_of_a_table_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    writer(&plain(folder.path()), "w1").await;
    let other = sink(folder.path(), json!({ "partition_by": "day(ts)" }));
    let ctx = context(delivered(&rows(0..1), "a", 1).schema(), "w2");
    let error = other.open(ctx).await.err().expect("refused");
    assert_eq!((error.kind(), error.field_name()), (ErrorKind::Config, Some("partition_by")));
}

#[tokio::test]
async fn files_for_other_partitions_than_the_table_has_are_not_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut writer = writer(&sink, "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 0..10).await;

    // Another writer makes partitions of a column, as an overwrite with its own layout does.
    let log = folder.path().join("lake/hits/_delta_log");
    let first = std::fs::read_to_string(log.join(format!("{:020}.json", 0))).expect("the table");
    let actions = first.lines().map(|line| serde_json::from_str(line).expect("an action"));
    let mut actions = actions.filter(|action: &serde_json::Value| action["metaData"].is_object());
    let mut other = actions.next().expect("the table's metadata");
    other["metaData"]["partitionColumns"] = json!(["method"]);
    std::fs::write(log.join(format!("{:020}.json", 1)), other.to_string()).expect("an entry");

    let error = writer.commit(&decided(&prepared, 1, None)).await.expect_err("refused");
    assert_eq!((error.kind(), error.field_name()), (ErrorKind::Config, Some("partition_by")));
    assert!(error.chain().contains("\"method\""), "{}", error.chain());
    assert_eq!(positions(&sink).await, [0; 0]);
}

#[tokio::test]
async fn a_new_column_joins_the_table_and_is_null_in_older_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut old = writer(&sink, "w1").await;
    let prepared = prepare(old.as_mut(), 1, 0..10).await;
    commit(old.as_mut(), decided(&prepared, 1, None)).await;

    let wider = with_column(&rows(10..20), "shard", Arc::new(UInt32Array::from(vec![3; 10])));
    let wider = delivered(&wider, "a", 2);
    let mut new = sink.open(context(wider.schema(), "w2")).await.expect("a writer");
    new.write(&main_lineage(), wider).await.expect("written");
    let prepared = new.prepare(&main_lineage(), 2).await.expect("prepared");
    let outcome = commit(new.as_mut(), decided(&prepared, 2, Some(1))).await;
    assert_eq!(outcome, CommitOutcome::Committed);

    // The old writer does not know the column and goes on without it.
    let prepared = prepare(old.as_mut(), 3, 20..30).await;
    let outcome = commit(old.as_mut(), decided(&prepared, 3, Some(2))).await;
    assert_eq!(outcome, CommitOutcome::Committed);
    assert_eq!(positions(&sink).await, (0..30).collect::<Vec<_>>());
    for (position, nulls) in [(5, 1), (15, 0), (25, 1)] {
        let origin = Origin { split: SplitId::new("a"), position };
        let found = sink.read_back("shop", ReadBack::Record(origin)).await.expect("readable");
        let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
        let shard = found[0].column_by_name("shard").expect("the new column");
        assert_eq!(shard.null_count(), nulls, "position {position}");
    }
}

#[tokio::test]
async fn a_column_of_another_type_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    writer(&sink, "w1").await;
    let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("path", other.clone()), (record::POSITION, other)]);
    let schema = delivered(&batch.expect("a batch"), "a", 1).schema();
    let error = sink.open(context(schema, "w2")).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("was made by another schema: column \"path\""), "{error}");
    assert!(error.hint_text().is_some());
}

#[tokio::test]
async fn types_that_tables_do_not_have_are_widened() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let big: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let wide = delivered(&with_column(&rows(0..1), "big", big), "a", 1);
    let mut writer = sink.open(context(wide.schema(), "w1")).await.expect("a writer");
    writer.write(&main_lineage(), wide).await.expect("written");
    let prepared = writer.prepare(&main_lineage(), 1).await.expect("prepared");
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    let origin = Origin { split: SplitId::new("a"), position: 0 };
    let found = sink.read_back("shop", ReadBack::Record(origin)).await.expect("readable");
    let found: Vec<RecordBatch> = found.try_collect().await.expect("readable");
    let text = arrow::util::pretty::pretty_format_batches(&found).expect("printable").to_string();
    assert!(text.contains("18446744073709551615"), "{text}");
}

#[tokio::test]
async fn large_epochs_become_several_files_within_the_memory_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(
        folder.path(),
        json!({ "file_bytes_max": "64KiB", "row_group_rows_max": 4000, "compression": "none" }),
    );
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let ctx = WriterContext { memory_bytes: 1 << 20, ..context(schema, "w1") };
    let mut writer = sink.open(ctx).await.expect("a writer");
    for from in (0..50_000).step_by(1000) {
        let batch = delivered(&rows(from..from + 1000), "a", 1);
        writer.write(&main_lineage(), batch).await.expect("written");
    }
    let prepared = writer.prepare(&main_lineage(), 1).await.expect("prepared");
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    let files = parquet_files(&folder.path().join("lake/hits"));
    assert!(files.len() > 3, "{files:?}");
    for file in &files {
        let bytes = std::fs::metadata(file).expect("a file").len();
        assert!(bytes < 1 << 20, "{file} has {bytes} bytes");
    }
    assert_eq!(positions(&sink).await, (0..50_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_origins_rows_can_only_be_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), json!({ "origin": false }));
    let batch = rows(0..20);
    let schema = record::sink_schema(&batch.schema(), false);
    let batch = record::for_sink(&batch, &schema, &SplitId::new("a"), 1).expect("a batch");
    let mut writer = sink.open(context(schema, "w1")).await.expect("a writer");
    writer.write(&main_lineage(), batch).await.expect("written");
    let prepared = writer.prepare(&main_lineage(), 1).await.expect("prepared");
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    let batches = sink.read_back("shop", ReadBack::Origins).await.expect("readable");
    let batches: Vec<RecordBatch> = batches.try_collect().await.expect("readable");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20);
    assert!(batches.iter().all(|batch| batch.num_columns() == 0));
}
