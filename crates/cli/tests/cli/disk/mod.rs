//! A disk that fails (EIO) under the real program: once, which passes, or for good, which is said.
//!
//! A library that is loaded before the program makes its reads of chosen files fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::serve::Server;
use crate::{Desk, Ran};

const PIPELINE: &str = "\
name: web
epoch: { interval: 200ms }
retry: { for: RETRIED }
sources:
  access: { type: file, paths: [access.log] }
sinks:
  lake: { type: lake, input: access, table: web }
";
/// A part of the path of the table's log.
const LOG: &str = "lake/web/_delta_log/";

/// How long the disk fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    Once,
    UntilItIsMended,
}

/// The library, made once for all tests; none where it cannot be made.
fn library() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, made) = (folder.path().join("fault.c"), folder.path().join("fault.so"));
        std::fs::write(&source, include_str!("fault.c")).expect("written");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&made, &source])
            .args(["-ldl"])
            .status()
            .expect("the C compiler is there by which libraries of this program are built");
        assert!(compiled.success(), "the library is made");
        (folder, made)
    });
    library
}

/// A folder in which the pipeline has run once, over three lines, and which tries again as long as
/// the disk needs.
fn loaded(fails: Fails) -> Desk {
    let desk = Desk::new();
    desk.write("access.log", "a\nb\nc\n");
    let retried = if fails == Fails::Once { "60s" } else { "2s" };
    desk.write("web.yaml", &PIPELINE.replace("RETRIED", retried));
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk
}

/// The program over a disk that fails where paths have this part in them.
fn failing(desk: &Desk, arguments: &[&str], part: &str, fails: Fails) -> Command {
    let mark = desk.path().join("mark");
    std::fs::write(&mark, "").expect("written");
    let mut command = desk.command(arguments);
    command.env("LD_PRELOAD", library());
    command.env("LOGMILL_TEST_FAULT", part).env("LOGMILL_TEST_MARK", mark);
    if fails == Fails::Once {
        command.env("LOGMILL_TEST_ONCE", "1");
    }
    command
}

