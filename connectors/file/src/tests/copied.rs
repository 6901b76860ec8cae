//! Files that are copied, and truncated or written on while somebody reads them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};

use contract::Position;
use contract::source::{SplitReader, Until};
use serde_json::json;

use super::bytes::{age, follow};
use super::{Bench, many_lines};

/// Reads to the end of a reader, as a checkpoint would know it.
async fn rest(bench: &mut Bench, id: &str, mut reader: Box<dyn SplitReader>) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        said.extend(bench.take(id, batch));
    }
    said
}

/// The texts of records, sorted.
fn texts(said: &[String]) -> Vec<&str> {
    let mut texts: Vec<_> =
        said.iter().map(|text| text.split_once(' ').expect("a place").1).collect();
    texts.sort_unstable();
    texts
}

fn ids(discovery: &contract::source::Discovery) -> Vec<&str> {
    let name = |id: &'_ str| id.rsplit('/').next().map_or(0, |name| id.len() - name.len());
    discovery.splits.iter().map(|one| &one.id.as_str()[name(one.id.as_str())..]).collect()
}

#[tokio::test]
async fn a_reader_that_lags_behind_a_truncation_reads_nothing_of_what_comes_then() {
    // With its offset kept, from the beginning, and before anything was read.
    for (offset, blocks) in [(true, 1), (false, 1), (false, 0)] {
        let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB", "settle": "1h" }));
        let old = many_lines("old", 0..2000);
        bench.write("a.log", &old);
        let id = bench.id("a.log");
        let mut reader = follow(&mut bench).await;
        let mut said = Vec::new();
        for _ in 0..blocks {
            let batch = reader.next_batch().await.expect("a file").expect("a block");
            said.extend(bench.take(&id, batch));
        }
        fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
        let file = OpenOptions::new().write(true).open(bench.path("a.log")).expect("it is there");
        file.set_len(0).expect("our own file");
        let new = many_lines("new", 0..3000);
        let begin = if offset { old.len() as u64 } else { 0 };
        file.write_all_at(new.as_bytes(), begin).expect("our own file");
        said.extend(rest(&mut bench, &id, reader).await);
        assert!(!said.iter().any(|text| text.contains("new line")), "at {begin}");
        let found = bench.discover().await;
        assert_eq!(found.splits[0].descriptor["path"], json!(bench.path("a.log.1")));
        said.extend(bench.read().await);
        let all = old + &new;
        let mut expect: Vec<_> = all.lines().collect();
        expect.sort_unstable();
        assert_eq!(texts(&said).len(), expect.len(), "at {begin}");
        assert_eq!(texts(&said), expect);
    }
}

#[tokio::test]
async fn a_run_with_an_end_that_lags_behind_a_truncation_looks_again() {
    let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB" }));
    bench.write("a", many_lines("old", 0..2000));
    let id = bench.id("a");
    bench.discover().await;
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    let batch = reader.next_batch().await.expect("a file").expect("a block");
    bench.take(&id, batch);
    bench.write("a", many_lines("new", 0..4000));
    let error = loop {
        match reader.next_batch().await {
            Ok(Some(batch)) => {
                let said = bench.take(&id, batch);
                assert!(!said.iter().any(|text| text.contains("new line")), "{said:?}");
            }
            Ok(None) => panic!("the loss was overlooked"),
            Err(error) => break error,
        }
    };
    assert!(error.retry(), "{error:?}");
}

#[tokio::test]
async fn a_file_that_ends_before_the_position_is_not_the_split() {
    let mut bench = Bench::new();
    bench.write("a", many_lines("a", 0..100));
    age(&bench, "a", 3600);
    assert_eq!(bench.read().await.len(), 100);
    let position = bench.known[0].position.take().expect("it was read");
    bench.known[0].position = Some(Position { at: position.at + 10_000, ..position });
    bench.restart();
    assert_eq!(ids(&bench.discover().await), ["a#2"]);
}

#[tokio::test]
async fn a_line_that_a_truncated_file_began_is_read_whole_from_its_copy() {
    for is_copied in [true, false] {
        let mut bench = Bench::with("*", json!({ "settle": "1h" }));
        bench.write("a.log", "one\nhalf");
        let id = bench.id("a.log");
        let mut reader = follow(&mut bench).await;
        let batch = reader.next_batch().await.expect("a file").expect("a line");
        assert_eq!(bench.take(&id, batch), ["a.log@0 one"]);
        if is_copied {
            bench.write("a.log.1", "one\nhalf of it\n");
        }
        bench.write("a.log", "new\n");
        let mut said = rest(&mut bench, &id, reader).await;
        said.extend(bench.read().await);
        let half = if is_copied { "a.log@4 half of it" } else { "a.log@4 half" };
        assert_eq!(said, [half, "a.log#2@0 new"]);
    }
}

#[tokio::test]
async fn a_line_without_end_in_a_live_file_waits_whatever_number_its_name_has() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "rotate_wait": "1h" }));
    bench.write("worker-1", "one\ntwo-ha");
    bench.write("error.log", "new\n");
    bench.write("error.log.1", "one\ntwo-ha");
    bench.write("access_log.202611281800", "one\ntwo-ha");
    symlink(bench.path("access_log.202611281800"), bench.path("access_log")).expect("a link");
    let said = bench.read().await;
    assert!(!said.iter().any(|text| text.contains("two")), "{said:?}");
    assert_eq!(said.len(), 4);
    // One that was rotated need not rest for as long as another.
    let mut bench = Bench::with("*", json!({ "settle": "3h", "rotate_wait": "1h" }));
    for (name, text) in [("a.log", "one\ntwo"), ("a.log.1", "three\nfour"), ("b.1", "five\nsix")] {
        bench.write(name, text);
        age(&bench, name, 2 * 3600);
    }
    assert_eq!(texts(&bench.read().await), ["five", "four", "one", "three"]);
}
