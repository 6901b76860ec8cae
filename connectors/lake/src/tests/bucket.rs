//! A table in a real bucket: races for entries of its log, care, and what a refusal says.

use contract::Lineage;
use contract::sink::{Commit, CommitOutcome, Sink};
use futures::TryStreamExt;
use futures::future::join_all;
use object_store::path::Path;
use serde_json::{Value, json};
use testkit::services::{find, setting, unique};
use tokio::sync::Barrier;

use super::care::commit_epochs;
use super::{
    commit, config, context, decided, delivered, main_lineage, positions, prepare, rows, writer,
};
use crate::maintenance::Care;
use crate::sink::LakeSink;
use crate::table;

const ROUNDS: u64 = 25;

/// Settings of a table that is not there yet; none where there is no server.
fn place() -> Option<Value> {
    let endpoint = find("s3")?;
    let url = format!("s3://{}/lake/{}", setting("s3_bucket"), unique("hits"));
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    Some(json!({
        "url": url, "endpoint": endpoint, "allow_http": true, "access_key": key,
        "secret_key": secret, "maintenance": { "enabled": false, "keep_files": 0, "keep_log": 0 },
    }))
}

/// A sink with clients of its own, as another process would have them.
fn sink(place: &Value) -> LakeSink {
    LakeSink::new(config(place.clone()), std::path::Path::new("unused")).expect("a sink")
}

fn care(place: &Value) -> Care {
    let config = config(place.clone());
    let location = config.location(std::path::Path::new("unused"));
    Care {
        log_store: table::log_store(&location).expect("a store"),
        config,
        memory_bytes: 64 << 20,
    }
}

async fn files_in(care: &Care, folder: &str) -> usize {
    let store = care.log_store.object_store(None);
    let found: Vec<_> = store.list(Some(&Path::from(folder))).try_collect().await.expect("listed");
    found.len()
}

async fn file_count(care: &Care) -> usize {
    let snapshot = table::snapshot(&care.log_store).await.expect("readable").expect("a table");
    snapshot.log_data().num_files()
}

/// Commits rounds of a lineage, each at the same moment as the others do.
async fn race(place: &Value, name: &str, start: &Barrier) {
    let sink = sink(place);
    let lineage = Lineage::new(name);
    let mut writer = writer(&sink, name).await;
    for epoch in 1..=ROUNDS {
        let to = i64::try_from(epoch).expect("small") * 10;
        let batch = delivered(&rows(to - 10..to), name, epoch);
        writer.write(&lineage, batch).await.expect("written");
        let prepared = writer.prepare(&lineage, epoch).await.expect("prepared");
        let prev = epoch.checked_sub(1).filter(|prev| *prev > 0);
        let commit = Commit { lineage: lineage.clone(), ..decided(&prepared, epoch, prev) };
        start.wait().await;
        let outcomes = writer.commit(&commit).await.expect("an outcome");
        assert_eq!(outcomes, CommitOutcome::Committed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_for_one_entry_of_the_log_lose_none() {
    let Some(place) = place() else { return };
    let names = ["p0", "p1", "p2"];
    let start = Barrier::new(names.len());
    join_all(names.map(|name| race(&place, name, &start))).await;
    let each = (0..10 * i64::try_from(ROUNDS).expect("small")).flat_map(|at| [at; 3]);
    assert_eq!(positions(&sink(&place)).await, each.collect::<Vec<_>>());
    let entries = files_in(&care(&place), "_delta_log").await as u64;
    assert_eq!(entries, 1 + 3 * ROUNDS, "the table, and one entry for each commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_two_owners_commit_at_once_is_there_once() {
    let Some(place) = place() else { return };
    let start = Barrier::new(2);
    let sinks = [sink(&place), sink(&place)];
    let mut first = writer(&sinks[0], "w1").await;
    let mut second = writer(&sinks[1], "w2").await;
    let decided = decided(&prepare(first.as_mut(), 1, 0..30).await, 1, None);
    let at_once = async |writer: &mut dyn contract::sink::Writer| {
        start.wait().await;
        commit(writer, decided.clone()).await
    };
    let outcomes = tokio::join!(at_once(first.as_mut()), at_once(second.as_mut()));
    assert_eq!(outcomes, (CommitOutcome::Committed, CommitOutcome::Committed));
    assert_eq!(positions(&sinks[0]).await, (0..30).collect::<Vec<_>>());
    assert_eq!(files_in(&care(&place), "_delta_log").await, 2, "one commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_a_bucket_is_merged_and_its_log_shortened_with_the_same_rows() {
    let Some(place) = place() else { return };
    let sink = sink(&place);
    commit_epochs(&sink, 30).await;
    let care = care(&place);
    assert_eq!(file_count(&care).await, 30);
    care.merge_small_files().await.expect("merged");
    assert_eq!(file_count(&care).await, 1);
    assert_eq!(positions(&sink).await, (0..300).collect::<Vec<_>>());

    let staged = prepare(writer(&sink, "w2").await.as_mut(), 31, 300..310).await;
    care.remove_old_files(false).await.expect("removed");
    care.remove_old_files(true).await.expect("removed");
    care.shorten_log().await.expect("shortened");
    let files = files_in(&care, "").await - files_in(&care, "_delta_log").await;
    assert_eq!(files, 2, "the merged file and the staged one");
    let entries = files_in(&care, "_delta_log").await;
    assert!(entries < 10, "the log was shortened: {entries}");

    let ctx = context(delivered(&rows(0..1), "a", 1).schema(), "w3");
    let held = sink.fence_and_read(&ctx, &main_lineage()).await.expect("readable");
    assert_eq!(format!("{held:?}"), "Token(Token { epoch: 30, incarnation: 7 })");
    let mut next = writer(&sink, "w4").await;
    let epoch = decided(&staged, 31, Some(30));
    assert_eq!(commit(next.as_mut(), epoch).await, CommitOutcome::Committed);
    assert_eq!(positions(&sink).await, (0..310).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_the_place_and_no_key_and_may_pass() {
    let Some(mut place) = place() else { return };
    place["secret_key"] = "wrong-and-hush".into();
    let sink = sink(&place);
    let ctx = context(delivered(&rows(0..1), "a", 1).schema(), "w1");
    let reading = sink.fence_and_read(&ctx, &main_lineage()).await.expect_err("a wrong key");
    let writing = sink.open(ctx).await.err().expect("a wrong key");
    for error in [reading, writing] {
        let said = format!("{} {}", error.chain(), error.hint_text().unwrap_or_default());
        assert!(said.contains("s3://shared/lake/hits"), "{said}");
        assert!(!said.contains("hush"), "{said}");
        assert!(error.retry(), "keys may be put right meanwhile: {said}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_ends_the_start_with_the_way_out() {
    let Some(mut place) = place() else { return };
    place["url"] = json!(format!("s3://{}/hits", unique("none")));
    let ctx = context(rows(0..1).schema(), "w1");
    let error = sink(&place).fence_and_read(&ctx, &main_lineage()).await.expect_err("no bucket");
    assert!(!error.retry() && error.chain().contains("is not there"), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("logmill setup")));
}
