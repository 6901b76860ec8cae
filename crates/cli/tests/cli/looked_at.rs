//! What `logmill look` shows and refuses where files rotate, are damaged, or are of several formats,
//! and where another look shows them already.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::serve::{Server, wait_for};
use crate::{Desk, Ran};

/// Some requests.
fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |n| {
        format!(
            "192.0.2.1 - - [03/Mar/2026:10:{:02}:00 +0000] \"GET /{n} HTTP/1.1\" 200 1 \"-\" \"-\"\n",
            n % 60
        )
    };
    numbers.map(line).collect()
}

fn look(desk: &Desk, arguments: &[&str]) -> Value {
    desk.done(&[&["look", "--format", "json"], arguments].concat()).json()
}

/// The rows in the lake and on the panels.
fn rows(shown: &Value) -> (Value, Value) {
    (shown["milled"]["rows"].clone(), shown["answers"]["summary"]["requests"].clone())
}

fn served(desk: &Desk, arguments: &[&str]) -> Server {
    let mut command = desk.command(&[&["look", "--quiet", "--no-open"], arguments].concat());
    command.stdin(Stdio::null());
    Server::of(command)
}

fn requests(server: &Server) -> Value {
    server.get("/analytics/summary?visitors=exclude").json()["requests"].clone()
}

fn rename(desk: &Desk, from: &str, to: &str) {
    std::fs::rename(desk.path().join(from), desk.path().join(to)).expect("renamed");
}

/// A compressed file without its end.
fn cut_gzip(desk: &Desk, name: &str, text: &str) {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(text.as_bytes()).expect("packed");
    let whole = packed.finish().expect("packed");
    std::fs::write(desk.path().join(name), &whole[..whole.len() / 2]).expect("written");
}

#[test]
fn a_look_shows_the_rows_of_the_files_that_it_names_and_no_others() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..200));
    let server = served(&desk, &["access.log", "--follow"]);
    wait_for("what there is", || requests(&server) == 200);
    rename(&desk, "access.log", "access.log.1");
    desk.write("access.log", &(lines(300..310) + "no request\n"));
    wait_for("its successor", || requests(&server) == 210);
    assert_eq!(server.interrupt(), Some(130));

    let old = look(&desk, &["access.log.1"]);
    assert_eq!(rows(&old), (json!(200), json!(200)));
    assert_eq!((&old["milled"]["read"], &old["milled"]["refused"]), (&json!(0), &json!(0)));
    assert_eq!(rows(&look(&desk, &["access.log"])), (json!(10), json!(10)));
    let both = ["access.log", "access.log.1"];
    assert_eq!(rows(&look(&desk, &both)), (json!(210), json!(210)));
    rename(&desk, "access.log.1", "gone");
    desk.write("access.log.1", &lines(400..405));
    assert_eq!(rows(&look(&desk, &both)), (json!(15), json!(15)), "what is gone does not count");
    desk.done(&["look", "access.log", "access.log.1", "--report", "out.html"]);
    let page = std::fs::read_to_string(desk.path().join("out.html")).expect("written");
    let requests_of = |page: &str| match page.split_once("id=\"report\">") {
        Some((_, rest)) => {
            let (answers, _) = rest.split_once("</script>").expect("an end");
            let answers: Value = serde_json::from_str(answers).expect("JSON");
            answers["analytics/summary"]["requests"].clone()
        }
        None => json!(if page.contains("\n15 requests, ") { 15 } else { 0 }),
    };
    assert_eq!(requests_of(&page), 15);
    let server = served(&desk, &both);
    wait_for("those that are named", || requests(&server) == 15);
}

