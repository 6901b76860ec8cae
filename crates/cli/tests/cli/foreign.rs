//! What somebody else wrote into a destination: counted, and no hindrance to the audit of the rest.

use std::io::Write;
use std::process::Command;

use serde_json::Value;
use testkit::http;
use testkit::services::{find, unique};

use crate::Desk;
use crate::interop::python;
use crate::replaced::{ask, begin};

/// Two sinks, of which `out` has rows of somebody else: it is named, and both are complete.
fn check(desk: &Desk, foreign: u64) {
    let ran = desk.done(&["audit", "replaced.yaml", "--format", "json"]);
    let audit = ran.json();
    assert_eq!(audit["complete"], true, "{audit}");
    let sink = |name: &str| {
        let sinks = audit["sinks"].as_array().expect("a list");
        sinks.iter().find(|sink| sink["sink"] == name).expect("it is audited")
    };
    for (name, foreign) in [("out", foreign), ("dead_letters", 0)] {
        let number = |field: &str| sink(name)[field].as_u64().unwrap_or_default();
        assert_eq!(number("foreign"), foreign, "{name}: {audit}");
    }
    assert_eq!(sink("out")["found"], Value::from(3), "{audit}");
    let text = desk.done(&["audit", "replaced.yaml"]).stdout;
    let said = format!("{foreign} without an origin: somebody else's");
    assert_eq!(text.contains(&said), foreign > 0, "{text}");
}

#[test]
fn a_row_that_somebody_inserted_into_a_table_is_counted_and_named() {
    let Some(url) = find("postgres") else { return };
    let name = unique("foreign");
    let desk = begin(&name, &format!("type: postgres, url: '{url}', table: {name}, create: true"));
    // Tables that we make take no such rows, those of others may.
    let nullable = ["_split", "_position", "_epoch"].map(|it| format!("ALTER {it} DROP NOT NULL"));
    ask(&url, &format!("ALTER TABLE {name} {}", nullable.join(", ")));
    ask(&url, &format!("INSERT INTO {name} (n) VALUES (9), (10)"));
    check(&desk, 2);
}

#[test]
fn a_document_that_somebody_put_into_an_index_is_counted_and_named() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        let name = unique("foreign");
        let desk = begin(&name, &format!("type: opensearch, url: '{url}', index: {name}"));
        http::send("POST", &url, &format!("/{name}/_doc"), "{\"n\":9}").expect("it is taken");
        check(&desk, 1);
    }
}

#[test]
fn a_record_that_somebody_sent_into_a_topic_is_counted_and_named() {
    let Some(brokers) = find("kafka") else { return };
    let name = unique("foreign");
    let sink = format!(
        "type: kafka, brokers: '{brokers}', topic: {name}, create_topics: {{ partitions: 1 }}"
    );
    let desk = begin(&name, &sink);
    send_as_another(&desk, &format!("{sink}, origin: false"));
    check(&desk, 3);
}

#[test]
fn a_file_that_somebody_put_among_objects_is_passed_over() {
    let desk = begin("foreign", "type: object_store, url: ./out, create_bucket: true");
    desk.write("out/notes.jsonl", "{\"n\":9}\n");
    check(&desk, 0);
}

#[test]
fn a_line_that_somebody_wrote_into_an_object_is_counted_and_named() {
    let desk = begin("foreign", "type: object_store, url: ./out, create_bucket: true");
    let mut folders = vec![desk.path().join("out")];
    let mut objects = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let is_folder = entry.path().is_dir();
            if is_folder { &mut folders } else { &mut objects }.push(entry.path());
        }
    }
    let object = std::fs::OpenOptions::new().append(true).open(&objects[0]);
    writeln!(object.expect("an object"), "{{\"n\":9}}").expect("written");
    check(&desk, 1);
}

/// The same rows by another pipeline, which writes no origins.
fn send_as_another(desk: &Desk, sink: &str) {
    let file = std::fs::read_to_string(desk.path().join("replaced.yaml")).expect("text");
    let name = unique("other");
    std::fs::copy(desk.path().join("a.json"), desk.path().join("b.json")).expect("copied");
    let file = file.replace("a.json", "b.json");
    let head = format!(
        "name: {name}\n{}",
        file.split_once('\n').expect("lines").1.split("sinks:").next().expect("sinks")
    );
    desk.write("other.yaml", &format!("{head}sinks:\n  out: {{ input: parsed, {sink} }}\n"));
    desk.done(&["run", "other.yaml", "--until-end", "--quiet"]);
    std::fs::remove_file(desk.path().join("other.yaml")).expect("a file");
}

#[test]
fn rows_that_others_wrote_into_a_lake_table_are_counted_and_named() {
    let desk = begin("foreign", "type: lake, table: t");
    check(&desk, 0);
    send_as_another(&desk, "type: lake, table: t, origin: false");
    check(&desk, 3);
    let Some(python) = python() else { return };
    let script = "import sys, pyarrow, deltalake\n\
                  rows = pyarrow.table({'n': pyarrow.array([7, None], pyarrow.int64())})\n\
                  deltalake.write_deltalake(sys.argv[1], rows, mode='append', \
                  schema_mode='merge')\n";
    let table = desk.path().join("logmill-data/lake/t");
    let written = Command::new(python).args(["-c", script]).arg(&table).output().expect("starts");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    check(&desk, 5);
    desk.done(&["run", "replaced.yaml", "--until-end", "--quiet"]);
    check(&desk, 5);
}
