//! NULs with text behind them in files that are still written: what comes late must not be lost.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use contract::source::{SplitReader, Until};
use serde_json::json;

use super::bytes::{age, follow};
use super::{Bench, describe, many_lines};

/// A bench whose holes wait.
fn waiting() -> Bench {
    Bench::with("*", json!({ "settle": "1h" }))
}

/// Writes somewhere in a file.
fn fill(bench: &Bench, name: &str, at: usize, text: &str) {
    let file = OpenOptions::new().write(true).open(bench.path(name)).expect("it was written");
    file.write_all_at(text.as_bytes(), at as u64).expect("a file can be written");
}

async fn next(reader: &mut Box<dyn SplitReader>) -> Vec<String> {
    let batch = reader.next_batch().await.expect("a file");
    batch.map_or_else(|| vec!["end".to_owned()], |batch| describe(&batch))
}

/// Nothing comes but positions that say that NULs wait.
async fn is_pending(reader: &mut Box<dyn SplitReader>) {
    let records = async { while next(reader).await == [""; 0] {} };
    let pending = tokio::time::timeout(Duration::from_millis(50), records).await;
    assert!(pending.is_err(), "something came");
}

/// What is written late ends where a page does.
const PAGE: usize = 4096;

/// NULs from a place to the end of its page.
fn nuls_from(place: usize) -> String {
    "\0".repeat((place + 1).next_multiple_of(PAGE) - place)
}

/// Text whose middle is written late: what stands before it, it, and what stands behind it.
fn histories() -> Vec<[String; 3]> {
    let text = |before: &str, late: [&str; 2], behind: &str| {
        let written = before.len() + late[0].len() + late[1].len();
        let filling = "x".repeat((written + 1).next_multiple_of(PAGE) - written);
        [before.to_owned(), late[0].to_owned() + &filling + late[1], behind.to_owned()]
    };
    let many = |from: usize| many_lines("a", from..from + 400);
    vec![
        text("one\n", ["two\n", "\n"], "three\n"),
        text("one\n", ["", "\n"], "three\n"),
        text("", ["one\n", "\n"], "two\n"),
        text("one\nhalf", [" of the first\ntwo\n", "\nand "], "three\n"),
        text(&many(0), [&many(400), "\n"], &many(800)),
        text("", [&many(0), "\n"], &many(400)),
        text("", [&many(0), "\n"], "end\n"),
        text("x", [&many(0), "\n"], &many(400)),
    ]
}

fn lines_of(name: &str, text: &str) -> Vec<String> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let begin = at;
        at += line.len();
        format!("{name}{begin} {}", line.trim_end())
    });
    lines.collect()
}

#[tokio::test]
async fn what_is_written_late_is_read_once_by_runs_with_an_end() {
    for [before, late, behind] in histories() {
        let mut bench = waiting();
        bench.write("a", [before.as_bytes(), &vec![0; late.len()], behind.as_bytes()].concat());
        let mut said = bench.read().await;
        let known = before.rfind('\n').map_or("", |end| &before[..=end]);
        assert_eq!(said, lines_of("a@", known));
        bench.restart();
        bench.append("a", "more\n");
        assert_eq!(bench.read().await, [""; 0]);
        // The last pages first.
        let half = ((before.len() + late.len() / 2) / PAGE * PAGE).saturating_sub(before.len());
        for (at, text) in [(half, &late[half..]), (0, &late[..half])] {
            bench.restart();
            fill(&bench, "a", before.len() + at, text);
            said.extend(bench.read().await);
        }
        assert_eq!(said, lines_of("a@", &(before + &late + &behind + "more\n")));
    }
}

#[tokio::test]
async fn what_is_written_late_is_read_once_while_it_is_followed() {
    for [before, late, behind] in histories() {
        let mut bench = waiting();
        bench.write("a", [before.as_bytes(), &vec![0; late.len()], behind.as_bytes()].concat());
        let mut reader = follow(&mut bench).await;
        let known = before.rfind('\n').map_or("", |end| &before[..=end]);
        let mut said = match known {
            "" => Vec::new(),
            _ => next(&mut reader).await,
        };
        assert_eq!(said, lines_of("", known));
        bench.append("a", "more\n");
        is_pending(&mut reader).await;
        let id = bench.known[0].split.id.clone();
        fill(&bench, "a", before.len(), &late);
        let all = lines_of("", &(before + &late + &behind + "more\n"));
        while said.len() < all.len() {
            said.extend(next(&mut reader).await);
        }
        assert_eq!(said, all);
        let splits = bench.discover().await.splits;
        assert_eq!((splits.len(), &splits[0].id), (1, &id), "it is the same file");
    }
}

