//! What a sink that promises little must still hold. The source has no proof of this kind:
//! standard input cannot be read twice.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use connector_stdio::Stdio;

const CHILD: &str = "LOGMILL_PROOF_CHILD";

/// Runs itself again, because rows go past the test's own capture to standard output.
#[tokio::test]
async fn standard_output_gets_every_row() {
    if std::env::var_os(CHILD).is_some() {
        let settings = testkit::section("{ format: json, origin: true }");
        testkit::check_sink(&Stdio, &settings, &std::env::temp_dir()).await;
        return;
    }
    let program = std::env::current_exe().expect("this test is a program");
    let output = Command::new(program)
        .args(["--exact", "standard_output_gets_every_row", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("this test can run again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let rows = said.lines().filter(|line| line.contains("\"_position\":")).count();
    assert!(rows >= 100, "{rows} rows\n{said}");
}
