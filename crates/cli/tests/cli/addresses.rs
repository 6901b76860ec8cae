//! A destination under another address, and another destination under the same name: each line of
//! the table in docs/reliability.md, on the real servers.

use serde_json::Value;
use testkit::services::{find, s3_settings, unique};

use crate::Desk;

/// The two other places that a sink is given.
struct Moves {
    /// Where it writes first.
    first: String,
    /// The same under another address, and whether the sink proves that by its token.
    same: (String, bool),
    /// Another one.
    other: String,
}

fn write(desk: &Desk, lines: usize, sink: &str) {
    let text: String = (0..lines).map(|number| format!("line {number}\n")).collect();
    desk.write("a.log", &text);
    desk.write(
        "web.yaml",
        &format!(
            "name: web\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             out: {{ input: a, {sink} }}\n"
        ),
    );
}

/// The audit, which must be complete: rows found, rows that should be there, rows elsewhere.
fn audited(desk: &Desk) -> (u64, u64, u64, Value) {
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    let sink = &audit["sinks"][0];
    let number = |key: &str| sink[key].as_u64().expect("a number");
    (number("found"), number("expected"), number("away"), sink["moved"].clone())
}

fn run(desk: &Desk) {
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
}

/// Asks, and goes on in a place on the operator's word.
fn assume_held(desk: &Desk) {
    let refused = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    for part in ["sink \"out\" writes to", "another name", "--assume held"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    desk.done(&["run", "web.yaml", "--until-end", "-q", "--assume", "held"]);
}

fn check(moves: &Moves) {
    let desk = Desk::new();
    write(&desk, 3, &moves.first);
    run(&desk);
    assert_eq!(audited(&desk), (3, 3, 0, Value::Null), "{}", moves.first);
    let (same, proves) = &moves.same;
    write(&desk, 4, same);
    match proves {
        true => run(&desk),
        false => assume_held(&desk),
    }
    let (found, expected, away, _) = audited(&desk);
    assert_eq!((found, expected, away), (4, 4, 0), "it is the same: {same}");
    // What another one gets is the rest, and what it never got is not missing there.
    write(&desk, 6, &moves.other);
    assume_held(&desk);
    let (found, expected, away, moved) = audited(&desk);
    assert_eq!((found, expected, away), (2, 2, 4), "{}: {moved}", moves.other);
    let rows = moved.as_array().expect("places").iter().map(|one| one["rows"].as_u64());
    assert_eq!(rows.sum::<Option<u64>>(), Some(4), "{moved}");
    let said = desk.done(&["audit", "web.yaml"]).stdout;
    for part in ["2 rows, each of them once", "where it wrote then", "4 rows of these are not here"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// The same server by its name.
fn by_name(url: &str) -> String {
    url.replace("127.0.0.1", "localhost")
}

#[test]
fn a_table_of_postgresql_is_known_by_its_token() {
    let Some(url) = find("postgres") else { return };
    let name = unique("addressed").replace('-', "_");
    let sink = |url: &str, table: &str| {
        format!("type: postgres, url: '{url}', table: {table}, create: true")
    };
    check(&Moves {
        first: sink(&url, &name),
        same: (sink(&by_name(&url), &name), true),
        other: sink(&url, &format!("{name}_other")),
    });
}

#[test]
fn a_topic_is_known_by_the_group_with_its_token() {
    let Some(brokers) = find("kafka") else { return };
    let name = unique("addressed");
    let sink = |brokers: &str, topic: &str| {
        format!(
            "type: kafka, brokers: {brokers}, topic: {topic}, create_topics: {{ partitions: 1 }}"
        )
    };
    let list = format!("['{}', '{brokers}']", by_name(&brokers));
    check(&Moves {
        first: sink(&format!("'{brokers}'"), &name),
        same: (sink(&list, &name), true),
        other: sink(&format!("'{brokers}'"), &format!("{name}-other")),
    });
}

#[test]
fn a_lake_table_in_a_bucket_is_known_by_its_log() {
    let Some(endpoint) = find("s3") else { return };
    let name = unique("addressed");
    let bucket = testkit::services::setting("s3_bucket");
    let sink = |endpoint: &str, prefix: &str| {
        let store = s3_settings(endpoint);
        format!("type: lake, table: t, url: 's3://{bucket}/{prefix}', {store}")
    };
    check(&Moves {
        first: sink(&endpoint, &name),
        same: (sink(&by_name(&endpoint), &name), true),
        other: sink(&endpoint, &format!("{name}-other")),
    });
}

#[test]
fn objects_have_no_token_and_the_operator_says_what_they_are() {
    let Some(endpoint) = find("s3") else { return };
    let name = unique("addressed");
    let bucket = testkit::services::setting("s3_bucket");
    let sink = |endpoint: &str, prefix: &str| {
        let store = s3_settings(endpoint);
        format!("type: object_store, url: 's3://{bucket}/{prefix}', {store}")
    };
    check(&Moves {
        first: sink(&endpoint, &name),
        same: (sink(&by_name(&endpoint), &name), false),
        other: sink(&endpoint, &format!("{name}-other")),
    });
}

#[test]
fn documents_have_no_token_and_the_operator_says_what_they_are() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        let name = unique("addressed");
        let sink =
            |url: &str, index: &str| format!("type: opensearch, url: '{url}', index: {index}");
        check(&Moves {
            first: sink(&url, &name),
            same: (sink(&by_name(&url), &name), false),
            other: sink(&url, &format!("{name}-other")),
        });
    }
}

#[test]
fn folders_are_known_as_buckets_are() {
    let lake = |table: &str| format!("type: lake, table: {table}, url: ./{table}");
    let desk = Desk::new();
    write(&desk, 3, &lake("here"));
    run(&desk);
    std::fs::rename(desk.path().join("here"), desk.path().join("there")).expect("moved");
    write(&desk, 4, &lake("here").replace("./here", "./there"));
    run(&desk);
    assert_eq!(audited(&desk), (4, 4, 0, Value::Null));
    let objects =
        |folder: &str| format!("type: object_store, url: ./{folder}, create_bucket: true");
    let desk = Desk::new();
    write(&desk, 3, &objects("here"));
    run(&desk);
    std::fs::rename(desk.path().join("here"), desk.path().join("there")).expect("moved");
    write(&desk, 4, &objects("there"));
    assume_held(&desk);
    let (found, expected, away, _) = audited(&desk);
    assert_eq!((found, expected, away), (4, 4, 0));
    write(&desk, 6, &objects("elsewhere"));
    assume_held(&desk);
    let (found, expected, away, _) = audited(&desk);
    assert_eq!((found, expected, away), (2, 2, 4));
    // A row of the present place that is lost is missing there, wherever earlier ones went.
    let elsewhere = desk.path().join("elsewhere");
    std::fs::remove_dir_all(&elsewhere).expect("removed");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let ran = desk.run(&["audit", "web.yaml", "--format", "json"]);
    let audit = ran.json();
    assert_eq!((ran.code, &audit["sinks"][0]["missing"]), (3, &2.into()), "{audit}");
}
