//! Bytes that are no clean lines of UTF-8, and lines that have no end.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use contract::source::{SplitReader, Until};
use contract::{ErrorKind, Position};
use serde_json::json;

use super::{Bench, describe, gzip, many_lines};

/// A bench whose lines without end wait.
fn waiting() -> Bench {
    Bench::with("*", json!({ "settle": "1h" }))
}

pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut packed).expect("memory takes it");
    packed
}

pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new(bytes, 0);
    std::io::Read::read_to_end(&mut encoder, &mut packed).expect("memory takes it");
    packed
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Says that a file was last written so long ago.
pub fn age(bench: &Bench, name: &str, seconds: u64) {
    let file = File::options().append(true).open(bench.path(name)).expect("the file was written");
    let when = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(when).expect("our own file");
}

pub async fn follow(bench: &mut Bench) -> Box<dyn SplitReader> {
    bench.discover().await;
    let id = bench.known[0].split.id.clone();
    bench.open(id.as_str(), Until::Forever).await.expect("a file")
}

async fn check(bytes: impl AsRef<[u8]>, expect: &[&str]) {
    let mut bench = Bench::new();
    bench.write("a", bytes);
    assert_eq!(bench.read().await, expect);
    bench.restart();
    assert_eq!(bench.read().await, [""; 0], "nothing is read twice");
}

#[tokio::test]
async fn files_are_read_however_they_are_packed_and_encoded() {
    let expect = &["a@3 one", "a@7 zw\u{f6}lf"];
    let text = utf16("\u{feff}one\r\nzw\u{f6}lf");
    check(&text, &["a@3 one", "a@8 zw\u{f6}lf"]).await;
    let text = utf16("\u{feff}one\nzw\u{f6}lf\n");
    for bytes in [gzip(&text), bzip2(&text), xz(&text)] {
        check(&bytes, expect).await;
    }
    check("\u{feff}one\nzw\u{f6}lf", expect).await;
    let parts = [xz(b"one\n"), xz(b"two")].concat();
    check(&parts, &["a@0 one", "a@4 two"]).await;
    let parts = [bzip2(b"one\n"), vec![0; 100], bzip2(b"two")].concat();
    check(&parts, &["a@0 one", "a@4 two"]).await;
}

#[tokio::test]
async fn a_growing_file_of_utf_16_is_read_on() {
    let mut bench = waiting();
    let text = utf16("one\ntwo");
    bench.write("a", &text[..text.len() - 1]);
    let mut reader = follow(&mut bench).await;
    let batch = reader.next_batch().await.expect("a file").expect("a line");
    assert_eq!(describe(&batch), ["0 one"]);
    bench.append("a", [&text[text.len() - 1..], &utf16("\n\u{1f600}\n")].concat());
    let batch = reader.next_batch().await.expect("a file").expect("lines");
    assert_eq!(describe(&batch), ["4 two", "8 \u{1f600}"]);
}

#[tokio::test]
async fn half_a_character_at_the_end_of_utf_16_is_told_and_waits() {
    let mut bench = Bench::new();
    let text = utf16("one\ntwo");
    bench.write("a", [text.as_slice(), b"\n"].concat());
    age(&bench, "a", 3600);
    let id = bench.id("a");
    bench.discover().await;
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    let mut said = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        said.extend(bench.take(&id, batch));
    }
    assert_eq!(said, ["a@0 one", "a@4 two"]);
    let held = reader.lag().held.expect("a byte stands in no record");
    assert_eq!((held.bytes, held.reason), (1, "the file ends inside a character of UTF-16"));
    bench.restart();
    assert_eq!(bench.read().await, [""; 0]);
    // Its other half comes, and another line.
    bench.append("a", [b"\0".as_slice(), &utf16("three\n")].concat());
    assert_eq!(bench.read().await, ["a@8 three"]);
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    assert!(reader.next_batch().await.expect("a file").is_none());
    assert_eq!(reader.lag().held, None);
}

