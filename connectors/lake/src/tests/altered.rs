//! Tables that another writer alters, drops or empties while a pipeline writes them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use contract::sink::{CommitOutcome, Held, Prepared, ReadBack, Sink, Token, Writer, WriterContext};
use contract::{Error, ErrorKind, Result, SplitId, record};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::{
    commit, context, decided, delivered, main_lineage, plain, positions, prepare, rows, sink,
    with_column, writer,
};

fn log_of(folder: &Path) -> PathBuf {
    folder.join("lake/hits/_delta_log")
}

/// The newest metadata of the table, and the number of the next entry of its log.
fn metadata(folder: &Path) -> (Value, u64) {
    let mut found = Value::Null;
    for version in 0.. {
        let entry = log_of(folder).join(format!("{version:020}.json"));
        let Ok(entry) = std::fs::read_to_string(entry) else { return (found, version) };
        for line in entry.lines() {
            let action: Value = serde_json::from_str(line).expect("an action");
            if action["metaData"].is_object() {
                found = action["metaData"].clone();
            }
        }
    }
    unreachable!("logs end")
}

/// Writes an entry that another writer would: with other metadata.
fn alter(folder: &Path, change: impl FnOnce(&mut Value)) {
    let (mut metadata, version) = metadata(folder);
    change(&mut metadata);
    let entry = json!({ "metaData": metadata }).to_string();
    std::fs::write(log_of(folder).join(format!("{version:020}.json")), entry).expect("an entry");
}

/// The same, with other columns.
fn alter_columns(folder: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    alter(folder, |metadata| {
        let text = metadata["schemaString"].as_str().expect("a schema");
        let mut schema: Value = serde_json::from_str(text).expect("JSON");
        change(schema["fields"].as_array_mut().expect("columns"));
        metadata["schemaString"] = schema.to_string().into();
    });
}

fn column<'a>(columns: &'a mut [Value], name: &str) -> &'a mut Value {
    columns.iter_mut().find(|column| column["name"] == name).expect("the column")
}

async fn try_prepare(writer: &mut dyn Writer, epoch: u64, at: Range<i64>) -> Result<Prepared> {
    let batch = delivered(&rows(at), "a", epoch);
    writer.write(&main_lineage(), batch).await?;
    writer.prepare(&main_lineage(), epoch).await
}

/// Refused before anything is decided, with a way out; nothing of it stays behind.
async fn check_refused(writer: &mut dyn Writer, folder: &Path, part: &str) -> Error {
    let before = files(folder);
    let error = try_prepare(writer, 2, 10..20).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains(part) && error.hint_text().is_some(), "{}", error.chain());
    writer.abort(&main_lineage()).await.expect("dropped");
    assert_eq!(files(folder), before, "what was staged is removed");
    error
}

fn files(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder.join("lake/hits")).expect("a table");
    let names = files.map(|file| file.expect("readable").file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".parquet")).count()
}

/// The files that an entry of the log adds.
fn added(folder: &Path, version: u64) -> Vec<String> {
    let entry = log_of(folder).join(format!("{version:020}.json"));
    let entry = std::fs::read_to_string(entry).expect("an entry");
    let actions = entry.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    actions.filter_map(|action| action["add"]["path"].as_str().map(str::to_owned)).collect()
}

fn write_entry(folder: &Path, version: u64, actions: &[Value]) {
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    let entry = log_of(folder).join(format!("{version:020}.json"));
    std::fs::write(entry, lines.join("\n")).expect("an entry");
}

/// Takes the files that one version added out of the table, as another version.
fn remove_entry(folder: &Path, of: u64, version: u64) {
    let removed = added(folder, of).into_iter().map(
        |path| json!({ "remove": { "path": path, "deletionTimestamp": 1, "dataChange": true } }),
    );
    write_entry(folder, version, &removed.collect::<Vec<_>>());
}

/// A table with one epoch, whose writer goes on.
async fn running(folder: &Path) -> Box<dyn Writer> {
    let mut writer = writer(&plain(folder), "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 0..10).await;
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    writer
}

#[tokio::test]
async fn a_type_that_changes_is_refused_before_the_decision() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = running(folder.path()).await;
    alter_columns(folder.path(), |columns| {
        column(columns, "status")["type"] = json!("long");
    });
    check_refused(writer.as_mut(), folder.path(), "column \"status\" is long there").await;
}