fn run(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    Ran {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Whether a read failed that was to fail once.
fn has_failed(desk: &Desk) -> bool {
    !desk.path().join("mark").exists()
}

fn mend(desk: &Desk) {
    std::fs::remove_file(desk.path().join("mark")).expect("it failed until now");
}

fn rows(desk: &Desk) -> String {
    let sql = "SELECT count(*) AS rows, count(DISTINCT message) AS lines FROM web";
    desk.done(&["query", sql, "--format", "csv"]).stdout
}

fn grow(desk: &Desk) {
    desk.write("access.log", "a\nb\nc\nd\ne\n");
}

#[test]
fn a_run_goes_on_after_a_read_of_a_table_that_failed_once() {
    let desk = loaded(Fails::Once);
    grow(&desk);
    let ran = run(failing(&desk, &["run", "web.yaml", "--until-end"], LOG, Fails::Once));
    assert!(has_failed(&desk), "it was read");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(rows(&desk), "rows,lines\n5,5\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_run_names_the_table_that_cannot_be_read_and_goes_on_once_it_can() {
    let desk = loaded(Fails::UntilItIsMended);
    grow(&desk);
    let arguments = ["run", "web.yaml", "--until-end"];
    let ran = run(failing(&desk, &arguments, LOG, Fails::UntilItIsMended));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    for part in ["sink \"lake\"", "lake/web", "os error 5"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    mend(&desk);
    desk.done(&arguments);
    assert_eq!(rows(&desk), "rows,lines\n5,5\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_source_file_that_fails_once_is_read_again() {
    let desk = loaded(Fails::Once);
    grow(&desk);
    let arguments = ["run", "web.yaml", "--until-end"];
    let ran = run(failing(&desk, &arguments, "access.log", Fails::Once));
    assert!(has_failed(&desk), "it was read");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(rows(&desk), "rows,lines\n5,5\n");
}

#[test]
fn a_query_reads_a_log_again_that_failed_once() {
    let desk = loaded(Fails::Once);
    let arguments = ["query", "SELECT count(*) AS rows FROM web", "--format", "csv"];
    let ran = run(failing(&desk, &arguments, LOG, Fails::Once));
    assert!(has_failed(&desk), "it was read");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "rows\n3\n"), "{}", ran.stderr);
}

#[test]
fn a_source_file_that_fails_for_good_is_named_and_read_once_it_can_be() {
    let desk = loaded(Fails::UntilItIsMended);
    grow(&desk);
    let arguments = ["run", "web.yaml", "--until-end"];
    let ran = run(failing(&desk, &arguments, "access.log", Fails::UntilItIsMended));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    for part in ["access.log", "os error 5"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    mend(&desk);
    desk.done(&arguments);
    assert_eq!(rows(&desk), "rows,lines\n5,5\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn an_audit_reads_a_table_again_that_failed_once_and_names_one_that_fails() {
    let desk = loaded(Fails::UntilItIsMended);
    for part in [LOG, ".parquet"] {
        let ran = run(failing(&desk, &["audit", "web.yaml"], part, Fails::Once));
        assert!(has_failed(&desk), "{part} was read");
        assert_eq!(ran.code, 0, "{part}: {} {}", ran.stdout, ran.stderr);
        let ran = run(failing(&desk, &["audit", "web.yaml"], part, Fails::UntilItIsMended));
        assert_eq!(ran.code, 1, "{part}: {} {}", ran.stdout, ran.stderr);
        for said in ["lake", "lake/web", "os error 5"] {
            assert!(ran.stdout.contains(said), "{part}: {said}: {}", ran.stdout);
        }
        mend(&desk);
        desk.done(&["audit", "web.yaml"]);
    }
}

#[test]
fn a_server_answers_again_once_the_disk_does() {
    let desk = loaded(Fails::UntilItIsMended);
    // It begins although the table cannot be read.
    let server = Server::of(failing(
        &desk,
        &["serve", "--listen", "127.0.0.1:0"],
        "lake/web/",
        Fails::UntilItIsMended,
    ));
    let question = r#"{"sql":"SELECT count(*) AS rows FROM web"}"#;
    let failed = server.post("/query", question);
    assert!((500..600).contains(&failed.status), "{failed:?}");
    assert!(failed.body.contains("web"), "{failed:?}");
    mend(&desk);
    let answered = server.post("/query", question);
    assert_eq!(answered.status, 200, "{answered:?}");
    assert!(answered.body.contains('3'), "{answered:?}");
}

/// A folder in the place of the newest entry of a log is passed over by whoever lists it.
#[test]
fn a_folder_in_the_place_of_an_entry_of_a_log_is_no_older_table() {
    let desk = loaded(Fails::UntilItIsMended);
    grow(&desk);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let log = desk.path().join("logmill-data").join(LOG);
    let entries = std::fs::read_dir(&log).expect("a log").map(|entry| entry.unwrap().path());
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "json");
    let newest = entries.filter(is_entry).max().expect("an entry");
    let kept = std::fs::read(&newest).expect("read");
    std::fs::remove_file(&newest).expect("removed");
    std::fs::create_dir(&newest).expect("made");
    let name = newest.file_name().and_then(|name| name.to_str()).expect("text");
    for arguments in [
        &["query", "SELECT count(*) FROM web"][..],
        &["audit", "web.yaml"],
        &["run", "web.yaml", "--until-end"],
    ] {
        let ran = desk.run(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}: {} {}", ran.stdout, ran.stderr);
        let said = ran.stdout + &ran.stderr;
        for part in [name, "is a folder", "restore the entry"] {
            assert!(said.contains(part), "{arguments:?}: {part}: {said}");
        }
    }
    std::fs::remove_dir(&newest).expect("removed");
    std::fs::write(&newest, kept).expect("written");
    desk.done(&["audit", "web.yaml"]);
    assert_eq!(rows(&desk), "rows,lines\n5,5\n");
}
