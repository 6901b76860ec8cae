//! Input that is written in another format than the one that was set.

use crate::Desk;

/// A pipeline of one format.
const WEB: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: combined }
sinks:
  lake: { type: lake, input: parsed, table: web }
";

const LINE: &str =
    "192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"-\"";

#[test]
fn a_run_in_which_every_record_is_refused_ends_with_its_own_code() {
    let desk = Desk::new();
    desk.write("web.yaml", WEB);
    let long = format!("\u{1b}[31mno access log {}", "x".repeat(400));
    desk.write("access.log", &format!("{long}\nat all\n"));
    let ran = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stdout.contains("0 delivered, 2 dead-lettered"), "{}", ran.stdout);
    let said = ran.stderr.as_str();
    for part in ["every record was refused, 2 of 2", "access.log@0", "expected ", "hint: "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("`\\u{1b}[31mno access log x") && !said.contains('\u{1b}'), "{said}");
    assert!(!said.contains(&"x".repeat(201)), "the line is shortened: {said}");
    assert_eq!(desk.run(&["audit", "web.yaml"]).code, 0, "the ledger is complete");
}

#[test]
fn a_program_learns_of_the_first_record_that_was_refused() {
    let desk = Desk::new();
    desk.write("web.yaml", WEB);
    desk.write("access.log", "no access log\n");
    let ran = desk.run(&["run", "web.yaml", "--until-end", "--format", "json"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let first = &ran.json()["first_refused"];
    assert_eq!((&first["position"], &first["line"]), (&0.into(), &"no access log".into()));
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one object");
    assert_eq!(error["kind"], "record");
}

#[test]
fn one_record_that_is_fine_is_enough() {
    let desk = Desk::new();
    desk.write("web.yaml", WEB);
    desk.write("access.log", &format!("no access log\n{LINE}\n"));
    assert_eq!(desk.run(&["run", "web.yaml", "--until-end"]).code, 0);
    // Nothing new is not refused.
    assert_eq!(desk.run(&["run", "web.yaml", "--until-end"]).code, 0);
}

#[test]
fn a_query_over_a_log_that_is_refused_ends_with_that_code_too() {
    let desk = Desk::new();
    desk.write("access.log", "no access log\nat all\n");
    desk.write("good.log", &format!("{LINE}\nat all\n"));
    let query = |files: &str| {
        desk.run(&["query", &format!("SELECT count(*) FROM log('{files}', 'combined')")])
    };
    let ran = query("access.log");
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    for part in ["2 lines left out", "every record was refused, 2 of 2", "`no access log`"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(query("good.log").code, 0);
    assert_eq!(query("*.log").code, 0);
    assert_eq!(desk.run(&["query", "SELECT 1"]).code, 0);
}

/// Formats whose fields are guessed say so before anything is read, and mean the same.
#[test]
fn a_format_that_is_named_and_fits_no_line_ends_with_that_code_too() {
    let desk = Desk::new();
    desk.write("access.log", &format!("{LINE}\n").repeat(3));
    for format in ["json", "logfmt", "caddy", "common"] {
        let query = format!("SELECT count(*) FROM log('access.log', '{format}')");
        for arguments in [&["look", "access.log", "--as", format][..], &["query", &query]] {
            let ran = desk.run(arguments);
            if format == "logfmt" && ran.code == 0 {
                continue;
            }
            assert_eq!(ran.code, 5, "{arguments:?}: {} {}", ran.stdout, ran.stderr);
        }
    }
    let ran = desk.run(&["look", "access.log", "--as", "json"]);
    for part in ["every record was refused", "none of the first 3", "written in format `combined`"]
    {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_line_with_one_field_more_names_the_way_out() {
    let desk = Desk::new();
    desk.write("web.yaml", WEB);
    desk.write("access.log", &format!("{LINE} \"10.0.0.1\"\n"));
    let ran = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    for part in
        ["one more field in quotes stands there", "hint: that record is written in format `"]
    {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn a_server_configuration_is_pasted_as_it_stands() {
    let desk = Desk::new();
    let form = "    log_format: |
      log_format main escape=default
          '$remote_addr - $remote_user [$time_local] \"$request\" '
          '$status $body_bytes_sent $upstream_response_time'; # ours
";
    let custom = format!("parsed:\n    type: parse\n    input: access\n    format: custom\n{form}");
    let yaml = WEB.replace("parsed: { type: parse, input: access, format: combined }\n", &custom);
    desk.write("web.yaml", &yaml);
    let line = LINE.replace("\"-\" \"-\"", "0.1, 0.2 : -");
    desk.write("access.log", &format!("{line}\n"));
    desk.done(&["check", "web.yaml"]);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = "SELECT ip, path, upstream_response_time, upstream_response_time_ms FROM web";
    let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(rows.lines().nth(1), Some("192.0.2.7,/a,\"0.1, 0.2 : -\",300"));

    desk.write("wrong.yaml", &yaml.replace("$status $body", "$status$http_x$body"));
    let ran = desk.run(&["check", "wrong.yaml"]);
    assert_eq!(ran.code, 2);
    for part in ["nothing stands between \"x\" and \"bytes\"", "field: log_format", "hint: "] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}