#[tokio::test]
async fn a_type_that_changes_after_the_decision_publishes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = running(folder.path()).await;
    let prepared = try_prepare(writer.as_mut(), 2, 10..20).await.expect("prepared");
    alter_columns(folder.path(), |columns| {
        column(columns, "status")["type"] = json!("long");
    });
    let error = writer.commit(&decided(&prepared, 2, Some(1))).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    alter_columns(folder.path(), |columns| {
        column(columns, "status")["type"] = json!("integer");
    });
    let outcome = commit(writer.as_mut(), decided(&prepared, 2, Some(1))).await;
    assert_eq!(outcome, CommitOutcome::Committed, "once it is as it was");
    assert_eq!(positions(&plain(folder.path())).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_column_that_must_not_be_null_takes_values_and_no_nulls() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = running(folder.path()).await;
    alter_columns(folder.path(), |columns| {
        column(columns, "status")["nullable"] = json!(false);
    });
    let prepared = try_prepare(writer.as_mut(), 2, 10..20).await.expect("all have a status");
    commit(writer.as_mut(), decided(&prepared, 2, Some(1))).await;
    alter_columns(folder.path(), |columns| {
        let other = json!({ "name": "who", "type": "string", "nullable": false, "metadata": {} });
        columns.push(other);
    });
    check_refused(writer.as_mut(), folder.path(), "column \"who\"").await;
    alter_columns(folder.path(), |columns| {
        columns.retain(|column| column["name"] != "who");
        column(columns, "status")["nullable"] = json!(true);
    });

    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let batch = with_column(&rows(20..22), "size", nulls);
    let batch = delivered(&batch, "a", 3);
    let mut wider = plain(folder.path()).open(context(batch.schema(), "w2")).await.expect("opened");
    write(wider.as_mut(), &batch).await;
    let prepared = wider.prepare(&main_lineage(), 3).await.expect("prepared");
    commit(wider.as_mut(), decided(&prepared, 3, Some(2))).await;
    alter_columns(folder.path(), |columns| {
        column(columns, "size")["nullable"] = json!(false);
    });
    write(wider.as_mut(), &batch).await;
    let error = wider.prepare(&main_lineage(), 4).await.expect_err("one has no size");
    assert!(error.chain().contains("\"size\""), "{}", error.chain());
}

async fn write(writer: &mut dyn Writer, batch: &RecordBatch) {
    writer.write(&main_lineage(), batch.clone()).await.expect("written");
}

#[tokio::test]
async fn a_column_that_is_dropped_comes_back_by_a_new_start_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    let staged = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    alter_columns(folder.path(), |columns| columns.retain(|column| column["name"] != "path"));
    // What was decided before is finished without it.
    let outcome = commit(running.as_mut(), decided(&staged, 2, Some(1))).await;
    assert_eq!(outcome, CommitOutcome::Committed);
    let has_path = || metadata(folder.path()).0.to_string().contains("\\\"path\\\"");
    assert!(!has_path(), "it did not come back");
    let before = files(folder.path());
    let error = try_prepare(running.as_mut(), 3, 20..30).await.expect_err("refused");
    assert!(error.chain().contains("column \"path\""), "{}", error.chain());
    assert_eq!((error.kind(), error.hint_text().is_some()), (ErrorKind::Config, true));
    running.abort(&main_lineage()).await.expect("dropped");
    assert_eq!(files(folder.path()), before);

    let mut again = writer(&plain(folder.path()), "w2").await;
    let prepared = try_prepare(again.as_mut(), 3, 20..30).await.expect("prepared");
    commit(again.as_mut(), decided(&prepared, 3, Some(2))).await;
    assert!(has_path(), "a start adds what the table lacks");
    assert_eq!(positions(&plain(folder.path())).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn rules_that_nobody_checks_here_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    alter(folder.path(), |metadata| {
        metadata["configuration"]["delta.constraints.fine"] = json!("status < 500");
    });
    let part = "constraint or generated column, \"fine\"";
    check_refused(running.as_mut(), folder.path(), part).await;
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let error = plain(folder.path()).open(context(schema, "w2")).await.err().expect("refused");
    assert!(error.chain().contains(part), "{}", error.chain());
}

#[tokio::test]
async fn a_table_that_is_dropped_is_found_out_before_the_decision() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    std::fs::remove_dir_all(folder.path().join("lake/hits")).expect("dropped");
    let error = try_prepare(running.as_mut(), 2, 10..20).await.expect_err("it is gone");
    assert!(error.retry() && error.to_string().contains("dropped"), "{}", error.chain());
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let sink = plain(folder.path());
    let held = sink.fence_and_read(&context(schema, "w2"), &main_lineage()).await;
    assert_eq!(held.expect("looked at"), Held::Nothing);
}

#[tokio::test]
async fn a_table_that_is_emptied_takes_what_comes_and_nothing_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    // As `DELETE FROM hits` leaves it: its files are not the table's any more.
    remove_entry(folder.path(), 1, 2);
    let prepared = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    let outcome = commit(running.as_mut(), decided(&prepared, 2, Some(1))).await;
    assert_eq!(outcome, CommitOutcome::Committed);
    assert_eq!(positions(&plain(folder.path())).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_of_another_writer_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    let other = sink(folder.path(), json!({ "origin": false }));
    let schema = record::sink_schema(&rows(0..1).schema(), false);
    let batch = record::for_sink(&rows(0..3), &schema, &SplitId::new("x"), 1).expect("a batch");
    let ctx = WriterContext { pipeline: "other".to_owned(), ..context(schema, "w9") };
    let mut foreign = other.open(ctx).await.expect("a writer");
    write(foreign.as_mut(), &batch).await;
    let prepared = foreign.prepare(&main_lineage(), 1).await.expect("prepared");
    commit(foreign.as_mut(), decided(&prepared, 1, None)).await;
    let prepared = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    commit(running.as_mut(), decided(&prepared, 2, Some(1))).await;
    let batches = plain(folder.path()).read_back("shop", ReadBack::Origins).await;
    let batches: Vec<_> = batches.expect("readable").try_collect().await.expect("readable");
    let all: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let nameless = |batch: &RecordBatch| {
        let column = batch.column_by_name(record::POSITION);
        column.map_or(batch.num_rows(), |column| column.null_count())
    };
    assert_eq!((all, batches.iter().map(nameless).sum::<usize>()), (23, 3));
}

