//! Uploads, repeats, replays, and what cuts an object.

use arrow::array::{Int64Array, RecordBatch};
use contract::record;
use contract::sink::CommitOutcome;
use object_store::multipart::PartId;
use object_store::{Attribute, ObjectStoreExt};

use super::{Bench, commit, lineage, prepare, rows, write};
use crate::commit::{Committable, StagedBody, StagedObject};

fn staged(prepared: &contract::sink::Prepared) -> Vec<StagedObject> {
    let committable = prepared.committable.clone().expect("something is staged");
    serde_json::from_value::<Committable>(committable).expect("ours").objects
}

/// An object of several parts is unseen until another process completes it, and stays as it is.
async fn large_object(store: &str) {
    let Some(bench) = Bench::new(store, "format: jsonl") else { return };
    let batch = rows(0..1200, 10_000);
    let prepared = prepare(bench.writer(&batch.schema()).await.as_mut(), 1, &batch).await;
    let [object] = &staged(&prepared)[..] else { panic!("one split, one object") };
    let StagedBody::Upload { parts, .. } = &object.body else { panic!("12 MB are no small body") };
    assert_eq!(parts.len(), 3);
    assert!(bench.objects().await.is_empty(), "staged rows must not be seen");
    for _ in 0..2 {
        let mut other = bench.writer(&batch.schema()).await;
        assert_eq!(commit(other.as_mut(), 1, &prepared).await, CommitOutcome::Committed);
        assert_eq!(bench.positions().await, (0..1200).collect::<Vec<_>>());
    }
    assert_eq!(bench.objects().await[0].1.len() as u64, object.bytes);
    let place = bench.place();
    let found = place.objects.get(&place.path(&object.key).expect("a path")).await.expect("there");
    if store == "s3" {
        let content_type = found.attributes.get(&Attribute::ContentType).expect("a type");
        assert_eq!(&**content_type, "application/json");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_in_a_folder_is_completed_by_another_process() {
    large_object("local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_in_s3_is_completed_by_another_process() {
    large_object("s3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_in_azure_is_completed_by_another_process() {
    large_object("azure").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_in_gcs_is_completed_by_another_process() {
    large_object("gcs").await;
}

/// An upload that is gone, with another object under its name or none, is replayed.
async fn lost_upload(store: &str) {
    let Some(bench) = Bench::new(store, "format: jsonl") else { return };
    let batch = rows(0..100, 4_000);
    let mut lost = prepare(bench.writer(&batch.schema()).await.as_mut(), 1, &batch).await;
    let [object] = &staged(&lost)[..] else { panic!("one split, one object") };
    let StagedBody::Upload { id, .. } = &object.body else { panic!("400 kB are no small body") };
    let place = bench.place();
    let path = place.path(&object.key).expect("a path");
    place.uploads.abort_multipart(&path, id).await.expect("aborted");
    let mut next = bench.writer(&batch.schema()).await;
    if store == "azure" {
        // There is no abort; blocks go when another owner commits the same name.
        let mut without = object.clone();
        without.body = StagedBody::Upload { id: String::new(), parts: vec!["0".repeat(32)] };
        let committable = Committable { objects: vec![without] };
        lost.committable = Some(serde_json::to_value(committable).expect("JSON"));
    }
    let other = vec![b'x'; object.bytes as usize];
    place.objects.put(&path, other.into()).await.expect("put");
    assert_eq!(commit(next.as_mut(), 1, &lost).await, CommitOutcome::NeedsReplay);

    let again = prepare(next.as_mut(), 1, &batch).await;
    assert_eq!(staged(&again)[0].key, object.key, "a replay overwrites itself");
    assert_eq!(commit(next.as_mut(), 1, &again).await, CommitOutcome::Committed);
    assert_eq!(bench.positions().await, (0..100).collect::<Vec<_>>());
    assert_eq!(bench.objects().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_in_a_folder_is_replayed() {
    lost_upload("local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_in_s3_is_replayed() {
    lost_upload("s3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_in_azure_is_replayed() {
    lost_upload("azure").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_upload_in_gcs_is_replayed() {
    lost_upload("gcs").await;
}

/// What objects a run leaves behind, with batches of this size and this much memory.
async fn outcome(settings: &str, step: usize, memory_bytes: usize) -> Vec<(String, Vec<u8>)> {
    let bench = Bench::local(settings);
    let batch = rows(0..3000, 700);
    let mut writer = bench.writer_with(&batch.schema(), memory_bytes).await;
    write(writer.as_mut(), "a.log", 1, &batch, step).await;
    let prepared = writer.prepare(&lineage(), 1).await.expect("prepared");
    assert_eq!(prepared.rows, 3000);
    assert_eq!(commit(writer.as_mut(), 1, &prepared).await, CommitOutcome::Committed);
    assert_eq!(bench.positions().await, (0..3000).collect::<Vec<_>>());
    bench.objects().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_batches_nor_memory_change_an_object() {
    for format in ["jsonl", "jsonl, compression: gzip", "csv"] {
        let key = "\"{host}/{split}-{position}\"";
        let settings = format!("key: {key}, format: {format}, rows_max: 700, bytes_max: 300KiB");
        let expected = outcome(&settings, 1000, 64 << 20).await;
        assert!(expected.len() > 3, "{} objects", expected.len());
        assert!(expected == outcome(&settings, 77, 64 << 20).await, "{format}: batches");
        assert!(expected == outcome(&settings, 500, 100 << 10).await, "{format}: memory");
    }
    let parquet = |name: (String, Vec<u8>)| name.0;
    let settings = "key: \"{host}/{split}-{position}\", format: parquet, rows_max: 700";
    let expected: Vec<_> =
        outcome(settings, 1000, 64 << 20).await.into_iter().map(parquet).collect();
    let tight: Vec<_> = outcome(settings, 77, 100 << 10).await.into_iter().map(parquet).collect();
    assert_eq!(expected, tight);
}

#[tokio::test]
async fn rows_of_one_record_stay_together() {
    let bench = Bench::local("rows_max: 10, key: \"{split}-{position}\"");
    let batch = rows(0..60, 5);
    // Twenty rows of each of three records.
    let positions: Int64Array = (0..60).map(|row| row / 20).collect();
    let columns =
        vec![batch.column(0).clone(), batch.column(1).clone(), std::sync::Arc::new(positions)];
    let batch = RecordBatch::try_new(batch.schema(), columns).expect("a batch");
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    assert_eq!(staged(&prepared).len(), 3);
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.positions().await.len(), 60);
}

#[tokio::test]
async fn only_so_much_stands_in_a_checkpoint() {
    let bench = Bench::local("rows_max: 100");
    let batch = rows(0..2000, 1000);
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    let objects = staged(&prepared);
    let inline = objects.iter().filter(|object| matches!(object.body, StagedBody::Inline(_)));
    let inline: u64 = inline.map(|object| object.bytes).sum();
    assert!((500_000..=1 << 20).contains(&inline), "{inline} bytes");
    assert_eq!(objects.len(), 20);
    assert_eq!(commit(writer.as_mut(), 1, &prepared).await, CommitOutcome::Committed);
    assert_eq!(bench.positions().await.len(), 2000);
}

#[tokio::test]
async fn an_aborted_epoch_leaves_nothing_and_the_writer_goes_on() {
    let bench = Bench::local("rows_max: 300");
    let batch = rows(0..1000, 7_000);
    let mut writer = bench.writer(&batch.schema()).await;
    write(writer.as_mut(), "a.log", 1, &batch, 100).await;
    let hidden = bench.folder.path().join("out/.logmill");
    assert!(std::fs::read_dir(&hidden).expect("uploads").count() > 0);
    writer.abort(&lineage()).await.expect("aborted");
    assert_eq!(std::fs::read_dir(&hidden).expect("uploads").count(), 0);
    let nothing = writer.prepare(&lineage(), 1).await.expect("prepared");
    assert!(nothing.committable.is_none() && nothing.rows == 0);
    let prepared = prepare(writer.as_mut(), 1, &rows(5..15, 10)).await;
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.positions().await, (5..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_bytes_of_an_epoch_that_was_published_are_not_asked_for_again() {
    let bench = Bench::local("format: csv, origin: false");
    let batch = rows(0..10, 10);
    let mut writer = bench.writer(&batch.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &batch).await;
    commit(writer.as_mut(), 1, &prepared).await;
    let (name, bytes) = bench.objects().await.remove(0);
    assert!(name.starts_with("shop/archive/") && name.ends_with("-0-1.csv"), "{name}");
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.starts_with("host,text\n"), "{text}");
    assert!(!text.contains(record::POSITION));
}

#[tokio::test]
async fn a_replay_overwrites_what_was_published_of_its_epoch() {
    let bench = Bench::local("rows_max: 50, key: \"{host}/{split}-{position}\"");
    let batch = rows(0..600, 5_000);
    let lost = prepare(bench.writer(&batch.schema()).await.as_mut(), 1, &batch).await;
    let objects = staged(&lost);
    assert_eq!(objects.len(), 12);
    // Every third upload was completed before the process died, the others are gone.
    let place = bench.place();
    for (number, object) in objects.iter().enumerate() {
        let StagedBody::Upload { id, parts } = &object.body else { continue };
        let path = place.path(&object.key).expect("a path");
        let parts = parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
        match number % 3 {
            0 => place.uploads.complete_multipart(&path, id, parts).await.map(|_| ()),
            _ => place.uploads.abort_multipart(&path, id).await,
        }
        .expect("done");
    }
    let mut next = bench.writer(&batch.schema()).await;
    assert_eq!(commit(next.as_mut(), 1, &lost).await, CommitOutcome::NeedsReplay);
    write(next.as_mut(), "a.log", 1, &batch, 7).await;
    let again = next.prepare(&lineage(), 1).await.expect("prepared");
    assert_eq!(commit(next.as_mut(), 1, &again).await, CommitOutcome::Committed);
    assert_eq!(bench.positions().await, (0..600).collect::<Vec<_>>());
}
