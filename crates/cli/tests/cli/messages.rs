//! What people are told who wrote something nearly right.

use crate::Desk;

/// What a query that fails says.
fn query_error(desk: &Desk, sql: &str) -> String {
    let ran = desk.run(&["query", sql]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{sql}");
    ran.stderr
}

#[test]
fn a_query_that_does_not_fit_says_cast_it_and_blames_nobody() {
    let desk = Desk::new();
    desk.write("in.json", "{\"size\":\"999\",\"at\":\"2026-03-03T10:00:00Z\"}\n");
    let from = "FROM log('in.json', 'json')";
    for what in ["sum(size)", "avg(size)", "round(size)", "median(size)", "size * 2", "sum(at)"] {
        let said = query_error(&desk, &format!("SELECT {what} {from}"));
        assert!(said.contains("hint: cast it: CAST(x AS BIGINT)"), "{what}: {said}");
        for other in ["DataFusion", "bug", "Utf8View)", "Candidate", "Internal error"] {
            assert!(!said.contains(other), "{what}: {other}: {said}");
        }
    }
    let said = query_error(&desk, &format!("SELECT lower(1) {from}"));
    assert!(said.contains("CAST(x AS TEXT)"), "{said}");
    let said = query_error(&desk, &format!("SELECT round(1, 2, 3) {from}"));
    assert!(said.contains("it is called as round("), "{said}");
    let ran =
        desk.done(&["query", "-f", "csv", &format!("SELECT sum(CAST(size AS BIGINT)) {from}")]);
    assert!(ran.stdout.contains("999"), "{}", ran.stdout);
}

#[test]
fn a_pipeline_that_does_not_fit_says_the_same() {
    let desk = Desk::new();
    desk.write("access.log", "");
    let pipeline = |query: &str| {
        format!(
            "name: web\nsources:\n  a: {{ type: file, paths: [access.log] }}\n\
             transforms:\n  p: {{ type: parse, input: a, format: json, fields: {{ Host: text }} }}\n  \
             q: {{ type: sql, query: '{query}' }}\n\
             sinks:\n  t: {{ type: lake, input: q, table: t }}\n"
        )
    };
    desk.write("web.yaml", &pipeline("SELECT round(\"Host\") AS size FROM p"));
    let said = desk.run(&["check", "web.yaml"]).stderr;
    assert!(said.contains("CAST(x AS BIGINT)") && !said.contains("bug"), "{said}");
    desk.write("web.yaml", &pipeline("SELECT Host FROM p"));
    let said = desk.run(&["check", "web.yaml"]).stderr;
    assert!(said.contains("in double quotes: \"Host\""), "{said}");
}

#[test]
fn a_name_with_capitals_is_shown_in_its_quotes() {
    let desk = Desk::new();
    desk.write("in.json", "{\"ClientHost\":\"192.0.2.1\"}\n");
    let said = query_error(&desk, "SELECT ClientHost FROM log('in.json', 'json')");
    assert!(said.contains("there is no column \"clienthost\""), "{said}");
    assert!(said.contains("stands in double quotes: \"ClientHost\""), "{said}");
    let sql = "SELECT \"ClientHost\" FROM log('in.json', 'json')";
    assert!(desk.done(&["query", "-f", "csv", sql]).stdout.contains("192.0.2.1"));
    let said = query_error(&desk, "SELECT ClientHots FROM log('in.json', 'json')");
    assert!(said.contains("did you mean \"ClientHost\"?"), "{said}");
}

#[test]
fn the_names_of_built_in_tables_are_refused_where_they_would_collide() {
    let desk = Desk::new();
    desk.write("access.log", "");
    let check = |step: &str, sink: &str| {
        desk.write(
            "web.yaml",
            &format!(
                "name: web\nsources:\n  a: {{ type: file, paths: [access.log] }}\n\
                 transforms:\n  {step}: {{ type: parse, input: a, format: combined }}\n\
                 sinks:\n  {sink}: {{ type: lake, input: {step}, table: t }}\n"
            ),
        );
        let ran = desk.run(&["check", "web.yaml"]);
        (ran.code, ran.stderr)
    };
    assert_eq!(check("p", "t").0, 0);
    for name in ["late", "ledger", "dead_letters"] {
        for (step, sink) in [(name, "t"), ("p", name)] {
            let (code, said) = check(step, sink);
            assert_eq!(code, 2, "{step} {sink}: {said}");
            assert!(said.contains(&format!("{name:?}")) && said.contains("web.yaml:"), "{said}");
            assert!(said.contains("hint:") && said.contains("name"), "{said}");
        }
    }
}

#[test]
fn dead_letters_are_listed_short_and_shown_whole() {
    let desk = Desk::new();
    let dead = |byte: &str| byte.repeat(300_000);
    desk.write("access.log", &format!("{}\n{}\n", dead("x"), dead("\0")));
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [access.log] }\n\
         transforms:\n  p: { type: parse, input: a, format: combined }\n\
         sinks:\n  t: { type: lake, input: p, table: t }\n",
    );
    desk.run(&["run", "web.yaml", "--until-end", "-q"]);
    let list = desk.done(&["dead-letters", "list"]).stdout;
    assert!(list.len() < 8_192, "the list has {} bytes", list.len());
    assert!(list.contains("access.log@0") && list.contains("xxx"), "{list}");
    assert!(list.contains("(300000 bytes)"), "{list}");
    let full = desk.done(&["dead-letters", "list", "--full"]).stdout;
    assert!(full.matches('x').count() >= 300_000, "a table breaks the longest lines only");
    let lines = desk.done(&["dead-letters", "list", "-f", "ndjson"]).stdout;
    assert!(lines.contains(&dead("x")), "programs get everything");
}

