//! What destinations can hold, and what happens when somebody changes them.

use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::services::{find, unique};
use testkit::{http, wait};

use crate::Desk;

/// A pipeline whose rows have one column of a name, into one sink.
fn named(column: &str, sink: &str) -> (i32, String) {
    let desk = Desk::new();
    desk.write("a.json", "");
    let column = column.replace('"', "\"\"");
    desk.write(
        "names.yaml",
        &format!(
            "name: names\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, fields: {{ a: text }} }}\n  \
             named: {{ type: sql, query: 'SELECT a AS \"{column}\" FROM parsed' }}\n\
             sinks:\n  out: {{ input: named, {sink} }}\n"
        ),
    );
    let ran = desk.run(&["check", "names.yaml"]);
    (ran.code, ran.stderr)
}

/// How long a row may take to arrive.
const LIMIT: Duration = Duration::from_secs(60);
const LAKE: &str = "type: lake, table: t";
const POSTGRES: &str = "type: postgres, url: 'postgres://db/logs', table: t, create: true";
const SEARCH: &str = "type: opensearch, url: 'http://search:9200', index: logs";

#[test]
fn columns_that_differ_in_capitals_alone_are_refused_before_a_lake_table_is_made() {
    let desk = Desk::new();
    desk.write("a.json", "{\"status\":1,\"Status\":2}\n");
    let pipeline = |more: &str| {
        format!(
            "name: twins\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, fields: {{ status: integer, \
             Status: integer }}{more} }}\nsinks:\n  out: {{ input: parsed, {LAKE} }}\n"
        )
    };
    desk.write("twins.yaml", &pipeline(""));
    let ran = desk.run(&["check", "twins.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("columns \"status\" and \"Status\""), "{}", ran.stderr);
    assert!(ran.stderr.contains("`rename` in the `parse` step"), "{}", ran.stderr);
    desk.write("twins.yaml", &pipeline(", rename: { Status: state }"));
    desk.done(&["run", "twins.yaml", "--until-end"]);
    let rows = desk.done(&["query", "-f", "csv", "SELECT status, state FROM t"]);
    assert_eq!(rows.stdout, "status,state\n1,2\n");
}

#[test]
fn each_sink_has_its_own_rule_on_names_of_columns() {
    let odd = "of user, in {bytes}; (=)";
    for (column, sink, refused) in [
        (odd, LAKE, Some("is no name for a column of a lake table")),
        (odd, "type: stdio", None),
        (odd, POSTGRES, None),
        (odd, SEARCH, None),
        ("ctid", POSTGRES, Some("every table has a column of the system under it")),
        ("ctid", SEARCH, None),
        ("_id", SEARCH, Some("is no name for a field of a document")),
        ("_index", SEARCH, Some("is no name for a field of a document")),
        ("_source", SEARCH, Some("is no name for a field of a document")),
        ("_routing", SEARCH, Some("is no name for a field of a document")),
        ("_id", POSTGRES, None),
    ] {
        let (code, said) = named(column, sink);
        assert_eq!(code, if refused.is_some() { 2 } else { 0 }, "{column} {sink}: {said}");
        assert!(refused.is_none_or(|refused| said.contains(refused)), "{said}");
    }
    let long = "é".repeat(32);
    let (code, said) = named(&long, POSTGRES);
    assert!(code == 2 && said.contains("it has 64 bytes, and 63 are kept"), "{said}");
    assert_eq!(named(&long, "type: stdio").0, 0);
}

/// The lines that a statement gives; none where it fails.
pub fn ask(url: &str, statement: &str) -> Option<String> {
    let asked = Command::new("psql").args([url, "-qAtc", statement]).output().expect("psql starts");
    let text = String::from_utf8(asked.stdout).expect("text");
    asked.status.success().then(|| text.trim().to_owned())
}