#[tokio::test]
async fn what_a_truncation_left_is_passed_at_once_and_text_over_it_is_told() {
    let mut bench = waiting();
    bench.write("a", [&[0; 5000], b"one\ntwo\n".as_slice()].concat());
    assert_eq!(bench.read().await, ["a@5000 one", "a@5004 two"]);
    bench.restart();
    bench.append("a", "three\n");
    assert_eq!(bench.read().await, ["a@5008 three"]);
    fill(&bench, "a", 0, "late\n");
    let found = bench.discover().await;
    assert!(found.warnings.iter().any(|said| said.contains("not read")), "{:?}", found.warnings);
    assert_eq!(found.splits.len(), 1, "it is the same file");
    assert_eq!(bench.read().await, [""; 0]);
}

#[tokio::test]
async fn a_hole_in_a_quiet_file_is_passed() {
    let mut bench = waiting();
    bench.write("a", "one\nhalf".to_owned() + &nuls_from(8) + "two\n");
    let mut reader = follow(&mut bench).await;
    assert_eq!(next(&mut reader).await, ["0 one"]);
    is_pending(&mut reader).await;
    age(&bench, "a", 2 * 3600);
    let batch = reader.next_batch().await.expect("a file").expect("lines");
    assert_eq!((describe(&batch), batch.skipped), (vec!["4 half".into(), "4096 two".into()], 4088));
}

#[tokio::test]
async fn a_hole_in_a_file_that_is_written_without_pause_is_passed_after_a_while() {
    let mut bench = waiting();
    bench.write("a", [&nuls_from(0), "one\n", &nuls_from(4), "two\n"].concat());
    assert_eq!(bench.read().await, [""; 0]);
    bench.append("a", nuls_from(4) + "three\n");
    bench.restart();
    assert_eq!(bench.read().await, [""; 0]);
    long_ago(&mut bench);
    assert_eq!(bench.read().await, ["a@4096 one", "a@8192 two"], "the last one is new");
    bench.restart();
    assert_eq!(bench.read().await, [""; 0]);
    long_ago(&mut bench);
    // It is being filled: those that are left are none that stood for so long.
    fill(&bench, "a", 8196, "late\n");
    assert_eq!(bench.read().await, ["a@8196 late"]);
    long_ago(&mut bench);
    assert_eq!(bench.read().await, ["a@12288 three"]);
}

#[tokio::test]
async fn many_holes_that_stood_for_long_are_passed_together() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "block_bytes": "4KiB" }));
    let mut text = "begin\n".to_owned();
    let mut part = |number: usize| {
        let part = nuls_from(text.len()) + &many_lines("a", number..number + 100);
        text.push_str(&part);
        part
    };
    bench.write("a", "begin\n".to_owned() + &(0..10).map(&mut part).collect::<String>());
    assert_eq!(bench.read().await, ["a@0 begin"]);
    bench.append("a", part(10));
    long_ago(&mut bench);
    bench.restart();
    assert_eq!(bench.read().await.len(), 1000);
    long_ago(&mut bench);
    assert_eq!(bench.read().await.len(), 100);
}

/// Says of the hole that waits that it was seen first long ago.
fn long_ago(bench: &mut Bench) {
    let position = bench.known[0].position.clone().expect("the hole was noted");
    let mut note: serde_json::Value =
        serde_json::from_str(position.note.as_deref().expect("a note")).expect("ours");
    note["hole"]["seen_ms"] = json!(0);
    bench.known[0].position =
        Some(contract::Position::new(position.at).with_note(note.to_string()));
}

