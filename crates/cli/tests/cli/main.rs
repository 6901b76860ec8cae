//! The program as a user meets it: commands, output, errors, exit codes.

#![allow(clippy::unwrap_used, clippy::panic)]

mod addresses;
mod airflow;
mod asked;
mod at_a_tenth;
mod away;
mod before;
mod blueprints;
mod bounds;
mod brought_back;
mod bytes;
mod compacted;
mod crash;
mod destinations;
mod disk;
mod divided;
mod dropped;
mod environment;
mod foreign;
mod formats;
mod gaps;
mod growing;
mod hostile;
mod interop;
mod interrupted;
mod isolation;
mod json;
mod kept_files;
mod lakes;
mod leases;
mod look;
mod looked_at;
mod loss;
mod memory;
mod messages;
mod metrics;
mod mistakes;
mod named;
mod numbers;
mod objects;
mod opened;
mod refused;
mod renames;
mod replaced;
mod replay;
mod retired;
mod schedules;
mod serve;
mod setup;
mod several;
mod shared_lineage;
mod splits;
mod tables;
mod tail;
mod targets;
mod times;
mod unreached;
mod values;
mod ways;
mod windows;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a command did.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", self.stdout, self.stderr))
    }
}

/// A folder of its own for each test; commands run inside it.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logmill"));
        command.args(arguments).current_dir(self.path());
        command.env_remove("LOGMILL_DATA").env_remove("LOGMILL_LOG").env_remove("LOGMILL_SECRETS");
        command.env_remove("LOGMILL_LOG_FORMAT").env_remove("LOGMILL_SERVICE");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_ref()).expect("the program reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        Ran {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs a command that must succeed.
    fn done(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran
    }
}

/// A pipeline that takes lines as they are.
const RAW: &str = "\
name: raw
sources:
  access: { type: file, paths: [access.log] }
sinks:
  lake: { type: lake, input: access, table: raw }
";

#[test]
fn help_lists_commands_and_exit_codes() {
    let help = Desk::new().done(&["--help"]).stdout;
    for word in ["demo", "run", "serve", "query", "audit", "where", "dead-letters", "completions"] {
        assert!(help.contains(word), "{word}");
    }
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = include_str!("../../../../README.md");
    let (_, table) = readme.split_once("| exit code | meaning |\n|---|---|\n").expect("a table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut codes = Vec::new();
    for row in rows {
        let cells = row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
        assert!(help.contains(&cells.join(" ")), "{row}: {help}");
        codes.push(cells[0]);
    }
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "70", "130, 143"]);
}

