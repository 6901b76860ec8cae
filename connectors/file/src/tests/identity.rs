//! Files under other names, and other files under the same name.

use std::fs;

use formats::compression::Limits;

use super::{Bench, gzip, many_lines, zstd};
use crate::config::Compression;
use crate::found::Found;
use crate::identity::Descriptor;
use crate::matching::{Candidate, Failures, assign};
use crate::stream::Packing;

#[tokio::test]
async fn rotation_keeps_the_split() {
    let mut bench = Bench::new();
    bench.write("a.log", many_lines("old", 0..100));
    assert_eq!(bench.read().await.len(), 100);
    bench.append("a.log", "last of the old\n");
    bench.rename("a.log", "a.log.1");
    bench.write("a.log", "first of the new\n");
    bench.restart();
    let records = bench.read().await;
    assert_eq!(records[0].split_once(' ').expect("text").1, "last of the old");
    assert_eq!(records[1..], ["a.log#2@0 first of the new"]);
}

#[tokio::test]
async fn compression_keeps_the_split() {
    let compressors: [fn(String) -> Vec<u8>; 2] = [gzip, zstd];
    for compress in compressors {
        for lines in [3, 300] {
            let mut bench = Bench::new();
            let text = many_lines("old", 0..lines);
            bench.write("a.log.1", &text);
            bench.read().await;
            bench.remove("a.log.1");
            bench.write("a.log.2.gz", compress(text + "one more\n"));
            bench.restart();
            let records = bench.read().await;
            assert_eq!(records.len(), 1, "{records:?}");
            assert!(records[0].starts_with("a.log.1@"), "{records:?}");
        }
    }
}

#[tokio::test]
async fn a_rotated_file_is_found_where_no_pattern_names_it() {
    let mut bench = Bench::with("?.log", serde_json::json!({}));
    bench.write("a.log", "one\n");
    assert_eq!(bench.read().await, ["a.log@0 one"]);
    bench.append("a.log", "two\n");
    bench.rename("a.log", "a.log.1");
    bench.write("a.log", "three\n");
    bench.restart();
    assert_eq!(bench.read().await, ["a.log@4 two", "a.log#2@0 three"]);
}

#[tokio::test]
async fn generations_are_never_mixed_up() {
    let mut bench = Bench::with("?.log", serde_json::json!({}));
    for generation in 1..=4 {
        bench.write("a.log", format!("day {generation}\n"));
        let id = if generation == 1 { "a.log".into() } else { format!("a.log#{generation}") };
        assert_eq!(bench.read().await, [format!("{id}@0 day {generation}")]);
        bench.rename("a.log", &format!("a.log.{generation}"));
    }
    // Nothing of this stands in a checkpoint if the process dies before the first one.
    bench.known.clear();
    assert_eq!(bench.discover().await.splits.len(), 4, "memory holds what was given out");
}

#[tokio::test]
async fn a_rewritten_file_is_a_new_split_with_a_warning() {
    for (before, after) in [("one\ntwo\n", "three\n"), ("one\n", "two\nand longer\n")] {
        let mut bench = Bench::new();
        bench.write("a", before);
        bench.read().await;
        bench.write("a", after);
        bench.restart();
        let warnings = bench.discover().await.warnings;
        assert!(warnings[0].contains("was truncated or rewritten"), "{warnings:?}");
        assert!(!warnings[0].contains("lost"), "all of it was read: {warnings:?}");
        let records = bench.read().await;
        assert_eq!(records[0], format!("a#2@0 {}", after.lines().next().expect("a line")));
    }
}

#[tokio::test]
async fn a_copy_taken_before_truncation_is_read_to_its_end() {
    let mut bench = Bench::new();
    bench.write("a.log", many_lines("old", 0..100));
    assert_eq!(bench.read().await.len(), 100);
    bench.append("a.log", "not read yet\n");
    fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
    let discovery = bench.discover().await;
    assert_eq!(discovery.splits.len(), 1, "a copy is no split");
    assert!(discovery.unreadable[0].reason.contains("the same 101 lines"), "{discovery:?}");
    bench.write("a.log", "new\n");
    let records = bench.read().await;
    assert!(records[0].starts_with("a.log@") && records[0].ends_with(" not read yet"));
    assert_eq!(records[1..], ["a.log#2@0 new"]);
}