#[tokio::test]
async fn a_hole_is_passed_once_its_file_is_rotated_or_deleted() {
    for removed in [false, true] {
        let mut bench = waiting();
        bench.write("a.log", "one\n".to_owned() + &nuls_from(4) + "two\n");
        let mut reader = follow(&mut bench).await;
        assert_eq!(next(&mut reader).await, ["0 one"]);
        is_pending(&mut reader).await;
        match removed {
            true => bench.remove("a.log"),
            false => bench.rename("a.log", "a.log.1"),
        }
        bench.write("a.log", "new\n");
        assert_eq!(next(&mut reader).await, ["4096 two"]);
        assert_eq!(next(&mut reader).await, ["end"]);
        if !removed {
            let splits = bench.discover().await.splits;
            assert_eq!(splits[0].descriptor["path"], json!(bench.path("a.log.1")));
        }
    }
    let mut bench = waiting();
    bench.write("a.log", "new\n");
    bench.write("a.log.1", "one\n".to_owned() + &nuls_from(4) + "two\n");
    let said = ["a.log@0 new", "a.log.1@0 one", "a.log.1@4096 two"];
    assert_eq!(bench.read().await, said);
}

#[tokio::test]
async fn a_file_that_is_copied_and_truncated_before_a_hole_settled_is_read_once() {
    for begin in ["half", "", "one\nhalf"] {
        let mut bench = waiting();
        bench.write("a.log", begin.to_owned() + &nuls_from(begin.len()) + "two\n");
        let mut reader = follow(&mut bench).await;
        if begin.starts_with("one") {
            let id = bench.id("a.log");
            let batch = reader.next_batch().await.expect("a file").expect("a line");
            assert_eq!(bench.take(&id, batch), ["a.log@0 one"]);
        }
        is_pending(&mut reader).await;
        std::fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("a file can be copied");
        let longer = "x".repeat(2 * PAGE) + "new\n";
        bench.write("a.log", &longer);
        let mut said = Vec::new();
        // A leading hole looks as if it were filled: then the file stays what it was.
        match begin {
            "" => said.extend(next(&mut reader).await),
            _ => assert_eq!(next(&mut reader).await, ["end"]),
        }
        drop(reader);
        if begin.is_empty() {
            let at = contract::Position::new(longer.len() as i64);
            bench.known[0].position = Some(at);
        }
        said.extend(bench.read().await);
        let count = |what: &str| said.iter().filter(|text| text.ends_with(what)).count();
        let is_half = usize::from(!begin.is_empty());
        assert_eq!([count("new"), count("half"), count("two")], [1, is_half, 1], "{said:?}");
    }
}

#[tokio::test]
async fn lines_that_end_with_a_nul_are_read_at_once() {
    let mut bench = waiting();
    bench.write("a", b"one\n\0two\n\0three\n\0");
    assert_eq!(bench.read().await, ["a@0 one", "a@5 two", "a@10 three"]);
}

#[tokio::test]
async fn a_file_that_was_known_with_its_holes_is_known_again() {
    let mut bench = Bench::new();
    bench.write("a", "one\n".to_owned() + &"\0".repeat(100) + &many_lines("a", 0..100));
    let first = bench.read().await;
    assert_eq!(first.len(), 101);
    // As it was remembered once: with the NULs.
    let bytes = std::fs::read(bench.path("a")).expect("it was written");
    let head = crate::identity::Fingerprint::of(&bytes[..1024]);
    bench.known[0].split.descriptor["head"] = serde_json::to_value(head).expect("JSON");
    bench.append("a", "more\n");
    bench.restart();
    assert_eq!(bench.read().await.len(), 1);
}

#[tokio::test]
async fn the_range_before_a_hole_is_the_same_when_it_is_read_again() {
    let mut bench = waiting();
    bench.write("a", "one\nhalf".to_owned() + &nuls_from(8) + "two\n");
    assert_eq!(bench.read().await, ["a@0 one"]);
    let known = bench.known[0].clone();
    fill(&bench, "a", 8, " of it\n");
    let until = |from: Option<contract::Position>| {
        let until = Until::Position(known.position.clone().expect("it was read"));
        let (source, split) = (bench.source.clone(), known.split.clone());
        async move { source.open(&split, from.as_ref(), until).await.expect("a file") }
    };
    let mut reader = until(None).await;
    assert_eq!(next(&mut reader).await, ["0 one"]);
    assert_eq!(next(&mut reader).await, ["end"]);
    let mut reader = until(known.position.clone()).await;
    assert_eq!(next(&mut reader).await, ["end"]);
}
