#![allow(clippy::unwrap_used, clippy::panic)]
//! The pages of `docs/` that are made of the types say what the types say.
//!
//! With `LOGMILL_DOCS=write`, which `cargo xtask docs` sets, the test writes them instead.

mod pages;

use std::path::Path;

#[test]
fn generated_pages_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    let writes = std::env::var_os("LOGMILL_DOCS").is_some_and(|wish| wish == "write");
    for (page, text) in [
        ("docs/settings.md", pages::settings()),
        ("docs/pipeline.schema.json", pages::pipeline_schema()),
    ] {
        let path = root.join(page);
        if writes {
            std::fs::write(&path, text).expect("a checkout can be written");
            continue;
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{page} is stale; run `cargo xtask docs` and commit it");
    }
}