/// `RESTORE` writes a new version without the files that came later.
#[tokio::test]
async fn a_table_that_is_restored_keeps_its_token_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    let prepared = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    commit(running.as_mut(), decided(&prepared, 2, Some(1))).await;
    remove_entry(folder.path(), 2, 3);
    let sink = plain(folder.path());
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let held = sink.fence_and_read(&context(schema, "w2"), &main_lineage()).await;
    assert_eq!(held.expect("looked at"), Held::Token(Token { epoch: 2, incarnation: 7 }));
    let prepared = try_prepare(running.as_mut(), 3, 20..30).await.expect("prepared");
    commit(running.as_mut(), decided(&prepared, 3, Some(2))).await;
    assert_eq!(positions(&sink).await, (0..10).chain(20..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_that_is_put_back_from_a_copy_has_the_token_of_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    let prepared = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    commit(running.as_mut(), decided(&prepared, 2, Some(1))).await;
    std::fs::remove_file(log_of(folder.path()).join(format!("{:020}.json", 2))).expect("a copy");
    let schema = delivered(&rows(0..1), "a", 1).schema();
    let sink = plain(folder.path());
    let held = sink.fence_and_read(&context(schema, "w2"), &main_lineage()).await;
    assert_eq!(held.expect("looked at"), Held::Token(Token { epoch: 1, incarnation: 7 }));
    // A process that goes on meanwhile commits nothing on top of it.
    let error = try_prepare(running.as_mut(), 3, 20..30).await.expect_err("its epoch is gone");
    assert!(error.retry(), "{}", error.chain());
}

#[tokio::test]
async fn files_that_are_removed_without_the_log_are_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = running(folder.path()).await;
    let files = std::fs::read_dir(folder.path().join("lake/hits")).expect("a table");
    for file in files.map(|file| file.expect("readable").path()) {
        if file.extension().is_some_and(|kind| kind == "parquet") {
            std::fs::remove_file(file).expect("removed");
        }
    }
    let prepared = try_prepare(running.as_mut(), 2, 10..20).await.expect("prepared");
    commit(running.as_mut(), decided(&prepared, 2, Some(1))).await;
    assert_eq!(positions(&plain(folder.path())).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_that_are_deleted_in_place_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    running(folder.path()).await;
    let path = added(folder.path(), 1).remove(0);
    let size = std::fs::metadata(folder.path().join("lake/hits").join(&path)).expect("it").len();
    let features = json!(["deletionVectors"]);
    let actions = [
        json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": features, "writerFeatures": features } }),
        json!({ "remove": { "path": path, "deletionTimestamp": 1, "dataChange": true } }),
        json!({ "add": { "path": path, "size": size, "partitionValues": {}, "dataChange": true,
            "modificationTime": 1, "deletionVector": { "storageType": "u",
            "pathOrInlineDv": "vBn[lx{q8@P<9BNH/isA", "offset": 1, "sizeInBytes": 36,
            "cardinality": 2 } } }),
    ];
    write_entry(folder.path(), 2, &actions);
    let read = plain(folder.path()).read_back("shop", ReadBack::Origins).await;
    let error = read.err().expect("its rows are not what its files hold");
    assert!(error.to_string().contains("deleted in place"), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("rewrite")), "{error:?}");
}

/// What can be no table ends a start at once, with the name of what is in its way.
#[tokio::test]
async fn what_is_no_folder_is_named_and_never_tried_again() {
    let link = |path: &Path| std::os::unix::fs::symlink("nowhere", path).expect("a link");
    let circle = |path: &Path| {
        std::os::unix::fs::symlink(path.file_name().expect("a name"), path).expect("a link");
    };
    let file = |path: &Path| std::fs::write(path, "").expect("a file");
    let shapes: [&dyn Fn(&Path); 3] = [&file, &link, &circle];
    for shape in shapes {
        for (place, name) in [("lake/hits", "hits"), ("lake/hits/_delta_log", "_delta_log")] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            shape(&path);
            let sink = plain(folder.path());
            let batch = delivered(&rows(0..1), "a", 1);
            let ctx = context(batch.schema(), "one");
            let errors = [
                sink.open(ctx).await.err(),
                sink.look(&batch.schema()).await.err(),
                sink.read_back("tests", ReadBack::Origins).await.err(),
            ];
            for error in errors {
                let error = error.expect("there is no table");
                assert!(!error.retry(), "{}", error.chain());
                let says = format!("{name}\" is a ");
                assert!(error.chain().contains(&says), "{}", error.chain());
                assert!(error.hint_text().is_some_and(|hint| hint.contains("move it away")));
            }
        }
    }
}
