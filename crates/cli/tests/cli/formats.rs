//! Logs of servers and clouds by the name of their format, or by what their first lines show.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::program::Running;
use testkit::wait;

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(60);

/// A line of each named format with what one page asks of it; three lines each.
const LINES: &str = include_str!("formats.txt");

/// The name, the line and the row of each format.
fn formats() -> Vec<(&'static str, &'static str, &'static str)> {
    let format = |text: &'static str| {
        let mut lines = text.trim_start_matches('\n').split('\n');
        let mut line = || lines.next().expect("three lines");
        (line(), line(), line())
    };
    LINES.split("\n\n").map(format).collect()
}

const PAGE: &str = "ip, ts, method, path, status, bytes, response_time_ms";

fn pipeline(format: &str) -> String {
    format!(
        "name: web\nsources:\n  access: {{ type: file, paths: [in.log] }}\ntransforms:\n  \
         parsed: {{ type: parse, input: access, {format} }}\nsinks:\n  \
         lake: {{ type: lake, input: parsed, table: web }}\n"
    )
}

/// The rows of a query as CSV, without the names.
fn rows(desk: &Desk, sql: &str) -> String {
    let ran = desk.done(&["query", "--format", "csv", sql]);
    ran.stdout.lines().skip(1).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_named_format_is_a_pipeline_that_one_page_can_show() {
    let desk = Desk::new();
    for (name, line, expect) in formats() {
        desk.write("in.log", &format!("{line}\n{line}\n"));
        let text =
            pipeline(&format!("format: {name}")).replace("name: web", &format!("name: {name}"));
        desk.write("web.yaml", &text.replace("table: web", &format!("table: {name}")));
        desk.done(&["run", "web.yaml", "--until-end"]);
        let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{name}: {audit}");
        let table = rows(&desk, &format!("SELECT {PAGE} FROM {name}"));
        assert_eq!(table, format!("{expect}\n{expect}"), "{name}");
        let ran =
            desk.done(&["query", "--format", "csv", &format!("SELECT {PAGE} FROM log('in.log')")]);
        assert_eq!(ran.stdout.lines().nth(1), Some(expect), "{name} is found out");
        assert_eq!(ran.stderr, format!("in.log: format {name}: 2 of the first 2 lines have it\n"));
    }
}

#[test]
fn a_format_that_is_found_out_holds_for_all_later_runs() {
    let desk = Desk::new();
    desk.write("web.yaml", &pipeline("format: auto"));
    let line = |path: &str| {
        format!("192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET {path} HTTP/1.1\" 200 5\n")
    };
    desk.write("in.log", &line("/a"));
    let said = "parsed: format common: the first line has it";
    let checked = desk.done(&["check", "web.yaml"]);
    assert!(checked.stdout.contains("format common: the first line has it"), "{}", checked.stdout);
    assert!(!desk.path().join("logmill-data").exists(), "check changes nothing");
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    assert!(ran.stdout.contains(said), "{}", ran.stdout);

    // Another format comes: nothing is decided again, and the dead letter says what was taken.
    let json = "{\"ip\": 1}\n";
    desk.write("in.log", &[&line("/a"), &json.repeat(20)[..], &line("/b")].concat());
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    assert!(ran.stdout.contains(&format!("{said}, as an earlier run saw")), "{}", ran.stdout);
    assert_eq!(rows(&desk, "SELECT path FROM web ORDER BY path"), "/a\n/b");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    assert_eq!(letters.as_array().map(Vec::len), Some(20));
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.ends_with("; `format: auto` took common from the first lines"), "{reason}");
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
}

