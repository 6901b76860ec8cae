//! Variables of the environment.

use crate::{Desk, RAW};

/// Scripts and units of systemd leave variables empty that they do not need.
#[test]
fn a_variable_that_is_empty_counts_as_not_set() {
    let desk = Desk::new();
    desk.write("access.log", "a\nb\n");
    desk.write("p.yaml", &RAW.replace("table: raw", "table: \"${TABLE:raw}\""));
    let run = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        for name in [
            "LOGMILL_DATA",
            "LOGMILL_LOG_FORMAT",
            "LOGMILL_LOG",
            "LOGMILL_SECRETS",
            "LOGMILL_TOKEN",
            "LOG_LEVEL",
            "KAFKA_BOOTSTRAP_SERVERS",
            "NO_COLOR",
            "TABLE",
        ] {
            command.env(name, "");
        }
        let output = command.output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr)
    };
    let (code, _, said) = run(&["run", "p.yaml", "--until-end"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(desk.path().join("logmill-data/lake/raw/_delta_log").is_dir(), "the usual folder");
    let (code, out, said) = run(&["query", "SELECT count(*) AS n FROM raw", "--format", "csv"]);
    assert_eq!((code, out.as_str()), (Some(0), "n\n2\n"), "{said}");
    let (code, _, said) = run(&["tail"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("needs to know what to watch"), "{said}");
}