#[tokio::test]
async fn what_was_read_of_utf_16_is_not_decoded_again_when_it_grows() {
    let mut bench = waiting();
    let line = |n: usize| format!("line {n} \u{1f600} zw\u{f6}lf\n");
    let first: String = (0..200).map(line).collect();
    let unit = 0xd800_u16.to_le_bytes();
    // A unit that is no character, and NULs, count as they stand.
    let bytes =
        [utf16("\u{feff}"), utf16(&first), unit.to_vec(), vec![0; 24], utf16("x\n")].concat();
    bench.write("a", &bytes);
    let mut reader = follow(&mut bench).await;
    let batch = reader.next_batch().await.expect("a file").expect("lines");
    assert_eq!(batch.records.num_rows(), 201);
    // Somebody else's text stands at the beginning now: nobody looks there.
    let changed = [utf16("\u{feff}"), utf16(&first.replace("line 1", "LINE 1"))].concat();
    let file = File::options().write(true).open(bench.path("a")).expect("it was written");
    std::os::unix::fs::FileExt::write_all_at(&file, &changed[..4000], 0).expect("written");
    bench.append("a", utf16(&line(200)));
    let batch = reader.next_batch().await.expect("a file").expect("a line");
    let at = 3 + first.len() + 1 + 12 + 2;
    assert_eq!(describe(&batch), [format!("{at} line 200 \u{1f600} zw\u{f6}lf")]);
    // What stands right before is looked at: another file under the same number is no growth.
    let file = File::options().write(true).open(bench.path("a")).expect("it was written");
    let length = file.metadata().expect("it is there").len();
    std::os::unix::fs::FileExt::write_all_at(&file, &utf16("Z"), length - 4).expect("written");
    bench.append("a", utf16("more\n"));
    assert!(reader.next_batch().await.expect("a file").is_none(), "it ends here");
}

#[tokio::test]
async fn bytes_of_blank_lines_that_fill_blocks_are_counted() {
    for blank in ["\n".repeat(30_000), " ".repeat(30_000) + "\n"] {
        let mut bench = Bench::with("*", json!({ "block_bytes": "4KiB" }));
        let text = format!("one\n{blank}two\n");
        bench.write("a", &text);
        bench.discover().await;
        let mut reader = bench.open(&bench.id("a"), Until::End).await.expect("a file");
        let mut bytes = 0;
        while let Some(batch) = reader.next_batch().await.expect("a file") {
            bytes += batch.bytes;
        }
        assert_eq!(bytes, text.len() as u64);
    }
}

#[tokio::test]
async fn nuls_are_left_out_and_counted() {
    let mut bench = Bench::new();
    let hole = 64 << 20;
    bench.write("a", "half");
    let file = File::options().write(true).open(bench.path("a")).expect("it was written");
    file.set_len(4 + hole).expect("a hole");
    bench.append("a", "one\n\0\0two\n");
    bench.discover().await;
    let id = bench.id("a");
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    let (mut said, mut skipped, mut bytes) = (Vec::new(), 0, 0);
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        skipped += batch.skipped;
        bytes += batch.bytes;
        said.extend(bench.take(&id, batch));
    }
    let at = 4 + hole;
    assert_eq!(said, ["a@0 half", &format!("a@{at} one"), &format!("a@{} two", at + 6)]);
    assert_eq!((skipped, bytes), (hole + 2, at + 10));
    bench.append("a", "three\n");
    bench.restart();
    assert_eq!(bench.read().await, [format!("a@{} three", at + 10)]);
    // The range is the same when it is read again.
    let until = Until::Position(Position::new((at + 1).cast_signed()));
    let split = bench.known[0].split.clone();
    let mut reader = bench.source.open(&split, None, until).await.expect("a file");
    let (mut said, mut skipped) = (Vec::new(), 0);
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        skipped += batch.skipped;
        said.extend(describe(&batch));
    }
    assert_eq!((said, skipped), (vec!["0 half".to_owned(), format!("{at} one")], hole));
}

#[tokio::test]
async fn room_that_was_taken_in_advance_waits_to_be_written() {
    let mut bench = Bench::new();
    bench.write("a", [b"one\ntw".as_slice(), &[0; 100]].concat());
    age(&bench, "a", 3600);
    assert_eq!(bench.read().await, ["a@0 one"]);
    bench.write("a", [b"one\ntwo\nthree\n".as_slice(), &[0; 92]].concat());
    assert_eq!(bench.read().await, ["a@4 two", "a@8 three"]);
}

