//! A lake table in a bucket, while the program that writes it is killed, or is not alone.

use std::io::Write;
use std::path::Path;
use std::sync::PoisonError;
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::kill::KillProof;
use testkit::program::{Killed, Program};
use testkit::services::{find, setting, unique};
use testkit::stream::servers::kill;

use crate::ONE_AT_A_TIME;

const ROWS: u64 = 4_000;
const EPOCH_BYTES: u64 = 128 << 10;
const WRITERS: usize = 2;
/// When the store dies after records began to flow: while they are read, staged, and committed.
const KILL_AFTER: [Duration; 4] = [
    Duration::from_millis(2_000),
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(700),
];
/// Records that have not arrived after this time will not.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(180);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_logmill"))
}

/// What leads to a table that is not there yet; none where there is no server.
fn place() -> Option<String> {
    let endpoint = find("s3")?;
    let (bucket, table) = (setting("s3_bucket"), unique("requests"));
    Some(format!(
        ", url: \"s3://{bucket}/lake/{table}\", endpoint: \"{endpoint}\", allow_http: true, \
         access_key: \"${{LOGMILL_TEST_S3_KEY}}\", secret_key: \"${{LOGMILL_TEST_S3_SECRET}}\""
    ))
}

#[test]
fn killed_at_every_point_of_its_own_a_lake_in_a_bucket_holds_each_record_once() {
    if place().is_none() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let proof = KillProof::new(program(), folder.path(), ROWS, EPOCH_BYTES);
    // What the embedded lake holds is what the bucket must hold.
    let expected = proof.undisturbed();
    let proof = proof.with_sink(Box::new(|| place().expect("the server was there")));
    assert_eq!(proof.undisturbed(), expected);
    for point in &proof.lake_points() {
        for pass in 1..=2 {
            let (killed, found) = proof.kill_at(point, pass);
            assert_eq!(killed, Killed::Yes, "pass {pass} of {point}");
            assert_eq!(found, expected, "killed at pass {pass} of {point}");
        }
    }
    for point in &proof.lake_commits() {
        let (killed, found) = proof.kill_in_recovery(point);
        assert_eq!(killed, Killed::Yes, "{point} is passed");
        assert_eq!(found, expected, "killed at {point} in a recovery");
    }
}

#[test]
fn a_store_that_is_killed_under_load_comes_back_and_its_table_has_each_record_once() {
    if find("s3_pid").is_none() {
        return;
    }
    let Some(place) = place() else { return };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(program(), folder.path());
    let pipeline = format!(
        "name: followed\nepoch: {{ interval: 100ms }}\nretry: {{ for: 5m }}\n\
         sources:\n  lines: {{ type: file, paths: [lines.log] }}\n\
         sinks:\n  lake: {{ type: lake, input: lines, table: followed{place} }}\n"
    );
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    let mut lines = std::fs::File::create(folder.path().join("lines.log")).unwrap();
    let data = program.fresh("data");
    let mut run = program.follow(&data);
    for kill_after in &KILL_AFTER {
        for number in 0..ROWS {
            writeln!(lines, "line {number}").unwrap();
        }
        sleep(*kill_after);
        kill("s3");
    }
    let all = format!("\"rows\":{},\"records\":{}", ROWS * 4, ROWS * 4);
    let sql = "SELECT count(*) AS rows, count(DISTINCT _position) AS records FROM followed";
    let until = Instant::now() + ARRIVAL_LIMIT;
    while !program.ask(&data, &["query", sql, "--format", "json"]).contains(&all) {
        assert!(Instant::now() < until, "every record arrives");
    }
    assert_eq!(run.stop().code(), Some(143), "one process outlives it, and stops cleanly");
    program.audit(&data);
}

#[test]
fn processes_that_write_one_table_in_a_bucket_lose_no_entry_of_its_log() {
    let Some(place) = place() else { return };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folders: Vec<_> = (0..WRITERS).map(|_| tempfile::tempdir().unwrap()).collect();
    let programs: Vec<_> =
        folders.iter().map(|folder| Program::new(program(), folder.path())).collect();
    for (number, folder) in folders.iter().enumerate() {
        let pipeline = format!(
            "name: writer{number}\nepoch: {{ interval: 1h, bytes_max: 4KiB }}\n\
             sources:\n  numbers: {{ type: memory, rows_max: {ROWS} }}\n\
             sinks:\n  lake: {{ type: lake, input: numbers, table: shared{place} }}\n"
        );
        std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    }
    let data: Vec<_> = programs.iter().map(|program| program.fresh("data")).collect();
    let running = programs.iter().zip(&data).map(|(program, data)| program.start(data, None));
    for mut running in running.collect::<Vec<_>>() {
        assert!(running.wait().success(), "each comes to its end");
    }
    let sql = "SELECT count(*) AS rows FROM shared";
    let found = programs[0].ask(&data[0], &["query", sql, "--format", "json"]);
    let all = ROWS * WRITERS as u64;
    assert!(found.contains(&format!("\"rows\":{all}")), "{found}");
}
