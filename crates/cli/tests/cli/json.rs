//! Fields of type `json` reach every destination as the JSON that they are.

use std::path::PathBuf;

use serde_json::Value;
use testkit::http;
use testkit::services::{find, unique};

use crate::Desk;

/// Values of a field of type `json`, as they stand in the lines.
const VALUES: [&str; 6] = [
    r#"{"n":123456789012345678901234567890.10,"b": [ 1 ,"x",{"d":true} ]}"#,
    r#"{"u":"caf\u00e9 \ud83d\ude00 \/ \n","e":1E+2}"#,
    "[]",
    r#""only \"text\"""#,
    "-0.0",
    "true",
];

fn lines() -> String {
    let lines = VALUES.iter().enumerate();
    lines.map(|(id, value)| format!("{{\"id\":{id},\"j\":{value},\"more\":{value}}}\n")).collect()
}

/// The field, the rest of the line, and what SQL makes of the field.
fn pipeline(name: &str, sink: &str) -> String {
    format!(
        "name: {name}\nsources:\n  lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
         parsed: {{ type: parse, input: lines, format: json, rest: rest, \
         fields: {{ id: integer, j: json }} }}\n  \
         named: {{ type: sql, query: 'SELECT id, j AS own, rest, concat(j, '''') AS made \
         FROM parsed' }}\nsinks:\n  out: {{ input: named, {sink} }}\n"
    )
}

/// What a row should be, without its id.
fn expected(value: &str) -> String {
    let made = serde_json::to_string(value).expect("text");
    format!("\"own\":{value},\"rest\":{{\"more\":{value}}},\"made\":{made}")
}

fn deliver(name: &str, sink: &str) -> Desk {
    let desk = Desk::new();
    desk.write("a.json", &lines());
    desk.write("json.yaml", &pipeline(name, sink));
    desk.done(&["run", "json.yaml", "--until-end", "--quiet"]);
    let audit = desk.done(&["audit", "json.yaml", "--format", "json"]).json();
    assert_eq!(audit["sinks"][0]["found"], VALUES.len(), "{audit}");
    desk
}

fn check_text(text: &str) {
    for value in VALUES {
        assert!(text.contains(&expected(value)), "{}\n{text}", expected(value));
    }
}

/// The objects that stand in the folder.
fn objects(desk: &Desk) -> Vec<PathBuf> {
    let (mut objects, mut folders) = (Vec::new(), vec![desk.path().join("out")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => objects.push(path),
            }
        }
    }
    objects
}

#[test]
fn objects_hold_json_byte_for_byte() {
    let desk = deliver("json", "type: object_store, url: out, create_bucket: true, format: jsonl");
    let texts = objects(&desk).into_iter().map(std::fs::read_to_string);
    let text: String = texts.map(|text| text.expect("text")).collect();
    check_text(&text);
    let found = desk.done(&["where", "json.yaml", "\"id\":0", "--format", "json"]).stdout;
    assert!(found.contains("{\"b\":[1,\"x\",{\"d\":true}]"), "{found}");
}

#[test]
fn standard_output_has_json_byte_for_byte() {
    let desk = Desk::new();
    desk.write("a.json", &lines());
    desk.write("json.yaml", &pipeline("json", "type: stdio, format: json"));
    check_text(&desk.done(&["run", "json.yaml", "--until-end", "--quiet"]).stdout);
}

#[test]
fn a_topic_has_json_byte_for_byte() {
    let Some(brokers) = find("kafka") else { return };
    let topic = unique("json");
    let sink = format!(
        "type: kafka, brokers: '{brokers}', topic: {topic}, create_topics: {{ partitions: 1 }}"
    );
    let desk = deliver(&topic, &sink);
    let count = VALUES.len().to_string();
    let read = ["tail", "--brokers", &brokers, "-t", &topic, "--start", "earliest", "--raw"];
    let records = desk.done(&[&read[..], &["--limit", &count]].concat()).stdout;
    let values = records.lines().map(|record| {
        let record: Value = serde_json::from_str(record).expect("a record is an object");
        record["value"].as_str().expect("text").to_owned()
    });
    check_text(&values.collect::<String>());
}

#[test]
fn documents_hold_json_byte_for_byte() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        let index = unique("json");
        // Values of several kinds have no mapping in common: they are kept and not indexed.
        let as_it_is = "{ type: object, enabled: false }";
        let template = format!(
            "template: {{ mappings: {{ properties: {{ own: {as_it_is}, rest: {as_it_is} }} }} }}"
        );
        let sink = format!("type: opensearch, url: '{url}', index: {index}, {template}");
        let desk = deliver(&index, &sink);
        let found = http::send("GET", &url, &format!("/{index}/_search?size=100"), "{}");
        check_text(&found.expect("it answers"));
        let found = desk.done(&["where", "json.yaml", "\"id\":0", "--format", "json"]).stdout;
        assert!(found.contains("{\"b\":[1,\"x\",{\"d\":true}]"), "{found}");
    }
}

#[test]
fn a_document_that_no_cluster_takes_is_a_letter_and_its_neighbours_arrive() {
    let Some(url) = find("opensearch") else { return };
    let index = unique("json");
    let desk = Desk::new();
    let twice = "{\"id\":1,\"j\":{\"a\":1,\"a\":2}}\n";
    desk.write("a.json", &format!("{twice}{{\"id\":2,\"j\":{{\"a\":3}}}}\n"));
    let sink = format!("type: opensearch, url: '{url}', index: {index}");
    desk.write("json.yaml", &pipeline(&index, &sink));
    let ran = desk.done(&["run", "json.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(ran["sinks"][0]["delivered"], 1, "{ran}");
    assert_eq!(ran["sinks"][0]["dead_lettered"], 1, "{ran}");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
    assert!(letters.contains("uplicate"), "the reason is the cluster's: {letters}");
}

#[test]
fn tables_hold_the_same_text() {
    let Some(url) = find("postgres") else { return };
    let table = unique("json");
    let sink = format!(
        "type: postgres, url: '{url}', table: {table}, \
         create: {{ columns: {{ own: json, rest: jsonb }} }}"
    );
    deliver(&table, &sink);
    let asked = std::process::Command::new("psql")
        .args([&url, "-qAtc", &format!("SELECT own::text FROM {table} ORDER BY id")])
        .output()
        .expect("psql starts");
    let texts = String::from_utf8(asked.stdout).expect("text");
    assert_eq!(texts.lines().collect::<Vec<_>>(), VALUES);

    let desk = deliver("json", "type: lake, table: json");
    let query = ["query", "SELECT own FROM json ORDER BY id", "--format", "json"];
    let rows = desk.done(&query).json();
    let rows: Vec<&str> = rows.as_array().expect("rows").iter().filter_map(own).collect();
    assert_eq!(rows, VALUES);
}

fn own(row: &Value) -> Option<&str> {
    row["own"].as_str()
}

/// Half a pair of surrogates is no text; it is delivered as it stands, and one sink that cannot be
/// read keeps no other one from being audited.
#[test]
fn json_that_holds_half_a_character_is_audited() {
    let desk = Desk::new();
    desk.write("a.json", "{\"id\":1,\"j\":{\"t\":\"cut \\ud83d\"}}\n");
    let sinks = "type: object_store, url: out, create_bucket: true, format: jsonl }\n  \
                 lake: { input: named, type: lake, table: json";
    desk.write("json.yaml", &pipeline("json", sinks));
    desk.done(&["run", "json.yaml", "--until-end", "--quiet"]);
    let audit = || {
        let ran = desk.run(&["audit", "json.yaml", "--format", "json"]);
        (ran.code, ran.json())
    };
    let (code, report) = audit();
    assert_eq!((code, &report["sinks"][0]["found"]), (0, &1.into()), "{report}");
    for path in objects(&desk) {
        std::fs::write(path, "{\"id\":1,").expect("written");
    }
    let (code, report) = audit();
    assert_eq!((code, &report["complete"]), (1, &false.into()), "{report}");
    let why = &report["sinks"][0]["unreadable"]["error"];
    assert!(why.as_str().is_some_and(|why| why.contains("could not read object")), "{report}");
    assert_eq!(report["sinks"][1]["found"], 1, "{report}");
    let text = desk.run(&["audit", "json.yaml"]).stdout;
    assert!(text.contains("out: not read: ") && text.contains("lake: 1 row, each of"), "{text}");
}
