//! Files that are copied, and truncated or written on while somebody reads them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};

use contract::Position;
use contract::source::{SplitReader, Until};
use serde_json::json;

use super::bytes::{age, follow};
use super::{Bench, describe, gzip, many_lines, zstd};

async fn next(reader: &mut Box<dyn SplitReader>) -> Vec<String> {
    let batch = reader.next_batch().await.expect("a file");
    batch.map_or_else(|| vec!["end".to_owned()], |batch| describe(&batch))
}

/// Reads to the end of a reader, as a checkpoint would know it.
async fn rest(bench: &mut Bench, id: &str, mut reader: Box<dyn SplitReader>) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        said.extend(bench.take(id, batch));
    }
    said
}

/// The texts of records, sorted.
pub(super) fn texts(said: &[String]) -> Vec<&str> {
    let mut texts: Vec<_> =
        said.iter().map(|text| text.split_once(' ').expect("a place").1).collect();
    texts.sort_unstable();
    texts
}

fn ids(discovery: &contract::discovery::Listing) -> Vec<&str> {
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
async fn a_reader_that_lags_in_a_packed_or_encoded_file_reads_nothing_of_what_comes_then() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let packs: [fn(&str) -> Vec<u8>; 3] = [|text| gzip(text), |text| zstd(text), utf16];
    for (number, pack) in packs.into_iter().enumerate() {
        let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB", "settle": "1h" }));
        bench.write("a.log", pack(&many_lines("old", 0..60_000)));
        let id = bench.id("a.log");
        let mut reader = follow(&mut bench).await;
        let batch = reader.next_batch().await.expect("a file").expect("a block");
        bench.take(&id, batch);
        // As one that writes its archive in place does.
        let file = OpenOptions::new().write(true).open(bench.path("a.log")).expect("it is there");
        file.set_len(0).expect("our own file");
        file.write_all_at(&pack(&many_lines("new", 0..80_000)), 0).expect("our own file");
        let said = rest(&mut bench, &id, reader).await;
        assert!(!said.iter().any(|text| text.contains("new line")), "{number}: {said:?}");
        let said = bench.read().await;
        assert_eq!(said.len(), 80_000, "{number}");
        assert!(said.iter().all(|text| text.contains("new line")), "{number}");
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
    assert!(!error.hint_text().unwrap_or_default().contains("--accept-loss"), "{error:?}");
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
async fn a_copy_that_grows_is_a_split_from_where_it_goes_on() {
    let mut bench = Bench::with("*", json!({ "settle": "1h" }));
    bench.write("a.log", many_lines("old", 0..100));
    let id = bench.id("a.log");
    let mut reader = follow(&mut bench).await;
    let batch = reader.next_batch().await.expect("a file").expect("lines");
    assert_eq!(bench.take(&id, batch).len(), 100);
    fs::copy(bench.path("a.log"), bench.path("a.log.new")).expect("a copy");
    assert_eq!(ids(&bench.discover().await), ["a.log"]);
    bench.append("a.log.new", many_lines("new", 0..50));
    let found = bench.discover().await;
    assert_eq!(ids(&found), ["a.log", "a.log.new"]);
    let path = |number: usize| found.splits[number].descriptor["path"].clone();
    assert_eq!((path(0), path(1)), (json!(bench.path("a.log")), json!(bench.path("a.log.new"))));
    assert!(found.warnings[0].contains("begins with what was read of"), "{:?}", found.warnings);
    assert!(!found.ask_again);
    bench.restart();
    let said = bench.read().await;
    assert_eq!(said.len(), 50);
    assert!(
        said[0].starts_with("a.log.new@") && said[0].ends_with("new line number 0"),
        "{said:?}"
    );
    bench.append("a.log", "more\n");
    bench.append("a.log.new", "and more\n");
    assert_eq!(next(&mut reader).await, [format!("{} more", many_lines("old", 0..100).len())]);
    bench.restart();
    assert_eq!(texts(&bench.read().await), ["and more", "more"]);
    // What was recorded from its beginning on begins where it did.
    let known = bench.known.iter().find(|known| known.split.id.as_str().ends_with("a.log.new"));
    let known = known.expect("it was read").clone();
    let until = Until::Position(known.position.expect("it was read"));
    let mut again = bench.source.open(&known.split, None, until).await.expect("a file");
    assert_eq!(next(&mut again).await.len(), 51);
}

#[tokio::test]
async fn a_longer_file_waits_until_all_that_it_repeats_is_read() {
    let mut bench = Bench::with("*", json!({ "settle": "1h" }));
    let banner = many_lines("banner", 0..100);
    bench.write("b.log", &banner);
    assert_eq!(ids(&bench.discover().await), ["b.log"]);
    bench.write("b.log.new", banner.clone() + "a1\n");
    for _ in 0..2 {
        let found = bench.discover().await;
        assert_eq!(ids(&found), ["b.log"]);
        assert!(found.ask_again, "once that is read");
        assert_eq!(found.splits[0].descriptor["path"], json!(bench.path("b.log")));
    }
    assert_eq!(bench.read().await.len(), 100);
    // Blank lines are no records, and no position stands behind them.
    bench.append("b.log", "\n");
    bench.write("b.log.new", banner.clone() + "\na1\n");
    assert_eq!(bench.read().await, [format!("b.log.new@{} a1", banner.len() + 1)]);
    bench.append("b.log", "b1\nb2\n");
    assert_eq!(texts(&bench.read().await), ["b1", "b2"]);
}

#[tokio::test]
async fn files_that_share_a_beginning_and_then_differ_are_two_splits() {
    let mut bench = Bench::new();
    let banner = many_lines("banner", 0..100);
    bench.write("b.log", &banner);
    bench.discover().await;
    bench.write("a.log", banner.clone() + "a1\n");
    bench.discover().await;
    bench.append("b.log", "b1\n");
    let said = bench.read().await;
    let of = |name: &str| said.iter().filter(|text| text.starts_with(name)).count();
    assert_eq!((of("a.log@"), of("b.log@"), said.len()), (101, 101, 202));
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

/// Texts of which each line is another one, shorter than a fingerprint and longer.
const SIZES: [usize; 2] = [3, 300];

pub(super) fn truncate(bench: &Bench, name: &str) {
    let file = OpenOptions::new().write(true).open(bench.path(name)).expect("it is there");
    file.set_len(0).expect("our own file");
}

fn patient() -> Bench {
    Bench::with("*", json!({ "settle": "1h", "rotate_wait": "1h" }))
}

#[tokio::test]
async fn what_was_copied_before_a_truncation_is_read_once_whichever_is_seen_first() {
    for (lines, looks, is_read) in SIZES
        .into_iter()
        .flat_map(|lines| [0, 1, 2, 3].map(|looks| (lines, looks)))
        .flat_map(|(lines, looks)| [true, false].map(|is_read| (lines, looks, is_read)))
    {
        let case = format!("{lines} lines, {looks} looks, {is_read}");
        let mut bench = patient();
        bench.write("a.log", "");
        let mut said = Vec::new();
        // The second rotation moves the copy of the first.
        for round in 0..2 {
            bench.append("a.log", many_lines(&format!("round {round}"), 0..lines));
            match is_read {
                true => said.extend(bench.read().await),
                false => drop(bench.discover().await),
            }
            if round == 1 {
                bench.rename("a.log.1", "a.log.2");
            }
            fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
            for look in 0..looks {
                let found = bench.discover().await;
                assert_eq!(found.splits.len(), 1 + round, "{case}: {found:?}");
                if look == 1 {
                    bench.restart();
                }
            }
            truncate(&bench, "a.log");
            if round == 0 {
                bench.discover().await;
            }
        }
        bench.append("a.log", "new\n");
        said.extend(bench.read().await);
        bench.restart();
        said.extend(bench.read().await);
        let all = many_lines("round 0", 0..lines) + &many_lines("round 1", 0..lines) + "new\n";
        let mut expect: Vec<_> = all.lines().collect();
        expect.sort_unstable();
        assert_eq!(texts(&said), expect, "{case}");
    }
}

#[tokio::test]
async fn of_a_log_that_grows_after_it_was_copied_nothing_is_read_twice() {
    for lines in SIZES {
        let mut bench = patient();
        bench.write("a.log", many_lines("old", 0..lines));
        assert_eq!(bench.read().await.len(), lines);
        fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a copy");
        bench.discover().await;
        bench.append("a.log", "grown\n");
        assert_eq!(texts(&bench.read().await), ["grown"]);
        truncate(&bench, "a.log");
        bench.append("a.log", "new\n");
        let found = bench.discover().await;
        assert!(
            found.warnings.iter().any(|it| it.contains("nothing but what was read")),
            "{found:?}"
        );
        assert_eq!(texts(&bench.read().await), ["new"], "{lines}");
        bench.rename("a.log.1", "a.log.2");
        bench.restart();
        assert_eq!(bench.read().await, [""; 0], "{lines}");
        // Nor of what became of the copy.
        let text = fs::read(bench.path("a.log.2")).expect("it is there");
        bench.write("a.log.2.gz", gzip(text));
        bench.remove("a.log.2");
        assert_eq!(bench.read().await, [""; 0], "{lines}");
        bench.append("a.log", "newer\n");
        assert_eq!(texts(&bench.read().await), ["newer"], "{lines}");
    }
}

#[tokio::test]
async fn a_short_copy_that_is_written_or_packed_meanwhile_waits_for_the_truncation() {
    let copies = [("a.log.1", b"on".to_vec()), ("a.log-20260303.gz", gzip("one\ntwo\n"))];
    for (name, copy) in copies {
        let mut bench = patient();
        bench.write("a.log", "one\ntwo\n");
        bench.write(name, &copy);
        age(&bench, name, 2 * 3600);
        let found = bench.discover().await;
        assert_eq!(ids(&found), ["a.log"], "{found:?}");
        assert!(found.again_in.is_some_and(|wait| !wait.is_zero()), "{found:?}");
        assert!(found.warnings[0].contains("once that is truncated"), "{found:?}");
        assert_eq!(texts(&bench.read().await), ["one", "two"]);
        if !name.ends_with("gz") {
            bench.write(name, "one\ntwo\nthree\n");
        }
        truncate(&bench, "a.log");
        let left: &[&str] = if name.ends_with("gz") { &[] } else { &["three"] };
        assert_eq!(texts(&bench.read().await), left);
    }
}

#[tokio::test]
async fn a_short_file_that_is_equal_by_chance_is_read_after_a_while() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "rotate_wait": "200ms" }));
    bench.write("a.log", "backup is done\n");
    bench.write("a.log.1", "backup is done\n");
    let first = bench.read().await;
    let wait = bench.discover().await.again_in.unwrap_or_default();
    assert!(wait <= std::time::Duration::from_millis(200));
    let mut both = Vec::new();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while both.len() < 2 && std::time::Instant::now() < limit {
        both = ids(&bench.discover().await).into_iter().map(str::to_owned).collect();
    }
    assert_eq!(both, ["a.log", "a.log.1"]);
    assert_eq!(first.len() + bench.read().await.len(), 2);
}
