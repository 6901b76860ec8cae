//! Refused records that come in after all: replayed once, audited, closed.

use serde_json::Value;
use testkit::services::{find, unique};
use testkit::stream::{Compacted, remake_topic};

use crate::{Desk, Ran};

/// Two sinks, of which only `lake` stands below the step that refuses lines.
const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: regex, pattern: 'PATTERN' }
sinks:
  lake: { type: lake, input: parsed, table: web }
  raw: { type: lake, input: access, table: raw }
";
const WRONG: &str = "^(?<word>[a-z]+) (?<number>[0-9]+)$";
const RIGHT: &str = "^(?<word>[a-z]+) (?<number>-?[0-9]+)$";
const LINES: &str = "one 1\nminus -1\ntwo 2\nnot at all\nminus -2\n";

/// Runs with the wrong pattern, which refuses three lines of five, then corrects the file.
fn refused() -> Desk {
    let desk = Desk::new();
    desk.write("access.log", LINES);
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", WRONG));
    let summary = desk.done(&["run", "web.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["sinks"][0]["dead_lettered"], 3);
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", RIGHT));
    desk
}

/// What a replay says; where letters stay open, its exit code says so too.
fn replay(desk: &Desk) -> Value {
    let ran = desk.run(&["dead-letters", "replay", "web.yaml", "--format", "json"]);
    let report = ran.json();
    let leaves = report["left"].as_array().is_some_and(|left| !left.is_empty());
    let leaves = leaves || report["refused_again"] != 0;
    assert_eq!(ran.code, if leaves { 3 } else { 0 }, "{report} {}", ran.stderr);
    report
}

fn words(desk: &Desk, table: &str, column: &str) -> Vec<String> {
    let sql = format!("SELECT {column} AS text FROM {table} ORDER BY _position");
    let rows = desk.done(&["query", &sql, "--format", "json"]).json();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["text"].as_str().expect("text").to_owned()).collect()
}

fn states(desk: &Desk) -> Vec<(String, String)> {
    let sql = "SELECT original, state FROM dead_letters ORDER BY ts, position";
    let rows = desk.done(&["query", sql, "--format", "json"]).json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| (text(&row["original"]), text(&row["state"]))).collect()
}

/// What every history must lead to: the corrected lines are there, once, and only where they were
/// lacking; the one that is still wrong is open; the books add up.
fn check_replayed(desk: &Desk) {
    let all = ["one 1", "minus -1", "two 2", "minus -2"];
    assert_eq!(words(desk, "web", "concat(word, ' ', number)"), all);
    assert_eq!(words(desk, "raw", "message"), LINES.lines().collect::<Vec<_>>());
    let expected = [
        ("minus -1", "replayed"),
        ("not at all", "replayed"),
        ("minus -2", "replayed"),
        ("not at all", "open"),
    ];
    assert_eq!(states(desk), expected.map(|(text, state)| (text.to_owned(), state.to_owned())));
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    let found = |sink: &str| {
        let sinks = audit["sinks"].as_array().expect("sinks").iter();
        let found = sinks.filter(|one| one["sink"] == sink).map(|one| one["found"].as_u64());
        found.collect::<Vec<_>>()
    };
    assert_eq!(audit["complete"], true, "{audit}");
    for (sink, rows) in [("lake", 4), ("raw", 5), ("dead_letters", 4), ("dead_letter_states", 3)] {
        assert_eq!(found(sink), [Some(rows)], "{sink}");
    }
}

#[test]
fn a_replay_reads_no_other_checkpoints_than_its_letters_name() {
    let desk = Desk::new();
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", WRONG));
    let lines = ["zero 0\n", "minus -1\n", "one 1\n"];
    for number in 1..=lines.len() {
        desk.write("access.log", &lines[..number].concat());
        desk.done(&["run", "web.yaml", "--until-end", "--quiet"]);
    }
    let first = "logmill-data/checkpoints/web/main/epoch-00000000000000000001";
    assert!(desk.path().join(first).exists());
    desk.write(first, "damaged");
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", RIGHT));
    assert_eq!(replay(&desk)["taken"], 1);
    assert_eq!(words(&desk, "web", "concat(word, ' ', number)"), ["zero 0", "minus -1", "one 1"]);
}

