//! Other engines read the lake and find the same rows: DuckDB, and the Python package `deltalake`.
//!
//! `cargo xtask test` installs both and names the interpreter in `LOGMILL_PYTHON`. Without it
//! there is nothing to compare with, which is a failure only where `REQUIRE_SERVICES` is set.

use std::ffi::OsString;
use std::process::Command;

use serde_json::Value;

use crate::Desk;

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: combined }
sinks:
  lake: { type: lake, input: parsed, table: web, partition_by: day(ts) }
";

const SUMS: &str = "\
SELECT count(*) AS rows, count(DISTINCT _position) AS origins, sum(bytes) AS bytes, \
sum(status) AS status, count(user_agent) AS agents, \
sum(CAST(length(endpoint) AS BIGINT)) AS letters";

/// Prints the sums, once per engine, as a list of JSON objects.
const SCRIPT: &str = r#"
import json, sys
import deltalake, duckdb

table, query = deltalake.DeltaTable(sys.argv[1]), sys.argv[2]
files = table.file_uris()
lake_rows = table.to_pyarrow_table()

def sums(source):
    cursor = duckdb.sql(query + " FROM " + source)
    return dict(zip(cursor.columns, map(int, cursor.fetchall()[0])))

print(json.dumps([sums("lake_rows"), sums("read_parquet(" + repr(files) + ")")]))
"#;

#[test]
fn other_engines_find_the_same_rows_in_the_lake() {
    let Some(python) = python() else { return };
    let desk = Desk::new();
    let log = ["generate", "access-log", "--rows", "5000", "--seed", "3", "-o", "access.log"];
    desk.done(&log);
    desk.write("web.yaml", PIPELINE);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let query = format!("{SUMS} FROM web");
    let ours = desk.done(&["query", "--format", "json", &query]).json()[0].take();
    assert_eq!(ours["rows"], ours["origins"], "each line once: {ours}");

    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .arg(desk.path().join("logmill-data/lake/web"))
        .arg(SUMS)
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let theirs: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(theirs[0], ours, "deltalake");
    assert_eq!(theirs[1], ours, "DuckDB over the current files");
}

/// The interpreter that has the packages of the tests; `None` where the test is left out.
pub fn python() -> Option<OsString> {
    let python = std::env::var_os("LOGMILL_PYTHON");
    let required = std::env::var_os("REQUIRE_SERVICES").is_some();
    assert!(python.is_some() || !required, "LOGMILL_PYTHON names no interpreter");
    python
}
