//! A table in a bucket is served as one of the embedded lake is, and one that is nowhere is told.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use super::{Server, loaded};
use crate::lakes;

#[test]
fn analytics_and_sql_read_a_table_in_a_bucket() {
    let Some(desk) = lakes::desk() else { return };
    desk.done(&["run", "far.yaml", "--until-end"]);
    let counted = json!({ "sql": "SELECT count(*) AS rows FROM requests" }).to_string();
    // By its pipeline file, by its name, and found as the first table of requests.
    for arguments in [&["far.yaml"][..], &["--table", "requests"], &[]] {
        let server = Server::start(&desk, arguments);
        let got = server.get("/analytics/error_rate");
        assert_eq!((got.status, &got.json()["total"]), (200, &2_000.into()), "{arguments:?}");
        let got = server.post("/query", &counted);
        assert_eq!((got.status, &got.json()["rows"]), (200, &json!([[2000]])), "{arguments:?}");
        let got = server.post("/query", "{\"sql\": \"SELECT * FROM nowhere\"}");
        assert!(got.body.contains("requests"), "among the tables that there are: {got:?}");
    }
}

#[test]
fn a_table_that_is_not_there_is_told_with_those_that_are() {
    let desk = loaded();
    let told = |table: &str| {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--table", table];
        let mut command = desk.command(&arguments);
        command.env_remove("LOGMILL_TOKEN").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        // The address is printed once everything was looked for.
        BufReader::new(stdout).read_line(&mut String::new()).expect("an address");
        child.kill().expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = told("nope");
    for part in ["no such table", "nope", "there are: web_logs"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("dead_letters"), "{said}");
    assert_eq!(told("web_logs"), "");
}
