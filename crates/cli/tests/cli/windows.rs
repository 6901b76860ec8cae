//! Windows: what is made of many rows stands once in every destination, whatever kills the process,
//! and adds up to the rows that it was made of.

use std::process::Stdio;

use testkit::services::{find, unique};

use crate::Desk;
use crate::replaced::ask;

/// Lines of the input, in several epochs.
const LINES: u64 = 3_000;
const KEYS: u64 = 7;

/// What was made in all epochs, and what the rows themselves give.
const MADE: &str =
    "SELECT k, sum(hits) AS hits, sum(total) AS total FROM sums GROUP BY k ORDER BY k";
const TRUE: &str = "SELECT k, count(*) AS hits, sum(n) AS total FROM raw GROUP BY k ORDER BY k";

fn desk(name: &str, sinks: &str) -> Desk {
    let desk = Desk::new();
    let line = |number| format!("{{\"n\":{number},\"k\":\"key {}\"}}\n", number % KEYS);
    desk.write("a.json", &(0..LINES).map(line).collect::<String>());
    desk.write(
        "sums.yaml",
        &format!(
            "name: {name}\nepoch: {{ interval: 1h, bytes_max: 8KiB }}\nsources:\n  \
             lines: {{ type: file, paths: [a.json], block_bytes: 4KiB }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, \
             fields: {{ n: integer, k: text }} }}\n  \
             sums: {{ type: window, input: parsed, span: epoch, group_by: [k], \
             aggregate: {{ hits: count(*), total: sum(n) }} }}\nsinks:\n  \
             raw: {{ type: lake, input: parsed, table: raw }}\n  \
             results: {{ type: lake, input: sums, table: sums }}\n{sinks}"
        ),
    );
    desk
}

fn query(desk: &Desk, sql: &str) -> String {
    desk.done(&["query", sql, "--format", "csv"]).stdout
}

fn check(desk: &Desk) {
    let made = query(desk, MADE);
    assert_eq!(made.lines().count() as u64, KEYS + 1, "{made}");
    assert_eq!(made, query(desk, TRUE));
    let audit = desk.done(&["audit", "sums.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
}

#[test]
fn what_is_made_of_many_rows_stands_once_in_a_table_and_a_database_after_a_kill() {
    let Some(url) = find("postgres") else { return };
    let points = [
        ("copy.before", 2),
        ("copy.after", 2),
        ("prepare.done", 2),
        ("decide.after", 1),
        ("decide.after", 3),
        ("commit.sink.before", 5),
        ("commit.sink.after", 6),
        ("publish.done", 2),
    ];
    for (point, pass) in points {
        let name = unique("sums");
        let table = name.replace('-', "_");
        let sink = format!(
            "  warehouse: {{ type: postgres, input: sums, url: '{url}', table: {table}, \
             create: true }}\n"
        );
        let desk = desk(&name, &sink);
        let mut killed = desk.command(&["run", "sums.yaml", "--until-end", "--quiet"]);
        killed.env("LOGMILL_FAILPOINT", format!("{point}:{pass}"));
        let status =
            killed.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert_eq!(status.code(), None, "{point} is passed {pass} times");
        desk.done(&["run", "sums.yaml", "--until-end", "--quiet"]);
        check(&desk);
        let sql = "SELECT _position, _epoch, k, hits, total FROM sums ORDER BY _position";
        let lake = query(&desk, sql);
        let sql = format!("SELECT _position, _epoch, k, hits, total FROM {table} ORDER BY 1");
        let database = ask(&url, &sql).replace('|', ",");
        assert_eq!(lake.lines().skip(1).collect::<Vec<_>>(), database.lines().collect::<Vec<_>>());
        ask(&url, &format!("DROP TABLE {table}"));
    }
}

#[test]
fn a_result_that_a_database_refuses_is_a_dead_letter_with_its_values() {
    let Some(url) = find("postgres") else { return };
    let name = unique("sums");
    let table = name.replace('-', "_");
    ask(
        &url,
        &format!("CREATE TABLE {table} (k text CHECK (k <> 'key 3'), hits bigint, total bigint)"),
    );
    let sink = format!(
        "  warehouse: {{ type: postgres, input: sums, url: '{url}', table: {table}, origin: false }}\n"
    );
    let desk = desk(&name, &sink);
    desk.done(&["run", "sums.yaml", "--until-end", "--quiet"]);
    check(&desk);
    let sql = "SELECT count(*) AS letters, min(split) AS split, min(kind) AS kind, \
               min(CAST(original AS TEXT)) LIKE '%key 3%' AS has_key FROM dead_letters";
    let refused = query(&desk, "SELECT count(*) AS n FROM sums WHERE k = 'key 3'");
    let refused: u64 = refused.lines().nth(1).and_then(|line| line.parse().ok()).expect("a number");
    let split = "sums/main";
    assert_eq!(
        query(&desk, sql),
        format!("letters,split,kind,has_key\n{refused},{split},row,true\n")
    );
    let left = ask(&url, &format!("SELECT count(*) FROM {table} WHERE k = 'key 3'"));
    assert_eq!(left.trim(), "0");
    // Nobody could make it again of what it was made of: it stays, and says so.
    let replay = desk.run(&["dead-letters", "replay", "sums.yaml"]);
    assert_eq!(replay.code, 3, "{}{}", replay.stdout, replay.stderr);
    assert!(query(&desk, sql).starts_with(&format!("letters,split,kind,has_key\n{refused},")));
    ask(&url, &format!("DROP TABLE {table}"));
}

#[test]
fn where_finds_a_result_and_the_epoch_that_made_it() {
    let desk = desk("sums", "");
    desk.done(&["run", "sums.yaml", "--until-end", "--quiet"]);
    let found = desk.done(&["where", "sums.yaml", "sums/main@0", "--format", "json"]).json();
    let rows = found[0]["sinks"].as_array().or(found["sinks"].as_array()).expect("sinks");
    let sums = rows.iter().find(|held| held["sink"] == "results").expect("the sink of results");
    assert_eq!(sums["rows"][0]["_epoch"], 1, "{found}");
}

#[test]
fn a_test_of_a_pipeline_file_sees_the_rows_of_a_window() {
    let desk = Desk::new();
    desk.write(
        "sums.yaml",
        "name: sums\nsources:\n  lines: { type: file, paths: ['*.json'] }\ntransforms:\n  \
         parsed: { type: parse, input: lines, format: json, fields: { k: text } }\n  \
         sums: { type: window, input: parsed, span: epoch, group_by: [k], \
         aggregate: { hits: count(*) } }\nsinks:\n  results: { type: lake, input: sums, table: sums }\n\
         tests:\n  - name: hits are counted by key\n    \
         input: { lines: ['{\"k\":\"a\"}', '{\"k\":\"b\"}', '{\"k\":\"a\"}'] }\n    \
         expect: { results: [ { k: a, hits: 2 }, { k: b, hits: 1 } ] }\n",
    );
    desk.done(&["test", "sums.yaml"]);
}
