//! Files that hold several pipelines: read, checked, tested, run, audited and served together.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::wait;

use super::Desk;
use crate::serve::{Server, wait_for};

/// Two pipelines, and nothing between them that could be taken for a third.
const TWO: &str = "\
---
name: orders
sources:
  lines: { type: file, paths: [orders.log] }
sinks:
  lake: { type: lake, input: lines, table: orders }
tests:
  - { name: passes on, input: { lines: [a] }, expect: { lake: [{ message: a }] } }
---
# Clicks have two sinks.
name: clicks
sources:
  lines: { type: file, paths: [clicks.log] }
sinks:
  lake: { type: lake, input: lines, table: clicks }
  copy: { type: lake, input: lines, table: copies }
tests:
  - { name: fails, input: { lines: [b] }, expect: { lake: [{ message: c }] } }
---
";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("all.yaml", TWO);
    desk.write("orders.log", "a\nb\n");
    desk.write("clicks.log", "c\n");
    desk
}

fn list(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_command_takes_all_documents_of_a_file_or_those_that_are_named() {
    let desk = desk();
    let checked = list(&desk.done(&["check", "all.yaml", "-f", "ndjson"]).stdout);
    let names: Vec<_> = checked.iter().map(|one| one["pipeline"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders", "clicks"]);
    let tested = desk.run(&["test", "all.yaml"]);
    assert_eq!(tested.code, 3, "{}", tested.stderr);
    assert!(tested.stdout.contains("passed: orders: passes on\nFAILED: clicks: fails\n"));
    assert_eq!(desk.run(&["test", "all.yaml", "--pipeline", "orders"]).code, 0);
    let ran = list(&desk.done(&["run", "all.yaml", "--until-end", "-f", "ndjson"]).stdout);
    let read: Vec<_> = ran.iter().map(|one| (&one["pipeline"], &one["read"])).collect();
    assert_eq!(
        format!("{read:?}"),
        "[(String(\"orders\"), Number(2)), (String(\"clicks\"), Number(1))]"
    );
    let audited = desk.done(&["audit", "all.yaml", "-f", "json"]).json();
    let complete: Vec<_> = audited.as_array().unwrap().iter().map(|one| &one["complete"]).collect();
    assert_eq!(complete, [&Value::Bool(true), &Value::Bool(true)]);
    let found = desk.run(&["where", "all.yaml", "a"]);
    assert_eq!(found.code, 2);
    assert!(found.stderr.contains("holds 2 pipelines: orders, clicks"), "{}", found.stderr);
    assert!(
        desk.done(&["where", "all.yaml", "a", "--pipeline", "orders"]).stdout.contains("orders")
    );
    desk.done(&["dead-letters", "replay", "all.yaml", "--pipeline", "clicks"]);
    let unknown = desk.run(&["audit", "all.yaml", "--pipeline", "order"]);
    assert!(unknown.stderr.contains("there are: orders, clicks"), "{}", unknown.stderr);
}

#[test]
fn errors_name_the_document_and_its_line_before_anything_is_done() {
    let desk = desk();
    desk.write("bad.yaml", &TWO.replace("table: copies", "tabel: copies"));
    for command in ["check", "run", "audit", "test", "serve"] {
        let ran = desk.run(&[command, "bad.yaml"]);
        assert_eq!(ran.code, 2, "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("document 2 (clicks)"), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("bad.yaml:16:"), "{command}: {}", ran.stderr);
    }
    desk.write("same.yaml", &TWO.replace("name: clicks", "name: orders"));
    let same = desk.run(&["run", "same.yaml", "--until-end"]);
    assert_eq!(same.code, 2);
    let first = "two pipelines have the name \"orders\", the first at same.yaml:2:7";
    assert!(same.stderr.contains(first), "{}", same.stderr);
    assert!(same.stderr.contains("same.yaml:11:7"), "{}", same.stderr);
    assert!(!desk.path().join("logmill-data").exists());
}

#[test]
fn a_pipeline_that_fails_leaves_its_neighbours_running_and_the_exit_code_is_the_worst() {
    let desk = desk();
    // A folder where the checkpoints of one of them belong.
    desk.write("blocked", "");
    let text =
        TWO.replace("# Clicks have two sinks.", "checkpoint: { url: \"file://${HERE}/blocked\" }");
    desk.write("all.yaml", &text);
    let here = desk.path().display().to_string();
    let set = format!("HERE={here}");
    let ran = desk.run(&["run", "all.yaml", "--until-end", "--set", &set, "-f", "ndjson"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("pipeline \\\"clicks\\\""), "{}", ran.stderr);
    let done = list(&ran.stdout);
    assert_eq!(
        (&done[0]["pipeline"], &done[0]["read"], done.len()),
        (&"orders".into(), &2.into(), 1)
    );
    let audited = desk.run(&["audit", "all.yaml", "--set", &set, "-f", "ndjson"]);
    assert_ne!(audited.code, 0);
    assert_eq!(list(&audited.stdout).len(), 1, "{}", audited.stderr);
}

#[test]
fn a_run_that_follows_goes_on_without_the_one_that_failed_unless_told_to_stop() {
    let desk = desk();
    desk.write("blocked", "");
    let text = TWO.replace(
        "# Clicks have two sinks.",
        "checkpoint: { url: \"file://${HERE}/blocked\" }\nretry: { for: 1s }",
    );
    desk.write("all.yaml", &text);
    let set = format!("HERE={}", desk.path().display());
    let stopped = desk.run(&["run", "all.yaml", "--set", &set, "--fail-fast"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    assert!(stopped.stdout.contains("orders: "), "{}", stopped.stdout);
    let mut command = desk.command(&["run", "all.yaml", "--set", &set]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = std::fs::OpenOptions::new().append(true).open(desk.path().join("orders.log"));
    log.unwrap().write_all(b"more\n").unwrap();
    wait::until("the neighbour reads on", Duration::from_secs(60), || {
        let asked = desk.run(&["query", "SELECT count(*) AS n FROM orders", "-f", "json"]);
        (asked.code == 0 && asked.json()[0]["n"] == 3).then_some(())
    });
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "the worst of both");
}

#[test]
fn a_server_goes_on_with_the_neighbours_of_a_pipeline_that_failed_and_names_it() {
    let desk = desk();
    desk.done(&["run", "all.yaml", "--until-end", "-q"]);
    std::fs::remove_dir_all(desk.path().join("logmill-data/checkpoints/clicks")).unwrap();
    let mut command = desk.command(&["serve", "all.yaml", "--run", "--listen", "127.0.0.1:0"]);
    let log = desk.path().join("stderr");
    command.stderr(std::fs::File::create(&log).unwrap());
    let server = Server::of(command);
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_for("the failure is told", || said().contains("pipeline \"clicks\""));
    let orders = std::fs::OpenOptions::new().append(true).open(desk.path().join("orders.log"));
    orders.unwrap().write_all(b"more\n").unwrap();
    wait_for("the neighbour reads on", || {
        let asked = desk.run(&["query", "SELECT count(*) AS n FROM orders", "-f", "json"]);
        asked.code == 0 && asked.json()[0]["n"] == 3
    });
    let state = |name: &str| server.get(&format!("/pipelines/{name}")).json()["state"].clone();
    assert_eq!((state("clicks"), state("orders")), ("failed".into(), "running".into()));
    assert_eq!(server.interrupt(), Some(2), "the worst of both: {}", said());
}

#[test]
fn the_memory_of_the_process_is_divided_by_need() {
    let desk = desk();
    let limits = |more: &[&str]| {
        let arguments = [&["check", "all.yaml", "-f", "ndjson"], more].concat();
        let checked = list(&desk.done(&arguments).stdout);
        checked.iter().map(|one| one["memory_limit"].as_u64().unwrap() >> 20).collect::<Vec<_>>()
    };
    // One source and two sinks with the dead letters; one source and three.
    assert_eq!(limits(&["--memory-limit", "70MiB"]), [30, 40]);
    assert_eq!(limits(&["--memory-limit", "1GiB", "--pipeline", "orders"]), [1024]);
    assert_eq!(limits(&[]).iter().sum::<u64>(), 255);
    let text = TWO.replace("# Clicks have two sinks.", "memory: { limit: 56MiB }");
    desk.write("all.yaml", &text);
    assert_eq!(limits(&[]), [200, 56]);
    let ran = desk.run(&["run", "all.yaml", "--memory-limit", "none"]);
    assert!(ran.code == 2 && ran.stderr.contains("such as 256MiB"), "{}", ran.stderr);
}

/// What a message names is what has to be set, not the share that would suffice.
#[test]
fn the_limit_that_a_message_names_is_that_of_the_process() {
    let desk = Desk::new();
    let of = |name: &str| {
        format!(
            "name: {name}\nsources:\n  lines: {{ type: file, paths: [{name}.log] }}\ntransforms:\n  \
             once: {{ type: dedupe, input: lines, key: [message] }}\nsinks:\n  \
             lake: {{ type: lake, input: once, table: {name} }}\n"
        )
    };
    desk.write("all.yaml", &format!("{}---\n{}", of("one"), of("two")));
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    desk.write("one.log", &lines);
    desk.write("two.log", "a\n");
    let ran = desk.run(&["run", "all.yaml", "--until-end", "-q", "--memory-limit", "16MiB"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let between = |begin: &str, end: &str| {
        let (_, behind) = ran.stderr.split_once(begin).expect(&ran.stderr);
        behind.split_once(end).expect(&ran.stderr).0
    };
    let held: u64 = between("the state of step \"once\" takes ", " MiB").parse().unwrap();
    let named = between("raise `memory.limit` to ", " at least");
    let checked = desk.done(&["check", "all.yaml", "-f", "ndjson", "--memory-limit", named]);
    let share = list(&checked.stdout)[0]["memory_limit"].as_u64().unwrap();
    // Of a pipeline's memory 27 hundredths are for states; what is held is rounded up.
    assert!(share * 27 / 100 > (held - 1) << 20, "{held} MiB in a share of {share} of {named}");
}

#[test]
fn a_second_reader_of_standard_input_is_refused_with_the_way_out() {
    let desk = Desk::new();
    let two = "name: two\nsources:\n  a: { type: stdio }\n  b: { type: stdio }\nsinks:\n  \
               out: { type: stdio, input: [a, b] }\n";
    desk.write("two.yaml", two);
    let of = |name: &str| {
        format!(
            "name: {name}\nsources:\n  a: {{ type: stdio }}\nsinks:\n  \
             lake: {{ type: lake, input: a, table: {name} }}\n"
        )
    };
    desk.write("several.yaml", &format!("{}---\n{}", of("one"), of("other")));
    for command in [&["check"][..], &["run", "--until-end"]] {
        for (file, place, said) in [
            ("two.yaml", "two.yaml:4:", "sources \"a\" and \"b\" both read standard input"),
            (
                "several.yaml",
                "several.yaml:9:",
                "source \"a\" of pipeline \"one\" and source \"a\" of pipeline \"other\" both read",
            ),
        ] {
            let ran = desk.run(&[command, &[file]].concat());
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command:?} {file}");
            assert!(ran.stderr.contains(said) && ran.stderr.contains(place), "{}", ran.stderr);
            assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
        }
    }
    assert!(!desk.path().join("logmill-data").exists());
    let one = ["run", "several.yaml", "--until-end", "--pipeline", "other", "-f", "json"];
    let ran = desk.run_with(&one, "x\ny\n");
    assert_eq!((ran.code, &ran.json()["read"]), (0, &2.into()), "{}", ran.stderr);
}

#[test]
fn a_defect_in_one_pipeline_ends_it_alone() {
    let desk = desk();
    let text = TWO.replace(
        "copy: { type: lake, input: lines, table: copies }",
        "copy: { type: object_store, input: lines, url: out, create_bucket: true }",
    );
    desk.write("all.yaml", &text);
    let broken = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        command.env("LOGMILL_FAILPOINT", "object_store.prepare.before:1:panic");
        command.output().expect("it starts")
    };
    let ran = broken(&["run", "all.yaml", "--until-end", "-f", "ndjson"]);
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(70), "{stderr}");
    for said in ["a defect of logmill", "is a defect", "pipeline \\\"clicks\\\""] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let done = list(&String::from_utf8(ran.stdout).unwrap());
    assert_eq!(
        (&done[0]["pipeline"], &done[0]["read"], done.len()),
        (&"orders".into(), &2.into(), 1)
    );
    desk.done(&["audit", "all.yaml", "--pipeline", "orders"]);
    // What was not decided is read again.
    desk.done(&["run", "all.yaml", "--until-end"]);
    desk.done(&["audit", "all.yaml"]);
    // Alone, it ends the process at once.
    desk.write("clicks.log", "c\nd\n");
    let ran = broken(&["run", "all.yaml", "--until-end", "--pipeline", "clicks"]);
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(70), 0), "{stderr}");
    assert!(stderr.contains("nothing undecided was written"), "{stderr}");
}

#[test]
fn two_pipelines_that_write_to_one_place_are_warned_of() {
    let desk = desk();
    let warnings = |text: &str| {
        desk.write("all.yaml", text);
        let checked = list(&desk.done(&["check", "all.yaml", "-f", "ndjson"]).stdout);
        checked.iter().map(|one| one["warnings"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(warnings(TWO), ["[]", "[]"]);
    let told = warnings(&TWO.replace("table: clicks", "table: orders"));
    assert_eq!(told[0], "[]");
    assert!(told[1].contains("of pipeline \\\"orders\\\""), "{told:?}");
}
