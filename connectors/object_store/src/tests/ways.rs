//! Rows of one record that came by several ways, and epochs that are sent again.

use arrow::array::RecordBatch;
use contract::sink::{CommitOutcome, Room, Writer};
use contract::spec::BuildContext;
use contract::{ErrorKind, SplitId, record};

use super::{Bench, commit, lineage, prepare, rows, write};
use crate::commit::{Committable, StagedBody};
use crate::config::Config;
use crate::sink::ObjectSink;

fn by_way(batch: &RecordBatch, way: i64) -> RecordBatch {
    record::renumbered(batch, |_| way).expect("numbered")
}

/// Writes rows of one split by the ways 1 and 2, in batches that fall between each other.
async fn write_both(writer: &mut dyn Writer, batch: &RecordBatch, step: usize) {
    for from in (0..batch.num_rows()).step_by(step) {
        let part = batch.slice(from, step.min(batch.num_rows() - from));
        for way in [1, 2] {
            write(writer, "a.log", 1, &by_way(&part, way), step).await;
        }
    }
}

#[tokio::test]
async fn two_ways_of_countless_values_overwrite_nothing() {
    for store in ["local", "s3"] {
        let key = "key: \"{text}/{split}-{position}-{epoch}\"";
        let Some(bench) = Bench::new(store, key) else { continue };
        let batch = rows(0..250, 20);
        let mut writer = bench.writer(&by_way(&batch, 1).schema()).await;
        write_both(writer.as_mut(), &batch, 70).await;
        let prepared = writer.prepare(&lineage(), 1).await.expect("prepared");
        assert_eq!(prepared.rows, 500);
        commit(writer.as_mut(), 1, &prepared).await;
        assert_eq!(bench.objects().await.len(), 500, "{store}");
        let twice: Vec<i64> = (0..500).map(|row| row / 2).collect();
        assert_eq!(bench.positions().await, twice, "{store}");
    }
}

#[tokio::test]
async fn two_ways_make_the_same_objects_whatever_the_batches() {
    let mut made = Vec::new();
    for step in [1000, 7, 100] {
        let bench = Bench::local("key: \"{split}-{position}\", rows_max: 30");
        let batch = rows(0..300, 20);
        let mut writer = bench.writer(&by_way(&batch, 1).schema()).await;
        write_both(writer.as_mut(), &batch, step).await;
        let prepared = writer.prepare(&lineage(), 1).await.expect("prepared");
        commit(writer.as_mut(), 1, &prepared).await;
        assert_eq!(bench.positions().await.len(), 600);
        made.push(bench.objects().await);
    }
    assert_eq!(made[0].len(), 20);
    assert!(made[0] == made[1] && made[0] == made[2]);
}

#[tokio::test]
async fn rows_of_several_ways_in_one_batch_are_told_apart() {
    let bench = Bench::local("key: \"{split}-{position}\"");
    let batch = rows(0..20, 5);
    let both = [by_way(&batch, 2), by_way(&batch, 1)];
    let both = arrow::compute::concat_batches(&both[0].schema(), &both).expect("a batch");
    let mut writer = bench.writer(&both.schema()).await;
    let prepared = prepare(writer.as_mut(), 1, &both).await;
    commit(writer.as_mut(), 1, &prepared).await;
    assert_eq!(bench.objects().await.len(), 2);
    assert_eq!(bench.positions().await.len(), 40);
}

/// Two rows of one record under one number, as no runtime makes them: the epoch ends before
/// anything of it is visible.
#[tokio::test]
async fn a_name_that_comes_twice_in_one_epoch_is_never_overwritten() {
    let bench = Bench::local("key: \"{text}/{split}-{position}\"");
    let batch = rows(0..150, 20);
    let mut writer = bench.writer(&batch.schema()).await;
    let room = write(writer.as_mut(), "a.log", 1, &batch, 50).await;
    assert_eq!(room, Room::Full);
    let schema = record::sink_schema(&batch.schema(), true);
    let again = record::for_sink(&batch.slice(0, 5), &schema, &SplitId::new("a.log"), 1);
    let written = writer.write(&lineage(), again.expect("rows")).await;
    let error = written.expect_err("these names are taken");
    assert_eq!(error.kind(), ErrorKind::Bug);
    assert!(error.to_string().contains("two objects of the name"), "{error}");
    writer.abort(&lineage()).await.expect("aborted");
    assert!(bench.objects().await.is_empty());
}

