//! How the splits of a source are divided among lineages, which a pipeline decides once.

use crate::Desk;

const PIPELINE: &str = "\
name: counted
sources:
  numbers: { type: memory, rows_max: 10, splits: 2, lineages: split }
sinks:
  lake: { type: lake, input: numbers, table: counted }
";

fn rows(desk: &Desk) -> String {
    desk.done(&["query", "SELECT count(*) AS n FROM counted", "--format", "csv"]).stdout
}

#[test]
fn another_division_of_a_known_source_is_refused_by_check_and_run() {
    for (first, second) in [("split", "one"), ("one", "split")] {
        let desk = Desk::new();
        let with = |word: &str| PIPELINE.replace("lineages: split", &format!("lineages: {word}"));
        desk.write("counted.yaml", &with(first));
        desk.done(&["run", "counted.yaml", "--until-end"]);
        desk.write("counted.yaml", &with(second));
        for command in [&["check", "counted.yaml"][..], &["run", "counted.yaml", "--until-end"]] {
            let refused = desk.run(command);
            assert_eq!(refused.code, 2, "{command:?}: {}", refused.stderr);
            let begun = format!("was begun with `lineages: {first}`");
            for part in ["source \"numbers\"", &begun, "set it back", "another `name`"] {
                assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
            }
        }
        desk.write("counted.yaml", &with(first));
        desk.done(&["run", "counted.yaml", "--until-end"]);
        assert_eq!(rows(&desk), "n\n20\n");
        desk.done(&["audit", "counted.yaml"]);
    }
}

#[test]
fn a_division_that_a_source_does_not_have_is_refused_with_the_reason() {
    let desk = Desk::new();
    let refused = |source: &str, why: &str| {
        let yaml =
            PIPELINE.replace("{ type: memory, rows_max: 10, splits: 2, lineages: split }", source);
        desk.write("counted.yaml", &yaml);
        let refused = desk.run(&["check", "counted.yaml"]);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        for part in [why, "counted.yaml:3:3", "leave `lineages` out"] {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
    };
    refused(
        "{ type: file, paths: ['*.log'], lineages: split }",
        "a source of type file cannot have `lineages: split`",
    );
}