#[tokio::test]
async fn what_no_member_owns_is_one_dead_letter() {
    let packed = gzip("one\ntwo");
    let refusal = format!(
        "a@7! what follows byte {} of the compressed form belongs to no gzip member; reading \
         goes on at the next one",
        packed.len()
    );
    let mut bench = Bench::new();
    bench.write("a", [packed.as_slice(), b"gar\nbage"].concat());
    assert_eq!(bench.read().await, ["a@0 one", "a@4 two", &refusal]);
    let known = bench.known[0].clone();
    bench.append("a", "more of it\n");
    bench.restart();
    assert_eq!(bench.read().await, [""; 0], "it belongs to the same dead letter");
    let until = Until::Position(known.position.expect("it was read"));
    let mut reader = bench.source.open(&known.split, None, until).await.expect("a file");
    let mut said = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("a file") {
        for reject in &batch.rejects {
            assert_eq!(reject.original.as_deref(), Some(b"gar\nbage".as_slice()));
        }
        said.extend(describe(&batch).into_iter().map(|text| format!("a@{text}")));
    }
    assert_eq!(said, ["a@0 one", "a@4 two", &refusal]);
    check([packed.as_slice(), &[0; 512]].concat(), &["a@0 one", "a@4 two"]).await;
}

#[tokio::test]
async fn a_window_beyond_the_limit_names_the_setting() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(25).expect("a window");
    std::io::Write::write_all(&mut encoder, many_lines("a", 0..1_000_000).as_bytes())
        .expect("memory takes it");
    let packed = encoder.finish().expect("memory takes it");
    let mut bench = Bench::with("*", json!({ "zstd_window_max": "16MiB" }));
    bench.write("a", packed);
    let error = bench.try_read().await.expect_err("the window is larger");
    let chain = format!("{error:?} {:?}", error.hint_text());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false));
    for word in ["window", "zstd_window_max"] {
        assert!(chain.contains(word), "{chain}");
    }
}

#[tokio::test]
async fn a_line_without_end_waits_for_the_next_run() {
    let mut bench = waiting();
    bench.write("a", "one\ntw");
    assert_eq!(bench.read().await, ["a@0 one"]);
    bench.restart();
    assert_eq!(bench.read().await, [""; 0]);
    bench.append("a", "o\nthree\n");
    assert_eq!(bench.read().await, ["a@4 two", "a@8 three"]);
}

#[tokio::test]
async fn a_line_without_end_counts_where_it_cannot_grow() {
    let mut bench = Bench::with("*", json!({ "settle": "1m" }));
    bench.write("old", "one\ntwo");
    age(&bench, "old", 3600);
    bench.write("packed", gzip("one\ntwo"));
    age(&bench, "packed", 3600);
    bench.write("a.log", "new\n");
    bench.write("a.log.1", "one\ntwo");
    bench.write("a.log.2.gz", gzip("three\nfour"));
    bench.write("live", "one\ntwo");
    bench.write("live.gz", gzip("one\ntwo, too"));
    let said = bench.read().await;
    let read = |name: &str| said.iter().filter(|text| text.starts_with(name)).count();
    let names = ["old@", "packed@", "a.log.1@", "a.log.2.gz@", "live@", "live.gz@"];
    assert_eq!(names.map(read), [2, 2, 2, 2, 1, 1]);
}

#[tokio::test]
async fn a_compressed_file_that_grows_by_members_is_not_cut_where_it_ends() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packs: [Pack; 4] = [|text| gzip(text), |text| super::zstd(text), bzip2, xz];
    for (number, pack) in packs.into_iter().enumerate() {
        let mut bench = waiting();
        bench.write("a", pack(b"one\ntwo and ha"));
        assert_eq!(bench.read().await, ["a@0 one"], "{number}");
        bench.append("a", pack(b"lf\nthree"));
        let mut reader = follow(&mut bench).await;
        let batch = reader.next_batch().await.expect("a file").expect("a line");
        assert_eq!(describe(&batch), ["4 two and half"], "{number}");
        let pending = tokio::time::timeout(Duration::from_millis(50), reader.next_batch()).await;
        assert!(pending.is_err(), "{number}: three may go on");
        let held = reader.lag().held.expect("a line without end");
        assert_eq!(held.reason, "its last line has no end yet", "{number}");
        drop(reader);
        bench.restart();
        age(&bench, "a", 2 * 3600);
        assert_eq!(bench.read().await, ["a@4 two and half", "a@17 three"], "{number}");
    }
}