#[tokio::test]
async fn small_equal_files_are_two_splits_and_one_inode_is_one() {
    let mut bench = Bench::new();
    bench.write("a", "same\n");
    bench.write("b", "same\n");
    fs::hard_link(bench.path("a"), bench.path("c")).expect("a link");
    std::os::unix::fs::symlink(bench.path("b"), bench.path("d")).expect("a link");
    assert_eq!(bench.read().await, ["a@0 same", "b@0 same"]);
    bench.append("b", "more\n");
    bench.restart();
    assert_eq!(bench.read().await, ["b@5 more"]);
}

#[tokio::test]
async fn of_two_large_files_with_one_beginning_the_longer_is_read() {
    let mut bench = Bench::new();
    let text = many_lines("a", 0..100);
    bench.write("a.log", &text);
    bench.write("a.log.gz", gzip(text.clone() + "more\n"));
    bench.write("a.log.tmp", text + "other\n");
    let records = bench.read().await;
    let from = |name: &str| records.iter().filter(|record| record.starts_with(name)).count();
    assert_eq!((from("a.log@"), from("a.log.gz@"), from("a.log.tmp@")), (0, 101, 101));
}

#[tokio::test]
async fn an_unrelated_file_with_the_same_few_bytes_is_read() {
    let mut bench = Bench::new();
    bench.write("monday", "ok\n");
    assert_eq!(bench.read().await, ["monday@0 ok"]);
    fs::copy(bench.path("monday"), bench.path("tuesday")).expect("a copy");
    bench.remove("monday");
    assert_eq!(bench.read().await, ["tuesday@0 ok"]);
}

#[tokio::test]
async fn a_file_that_is_rotated_while_a_listing_compares_it_is_no_new_split() {
    let mut bench = Bench::new();
    bench.write("a", many_lines("a", 0..100));
    bench.read().await;
    bench.append("a", "more\n");
    let packing = Packing { compression: Compression::Auto, limits: Limits::default() };
    let found = Found::new(bench.path("a"), packing).expect("it can be read").expect("a file");
    bench.rename("a", "b");
    bench.write("a", "new\n");
    let known = &bench.known[0];
    let descriptor = Descriptor::of(known).expect("ours").into();
    let (id, position) = (known.split.id.clone(), known.position.clone());
    let mut candidates = [Candidate::new(id, position, descriptor)];
    let mut failures = Failures::default();
    let unknown = assign(vec![found], &mut candidates, &mut failures).expect("ours");
    assert!(unknown.is_empty(), "as a new split it would be read again");
    assert!(failures.any_moved && failures.unreadable.is_empty());
    let read = bench.read().await;
    assert!(read[0].ends_with(" more") && read[1] == "a#2@0 new" && read.len() == 2, "{read:?}");
}

#[tokio::test]
async fn an_empty_file_is_no_split_until_it_has_a_byte() {
    let mut bench = Bench::new();
    bench.write("a", "");
    assert_eq!(bench.discover().await.splits.len(), 0);
    bench.append("a", "one\n");
    assert_eq!(bench.read().await, ["a@0 one"]);
}

#[tokio::test]
async fn a_fingerprint_grows_with_its_file() {
    let mut bench = Bench::new();
    bench.write("a", "one\n");
    bench.read().await;
    bench.append("a", many_lines("a", 0..100));
    assert_eq!(bench.read().await.len(), 100);
    bench.rename("a", "elsewhere");
    bench.append("elsewhere", "two\n");
    bench.restart();
    let records = bench.read().await;
    assert!(records[0].starts_with("a@") && records.len() == 1, "{records:?}");
}

#[tokio::test]
async fn a_file_that_is_replaced_by_less_of_the_same_is_told() {
    for (lines, left) in [(300, 100), (3, 1)] {
        let (all, less) = (many_lines("a", 0..lines), many_lines("a", 0..left));
        let packs: [fn(String) -> Vec<u8>; 2] = [gzip, zstd];
        for pack in packs {
            let mut bench = Bench::new();
            bench.write("a.gz", pack(all.clone()));
            assert_eq!(bench.read().await.len(), lines);
            // Another file, not the same one written anew.
            bench.write("new", pack(less.clone()));
            bench.rename("new", "a.gz");
            bench.restart();
            let warnings = bench.discover().await.warnings;
            assert!(warnings[0].contains("was replaced by one that does not"), "{warnings:?}");
            assert_eq!(bench.read().await.len(), left, "it is a split of its own");
        }
    }
    // A log that made room for the next one is no news.
    let mut bench = Bench::new();
    bench.write("a.log", many_lines("a", 0..100));
    bench.read().await;
    bench.write("new", "another\n");
    bench.rename("new", "a.log");
    bench.restart();
    assert_eq!(bench.discover().await.warnings, [""; 0]);
}
