//! A sink that is disabled for some epochs, and a history that is gone, all of it or its newest
//! part: told, never passed over.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::services::{find, unique};
use testkit::wait;

use crate::{Desk, Ran};

/// Two sinks, of which `second` can be off.
fn pipeline(enabled: bool) -> String {
    format!(
        "name: p\nsources:\n  lines: {{ type: file, paths: [a.log] }}\nsinks:\n  \
         first: {{ type: lake, input: lines, table: first }}\n  \
         second: {{ type: lake, input: lines, table: second, enabled: {enabled} }}\n"
    )
}

fn run(desk: &Desk, lines: usize, enabled: bool, more: &[&str]) -> Ran {
    let text: String = (0..lines).map(|line| format!("line {line}\n")).collect();
    desk.write("a.log", &text);
    desk.write("p.yaml", &pipeline(enabled));
    desk.run(&[&["run", "p.yaml", "--until-end", "-q"], more].concat())
}

fn audit(desk: &Desk) -> (i32, String) {
    let ran = desk.run(&["audit", "p.yaml"]);
    (ran.code, ran.stdout)
}

/// A history of which `second` did not see epochs 2 and 3.
fn with_a_gap() -> Desk {
    let desk = Desk::new();
    for (lines, enabled) in [(2, true), (3, false), (4, false)] {
        let ran = run(&desk, lines, enabled, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    desk
}

#[test]
fn a_sink_that_comes_back_is_told_what_it_did_not_see() {
    let desk = with_a_gap();
    for command in [&["check", "p.yaml"][..], &["run", "p.yaml", "--until-end", "-q"]] {
        desk.write("p.yaml", &pipeline(true));
        let ran = desk.run(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        for part in ["\"second\" did not see epochs 2 to 3", "--accept-gap", "another name"] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    }
    let (code, said) = audit(&desk);
    assert!(code == 0 && said.contains("did not see epochs 2 to 3 of main"), "{said}");
    // Without the sink everything goes on as before.
    assert_eq!(run(&desk, 5, false, &[]).code, 0);
}

#[test]
fn a_gap_that_is_accepted_stays_in_the_history() {
    let desk = with_a_gap();
    // There is nothing to read, and yet it counts.
    assert_eq!(run(&desk, 4, true, &["--accept-gap"]).code, 0);
    for lines in [4, 6] {
        let ran = run(&desk, lines, true, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let sql = "SELECT count(*) AS rows FROM second";
    assert_eq!(desk.done(&["query", sql, "-f", "csv"]).stdout, "rows\n4\n");
    let (code, said) = audit(&desk);
    assert!(code == 0 && said.contains("did not see epochs 2 to 3 of main"), "{said}");
    assert!(said.contains("second: 4 rows, each of them once"), "{said}");
    assert_eq!(run(&desk, 7, false, &[]).code, 0);
    let ran = run(&desk, 7, true, &[]);
    // How many epochs came before depends on how many runs found out that a file is read whole.
    assert!(ran.code == 2 && ran.stderr.contains("\"second\" did not see epoch"), "{}", ran.stderr);
}

#[test]
fn a_sink_that_missed_no_epoch_goes_on() {
    let desk = Desk::new();
    for (lines, enabled) in [(2, true), (2, false), (3, true)] {
        let ran = run(&desk, lines, enabled, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let (code, said) = audit(&desk);
    assert!(code == 0 && !said.contains("did not see"), "{said}");
}

/// Deletes the checkpoints of the lineage, or the whole folder.
fn forget(desk: &Desk, folder: &str) {
    let folder = desk.path().join("logmill-data/checkpoints").join(folder);
    for object in std::fs::read_dir(&folder).expect("a folder") {
        let path = object.expect("an object").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("epoch-") {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[test]
fn an_audit_says_that_checkpoints_are_missing() {
    for runs in [false, true] {
        let desk = Desk::new();
        for lines in [2, 3] {
            assert_eq!(run(&desk, lines, true, &[]).code, 0);
        }
        forget(&desk, "p/main");
        if runs {
            let ran = run(&desk, 4, true, &[]);
            assert!(ran.code == 2 && ran.stderr.contains("--adopt"), "{}", ran.stderr);
        }
        let (code, said) = audit(&desk);
        assert_eq!(code, 3, "{runs}: {said}");
        let missing = "the checkpoints of main up to epoch 2 are missing, of which 3 rows are here";
        assert_eq!(said.matches(missing).count(), 2, "{runs}: {said}");
        assert!(said.ends_with("NOT COMPLETE\n"), "{said}");
        let adopted = run(&desk, 4, true, &["--adopt"]);
        assert_eq!(adopted.code, 0, "{}", adopted.stderr);
    }
}

#[test]
fn what_another_pipeline_wrote_is_nothing_that_is_missing() {
    let desk = Desk::new();
    assert_eq!(run(&desk, 2, true, &[]).code, 0);
    let other = pipeline(true).replace("name: p", "name: other").replace("a.log", "b.log");
    desk.write("b.log", "another\n");
    desk.write("other.yaml", &other);
    desk.done(&["run", "other.yaml", "--until-end", "-q"]);
    for file in ["p.yaml", "other.yaml"] {
        let audit = desk.done(&["audit", file, "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
    }
}

/// A sink, as the pipeline file names it, with what all of them promise: rows are seen only once
/// their epoch is decided.
fn publishing_late(name: &str) -> Vec<String> {
    let mut sinks = vec![
        "type: lake, table: t".to_owned(),
        "type: object_store, url: ./out, create_bucket: true".to_owned(),
    ];
    sinks.extend(
        find("postgres")
            .map(|url| format!("type: postgres, url: '{url}', table: {name}, create: true")),
    );
    sinks.extend(find("kafka").map(|brokers| {
        format!(
            "type: kafka, brokers: '{brokers}', topic: {name}, create_topics: {{ partitions: 1 }}"
        )
    }));
    sinks
}

fn write_one(desk: &Desk, name: &str, sink: &str) {
    desk.write(
        "p.yaml",
        &format!(
            "name: {name}\nsources:\n  lines: {{ type: file, paths: ['*.log'] }}\nsinks:\n  \
             out: {{ {sink}, input: lines }}\nepoch: {{ interval: 50ms }}\n"
        ),
    );
}

/// Deletes what the checkpoints say of an epoch.
fn forget_epoch(desk: &Desk, name: &str, epoch: u64) {
    let folder = desk.path().join("logmill-data/checkpoints").join(name).join("main");
    std::fs::remove_file(folder.join(format!("epoch-{epoch:020}"))).expect("it was decided");
    let _ = std::fs::remove_file(folder.join(format!("complete-{epoch:020}")));
}

#[test]
fn rows_of_a_newest_epoch_whose_checkpoint_is_gone_are_named() {
    // The lost epoch may be the first one of its file, or not.
    for second in ["b.log", "a.log"] {
        let name = unique("forgotten");
        for sink in publishing_late(&name) {
            let desk = Desk::new();
            write_one(&desk, &name, &sink);
            let first = "one\ntwo\nthree\n";
            desk.write("a.log", first);
            desk.done(&["run", "p.yaml", "--until-end", "-q"]);
            let first = if second == "a.log" { first } else { "" };
            desk.write(second, &format!("{first}four\nfive\n"));
            desk.done(&["run", "p.yaml", "--until-end", "-q"]);
            desk.done(&["audit", "p.yaml"]);
            forget_epoch(&desk, &name, 2);
            let (code, said) = audit(&desk);
            assert_eq!(code, 3, "{sink}, {second}: {said}");
            let missing = "the checkpoints of main end with epoch 1, and 2 rows of epoch 2 are \
                           here: the checkpoints of epoch 2 are missing";
            assert!(said.contains(missing), "{sink}, {second}: {said}");
            assert!(said.contains("2 not expected"), "{sink}, {second}: {said}");
            assert!(said.ends_with("NOT COMPLETE\n") && !said.contains("not finished"), "{said}");
        }
    }
}

/// Dropped, it is killed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_audit_beside_a_pipeline_that_takes_new_files_never_finds_too_much() {
    let name = unique("beside");
    for sink in publishing_late(&name) {
        let desk = Desk::new();
        write_one(&desk, &name, &sink);
        desk.write("0.log", "line\n");
        let mut command = desk.command(&["run", "p.yaml", "-q"]);
        let run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let run = Running(run);
        let newest = || {
            let folder = desk.path().join("logmill-data/checkpoints").join(&name).join("main");
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let names = names.filter_map(|entry| entry.file_name().into_string().ok());
            names.filter_map(|name| name.strip_prefix("epoch-")?.parse::<u64>().ok()).max()
        };
        let first =
            wait::until("an epoch", Duration::from_secs(60), || newest().filter(|it| *it > 0));
        for file in 1..=8 {
            desk.write(&format!("{file}.log"), &format!("line of {file}\n"));
            let (code, said) = audit(&desk);
            assert_eq!(code, 0, "{sink}: {said}");
        }
        wait::until("it went on meanwhile", Duration::from_secs(60), || {
            newest().filter(|it| *it > first)
        });
        drop(run);
    }
}
