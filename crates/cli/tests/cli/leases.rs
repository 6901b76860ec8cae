//! Several processes of one pipeline over a checkpoint store that they share, on a real server.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::{services, wait};

use crate::Desk;

const ROWS_PER_SPLIT: u64 = 100_000;
const SPLITS: u64 = 4;
/// A process that takes longer to stop itself never does.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Half of what a lease lasts: a start that waits for one takes longer.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

/// A pipeline whose splits are lineages; none where there is no store to share.
fn desk() -> Option<Desk> {
    let endpoint = services::find("s3")?;
    let desk = Desk::new();
    let (bucket, prefix) = (services::setting("s3_bucket"), services::unique("leases"));
    desk.write(
        "counted.yaml",
        &format!(
            "name: counted
epoch: {{ interval: 200ms, bytes_max: 64KiB }}
checkpoint:
  url: s3://{bucket}/{prefix}
  endpoint: {endpoint}
  allow_http: true
  access_key: ${{LOGMILL_TEST_S3_KEY}}
  secret_key: ${{LOGMILL_TEST_S3_SECRET}}
sources:
  numbers: {{ type: memory, rows_max: {ROWS_PER_SPLIT}, splits: {SPLITS}, lineages: split }}
sinks:
  kept: {{ type: lake, input: numbers, table: kept }}
"
        ),
    );
    Some(desk)
}

fn start(desk: &Desk, failpoint: &str) -> Child {
    let mut command = desk.command(&["run", "counted.yaml", "--until-end", "--quiet"]);
    command.env("LOGMILL_FAILPOINT", failpoint).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn wait_until_it_sleeps(child: &Child) {
    let stat = format!("/proc/{}/stat", child.id());
    wait::until("it stops itself", STOP_LIMIT, || {
        std::fs::read_to_string(&stat).unwrap().contains(") T ").then_some(())
    });
}

fn check(desk: &Desk) {
    let audit = desk.done(&["audit", "counted.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    assert_eq!(audit["lineages"].as_array().unwrap().len() as u64, SPLITS);
    let sql = "SELECT count(*) AS rows, count(DISTINCT _split || '@' || _position) AS records \
               FROM kept";
    let held = desk.done(&["query", sql, "--format", "json"]).json();
    let all = ROWS_PER_SPLIT * SPLITS;
    let sql = "SELECT sum(delivered) AS rows FROM ledger WHERE sink = 'kept'";
    let booked = desk.done(&["query", sql, "--format", "json"]).json();
    assert_eq!(booked[0]["rows"].as_u64(), Some(all), "the ledger is found where it lies");
    assert_eq!((held[0]["rows"].as_u64(), held[0]["records"].as_u64()), (Some(all), Some(all)));
}

#[test]
fn a_process_that_sleeps_through_its_leases_changes_nothing_when_it_wakes() {
    let Some(desk) = desk() else { return };
    let mut sleeper = start(&desk, "decide.before:5:stop");
    wait_until_it_sleeps(&sleeper);
    let begun = Instant::now();
    desk.done(&["run", "counted.yaml", "--until-end", "--quiet"]);
    assert!(begun.elapsed() >= state::lease::TTL, "who may only sleep is waited for");
    let pid = rustix::process::Pid::from_child(&sleeper);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(sleeper.wait().unwrap().code(), Some(4));
    check(&desk);
}

#[test]
fn a_process_that_was_killed_is_replaced_at_once() {
    let Some(desk) = desk() else { return };
    for failpoint in ["decide.after:6", "commit.sink.after:9"] {
        let first = start(&desk, failpoint).wait().unwrap();
        assert_eq!(first.signal(), Some(9), "it is killed at {failpoint}");
        let begun = Instant::now();
        let next = start(&desk, "recover.done:1").wait().unwrap();
        assert_eq!(next.signal(), Some(9), "it is killed once it owns a lineage");
        let took = begun.elapsed();
        assert!(took < TAKEOVER_MAX.min(state::lease::TTL / 2), "who is dead is not waited for");
    }
    desk.done(&["run", "counted.yaml", "--until-end", "--quiet"]);
    check(&desk);
}

#[test]
fn a_lineage_that_lives_elsewhere_is_the_exit_of_who_comes_second() {
    let Some(desk) = desk() else { return };
    let mut first = desk
        .command(&["run", "counted.yaml", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("the first process delivers", STOP_LIMIT, || {
        (desk.run(&["audit", "counted.yaml"]).code == 0).then_some(())
    });
    let second = desk.run(&["run", "counted.yaml", "--until-end"]);
    assert_eq!(second.code, 4, "{}", second.stderr);
    assert!(second.stderr.contains(&format!("process {}", first.id())), "{}", second.stderr);
    let mut third = desk.command(&["run", "counted.yaml", "--until-end", "--standby"]);
    let mut third = third.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(third.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("standing by")), "it waits");
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(third.wait().unwrap().code(), Some(0), "it takes over");
    check(&desk);
}