#[test]
fn corrected_lines_come_in_once_and_only_where_they_lacked() {
    let desk = refused();
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["refused_again"]), (&3.into(), &1.into()));
    assert_eq!(report["sinks"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(
        (&report["sinks"][0]["sink"], &report["sinks"][0]["delivered"]),
        (&"lake".into(), &2.into())
    );
    check_replayed(&desk);
    let listed = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let all = desk.done(&["dead-letters", "list", "--all", "--format", "json"]).json();
    assert_eq!(all.as_array().map(Vec::len), Some(4), "{all}");
}

#[test]
fn the_pipeline_goes_on_as_if_nobody_had_replayed() {
    let desk = refused();
    replay(&desk);
    let log = format!("{LINES}three 3\nnothing\n");
    desk.write("access.log", &log);
    let summary = desk.done(&["run", "web.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["read"], 2);
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &5.into()));
    let found = desk.done(&["where", "web.yaml", "minus -1", "--format", "json"]).json();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["sinks"][0]["rows"][0]["number"], "-1");
}

#[test]
fn nothing_is_taken_twice() {
    let desk = refused();
    replay(&desk);
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", "^(?<word>.*?)(?<number>-?[0-9]*)$"));
    let again = replay(&desk);
    assert_eq!((&again["taken"], &again["refused_again"]), (&1.into(), &0.into()));
    let none = replay(&desk);
    assert_eq!((&none["taken"], &none["left"]), (&0.into(), &Value::Array(Vec::new())));
    assert_eq!(words(&desk, "web", "word").len(), 5);
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_replay_that_is_killed_is_finished_once() {
    for point in
        ["recover.first", "decide.before", "decide.after", "commit.sink.after", "complete.after"]
    {
        let desk = refused();
        let killed = desk
            .command(&["dead-letters", "replay", "web.yaml", "--quiet"])
            .env("LOGMILL_FAILPOINT", format!("{point}:1"))
            .status()
            .expect("the program starts");
        assert_eq!(killed.code(), None, "{point} is passed");
        let report = replay(&desk);
        assert_eq!((&report["taken"], &report["refused_again"]), (&3.into(), &1.into()), "{point}");
        assert_eq!(report["finished_interrupted"], true, "{point}");
        check_replayed(&desk);
    }
}

#[test]
fn only_what_is_asked_for_is_taken() {
    let desk = refused();
    let run = |more: &[&str]| -> Ran {
        let arguments = ["dead-letters", "replay", "web.yaml", "--format", "json"];
        desk.run(&[&arguments[..], more].concat())
    };
    let taken = |more: &[&str]| run(more).json()["taken"].as_u64();
    assert_eq!(taken(&["--reason", "no such reason"]), Some(0));
    assert_eq!(taken(&["--sink", "raw"]), Some(0), "raw lacks nothing");
    let unknown = run(&["--sink", "lakes"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("did you mean \\\"lake\\\"?"), "{}", unknown.stderr);
    assert_eq!(taken(&["--sink", "lake"]), Some(3));
}

#[test]
fn what_cannot_be_given_again_as_it_was_stays_open() {
    let desk = refused();
    let renamed = PIPELINE.replace("PATTERN", RIGHT).replace("parsed", "fields");
    desk.write("web.yaml", &renamed);
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["left"][0]["dead_letters"]), (&0.into(), &3.into()));
    let reason = report["left"][0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("transform \"parsed\" is not in the pipeline file, "), "{reason}");
    let text = desk.run(&["dead-letters", "replay", "web.yaml"]).stdout;
    assert!(text.starts_with("nothing replayed\n3 left: "), "{text}");
    assert!(states(&desk).iter().all(|(_, state)| state == "open"));
}

