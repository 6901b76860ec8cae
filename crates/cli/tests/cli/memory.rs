//! Logs that are larger than memory may be: a tenth of the 5 GB that docs/reliability.md tells of,
//! and of what `cargo xtask bench --memory` measures at a limit that is small.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::services::{find, unique};
use testkit::wait;

use crate::Desk;

const PIPELINE: &str = "\
name: large
memory: { limit: 256MiB }
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: combined }
  enriched: { type: enrich, input: parsed, user_agent: user_agent }
sinks:
  lake: { type: lake, input: enriched, table: web }
";
const LINES: u64 = 2_250_000;
const LOG_BYTES_MIN: u64 = 500_000_000;
/// What the program may take beside its limit: itself, its threads, what its allocator keeps.
const BESIDE_BYTES: u64 = 150 << 20;
const LIMIT: Duration = Duration::from_secs(600);

/// Bytes of memory that a process holds (`VmRSS`; `RssAnon` without pages of files), or has held
/// at most (`VmHWM`); none once it has ended.
pub fn held_bytes(child: &Child, which: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
}

/// Runs a pipeline to its end, with no more memory of this kind than is allowed.
fn run_within(desk: &Desk, file: &str, which: &str, allowed: u64) {
    let mut command = desk.command(&["run", file, "--until-end", "--quiet"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program starts");
    let mut peak = 0;
    let status = wait::until("the run ends", LIMIT, || {
        peak = peak.max(held_bytes(&child, which).unwrap_or(0));
        child.try_wait().expect("a process")
    });
    assert!(status.success(), "{status}");
    println!("{} MiB at most", peak >> 20);
    assert!(peak > 0 && peak <= allowed, "{} MiB", peak >> 20);
}

#[test]
fn a_log_of_half_a_gigabyte_stays_within_its_memory_and_adds_up() {
    let desk = Desk::new();
    desk.write("large.yaml", PIPELINE);
    let lines = LINES.to_string();
    desk.done(&[
        "generate",
        "access-log",
        "--rows",
        &lines,
        "--broken",
        "0.01",
        "-o",
        "access.log",
    ]);
    let log = std::fs::metadata(desk.path().join("access.log")).expect("the log");
    assert!(log.len() > LOG_BYTES_MIN, "{} bytes", log.len());

    run_within(&desk, "large.yaml", "VmHWM", (256 << 20) + BESIDE_BYTES);

    let audit = desk.done(&["audit", "large.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    let sql = "SELECT (SELECT count(*) FROM web) AS rows, \
               (SELECT count(*) FROM dead_letters) AS letters";
    let held = desk.done(&["query", sql, "--format", "json"]).json();
    let count = |name: &str| held[0][name].as_u64().expect("a number");
    let broken = LINES / 200..LINES / 50;
    assert!(broken.contains(&count("letters")), "{held}");
    assert_eq!(count("rows") + count("letters"), LINES);
}

/// The smallest limit that `cargo xtask bench --memory` measures, with a tenth of its rows.
const SMALL_BYTES: u64 = 32 << 20;
const ONE_LOG_LINES: usize = 400_000;
/// More and smaller ones than there, so that there are as many commits.
const FILES: usize = 1_000;
const LINES_PER_FILE: usize = 150;
const SMALL: &str = "\
name: small
memory: { limit: 32MiB }
epoch: { interval: 1h, bytes_max: EPOCH }
sources:
  access: { type: file, paths: [\"log-*.log\"] }
transforms:
  parsed: { type: parse, input: access, format: combined }
  enriched: { type: enrich, input: parsed, user_agent: user_agent }
";
const ONE_SINK: &str = "\
sinks:
  lake: { type: lake, input: enriched, table: web }
";
const FOUR_SINKS: &str = "  \
  failed: { type: sql, query: \"SELECT * FROM enriched WHERE status >= 400\" }
sinks:
  lake: { type: lake, input: enriched, table: web }
  days: { type: lake, input: enriched, table: days, partition_by: day(ts) }
  errors: { type: lake, input: failed, table: errors }
  objects: { type: object_store, input: enriched, url: objects, create_bucket: true }
";
/// A lake takes care of its table after each 50 commits; what the care holds grows with all that
/// were made while it was busy.
const EPOCHS_MIN: u64 = 150;

/// Runs logs of so many lines through a pipeline with a small limit; how many epochs that took.
fn run_small(files: usize, lines: usize, epoch: &str, sinks: &str) -> u64 {
    let desk = Desk::new();
    desk.write("small.yaml", &format!("{}{sinks}", SMALL.replace("EPOCH", epoch)));
    let rows = (files * lines).to_string();
    desk.done(&["generate", "access-log", "--rows", &rows, "-o", "all"]);
    let all = std::fs::read_to_string(desk.path().join("all")).expect("the log");
    let all: Vec<&str> = all.split_inclusive('\n').collect();
    for (number, log) in all.chunks(lines).enumerate() {
        desk.write(&format!("log-{number}.log"), &log.concat());
    }
    // The pages of a program that is not optimised are many, and the system has them in its file.
    run_within(&desk, "small.yaml", "RssAnon", SMALL_BYTES + BESIDE_BYTES);
    let audit = desk.done(&["audit", "small.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    let sql = "SELECT count(*) AS rows, max(_epoch) AS epochs FROM web";
    let held = desk.done(&["query", sql, "--format", "json"]).json();
    assert_eq!(held[0]["rows"].as_u64(), Some((files * lines) as u64), "{held}");
    held[0]["epochs"].as_u64().expect("a number")
}

#[test]
fn one_log_into_one_lake_stays_within_a_small_limit() {
    run_small(1, ONE_LOG_LINES, "1GiB", ONE_SINK);
}

#[test]
fn one_log_into_four_sinks_stays_within_a_small_limit() {
    run_small(1, ONE_LOG_LINES, "1GiB", FOUR_SINKS);
}

#[test]
fn many_files_in_many_epochs_with_the_care_of_their_lake_stay_within_a_small_limit() {
    let epochs = run_small(FILES, LINES_PER_FILE, "4KiB", ONE_SINK);
    assert!(epochs > EPOCHS_MIN, "{epochs} epochs");
}

const REFUSED_BYTES: u64 = 64 << 20;
/// Twice as many as fit, where all of them wait for the end of one epoch.
const REFUSED_LINES: usize = 150_000;

#[test]
fn a_table_that_refuses_nearly_every_row_stays_within_a_small_limit() {
    let Some(url) = find("postgres") else { return };
    let desk = Desk::new();
    let table = unique("refuses").replace('-', "_");
    psql(
        &url,
        &format!(
            "CREATE TABLE {table} (message text CHECK (message = 'good'), _lossy boolean, \
             _split text, _position bigint, _epoch bigint)"
        ),
    );
    let padding = "x".repeat(150);
    let bad = (0..REFUSED_LINES).map(|line| format!("{line:06}{padding}\n"));
    desk.write("a.log", &bad.chain(["good\n".to_owned()]).collect::<String>());
    desk.write(
        "refused.yaml",
        &format!(
            "name: {table}\nmemory: {{ limit: {REFUSED_BYTES} }}\nsources:\n  \
             a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             out: {{ type: postgres, input: a, url: '{url}', table: {table} }}\n"
        ),
    );
    run_within(&desk, "refused.yaml", "RssAnon", REFUSED_BYTES + BESIDE_BYTES);
    let audit = desk.done(&["audit", "refused.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &1.into()));
    let sql = "SELECT count(*) AS letters, count(DISTINCT original) AS originals, \
               max(epoch) AS epochs FROM dead_letters";
    let held = desk.done(&["query", sql, "--format", "json"]).json();
    let (letters, originals) = (&held[0]["letters"], &held[0]["originals"]);
    assert_eq!((letters.as_u64(), originals), (Some(REFUSED_LINES as u64), letters), "{held}");
    assert!(held[0]["epochs"].as_u64() > Some(2), "what is refused ends epochs: {held}");
    psql(&url, &format!("DROP TABLE {table}"));
}

fn psql(url: &str, statement: &str) {
    let asked = Command::new("psql").args([url, "-qc", statement]).output().expect("psql starts");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
}
