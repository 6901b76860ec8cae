#![allow(clippy::unwrap_used, clippy::panic)]
//! Each setting is set by a test or an example: one that nothing reads would not be noticed.

mod sources;

use plan::table;

use sources::files_in;

/// No folder but its own.
const NOWHERE: &str = "/";

/// A test or an example.
struct Text {
    path: String,
    text: String,
}

/// A setting, and whose it is.
struct Known {
    /// The word after `type:`; none for a setting of the pipeline.
    kind: Option<&'static str>,
    name: String,
    /// Further folders whose tests set it.
    tried_in: &'static str,
}

#[test]
fn every_setting_is_set_by_a_test_or_an_example() {
    let files = files_in(&["crates", "connectors", "blueprints"], &["rs", "yaml", "yml"]);
    let texts = files.into_iter().filter(|file| !file.path.starts_with("crates/testkit/"));
    let texts = texts.filter_map(|file| {
        let path = file.path.clone();
        let is_example = !path.ends_with(".rs");
        let text = if is_example { Some(file.text) } else { file.into_tests() };
        Some(Text { path, text: text? })
    });
    let texts: Vec<_> = texts.collect();
    let idle: Vec<_> = settings().into_iter().filter(|known| !is_set(known, &texts)).collect();
    let named: Vec<_> = idle.iter().map(|it| format!("{:?} {}", it.kind, it.name)).collect();
    assert!(named.is_empty(), "no test and no example sets: {named:#?}");
}

/// Whether one of the texts that have to do with its owner sets it.
fn is_set(known: &Known, texts: &[Text]) -> bool {
    let key = known.name.rsplit('.').next().unwrap_or_default();
    let concerns = |text: &Text| match known.kind {
        Some(kind) => {
            text.path.starts_with(&format!("connectors/{kind}/"))
                || text.path.starts_with(known.tried_in)
                || text.text.contains(&format!("type: {kind}"))
        }
        None => true,
    };
    texts.iter().filter(|text| concerns(text)).any(|text| sets(&text.text, key))
}

fn settings() -> Vec<Known> {
    let whole = plan::schema::settings();
    let stores = whole.iter().find(|(key, _)| *key == "checkpoint");
    let stores: Vec<_> = stores.map(|(_, schema)| table::settings(schema)).unwrap();
    let mut settings = Vec::new();
    let mut add = |kind, tried_in, schema: &schemars::Schema| {
        settings.extend(table::settings(schema).into_iter().map(|row| {
            // What sections of several kinds read as a part of themselves is tried once.
            let shared = stores.iter().any(|shared| shared.name == row.name);
            let tried_in = if shared { "crates/stores/" } else { tried_in };
            Known { kind, name: row.name, tried_in }
        }));
    };
    for connector in registry::connectors() {
        let spec = connector.spec();
        spec.source.iter().for_each(|schema| add(Some(spec.name), NOWHERE, &schema()));
        spec.sink.iter().for_each(|sink| add(Some(spec.name), NOWHERE, &(sink.config_schema)()));
    }
    for spec in engine::specs() {
        add(Some(spec.name), "crates/engine/", &(spec.config_schema)());
    }
    whole.iter().for_each(|(_, schema)| add(None, "", schema));
    settings
}

/// Whether a text holds the name as a key: `name:`, `"name":`, or `("name", …` where settings are
/// made in code.
fn sets(text: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, rest) = (&text[..at], &text[at + name.len()..]);
        let rest_of_key = rest.trim_start_matches(['"', '\\']);
        let is_key = rest_of_key.starts_with(':') && !rest_of_key.starts_with("::");
        let is_pair = before.ends_with("(\"") && rest.starts_with("\",");
        !before.ends_with(is_word) && (is_key || is_pair)
    })
}

#[test]
fn a_setting_is_set_where_it_is_a_key() {
    assert!(sets("{ topic: a, topics_max: 3 }", "topics_max"));
    assert!(sets("{ \\\"topics_max\\\": 3 }", "topics_max"));
    assert!(sets("run(&[(\"topics_max\", 3.into())])", "topics_max"));
    assert!(!sets("{ my_topics_max: 3 }", "topics_max"));
    assert!(!sets("topics_max_default()", "topics_max"));
    assert!(!sets("topics_max::new()", "topics_max"));
    let known = Known { kind: Some("kafka"), name: "a.topics_max".into(), tried_in: "crates/x/" };
    let text = |path: &str, text: &str| [Text { path: path.into(), text: text.into() }];
    assert!(is_set(&known, &text("connectors/kafka/example.yaml", "topics_max: 3")));
    assert!(is_set(&known, &text("crates/cli/tests/a.rs", "{ type: kafka, topics_max: 3 }")));
    assert!(!is_set(&known, &text("connectors/lake/example.yaml", "topics_max: 3")));
}
