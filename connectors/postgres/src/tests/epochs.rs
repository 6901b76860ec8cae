use std::time::Duration;

use contract::failpoint::{self, Action};
use contract::sink::Token;
use contract::{ErrorKind, Result};

use super::*;

const MAKE: &str = "create: true";

/// Ends the server's process that stands in the token's row, as an administrator would.
async fn kill_owner(place: &Place) {
    let ended = place
        .query("SELECT pg_terminate_backend(pid) FROM logmill_tokens WHERE table_name = '{t}'")
        .await;
    assert_eq!(ended, ["t"]);
    let owner = "SELECT 1 FROM pg_stat_activity a JOIN logmill_tokens t \
                 ON a.pid = t.pid AND a.backend_start = t.backend_start WHERE table_name = '{t}'";
    let gone = async {
        while !place.query(owner).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it ends");
}

fn token(epoch: u64) -> Held {
    Held::Token(Token { epoch, incarnation: 7 })
}

#[tokio::test]
async fn what_is_lost_between_prepare_and_commit_is_sent_again() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    assert_eq!(fence(&sink).await, Held::Nothing);
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..10), 1).await;
    kill_owner(&place).await;
    let outcome = commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(outcome, CommitOutcome::NeedsReplay);
    assert_eq!(place.count().await, 0);
    assert_eq!(fence(&sink).await, Held::Nothing);
    prepare(writer.as_mut(), rows(0..10), 1).await;
    let outcome = commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!((outcome, place.count().await), (CommitOutcome::Committed, 10));
    assert_eq!(fence(&sink).await, token(1));
}

#[tokio::test]
async fn a_connection_that_is_lost_takes_its_epoch_with_it() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    fence(&sink).await;
    let mut ctx = ctx(&row_schema());
    ctx.memory_bytes = 1;
    let mut writer = sink.open(ctx).await.unwrap();
    write(writer.as_mut(), rows(0..10), 1).await.unwrap();
    kill_owner(&place).await;
    let mut failure = None;
    for _ in 0..3 {
        failure = write(writer.as_mut(), rows(10..20), 1).await.err().or(failure);
    }
    let failure = failure.expect("the rows before are lost");
    assert_eq!((failure.kind(), failure.retry()), (ErrorKind::External, true));
    assert!(writer.prepare(&lineage(), 1).await.is_err());
    writer.abort(&lineage()).await.unwrap();
    fence(&sink).await;
    prepare(writer.as_mut(), rows(0..20), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(place.count().await, 20);
}

#[tokio::test]
async fn an_idle_connection_that_is_lost_is_replaced() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..10), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    kill_owner(&place).await;
    prepare(writer.as_mut(), rows(10..20), 2).await;
    assert_eq!(commit(writer.as_mut(), 2, Some(1)).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(place.count().await, 20);
}