/// A type that changes while the pipeline follows its file.
#[test]
fn a_type_that_changes_under_a_running_pipeline_changes_no_value() {
    let Some(url) = find("postgres") else { return };
    let table = unique("altered");
    let desk = Desk::new();
    desk.write("a.json", "{\"id\":1,\"v\":1002}\n");
    desk.write(
        "altered.yaml",
        &format!(
            "name: altered\nepoch: {{ interval: 100ms }}\nsources:\n  \
             lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, \
             fields: {{ id: integer, v: integer }} }}\nsinks:\n  \
             out: {{ type: postgres, input: parsed, url: '{url}', table: {table}, create: true }}\n"
        ),
    );
    let mut running = desk
        .command(&["run", "altered.yaml", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let rows = |count: usize| {
        let sql = format!("SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM {table}");
        wait::until("the rows arrive", LIMIT, || {
            ask(&url, &sql).filter(|rows| rows.split_whitespace().count() >= count)
        })
    };
    assert_eq!(rows(1), "1:1002");
    let alter = format!("ALTER TABLE {table} ALTER COLUMN v TYPE double precision");
    assert!(ask(&url, &alter).is_some());
    desk.write("a.json", "{\"id\":1,\"v\":1002}\n{\"id\":2,\"v\":1003}\n");
    let held = rows(2);
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    assert_eq!(held, "1:1002 2:1003");
    desk.done(&["run", "altered.yaml", "--until-end", "--quiet"]);
    desk.done(&["audit", "altered.yaml"]);
}

/// Letters under an `id` of one's own, given again.
#[test]
fn a_replayed_letter_arrives_under_an_id_of_its_own() {
    let Some(url) = find("opensearch") else { return };
    let index = unique("replayed");
    let desk = Desk::new();
    let mut lines = "{\"key\":\"x\",\"n\":1}\n{\"key\":\"y\",\"n\":1.5}\n".to_owned();
    desk.write("a.json", &lines);
    let pipeline = |kind: &str| {
        format!(
            "name: {index}\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, \
             fields: {{ key: text, n: {kind} }} }}\nsinks:\n  \
             out: {{ type: opensearch, input: parsed, url: '{url}', index: {index}, \
             id: '{{key}}' }}\n"
        )
    };
    desk.write("letters.yaml", &pipeline("integer"));
    desk.done(&["run", "letters.yaml", "--until-end", "--quiet"]);
    // Newer rows of both keys, in later epochs of the same history.
    for n in 2..4 {
        lines.push_str(&format!("{{\"key\":\"y\",\"n\":{n}}}\n"));
        desk.write("a.json", &lines);
        desk.done(&["run", "letters.yaml", "--until-end", "--quiet"]);
    }
    desk.write("letters.yaml", &pipeline("float"));
    desk.done(&["dead-letters", "replay", "letters.yaml"]);
    let found = http::send("GET", &url, &format!("/{index}/_doc/y"), "").expect("it is there");
    assert!(found.contains("\"n\":1.5"), "{found}");
}

/// Several ways lead to a table, which therefore numbers its rows; then one of them goes.
#[test]
fn a_table_of_numbered_rows_takes_those_of_a_single_way() {
    let Some(url) = find("postgres") else { return };
    for before in ["SELECT 1", "ALTER TABLE {t} ALTER COLUMN _ordinal DROP DEFAULT"] {
        let table = unique("ways");
        let desk = Desk::new();
        desk.write("a.json", "{\"n\":1}\n");
        let pipeline = |input: &str| {
            format!(
                "name: {table}\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\n\
                 transforms:\n  parsed: {{ type: parse, input: lines, format: json, \
                 fields: {{ n: integer }} }}\n  \
                 small: {{ type: sql, query: 'SELECT n FROM parsed' }}\n  \
                 large: {{ type: sql, query: 'SELECT n + 10 AS n FROM parsed' }}\nsinks:\n  \
                 out: {{ type: postgres, input: {input}, url: '{url}', table: {table}, \
                 create: true }}\n"
            )
        };
        desk.write("ways.yaml", &pipeline("[small, large]"));
        desk.done(&["run", "ways.yaml", "--until-end", "--quiet"]);
        // As tables were made before.
        assert!(ask(&url, &before.replace("{t}", &table)).is_some());
        desk.write("ways.yaml", &pipeline("[small]"));
        desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n");
        desk.done(&["run", "ways.yaml", "--until-end", "--quiet"]);
        let sql = format!("SELECT string_agg(n::text, ' ' ORDER BY n) FROM {table}");
        assert_eq!(ask(&url, &sql).as_deref(), Some("1 2 11"), "{before}");
        desk.done(&["audit", "ways.yaml"]);
    }
}

/// What is decided is finished as it was read: a step that is added later does not help it.
#[test]
fn a_table_that_is_altered_before_a_decided_epoch_is_finished_names_ways_that_work() {
    let Some(url) = find("postgres") else { return };
    let table = unique("decided");
    let desk = Desk::new();
    desk.write("a.json", "{\"n\":1,\"v\":1}\n");
    let pipeline = |step: &str| {
        format!(
            "name: {table}\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\n\
             transforms:\n  parsed: {{ type: parse, input: lines, format: json, \
             fields: {{ n: integer, v: integer }} }}\n  \
             made: {{ type: sql, query: 'SELECT {step} FROM parsed' }}\nsinks:\n  \
             out: {{ type: postgres, input: made, url: '{url}', table: {table}, create: true }}\n"
        )
    };
    desk.write("decided.yaml", &pipeline("n, v"));
    desk.done(&["run", "decided.yaml", "--until-end", "--quiet"]);
    desk.write("a.json", "{\"n\":1,\"v\":1}\n{\"n\":2,\"v\":2}\n");
    let killed = desk
        .command(&["run", "decided.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "postgres.commit.before:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    assert!(ask(&url, &format!("ALTER TABLE {table} RENAME COLUMN v TO w")).is_some());
    for step in ["n, v", "n"] {
        desk.write("decided.yaml", &pipeline(step));
        let ran = desk.run(&["run", "decided.yaml", "--until-end"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        for part in ["epoch 2 is decided", "start once", "--assume missing"] {
            assert!(ran.stderr.contains(part), "{step}: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("in a `sql` transform"), "{}", ran.stderr);
    }
    assert!(ask(&url, &format!("ALTER TABLE {table} RENAME COLUMN w TO v")).is_some());
    desk.done(&["run", "decided.yaml", "--until-end", "--quiet"]);
    let sql = format!("SELECT string_agg(n || ':' || v, ' ' ORDER BY n) FROM {table}");
    assert_eq!(ask(&url, &sql).as_deref(), Some("1:1 2:2"));
    desk.done(&["audit", "decided.yaml"]);
}