#[test]
fn of_several_names_one_bad_file_holds_the_others_back_no_more_than_in_a_pattern() {
    let desk = Desk::new();
    desk.write("a.log", &lines(0..20));
    desk.write("b[1].log", &lines(20..25));
    cut_gzip(&desk, "c.log.gz", &lines(30..50));
    std::os::unix::fs::symlink("nowhere", desk.path().join("d.log")).expect("a link");
    std::fs::create_dir(desk.path().join("e.log")).expect("a folder");
    let ran = desk.run(&["look", "a.log", "b[1].log", "c.log.gz", "d.log", "e.log"]);
    let Ran { code, stdout, stderr } = &ran;
    assert_eq!(*code, 1, "{stderr}");
    assert!(stdout.contains("\n34 requests, ") || stdout.contains("\n35 requests, "), "{stdout}");
    assert_eq!(stderr.matches("c.log.gz").count(), 1, "named once: {stderr}");
    for part in ["passed over: \"d.log\" is a link", "passed over: \"e.log\" is a folder"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    for other in ["look.yaml", "-->", "field:", "exclude", "WARN"] {
        assert!(!stderr.contains(other), "{other}: {stderr}");
    }
    let ran = desk.run(&["look", "a.log", "missing.log"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("\n20 requests, "), "{}", ran.stdout);
    assert!(ran.stderr.contains("there is no file \"missing.log\""), "{}", ran.stderr);
    // One name alone stays strict.
    desk.write("f.log.gz", "\u{1f}");
    std::fs::write(desk.path().join("f.log.gz"), b"\x1f\x8b\x08garbage").expect("written");
    let ran = desk.run(&["look", "f.log.gz"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(!ran.stderr.contains("look.yaml"), "{}", ran.stderr);
}

#[test]
fn files_of_two_formats_are_refused_by_name() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..20));
    desk.write("app.json", &"{\"level\":\"info\",\"message\":\"m\"}\n".repeat(9));
    let ran = desk.run(&["look", "access.log", "app.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    for part in [
        "access.log is in format combined, app.json is in format json",
        "hint: look at them apart: `logmill look access.log`, `logmill look app.json`",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    // Nothing is known of a file without a line of any format; it is named.
    desk.write("access.log.1", "~~ what is this ~~\n");
    let ran = desk.done(&["look", "access.log", "access.log.1"]);
    let odd = "access.log.1: its first line is not in format combined: ~~ what is this ~~";
    assert!(ran.stderr.contains(odd), "{}", ran.stderr);
    assert!(ran.stdout.contains("20 rows\n1 line refused; the first, "), "{}", ran.stdout);
    // The server's format was changed, and the log was rotated.
    desk.write("access.log.1", &"{\"level\":\"info\",\"message\":\"m\"}\n".repeat(9));
    let ran = desk.run(&["look", "access.log", "access.log.1"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("`logmill look access.log.1`"), "{}", ran.stderr);
}

#[test]
fn a_format_that_needs_more_than_its_name_says_how_it_is_given() {
    let desk = Desk::new();
    desk.write("app.log", &"info all is well\nerror it is not\n".repeat(5));
    let check = |format: &str, hint: &str| {
        let ran = desk.run(&["look", "app.log", "--as", format]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
        assert!(!ran.stderr.contains("field:"), "{}", ran.stderr);
    };
    check("regex", "--as '^(?<level>\\w+) (?<text>.*)$'");
    check("custom", "--as '%h %l %u %t \"%r\" %>s %b'");
    let own = look(&desk, &["app.log", "--as", "^(?<level>\\w+) (?<text>.*)$"]);
    assert_eq!(own["milled"]["rows"], 10);
    assert_eq!(own["answers"]["top"][0]["column"], "level");
    let docker = |n: u32| {
        let log = lines(n..n + 1);
        json!({ "log": log, "stream": "stdout", "time": "2026-03-03T10:00:00Z" }).to_string()
    };
    let text: String = (0..12).map(|n| docker(n) + "\n").collect();
    desk.write("docker.log", &text);
    assert_eq!(look(&desk, &["docker.log"])["milled"]["rows"], 12);
    assert_eq!(look(&desk, &["docker.log", "--as", "docker"])["milled"]["rows"], 12);
}

#[test]
fn a_look_beside_another_one_names_its_address_or_shows_what_is_there() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..20));
    let server = served(&desk, &["access.log", "--follow"]);
    wait_for("what there is", || requests(&server) == 20);
    wait_for("its end", || server.get("/session").json()["milling"]["done"] == true);
    let second = desk.run(&["look", "access.log", "--no-open"]);
    assert_eq!((second.code, second.stdout.as_str()), (4, ""), "{}", second.stderr);
    let place = format!("at http://{}/", server.address());
    assert!(second.stderr.contains(&place), "{place}: {}", second.stderr);
    assert!(!second.stderr.contains("lease"), "{}", second.stderr);
    let text = desk.done(&["look", "access.log", "--text"]);
    assert!(text.stdout.contains("\n20 requests, "), "{}", text.stdout);
    assert!(text.stderr.contains(&place), "{}", text.stderr);
    assert_eq!(server.interrupt(), Some(130));
    let left = look(&desk, &["access.log"]);
    assert_eq!(rows(&left), (json!(20), json!(20)));
}

#[test]
fn times_are_refused_in_the_words_of_the_command_before_anything_is_read() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..20));
    let check = |arguments: &[&str], expect: &str| {
        let ran = desk.run(&[&["look", "access.log"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(expect), "{expect}: {}", ran.stderr);
    };
    check(&["--from", "yesterday"], "`--from` is no time: \"yesterday\"");
    check(&["--to", "2026-02-30"], "`--to` is no time: \"2026-02-30\"");
    check(&["--from", "2026-03-02", "--to", "2026-03-01"], "`--from` lies after `--to`");
    assert!(!desk.path().join("logmill-data").exists(), "nothing was made");
    desk.done(&["look", "access.log", "--from", "2026-03-03", "--to", "2026-03-03"]);
}

#[test]
fn a_report_goes_to_standard_output_where_a_dash_is_named() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..1));
    let ran = desk.done(&["look", "access.log", "--report", "-"]);
    assert!(ran.stdout.starts_with("<!doctype html>"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 line read in ") && ran.stderr.contains("; 1 row"));
    assert!(!desk.path().join("-").exists());
    let ran = desk.done(&["look", "access.log"]);
    assert!(ran.stdout.contains("Nothing new: 1 row\n\n1 request, 1 visitor, "), "{}", ran.stdout);
}

#[test]
fn fields_that_are_called_as_our_columns_are_get_another_name_which_is_told_once() {
    let desk = Desk::new();
    let event = |n: u32| {
        let time = format!("2026-03-03T10:{:02}:00Z", n % 60);
        json!({ "time": time, "_split": "a", "_epoch": n, "_ordinal": 1, "_position": 2,
                "_lossy": false })
    };
    desk.write("app.json", &(0..30).map(|n| format!("{}\n", event(n))).collect::<String>());
    let ran = desk.done(&["look", "app.json"]);
    for name in ["split", "epoch", "ordinal", "position", "lossy"] {
        let told = format!("its field _{name} is the column log_{name}");
        assert!(ran.stderr.contains(&told), "{told}: {}", ran.stderr);
    }
    assert!(ran.stdout.contains("; 30 rows"), "{}", ran.stdout);
    let again = desk.done(&["look", "app.json"]);
    assert!(!again.stderr.contains("log_split"), "told once: {}", again.stderr);
    let folder = std::fs::read_dir(desk.path().join("logmill-data/look")).expect("a folder");
    let data = folder.map(|entry| entry.expect("an entry").path()).next().expect("a lake");
    let sql = "SELECT max(log_epoch) AS epoch, min(log_split) AS split FROM app_json";
    let data = data.display().to_string();
    let rows = desk.done(&["query", sql, "--data", &data, "--format", "csv"]).stdout;
    assert_eq!(rows, "epoch,split\n29,a\n");
}

#[test]
fn a_pipe_of_the_shell_names_the_way_that_works() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..3));
    let program = env!("CARGO_BIN_EXE_logmill");
    let shell = std::process::Command::new("bash")
        .args(["-c", &format!("{program} look <(cat access.log)")])
        .current_dir(desk.path())
        .output()
        .expect("bash is installed");
    let said = String::from_utf8_lossy(&shell.stderr).into_owned();
    assert_eq!(shell.status.code(), Some(2), "{said}");
    assert!(said.contains("`COMMAND | logmill look -`"), "{said}");
}

