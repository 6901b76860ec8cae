//! Files that nobody writes to while they are read.

use contract::source::Until;
use contract::{ErrorKind, Position};
use serde_json::json;

use super::{Bench, describe, gzip, many_lines, zstd};

async fn check(bytes: impl AsRef<[u8]>, expect: &[&str]) {
    let mut bench = Bench::with("*", json!({ "line_bytes_max": "12" }));
    bench.write("a", bytes);
    assert_eq!(bench.read().await, expect);
    assert_eq!(bench.read().await, [""; 0], "nothing is read twice");
    bench.restart();
    assert_eq!(bench.read().await, [""; 0], "nothing is read twice after a restart");
}

#[tokio::test]
async fn lines_of_every_kind_become_records() {
    check("one\ntwo\r\n\nthree", &["a@0 one", "a@4 two", "a@10 three"]).await;
    check(b"f\xfcr\n", &["a@0 f\u{fffd}r"]).await;
    check(
        "this is too long\nshort\n",
        &["a@0! line is longer than 12B; only its first 12B are kept", "a@17 short"],
    )
    .await;
    check("", &[]).await;
}

#[tokio::test]
async fn compressed_files_are_read_whatever_their_name() {
    check([gzip("one\nt"), gzip("wo\n")].concat(), &["a@0 one", "a@4 two"]).await;
    check([zstd("one\nt"), zstd("wo\n")].concat(), &["a@0 one", "a@4 two"]).await;
}

#[tokio::test]
async fn only_a_line_end_may_follow_a_line_that_had_none() {
    let mut bench = Bench::new();
    bench.write("a", "one\ntwo");
    assert_eq!(bench.read().await, ["a@0 one", "a@4 two"]);
    bench.append("a", "\nthree");
    assert_eq!(bench.read().await, ["a@8 three"]);
    bench.append("a", " and more\nfour\n");
    assert_eq!(
        bench.read().await,
        ["a@13! continuation of a line that was already read", "a@23 four"]
    );
}

#[tokio::test]
async fn reading_on_from_every_position_gives_the_rest() {
    let text = "first\nsecond\r\n\nthird, and longer than a view\nbad \u{fffd}\nlast";
    for bytes in [text.as_bytes().to_vec(), gzip(text), zstd(text)] {
        let mut bench = Bench::new();
        bench.write("a", bytes);
        let whole = bench.read().await;
        let id = bench.id("a");
        let split = bench.known[0].split.clone();
        for record in &whole {
            let (_, rest) = record.split_once('@').expect("an origin");
            let (at, _) = rest.split_once(' ').expect("a position");
            let at = Position::new(at.parse().expect("a number"));
            let mut said = Vec::new();
            for (from, until) in [(None, Until::Position(at.clone())), (Some(&at), Until::End)] {
                let mut reader = bench.source.open(&split, from, until).await.expect("a file");
                while let Some(batch) = reader.next_batch().await.expect("a file") {
                    said.extend(describe(&batch).into_iter().map(|text| format!("a@{text}")));
                }
            }
            assert_eq!(said, whole, "stopped before {id}@{}", at.at);
        }
    }
}

#[tokio::test]
async fn many_blocks_give_what_one_block_gives() {
    let text = many_lines("a", 0..5000);
    for bytes in [text.clone().into_bytes(), gzip(&text), zstd(&text)] {
        let mut small = Bench::with("*", json!({ "block_bytes": "4KiB" }));
        let mut large = Bench::new();
        small.write("a", &bytes);
        large.write("a", &bytes);
        let records = small.read().await;
        assert_eq!(records.len(), 5000);
        assert_eq!(records, large.read().await);
    }
}

#[tokio::test]
async fn a_damaged_file_gives_what_stands_before_the_damage() {
    let text = many_lines("a", 0..50_000);
    let whole = gzip(&text);
    let torn = whole[..whole.len() - 4].to_vec();
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 64].fill(0xff);
    for bytes in [torn, broken] {
        let mut bench = Bench::new();
        bench.write("a", bytes);
        let id = bench.id("a");
        bench.discover().await;
        let mut reader = bench.open(&id, Until::End).await.expect("the beginning is whole");
        let mut records = 0;
        let error = loop {
            match reader.next_batch().await {
                Ok(Some(batch)) => records += bench.take(&id, batch).len(),
                Ok(None) => panic!("the damage was overlooked"),
                Err(error) => break error,
            }
        };
        assert!(records > 1000, "{records} records");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false));
        assert!(error.to_string().contains(&id), "{error}");
        assert!(error.hint_text().is_some());
        bench.write("a", &whole);
        records += bench.read().await.len();
        assert_eq!(records, 50_000, "a repaired file is read on");
    }
}