#[test]
fn what_would_enter_a_state_again_stays_open_with_the_reason() {
    let desk = Desk::new();
    desk.write("access.log", LINES);
    let once = "  once: { type: dedupe, input: parsed, key: [word] }\nsinks:\n";
    let pipeline =
        PIPELINE.replace("sinks:\n", once).replace("lake, input: parsed", "lake, input: once");
    desk.write("web.yaml", &pipeline.replace("PATTERN", WRONG));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(words(&desk, "web", "word"), ["one", "two"]);
    // Both lines have keys that the pipeline has not seen, and it is the same for all others.
    desk.write("web.yaml", &pipeline.replace("PATTERN", RIGHT));
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["left"][0]["dead_letters"]), (&0.into(), &3.into()));
    let reason = report["left"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("\"once\" keeps a state") && reason.contains("ack"), "{reason}");
    assert_eq!(words(&desk, "web", "word"), ["one", "two"]);
    // What a sink below refused has passed it.
    let closed = desk.done(&["dead-letters", "ack", "web.yaml", "--all", "--format", "json"]);
    assert_eq!(closed.json()["taken"], 3);
}

/// What a parser refuses lacks in a sink beside a step with a state and in one below it. The first
/// gets it, and the step refuses it anew for the second.
#[test]
fn what_stands_beside_a_state_gets_what_a_replay_gives() {
    let desk = Desk::new();
    desk.write("access.log", LINES);
    let once = "  once: { type: dedupe, input: parsed, key: [word] }\nsinks:\n  \
                lone: { type: lake, input: once, table: lone }\n";
    let pipeline = PIPELINE.replace("sinks:\n", once);
    desk.write("web.yaml", &pipeline.replace("PATTERN", WRONG));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    desk.write("web.yaml", &pipeline.replace("PATTERN", RIGHT));
    // What is refused again stays open, too.
    for (sink, code, taken) in [("lone", 3, 0), ("lake", 3, 3)] {
        let replay = ["dead-letters", "replay", "web.yaml", "--sink", sink, "--format", "json"];
        let ran = desk.run(&replay);
        let report = ran.json();
        assert_eq!((ran.code, &report["taken"]), (code, &taken.into()), "{sink}: {report}");
    }
    assert_eq!(words(&desk, "web", "word"), ["one", "minus", "two", "minus"]);
    assert_eq!(words(&desk, "lone", "word"), ["one", "two"], "the state was not asked");
    let sql = "SELECT step, reason, state FROM dead_letters WHERE state = 'open' ORDER BY step";
    let open = desk.done(&["query", sql, "--format", "json"]).json();
    let steps: Vec<_> = open.as_array().expect("rows").iter().map(|row| &row["step"]).collect();
    assert_eq!(steps, ["once", "once", "parsed"], "{open}");
    let reason = open[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("\"once\" keeps a state"), "{reason}");
    let left = replay(&desk);
    assert_eq!(
        (&left["taken"], &left["left"][0]["dead_letters"]),
        (&1.into(), &2.into()),
        "{left}"
    );
    desk.done(&["audit", "web.yaml"]);
}

/// A parser beside a step with a state has nothing to do with it.
#[test]
fn a_branch_without_a_state_is_replayed_whatever_stands_beside_it() {
    let desk = Desk::new();
    desk.write("access.log", LINES);
    let beside = "  once: { type: dedupe, input: access, key: [message] }\nsinks:\n";
    let pipeline = PIPELINE
        .replace("sinks:\n", beside)
        .replace("raw: { type: lake, input: access", "raw: { type: lake, input: once");
    desk.write("web.yaml", &pipeline.replace("PATTERN", WRONG));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    desk.write("web.yaml", &pipeline.replace("PATTERN", RIGHT));
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["refused_again"]), (&3.into(), &1.into()), "{report}");
    assert_eq!(words(&desk, "web", "word"), ["one", "minus", "two", "minus"]);
    assert_eq!(words(&desk, "raw", "message").len(), 5, "nothing came a second time");
    desk.done(&["audit", "web.yaml"]);
}