#[test]
fn a_bad_file_among_others_decides_nothing() {
    let desk = Desk::new();
    desk.write("web.yaml", &pipeline("format: auto").replace("[in.log]", "['*.log*']"));
    std::fs::write(desk.path().join("a.log.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03garbage")
        .expect("a damaged archive");
    desk.write("b.log", "~~~ begin of a listing ~~~\n~~~ no log at all ~~~\n");
    let line = "192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5\n";
    desk.write("c.log", &line.repeat(30));
    let checked = desk.run(&["check", "web.yaml"]);
    assert!(checked.stdout.contains("format common"), "{}{}", checked.stdout, checked.stderr);
    let ran = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(ran.code, 1, "the damaged one is named: {}", ran.stderr);
    assert!(ran.stderr.contains("a.log.gz"), "{}", ran.stderr);
    assert_eq!(rows(&desk, "SELECT count(*) FROM web"), "30");
}

#[test]
fn the_format_of_standard_input_is_told_by_its_first_lines_and_kept() {
    let desk = Desk::new();
    let stdin = pipeline("format: auto").replace("type: file, paths: [in.log]", "type: stdio");
    desk.write("web.yaml", &stdin);
    let run = |input: &str| desk.run_with(&["run", "web.yaml", "--until-end"], input);
    assert_eq!(run("").code, 2, "there is no line");
    let ran = run("{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("parsed: format json"), "{}", ran.stdout);
    let ran = run("{\"a\":3}\na=4\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("as an earlier run saw"), "{}", ran.stdout);
    assert_eq!(rows(&desk, "SELECT a FROM web ORDER BY a"), "1\n2\n3");
    desk.done(&["check", "web.yaml"]);
}

#[test]
fn the_format_of_files_that_are_not_there_yet_is_told_when_they_come() {
    let desk = Desk::new();
    let text = pipeline("format: auto").replace("[in.log]", "['in*.log']");
    desk.write("web.yaml", &format!("epoch: {{ interval: 100ms }}\n{text}"));
    let ran = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(ran.code, 2, "nobody waits: {}", ran.stderr);
    let follow = || {
        let told = std::fs::File::create(desk.path().join("told")).expect("a file");
        let mut command = desk.command(&["run", "web.yaml"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told);
        let running = Running::spawn(&mut command);
        wait::until("it says that it waits", LIMIT, || {
            let told = std::fs::read_to_string(desk.path().join("told")).expect("text");
            told.contains("no line yet to tell the format from").then_some(())
        });
        running
    };
    assert_eq!(follow().stop().code(), Some(143), "it can be stopped while it waits");
    let mut running = follow();
    desk.write("in1.log", "{\"a\":1}\n");
    wait::until("the line is delivered", LIMIT, || {
        let ran = desk.run(&["query", "-f", "csv", "SELECT a FROM web"]);
        (ran.stdout == "a\n1\n").then_some(())
    });
    assert_eq!(running.stop().code(), Some(143));
    desk.done(&["check", "web.yaml"]);
}

#[test]
fn guessed_fields_keep_what_they_did_not_see() {
    let desk = Desk::new();
    desk.write("web.yaml", &pipeline("format: auto"));
    desk.write("in.log", "{\"a\":1}\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk.write("in.log", "{\"a\":1}\n{\"b\":\"x\",\"a\":2}\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(
        rows(&desk, "SELECT a, rest FROM web ORDER BY a"),
        "1,\n2,\"{\"\"b\"\":\"\"x\"\"}\""
    );
}

#[test]
fn what_cannot_be_told_is_refused_with_what_is_closest() {
    let desk = Desk::new();
    let check = |code: i32, parts: &[&str]| {
        let ran = desk.run(&["check", "web.yaml"]);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    };
    desk.write("web.yaml", &pipeline("format: auto"));
    desk.write("in.log", "");
    let empty = "there is no line to tell the format from";
    check(2, &[empty, "web.yaml:5", "hint: begin again once there are lines, or name the format"]);
    desk.write("in.log", "{\"a\":1}\na=1 b=2\nplain\n");
    check(2, &["no format fits 9 of 10 of the first 3 lines: json fits 1, logfmt fits 1"]);
    desk.write("web.yaml", &pipeline("format: auto, rest: x"));
    check(2, &["format \"auto\" does not go with \"rest\""]);
    desk.write(
        "web.yaml",
        &pipeline("format: auto").replace("type: file, paths: [in.log]", "type: stdio"),
    );
    check(2, &["there is no line of standard input yet", "`run` tells it from the first lines"]);
    desk.write("web.yaml", &pipeline("format: s3_acces"));
    check(2, &["hint: did you mean \"s3_access\"?"]);

    let query = |sql: &str, expect: &str| {
        let ran = desk.run(&["query", sql]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{sql}");
        assert!(ran.stderr.contains(expect), "{sql}: {}", ran.stderr);
    };
    query("SELECT * FROM log('in.log')", "could not tell the format of \"in.log\": no format fits");
    query("SELECT * FROM log('in.log', 'traefik_jason')", "hint: did you mean \"traefik_json\"?");
}

#[test]
fn the_formats_are_listed_with_a_sentence_each() {
    let desk = Desk::new();
    let text = desk.done(&["connectors", "parse"]).stdout;
    for (name, ..) in formats() {
        assert!(text.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name}: {text}");
    }
    let listed = desk.done(&["connectors", "parse", "--format", "json"]).json();
    let formats = listed["formats"].as_array().expect("a list");
    assert!(formats.iter().all(|format| format["meaning"] != ""), "{listed}");
    assert_eq!(listed["transform"], "parse");
}

#[test]
fn a_line_break_inside_a_json_field_is_no_part_of_its_line() {
    let desk = Desk::new();
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [in.log] }\ntransforms:\n  \
         opened: { type: parse, input: a, format: json, fields: { log: text } }\n  \
         parsed: { type: parse, input: opened, field: log, format: common }\nsinks:\n  \
         lake: { type: lake, input: parsed, table: web }\n",
    );
    let line = |path: &str, end: &str| {
        let log = format!("192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET {path}\" 200 5{end}");
        format!("{}\n", json!({ "log": log, "stream": "stdout" }))
    };
    desk.write("in.log", &[line("/a", "\n"), line("/b", "\r\n"), line("/c", "")].concat());
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk, "SELECT path, bytes FROM web ORDER BY path"), "/a,5\n/b,5\n/c,5");
}

#[test]
fn lines_of_containers_are_read_by_the_format_inside() {
    let desk = Desk::new();
    let access = "192.0.2.7 - - [03/Mar/2026:09:59:59 +0000] \"GET /a HTTP/1.1\" 200 5";
    desk.write("in.log", &format!("2026-03-03T10:00:00.123456789Z stdout F {access}\n"));
    let sql = |format: &str| format!("SELECT path, ts, stream, container_ts FROM log({format})");
    let expect = "/a,2026-03-03T09:59:59Z,stdout,2026-03-03T10:00:00.123456Z";
    for format in ["'in.log'", "'in.log', 'cri'", "'in.log', 'cri', 'common'"] {
        assert_eq!(rows(&desk, &sql(format)), expect, "{format}");
    }
    let docker = json!({ "log": "{\"level\":\"info\"}\n", "stream": "stderr",
        "time": "2026-03-03T10:00:00.123456789Z" });
    desk.write("in.log", &format!("{docker}\n"));
    let ran = desk.done(&["query", "SELECT * FROM log('in.log')", "--format", "ndjson"]);
    let row: Value = serde_json::from_str(ran.stdout.trim()).expect("a row");
    let expect =
        json!({ "level": "info", "stream": "stderr", "ts": "2026-03-03T10:00:00.123456Z" });
    assert_eq!(row, expect);
    assert!(ran.stderr.contains("format docker, inner: json: the first line"), "{}", ran.stderr);
}

/// A line of a program as Docker writes it: in parts of so many bytes.
fn in_parts(text: &str, bytes: usize) -> String {
    let ended = format!("{text}\n");
    let parts = ended.as_bytes().chunks(bytes).map(String::from_utf8_lossy);
    let object = |part| json!({ "log": part, "stream": "stdout", "time": "2026-03-03T10:00:00Z" });
    // The order of the keys is Docker's.
    parts.map(|part| format!("{}\n", object(part))).collect()
}

#[test]
fn long_lines_of_containers_are_joined_by_their_source() {
    let desk = Desk::new();
    let agent = |size: usize| {
        let agent = "x".repeat(size);
        format!(
            "192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"{agent}\""
        )
    };
    let sizes = [10, 20_000, 40_000, 10];
    desk.write("in.log", &sizes.map(|size| in_parts(&agent(size), 16 << 10)).concat());
    let docker = pipeline("format: docker, inner: combined");
    desk.write("web.yaml", &docker);
    let ran = desk.run(&["check", "web.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: add `join: docker` to it"), "{}", ran.stderr);

    let joined =
        docker.replace("paths: [in.log]", "paths: [in.log], block_bytes: 4KiB, join: docker");
    desk.write("web.yaml", &joined);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = |from: &str| {
        format!("SELECT length(user_agent) AS size, count(*) FROM {from} GROUP BY 1 ORDER BY 1")
    };
    let expect = "10,2\n20000,1\n40000,1";
    assert_eq!(rows(&desk, &sql("web")), expect);
    assert_eq!(rows(&desk, &sql("log('in.log', 'docker', 'combined')")), expect);
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
}

#[test]
fn what_the_format_inside_refuses_is_a_dead_letter_with_the_whole_record() {
    let desk = Desk::new();
    let part = |tag: &str, text: &str| format!("2026-03-03T10:00:00Z stdout {tag} {text}\n");
    let other =
        "2026-03-03T10:00:01Z stderr F 192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"-\" 408 0\n";
    desk.write("in.log", &[&part("P", "no "), other, &part("F", "access log")].concat());
    let cri = pipeline("format: cri, inner: common");
    desk.write("web.yaml", &cri.replace("paths: [in.log]", "paths: [in.log], join: cri"));
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk, "SELECT status, stream FROM web"), "408,stderr");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    let reason = letters[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("inside cri: "), "{reason}");
    let text = letters[0].to_string();
    assert!(text.contains("2026-03-03T10:00:00Z stdout F no access log"), "{text}");
}

