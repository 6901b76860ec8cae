//! The program killed with SIGKILL: a tenth of what `cargo xtask crash` does, on every run.

use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::kill::KillProof;
use testkit::program::Killed;

use crate::Desk;

const ROWS: u64 = 50_000;
const EPOCH_BYTES: u64 = 2 << 20;
const MOMENTS: u32 = 10;
/// A start that waits for nobody takes no longer, with all that it reads and writes.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_logmill"))
}

#[test]
fn killed_at_every_point_the_lake_holds_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let proof = KillProof::new(program(), folder.path(), ROWS / 10, EPOCH_BYTES / 10);
    let expected = proof.undisturbed();
    for point in &proof.points() {
        let (killed, found) = proof.kill_at(point, 1);
        assert_eq!(killed, Killed::Yes, "{point} is passed");
        assert_eq!(found, expected, "killed at {point}");
    }
}

#[test]
fn killed_while_it_recovers_the_lake_holds_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let proof = KillProof::new(program(), folder.path(), ROWS / 10, EPOCH_BYTES / 10);
    let expected = proof.undisturbed();
    for point in &proof.recovery_points() {
        let (killed, found) = proof.kill_in_recovery(point);
        assert_eq!(killed, Killed::Yes, "{point} is passed");
        assert_eq!(found, expected, "killed at {point}");
    }
}

#[test]
fn killed_at_ten_moments_the_lake_holds_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let proof = KillProof::new(program(), folder.path(), ROWS, EPOCH_BYTES);
    let expected = proof.undisturbed();
    let whole = proof.measure();
    // Moments that add up to more than a whole run, so that the last ones come near its end.
    let pauses: Vec<Duration> =
        (1..=MOMENTS).map(|moment| whole * moment / (MOMENTS * 2)).collect();
    let (struck, found) = proof.kill_after(&pauses);
    assert!(struck > 0, "some kills struck");
    assert_eq!(found, expected);
}

#[test]
fn a_second_process_changes_nothing_and_the_next_takes_over_at_once() {
    let desk = Desk::new();
    desk.write("access.log", "first line\nsecond line\n");
    desk.write(
        "follow.yaml",
        "name: follow\nepoch: { interval: 100ms }\nsources:\n  access: { type: file, paths: \
         [access.log] }\nsinks:\n  lake: { type: lake, input: access, table: lines }\n",
    );
    let mut first =
        desk.command(&["run", "follow.yaml", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
    let count =
        || desk.run(&["query", "SELECT count(*) AS n FROM lines", "--format", "json"]).stdout;
    let limit = Instant::now() + Duration::from_secs(60);
    while !count().contains("\"n\":2") {
        assert!(Instant::now() < limit, "the first process delivers");
    }
    let before = std::fs::read_dir(desk.path().join("logmill-data/checkpoints/follow/main"))
        .unwrap()
        .count();
    let second = desk.run(&["run", "follow.yaml", "--until-end"]);
    assert_eq!(second.code, 4, "{}", second.stderr);
    assert!(second.stderr.contains("owns this pipeline"), "{}", second.stderr);
    let after = std::fs::read_dir(desk.path().join("logmill-data/checkpoints/follow/main"))
        .unwrap()
        .count();
    assert_eq!(before, after, "the second process changes nothing");
    first.kill().unwrap();
    assert_eq!(first.wait().unwrap().signal(), Some(9), "a crash, and no clean stop");
    let begun = Instant::now();
    let third = desk.run(&["run", "follow.yaml", "--until-end"]);
    assert_eq!(third.code, 0, "{}", third.stderr);
    assert!(begun.elapsed() < TAKEOVER_MAX, "the lease is free at once");
    assert!(count().contains("\"n\":2"), "nothing came twice");
}

#[test]
fn killed_before_it_flushes_it_has_printed_each_row_once_or_more() {
    let desk = Desk::new();
    let mut lines = String::new();
    (0..ROWS / 10).for_each(|row| writeln!(lines, "row {row}.").unwrap());
    desk.write("rows.log", &lines);
    desk.write(
        "print.yaml",
        "name: print\nepoch: { interval: 1h, bytes_max: 4KiB }\nsources:\n  rows: { type: file, \
         paths: [rows.log], block_bytes: 4KiB }\nsinks:\n  out: { type: stdio, input: rows }\n",
    );
    let mut printed = String::new();
    for (failpoint, signal) in [("stdio.prepare.before_flush:3", Some(9)), ("", None)] {
        let mut run = desk.command(&["run", "print.yaml", "--until-end", "--quiet"]);
        let output = run.env("LOGMILL_FAILPOINT", failpoint).output().unwrap();
        assert_eq!(output.status.signal(), signal, "{:?}", output.status);
        printed += &String::from_utf8(output.stdout).unwrap();
    }
    for row in 0..ROWS / 10 {
        assert!(printed.contains(&format!("row {row}.")), "row {row} is missing");
    }
}
