//! A log that is larger than memory may be: a tenth of the 5 GB that docs/reliability.md tells of.

use std::process::{Child, Stdio};
use std::time::Duration;

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
const RESIDENT_BYTES_MAX: u64 = (256 + 150) << 20;
const LIMIT: Duration = Duration::from_secs(600);

/// Bytes of memory that a process holds (`VmRSS`) or has held at most (`VmHWM`); none once it has
/// ended.
pub fn held_bytes(child: &Child, which: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
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

    let mut command = desk.command(&["run", "large.yaml", "--until-end", "--quiet"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("the program starts");
    let mut peak = 0;
    let status = wait::until("the run ends", LIMIT, || {
        peak = peak.max(held_bytes(&child, "VmHWM").unwrap_or(0));
        child.try_wait().expect("a process")
    });
    assert!(status.success(), "{status}");
    println!("{} MiB at most", peak >> 20);
    assert!(peak > 0 && peak <= RESIDENT_BYTES_MAX);

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
