#![allow(clippy::unwrap_used, clippy::panic)]
//! The pages of `docs/` that are made of the types say what the types say.
//!
//! With `LOGMILL_DOCS=write`, which `cargo xtask docs` sets, the test writes them instead.

mod metrics;
mod pages;

use std::path::Path;

use plan::Vocabulary;

#[test]
fn generated_pages_are_current() {
    let writes = std::env::var_os("LOGMILL_DOCS").is_some_and(|wish| wish == "write");
    for (page, text) in [
        ("docs/settings.md", pages::settings()),
        ("docs/pipeline.schema.json", pages::pipeline_schema()),
        ("docs/metrics.md", metrics::page()),
    ] {
        let path = root().join(page);
        if writes {
            std::fs::write(&path, text).expect("a checkout can be written");
            continue;
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{page} is stale; run `cargo xtask docs` and commit it");
    }
}

#[test]
fn the_tables_of_changes_in_the_readmes_are_current() {
    let writes = std::env::var_os("LOGMILL_DOCS").is_some_and(|wish| wish == "write");
    for connector in registry::connectors() {
        let spec = connector.spec();
        let changes = spec.sink.as_ref().map_or(&[][..], |sink| sink.changes);
        if changes.is_empty() {
            continue;
        }
        let page = format!("connectors/{}/README.md", spec.name);
        let path = root().join(&page);
        let readme = std::fs::read_to_string(&path).expect("a README");
        let current = pages::with_table(&readme, "changes", &pages::changes(changes));
        let current = current.unwrap_or_else(|| panic!("{page} has no place for its changes"));
        if writes {
            std::fs::write(&path, current).expect("a checkout can be written");
            continue;
        }
        assert!(readme == current, "{page} is stale; run `cargo xtask docs` and commit it");
    }
}

#[test]
fn the_tables_in_the_page_on_reliability_are_current() {
    let path = root().join("docs/reliability.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let current = pages::with_table(&page, "points", &pages::points()).expect("a place for it");
    let current = pages::with_table(&current, "answers", &pages::answers()).expect("as above");
    if std::env::var_os("LOGMILL_DOCS").is_some_and(|wish| wish == "write") {
        return std::fs::write(&path, current).expect("a checkout can be written");
    }
    assert!(page == current, "docs/reliability.md is stale; run `cargo xtask docs` and commit it");
}

#[test]
fn every_example_is_a_pipeline() {
    for connector in registry::connectors() {
        let spec = connector.spec();
        check(spec.example, &format!("connectors/{}/example.yaml", spec.name));
    }
    for spec in engine::specs() {
        let (own_name, _) = spec.example.split_once(':').expect("an example begins with a name");
        let inputs = ["access", "parsed", "enriched"].into_iter().filter(|name| *name != own_name);
        let sources: String = inputs.map(|name| format!("  {name}: {{ type: file }}\n")).collect();
        let transform = spec.example;
        let file = format!("name: example\nsources:\n{sources}transforms:\n  {transform}\n");
        check(&file, spec.name);
    }
}

#[test]
fn the_pipelines_in_the_readme_are_right() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<_> = blocks.collect();
    assert!(!blocks.is_empty());
    blocks.iter().for_each(|block| check(block, "README.md"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

fn check(text: &str, name: &str) {
    let connectors = registry::connectors().iter().map(|connector| connector.spec());
    let with_source = connectors.clone().filter(|spec| spec.source.is_some());
    let with_sink = connectors.filter(|spec| spec.sink.is_some());
    let vocabulary = Vocabulary {
        sources: &with_source.map(|spec| spec.name).collect::<Vec<_>>(),
        transforms: &engine::specs().iter().map(|spec| spec.name).collect::<Vec<_>>(),
        sinks: &with_sink.map(|spec| spec.name).collect::<Vec<_>>(),
        inputs: &engine::inputs,
        environment: &|_| Some("x".to_owned()),
        secrets: &|_| Ok("x".to_owned()),
    };
    if let Err(error) = plan::read(text, name, &vocabulary) {
        panic!("{error:?} {:?}\n{text}", error.place());
    }
}