#[test]
fn an_unknown_option_is_the_users_error() {
    let ran = Desk::new().run(&["query", "--no-such-option"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_the_way_out() {
    let desk = Desk::new();
    desk.write("access.log", "line\n");
    desk.write("p.yaml", &RAW.replace("paths:", "pathz:"));
    let ran = desk.run(&["check", "p.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    for part in ["unknown key \"pathz\"", "--> p.yaml:3:25", "hint: did you mean \"paths\"?"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let ran = desk.run(&["check", "p.yaml", "--format", "json"]);
    let error: Value = serde_json::from_str(&ran.stderr).expect("one object");
    assert_eq!((&error["line"], &error["column"]), (&Value::from(3), &Value::from(25)));
    assert_eq!(error["kind"], "config");
    assert_eq!(error["hint"], "did you mean \"paths\"?");
}

#[test]
fn check_prints_what_every_sink_promises() {
    let desk = Desk::new();
    desk.write("access.log", "line\n");
    desk.write("p.yaml", RAW);
    let checked = desk.done(&["check", "p.yaml", "--format", "json"]).json();
    assert_eq!(checked["sinks"][0]["sink"], "lake");
    assert_eq!(checked["sinks"][0]["sentence"], "exactly once");
    assert!(!desk.path().join("logmill-data").exists(), "check changes nothing");
}

#[test]
fn the_same_seed_generates_the_same_bytes() {
    let desk = Desk::new();
    let generate = |seed: &str| {
        let arguments = ["generate", "access-log", "--rows", "500", "--seed", seed];
        desk.done(&arguments).stdout
    };
    let first = generate("7");
    assert_eq!(first.lines().count(), 500);
    assert_eq!(first, generate("7"));
    assert_ne!(first, generate("8"));
}

#[test]
fn a_query_over_raw_logs_counts_what_it_leaves_out() {
    let desk = Desk::new();
    let rows = ["generate", "access-log", "--rows", "3000", "--broken", "0.1", "-o", "a.log"];
    desk.done(&rows);
    let sql = "SELECT count(*) AS rows, count(DISTINCT status) > 3 AS mixed \
               FROM log('a.log', 'combined')";
    let ran = desk.done(&["query", sql, "--format", "json"]);
    let answer = ran.json();
    let read = answer[0]["rows"].as_u64().expect("a count");
    assert_eq!(answer[0]["mixed"], true);
    let said = ran.stderr.lines().find(|line| line.contains("lines left out")).expect("a line");
    let said = said.split(": ").nth(1).expect("a sentence");
    let refused: u64 = said.split(' ').next().unwrap().parse().expect("a number");
    assert_eq!(read + refused, 3000, "{}", ran.stderr);
    assert!((200..400).contains(&refused), "{refused}");
}

#[test]
fn a_query_opens_only_files_in_which_its_condition_may_hold() {
    let desk = Desk::new();
    let line =
        |day| format!("192.0.2.1 - - [{day}/Jan/2025:10:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n");
    desk.write("a.log", &["01", "02"].map(line).concat());
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [a.log] }\ntransforms:\n  \
         parsed: { type: parse, input: a, format: common }\nsinks:\n  \
         lake: { type: lake, input: parsed, table: web, partition_by: day(ts) }\n",
    );
    desk.done(&["run", "web.yaml", "--until-end"]);
    let table = desk.path().join("logmill-data/lake/web");
    let folders = std::fs::read_dir(table).expect("a table").map(|it| it.expect("an entry").path());
    let second = folders.filter(|it| it.to_string_lossy().ends_with("2025-01-02"));
    second.for_each(|folder| std::fs::remove_dir_all(folder).expect("it is removed"));
    let query = |condition: &str| format!("SELECT count(path) FROM web WHERE {condition}");
    let ask = |sql: &str| desk.run(&["query", sql, "--format", "csv"]);
    let first = ask(&query("ts < '2025-01-02T00:00:00Z'"));
    assert!(first.stdout.ends_with("\n1\n"), "{} {}", first.stdout, first.stderr);
    assert_ne!(ask(&query("path = '/'")).code, 0, "the other file is gone");
}

#[test]
fn compressed_and_plain_logs_answer_alike() {
    let desk = Desk::new();
    desk.done(&["generate", "access-log", "--rows", "2000", "-o", "a.log"]);
    let packed = Command::new("gzip").args(["-k", "a.log"]).current_dir(desk.path()).status();
    assert!(packed.expect("gzip is installed").success());
    let top = |files: &str| {
        let sql = format!(
            "SELECT path, count(*) AS hits FROM log('{files}', 'combined') GROUP BY path \
             ORDER BY hits DESC, path LIMIT 5"
        );
        desk.done(&["query", &sql, "--format", "ndjson"]).stdout
    };
    let plain = top("a.log");
    assert_eq!(plain.lines().count(), 5);
    assert_eq!(plain, top("a.log.gz"));
}

#[test]
fn a_query_is_read_from_standard_input_and_written_to_files() {
    let desk = Desk::new();
    let ran = desk.run_with(&["query", "--format", "csv"], "SELECT 1 AS a, 'x,y' AS b");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "a,b\n1,\"x,y\"\n"));
    let parquet = ["query", "SELECT 1 AS a", "--format", "parquet"];
    assert_eq!(desk.run(&parquet).code, 2);
    desk.done(&[&parquet[..], &["-o", "a.parquet"]].concat());
    let written = std::fs::read(desk.path().join("a.parquet")).expect("written");
    assert!(written.starts_with(b"PAR1") && written.ends_with(b"PAR1"));
}

#[test]
fn a_query_that_is_wrong_says_why() {
    let desk = Desk::new();
    desk.done(&["generate", "access-log", "--rows", "10", "-o", "a.log"]);
    let check = |sql: &str, expect: &str| {
        let ran = desk.run(&["query", sql]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{sql}");
        assert!(ran.stderr.contains(expect), "{sql}: {}", ran.stderr);
    };
    check("SELECT * FROM nowhere", "there is no table \"nowhere\"");
    check("SELECT statuss FROM log('a.log', 'combined')", "hint: did you mean \"status\"?");
    check("SELECT * FROM log('a.log', 'combine')", "hint: did you mean \"combined\"?");
    check("SELECT * FROM log('b.log', 'combined')", "no file matches \"b.log\"");
    check("SELEC 1", "the query is wrong: Expected: an SQL statement, found: SELEC at Line: 1");
    check("CREATE TABLE a AS SELECT 1", "a query only reads");
    check("COPY (SELECT 1) TO 'a.csv'", "a query only reads");
    check("DROP TABLE ledger", "a query only reads");
}

#[test]
fn the_tables_of_every_data_folder_exist_before_anything_ran() {
    let desk = Desk::new();
    for table in ["dead_letters", "late", "ledger"] {
        let sql = format!("SELECT split, epoch FROM {table}");
        let ran = desk.done(&["query", &sql, "--format", "json"]);
        assert_eq!(ran.json(), Value::Array(Vec::new()), "{table}");
    }
    assert!(!desk.path().join("logmill-data").exists(), "looking makes nothing");
}

#[test]
fn what_is_run_can_be_audited_queried_and_followed() {
    let desk = Desk::new();
    desk.done(&["generate", "access-log", "--rows", "2000", "-o", "access.log"]);
    desk.write("p.yaml", RAW);
    let summary = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!((&summary["read"], &summary["sinks"][0]["delivered"]), (&2000.into(), &2000.into()));
    let again = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(again["read"], 0, "nothing is read twice");

    let audit = desk.done(&["audit", "p.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &2000.into()));

    let sql = "SELECT count(*) AS rows, count(DISTINCT _position) AS positions FROM raw";
    let answer = desk.done(&["query", sql, "--format", "json"]).json();
    assert_eq!((&answer[0]["rows"], &answer[0]["positions"]), (&2000.into(), &2000.into()));
    let sql = "SELECT sum(read) AS read, sum(delivered) AS delivered FROM ledger WHERE sink='lake'";
    let ledger = desk.done(&["query", sql, "--format", "json"]).json();
    assert_eq!((&ledger[0]["read"], &ledger[0]["delivered"]), (&2000.into(), &2000.into()));

    let log = std::fs::read_to_string(desk.path().join("access.log")).expect("there");
    let line = log.lines().nth(1234).expect("long enough");
    let found = desk.done(&["where", "p.yaml", line, "--format", "json"]).json();
    assert_eq!(found[0]["sinks"][0]["rows"][0]["message"], line);
    let origin = found[0]["origin"].as_str().expect("an origin").to_owned();
    let again = desk.done(&["where", "p.yaml", &origin, "--format", "json"]).json();
    assert_eq!(again[0]["sinks"], found[0]["sinks"]);
    assert_eq!(again[0]["epoch"], 1);
}

#[test]
fn a_lake_that_lost_a_file_is_not_complete() {
    let desk = Desk::new();
    desk.done(&["generate", "access-log", "--rows", "300", "-o", "access.log"]);
    desk.write("p.yaml", RAW);
    desk.done(&["run", "p.yaml", "--until-end"]);
    desk.done(&["generate", "access-log", "--rows", "100", "--seed", "2", "-o", "more.log"]);
    desk.write("p.yaml", &RAW.replace("[access.log]", "[access.log, more.log]"));
    desk.done(&["run", "p.yaml", "--until-end"]);
    let log = desk.path().join("logmill-data/lake/raw/_delta_log");
    let mut entries: Vec<_> = std::fs::read_dir(log).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    // Without its newest entry the table is what it was before the second run.
    std::fs::remove_file(entries.last().expect("a log")).expect("removed");
    let ran = desk.run(&["audit", "p.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let sink = &ran.json()["sinks"][0];
    assert_eq!((&sink["expected"], &sink["found"]), (&400.into(), &300.into()));
    assert_eq!((&sink["missing"], &sink["duplicate"]), (&100.into(), &0.into()));
    let range = &sink["ranges"][0];
    assert!(range["split"].as_str().expect("a split").ends_with("more.log"), "{range}");
    assert_eq!(
        (&range["epoch"], &range["rows"], &range["from"]),
        (&2.into(), &100.into(), &0.into())
    );
}

#[test]
fn a_refused_line_is_a_dead_letter_that_can_be_listed_shown_and_followed() {
    let desk = Desk::new();
    let long = "x".repeat(300);
    desk.write("access.log", &format!("short\n{long}\nlast\n"));
    desk.write("p.yaml", &RAW.replace("[access.log]", "[access.log], line_bytes_max: 100"));
    let summary = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["sinks"][0]["dead_lettered"], 1);
    let listed = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    let id = listed[0]["id"].as_str().expect("an id");
    assert_eq!(listed[0]["original"], long[..100]);
    assert!(id.ends_with("access.log@6"), "{id}");
    let shown = desk.done(&["dead-letters", "show", id]).stdout;
    assert!(shown.contains("line is longer than 100B"), "{shown}");
    let found = desk.done(&["where", "p.yaml", id, "--format", "json"]).json();
    let letters = &found[0]["sinks"][1];
    assert_eq!(
        (&letters["sink"], &letters["rows"][0]["original"]),
        (&"dead_letters".into(), &Value::from(&long[..100]),)
    );
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn a_test_that_fails_shows_the_difference() {
    let desk = Desk::new();
    desk.write("access.log", "line\n");
    let test = "\
tests:
  - name: takes lines
    input: { access: [a, b] }
    expect: { lake: [ { message: a }, { message: EXPECTED } ] }
    dead_letters: []
";
    desk.write("p.yaml", &format!("{RAW}{}", test.replace("EXPECTED", "b")));
    desk.done(&["test", "p.yaml"]);
    desk.write("p.yaml", &format!("{RAW}{}", test.replace("EXPECTED", "c")));
    let ran = desk.run(&["test", "p.yaml"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stdout.contains("lake, row 2: message is \"b\", expected \"c\""), "{}", ran.stdout);
}

#[test]
fn an_audit_needs_something_that_ran() {
    let desk = Desk::new();
    desk.write("access.log", "line\n");
    desk.write("p.yaml", RAW);
    let ran = desk.run(&["audit", "p.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("hint: run it first"), "{}", ran.stderr);
}

#[test]
fn a_missing_pipeline_file_is_named() {
    let ran = Desk::new().run(&["run", "nowhere.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("\"nowhere.yaml\""), "{}", ran.stderr);
}

#[test]
fn connectors_show_their_settings() {
    let desk = Desk::new();
    let all = desk.done(&["connectors", "--format", "json"]).json();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["connector"]).collect();
    assert!(names.contains(&&Value::from("file")) && names.contains(&&Value::from("lake")));
    let lake = desk.done(&["connectors", "lake"]).stdout;
    assert!(lake.contains("promise: exactly once") && lake.contains("table ("), "{lake}");
    let ran = desk.run(&["connectors", "lakes"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("did you mean \"lake\"?"), "{}", ran.stderr);
}

#[test]
fn the_schema_of_pipeline_files_names_every_connector() {
    let schema = Desk::new().done(&["config", "schema"]).json();
    assert_eq!(schema["title"], "Logmill pipeline");
    let text = schema.to_string();
    assert!(text.contains("\"const\":\"lake\"") && text.contains("\"const\":\"file\""));
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Desk::new().done(&["completions", shell]).stdout;
        assert!(script.contains("dead-letters"), "{shell}");
    }
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let desk = Desk::new();
    let mut child = desk
        .command(&["generate", "access-log", "--rows", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