#[tokio::test]
async fn a_range_that_is_gone_cannot_be_opened() {
    let mut bench = Bench::new();
    bench.write("a", "one\ntwo\n");
    bench.read().await;
    let known = bench.known[0].clone();
    bench.write("a", "1\n");
    let replay = Until::Position(Position::new(100));
    for (until, retry) in [(replay, false), (Until::End, true), (Until::Forever, true)] {
        let opened = bench.source.open(&known.split, known.position.as_ref(), until).await;
        let error = opened.err().expect("what was read is gone");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::External, retry));
    }
}

#[tokio::test]
async fn exclusions_and_folders_are_left_out() {
    let mut bench = Bench::with("*", json!({ "exclude": ["*.tmp"] }));
    bench.write("a", "one\n");
    bench.write("b.tmp", "two\n");
    std::fs::create_dir(bench.path("folder")).expect("a folder");
    assert_eq!(bench.read().await, ["a@0 one"]);
}

#[tokio::test]
async fn a_pattern_without_a_match_is_a_warning_once() {
    let mut bench = Bench::new();
    let warnings = bench.discover().await.warnings;
    assert!(warnings[0].ends_with("matches no file yet"), "{warnings:?}");
    assert_eq!(bench.discover().await.warnings, [""; 0]);
}

#[tokio::test]
async fn a_compressed_file_that_was_read_whole_is_not_decompressed_again() {
    let mut bench = Bench::new();
    bench.write("a", gzip("one\ntwo\n"));
    bench.read().await;
    let note = bench.known[0].position.clone().and_then(|position| position.note);
    assert!(note.expect("a note").contains("whole"));
    assert_eq!(bench.read().await, [""; 0]);
    bench.append("a", gzip("three\n"));
    assert_eq!(bench.read().await, ["a@8 three"]);
}

#[tokio::test]
async fn a_single_record_can_be_read_again_by_its_position() {
    let mut bench = Bench::new();
    bench.write("a", "one\ntwo\nlast without end");
    let whole = bench.read().await;
    let split = bench.known[0].split.clone();
    for (record, at) in whole.iter().zip([0, 4, 8]) {
        let until = Until::Position(Position::new(at + 1));
        let from = Position::new(at);
        let mut reader = bench.source.open(&split, Some(&from), until).await.expect("a file");
        let batch = reader.next_batch().await.expect("a file").expect("a record");
        assert_eq!(format!("a@{}", describe(&batch).concat()), *record);
        assert!(reader.next_batch().await.expect("a file").is_none());
    }
}

#[tokio::test]
async fn a_line_taken_without_its_end_is_replayed_as_it_was() {
    let mut bench = Bench::new();
    bench.write("a", "one\ntwo");
    let before = bench.read().await;
    bench.append("a", " and more\nthree\n");
    let known = bench.known[0].clone();
    let until = Until::Position(known.position.expect("it was read"));
    let mut reader = bench.source.open(&known.split, None, until).await.expect("a file");
    let batch = reader.next_batch().await.expect("a file").expect("records");
    let again: Vec<_> = describe(&batch).iter().map(|text| format!("a@{text}")).collect();
    assert_eq!(again, before);
    assert!(reader.next_batch().await.expect("a file").is_none());
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_looked_for_again() {
    let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB" }));
    bench.write("a", many_lines("a", 0..5000));
    let id = bench.id("a");
    bench.discover().await;
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    let batch = reader.next_batch().await.expect("a file").expect("records");
    bench.take(&id, batch);
    bench.write("a", "new\n");
    let error = loop {
        match reader.next_batch().await {
            Ok(Some(batch)) => drop(bench.take(&id, batch)),
            Ok(None) => panic!("the loss was overlooked"),
            Err(error) => break error,
        }
    };
    assert!(error.retry(), "{error:?}");
    assert_eq!(bench.read().await, ["a#2@0 new"]);
}

#[tokio::test]
async fn an_old_file_is_recognised_until_somebody_writes_to_it() {
    for bytes in [many_lines("a", 0..100).into_bytes(), gzip(many_lines("a", 0..100))] {
        let mut bench = Bench::new();
        bench.write("a", &bytes);
        let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let file = std::fs::File::open(bench.path("a")).expect("the file was written");
        file.set_modified(hour_ago).expect("our own file");
        assert_eq!(bench.read().await.len(), 100);
        bench.restart();
        assert_eq!(bench.read().await, [""; 0]);
        bench.write("a", "new\n");
        assert_eq!(bench.read().await, ["a#2@0 new"]);
    }
}
