//! Folders of an earlier program under this one, and of this one under the earlier one.
//!
//! `cargo xtask upgrade` builds the last program that wrote checkpoints in layout 1 and says in
//! `LOGMILL_BEFORE` where it is; without it these are left out. What a folder of that layout needs
//! is tried on every change (`crates/runtime/tests/epochs/upgrade.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::services::{find, unique};

use crate::Desk;

/// The earlier program, where there is one.
fn before() -> Option<PathBuf> {
    let program = std::env::var_os("LOGMILL_BEFORE").map(PathBuf::from);
    if program.is_none() {
        eprintln!("left out: LOGMILL_BEFORE is not set; `cargo xtask upgrade` sets it");
    }
    program
}

/// Runs a program, which must be killed where a point is armed; gives what it said.
fn run(mut command: Command, point: Option<&str>) -> (Option<i32>, String) {
    command.envs(point.map(|point| ("LOGMILL_FAILPOINT", point)));
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if let Some(point) = point {
        assert_eq!(ran.status.signal(), Some(9), "killed at {point}: {said}");
    }
    (ran.status.code(), said)
}

/// The same command by another program.
fn by(program: &Path, command: &Command) -> Command {
    let mut other = Command::new(program);
    other.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

fn until_end(desk: &Desk) -> Command {
    desk.command(&["run", "p.yaml", "--until-end", "--quiet"])
}

/// Every file of a folder, with its bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    found
}

fn lines(name: &str, lines: std::ops::Range<usize>) -> String {
    lines.map(|line| format!("{name} line {line}, long enough to count\n")).collect()
}

/// Some files, of which each epoch reads a part, into the lake.
fn desk_of_files(files: usize) -> Desk {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("logs")).unwrap();
    desk.write(
        "p.yaml",
        "name: logs\nepoch: { bytes_max: 64KiB }\nsources:\n  access: { type: file, paths: \
         ['logs/*'] }\nsinks:\n  lake: { type: lake, input: access, table: lines }\n",
    );
    for file in 0..files {
        let name = format!("{file:05}.log");
        desk.write(&format!("logs/{name}"), &lines(&name, 0..40));
    }
    desk
}

#[test]
fn before_the_earlier_program_stops_and_changes_nothing_in_whatever_state_a_folder_is() {
    let Some(before) = before() else { return };
    // Killed everywhere, and at its end; few splits, and so many that they stand in layers.
    let points = [
        "recover.first:1",
        "recover.done:1",
        "flow.batch:2",
        "barrier.paused:2",
        "prepare.done:2",
        "decide.before:2",
        "decide.answer:1",
        "decide.answer:2",
        "decide.after:1",
        "decide.after:2",
        "commit.sink.before:2",
        "commit.sink.after:2",
        "publish.done:2",
        "acknowledge.done:2",
        "complete.before:1",
        "complete.after:1",
    ];
    let many = ["layer.before:1", "layer.after:1", "decide.after:1"];
    let states = points.iter().map(|point| (60, Some(*point)));
    let states = states.chain(many.iter().map(|point| (1_500, Some(*point)))).chain([(60, None)]);
    for (files, point) in states {
        let desk = desk_of_files(files);
        run(until_end(&desk), point);
        let folder = desk.path().join("logmill-data");
        let ours = content(&folder);
        let (code, said) = run(by(&before, &until_end(&desk)), None);
        assert_eq!(code, Some(2), "{point:?}: {said}");
        assert!(said.contains("format"), "{point:?}: {said}");
        let theirs = content(&folder);
        let changed = ours.iter().filter(|(path, one)| theirs.get(*path) != Some(*one));
        let changed: Vec<_> = changed.map(|(path, _)| path).collect();
        let more: Vec<_> = theirs.keys().filter(|path| !ours.contains_key(*path)).collect();
        assert!(changed.is_empty() && more.is_empty(), "{point:?}: {changed:?} {more:?}");
        // And this program goes on where it was.
        assert_eq!(run(until_end(&desk), None).0, Some(0), "{point:?}");
        let sql = "SELECT count(*), count(DISTINCT message) FROM lines";
        let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
        let all = files * 40;
        assert_eq!(rows.lines().nth(1), Some(&*format!("{all},{all}")), "{point:?}");
    }
}

