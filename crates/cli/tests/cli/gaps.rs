//! A sink that is disabled for some epochs, and a history that is gone: told, never passed over.

use crate::{Desk, Ran};

/// Two sinks, of which `second` can be off.
fn pipeline(enabled: bool) -> String {
    format!(
        "name: p\nsources:\n  lines: {{ type: file, paths: [a.log] }}\nsinks:\n  \
         first: {{ type: lake, input: lines, table: first }}\n  \
         second: {{ type: lake, input: lines, table: second, enabled: {enabled} }}\n"
    )
}

fn run(desk: &Desk, lines: usize, enabled: bool, more: &[&str]) -> Ran {
    let text: String = (0..lines).map(|line| format!("line {line}\n")).collect();
    desk.write("a.log", &text);
    desk.write("p.yaml", &pipeline(enabled));
    desk.run(&[&["run", "p.yaml", "--until-end", "-q"], more].concat())
}

fn audit(desk: &Desk) -> (i32, String) {
    let ran = desk.run(&["audit", "p.yaml"]);
    (ran.code, ran.stdout)
}

/// A history of which `second` did not see epochs 2 and 3.
fn with_a_gap() -> Desk {
    let desk = Desk::new();
    for (lines, enabled) in [(2, true), (3, false), (4, false)] {
        let ran = run(&desk, lines, enabled, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    desk
}

#[test]
fn a_sink_that_comes_back_is_told_what_it_did_not_see() {
    let desk = with_a_gap();
    for command in [&["check", "p.yaml"][..], &["run", "p.yaml", "--until-end", "-q"]] {
        desk.write("p.yaml", &pipeline(true));
        let ran = desk.run(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        for part in ["\"second\" did not see epochs 2 to 3", "--accept-gap", "another name"] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    }
    let (code, said) = audit(&desk);
    assert!(code == 0 && said.contains("did not see epochs 2 to 3 of main"), "{said}");
    // Without the sink everything goes on as before.
    assert_eq!(run(&desk, 5, false, &[]).code, 0);
}

#[test]
fn a_gap_that_is_accepted_stays_in_the_history() {
    let desk = with_a_gap();
    // There is nothing to read, and yet it counts.
    assert_eq!(run(&desk, 4, true, &["--accept-gap"]).code, 0);
    for lines in [4, 6] {
        let ran = run(&desk, lines, true, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let sql = "SELECT count(*) AS rows FROM second";
    assert_eq!(desk.done(&["query", sql, "-f", "csv"]).stdout, "rows\n4\n");
    let (code, said) = audit(&desk);
    assert!(code == 0 && said.contains("did not see epochs 2 to 3 of main"), "{said}");
    assert!(said.contains("second: 4 rows, each of them once"), "{said}");
    assert_eq!(run(&desk, 7, false, &[]).code, 0);
    let ran = run(&desk, 7, true, &[]);
    // How many epochs came before depends on how many runs found out that a file is read whole.
    assert!(ran.code == 2 && ran.stderr.contains("\"second\" did not see epoch"), "{}", ran.stderr);
}

#[test]
fn a_sink_that_missed_no_epoch_goes_on() {
    let desk = Desk::new();
    for (lines, enabled) in [(2, true), (2, false), (3, true)] {
        let ran = run(&desk, lines, enabled, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let (code, said) = audit(&desk);
    assert!(code == 0 && !said.contains("did not see"), "{said}");
}

/// Deletes the checkpoints of the lineage, or the whole folder.
fn forget(desk: &Desk, folder: &str) {
    let folder = desk.path().join("logmill-data/checkpoints").join(folder);
    for object in std::fs::read_dir(&folder).expect("a folder") {
        let path = object.expect("an object").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("epoch-") {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[test]
fn an_audit_says_that_checkpoints_are_missing() {
    for runs in [false, true] {
        let desk = Desk::new();
        for lines in [2, 3] {
            assert_eq!(run(&desk, lines, true, &[]).code, 0);
        }
        forget(&desk, "p/main");
        if runs {
            let ran = run(&desk, 4, true, &[]);
            assert!(ran.code == 2 && ran.stderr.contains("--adopt"), "{}", ran.stderr);
        }
        let (code, said) = audit(&desk);
        assert_eq!(code, 3, "{runs}: {said}");
        let missing = "the checkpoints of main up to epoch 2 are missing, of which 3 rows are here";
        assert_eq!(said.matches(missing).count(), 2, "{runs}: {said}");
        assert!(said.ends_with("NOT COMPLETE\n"), "{said}");
        let adopted = run(&desk, 4, true, &["--adopt"]);
        assert_eq!(adopted.code, 0, "{}", adopted.stderr);
    }
}

#[test]
fn what_another_pipeline_wrote_is_nothing_that_is_missing() {
    let desk = Desk::new();
    assert_eq!(run(&desk, 2, true, &[]).code, 0);
    let other = pipeline(true).replace("name: p", "name: other").replace("a.log", "b.log");
    desk.write("b.log", "another\n");
    desk.write("other.yaml", &other);
    desk.done(&["run", "other.yaml", "--until-end", "-q"]);
    for file in ["p.yaml", "other.yaml"] {
        let audit = desk.done(&["audit", file, "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
    }
}
