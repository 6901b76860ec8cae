//! Copies of a log that was written on, read and truncated before anybody saw them: a later process
//! knows them by what the position remembers.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use contract::source::Until;
use serde_json::json;

use super::copied::{texts, truncate};
use super::{Bench, gzip, many_lines};

/// Compresses a file as `gzip` does: the time of the last write is handed on.
fn pack(bench: &Bench, name: &str) {
    let text = fs::read(bench.path(name)).expect("it is there");
    let written = fs::metadata(bench.path(name)).and_then(|metadata| metadata.modified());
    let packed = format!("{name}.gz");
    bench.write(&packed, gzip(text));
    let file = OpenOptions::new().write(true).open(bench.path(&packed)).expect("it is there");
    file.set_modified(written.expect("it is there")).expect("our own file");
    bench.remove(name);
}

/// Gives a log a copy, lets it grow and be read, and truncates it before any later process looks;
/// returns what is read then.
async fn copied_grown_and_truncated(
    bench: &mut Bench,
    grown: &str,
    is_packed: bool,
) -> Vec<String> {
    fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
    bench.append("a.log", grown);
    let id = bench.id("a.log");
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    while let Some(batch) = reader.next_batch().await.expect("lines") {
        bench.take(&id, batch);
    }
    truncate(bench, "a.log");
    bench.append("a.log", "new\n");
    if is_packed {
        pack(bench, "a.log.1");
    }
    bench.restart();
    bench.read().await
}

#[tokio::test]
async fn a_later_process_knows_the_copy_of_a_log_that_grew_and_was_truncated() {
    for (lines, step) in [(3, 1), (300, 1), (300, 300), (30_000, 1_000), (30_000, 30_000)] {
        for (grown, is_packed) in [(1, false), (20, true), (20, false), (5_000, true)] {
            let mut bench = Bench::with("*", json!({ "settle": "1h" }));
            bench.write("a.log", "");
            let mut said = Vec::new();
            for from in (0..lines).step_by(step) {
                bench.append("a.log", many_lines("old", from..from + step));
                said.extend(bench.read().await);
            }
            assert_eq!(said.len(), lines);
            let note = bench.known[0].position.as_ref().and_then(|it| it.note.clone());
            let size = note.map_or(0, |note| note.len());
            assert!(size < 300, "{size} bytes");
            let more = many_lines("grown", 0..grown);
            let said = copied_grown_and_truncated(&mut bench, &more, is_packed).await;
            assert_eq!(texts(&said), ["new"], "{lines} lines by {step}, {grown} more");
            match is_packed {
                true => bench.rename("a.log.1.gz", "a.log.2.gz"),
                false => bench.rename("a.log.1", "a.log.2"),
            }
            bench.restart();
            assert_eq!(bench.read().await, [""; 0], "{lines} lines by {step}, {grown} more");
        }
    }
}

#[tokio::test]
async fn what_is_no_copy_of_a_log_is_read_whatever_it_has_in_common() {
    let old = many_lines("old", 0..3_000);
    let near_end = old.len() - 600;
    let changed = [&old[..near_end], "###", &old[near_end + 3..]].concat();
    let cases: [(&str, &str, usize); 5] = [
        ("a.log.1", &changed, 3_000),
        ("a.log.1.gz", &changed, 3_000),
        ("a.log.1", &old[..near_end / 4], 0),
        ("b.log.1", &old, 3_000),
        ("a.log.1", &old[..1_000], 0),
    ];
    for (number, (name, text, lines)) in cases.into_iter().enumerate() {
        let mut bench = Bench::with("*", json!({ "settle": "1h" }));
        bench.write("a.log", "");
        let mut from = 0;
        while from < old.len() {
            let to = (from + 3_000).min(old.len());
            bench.append("a.log", &old[from..to]);
            bench.read().await;
            from = to;
        }
        bench.append("a.log", many_lines("grown", 0..20));
        bench.read().await;
        match name.ends_with("gz") {
            true => bench.write(name, gzip(text)),
            false => bench.write(name, text),
        }
        truncate(&bench, "a.log");
        bench.append("a.log", "new\n");
        bench.restart();
        let expect = if lines == 0 { text.lines().count() } else { lines };
        assert_eq!(bench.read().await.len(), expect + 1, "case {number}");
    }
    // Nor is the log itself, cut off, written on and renamed.
    let mut bench = Bench::with("*", json!({ "settle": "1h" }));
    bench.write("a.log", &old);
    bench.read().await;
    let file = OpenOptions::new().write(true).open(bench.path("a.log")).expect("it is there");
    file.set_len(near_end as u64).expect("our own file");
    bench.rename("a.log", "a.log.1");
    bench.write("a.log", "new\n");
    bench.restart();
    assert_eq!(bench.read().await.len(), old[..near_end].lines().count() + 1);
}

/// A log that was read in batches, the last of which is the last text, and truncated; its copy
/// holds `copy`, and was written before the log was last.
async fn with_copy(batches: &[&str], name: &str, copy: &str) -> Bench {
    let mut bench = Bench::with("*", json!({ "settle": "1h" }));
    bench.write("a.log", "");
    bench.read().await;
    let (last, first) = batches.split_last().expect("a batch");
    for batch in first {
        bench.append("a.log", batch);
        bench.read().await;
    }
    match name.ends_with("gz") {
        true => bench.write(name, gzip(copy)),
        false => bench.write(name, copy),
    }
    bench.append("a.log", last);
    let id = bench.id("a.log");
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    while let Some(batch) = reader.next_batch().await.expect("lines") {
        bench.take(&id, batch);
    }
    truncate(&bench, "a.log");
    bench.append("a.log", "new\n");
    bench.restart();
    bench
}

