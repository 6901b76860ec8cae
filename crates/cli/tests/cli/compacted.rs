//! A topic whose broker removes records between the first reading and a replay.

use testkit::services::{find, unique};
use testkit::stream::Compacted;

use crate::Desk;
use crate::loss::remove_files;

/// Kills a run where its first epoch is decided, and has the broker compact the topic before the
/// next start. The sink lacks the epoch: by itself, or because `lose` sees to it.
fn check(lineages: &str, sink: &str, lose: impl Fn(&Desk)) {
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
             topics: [{topic}], start: earliest, lineages: {lineages} }}\ntransforms:\n  \
             parsed: {{ type: parse, input: records, format: json, fields: {{ n: integer }} }}\n\
             sinks:\n  out: {{ input: parsed, {sink} }}\n"
        ),
    );
    let killed = desk
        .command(&["run", "holes.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    lose(&desk);
    compacted.wait_for_holes(4, 2);

    for _ in 0..2 {
        let stopped = desk.run(&["run", "holes.yaml", "--until-end"]);
        assert_eq!(stopped.code, 1, "{lineages} {sink}: {}", stopped.stderr);
        for part in ["sink \"out\"", &format!("{topic}/0"), "--accept-loss"] {
            assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
        }
    }
    desk.done(&["run", "holes.yaml", "--until-end", "--accept-loss"]);
    let sql = "SELECT sum(delivered) AS delivered, sum(lost) AS lost, \
               sum(rejected_after) AS taken FROM ledger WHERE sink = 'out' AND epoch < 3";
    let booked = desk.done(&["query", sql, "--format", "json"]).json();
    let books = (&booked[0]["lost"], &booked[0]["taken"]);
    assert_eq!(books, (&2.into(), &2.into()), "{lineages} {sink}: {booked}");
    // Nobody asks for the same a second time.
    desk.done(&["run", "holes.yaml", "--until-end", "--quiet"]);
    let audit = desk.done(&["audit", "holes.yaml", "--format", "json"]).json();
    let out = &audit["sinks"][0];
    assert_eq!((&out["lost"], &out["missing"]), (&2.into(), &0.into()), "{audit}");
}

#[test]
fn holes_of_compaction_are_named_and_can_be_accepted() {
    for lineages in ["split", "one"] {
        check(lineages, "type: lake, table: holes", |desk| {
            remove_files(&desk.path().join("logmill-data/lake/holes"));
        });
    }
}

#[test]
fn a_transaction_that_went_with_the_process_meets_the_holes_too() {
    let Some(url) = find("postgres") else { return };
    for lineages in ["split", "one"] {
        let table = unique("compacted").replace('-', "_");
        let sink = format!("type: postgres, url: '{url}', table: {table}, create: true");
        check(lineages, &sink, |_| {});
        let sql = format!("SELECT string_agg(n::text, ',' ORDER BY n) FROM {table} WHERE n <= 4");
        assert_eq!(crate::replaced::ask(&url, &sql), "3,4");
    }
}

/// What compaction takes was let pass by a step with a state, and what it leaves was left out: the
/// replay gives as many rows, and others.
#[test]
fn holes_above_a_state_are_named_and_can_be_accepted() {
    let (Some(brokers), Some(url)) = (find("kafka"), find("postgres")) else { return };
    let topic = unique("compacted");
    let table = topic.replace('-', "_");
    let compacted = Compacted::new(&brokers, &topic);
    for (key, n, m) in [("a", 1, 1), ("a", 2, 1), ("b", 3, 3), ("a", 4, 1)] {
        compacted.add(key, &format!("{{\"n\":{n},\"m\":{m}}}"));
    }
    let desk = Desk::new();
    desk.write(
        "holes.yaml",
        &format!(
            "name: {topic}\nsources:\n  records: {{ type: kafka, brokers: '{brokers}', \
             topics: [{topic}], start: earliest, lineages: one }}\ntransforms:\n  \
             parsed: {{ type: parse, input: records, format: json, \
             fields: {{ n: integer, m: integer }} }}\n  \
             once: {{ type: dedupe, input: parsed, key: [m] }}\nsinks:\n  \
             out: {{ type: postgres, input: once, url: '{url}', table: {table}, create: true }}\n"
        ),
    );
    let killed = desk
        .command(&["run", "holes.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    compacted.wait_for_holes(4, 2);
    let stopped = desk.run(&["run", "holes.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("--accept-loss"), "{}", stopped.stderr);
    desk.done(&["run", "holes.yaml", "--until-end", "--accept-loss"]);
    let audit = desk.done(&["audit", "holes.yaml", "--format", "json"]).json();
    let out = &audit["sinks"][0];
    assert_eq!((&out["missing"], &out["unexpected"]), (&0.into(), &0.into()), "{audit}");
    // No key stands there twice, whichever of its rows does.
    let sql = format!("SELECT count(*) = count(DISTINCT m) FROM {table} WHERE m IS NOT NULL");
    assert_eq!(crate::replaced::ask(&url, &sql), "t");
}
