//! The program killed with SIGKILL: a tenth of what `cargo xtask crash` does, on every run.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::kill::{KillProof, RECOVERY_POINTS, points};
use testkit::program::Killed;

use crate::Desk;

const ROWS: u64 = 50_000;
const EPOCH_BYTES: u64 = 2 << 20;
const MOMENTS: u32 = 10;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_logmill"))
}

#[test]
fn killed_at_every_point_the_lake_holds_each_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let proof = KillProof::new(program(), folder.path(), ROWS / 10, EPOCH_BYTES / 10);
    let expected = proof.undisturbed();
    for point in points() {
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
    for point in RECOVERY_POINTS {
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
    first.wait().unwrap();
    let begun = Instant::now();
    let third = desk.run(&["run", "follow.yaml", "--until-end"]);
    assert_eq!(third.code, 0, "{}", third.stderr);
    assert!(begun.elapsed() < Duration::from_secs(10), "the lease is free at once");
    assert!(count().contains("\"n\":2"), "nothing came twice");
}
