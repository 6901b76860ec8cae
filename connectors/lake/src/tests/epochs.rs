//! Epochs, tokens and owners.

use contract::sink::{Commit, CommitOutcome, Held, ReadBack, Sink, Token, Writer};
use contract::{Error, ErrorKind, Lineage, Origin, Result, SplitId};
use futures::TryStreamExt;
use futures::future::join_all;

use super::{
    commit, context, decided, delivered, main_lineage, plain, positions, prepare, rows, writer,
};
use crate::sink::LakeSink;

#[tokio::test]
async fn an_epoch_is_seen_once_it_is_committed_and_only_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut writer = writer(&sink, "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 0..30).await;
    assert_eq!(prepared.rows, 30);
    assert!(positions(&sink).await.is_empty(), "prepared rows must not be seen");

    let epoch = decided(&prepared, 1, None);
    assert_eq!(commit(writer.as_mut(), epoch.clone()).await, CommitOutcome::Committed);
    assert_eq!(commit(writer.as_mut(), epoch).await, CommitOutcome::Committed);
    assert_eq!(positions(&sink).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_process_commits_from_the_checkpoint_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let prepared = prepare(writer(&sink, "w1").await.as_mut(), 1, 0..30).await;
    let mut second = writer(&sink, "w2").await;
    let epoch = decided(&prepared, 1, None);
    assert_eq!(commit(second.as_mut(), epoch.clone()).await, CommitOutcome::Committed);
    let mut third = writer(&sink, "w3").await;
    assert_eq!(commit(third.as_mut(), epoch).await, CommitOutcome::Committed);
    assert_eq!(positions(&sink).await.len(), 30);
}

#[tokio::test]
async fn the_token_is_that_of_the_newest_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let ctx = context(delivered(&rows(0..1), "a", 1).schema(), "w1");
    let held = sink.fence_and_read(&ctx, &main_lineage()).await.expect("readable");
    assert_eq!(held, Held::Nothing, "no table yet");

    let mut writer = writer(&sink, "w1").await;
    for epoch in 1..=3 {
        let at = i64::try_from(epoch).expect("small") * 10;
        let prepared = prepare(writer.as_mut(), epoch, at..at + 10).await;
        commit(writer.as_mut(), decided(&prepared, epoch, epoch.checked_sub(1).filter(|e| *e > 0)))
            .await;
    }
    let held = sink.fence_and_read(&ctx, &main_lineage()).await.expect("readable");
    assert_eq!(held, Held::Token(Token { epoch: 3, incarnation: 7 }));
    let held = sink.fence_and_read(&ctx, &Lineage::new("other")).await.expect("readable");
    assert_eq!(held, Held::Nothing);
}

#[tokio::test]
async fn an_epoch_behind_an_unexpected_token_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut first = writer(&sink, "w1").await;
    let mut zombie = writer(&sink, "w2").await;
    let one = prepare(first.as_mut(), 1, 0..10).await;
    commit(first.as_mut(), decided(&one, 1, None)).await;
    // The zombie knows epoch 1, then sleeps while the owner goes on to epoch 2.
    assert_eq!(commit(zombie.as_mut(), decided(&one, 1, None)).await, CommitOutcome::Committed);
    let two = prepare(first.as_mut(), 2, 10..20).await;
    commit(first.as_mut(), decided(&two, 2, Some(1))).await;
    let three = prepare(first.as_mut(), 3, 20..30).await;
    commit(first.as_mut(), decided(&three, 3, Some(2))).await;

    let other = prepare(zombie.as_mut(), 2, 10..25).await;
    assert_eq!(commit(zombie.as_mut(), decided(&other, 2, Some(1))).await, CommitOutcome::NotOwner);
    assert_eq!(positions(&sink).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn several_lineages_go_into_one_commit_and_one_may_be_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut writer = writer(&sink, "w1").await;
    let mut commits = Vec::new();
    for (name, at) in [("p0", 0..10), ("p1", 10..20), ("p2", 20..30)] {
        let lineage = Lineage::new(name);
        writer.write(&lineage, delivered(&rows(at), name, 1)).await.expect("written");
        let prepared = writer.prepare(&lineage, 1).await.expect("prepared");
        commits.push(contract::sink::Commit { lineage, ..decided(&prepared, 1, None) });
    }
    commits.remove(1);
    for commit in &commits {
        let outcome = writer.commit(commit).await.expect("an outcome");
        assert_eq!(outcome, CommitOutcome::Committed);
    }
    let expected: Vec<i64> = (0..10).chain(20..30).collect();
    assert_eq!(positions(&sink).await, expected);
    let versions = std::fs::read_dir(folder.path().join("lake/hits/_delta_log")).expect("a log");
    assert_eq!(versions.count(), 3, "the table and two commits");
}