/// Both rows passed the step, which had forgotten the first key; it must not ask again.
#[test]
fn what_passed_a_state_once_passes_it_again() {
    let desk = Desk::new();
    desk.write("a.log", "a NaN\nb 1\na NaN\nb 2\n");
    let pipeline = |value: &str| {
        format!(
            "name: p\nsources:\n  f: {{ type: file, paths: [a.log] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: f, format: regex, \
             pattern: '^(?<word>[a-z]+) (?<value>.+)$' }}\n  \
             once: {{ type: dedupe, input: parsed, key: [word], keys_max: 1 }}\n  \
             made: {{ type: sql, query: \"SELECT word, {value} AS value FROM once\" }}\nsinks:\n  \
             out: {{ type: object_store, input: made, url: 'objects', create_bucket: true, \
             format: jsonl, key: '{{split}}-{{position}}.jsonl' }}\n"
        )
    };
    desk.write("p.yaml", &pipeline("CAST(value AS DOUBLE)"));
    let summary = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["sinks"][0]["dead_lettered"], 2, "{summary}");
    desk.write("p.yaml", &pipeline("value"));
    let report = desk.done(&["dead-letters", "replay", "p.yaml", "--format", "json"]).json();
    assert_eq!(report["taken"], 2, "{report}");
    assert_eq!(report["sinks"][0]["delivered"], 2, "{report}");
    let audit = desk.done(&["audit", "p.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &4.into()));
}

/// Below the step nobody has the line any more; its source is asked for it again.
#[test]
fn what_a_step_below_a_state_refused_is_read_again_from_its_source() {
    let desk = Desk::new();
    desk.write("a.log", "a 5\nb 0\na 0\nc 2\nd 0\n");
    let pipeline = |source: &str, value: &str| {
        format!(
            "name: p\nsources:\n  f: {{ {source} }}\ntransforms:\n  \
             parsed: {{ type: parse, input: f, format: regex, \
             pattern: '^(?<word>[a-z]+) (?<value>.+)$' }}\n  \
             once: {{ type: dedupe, input: parsed, key: [word] }}\n  \
             made: {{ type: sql, query: \"SELECT word, {value} AS value FROM once\" }}\nsinks:\n  \
             lake: {{ type: lake, input: made, table: made }}\n"
        )
    };
    let (file, wrong) = ("type: file, paths: [a.log]", "10 / CAST(value AS BIGINT)");
    let right = "10 / nullif(CAST(value AS BIGINT), 0)";
    desk.write("p.yaml", &pipeline(file, wrong));
    let summary = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(summary["sinks"][0]["dead_lettered"], 2, "{summary}");
    assert_eq!(words(&desk, "made", "word"), ["a", "c"]);
    desk.write("p.yaml", &pipeline(file, right));
    let report = desk.done(&["dead-letters", "replay", "p.yaml", "--format", "json"]).json();
    assert_eq!(
        (&report["taken"], &report["left"]),
        (&2.into(), &serde_json::json!([])),
        "{report}"
    );
    let mut held = words(&desk, "made", "word");
    held.sort();
    assert_eq!(held, ["a", "b", "c", "d"]);
    desk.done(&["audit", "p.yaml"]);
    // Standard input cannot be asked again.
    let piped = pipeline("type: stdio", wrong).replace("name: p", "name: q");
    desk.write("q.yaml", &piped.replace("table: made", "table: piped"));
    let ran = desk.run_with(&["run", "q.yaml", "--until-end", "-q"], "a 0\nb 1\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = desk.run(&["dead-letters", "replay", "q.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let report = ran.json();
    let reason = report["left"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("\"f\" cannot be read twice"), "{report}");
}

#[test]
fn a_replay_of_which_all_is_refused_again_says_so_by_its_exit_code() {
    let desk = refused();
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", WRONG));
    let ran = desk.run(&["dead-letters", "replay", "web.yaml"]);
    assert_eq!(ran.code, 3, "{} {}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("3 dead letters replayed, 3 refused again"), "{}", ran.stdout);
    assert_eq!(states(&desk).iter().filter(|(_, state)| state == "open").count(), 3);
}

#[test]
fn a_pipeline_that_never_ran_has_nothing_to_replay() {
    let desk = Desk::new();
    desk.write("access.log", LINES);
    desk.write("web.yaml", &PIPELINE.replace("PATTERN", RIGHT));
    let said = desk.done(&["dead-letters", "replay", "web.yaml"]).stdout;
    assert!(said.contains("no such dead letter"), "{said}");
    assert!(!desk.path().join("logmill-data").exists(), "looking makes nothing");
}

#[test]
fn what_nobody_needs_is_closed_and_kept() {
    let desk = refused();
    let ack = |more: &[&str]| -> Ran {
        let arguments = ["dead-letters", "ack", "web.yaml", "--format", "json"];
        desk.run(&[&arguments[..], more].concat())
    };
    assert_eq!(ack(&[]).code, 2, "what to close must be said");
    assert_eq!(ack(&["no origin"]).code, 2);
    let listed = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    let id = listed[0]["id"].as_str().expect("an origin").to_owned();
    assert!(id.starts_with('/'), "the whole path: {id}");
    // A file is named by its path from here, too, as `where` takes it.
    let from_here = format!("access.log@{}", id.rsplit('@').next().expect("a position"));
    for form in [&id, &from_here, &format!("./{from_here}")] {
        let shown = desk.done(&["dead-letters", "show", form]).stdout;
        assert!(shown.contains("reason "), "{form}: {shown}");
        desk.done(&["where", "web.yaml", form]);
    }
    assert_eq!(desk.run(&["dead-letters", "show", "other.log@0"]).code, 2);
    let unknown = ack(&["other.log@0", &id]);
    assert_eq!(unknown.code, 2, "{}", unknown.stdout);
    assert!(unknown.stderr.contains("has the origin"), "{}", unknown.stderr);
    assert_eq!(states(&desk).len(), 3, "none is closed then");
    assert!(states(&desk).iter().all(|(_, state)| state == "open"), "none is closed then");
    assert_eq!(ack(&[&from_here]).json()["taken"], 1);
    assert_eq!(ack(&[&id]).json()["taken"], 0, "it is closed");
    let closed = || states(&desk).iter().filter(|(_, state)| state == "acknowledged").count();
    assert_eq!((closed(), states(&desk).len()), (1, 3));
    assert_eq!(ack(&["--all"]).json()["taken"], 2);
    assert_eq!((closed(), states(&desk).len()), (3, 3));
    assert_eq!(replay(&desk)["taken"], 0, "closed ones are not given again");
    assert_eq!(words(&desk, "web", "word").len(), 2);
    desk.done(&["audit", "web.yaml"]);
}

/// Nobody has the records of a topic that was deleted, but for the bytes that letters keep.
#[test]
fn letters_of_a_topic_that_was_made_anew_are_given_as_they_were_kept() {
    let Some(brokers) = find("kafka") else { return };
    let topic = unique("letters");
    let records = Compacted::new(&brokers, &topic);
    records.add("a", "{\"n\":1}");
    records.add("b", "{\"n\":\"two\"}");
    let desk = Desk::new();
    let pipeline = |kind: &str| {
        format!(
            "name: {topic}\nsources:\n  records: {{ type: kafka, brokers: '{brokers}', \
             topics: [{topic}], start: earliest }}\ntransforms:\n  \
             parsed: {{ type: parse, input: records, format: json, fields: {{ n: {kind} }} }}\n  \
             made: {{ type: sql, query: 'SELECT CAST(n AS VARCHAR) AS n, topic FROM parsed' }}\n\
             sinks:\n  lake: {{ type: lake, input: made, table: letters }}\n"
        )
    };
    desk.write("web.yaml", &pipeline("integer"));
    desk.done(&["run", "web.yaml", "--until-end", "--quiet"]);
    remake_topic(&brokers, &topic);
    desk.write("web.yaml", &pipeline("text"));
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["refused_again"]), (&1.into(), &0.into()), "{report}");
    let sql = "SELECT n, topic FROM letters ORDER BY n";
    let expected = format!("n,topic\n1,{topic}\ntwo,{topic}\n");
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, expected);
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn each_pipeline_of_a_folder_is_audited_by_its_own_letters() {
    let desk = Desk::new();
    desk.write("in.log", "{\"a\":1}\nbad\n{\"a\":2}\n");
    for name in ["one", "two"] {
        let pipeline = format!(
            "name: {name}\nsources:\n  f: {{ type: file, paths: [in.log] }}\ntransforms:\n  \
             p: {{ type: parse, input: f, format: json, fields: {{ a: integer }} }}\n\
             sinks:\n  s: {{ type: lake, input: p, table: t_{name} }}\n"
        );
        desk.write(&format!("{name}.yaml"), &pipeline);
        desk.done(&["run", &format!("{name}.yaml"), "--until-end", "--quiet"]);
    }
    for name in ["one", "two"] {
        let file = format!("{name}.yaml");
        let audit = desk.done(&["audit", &file, "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
    }
}

#[test]
fn letters_are_not_given_to_a_place_that_a_run_refuses() {
    let desk = Desk::new();
    desk.write("in.log", "{\"a\":1}\n{\"a\":\"x\"}\n");
    let write = |fields: &str, table: &str| {
        let pipeline = format!(
            "name: p\nsources:\n  f: {{ type: file, paths: [in.log] }}\ntransforms:\n  \
             p: {{ type: parse, input: f, format: json, fields: {{ {fields} }} }}\n\
             sinks:\n  s: {{ type: lake, input: p, table: {table} }}\n"
        );
        desk.write("p.yaml", &pipeline);
    };
    write("a: integer", "t1");
    desk.done(&["run", "p.yaml", "--until-end", "--quiet"]);
    write("a: text", "t2");
    let ran = desk.run(&["dead-letters", "replay", "p.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("t2"), "{}", ran.stderr);
    let open = desk.done(&["dead-letters", "list", "--format", "ndjson"]).stdout;
    assert_eq!(open.lines().count(), 1, "{open}");
}

#[test]
fn a_replay_that_is_refused_has_not_begun() {
    let desk = Desk::new();
    desk.write("in.log", "{\"a\":1}\n{\"a\":\"x\"}\n");
    let write = |fields: &str| {
        let pipeline = format!(
            "name: p\nsources:\n  f: {{ type: file, paths: [in.log] }}\ntransforms:\n  \
             p: {{ type: parse, input: f, format: json, fields: {{ {fields} }} }}\n\
             sinks:\n  s: {{ type: lake, input: p, table: t }}\n"
        );
        desk.write("p.yaml", &pipeline);
    };
    write("a: integer");
    desk.done(&["run", "p.yaml", "--until-end", "--quiet"]);
    write("a: text");
    assert_eq!(desk.run(&["dead-letters", "replay", "p.yaml"]).code, 2);
    write("a: integer");
    let ran = desk.done(&["dead-letters", "ack", "p.yaml", "--all"]);
    assert!(!ran.stderr.contains("interrupted"), "{}", ran.stderr);
    let rows = desk.done(&["query", "SELECT count(*) FROM t", "--format", "csv"]).stdout;
    assert!(rows.ends_with("\n1\n"), "{rows}");
    assert_eq!(desk.done(&["audit", "p.yaml", "--format", "json"]).json()["complete"], true);
}

#[test]
fn a_replay_says_what_was_renamed() {
    let desk = refused();
    let right = PIPELINE.replace("PATTERN", RIGHT);
    let left = |pipeline: &str| {
        desk.write("web.yaml", pipeline);
        let ran = desk.run(&["dead-letters", "replay", "web.yaml"]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        ran.stdout
    };
    let step = right.replace("parsed", "split");
    for part in [
        "transform \"parsed\" is not in the pipeline file, whose transforms are \"split\"",
        "call it \"parsed\" again",
    ] {
        assert!(left(&step).contains(part), "{part}: {}", left(&step));
    }
    let source = right.replace("access:", "logs:").replace("input: access", "input: logs");
    desk.write("web.yaml", &source);
    let refused = desk.run(&["dead-letters", "replay", "web.yaml"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("call it \"access\" again"), "{}", refused.stderr);
    desk.write("other.log", "");
    let source = source.replace("[access.log]", "[other.log]");
    let said = left(&source);
    assert!(said.contains("access") && said.contains("until they are replayed"), "{said}");
    desk.write("web.yaml", &right);
    replay(&desk);
    check_replayed(&desk);
}
