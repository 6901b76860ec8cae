//! Files that are written, rotated and truncated while they are read.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use contract::source::{ReadBatch, SplitReader, Until};

use serde_json::json;

use super::{Bench, describe, gzip, many_lines};

/// A line without end waits.
fn bench() -> Bench {
    Bench::with("*", json!({ "settle": "1h" }))
}

/// Opens the one split of a folder to be followed.
async fn follow(bench: &mut Bench) -> Box<dyn SplitReader> {
    bench.discover().await;
    let id = bench.known[0].split.id.clone();
    bench.open(id.as_str(), Until::Forever).await.expect("a file")
}

async fn next(reader: &mut Box<dyn SplitReader>) -> Vec<String> {
    let batch = reader.next_batch().await.expect("a file");
    batch.map_or_else(|| vec!["end".to_owned()], |batch| describe(&batch))
}

#[tokio::test]
async fn a_growing_file_is_read_line_by_line() {
    let mut bench = bench();
    bench.write("a", "one\ntw");
    let mut reader = follow(&mut bench).await;
    assert_eq!(next(&mut reader).await, ["0 one"]);
    bench.append("a", "o\nthree\nfo");
    assert_eq!(next(&mut reader).await, ["4 two", "8 three"]);
    bench.append("a", "ur\n");
    assert_eq!(next(&mut reader).await, ["14 four"]);
}

#[tokio::test]
async fn a_growing_compressed_file_is_read_as_far_as_it_is_whole() {
    let mut bench = bench();
    let text = many_lines("a", 0..50_000);
    let whole = gzip(&text);
    bench.write("a", &whole[..whole.len() / 2]);
    let mut reader = follow(&mut bench).await;
    let mut records = next(&mut reader).await;
    bench.append("a", &whole[whole.len() / 2..]);
    while records.len() < 50_000 {
        records.extend(next(&mut reader).await);
    }
    bench.append("a", gzip("another member\n"));
    assert_eq!(next(&mut reader).await, [format!("{} another member", text.len())]);
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end() {
    let mut bench = bench();
    bench.write("a.log", "one\n");
    let mut reader = follow(&mut bench).await;
    assert_eq!(next(&mut reader).await, ["0 one"]);
    bench.rename("a.log", "a.log.1");
    bench.append("a.log.1", "two\n");
    assert_eq!(next(&mut reader).await, ["4 two"]);
    bench.append("a.log.1", "no end");
    bench.write("a.log", "new\n");
    assert_eq!(next(&mut reader).await, ["8 no end"]);
    assert_eq!(next(&mut reader).await, ["end"]);
    assert_eq!(next(&mut reader).await, ["end"]);
    let discovery = bench.discover().await;
    let ids: Vec<_> = discovery.splits.iter().map(|split| split.id.to_string()).collect();
    assert_eq!(ids, [bench.id("a.log"), bench.id("a.log#2")]);
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end() {
    let mut bench = bench();
    bench.write("a", "one\ntwo\n");
    let mut reader = follow(&mut bench).await;
    bench.remove("a");
    assert_eq!(next(&mut reader).await, ["0 one", "4 two"]);
    assert_eq!(next(&mut reader).await, ["end"]);
}

#[tokio::test]
async fn a_truncated_file_ends_and_comes_back_as_another_split() {
    for after in ["new\n", "something that is longer than before\n"] {
        let mut bench = bench();
        bench.write("a", "one\ntwo\n");
        let id = bench.id("a");
        let mut reader = follow(&mut bench).await;
        let batch: ReadBatch = reader.next_batch().await.expect("a file").expect("records");
        bench.take(&id, batch);
        bench.write("a", after);
        assert_eq!(next(&mut reader).await, ["end"]);
        let discovery = bench.discover().await;
        assert_eq!(discovery.splits[0].id.as_str(), bench.id("a#2"));
        assert_eq!(discovery.warnings.len(), 1);
    }
}

#[tokio::test]
async fn a_dropped_call_consumes_nothing() {
    let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB", "settle": "1h" }));
    bench.write("a", many_lines("a", 0..2000));
    let mut reader = follow(&mut bench).await;
    let mut records = Vec::new();
    while records.len() < 2000 {
        match poll_once(reader.next_batch()).await {
            Some(batch) => records.extend(batch),
            None => tokio::task::yield_now().await,
        }
    }
    let expect = many_lines("a", 0..2000);
    let texts = records.iter().map(|record| record.split_once(' ').expect("a position").1);
    assert!(texts.eq(expect.lines()));
}

/// Polls a call once and drops it, unless it was ready.
async fn poll_once(
    mut call: Pin<Box<dyn Future<Output = contract::Result<Option<ReadBatch>>> + Send + '_>>,
) -> Option<Vec<String>> {
    std::future::poll_fn(|ctx| {
        Poll::Ready(match call.as_mut().poll(ctx) {
            Poll::Ready(batch) => batch.expect("a file").as_ref().map(describe),
            Poll::Pending => None,
        })
    })
    .await
}