#[tokio::test]
async fn lost_files_ask_for_a_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let prepared = prepare(writer(&sink, "w1").await.as_mut(), 1, 0..10).await;
    for entry in std::fs::read_dir(folder.path().join("lake/hits")).expect("a table") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let mut second = writer(&sink, "w2").await;
    let outcome = commit(second.as_mut(), decided(&prepared, 1, None)).await;
    assert_eq!(outcome, CommitOutcome::NeedsReplay);
    let again = prepare(second.as_mut(), 1, 0..10).await;
    assert_eq!(commit(second.as_mut(), decided(&again, 1, None)).await, CommitOutcome::Committed);
    assert_eq!(positions(&sink).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_aborted_epoch_leaves_nothing_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut writer = writer(&sink, "w1").await;
    writer.write(&main_lineage(), delivered(&rows(0..10), "a", 1)).await.expect("written");
    writer.abort(&main_lineage()).await.expect("aborted");
    let nothing = writer.prepare(&main_lineage(), 1).await.expect("prepared");
    assert!(nothing.committable.is_none());
    let prepared = prepare(writer.as_mut(), 1, 5..15).await;
    assert_eq!(prepared.rows, 10);
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    assert_eq!(positions(&sink).await, (5..15).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_is_found_by_its_origin_with_all_its_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut writer = writer(&sink, "w1").await;
    let prepared = prepare(writer.as_mut(), 1, 0..1000).await;
    commit(writer.as_mut(), decided(&prepared, 1, None)).await;
    let find = |split: &str| {
        let origin = Origin { split: SplitId::new(split), position: 321 };
        sink.read_back("shop", ReadBack::Record(origin))
    };
    let found: Vec<_> = find("a").await.expect("readable").try_collect().await.expect("readable");
    assert_eq!(found.len(), 1);
    let text = arrow::util::pretty::pretty_format_batches(&found).expect("printable").to_string();
    assert!(text.contains("/products/number/321"), "{text}");
    let none: Vec<_> = find("b").await.expect("readable").try_collect().await.expect("readable");
    assert!(none.is_empty());
}

/// Writers of so many lineages, each of which has prepared its first epoch of ten rows.
async fn prepared_lineages(sink: &LakeSink, count: i64) -> Vec<(Box<dyn Writer>, Commit)> {
    let mut lineages = Vec::new();
    for number in 0..count {
        let mut writer = writer(sink, &format!("w{number}")).await;
        let lineage = Lineage::new(format!("of-{number}"));
        let batch = delivered(&rows(number * 10..number * 10 + 10), "a", 1);
        writer.write(&lineage, batch).await.expect("written");
        let prepared = writer.prepare(&lineage, 1).await.expect("prepared");
        lineages.push((writer, Commit { lineage, ..decided(&prepared, 1, None) }));
    }
    lineages
}

/// Commits all of them at once.
async fn commit_at_once(lineages: &mut [(Box<dyn Writer>, Commit)]) -> Vec<Result<CommitOutcome>> {
    join_all(lineages.iter_mut().map(|(writer, commit)| writer.commit(commit))).await
}

#[tokio::test]
async fn lineages_that_commit_at_once_share_an_entry_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut lineages = prepared_lineages(&sink, 8).await;
    for outcome in commit_at_once(&mut lineages).await {
        assert_eq!(outcome.expect("an outcome"), CommitOutcome::Committed);
    }
    assert_eq!(positions(&sink).await, (0..80).collect::<Vec<_>>());
    let log = folder.path().join("lake/hits/_delta_log");
    assert!(log.join("00000000000000000001.json").exists(), "behind the entry that made the table");
    assert!(!log.join("00000000000000000002.json").exists(), "one entry for all of them");
    let ctx = context(delivered(&rows(0..1), "a", 1).schema(), "w0");
    for (_, commit) in &lineages {
        let held = sink.fence_and_read(&ctx, &commit.lineage).await.expect("readable");
        assert_eq!(held, Held::Token(Token { epoch: 1, incarnation: 7 }));
    }
}

#[tokio::test]
async fn a_lineage_that_cannot_commit_does_not_keep_the_others_from_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = plain(folder.path());
    let mut lineages = prepared_lineages(&sink, 3).await;
    let columns = &mut lineages[1].1.committable.as_mut().expect("files")["columns"];
    for column in columns.as_array_mut().expect("a list") {
        if column["name"] == "status" {
            column["type"] = "string".into();
        }
    }
    let outcomes = commit_at_once(&mut lineages).await;
    let kinds = outcomes.iter().map(|it| it.as_ref().map_err(Error::kind).copied());
    let done = Ok(CommitOutcome::Committed);
    assert_eq!(kinds.collect::<Vec<_>>(), [done, Err(ErrorKind::Config), done]);
    let expected: Vec<i64> = (0..10).chain(20..30).collect();
    assert_eq!(positions(&sink).await, expected);
}
