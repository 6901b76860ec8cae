//! Files that grow between two blocks, behind an end that a decoder has met already.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::source::Until;
use formats::compression::Limits;

use super::bytes::{bzip2, xz};
use super::{Bench, describe, gzip, many_lines, zstd};
use crate::config::{Compression, Patterns};
use crate::cursor::{Cursor, Reading, Then};
use crate::discover::{Finder, Whereabouts};
use crate::identity::{Note, Signature};
use crate::stream::{Opened, Packing};

const HOUR: Duration = Duration::from_secs(3_600);
const BLOCK_BYTES: usize = 64 << 10;
/// In so many steps a cursor reads whatever is written here.
const STEPS_MAX: usize = 20;

/// A cursor over file `a`, which takes the next step when the test does.
async fn cursor(bench: &mut Bench) -> Cursor {
    let split = bench.discover().await.splits.remove(0);
    let packing = Packing { compression: Compression::Auto, limits: Limits::default() };
    let patterns = Patterns::default();
    let finder = Arc::new(Mutex::new(Finder::new(patterns, packing, HOUR)));
    let reading = Reading {
        from: None,
        until: Until::Forever,
        line_bytes_max: BLOCK_BYTES,
        join: None,
        block_bytes: BLOCK_BYTES,
        fetch_bytes: 64 << 20,
        rotate_wait: HOUR,
        settle: HOUR,
        side_by_side: Arc::default(),
        whereabouts: Whereabouts { finder, split },
        points: Arc::default(),
    };
    let opened = Opened::new(&bench.path("a"), packing).expect("it can be read").expect("a file");
    Cursor::new(bench.path("a"), opened, reading).expect("it can be read")
}

/// Writes the rest once a block was read behind which there is more.
async fn check(first: Vec<u8>, rest: &[u8], expect: &[impl AsRef<str>]) {
    let mut bench = Bench::new();
    bench.write("a", first);
    let mut cursor = cursor(&mut bench).await;
    let expect: Vec<_> = expect.iter().map(AsRef::as_ref).collect();
    let mut said = Vec::new();
    for number in 0..STEPS_MAX {
        let step = cursor.step().expect("it can be read");
        if number == 0 {
            assert_eq!(step.then, Then::Read, "else there is nothing to see");
            bench.append("a", rest);
        }
        let Some(batch) = step.batch else { continue };
        said.extend(describe(&batch));
        let note = Note::of(&batch.next).expect("a note").expect("a note");
        let now = Signature::of(&bench.path("a").metadata().expect("a file"));
        let is_whole = note.whole == Some(now);
        assert!(!is_whole || said == expect, "what was not read is not taken for read");
    }
    assert_eq!(said, expect);
}

/// A member that was not finished, as far as its text was flushed.
fn unfinished(text: &str) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut writer, text.as_bytes()).expect("memory takes it");
    std::io::Write::flush(&mut writer).expect("memory takes it");
    writer.get_ref().clone()
}

#[tokio::test]
async fn a_gzip_member_that_is_finished_meanwhile_is_read() {
    let long = "a line that is long enough to believe in";
    let mut first = [unfinished("one\nthr"), gzip(format!("{long}\n"))].concat();
    let rest = first.split_off(first.len() - 15);
    let torn = "4! the gzip member that begins at byte 0 of the compressed form was not finished \
                before the next one begins";
    check(first, &rest, &["0 one", torn, &format!("7 {long}")]).await;
}

#[tokio::test]
async fn a_member_that_is_written_meanwhile_is_read() {
    let first = [unfinished("one\n"), gzip("two\n")].concat();
    check(first, &gzip("three\n"), &["0 one", "4 two", "8 three"]).await;
    // More text than a block has room for, and all compressed bytes of it are read with the first.
    let text = many_lines("a", 0..9_000);
    let mut at = 0;
    let mut expect = Vec::new();
    for line in text.lines().chain(["more"]) {
        expect.push(format!("{at} {line}"));
        at += line.len() + 1;
    }
    check(gzip(&text), &gzip("more\n"), &expect).await;
    check(zstd(&text), &zstd("more\n"), &expect).await;
    check(bzip2(text.as_bytes()), &bzip2(b"more\n"), &expect).await;
    check(xz(text.as_bytes()), &xz(b"more\n"), &expect).await;
}
