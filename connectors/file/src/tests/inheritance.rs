//! What takes the place of a log that is gone: the same log, or one that begins alike.

use std::fs;

use contract::discovery::Moved;
use contract::source::Until;
use serde_json::json;

use super::copied::texts;
use super::retired::History;
use super::{Bench, dated_lines, gzip, many_lines};

const BEAT: &str = "heartbeat ok\n";

fn beats(count: usize) -> String {
    BEAT.repeat(count)
}

fn folders(bench: &Bench, names: &[&str]) {
    for name in names {
        let path = bench.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    }
}

/// One file is read and removed, another one is made. Returns how many records come of it and what
/// is said.
async fn one_after_another(
    (one, text): (&str, &str),
    (other, again): (&str, &[u8]),
    is_missed: bool,
) -> (usize, Vec<String>) {
    let mut bench = Bench::with("**", json!({}));
    folders(&bench, &[one, other]);
    bench.write(one, text);
    assert_eq!(bench.read().await.len(), text.lines().count());
    bench.remove(one);
    if is_missed {
        bench.discover().await;
    }
    bench.write(other, again);
    bench.restart();
    let said = bench.discover().await;
    let read = bench.read().await.len();
    bench.restart();
    assert_eq!(bench.read().await.len(), 0, "{other} is read once");
    (read, said.warnings)
}

const PAIRS: [(&str, &str); 5] = [
    ("host1/hb.log", "host2/hb.log"),
    ("worker-1.log", "worker-2.log"),
    ("host1/hb.log", "host2/hb.log.1"),
    ("job.log", "other.log"),
    ("job.log", "job.log"),
];