#[test]
fn a_file_that_is_empty_yet_is_waited_for_and_what_is_refused_is_told() {
    use std::io::{BufRead, BufReader, Write};
    let desk = Desk::new();
    desk.write("access.log", "");
    let mut command = desk.command(&["look", "access.log", "--follow", "--no-open"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut shown = BufReader::new(child.stdout.take().expect("a pipe"));
    // Ends with the program at the latest.
    let until = |pipe: &mut dyn BufRead, part: &str| {
        let mut all = String::new();
        while !all.contains(part) {
            let read = pipe.read_line(&mut all).expect("text");
            assert!(read > 0, "{part}: {all}");
        }
        all
    };
    until(&mut said, "access.log holds no line yet; waiting for the first");
    let append = |text: &str| {
        let file = std::fs::File::options().append(true).open(desk.path().join("access.log"));
        file.expect("a file").write_all(text.as_bytes()).expect("written");
    };
    append(&lines(0..20));
    until(&mut said, "access.log: format combined");
    until(&mut shown, "20 rows");
    append("what is this\n");
    let told = until(&mut said, "  what is this");
    assert!(told.contains("1 line refused; the first, "), "{told}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn a_log_that_grew_was_rotated_and_compressed_is_read_once() {
    use std::io::Write;
    let desk = Desk::new();
    desk.write("access.log", &lines(0..40));
    assert_eq!(look(&desk, &["access.log*"])["milled"]["read"], 40);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(lines(0..50).as_bytes()).expect("packed");
    std::fs::write(desk.path().join("access.log.1.gz"), packed.finish().expect("packed"))
        .expect("written");
    desk.write("access.log", &lines(100..105));
    let again = look(&desk, &["access.log*"]);
    assert_eq!(again["milled"]["read"], 15, "only what is new: {}", again["milled"]);
    assert_eq!(rows(&again), (json!(55), json!(55)));
    // Both are there while a file is compressed: one log, for a query as for a look.
    desk.write("access.log.1", &lines(0..50));
    let twice = look(&desk, &["access.log*"]);
    assert_eq!(rows(&twice), (json!(55), json!(55)));
    let sql = "SELECT count(*) AS n FROM log('access.log*', 'combined')";
    let ran = desk.done(&["query", sql, "--format", "csv"]);
    assert_eq!(ran.stdout, "n\n55\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("it holds the same 50 lines"), "{}", ran.stderr);
}

#[test]
fn two_stars_at_the_end_are_all_files_below() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path().join("logs/a/b")).expect("made");
    desk.write("logs/one.log", &lines(0..3));
    desk.write("logs/a/b/two.log", &lines(100..105));
    assert_eq!(look(&desk, &["logs/**"])["milled"]["rows"], 8);
    let sql = "SELECT count(*) AS n FROM log('logs/**', 'combined')";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n8\n");
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  a: { type: file, paths: [\"logs/**\"] }\nsinks:\n  \
         lake: { type: lake, input: a, table: web }\n",
    );
    let summary = desk.done(&["run", "web.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["read"], 8);
}
