//! The OpenAPI document, as a stranger tests it: schemathesis makes requests of all sorts from it
//! and compares what comes with what the document says.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Server, loaded};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn the_openapi_document_holds_for_requests_of_all_sorts() {
    let Some(python) = crate::interop::python() else { return };
    let desk = loaded();
    desk.write("token", TOKEN);
    let file = desk.path().join("token");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let server = Server::start(&desk, &["web.yaml", "--token-file", "token"]);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/schemathesis.toml");
    let output = Command::new(Path::new(&python).with_file_name("schemathesis"))
        .arg("--config-file")
        .arg(config)
        .args(["run", &format!("http://{}/openapi.json", server.address)])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        // A stream has no end, so that its tests would have none.
        .args(["--exclude-path", "/analytics/tail"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "8"])
        .args(["--seed", "1", "--suppress-health-check", "all", "--no-color"])
        .current_dir(desk.path())
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let end = said.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
    assert!(output.status.success(), "{}{}", &said[end..], String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_document_names_a_token_only_where_one_is_needed() {
    let server = Server::start(&loaded(), &[]);
    let document = server.get("/openapi.json");
    assert_eq!(document.json()["openapi"], "3.1.0");
    assert!(!document.body.contains("bearer"), "nobody is asked for one");
    let docs = server.get("/docs/");
    for outside in ["http://", "https://", "//"] {
        assert!(!docs.body.contains(&format!("src=\"{outside}")), "{}", docs.body);
        assert!(!docs.body.contains(&format!("href=\"{outside}")), "{}", docs.body);
    }
}