#[tokio::test]
async fn a_file_that_differs_anywhere_from_what_was_read_of_a_log_is_read_from_there_on() {
    let old = many_lines("old", 0..3_000);
    let (begin, end) = old.split_at(old.len() - 20_000);
    let grown = many_lines("grown", 0..2_000);
    let with = |at: usize, text: &str| {
        [&old[..at], text, &old[at + text.len()..]].concat() + &grown[..5_000]
    };
    // In the middle of what is far from any place, near one, and behind the last one.
    let last = old.clone() + &grown[..4_000] + "###";
    for copy in [with(10_007, "###"), with(30_000, "#"), with(old.len() - 3_001, "##"), last] {
        for name in ["a.log.1", "a.log.1.gz"] {
            let mut bench = with_copy(&[begin, end, &grown], name, &copy).await;
            let said = bench.read().await;
            let other = copy.lines().filter(|line| line.contains('#')).collect::<Vec<_>>();
            let texts = texts(&said);
            assert!(other.iter().all(|line| texts.contains(line)), "{name}: {other:?}");
            assert!(texts.contains(&"new"), "{name}");
        }
    }
}

#[tokio::test]
async fn of_a_copy_that_ends_inside_of_a_batch_little_is_read_again_and_that_is_told() {
    let old = many_lines("old", 0..3_000);
    let grown = many_lines("grown", 0..5_000);
    for end in [1_000, 50_000, grown.len() - 1_000, grown.len() - 45] {
        let copy = old.clone() + &grown[..end];
        for name in ["a.log.1", "a.log.1.gz"] {
            let mut bench = with_copy(&[&old, &grown], name, &copy).await;
            let found = bench.discover().await;
            let said = bench.read().await;
            let again: usize = said.iter().map(|line| line.len()).sum();
            let away = grown.len() - end;
            assert!(again < 4 * away.max(1_000) + 1_000, "{name}, {end}: {} lines", said.len());
            let is_told =
                found.warnings.iter().any(|warning| warning.contains("may be read again"));
            assert_eq!(is_told, said.len() > 1, "{name}, {end}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_short_copy_that_ends_anywhere_is_known_by_all_of_its_bytes() {
    let old = many_lines("old", 0..3);
    let grown = many_lines("grown", 0..9);
    let ends: Vec<_> = grown.match_indices('\n').map(|(at, _)| at + 1).collect();
    for end in ends {
        for name in ["a.log.1", "a.log.1.gz"] {
            let copy = old.clone() + &grown[..end];
            let mut bench = with_copy(&[&old, &grown], name, &copy).await;
            assert_eq!(texts(&bench.read().await), ["new"], "{name}, {end}");
            // Another one is not.
            let copy = copy.replacen('o', "0", 1);
            let mut bench = with_copy(&[&old, &grown], name, &copy).await;
            assert_eq!(bench.read().await.len(), copy.lines().count() + 1, "{name}, {end}");
        }
    }
}

#[tokio::test]
async fn a_short_file_that_was_written_after_a_log_is_no_copy_of_it() {
    let mut bench = with_copy(&["start\n", "done\n"], "b.log", "").await;
    // The log of the next day, which says the same, copied while it has but one line.
    bench.write("a.log.1", "start\n");
    let found = bench.discover().await;
    let is_told = |it: &String| it.contains("a.log.1") && it.contains("may be a copy");
    assert!(found.warnings.iter().any(is_told), "{found:?}");
    assert_eq!(texts(&bench.read().await), ["new", "start"]);
}

#[tokio::test]
async fn a_hole_in_a_log_is_part_of_its_copy() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "block_bytes": "4KiB" }));
    let hole = 300_000;
    let file = fs::File::create(bench.path("a.log")).expect("our own file");
    file.write_all_at(b"begin\n", 0).expect("our own file");
    file.write_all_at(many_lines("old", 0..300).as_bytes(), hole).expect("our own file");
    bench.read().await;
    fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
    for number in 0..3 {
        bench.append("a.log", format!("grown {number}\n"));
        let id = bench.id("a.log");
        let mut reader = bench.open(&id, Until::End).await.expect("a file");
        while let Some(batch) = reader.next_batch().await.expect("lines") {
            bench.take(&id, batch);
        }
    }
    truncate(&bench, "a.log");
    bench.append("a.log", "new\n");
    bench.restart();
    assert_eq!(texts(&bench.read().await), ["new"]);
}

#[tokio::test]
async fn what_a_copy_has_beyond_a_shorter_log_is_not_lost_whatever_the_log_becomes() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "rotate_wait": "1h" }));
    bench.write("a.log", "one\n");
    bench.write("a.log.1", "one\ntwo\n");
    let mut said = bench.read().await;
    bench.discover().await;
    let id = bench.id("a.log");
    bench.append("a.log", "2\n3\n4\n");
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    while let Some(batch) = reader.next_batch().await.expect("lines") {
        said.extend(bench.take(&id, batch));
    }
    truncate(&bench, "a.log");
    said.extend(bench.read().await);
    assert!(texts(&said).contains(&"two"), "{said:?}");
}
