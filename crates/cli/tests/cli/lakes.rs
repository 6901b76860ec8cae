//! Lake tables in a bucket, as a user meets them on the command line.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::services::{find, setting, unique};

use crate::Desk;

const ROWS: u64 = 2_000;
/// A query with a limit of a second takes no longer, however busy the machine is.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// A log, and a pipeline of it into a bucket; none where there is no server.
pub fn desk() -> Option<Desk> {
    find("s3")?;
    let desk = Desk::new();
    let rows = ROWS.to_string();
    desk.done(&["generate", "access-log", "--rows", &rows, "--seed", "5", "-o", "access.log"]);
    desk.write("far.yaml", &pipeline("far", &place()));
    Some(desk)
}

fn place() -> String {
    format!(
        ", url: \"s3://{}/lake/{}\", endpoint: \"${{LOGMILL_TEST_S3}}\", allow_http: true, \
         access_key: \"${{LOGMILL_TEST_S3_KEY}}\", secret_key: \"${{LOGMILL_TEST_S3_SECRET}}\"",
        setting("s3_bucket"),
        unique("requests")
    )
}

fn pipeline(name: &str, place: &str) -> String {
    format!(
        "name: {name}
sources:
  access: {{ type: file, paths: [access.log] }}
transforms:
  parsed: {{ type: parse, input: access, format: combined, keep: true }}
sinks:
  lake: {{ type: lake, input: parsed, table: requests, partition_by: day(ts){place} }}
"
    )
}

fn ask(desk: &Desk, sql: &str) -> Value {
    desk.done(&["query", sql, "--format", "json"]).json()
}

#[test]
fn a_table_in_a_bucket_is_queried_by_its_name_audited_and_followed() {
    let Some(desk) = desk() else { return };
    desk.done(&["check", "far.yaml"]);
    assert!(!desk.path().join("logmill-data").exists(), "check changes nothing");
    desk.done(&["run", "far.yaml", "--until-end"]);
    assert!(!desk.path().join("logmill-data/lake/requests").exists(), "no row is on local disk");

    let sql = "SELECT count(*) AS rows, count(DISTINCT _position) AS records FROM requests";
    let found = ask(&desk, sql);
    assert_eq!((&found[0]["rows"], &found[0]["records"]), (&ROWS.into(), &ROWS.into()));
    let sql = "SELECT count(*) AS rows FROM requests r JOIN ledger l ON l.epoch = r._epoch \
               WHERE l.sink = 'lake'";
    assert_eq!(ask(&desk, sql)[0]["rows"], ROWS, "beside the tables of the folder");
    let sql = "SELECT sum(delivered) AS rows FROM ledger WHERE sink = 'lake'";
    assert_eq!(ask(&desk, sql)[0]["rows"], ROWS, "the ledger has each row once");
    let tables = ask(&desk, "SHOW TABLES").to_string();
    assert!(tables.contains("\"requests\""), "{tables}");

    let audit = desk.done(&["audit", "far.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &ROWS.into()));
    let log = std::fs::read_to_string(desk.path().join("access.log")).unwrap();
    let line = log.lines().nth(1_234).unwrap();
    let found = desk.done(&["where", "far.yaml", line, "--format", "json"]).json();
    assert_eq!(found[0]["sinks"][0]["rows"][0]["message"], line);

    let shell = desk.run_with(&["query", "--format", "csv"], "SELECT count(*) FROM requests");
    assert_eq!(shell.stdout.lines().nth(1), Some("2000"), "{}", shell.stderr);
    let note = std::fs::read_to_string(desk.path().join("logmill-data/pipelines/far")).unwrap();
    assert!(!note.contains(&setting("s3_secret")), "the file alone knows the keys: {note}");
}

#[test]
fn a_bucket_is_not_asked_before_a_query_names_its_table() {
    let Some(desk) = desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    for (sql, rows) in [("SHOW TABLES", 0), ("SELECT DISTINCT pipeline FROM ledger", 1)] {
        let mut command = desk.command(&["query", sql, "--format", "ndjson"]);
        // Nobody listens there.
        command.env("LOGMILL_TEST_S3", "http://127.0.0.1:1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{sql}: {said}");
        assert!(output.stdout.split(|byte| *byte == b'\n').count() > rows, "{sql}");
    }
}

#[test]
fn a_query_of_a_store_that_does_not_answer_ends_in_time() {
    let Some(desk) = desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    let mut command = desk.command(&["query", "SELECT * FROM requests", "--timeout", "1s"]);
    command.env("LOGMILL_TEST_S3", "http://127.0.0.1:1");
    let begun = Instant::now();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the query ran out of time"), "{said}");
    assert!(begun.elapsed() < ENDS_WITHIN, "{:?}", begun.elapsed());
}

#[test]
fn a_table_that_is_not_made_yet_says_so() {
    let Some(desk) = desk() else { return };
    let mut command = desk.command(&["run", "far.yaml", "--until-end"]);
    command.env("LOGMILL_FAILPOINT", "recover.first:1");
    assert_eq!(command.status().unwrap().code(), None, "it is killed at its start");
    let ran = desk.run(&["query", "SELECT * FROM requests"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("there is no lake table at \"s3://"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: the first records"), "{}", ran.stderr);
}

#[test]
fn a_name_that_stands_for_two_tables_is_refused() {
    let Some(desk) = desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    desk.write("near.yaml", &pipeline("near", ""));
    desk.done(&["run", "near.yaml", "--until-end"]);
    let sql = "SELECT count(*) AS rows FROM requests";
    let refused = |owners: &str| {
        let ran = desk.run(&["query", sql]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        let said = format!("the name \"requests\" stands for two tables, of {owners}");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    };
    refused("the embedded lake and of pipeline \"far\"");
    assert_eq!(ask(&desk, "SELECT count(*) > 0 AS some FROM ledger")[0]["some"], true);

    std::fs::remove_dir_all(desk.path().join("logmill-data/lake/requests")).unwrap();
    assert_eq!(ask(&desk, sql)[0]["rows"], ROWS);
    desk.write("other.yaml", &pipeline("other", &place()));
    desk.done(&["run", "other.yaml", "--until-end"]);
    refused("pipeline \"far\" and of pipeline \"other\"");
}

#[test]
fn a_wrong_key_is_an_error_that_does_not_show_it() {
    let Some(desk) = desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    let mut command = desk.command(&["query", "SELECT * FROM requests"]);
    command.env("LOGMILL_TEST_S3_SECRET", "wrong-and-hush");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not read lake table \"s3://"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}