#[test]
fn parts_at_the_end_of_a_rotated_file_are_one_dead_letter_that_says_why() {
    let desk = Desk::new();
    let part = |tag: &str, text: &str| format!("2026-03-03T10:00:00Z stdout {tag} {text}\n");
    let common =
        |path: &str| format!("192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"{path}\" 200 0");
    desk.write(
        "in.log.1",
        &[part("F", &common("GET /a")), part("P", "192.0.2.7 "), part("P", "- - ")].concat(),
    );
    desk.write("in.log", &[part("F", "the rest"), part("F", &common("GET /b"))].concat());
    let cri = pipeline("format: cri, inner: common");
    let settings = "paths: ['in.log*'], join: cri, rotate_wait: 0ms";
    desk.write("web.yaml", &cri.replace("paths: [in.log]", settings));
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk, "SELECT path FROM web ORDER BY 1"), "/a\n/b");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    let told = |text: &str| {
        let letters = letters.as_array().expect("a list").iter();
        letters.filter(|letter| letter.to_string().contains(text)).count()
    };
    assert_eq!(letters.as_array().map(Vec::len), Some(2), "{letters}");
    assert_eq!(told("joins its parts, as far as they stand in one file"), 1, "{letters}");
    assert_eq!((told("P 192.0.2.7 - - "), told("F the rest")), (1, 1), "{letters}");
}
