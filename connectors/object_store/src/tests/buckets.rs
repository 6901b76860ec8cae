//! Buckets that are not there, and uploads that are given up: what a reader of the bucket sees.

use object_store::ObjectStoreExt;
use testkit::services;

use super::*;

/// A place without a bucket, whose sink makes none.
fn without_bucket(store: &str) -> Option<Bench> {
    let mut bench = Bench::new(store, "")?;
    bench.config.create_bucket = false;
    let ctx = BuildContext::new("shop", "archive", &bench.folder.path().join("data"));
    bench.sink = ObjectSink::new(bench.config.clone(), &ctx).expect("a sink");
    Some(bench)
}

async fn missing_bucket(store: &str) {
    let Some(bench) = without_bucket(store) else { return };
    let schema = rows(0..1, 1).schema();
    let ctx = WriterContext {
        pipeline: "shop".to_owned(),
        sink: "archive".to_owned(),
        incarnation: 7,
        writer_id: unique("w"),
        schema: record::sink_schema(&schema, true),
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 2,
    };
    let error = bench.sink.open(ctx).await.err().expect("there is no bucket");
    assert_eq!(error.kind(), contract::ErrorKind::Config, "{}", error.chain());
    assert!(error.hint_text().is_some_and(|it| it.contains("create_bucket")), "{}", error.chain());
    assert!(bench.place().has_bucket().await.is_ok_and(|is_there| !is_there), "none was made");
}

#[tokio::test]
async fn a_missing_bucket_of_s3_ends_the_start() {
    missing_bucket("s3").await;
}

#[tokio::test]
async fn a_missing_container_of_azure_ends_the_start() {
    missing_bucket("azure").await;
}

/// Rows of an upload with several parts, at every moment at which it may be given up.
async fn given_up(store: &str) {
    let Some(bench) = Bench::new(store, "format: jsonl") else { return };
    let batch = rows(0..12_000, 1_000);
    let mut killed = bench.writer(&batch.schema()).await;
    write(killed.as_mut(), "a.log", 1, &batch, 1000).await;
    assert_eq!(bench.objects().await, [], "while it is written");
    // As a killed process leaves it: nobody says that it is given up.
    drop(killed);
    let mut prepared = bench.writer(&batch.schema()).await;
    prepare(prepared.as_mut(), 1, &batch).await;
    drop(prepared);
    assert_eq!(bench.objects().await, [], "before it is decided");
    let mut aborted = bench.writer(&batch.schema()).await;
    write(aborted.as_mut(), "a.log", 1, &batch, 1000).await;
    aborted.abort(&lineage()).await.expect("given up");
    assert_eq!(bench.objects().await, [], "after it is given up");
    let mut writer = bench.writer(&batch.schema()).await;
    let whole = prepare(writer.as_mut(), 1, &batch).await;
    assert_eq!(commit(writer.as_mut(), 1, &whole).await, CommitOutcome::Committed);
    assert_eq!(bench.objects().await.len(), 1);
    assert_eq!(bench.positions().await, (0..12_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn nobody_sees_an_upload_to_s3_that_is_given_up() {
    given_up("s3").await;
}

#[tokio::test]
async fn nobody_sees_an_upload_to_azure_that_is_given_up() {
    given_up("azure").await;
}

#[tokio::test]
async fn nobody_sees_an_upload_to_a_folder_that_is_given_up() {
    given_up("local").await;
}

#[tokio::test]
async fn objects_that_are_removed_are_missing_and_not_written_again() {
    for store in ["local", "s3", "azure", "gcs"] {
        let Some(bench) = Bench::new(store, "format: jsonl") else { continue };
        let schema = rows(0..1, 1).schema();
        let mut writer = bench.writer(&schema).await;
        let prepared = prepare(writer.as_mut(), 1, &rows(0..10, 5)).await;
        assert_eq!(commit(writer.as_mut(), 1, &prepared).await, CommitOutcome::Committed);
        let place = bench.place();
        for (name, _) in bench.objects().await {
            let path = place.path(&name).expect("its path");
            place.objects.delete(&path).await.expect("removed");
        }
        let prepared = prepare(writer.as_mut(), 2, &rows(10..20, 5)).await;
        assert_eq!(commit(writer.as_mut(), 2, &prepared).await, CommitOutcome::Committed);
        assert_eq!(bench.positions().await, (10..20).collect::<Vec<_>>(), "{store}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_removed_while_we_run_is_waited_for() {
    let Some(bench) = Bench::new("s3", "format: jsonl") else { return };
    let schema = rows(0..1, 1).schema();
    let mut writer = bench.writer(&schema).await;
    // Large enough for an upload, small enough for the checkpoint.
    for (epoch, batch) in [(1, rows(0..12_000, 1_000)), (2, rows(12_000..12_010, 5))] {
        let bucket = bench.config.url().trim_start_matches("s3://");
        let bucket = bucket.split('/').next().expect("its name").to_owned();
        let prepared = prepare(writer.as_mut(), epoch, &batch).await;
        let prev = epoch.checked_sub(1).filter(|prev| *prev > 0);
        let committable = prepared.committable.clone();
        let decided = Commit { lineage: lineage(), epoch, prev, committable };
        services::remove_bucket(&bucket).await;
        match writer.commit(&decided).await {
            Err(error) => assert!(error.retry(), "{}", error.chain()),
            Ok(outcome) => assert_eq!(outcome, CommitOutcome::NeedsReplay),
        }
        // A new attempt makes it where the settings say so.
        writer = bench.writer(&schema).await;
        let outcome = writer.commit(&decided).await.expect("an outcome");
        if outcome == CommitOutcome::NeedsReplay {
            let again = prepare(writer.as_mut(), epoch, &batch).await;
            assert_eq!(commit(writer.as_mut(), epoch, &again).await, CommitOutcome::Committed);
        }
        let first = if epoch == 1 { 0..12_000 } else { 12_000..12_010 };
        assert_eq!(bench.positions().await, first.collect::<Vec<_>>());
    }
}