#[test]
fn before_an_epoch_of_the_earlier_program_is_finished_with_what_was_remembered() {
    let (Some(before), Some(url)) = (before(), find("postgres")) else { return };
    for point in ["decide.after:2", "commit.sink.after:2"] {
        let desk = Desk::new();
        let table = unique("before");
        let yaml = format!(
            "name: {table}\nepoch: {{ bytes_max: 16KiB }}\nsources:\n  access: {{ type: file, paths: \
             [a.log] }}\ntransforms:\n  once: {{ type: dedupe, input: access, key: [message] }}\n\
             sinks:\n  rows: {{ type: postgres, input: once, url: '{url}', table: {table}, create: \
             true }}\n  lake: {{ type: lake, input: once, table: lines }}\n"
        );
        desk.write("p.yaml", &yaml);
        // Each line twice, in different epochs.
        desk.write("a.log", &(lines("a", 0..2_000) + &lines("a", 0..2_000)));
        run(by(&before, &until_end(&desk)), Some(point));
        desk.write("a.log", &(lines("a", 0..2_000).repeat(2) + &lines("a", 1_000..3_000)));
        let (code, said) = run(until_end(&desk), None);
        assert_eq!(code, Some(0), "{point}: {said}");
        let sql = "SELECT count(*), count(DISTINCT message) FROM lines";
        let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
        assert_eq!(rows.lines().nth(1), Some("3000,3000"), "{point}");
        let audit = desk.done(&["audit", "p.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{point}: {audit}");
    }
}

#[test]
fn before_file_and_topic_of_one_pipeline_go_on_in_a_folder_of_the_earlier_program() {
    let (Some(before), Some(brokers)) = (before(), find("kafka")) else { return };
    for point in ["decide.after:1", "commit.sink.after:1", "publish.done:2"] {
        let desk = Desk::new();
        let topic = unique("before");
        let fill = |name: &str, range: std::ops::Range<usize>| {
            desk.write(&format!("{name}.txt"), &lines("topic", range));
            let yaml = format!(
                "name: {name}\nsources:\n  lines: {{ type: file, paths: [{name}.txt] }}\nsinks:\n  \
                 topic: {{ type: kafka, input: lines, brokers: '{brokers}', topic: {topic}, key: \
                 '{{message}}', create_topics: {{ partitions: 3 }} }}\n"
            );
            desk.write("fill.yaml", &yaml);
            desk.done(&["run", "fill.yaml", "--until-end", "--quiet"]);
        };
        fill("one", 0..3_000);
        desk.write("a.log", &lines("a", 0..3_000));
        let yaml = format!(
            "name: both\nepoch: {{ bytes_max: 32KiB }}\nsources:\n  file: {{ type: file, paths: \
             [a.log] }}\n  topic: {{ type: kafka, brokers: '{brokers}', topics: [{topic}], start: \
             earliest }}\ntransforms:\n  one: {{ type: sql, query: 'SELECT message FROM file' }}\n  \
             other: {{ type: sql, query: 'SELECT message FROM topic' }}\nsinks:\n  lake: {{ type: \
             lake, input: [one, other], table: lines }}\n"
        );
        desk.write("p.yaml", &yaml);
        run(by(&before, &until_end(&desk)), Some(point));
        fill("two", 3_000..4_000);
        desk.write("a.log", &lines("a", 0..4_000));
        let (code, said) = run(until_end(&desk), None);
        assert_eq!(code, Some(0), "{point}: {said}");
        let sql = "SELECT count(*), count(DISTINCT message) FROM lines";
        let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
        assert_eq!(rows.lines().nth(1), Some("8000,8000"), "{point}");
        let audit = desk.done(&["audit", "p.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{point}: {audit}");
    }
}
