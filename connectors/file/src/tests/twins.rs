//! Logs that hold the same lines from the first one on, and copies of one log.

use std::fs::{self, OpenOptions};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{Bench, gzip};

const BEAT: &str = "heartbeat ok\n";

/// How many records come from each split, by its path in the folder of the bench.
async fn counts(bench: &mut Bench) -> Vec<(String, usize)> {
    let discovery = bench.discover().await;
    let root = bench.id("");
    let mut counts = Vec::new();
    for split in discovery.splits {
        let id = split.id.as_str().to_owned();
        let mut reader = bench.open(&id, contract::source::Until::End).await.expect("a file");
        let mut count = 0;
        while let Some(batch) = reader.next_batch().await.expect("lines") {
            count += bench.take(&id, batch).len();
        }
        if count > 0 {
            counts.push((id.trim_start_matches(&root).to_owned(), count));
        }
    }
    counts.sort();
    counts
}

fn folders(bench: &Bench, names: &[&str]) {
    for name in names {
        fs::create_dir_all(bench.path(name)).expect("a folder");
    }
}

fn pairs(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn logs_of_one_name_in_two_folders_are_two_whatever_they_hold() {
    for (one, other) in [(300, 300), (300, 200), (200, 300)] {
        // Both at once, and one after the other was read.
        for is_known in [false, true] {
            let mut bench = Bench::with("*/app.log", json!({}));
            folders(&bench, &["host1", "host2"]);
            bench.write("host1/app.log", BEAT.repeat(one));
            let mut read = Vec::new();
            if is_known {
                read.extend(counts(&mut bench).await);
                bench.restart();
            }
            bench.write("host2/app.log", BEAT.repeat(other));
            let told = bench.discover().await;
            read.extend(counts(&mut bench).await);
            let expect = pairs(&[("host1/app.log", one), ("host2/app.log", other)]);
            assert_eq!(read, expect, "{is_known}");
            assert!(told.unreadable.is_empty(), "{told:?}");
            let shared = format!("begin with the same {} lines", one.min(other));
            let is_named = |it: &String| {
                it.contains("host1/app.log") && it.contains("host2/app.log") && it.contains(&shared)
            };
            assert!(told.warnings.iter().any(is_named), "{told:?}");
            // Each goes on by itself.
            bench.restart();
            bench.append("host1/app.log", BEAT);
            bench.append("host2/app.log", BEAT.repeat(2));
            let expect = pairs(&[("host1/app.log", 1), ("host2/app.log", 2)]);
            assert_eq!(counts(&mut bench).await, expect);
        }
    }
}

#[tokio::test]
async fn names_that_rotation_does_not_give_are_those_of_logs() {
    for names in [["worker-1.log", "worker-2.log"], ["a.log", "b.log"], ["a.log.1", "a.log.2"]] {
        let mut bench = Bench::new();
        for name in names {
            bench.write(name, BEAT.repeat(200));
            // Somebody goes on writing.
            let file = OpenOptions::new().append(true).open(bench.path(name)).expect("a file");
            let later = SystemTime::now() + Duration::from_secs(3600);
            file.set_modified(later).expect("our own file");
        }
        assert_eq!(counts(&mut bench).await, pairs(&names.map(|name| (name, 200))));
    }
}

#[tokio::test]
async fn what_was_rotated_by_its_name_before_the_log_was_made_is_no_copy_of_it() {
    let mut bench = Bench::new();
    bench.write_old("a.log", BEAT.repeat(300));
    bench.rename("a.log", "a.log.1");
    bench.write("a.log.2.gz", gzip(BEAT.repeat(400)));
    let file = OpenOptions::new().write(true).open(bench.path("a.log.2.gz")).expect("a file");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    file.set_modified(long_ago).expect("our own file");
    // One that waits until the clock of the file system goes on.
    let older = fs::metadata(bench.path("a.log.1")).and_then(|it| it.created()).expect("a time");
    loop {
        bench.write("a.log", BEAT.repeat(350));
        let newer = fs::metadata(bench.path("a.log")).and_then(|it| it.created()).expect("a time");
        if newer > older {
            break;
        }
        bench.remove("a.log");
    }
    let expect = pairs(&[("a.log", 350), ("a.log.1", 300), ("a.log.2.gz", 400)]);
    assert_eq!(counts(&mut bench).await, expect);
}

#[tokio::test]
async fn a_copy_is_named_with_what_it_repeats_and_the_way_out() {
    let copies = [
        "a.log.1",
        "a.log-20240101",
        "a.1.log",
        "a.log.bak",
        "a.log.gz",
        "old/a.log.1",
        "written-at-once",
    ];
    for copy in copies {
        let mut bench = Bench::with("**", json!({}));
        folders(&bench, &["old"]);
        bench.write("a.log", BEAT.repeat(300));
        match copy.ends_with(".gz") {
            true => bench.write(copy, gzip(BEAT.repeat(200))),
            false => bench.write(copy, BEAT.repeat(200)),
        }
        let found = bench.discover().await;
        let [told] = &found.unreadable[..] else { panic!("{copy}: {found:?}") };
        assert_eq!(told.name, bench.id(copy));
        let log = bench.path("a.log");
        let expect = format!("it holds nothing but the first 200 lines (2600 bytes) of {log:?}");
        assert_eq!(told.reason, expect);
        assert!(!told.may_hold_records);
        assert!(told.hint.as_ref().is_some_and(|it| it.contains("`copies: read`")), "{told:?}");
        assert_eq!(counts(&mut bench).await, pairs(&[("a.log", 300)]), "{copy}");
    }
}

#[tokio::test]
async fn every_file_is_a_log_where_the_settings_say_so() {
    let mut bench = Bench::with("*", json!({ "copies": "read", "rotate_wait": "1h" }));
    for name in ["a.log", "a.log.1", "b.log", "c.log"] {
        bench.write(name, BEAT.repeat(200));
    }
    bench.write("a.log.gz", gzip(BEAT.repeat(200)));
    let found = bench.discover().await;
    assert!(found.unreadable.is_empty() && found.warnings.is_empty(), "{found:?}");
    let expect = ["a.log", "a.log.1", "a.log.gz", "b.log", "c.log"].map(|name| (name, 200));
    assert_eq!(counts(&mut bench).await, pairs(&expect));
}

#[tokio::test]
async fn a_file_that_is_moved_to_another_file_system_is_read_once() {
    for is_known in [true, false] {
        let mut bench = Bench::with("**", json!({ "rotate_wait": "1h" }));
        folders(&bench, &["logs", "archive"]);
        bench.write("logs/a.log", BEAT.repeat(300));
        if is_known {
            assert_eq!(counts(&mut bench).await, pairs(&[("logs/a.log", 300)]));
        }
        // What `mv` does: both are there, then the copy alone.
        bench.write("archive/a.log", BEAT.repeat(200));
        let found = bench.discover().await;
        assert_eq!(found.splits.len(), 1, "{found:?}");
        assert!(found.again_in.is_some_and(|wait| !wait.is_zero()), "{found:?}");
        bench.write("archive/a.log", BEAT.repeat(300));
        bench.set_modified("archive/a.log", bench.modified("logs/a.log"));
        bench.discover().await;
        bench.remove("logs/a.log");
        bench.discover().await;
        bench.append("archive/a.log", BEAT);
        let lines = if is_known { 1 } else { 301 };
        let said = counts(&mut bench).await;
        assert_eq!(said.iter().map(|it| it.1).collect::<Vec<_>>(), [lines], "{said:?}");
        bench.restart();
        assert_eq!(counts(&mut bench).await, [], "{is_known}");
    }
}

#[tokio::test]
async fn a_twin_waits_no_longer_than_said() {
    let mut bench = Bench::with("*/a.log", json!({ "rotate_wait": "200ms" }));
    folders(&bench, &["x", "y"]);
    bench.write("x/a.log", BEAT.repeat(200));
    bench.write("y/a.log", BEAT.repeat(200));
    let mut read = counts(&mut bench).await;
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while read.len() < 2 && std::time::Instant::now() < limit {
        // Somebody writes without pause.
        bench.append("y/a.log", BEAT);
        read.extend(counts(&mut bench).await);
    }
    assert_eq!(read.len(), 2, "{read:?}");
    assert!(read[1].1 > 200, "{read:?}");
}

#[tokio::test]
async fn a_copy_in_a_folder_for_old_ones_is_the_log_once_that_is_truncated() {
    let mut bench = Bench::with("**", json!({ "rotate_wait": "1h" }));
    folders(&bench, &["old"]);
    bench.write("a.log", BEAT.repeat(300));
    assert_eq!(counts(&mut bench).await, pairs(&[("a.log", 300)]));
    bench.append("a.log", BEAT);
    fs::copy(bench.path("a.log"), bench.path("old/a.log.1")).expect("a copy");
    assert_eq!(bench.discover().await.splits.len(), 1);
    bench.write("a.log", "");
    assert_eq!(counts(&mut bench).await, pairs(&[("a.log", 1)]));
}
