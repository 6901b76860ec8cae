//! A topic whose broker removes records between the first reading and a replay.

use testkit::services::{find, unique};
use testkit::stream::Compacted;

use crate::Desk;
use crate::loss::remove_files;

#[test]
fn holes_of_compaction_are_named_and_can_be_accepted() {
    let Some(brokers) = find("kafka") else { return };
    let topic = unique("compacted");
    let compacted = Compacted::new(&brokers, &topic);
    for (key, value) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
        compacted.add(key, &format!("{{\"n\":{value}}}"));
    }
    let desk = Desk::new();
    desk.write(
        "holes.yaml",
        &format!(
            "name: {topic}\nsources:\n  records: {{ type: kafka, brokers: '{brokers}', \
             topics: [{topic}], start: earliest }}\ntransforms:\n  \
             parsed: {{ type: parse, input: records, format: json, fields: {{ n: integer }} }}\n\
             sinks:\n  lake: {{ type: lake, input: parsed, table: holes }}\n"
        ),
    );
    let killed = desk
        .command(&["run", "holes.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    remove_files(&desk.path().join("logmill-data/lake/holes"));
    compacted.wait_for_holes(4, 2);

    let stopped = desk.run(&["run", "holes.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    for part in ["lake", &format!("{topic}/0"), "--accept-loss"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    desk.done(&["run", "holes.yaml", "--until-end", "--accept-loss"]);
    let sql = "SELECT n FROM holes WHERE n IS NOT NULL ORDER BY n";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n3\n4\n");
    let sql = "SELECT sum(lost) AS lost FROM ledger WHERE sink = 'lake'";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "lost\n2\n");
    desk.done(&["audit", "holes.yaml"]);
}