#[test]
fn a_path_of_the_shell_is_told() {
    let desk = Desk::new();
    let check = |paths: &str, sink: &str| {
        desk.write(
            "web.yaml",
            &format!(
                "name: web\nsources:\n  a: {{ type: file, paths: [{paths}] }}\n\
                 sinks:\n  t: {{ input: a, {sink} }}\n"
            ),
        );
        let ran = desk.run(&["check", "web.yaml"]);
        assert_eq!(ran.code, 2, "{paths} {sink}: {}", ran.stdout);
        assert!(ran.stderr.contains("only a shell replaces"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--> web.yaml:"), "{}", ran.stderr);
        assert!(ran.stderr.contains("${HOME}/"), "{}", ran.stderr);
    };
    check("~/logs/*.log", "type: lake, table: t");
    check("access.log", "type: object_store, url: ~/out");
    let said = query_error(&desk, "SELECT * FROM log('~/access.log', 'combined')");
    assert!(said.contains("`~` is the shell's"), "{said}");
}

#[test]
fn a_file_in_place_of_a_command_names_the_commands_that_take_it() {
    let desk = Desk::new();
    desk.write("access.log", "a line\n");
    let check = |arguments: &[&str], parts: &[&str]| {
        let ran = desk.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{arguments:?}: {part}: {}", ran.stderr);
        }
    };
    check(&["web.yaml"], &["logmill run web.yaml", "logmill check web.yaml"]);
    check(&["access.log"], &["logmill look access.log", "log('access.log'", "logmill query"]);
    check(&["logs/*"], &["logmill look logs/*"]);
    check(&["tail", "access.log"], &["Kafka topics", "logmill look access.log --follow"]);
    check(&["tail", "-f", "access.log"], &["Kafka topics", "logmill look FILE --follow"]);
    check(&["query", "-f", "access.log"], &["invalid value 'access.log' for '--format"]);
    check(&["chekc"], &["unrecognized subcommand", "check"]);
    assert_eq!(desk.run(&["--help"]).code, 0);
}

#[test]
fn every_section_that_names_a_store_takes_the_same_urls() {
    let desk = Desk::new();
    desk.write("access.log", "");
    let check = |store: &str| {
        let pipeline = format!(
            "name: web\nsources:\n  a: {{ type: file, paths: [access.log] }}\nsinks:\n  \
             t: {{ type: lake, input: a, table: t, {store} }}\n  \
             o: {{ type: object_store, input: a, {store} }}\ncheckpoint: {{ {store} }}\n"
        );
        desk.write("web.yaml", &pipeline);
        desk.run(&["check", "web.yaml"])
    };
    for url in [
        "out",
        "s3://logs/web",
        "gs://logs/web",
        "az://logs/web, access_key: shop",
        "azure://logs/web, access_key: shop",
        "abfs://logs/web, access_key: shop",
        "abfss://logs@shop.dfs.core.windows.net/web",
    ] {
        let ran = check(&format!("url: {url}"));
        assert_eq!(ran.code, 0, "{url}: {}", ran.stderr);
    }
    let ran = check("url: s3://logs/web, acess_key: a");
    assert!(ran.code == 2 && ran.stderr.contains("did you mean \"access_key\"?"), "{}", ran.stderr);
}

#[test]
fn partitions_that_make_a_column_of_the_rows_name_that_column() {
    let desk = Desk::new();
    desk.write("app.json", "{\"ts\":\"2026-03-03T10:00:00Z\",\"ts_day\":\"x\"}\n");
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [app.json] }\ntransforms:\n  \
         parsed: { type: parse, input: a, format: json, fields: { ts: timestamp, ts_day: text } }\n\
         sinks:\n  lake: { type: lake, input: parsed, table: web, partition_by: day(ts) }\n",
    );
    let ran = desk.run(&["check", "web.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for part in ["make a column \"ts_day\", and the rows have one", "rename: { ts_day: other }"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn rows_on_standard_output_have_their_origin_where_it_is_asked_for() {
    let desk = Desk::new();
    desk.write("access.log", "a\nb\n");
    let pipeline = |more: &str| {
        format!(
            "name: out\nsources:\n  a: {{ type: file, paths: [access.log] }}\nsinks:\n  \
             out: {{ type: stdio, input: a, format: csv{more} }}\n"
        )
    };
    let run = |name: &str, more: &str| {
        desk.write("out.yaml", &pipeline(more));
        let ran = desk.done(&["run", "out.yaml", "--until-end", "--quiet", "--data", name]);
        ran.stdout
    };
    let plain = run("one", "");
    assert!(plain.starts_with("message,_lossy\na,false\nb,false\n"), "{plain}");
    assert_eq!(plain, run("two", ", origin: false"));
    let whole = run("three", ", origin: true");
    assert!(whole.starts_with("message,_lossy,_split,_position,_epoch\na,false,"), "{whole}");
    // A line is followed to its epoch, though nobody can ask a terminal for its rows.
    let found = desk.done(&["where", "out.yaml", "b", "--data", "three"]).stdout;
    assert!(found.contains("read in epoch 1") && found.contains("out: cannot be read back"));
}

#[test]
fn what_is_wrong_with_a_constant_is_the_users_error() {
    let desk = Desk::new();
    desk.write("access.log", "a\n");
    let from = "FROM log('access.log', 'text')";
    let said = query_error(&desk, &format!("SELECT regexp_like(message, '(') {from}"));
    assert!(said.contains("the query is wrong: regex parse error"), "{said}");
    let said = query_error(&desk, "SELECT ip_mask('::1', 129)");
    assert!(said.contains("cannot keep 129 bits of an address"), "{said}");
}

#[test]
fn what_is_no_text_names_the_quotes_and_a_missing_file_of_values_what_it_is_for() {
    let desk = Desk::new();
    desk.write("access.log", "");
    let pipeline = "name: web\nsources:\n  a: { type: file, paths: [access.log] }\nsinks:\n  \
                    t: { type: lake, input: a, table: 5 }\n";
    desk.write("web.yaml", pipeline);
    let said = desk.run(&["check", "web.yaml"]);
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("web.yaml:5:"), "{}", said.stderr);
    assert!(said.stderr.contains("hint: text stands in quotes: \"5\""), "{}", said.stderr);
    desk.write("web.yaml", &pipeline.replace("table: 5", "table: \"5\""));
    desk.done(&["check", "web.yaml"]);
    for command in ["check", "run"] {
        let said = desk.run(&[command, "web.yaml", "--values", "nowhere.yaml"]);
        assert_eq!(said.code, 2);
        assert!(said.stderr.contains("hint: make it, or correct its path"), "{}", said.stderr);
    }
}

#[test]
fn check_gives_each_part_a_line_and_what_changes_mean_where_it_is_asked_for() {
    let desk = Desk::new();
    desk.write("access.log", "");
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [access.log] }\nsinks:\n  \
         t: { type: lake, input: a, table: t }\n  u: { type: lake, input: a, table: u }\n",
    );
    let short = desk.done(&["check", "web.yaml"]).stdout;
    let lines: Vec<_> = short.lines().collect();
    assert!(lines.len() <= 7 && lines[lines.len() - 1].starts_with("`-v` says"), "{short}");
    assert!(short.contains("  sink t (lake): exactly once\n"), "{short}");
    let long = desk.done(&["check", "web.yaml", "-v"]).stdout;
    let once = "sinks of type lake, when somebody else changes their destination";
    assert_eq!(long.matches(once).count(), 1, "{long}");
    assert!(long.contains("another writer appends rows"), "{long}");
}