#[tokio::test]
async fn a_log_without_times_that_begins_as_one_that_is_gone_is_a_new_one() {
    for (one, other) in PAIRS {
        for is_missed in [false, true] {
            let again = beats(210);
            let (before, now) = ((one, beats(100)), (other, again.as_bytes()));
            let (read, said) = one_after_another((before.0, &before.1), now, is_missed).await;
            assert_eq!(read, 210, "{one} {other}: {said:?}");
            let is_told = |it: &String| it.contains(other) && it.contains("read as a new one");
            assert!(said.iter().any(is_told), "{one} {other}: {said:?}");
            let is_wrong = |it: &String| it.contains("truncated");
            assert!(!said.iter().any(is_wrong), "{one} {other}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_log_that_began_as_one_that_retired_is_a_new_one() {
    for (one, other) in PAIRS {
        for is_new_process in [false, true] {
            let mut history = History::new(Bench::with("**", json!({})));
            folders(&history.bench, &[one, other]);
            history.bench.write_old(one, beats(100));
            let mut discoverer = history.begin();
            assert_eq!(history.read(&mut discoverer).await.len(), 100);
            history.bench.remove(one);
            assert_eq!(history.retire(&mut discoverer).await.len(), 1);
            history.bench.write(other, beats(210));
            if is_new_process {
                discoverer = history.begin();
            }
            let read = history.read(&mut discoverer).await;
            assert_eq!(read.len(), 210, "{one} {other}, {is_new_process}");
        }
    }
}

#[tokio::test]
async fn lines_with_times_are_those_of_one_log() {
    let (before, all) = (dated_lines("a", 0..100), dated_lines("a", 0..101));
    let names = [("a.log", "a.log"), ("a.log", "b.log"), ("a.log", "a.log.1"), ("x/a.log", "y")];
    for (one, other) in names {
        for is_missed in [false, true] {
            let now = (other, all.as_bytes());
            let (read, said) = one_after_another((one, &before), now, is_missed).await;
            assert_eq!(read, 1, "{one} {other}: {said:?}");
        }
    }
    // Two logs of one name in two folders stay two, whatever they hold.
    let now = ("host2/a.log", all.as_bytes());
    assert_eq!(one_after_another(("host1/a.log", &before), now, true).await.0, 101);
}

#[tokio::test]
async fn what_rotation_and_compression_make_is_the_log_that_it_was() {
    let (before, all) = (beats(100), beats(101));
    let packed = gzip(&all);
    for (other, bytes) in [
        ("a.log.1", all.as_bytes()),
        ("old/a.log.1", all.as_bytes()),
        ("a.log.gz", &packed),
        ("a.log.3.gz", &packed),
        ("old/a.log.1.gz", &packed),
    ] {
        let (read, said) = one_after_another(("a.log", &before), (other, bytes), false).await;
        assert_eq!(read, 1, "{other}: {said:?}");
    }
}

/// Waits until what is made now is made later than a file was changed.
fn wait_for_the_clock(bench: &Bench, name: &str) {
    wait_for_the_clock_since(bench, bench.modified(name));
}

fn wait_for_the_clock_since(bench: &Bench, before: std::time::SystemTime) {
    loop {
        bench.write(".clock", "");
        let now = bench.modified(".clock");
        bench.remove(".clock");
        if now > before {
            return;
        }
    }
}

/// A log is read, and what becomes of it between two looks is read: so many records come of it, and
/// this is said.
async fn check_rotated(becomes: impl Fn(&Bench), records: usize, word: Option<&str>) {
    let mut bench = Bench::with("**/*.log*", json!({}));
    folders(&bench, &["old/a.log"]);
    bench.write("a.log", beats(100));
    assert_eq!(bench.read().await.len(), 100);
    wait_for_the_clock(&bench, "a.log");
    becomes(&bench);
    bench.restart();
    let said = bench.discover().await.warnings;
    assert_eq!(bench.read().await.len(), records, "{said:?}");
    let is_told = said.iter().any(|it| word.is_some_and(|word| it.contains(word)));
    assert!(is_told || word.is_none() && said.is_empty(), "{said:?}");
    bench.restart();
    assert_eq!(bench.read().await.len(), 0);
}

/// Another log takes the place of the one that was read.
fn make_anew(bench: &Bench) {
    bench.remove("a.log");
    bench.write("a.log", beats(110));
    wait_for_the_clock(bench, "a.log");
}

fn copy_and_truncate(bench: &Bench) {
    fs::copy(bench.path("a.log"), bench.path("a.log.1")).expect("it can be copied");
    bench.write("a.log", "");
}

#[tokio::test]
async fn a_log_that_took_the_place_of_another_one_is_not_that_once_it_is_rotated() {
    let word = Some("read as a new one");
    let rotated = |bench: &Bench| {
        make_anew(bench);
        bench.rename("a.log", "a.log.1");
    };
    check_rotated(rotated, 110, word).await;
    let truncated = |bench: &Bench| {
        make_anew(bench);
        copy_and_truncate(bench);
    };
    check_rotated(truncated, 110, word).await;
    let packed = |bench: &Bench| {
        truncated(bench);
        let modified = bench.modified("a.log.1");
        bench.remove("a.log.1");
        bench.write("a.log.1.gz", gzip(beats(110)));
        bench.set_modified("a.log.1.gz", modified);
    };
    check_rotated(packed, 110, word).await;
}

#[tokio::test]
async fn a_log_that_grew_is_what_rotation_made_of_it() {
    let grown = |bench: &Bench| bench.append("a.log", beats(10));
    let truncated = |bench: &Bench| {
        grown(bench);
        copy_and_truncate(bench);
    };
    check_rotated(truncated, 10, None).await;
    let packed = |bench: &Bench| {
        grown(bench);
        let modified = bench.modified("a.log");
        bench.remove("a.log");
        wait_for_the_clock_since(bench, modified);
        bench.write("a.log.1.gz", gzip(beats(110)));
        bench.set_modified("a.log.1.gz", modified);
        bench.write("a.log", "another log\n");
    };
    check_rotated(packed, 11, Some("as rotation and compression give such names")).await;
}

#[tokio::test]
async fn what_may_be_the_older_log_that_comes_back_is_told() {
    let mut history = History::new(Bench::with("*.log*", json!({})));
    history.bench.write_old("a.log", beats(200));
    let mut discoverer = history.begin();
    assert_eq!(history.read(&mut discoverer).await.len(), 200);
    history.bench.remove("a.log");
    assert_eq!(history.retire(&mut discoverer).await.len(), 1);
    history.bench.write("a.log", beats(100));
    assert_eq!(history.read(&mut discoverer).await.len(), 100);
    wait_for_the_clock(&history.bench, "a.log");
    history.bench.remove("a.log");
    history.bench.write("a.log.1", beats(200));
    let mut discoverer = history.begin();
    let said = discoverer.look(Moved::new()).await.expect("files can be looked at").warnings;
    assert!(said.iter().any(|it| it.contains("may be read again")), "{said:?}");
}

/// The number of a file that is gone is soon that of a new one.
#[tokio::test]
async fn of_two_logs_that_are_compressed_each_is_what_it_was() {
    let mut bench = Bench::with("*.log*", json!({}));
    for (name, count) in [("a.log.2", 200), ("a.log.1", 100)] {
        bench.write(name, beats(count));
        wait_for_the_clock(&bench, name);
    }
    assert_eq!(bench.read().await.len(), 300);
    for (name, count) in [("a.log.1", 100), ("a.log.2", 200)] {
        let (modified, packed) = (bench.modified(name), format!("{name}.gz"));
        bench.write(&packed, gzip(beats(count)));
        bench.set_modified(&packed, modified);
        bench.remove(name);
    }
    bench.restart();
    assert_eq!(bench.discover().await.warnings, [""; 0]);
    assert_eq!(bench.read().await, [""; 0]);
}

#[tokio::test]
async fn what_is_restored_with_its_times_is_the_log_that_it_was() {
    for name in ["a.log", "b.log", "elsewhere/a.log"] {
        for is_missed in [false, true] {
            let mut bench = Bench::with("**", json!({}));
            folders(&bench, &[name]);
            bench.write("a.log", beats(100));
            assert_eq!(bench.read().await.len(), 100);
            let modified = bench.modified("a.log");
            bench.remove("a.log");
            if is_missed {
                bench.discover().await;
            }
            bench.write(name, beats(100));
            bench.set_modified(name, modified);
            bench.restart();
            assert_eq!(bench.discover().await.warnings, [""; 0], "{name}");
            bench.append(name, BEAT);
            assert_eq!(bench.read().await.len(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_written_anew_under_another_name_first_goes_on_and_that_is_told() {
    for (all, left) in [(beats(101), 1), (many_lines("other", 0..200), 200)] {
        let mut bench = Bench::with("*.log", json!({}));
        bench.write("a.log", beats(100));
        assert_eq!(bench.read().await.len(), 100);
        // One that waits until the clock of the file system goes on.
        loop {
            bench.write("new", &all);
            let before = bench.modified("new");
            bench.rename("new", "a.log");
            let changed = fs::metadata(bench.path("a.log")).expect("it is there");
            use std::os::unix::fs::MetadataExt;
            let changed = changed.ctime() * 1_000_000_000 + changed.ctime_nsec();
            let since = before.duration_since(std::time::UNIX_EPOCH).expect("it is later");
            if changed > since.as_nanos() as i64 {
                break;
            }
        }
        bench.restart();
        let said = bench.discover().await;
        assert_eq!(bench.read().await.len(), left);
        let is_told = said.warnings.iter().any(|it| it.contains("was written anew"));
        assert_eq!(is_told, left == 1, "{said:?}");
    }
}

#[tokio::test]
async fn of_a_tombstone_all_bytes_count() {
    let before = dated_lines("one", 0..200);
    let mut other = before.clone();
    other.replace_range(3_000..3_003, "###");
    for (again, lines) in [(&before, 0), (&other, 200)] {
        for name in ["a.log", "a.log.2.gz", "b.log"] {
            let mut history = History::new(Bench::new());
            history.bench.write_old("a.log", &before);
            let modified = history.bench.modified("a.log");
            let mut discoverer = history.begin();
            assert_eq!(history.read(&mut discoverer).await.len(), 200);
            history.bench.remove("a.log");
            assert_eq!(history.retire(&mut discoverer).await.len(), 1);
            match name.ends_with("gz") {
                true => history.bench.write(name, gzip(again)),
                false => history.bench.write(name, again),
            }
            history.bench.set_modified(name, modified);
            assert_eq!(history.read(&mut discoverer).await.len(), lines, "{name}");
        }
    }
}

#[tokio::test]
async fn of_two_splits_that_know_a_file_the_one_that_was_read_farthest_has_it() {
    let mut bench = Bench::new();
    let text = many_lines("a", 0..200);
    bench.write("a.log", &text);
    assert_eq!(bench.read().await.len(), 200);
    // As `rsync` does; it is seen before there is enough of it to know what it will be.
    bench.write("a.log.new", &text[..500]);
    let early = bench.read().await.len();
    bench.append("a.log.new", &text[500..]);
    bench.append("a.log.new", "more\n");
    bench.set_modified("a.log.new", std::time::SystemTime::now());
    bench.rename("a.log.new", "a.log");
    bench.set_modified("a.log", std::time::SystemTime::UNIX_EPOCH);
    bench.restart();
    let read = bench.read().await;
    assert!(early < 40, "{early}");
    assert_eq!(texts(&read), ["more"]);
    bench.append("a.log", "and more\n");
    bench.restart();
    assert_eq!(texts(&bench.read().await), ["and more"]);
}

#[tokio::test]
async fn a_log_that_is_restored_bit_by_bit_waits_until_it_is_all_there() {
    let all = dated_lines("a", 0..300);
    let packed = gzip(&all);
    let cases: [(&str, &[u8]); 3] =
        [("a.log", all.as_bytes()), ("a.log.1", all.as_bytes()), ("a.log.2.gz", &packed)];
    for (name, bytes) in cases {
        for retires in [false, true] {
            let bench = Bench::with("*", json!({ "rotate_wait": "1h" }));
            let mut history = History::new(bench);
            history.bench.write_old("a.log", &all);
            history.bench.set_modified("a.log", std::time::SystemTime::UNIX_EPOCH);
            let mut discoverer = history.begin();
            assert_eq!(history.read(&mut discoverer).await.len(), 300);
            history.bench.remove("a.log");
            match retires {
                true => assert_eq!(history.retire(&mut discoverer).await.len(), 1),
                false => drop(history.bench.discover().await),
            }
            let (first, rest) = bytes.split_at(bytes.len() * 3 / 4);
            history.bench.write(name, first);
            assert_eq!(history.read(&mut discoverer).await, [""; 0], "{name}, {retires}");
            history.bench.append(name, rest);
            assert_eq!(history.read(&mut discoverer).await, [""; 0], "{name}, {retires}");
            history.bench.append(name, "");
        }
    }
}

#[tokio::test]
async fn a_recorded_range_is_read_from_whatever_holds_it_and_that_is_its_log_from_then_on() {
    let mut bench = Bench::new();
    bench.write("a.log", beats(100));
    assert_eq!(bench.read().await.len(), 100);
    bench.remove("a.log");
    bench.restart();
    let to = bench.known[0].position.clone().expect("it was read");
    let split = bench.known[0].split.clone();
    let until = || Until::Position(to.clone());
    assert!(bench.source.open(&split, None, until()).await.is_err());
    // As somebody does who is told to bring it back.
    bench.write("a.log", beats(101));
    bench.restart();
    let mut reader = bench.source.open(&split, None, until()).await.expect("it is back");
    let batch = reader.next_batch().await.expect("it can be read").expect("lines");
    assert_eq!(batch.records.num_rows(), 100);
    assert_eq!(bench.read().await, [format!("a.log@{} heartbeat ok", 100 * BEAT.len())]);
    bench.append("a.log", BEAT);
    bench.restart();
    assert_eq!(bench.read().await.len(), 1);
}

/// Another text of the same length with the same time of the last write.
fn rewrite(bench: &Bench, name: &str, text: &str) {
    let modified = bench.modified(name);
    bench.write(name, text);
    bench.set_modified(name, modified);
}

#[tokio::test]
async fn a_file_that_was_rewritten_under_its_time_and_size_is_a_new_split() {
    for end in ["", "half"] {
        let (old, new) = (many_lines("old", 0..100), many_lines("new", 0..100));
        let mut bench = Bench::with("*", json!({ "settle": "1000000h" }));
        bench.write_old("a.log", old + end);
        assert_eq!(bench.read().await.len(), 100);
        rewrite(&bench, "a.log", &(new + end));
        bench.restart();
        assert_eq!(bench.read().await.len(), 100, "{end}");
    }
}

#[tokio::test]
async fn what_a_reader_does_not_find_is_looked_for_though_its_file_looks_the_same() {
    let (old, new) = (many_lines("old", 0..100), many_lines("new", 0..100));
    let mut bench = Bench::with("*", json!({ "settle": "1000000h" }));
    bench.write_old("a.log", old + "half");
    assert_eq!(bench.read().await.len(), 100);
    rewrite(&bench, "a.log", &(new + "half"));
    // What an earlier version noted.
    bench.known[0].split.descriptor.as_object_mut().expect("an object").remove("changed_ns");
    bench.restart();
    let error = bench.try_read().await.expect_err("the text is another one");
    assert!(error.retry(), "{error:?}");
    assert_eq!(bench.read().await.len(), 100);
}
