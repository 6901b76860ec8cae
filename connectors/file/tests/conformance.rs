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

#[tokio::test]
async fn a_run_with_an_end_stops_where_a_file_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("growing");
    fs::write(&path, "one\ntwo\nthree\n").expect("a file can be written");
    let append = async || {
        let mut file = fs::File::options().append(true).open(&path).expect("the file");
        std::io::Write::write_all(&mut file, b"four\nfive\n").expect("it can be written");
    };
    testkit::check_end(&File, &settings(folder.path()), append).await;
}

fn settings(folder: &Path) -> contract::Section {
    testkit::section(&format!(
        "{{ paths: [\"{}/*\"], block_bytes: 4KiB, settle: 0ms }}",
        folder.display()
    ))
}