/// An epoch that is sent again under other settings: what it had published before goes.
async fn replay_that_cuts_otherwise(store: &str) {
    let Some(bench) = Bench::new(store, "key: \"{split}-{position}\", rows_max: 100") else {
        return;
    };
    let batch = rows(0..400, 4000);
    let prepared = prepare(bench.writer(&batch.schema()).await.as_mut(), 1, &batch).await;
    let committable = prepared.committable.clone().expect("something is staged");
    let staged: Committable = serde_json::from_value(committable).expect("ours");
    assert_eq!(staged.objects.len(), 4);
    let StagedBody::Upload { id, .. } = &staged.objects[2].body else { panic!("no small body") };
    let place = bench.place();
    let path = place.path(&staged.objects[2].key).expect("a path");
    place.uploads.abort_multipart(&path, id).await.expect("aborted");

    let config = Config { rows_max: Some(150), ..bench.config.clone() };
    let ctx = BuildContext::new("shop", "archive", bench.folder.path());
    let other = Bench { sink: ObjectSink::new(config, &ctx).expect("a sink"), ..bench };
    let mut lost = other.writer(&batch.schema()).await;
    assert_eq!(commit(lost.as_mut(), 1, &prepared).await, CommitOutcome::NeedsReplay);
    assert_eq!(other.positions().await.len(), 300, "what was there is published");
    let mut next = other.writer(&batch.schema()).await;
    let again = prepare(next.as_mut(), 1, &batch).await;
    assert_eq!(commit(next.as_mut(), 1, &again).await, CommitOutcome::Committed);
    assert_eq!(other.positions().await, (0..400).collect::<Vec<_>>());
    assert_eq!(other.objects().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_in_a_folder_that_cuts_otherwise_doubles_nothing() {
    replay_that_cuts_otherwise("local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_in_s3_that_cuts_otherwise_doubles_nothing() {
    replay_that_cuts_otherwise("s3").await;
}

/// What somebody else wrote under such a name in the meantime stays.
#[tokio::test]
async fn a_replay_removes_nothing_that_is_not_its_own() {
    let bench = Bench::local("key: \"{split}-{position}\", rows_max: 100");
    let batch = rows(0..300, 4000);
    let prepared = prepare(bench.writer(&batch.schema()).await.as_mut(), 1, &batch).await;
    let committable = prepared.committable.clone().expect("something is staged");
    let staged: Committable = serde_json::from_value(committable).expect("ours");
    let StagedBody::Upload { id, .. } = &staged.objects[0].body else { panic!("no small body") };
    let place = bench.place();
    let path = |at: usize| place.path(&staged.objects[at].key).expect("a path");
    place.uploads.abort_multipart(&path(0), id).await.expect("aborted");
    let config = Config { rows_max: None, ..bench.config.clone() };
    let ctx = BuildContext::new("shop", "archive", bench.folder.path());
    let other = ObjectSink::new(config, &ctx).expect("a sink");
    let other = Bench { sink: other, folder: tempfile::tempdir().expect("a folder"), ..bench };
    let mut writer = other.writer(&batch.schema()).await;
    assert_eq!(commit(writer.as_mut(), 1, &prepared).await, CommitOutcome::NeedsReplay);
    place.objects.put_opts(&path(1), "mine".into(), Default::default()).await.expect("put");
    let again = prepare(writer.as_mut(), 1, &batch).await;
    assert_eq!(commit(writer.as_mut(), 1, &again).await, CommitOutcome::Committed);
    let objects = other.objects().await;
    assert!(objects.iter().any(|(_, bytes)| bytes == b"mine"), "{} objects", objects.len());
    assert_eq!(objects.len(), 2);
}
