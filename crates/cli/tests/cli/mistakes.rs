//! What a new user types wrong, and what the program says to it.

use crate::Desk;

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
sinks:
  lake: { type: lake, input: access, table: web }
";

/// A folder with a log, and a pipeline that has read it.
fn milled() -> Desk {
    let desk = Desk::new();
    let line = "192.0.2.1 - - [03/Mar/2026:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"-\"\n";
    desk.write("access.log", &line.repeat(9));
    desk.write("web.yaml", PIPELINE);
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk
}

fn check(desk: &Desk, arguments: &[&str], expect: &str) {
    let ran = desk.run(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
    assert!(ran.stderr.contains(expect), "{arguments:?}: {expect}: {}", ran.stderr);
}

#[test]
fn a_query_that_is_none_is_shown_how_one_is_written() {
    let desk = milled();
    let query = |sql: &str, expect: &str| check(&desk, &["query", sql], expect);
    query("", "there is no query");
    query("access.log", "SELECT * FROM log('access.log') LIMIT 10");
    query("SELECT * FROM access.log", "hint: a file is read by log('access.log')");
    query("SELECT * FROM 'access.log'", "hint: a file is read by log('access.log')");
    query("SELECT * FROM log(access.log)", "hint: texts stand in single quotes");
    query("SELECT * FROM web WHERE message = \"200 OK\"", "a text stands in single quotes");
    query("SELECT 1; SELECT 2", "there is more than one query");
    query("SELECT * FROM log('http://localhost/a.log')", "curl");
}

#[test]
fn what_is_no_log_and_no_page_is_told_before_anything_is_read() {
    let desk = milled();
    let look = |arguments: &[&str], expect: &str| {
        check(&desk, &[&["look"], arguments].concat(), expect);
    };
    look(&["http://localhost/a.log"], "hint: fetch it first");
    look(&["~/access.log"], "`~` is the shell's");
    look(&["web.yaml"], "hint: a pipeline is run: `logmill run web.yaml`");
    look(&["access.log", "--report", "."], "\".\" is a folder");
    look(&["access.log", "--report", "no/such/out.html"], "there is no folder \"no/such\"");
}

#[test]
fn a_log_in_the_place_of_a_pipeline_file_is_called_a_log() {
    let desk = milled();
    for command in ["check", "run", "audit", "test", "serve"] {
        check(&desk, &[command, "access.log"], "`logmill look access.log` shows what is in it");
    }
    check(&desk, &["where", "access.log", "GET"], "\"access.log\" is a log, not a pipeline file");
    let exchanged = "the pipeline file comes first: logmill where web.yaml 'GET /a'";
    check(&desk, &["where", "GET /a", "web.yaml"], exchanged);
    let short = desk.done(&["where", "web.yaml", "access.log@0"]).stdout;
    assert!(short.contains("read in epoch 1"), "{short}");
    check(&desk, &["dead-letters", "list", "--limit", "0"], "a whole number from 1 on");
}

#[test]
fn names_of_built_in_tables_are_refused_where_they_stand() {
    let desk = milled();
    let taken = "hint: logmill has a table of this name in every data folder; choose another name";
    for table in ["LATE", "Ledger", "Dead_Letters"] {
        desk.write("wrong.yaml", &PIPELINE.replace("table: web", &format!("table: {table}")));
        check(&desk, &["check", "wrong.yaml"], "belongs to logmill");
        check(&desk, &["check", "wrong.yaml"], "wrong.yaml:5:");
    }
    for name in ["late", "ledger", "dead_letters"] {
        let source = PIPELINE.replace("access:", &format!("{name}:"));
        desk.write("wrong.yaml", &source.replace("input: access", &format!("input: {name}")));
        check(&desk, &["check", "wrong.yaml"], taken);
        check(&desk, &["check", "wrong.yaml"], "wrong.yaml:3:3");
        let wrong = |text: &str, expect: &[&str]| {
            desk.write("wrong.yaml", text);
            expect.iter().for_each(|expect| check(&desk, &["check", "wrong.yaml"], expect));
        };
        let step =
            format!("transforms:\n  {name}: {{ type: parse, input: access, format: json }}\n");
        wrong(&format!("{PIPELINE}{step}"), &[taken, "wrong.yaml:7:3"]);
        wrong(&PIPELINE.replace("lake: {", &format!("{name}: {{")), &[taken, "wrong.yaml:5:3"]);
        let table = PIPELINE.replace("table: web", &format!("table: {name}"));
        wrong(&table, &["wrong.yaml:5:", "choose another name"]);
        let without = PIPELINE.split("sinks:").next().expect("a beginning");
        let own = without.replace("name: web", &format!("name: {name}"));
        wrong(&own, &["wrong.yaml:1:7", "choose another name"]);
        let sources = format!("  {name}: {{ type: file, paths: [access.log] }}\n");
        wrong(&format!("{without}{sources}"), &["wrong.yaml:4:3", "choose another name"]);
    }
}

#[test]
fn what_no_run_can_do_is_refused_where_it_stands() {
    let desk = milled();
    let wrong = |text: &str, expect: &[&str]| {
        desk.write("wrong.yaml", text);
        expect.iter().for_each(|expect| check(&desk, &["check", "wrong.yaml"], expect));
    };
    let sink = |settings: &str| PIPELINE.replace("type: lake", settings);
    let header = "type: kafka, brokers: \"127.0.0.1:1\", topic: t, headers: { logmill-split: x }";
    wrong(
        &sink(header).replace(", table: web", ""),
        &["header \"logmill-split\" is the origin of a row", "wrong.yaml:5:", "field: headers"],
    );
    wrong(
        &sink("type: postgres, url: \"postgres://u@127.0.0.1:1/d\"")
            .replace("table: web", "table: \"{message}\""),
        &["it does not begin with text", "wrong.yaml:5:", "or name a schema: `logs.{message}`"],
    );
    wrong(
        &sink("type: postgres, url: \"postgres://u@127.0.0.1:1/d\"")
            .replace("table: web", "table: \"t_{mesage}\""),
        &["column \"mesage\" does not exist", "wrong.yaml:5:", "did you mean \"message\"?"],
    );
    wrong(
        &PIPELINE.replace("table: web", "table: \"web_{message}\""),
        &["\"web_{message}\" names several tables", "wrong.yaml:5:", "`partition_by: column`"],
    );
    wrong(
        &sink("type: lake, url: \"s3://b/k\", access_key: who"),
        &["there is `access_key` and no `secret_key`", "wrong.yaml:5:", "AWS_SECRET_ACCESS_KEY"],
    );
    wrong(
        &sink("type: lake, url: \"az://b/k\", access_key: shop, secret_key: \"no base64!\""),
        &["the key of Azure is not base64", "wrong.yaml:5:", "field: secret_key"],
    );
    wrong(
        &format!("{PIPELINE}checkpoint:\n  url: gcs://x/y\n"),
        &["\"gcs://x/y\" names no store", "wrong.yaml:7:8", "hint: use a path"],
    );
    wrong(
        &format!("{PIPELINE}checkpoint:\n  url: s3://b/c\n  options: {{ tmeout: 1s }}\n"),
        &["no option \"tmeout\"", "wrong.yaml:8:12"],
    );
    let secure = "  url: s3://b/c\n  endpoint: http://x\n  require_tls: true\n";
    wrong(&format!("{PIPELINE}checkpoint:\n{secure}"), &["wrong.yaml:8:13"]);
    let ways = "transforms:\n  q: { type: sql, query: \"SELECT message AS k FROM access\" }\n  \
                r: { type: sql, query: \"SELECT 'x' AS k FROM access\" }\n";
    wrong(
        &format!("{}{ways}", PIPELINE.replace("input: access", "input: [q, r]")),
        &["different columns: \"k\" is Utf8View in \"q\" and Utf8 in \"r\"", "wrong.yaml:5:3"],
    );
    // What the hint says leads on.
    let number = |null: &str| {
        let q = "q: { type: sql, query: \"SELECT message, 1 AS n FROM access\" }";
        let r = format!("r: {{ type: sql, query: \"SELECT message, {null} AS n FROM access\" }}");
        let both = PIPELINE.replace("input: access", "input: [q, r]");
        format!("{both}transforms:\n  {q}\n  {r}\n")
    };
    wrong(&number("NULL"), &["\"n\" is Int64 in \"q\" and Null in \"r\"", "`CAST(NULL AS bigint)"]);
    desk.write("right.yaml", &number("CAST(NULL AS bigint)"));
    desk.done(&["check", "right.yaml"]);
}
