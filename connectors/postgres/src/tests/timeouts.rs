//! How long is waited: for a connection, for an answer, in an open transaction.

use std::time::Duration;

use contract::sink::{CommitOutcome, Sink};
use testkit::wait;
use tokio::net::TcpListener;

use super::{
    Place, PostgresSink, commit, ctx, deliver, fence, lineage, open, prepare, row_schema, rows,
    write,
};

/// Much longer than the settings of these tests, and much shorter than the defaults.
const LIMIT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_connect_timeout() {
    // Connections come about, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:p@{}/logs", silent.local_addr().unwrap());
    let settings = format!("{{ url: {url:?}, table: t, connect_timeout: 300ms }}");
    let sink = PostgresSink::new(testkit::section(&settings).read().unwrap()).unwrap();
    let schema = ctx(&row_schema());
    let held = tokio::time::timeout(LIMIT, sink.fence_and_read(&schema, &lineage())).await;
    let error = held.expect("it is left").unwrap_err();
    assert!(error.retry(), "{}", error.chain());
}

#[tokio::test]
async fn a_table_that_is_locked_is_waited_for_as_long_as_the_statement_timeout() {
    let Some(place) = Place::new().await else { return };
    deliver(&place, "create: true", rows(0..2)).await;
    let other = place.connection().await;
    let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", place.table);
    let sink = place.sink("statement_timeout: 300ms");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    other.execute("a test", &lock).await.unwrap();
    let refused = async {
        match write(writer.as_mut(), rows(2..4), 2).await {
            Ok(()) => writer.prepare(&lineage(), 2).await.map(drop),
            failed => failed,
        }
    };
    let refused = tokio::time::timeout(LIMIT, refused).await.expect("it is left");
    let error = refused.unwrap_err();
    assert!(error.retry(), "{}", error.chain());
}

#[tokio::test]
async fn a_transaction_in_which_nothing_happens_ends_after_the_idle_timeout() {
    let Some(place) = Place::new().await else { return };
    deliver(&place, "create: true", rows(0..2)).await;
    let sink = place.sink("idle_timeout: 300ms");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    assert_eq!(prepare(writer.as_mut(), rows(2..4), 2).await.rows, 2);
    // As long as it is open it holds a lock on the table.
    let locks = "SELECT count(*) FROM pg_locks JOIN pg_class ON oid = relation \
                 WHERE relname = '{t}'";
    wait::for_answer("the end of the transaction", LIMIT, async || {
        (place.query(locks).await == ["0"]).then_some(())
    })
    .await;
    let outcome = commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::NeedsReplay);
    assert_eq!(place.count().await, 2);
}