#[tokio::test]
async fn a_line_that_settles_while_it_is_followed_ends_an_epoch() {
    let mut bench = waiting();
    bench.write("a", "one\ntwo");
    age(&bench, "a", 2 * 3600);
    let mut reader = follow(&mut bench).await;
    let first = reader.next_batch().await.expect("a file").expect("a line");
    assert_eq!(describe(&first), ["0 one"]);
    let settled = reader.next_batch().await.expect("a file").expect("a line");
    assert_eq!(describe(&settled), ["4 two"]);
    bench.append("a", " and more\nthree\n");
    let pending = tokio::time::timeout(Duration::from_millis(50), reader.next_batch()).await;
    assert!(pending.is_err(), "what is committed must end where the line was cut");
    reader.acknowledge(&first.next).await.expect("noted");
    let pending = tokio::time::timeout(Duration::from_millis(50), reader.next_batch()).await;
    assert!(pending.is_err(), "the line is not committed");
    reader.acknowledge(&settled.next).await.expect("noted");
    let rest = reader.next_batch().await.expect("a file").expect("lines");
    let refusal = "7! continuation of a line that was already read";
    assert_eq!(describe(&rest), [refusal, "17 three"]);
}

#[tokio::test]
async fn a_small_file_that_is_being_compressed_is_one_file() {
    let packed = gzip("one\ntwo\n");
    let states = [&packed[..0], &packed[..12], &packed[..packed.len() - 1], &packed];
    for state in states {
        let mut bench = Bench::new();
        bench.write("a.log.1", "one\ntwo\n");
        bench.write("a.log.1.gz", state);
        assert_eq!(bench.read().await, ["a.log.1@0 one", "a.log.1@4 two"], "{}", state.len());
        bench.write("a.log.1.gz", &packed);
        bench.restart();
        assert_eq!(bench.read().await, [""; 0], "{}", state.len());
        bench.remove("a.log.1");
        bench.restart();
        assert_eq!(bench.read().await, [""; 0], "{}", state.len());
    }
}

#[tokio::test]
async fn a_small_file_that_is_renamed_while_it_is_compressed_is_one_file() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    bench.write("a.log-20260101.gz", gzip("one\n"));
    let modified = fs::metadata(bench.path("a.log")).and_then(|metadata| metadata.modified());
    let packed = File::options().append(true).open(bench.path("a.log-20260101.gz"));
    let packed = packed.expect("it was written");
    packed.set_modified(modified.expect("a time")).expect("our own file");
    assert_eq!(bench.read().await, ["a.log@0 one"]);
}

#[tokio::test]
async fn equal_small_files_of_other_days_are_two() {
    let mut bench = Bench::new();
    bench.write("a.log", "backup is done\n");
    bench.write("a.log.1.gz", gzip("backup is done\n"));
    age(&bench, "a.log.1.gz", 24 * 3600);
    bench.write("a.log.2", "backup is done\n");
    assert_eq!(bench.read().await.len(), 3);
}

#[tokio::test]
async fn a_line_that_waits_in_a_compressed_file_is_read_after_a_restart() {
    let mut bench = Bench::with("*", json!({ "settle": "1h", "rotate_wait": "1h" }));
    bench.write("a", gzip("one\ntwo"));
    let id = bench.id("a");
    let mut reader = follow(&mut bench).await;
    let batch = reader.next_batch().await.expect("a file").expect("a line");
    assert_eq!(bench.take(&id, batch), ["a@0 one"]);
    drop(reader);
    bench.restart();
    assert_eq!(bench.read().await, [""; 0]);
    age(&bench, "a", 2 * 3600);
    assert_eq!(bench.read().await, ["a@4 two"]);
}
