//! What every source must hold, proved on files of each kind.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use connector_file::File;

#[tokio::test]
async fn a_file_gives_every_record_from_every_position() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = String::new();
    for number in 0..2000 {
        writeln!(text, "line {number} of a file with several blocks").expect("memory takes it");
    }
    let text = text + "no end";
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).expect("a file can be written");
    };
    write("plain", text.as_bytes());
    write("short", b"one\r\n\r\ntwo\xff\n");
    write("zstd", &zstd::encode_all(text.to_uppercase().as_bytes(), 1).expect("compressed"));
    testkit::check_source(&File, &settings(folder.path())).await;
}

fn settings(folder: &Path) -> contract::Section {
    testkit::section(&format!(
        "{{ paths: [\"{}/*\"], block_bytes: 4KiB, settle: 0ms }}",
        folder.display()
    ))
}
