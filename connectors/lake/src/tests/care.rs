//! Many small epochs, and what becomes of their files.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use contract::record;
use contract::sink::{CommitOutcome, ReadBack, Sink, Writer};
use futures::TryStreamExt;
use serde_json::json;

use super::{
    commit, config, context, decided, main_lineage, plain, positions, prepare, sink, writer,
};
use crate::maintenance::Care;
use crate::sink::LakeSink;
use crate::table::{self, Location};

/// A merge that nothing hinders takes milliseconds; a busy machine may take seconds.
const MERGED_WITHIN: Duration = Duration::from_secs(60);

/// Commits epochs of ten rows each, numbered from 1.
pub async fn commit_epochs(sink: &LakeSink, count: usize) {
    let mut writer = writer(sink, "w1").await;
    for epoch in 1..=count {
        commit_next(writer.as_mut(), epoch).await;
    }
}

async fn commit_next(writer: &mut dyn Writer, number: usize) {
    let to = i64::try_from(number * 10).expect("small");
    let epoch = number as u64;
    let prepared = prepare(writer, epoch, to - 10..to).await;
    let epoch = decided(&prepared, epoch, epoch.checked_sub(1).filter(|prev| *prev > 0));
    assert_eq!(commit(writer, epoch).await, CommitOutcome::Committed);
}

pub async fn file_count(sink_folder: &Path) -> usize {
    file_count_now(sink_folder).await.expect("readable")
}

/// None while the entries of the log that are being read are removed.
async fn file_count_now(sink_folder: &Path) -> Option<usize> {
    let table = table::open(&Location::embedded(sink_folder, "hits")).await.ok()??;
    Some(table.snapshot().ok()?.log_data().iter().count())
}

fn care(folder: &Path, settings: serde_json::Value) -> Care {
    let log_store = table::log_store(&Location::embedded(folder, "hits")).expect("a table");
    Care { log_store, config: config(settings), memory_bytes: 64 << 20 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_epochs_merge_into_few_files_with_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 300).await;
    assert_eq!(file_count(folder.path()).await, 300);

    let care = care(folder.path(), json!({ "maintenance": { "keep_log": 0 } }));
    care.merge_small_files().await.expect("merged");
    care.shorten_log().await.expect("shortened");
    assert!(file_count(folder.path()).await < 10);
    assert_eq!(positions(&quiet).await, (0..3000).collect::<Vec<_>>());

    let entries = std::fs::read_dir(folder.path().join("lake/hits/_delta_log")).expect("a log");
    assert!(entries.count() < 20, "the log was shortened");
    let ctx = context(super::delivered(&super::rows(0..1), "a", 1).schema(), "w2");
    let held = quiet.fence_and_read(&ctx, &main_lineage()).await.expect("readable");
    assert_eq!(format!("{held:?}"), "Token(Token { epoch: 300, incarnation: 7 })");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_not_small_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 20).await;
    for (below, files) in [(16, 20), (1 << 20, 1)] {
        let care = care(folder.path(), json!({ "maintenance": { "compact_below": below } }));
        care.merge_small_files().await.expect("merged");
        assert_eq!(file_count(folder.path()).await, files, "below {below} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_keep_their_order_when_files_are_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 30).await;
    care(folder.path(), json!({})).merge_small_files().await.expect("merged");
    assert_eq!(file_count(folder.path()).await, 1);
    let batches = quiet.read_back("shop", ReadBack::Origins).await.expect("readable");
    let batches: Vec<RecordBatch> = batches.try_collect().await.expect("readable");
    let in_order = batches
        .iter()
        .flat_map(|batch| record::positions(batch).expect("origins").values().to_vec());
    assert_eq!(in_order.collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_and_merges_do_not_hinder_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let busy = sink(
        folder.path(),
        json!({ "maintenance": { "every_commits": 5, "compact_files_min": 2, "keep_log": 0 } }),
    );
    let mut writer = writer(&busy, "w1").await;
    let (mut epochs, mut merged) = (0, false);
    let until = Instant::now() + MERGED_WITHIN;
    while epochs < 100 || !merged {
        assert!(Instant::now() < until, "nothing was merged beside {epochs} commits");
        commit_next(writer.as_mut(), epochs + 1).await;
        epochs += 1;
        if epochs % 20 == 0 {
            let files = file_count_now(folder.path()).await;
            merged |= files.is_some_and(|files| files < epochs);
        }
    }
    drop(writer);
    let rows = i64::try_from(epochs * 10).expect("small");
    assert_eq!(positions(&busy).await, (0..rows).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_left_the_table_are_removed_and_staged_ones_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let quiet = sink(folder.path(), json!({ "maintenance": { "enabled": false } }));
    commit_epochs(&quiet, 20).await;
    let staged = prepare(writer(&quiet, "w2").await.as_mut(), 21, 200..210).await;
    let care = care(folder.path(), json!({ "maintenance": { "keep_files": 0 } }));
    care.merge_small_files().await.expect("merged");
    care.remove_old_files(false).await.expect("removed");
    care.remove_old_files(true).await.expect("removed");
    let files = std::fs::read_dir(folder.path().join("lake/hits")).expect("a table");
    let files = files.filter(|entry| entry.as_ref().expect("an entry").path().is_file()).count();
    assert_eq!(files, 2, "the merged file and the staged one");
    let epoch = decided(&staged, 21, Some(20));
    let mut next = writer(&plain(folder.path()), "w3").await;
    assert_eq!(commit(next.as_mut(), epoch).await, CommitOutcome::Committed);
    assert_eq!(positions(&quiet).await, (0..210).collect::<Vec<_>>());
}
