//! What a killed process leaves behind: nothing where readers look, and nothing unsaid.

use std::path::{Path, PathBuf};

use crate::{Desk, Ran};

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: ['*.log'] }
sinks:
  files: { type: object_store, input: access, url: out, create_bucket: true }
";
/// Passes of a put on local disk in a run of that pipeline: checkpoints and one object.
const PUTS_MAX: u64 = 8;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("access.log", "a\nb\nc\n");
    desk.write("web.yaml", PIPELINE);
    desk
}

/// Runs until the process is killed at a point; false if it came to its end before.
fn is_killed(desk: &Desk, point: &str) -> bool {
    let ended = desk
        .command(&["run", "web.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", point)
        .status()
        .expect("the program starts");
    ended.code().is_none()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files = paths.flat_map(|path| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    });
    files.collect()
}

fn is_hidden(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
}

#[test]
fn what_has_no_name_yet_lies_in_a_hidden_folder_and_goes_with_the_next_start() {
    let mut staged = 0;
    for pass in 1..=PUTS_MAX {
        let desk = desk();
        let out = desk.path().join("out");
        if !is_killed(&desk, &format!("store.put.staged:{pass}")) {
            continue;
        }
        let left = files_below(&out);
        let left = left.iter().map(|path| path.strip_prefix(&out).expect("below").to_owned());
        let (hidden, seen): (Vec<_>, Vec<_>) = left.partition(|path| is_hidden(path));
        for path in seen {
            let name = path.to_string_lossy().into_owned();
            assert!(name.ends_with(".jsonl"), "pass {pass}: {name} lies where readers look");
        }
        staged += hidden.len();
        desk.done(&["run", "web.yaml", "--until-end"]);
        let names = files_below(&out);
        let texts = names.iter().map(|path| std::fs::read_to_string(path).expect("text"));
        let rows: usize = texts.map(|text| text.lines().count()).sum();
        assert_eq!((names.len(), rows), (1, 3), "pass {pass}: {names:?}");
        desk.done(&["audit", "web.yaml"]);
    }
    assert_eq!(staged, 1, "one of the puts was the object's");
}

fn audit(desk: &Desk) -> Ran {
    desk.run(&["audit", "web.yaml"])
}

#[test]
fn an_audit_after_a_crash_names_the_epoch_that_is_not_finished() {
    let desk = desk();
    assert!(is_killed(&desk, "decide.after:1"));
    let said = audit(&desk);
    assert_eq!(said.code, 3, "{}{}", said.stdout, said.stderr);
    for part in ["epoch 1 of main is decided and not finished", "NOT COMPLETE"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let json = desk.run(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(json["complete"], false);
    assert_eq!(json["unfinished"][0]["lineage"], "main");
    assert_eq!(json["unfinished"][0]["epoch"], 1);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let said = audit(&desk);
    assert_eq!(said.code, 0, "{}", said.stdout);
    assert!(said.stdout.contains("up to epoch 1"), "{}", said.stdout);
}

#[test]
fn an_epoch_that_every_sink_holds_is_complete_without_a_mark() {
    let desk = desk();
    assert!(is_killed(&desk, "complete.before:1"));
    let said = audit(&desk);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("up to epoch 1"), "{}", said.stdout);
    assert!(said.stdout.contains("3 rows, each of them once"), "{}", said.stdout);
}