#[tokio::test]
async fn a_new_owner_ends_the_old_one() {
    let Some(place) = Place::new().await else { return };
    let (old_sink, new_sink) = (place.sink(MAKE), place.sink(MAKE));
    fence(&old_sink).await;
    let mut old = open(&old_sink, &row_schema()).await;
    prepare(old.as_mut(), rows(0..10), 1).await;
    assert_eq!(fence(&new_sink).await, Held::Nothing);
    let mut new = open(&new_sink, &row_schema()).await;
    prepare(new.as_mut(), rows(0..10), 1).await;
    assert_eq!(commit(old.as_mut(), 1, None).await.unwrap(), CommitOutcome::NotOwner);
    assert_eq!(place.count().await, 0);
    assert_eq!(commit(new.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    // The old one learns that its epoch is there, but writes no further one.
    assert_eq!(commit(old.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    write(old.as_mut(), rows(10..20), 2).await.unwrap();
    let error = old.prepare(&lineage(), 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner);
    assert_eq!(place.count().await, 10);
}

#[tokio::test]
async fn an_old_owner_that_cannot_be_ended_commits_nothing() {
    let Some(place) = Place::new().await else { return };
    let weak = unique("weak");
    place
        .execute(&format!(
            "CREATE ROLE {weak} LOGIN PASSWORD 'weak'; GRANT CREATE, USAGE ON SCHEMA public TO {weak}"
        ))
        .await;
    let old_sink = place.sink(MAKE);
    fence(&old_sink).await;
    let mut old = open(&old_sink, &row_schema()).await;
    prepare(old.as_mut(), rows(0..10), 1).await;
    place.execute(&format!("GRANT ALL ON {{t}}, logmill_tokens TO {weak}")).await;

    let (_, host) = place.url.split_once('@').expect("a URL with a user");
    let url = format!("postgres://{weak}:weak@{host}");
    let new_sink = Place { url, table: place.table.clone(), _guard: None }.sink(MAKE);
    assert_eq!(fence(&new_sink).await, Held::Nothing);
    assert_eq!(commit(old.as_mut(), 1, None).await.unwrap(), CommitOutcome::NotOwner);
    let mut new = open(&new_sink, &row_schema()).await;
    prepare(new.as_mut(), rows(0..10), 1).await;
    assert_eq!(commit(new.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(place.count().await, 10);
    place.execute(&format!("DROP OWNED BY {weak}; DROP ROLE {weak}")).await;
}

#[tokio::test]
async fn only_the_epoch_after_the_one_that_is_held_is_committed() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..10), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, Some(4)).await.unwrap(), CommitOutcome::NotOwner);
    assert_eq!(place.count().await, 0);
    prepare(writer.as_mut(), rows(0..10), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    for (epoch, prev) in [(2, None), (3, Some(2))] {
        prepare(writer.as_mut(), rows(10..20), epoch).await;
        assert_eq!(commit(writer.as_mut(), epoch, prev).await.unwrap(), CommitOutcome::NotOwner);
    }
    assert_eq!(place.count().await, 10);
}

#[tokio::test]
async fn another_history_is_not_written_over() {
    let Some(place) = Place::new().await else { return };
    deliver(&place, MAKE, rows(0..10)).await;
    let sink = place.sink(MAKE);
    let mut other = ctx(&row_schema());
    other.incarnation = 8;
    let held = sink.fence_and_read(&other, &lineage()).await.unwrap();
    assert_eq!(held, token(1), "the token tells whose it is");
    let mut writer = sink.open(other).await.unwrap();
    prepare(writer.as_mut(), rows(10..20), 2).await;
    assert_eq!(commit(writer.as_mut(), 2, Some(1)).await.unwrap(), CommitOutcome::NotOwner);
    assert_eq!(place.count().await, 10);
}

#[tokio::test]
async fn an_epoch_of_many_chunks_is_one_transaction() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    fence(&sink).await;
    let mut ctx = ctx(&row_schema());
    ctx.memory_bytes = 1000;
    let mut writer = sink.open(ctx).await.unwrap();
    for from in (0..2000).step_by(100) {
        write(writer.as_mut(), rows(from..from + 100), 1).await.unwrap();
    }
    let prepared = writer.prepare(&lineage(), 1).await.unwrap();
    assert_eq!((prepared.rows, place.count().await), (2000, 0));
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    let all = place.query("SELECT count(*), count(DISTINCT _position), sum(number) FROM {t}").await;
    assert_eq!(all, ["2000,2000,1999000"]);
}

#[tokio::test]
async fn lineages_of_one_table_keep_tokens_of_their_own() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(MAKE);
    let lineages = [Lineage::new("k.t.0"), Lineage::new("k.t.1")];
    let mut writers = Vec::new();
    for lineage in &lineages {
        let ctx = ctx(&row_schema());
        assert_eq!(sink.fence_and_read(&ctx, lineage).await.unwrap(), Held::Nothing);
        writers.push(sink.open(ctx).await.unwrap());
    }
    for (at, (writer, lineage)) in writers.iter_mut().zip(&lineages).enumerate() {
        let from = at as i64 * 10;
        let schema = sink_schema(&row_schema(), true);
        let records = for_sink(&rows(from..from + 10), &schema, &SplitId::new("t/0"), 1).unwrap();
        writer.write(lineage, records).await.unwrap();
        writer.prepare(lineage, 1).await.unwrap();
    }
    for (writer, lineage) in writers.iter_mut().zip(&lineages) {
        let commit = Commit { lineage: lineage.clone(), ..commit_of(1, None) };
        assert_eq!(writer.commit(&commit).await.unwrap(), CommitOutcome::Committed);
    }
    assert_eq!(place.count().await, 20);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_settled_by_the_token() {
    let _alone = FAILPOINTS.write().await;
    for (point, held) in [
        ("postgres.commit.before", Held::Nothing),
        ("postgres.commit.token", Held::Nothing),
        ("postgres.commit.after", token(1)),
    ] {
        let Some(place) = Place::unguarded() else { return };
        let sink = place.sink(MAKE);
        fence(&sink).await;
        let mut writer = open(&sink, &row_schema()).await;
        prepare(writer.as_mut(), rows(0..10), 1).await;
        failpoint::arm(point, 1, Action::Fail);
        let lost: Result<CommitOutcome> = commit(writer.as_mut(), 1, None).await;
        assert!(lost.is_err(), "{point}");
        assert_eq!(fence(&sink).await, held, "{point}");
        let mut next = open(&sink, &row_schema()).await;
        if held == Held::Nothing {
            let outcome = commit(next.as_mut(), 1, None).await.unwrap();
            assert_eq!(outcome, CommitOutcome::NeedsReplay, "{point}");
            prepare(next.as_mut(), rows(0..10), 1).await;
        }
        let outcome = commit(next.as_mut(), 1, None).await.unwrap();
        assert_eq!((outcome, place.count().await), (CommitOutcome::Committed, 10), "{point}");
    }
}
