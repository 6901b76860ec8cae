//! Names that lead to no file, and files that cannot be read, beside one that can.

use std::ffi::OsString;
use std::fs::create_dir;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use contract::discovery::{Listing, list};
use contract::source::{Rest, Until};
use serde_json::json;

use super::Bench;

/// A condition that takes longer never comes.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Each thing that gives no split: its name, what is said of it, and `!` if records may be there.
fn named(bench: &Bench, discovery: &Listing) -> Vec<String> {
    let root = format!("{}/", bench.id("").trim_end_matches('/'));
    let name = |text: &str| text.replace(&root, "");
    let named = discovery.unreadable.iter().map(|one| {
        let mark = if one.may_hold_records { "!" } else { "" };
        format!("{}{mark} {}", name(&one.name), name(&one.reason))
    });
    named.collect()
}

fn make_pipe(bench: &Bench, name: &str) {
    let made = Command::new("mkfifo").arg(bench.path(name)).status().expect("mkfifo runs");
    assert!(made.success());
}

#[tokio::test]
async fn what_is_no_file_never_keeps_a_file_back() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    symlink(bench.path("loop"), bench.path("loop")).unwrap();
    symlink(bench.path("gone"), bench.path("dangling")).unwrap();
    symlink("/dev/null", bench.path("null")).unwrap();
    make_pipe(&bench, "pipe");
    symlink(bench.path("pipe"), bench.path("to-pipe")).unwrap();
    create_dir(bench.path("folder")).unwrap();
    let _socket = UnixListener::bind(bench.path("socket")).unwrap();
    let discovery = bench.discover().await;
    assert_eq!(
        named(&bench, &discovery),
        [
            "dangling it is a link that leads nowhere",
            "loop it is a link that leads back to itself",
            "null it is a device",
            "pipe it is a named pipe",
            "socket it is a socket",
            "to-pipe it is a named pipe",
        ]
    );
    assert_eq!(bench.read().await, ["a.log@0 one"]);
}

#[tokio::test]
async fn what_is_excluded_is_not_named() {
    let mut bench = Bench::with("*", json!({ "exclude": ["pipe", "loop"] }));
    bench.write("a.log", "one\n");
    symlink(bench.path("loop"), bench.path("loop")).unwrap();
    make_pipe(&bench, "pipe");
    assert_eq!(bench.discover().await.unreadable, []);
}

#[tokio::test]
async fn a_name_that_is_no_text_is_told_and_the_others_are_read() {
    let mut bench = Bench::with("*.log", json!({}));
    bench.write("a.log", "one\n");
    let name = OsString::from_vec(b"caf\xe9.log".to_vec());
    std::fs::write(bench.path("").join(name), "two\n").unwrap();
    let discovery = bench.discover().await;
    let said = named(&bench, &discovery);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("caf\u{fffd}.log! could not read"), "{said:?}");
    assert!(said[0].ends_with("its path is not UTF-8"), "{said:?}");
    assert!(discovery.unreadable[0].hint.as_ref().is_some_and(|hint| hint.contains("rename")));
    assert_eq!(bench.read().await, ["a.log@0 one"]);
}

#[tokio::test]
async fn a_pattern_without_a_match_says_how_a_bracket_is_written() {
    let mut bench = Bench::with("access[1].log", json!({}));
    let warnings = bench.discover().await.warnings;
    assert!(warnings[0].ends_with("a bracket that stands in a name is written `[[]`"));
    bench.write("access[1].log", "one\n");
    assert_eq!(bench.read().await, ["access[1].log@0 one"]);
}

#[tokio::test]
async fn a_reader_rests_only_when_it_has_read_all_that_is_there() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    let before = bench.discover().await.splits.remove(0);
    let mut reader = bench.open(&bench.id("a.log"), Until::Forever).await.unwrap();
    assert_eq!(reader.rest(), Rest::None, "nothing was read yet");
    let batch = reader.next_batch().await.unwrap().expect("a record");
    bench.take(&bench.id("a.log"), batch);
    testkit::wait::for_answer("the reader waits", WAIT_LIMIT, async || {
        tokio::select! {
            biased;
            _ = reader.next_batch() => panic!("there is nothing more"),
            () = tokio::task::yield_now() => {}
        }
        (reader.rest() == Rest::UntilChanged).then_some(())
    })
    .await;
    drop(reader);
    // What is written meanwhile changes the descriptor, and is all that is read then.
    bench.append("a.log", "two\n");
    let after = bench.discover().await.splits.remove(0);
    assert_ne!(before.descriptor, after.descriptor);
    assert_eq!(bench.read().await, ["a.log@4 two"]);
}

#[tokio::test]
async fn an_open_file_has_one_descriptor() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    bench.discover().await;
    let path = bench.path("a.log");
    let descriptors = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| *target == path)
            .count()
    };
    let mut reader = bench.open(&bench.id("a.log"), Until::Forever).await.unwrap();
    reader.next_batch().await.unwrap().expect("a record");
    assert_eq!(descriptors(), 1);
    drop(reader);
    testkit::wait::until("the file is closed", WAIT_LIMIT, || (descriptors() == 0).then_some(()));
}

/// The first bytes of archives that are not read, with their names.
fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let mut tar = vec![0; 1024];
    tar[..5].copy_from_slice(b"a.log");
    tar[257..263].copy_from_slice(b"ustar\0");
    tar[148..156].fill(b' ');
    let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar[512..516].copy_from_slice(b"one\n");
    let packed = super::gzip(&tar);
    vec![
        ("a.zip", b"PK\x03\x04\x14\0\0\0one\n".to_vec()),
        ("b.lz4", b"\x04\x22\x4d\x18\x64\x40\xa7one\n".to_vec()),
        ("c.Z", b"\x1f\x9d\x90one\n".to_vec()),
        ("d.7z", b"7z\xbc\xaf\x27\x1c\0\x04one\n".to_vec()),
        ("e.rar", b"Rar!\x1a\x07\x01\0one\n".to_vec()),
        ("f.lzma", b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xffone\n".to_vec()),
        ("g.tar", tar),
        ("h.tgz", packed),
    ]
}

#[tokio::test]
async fn archives_of_other_kinds_are_named_and_never_read_as_text() {
    let mut bench = Bench::new();
    bench.write("z.log", "one\n");
    for (name, bytes) in foreign() {
        bench.write(name, bytes);
    }
    let said =
        named(&bench, &list(bench.source.as_ref(), None).await.expect("files can be looked at"));
    let names: Vec<_> =
        foreign().into_iter().map(|(name, _)| format!("{name}! could not")).collect();
    assert_eq!(said.len(), names.len(), "{said:?}");
    for (said, name) in said.iter().zip(&names) {
        assert!(said.starts_with(name) && said.contains(", and no log"), "{said}");
    }
    let discovery = bench.discover().await;
    assert!(discovery.unreadable.iter().all(|one| {
        one.may_hold_records && one.hint.as_ref().is_some_and(|hint| hint.contains("unpack it"))
    }));
    assert_eq!(bench.read().await, ["z.log@0 one"]);
    // Unpacked in its place, it is a log.
    bench.write("a.zip", "two\n");
    let said = testkit::wait::for_answer("it is read", WAIT_LIMIT, async || {
        let said = bench.read().await;
        (!said.is_empty()).then_some(said)
    });
    assert_eq!(said.await, ["a.zip@0 two"]);
    // Who says that a file is plain is believed.
    let mut plain = Bench::with("*", json!({ "compression": "none" }));
    plain.write("a", "PK\x03\x04 is how it begins\n");
    assert_eq!(plain.read().await.len(), 1);
}
