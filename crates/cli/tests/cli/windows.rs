//! Windows: what is made of many rows stands once in every destination, whatever kills the process,
//! and adds up to the rows that it was made of.

use std::process::Stdio;

use testkit::services::{find, unique};

use crate::Desk;
use crate::replaced::ask;

/// Lines of the input, in several epochs.
pub const LINES: u64 = 3_000;
const KEYS: u64 = 7;

/// What was made in all epochs, and what the rows themselves give.
const MADE: &str =
    "SELECT k, sum(hits) AS hits, sum(total) AS total FROM sums GROUP BY k ORDER BY k";
const TRUE: &str = "SELECT k, count(*) AS hits, sum(n) AS total FROM raw GROUP BY k ORDER BY k";

pub fn desk(name: &str, sinks: &str) -> Desk {
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

pub fn query(desk: &Desk, sql: &str) -> String {
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
fn a_result_that_a_step_refuses_is_a_dead_letter_with_its_values() {
    let sinks = "  strange: { type: lake, input: odd, table: odd }\n";
    let desk = desk("sums", sinks);
    let pipeline = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a pipeline");
    let step = "  odd: { type: sql, query: \"SELECT k, 1 / (hits - hits) AS d FROM sums\" }\n";
    desk.write("sums.yaml", &pipeline.replace("sinks:\n", &format!("{step}sinks:\n")));
    desk.done(&["run", "sums.yaml", "--until-end", "--quiet"]);
    let sql = "SELECT count(*) > 0 AS any, count(*) = count(original) AS have_values, \
               min(CAST(original AS TEXT)) LIKE '%key 0%' AS has_key FROM dead_letters";
    assert_eq!(query(&desk, sql), "any,have_values,has_key\ntrue,true,true\n");
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

/// A result leads to the ranges that it was made of, and a line to its window.
#[test]
fn where_leads_from_a_result_to_its_lines_and_from_a_line_to_its_window() {
    let desk = timed_desk("sums", DISORDER, "");
    desk.done(&["run", "sums.yaml", "--until-end", "--quiet", "--flush-windows"]);
    let sql = "SELECT _position, _epoch FROM sums WHERE window_start = TIMESTAMP \
               '2025-01-01T00:10:00Z' AND k = 'key 3'";
    let row = query(&desk, sql);
    let (position, epoch) = row.lines().nth(1).and_then(|row| row.split_once(',')).expect("a row");
    let result = format!("sums/main@{position}");
    let found = desk.done(&["where", "sums.yaml", &result, "--format", "json"]).json();
    assert_eq!(found[0]["epoch"].to_string(), epoch, "{found}");
    assert_eq!(found[0]["made_of"]["step"], "sums");
    // Each line of that window and group stands in one of the ranges, and few others do.
    let sql = "SELECT _position FROM raw WHERE date_trunc('minute', ts) = TIMESTAMP \
               '2025-01-01T00:10:00Z' AND k = 'key 3'";
    let lines: Vec<i64> = query(&desk, sql).lines().skip(1).map(|at| at.parse().unwrap()).collect();
    let ranges = found[0]["made_of"]["ranges"].as_array().expect("ranges");
    for line in &lines {
        let holds = |range: &serde_json::Value| {
            (range["from"].as_i64().unwrap()..range["to"].as_i64().unwrap()).contains(line)
        };
        assert!(ranges.iter().any(holds), "{line}: {found}");
    }
    assert!(lines.len() == 8 || lines.len() == 9, "{lines:?}");
    assert!((1..=3).contains(&ranges.len()), "{found}");
    let told = desk.done(&["where", "sums.yaml", &result]).stdout;
    assert!(
        told.contains("made by transform sums in epoch") && !told.contains("no longer"),
        "{told}"
    );
    let line = format!("{}@{}", desk.path().join("a.json").display(), lines[0]);
    let found = desk.done(&["where", "sums.yaml", &line, "--format", "json"]).json();
    let window = &found[0]["windows"][0];
    assert_eq!((&window["step"], &window["late"]), (&"sums".into(), &false.into()), "{found}");
    assert_eq!(window["window"]["k"], "key 3");
    assert!(
        window["window"]["window_start"].to_string().contains("2025-01-01T00:10:00"),
        "{window}"
    );
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

/// What windows of event time made, and what the rows themselves give.
pub const BY_TIME: &str = "SELECT window_start, k, hits, total FROM sums ORDER BY window_start, k";
pub const TRUE_BY_TIME: &str = "SELECT date_trunc('minute', ts) AS window_start, k, count(*) AS hits, \
                            sum(n) AS total FROM raw GROUP BY 1, 2 ORDER BY window_start, k";

/// What overlapping windows of a minute give that begin each half.
const TRUE_BY_HALF: &str = "SELECT window_start, k, count(*) AS hits, sum(n) AS total FROM \
                            (SELECT date_trunc('minute', ts) AS window_start, k, n FROM raw \
                            UNION ALL SELECT date_trunc('minute', ts + INTERVAL '30 seconds') \
                            - INTERVAL '30 seconds', k, n FROM raw) \
                            GROUP BY 1, 2 ORDER BY window_start, k";
const HALVES: &str = "{ hopping: { size: 60s, every: 30s } }";

/// Rows a second apart, some of which stand up to 9 s behind their neighbours.
pub fn timed_lines(seconds: std::ops::Range<u64>) -> String {
    let line = |n: u64| {
        let second = n - (n * 7 % 10).min(n);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let key = n % KEYS;
        format!(
            "{{\"n\":{n},\"k\":\"key {key}\",\"ts\":\"2025-01-01T{hour:02}:{minute:02}:{second:02}Z\"}}\n"
        )
    };
    seconds.map(line).collect()
}

/// The same pipeline with windows of one minute.
pub fn timed_desk(name: &str, time: &str, sinks: &str) -> Desk {
    let desk = desk(name, sinks);
    let yaml = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a file");
    let yaml = yaml.replace("k: text }", "k: text, ts: timestamp }");
    let yaml = yaml.replace("span: epoch", &format!("span: {{ tumbling: 60s }}, time: {time}"));
    desk.write("sums.yaml", &yaml);
    desk.write("a.json", &timed_lines(0..LINES));
    desk
}

pub const DISORDER: &str = "{ column: ts, disorder: 10s }";

#[test]
fn windows_of_event_time_give_what_their_rows_give_after_a_kill_at_any_point() {
    let Some(url) = find("postgres") else { return };
    let points = [
        ("barrier.paused", 3),
        ("copy.after", 2),
        ("prepare.done", 4),
        ("decide.after", 2),
        ("decide.after", 5),
        ("commit.sink.before", 8),
        ("commit.sink.after", 7),
        ("complete.before", 1),
    ];
    for (point, pass) in points {
        let name = unique("timed");
        let table = name.replace('-', "_");
        let sink = format!(
            "  warehouse: {{ type: postgres, input: sums, url: '{url}', table: {table}, \
             create: true }}\n"
        );
        let desk = timed_desk(&name, DISORDER, &sink);
        let yaml = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a file");
        // Every other time they overlap.
        let (span, truth, each) = match pass % 2 {
            0 => ("{ tumbling: 60s }", TRUE_BY_TIME, 1),
            _ => (HALVES, TRUE_BY_HALF, 2),
        };
        desk.write("sums.yaml", &yaml.replace("{ tumbling: 60s }", span));
        let arguments = ["run", "sums.yaml", "--until-end", "--quiet"];
        let mut killed = desk.command(&arguments);
        killed.env("LOGMILL_FAILPOINT", format!("{point}:{pass}"));
        let status =
            killed.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert_eq!(status.code(), None, "{point} is passed {pass} times");
        desk.done(&arguments);
        let early = query(&desk, "SELECT count(*) > 0 AS n FROM sums");
        assert_eq!(early, "n\ntrue\n", "windows close while the file is read");
        desk.done(&[&arguments[..], &["--flush-windows"]].concat());
        assert_eq!(query(&desk, BY_TIME), query(&desk, truth), "{point}:{pass}");
        let audit = desk.done(&["audit", "sums.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
        let rows = ask(&url, &format!("SELECT sum(hits) FROM {table}"));
        assert_eq!(rows.trim(), (each * LINES).to_string());
        let late = query(
            &desk,
            "SELECT sum(late) AS late, sum(aggregated) AS in FROM ledger WHERE sink = 'results'",
        );
        assert_eq!(late, format!("late,in\n0,{LINES}\n"));
        ask(&url, &format!("DROP TABLE {table}"));
    }
}

#[test]
fn rows_of_closed_windows_are_late_and_leave_by_an_output_of_their_own() {
    let late = "  missed: { type: lake, input: sums.late, table: too_late }\n";
    let desk = timed_desk("late", DISORDER, late);
    let flush = ["run", "sums.yaml", "--until-end", "--quiet", "--flush-windows"];
    desk.done(&flush);
    assert_eq!(query(&desk, "SELECT sum(hits) AS n FROM sums"), format!("n\n{LINES}\n"));
    let more = timed_lines(0..LINES + 100);
    desk.write(
        "a.json",
        &more
            .lines()
            .chain(timed_lines(0..5).lines())
            .fold(String::new(), |all, line| all + line + "\n"),
    );
    desk.done(&flush);
    let counts = "SELECT sink, sum(late) AS late, sum(aggregated) AS inside, sum(delivered) AS out \
                  FROM ledger WHERE sink IN ('results', 'missed') AND split LIKE '%a.json' \
                  GROUP BY sink ORDER BY sink";
    let all = LINES + 105;
    let inside: u64 = query(&desk, "SELECT CAST(sum(hits) AS BIGINT) AS n FROM sums")
        .lines()
        .nth(1)
        .and_then(|line| line.parse().ok())
        .expect("a number");
    let late = all - inside;
    assert!(late >= 5, "{late}");
    assert_eq!(
        query(&desk, counts),
        format!("sink,late,inside,out\nmissed,0,{inside},{late}\nresults,{late},{inside},0\n")
    );
    assert_eq!(query(&desk, "SELECT count(*) AS n FROM too_late"), format!("n\n{late}\n"));
    desk.done(&["audit", "sums.yaml"]);
}

#[test]
fn open_windows_stay_until_they_are_closed_and_their_step_cannot_be_taken_away() {
    let desk = timed_desk("open", DISORDER, "");
    let run = ["run", "sums.yaml", "--until-end"];
    let ran = desk.done(&run);
    assert!(ran.stderr.contains("windows stay open"), "{}", ran.stderr);
    let listed = desk.done(&["splits", "list", "sums.yaml"]).stdout;
    assert!(listed.contains("  step sums: event time is at 2025-01-01T00:4"), "{listed}");
    assert!(listed.contains("; 2 open windows with"), "{listed}");
    assert!(listed.contains(", the first closes at 2025-01-01T00:49:00Z"), "{listed}");
    let yaml = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a file");
    let check = |changed: &str, expect: &str| {
        desk.write("sums.yaml", changed);
        let ran = desk.run(&run);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(expect), "{}", ran.stderr);
        assert!(ran.stderr.contains("--flush-windows"), "{}", ran.stderr);
    };
    check(&yaml.replace("group_by: [k]", "group_by: [n]"), "windows are open that were made by");
    let is_other = |line: &&str| !line.contains("sums: {") && !line.contains("results: {");
    let without = yaml.lines().filter(is_other);
    let without = without.collect::<Vec<_>>().join("\n");
    check(&without, "transform \"sums\" is not in the pipeline file and holds");
    desk.write("sums.yaml", &yaml);
    desk.done(&[&run[..], &["--flush-windows"]].concat());
    assert_eq!(query(&desk, BY_TIME), query(&desk, TRUE_BY_TIME));
    desk.write("sums.yaml", &yaml.replace("group_by: [k]", "group_by: [n]"));
    desk.done(&run);
}

#[test]
fn a_stream_that_falls_silent_closes_its_last_window_and_one_wrong_clock_closes_none() {
    let time = "{ column: ts, disorder: 0s, idle: 1s, hold_max: 1m }";
    let desk = timed_desk("silent", time, "");
    let yaml = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a file");
    desk.write("sums.yaml", &yaml.replace("interval: 1h", "interval: 100ms").replace("60s", "1s"));
    let last = "{\"n\":1,\"k\":\"last\",\"ts\":\"2025-02-01T00:00:00Z\"}\n";
    let wrong = "{\"n\":2,\"k\":\"wrong\",\"ts\":\"2099-01-01T00:00:00Z\"}\n";
    desk.write("a.json", &format!("{wrong}{last}"));
    let mut running = desk.command(&["run", "sums.yaml", "--quiet"]);
    let mut running =
        running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    testkit::wait::until("the last window closes", std::time::Duration::from_secs(30), || {
        let ran = desk.run(&["query", "SELECT k, hits FROM sums", "--format", "csv"]);
        (ran.stdout == "k,hits\nlast,1\n").then_some(())
    });
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    let letters = query(&desk, "SELECT step, split_part(reason, ' ', 3) AS time FROM dead_letters");
    assert_eq!(letters, "step,time\nsums,2099-01-01T00:00:00+00:00\n");
    assert_eq!(query(&desk, "SELECT count(*) AS n FROM raw"), "n\n2\n", "others have the row");
}
