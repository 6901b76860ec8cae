//! Objects of rows that came by several ways: none takes the place of another.

use std::path::Path;

use testkit::services::{find, unique};

use crate::Desk;

/// The lines of all objects below a folder.
fn held(folder: &Path) -> Vec<String> {
    let mut held = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return held };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(path).expect("text");
            held.extend(text.lines().map(str::to_owned));
        }
    }
    held
}

fn audited(desk: &Desk, file: &str) {
    let audit = desk.run(&["audit", file, "--format", "json"]);
    assert_eq!(audit.code, 0, "{}{}", audit.stdout, audit.stderr);
    assert_eq!(audit.json()["complete"], true, "{}", audit.stdout);
}

fn lines(count: usize, bytes: usize) -> String {
    (0..count).map(|line| format!("{line:06}{}\n", "x".repeat(bytes))).collect()
}

const KEY: &str = "type: object_store, url: out, create_bucket: true, rows_max: 100,
         key: '{split}-{position}.jsonl'";

#[test]
fn sources_that_read_one_file_overwrite_nothing_whatever_number_each_of_them_has() {
    let desk = Desk::new();
    desk.write("a.log", &lines(20_000, 80));
    let source = |name: &str, block: &str| {
        format!("  {name}: {{ type: file, paths: [a.log], block_bytes: {block} }}\n")
    };
    let [a, b, c] = [source("a", "256KiB"), source("b", "64KiB"), source("c", "32KiB")];
    let head = "name: both\nepoch: { bytes_max: 1MiB }\nsources:\n";
    let one = format!("{head}{a}sinks:\n  out: {{ input: a, {KEY} }}\n");
    let two = format!("{head}{a}{b}sinks:\n  out: {{ input: [a, b], {KEY} }}\n");
    let late = format!(
        "{head}{a}{b}{c}sinks:\n  out: {{ input: [a, c], {KEY} }}\n  \
         rest: {{ type: lake, input: b, table: rest }}\n"
    );
    for (text, rows) in [(one, 20_000), (two, 40_000)] {
        desk.write("both.yaml", &text);
        desk.done(&["run", "both.yaml", "--until-end", "-q"]);
        assert_eq!(held(&desk.path().join("out")).len(), rows);
        audited(&desk, "both.yaml");
    }
    // The second way is another one's now, which reads what the earlier one had read.
    desk.write("both.yaml", &late);
    desk.done(&["run", "both.yaml", "--until-end", "-q"]);
    assert_eq!(held(&desk.path().join("out")).len(), 60_000);
}

#[test]
fn sources_that_read_one_topic_overwrite_nothing() {
    let Some(broker) = find("kafka") else { return };
    let desk = Desk::new();
    let topic = unique("both");
    desk.write("a.log", &lines(1000, 20));
    desk.write(
        "fill.yaml",
        &format!(
            "name: fill\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             k: {{ type: kafka, input: a, brokers: \"{broker}\", topic: {topic}, \
             create_topics: {{ partitions: 1 }} }}\n"
        ),
    );
    desk.done(&["run", "fill.yaml", "--until-end", "-q"]);
    let source = format!("type: kafka, brokers: \"{broker}\", topics: {topic}");
    desk.write(
        "both.yaml",
        &format!(
            "name: both\nsources:\n  a: {{ {source} }}\n  b: {{ {source} }}\n\
             sinks:\n  out: {{ input: [a, b], type: object_store, url: out, create_bucket: true,\n         \
             key: '{{split}}-{{position}}-{{epoch}}.jsonl' }}\n"
        ),
    );
    desk.done(&["run", "both.yaml", "--until-end", "-q"]);
    assert_eq!(held(&desk.path().join("out")).len(), 2000);
    audited(&desk, "both.yaml");
}

#[test]
fn an_epoch_of_two_ways_whose_upload_is_gone_is_sent_again_once() {
    let desk = Desk::new();
    desk.write("a.log", &lines(3000, 2000));
    desk.write(
        "ways.yaml",
        "name: ways\nsources:\n  lines: { type: file, paths: [a.log], block_bytes: 64KiB }\n\
         transforms:\n  r: { type: route, input: lines, routes: { odd: \"message LIKE '%1x%'\" } }\n\
         sinks:\n  out: { type: object_store, input: [r.odd, r.default], url: out,\n         \
         create_bucket: true, rows_max: 90, key: '{split}-{position}-{epoch}.jsonl' }\n",
    );
    let mut run = desk.command(&["run", "ways.yaml", "--until-end", "-q"]);
    let killed = run.env("LOGMILL_FAILPOINT", "decide.after:1").status().expect("it starts");
    assert_eq!(killed.code(), None, "it was killed");
    let staged = std::fs::read_dir(desk.path().join("out/.logmill")).expect("staged");
    let uploads = staged.map(|it| it.expect("an entry").path());
    let is_upload = |path: &Path| path.to_string_lossy().contains("upload#");
    let upload = uploads.into_iter().find(|path| is_upload(path)).expect("an upload");
    std::fs::remove_file(upload).expect("removed");
    desk.done(&["run", "ways.yaml", "--until-end", "-q"]);
    let mut held = held(&desk.path().join("out"));
    assert_eq!(held.len(), 3000);
    held.sort();
    held.dedup();
    assert_eq!(held.len(), 3000, "each line once");
    audited(&desk, "ways.yaml");
}
