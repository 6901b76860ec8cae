//! Refused rows that came to one place by several ways: each is given again by its own.

use serde_json::Value;

use crate::{Desk, Ran};

/// What both ways have in common; `first` lets no number through that JSON cannot hold.
const HELD: &str = "coalesce(nullif(CAST(value AS DOUBLE), CAST('NaN' AS DOUBLE)), 0)";
const AS_IT_IS: &str = "CAST(value AS DOUBLE)";

/// Each line by two ways into one folder, in this order; the way `a` makes its value like this.
fn pipeline(inputs: &str, value: &str) -> String {
    format!(
        "name: both
sources:
  lines: {{ type: file, paths: [a.log] }}
transforms:
  parsed: {{ type: parse, input: lines, format: regex, pattern: '^(?<word>[a-z]+) (?<value>.+)$' }}
  a: {{ type: sql, query: \"SELECT concat(word, '-a') AS word, {value} AS value FROM parsed\" }}
  b: {{ type: sql, query: \"SELECT concat(word, '-b') AS word, 1.0 AS value FROM parsed\" }}
sinks:
  out: {{ type: object_store, input: [{inputs}], url: 'objects', create_bucket: true, format: jsonl,
         key: '{{split}}-{{position}}.jsonl' }}
"
    )
}

const LINES: &str = "one 1\ntwo NaN\nthree 3\n";

/// Runs with both ways; one row of the way `a` is refused.
fn refused() -> Desk {
    let desk = Desk::new();
    desk.write("a.log", LINES);
    desk.write("both.yaml", &pipeline("a, b", AS_IT_IS));
    let summary = run(&desk);
    assert_eq!(summary["sinks"][0]["dead_lettered"], 1, "{summary}");
    assert_eq!(held(&desk), ["one-a 1", "one-b 2", "three-a 1", "three-b 2", "two-b 2"]);
    desk
}

fn run(desk: &Desk) -> Value {
    desk.done(&["run", "both.yaml", "--until-end", "--format", "json"]).json()
}

/// What a replay says; where letters stay open, its exit code says so too.
fn replay(desk: &Desk) -> Value {
    let ran = desk.run(&["dead-letters", "replay", "both.yaml", "--format", "json"]);
    let report = ran.json();
    let leaves = report["left"].as_array().is_some_and(|left| !left.is_empty());
    let leaves = leaves || report["refused_again"] != 0;
    assert_eq!(ran.code, if leaves { 3 } else { 0 }, "{report} {}", ran.stderr);
    report
}

/// The words in the folder with their numbers.
fn held(desk: &Desk) -> Vec<String> {
    let mut held = Vec::new();
    for object in std::fs::read_dir(desk.path().join("objects")).expect("a folder") {
        let path = object.expect("an object").path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("text");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            held.push(format!("{} {}", row["word"].as_str().expect("a word"), row["_ordinal"]));
        }
    }
    held.sort();
    held
}

const WHOLE: [&str; 6] = ["one-a 1", "one-b 2", "three-a 1", "three-b 2", "two-a 1", "two-b 2"];

fn check_whole(desk: &Desk) {
    assert_eq!(held(desk), WHOLE);
    let audit = desk.done(&["audit", "both.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    assert_eq!(replay(desk)["taken"], 0, "it is closed");
}

#[test]
fn a_row_is_given_again_by_its_own_way_whatever_number_that_has_today() {
    for inputs in ["a, b", "b, a"] {
        let desk = refused();
        desk.write("both.yaml", &pipeline(inputs, HELD));
        let report = replay(&desk);
        assert_eq!((&report["taken"], &report["refused_again"]), (&1.into(), &0.into()));
        check_whole(&desk);
    }
}

#[test]
fn a_row_that_is_refused_again_keeps_its_way_and_its_number() {
    let desk = refused();
    desk.write("both.yaml", &pipeline("b, a", AS_IT_IS));
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["refused_again"]), (&1.into(), &1.into()), "{report}");
    for inputs in ["a, b", "b, a"] {
        desk.write("both.yaml", &pipeline(inputs, AS_IT_IS));
        assert_eq!(replay(&desk)["refused_again"], 1);
    }
    desk.write("both.yaml", &pipeline("b, a", HELD));
    assert_eq!(replay(&desk)["taken"], 1);
    check_whole(&desk);
}

/// The ids of open letters, and the states that `where` shows of those of a line.
fn letters(desk: &Desk) -> (Vec<String>, Vec<String>) {
    let list = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    let list = list.as_array().expect("a list").clone();
    let file = |id: &str| id.rsplit('/').next().map(str::to_owned);
    let ids = list.iter().filter_map(|letter| file(letter["id"].as_str()?)).collect();
    let traces = desk.done(&["where", "both.yaml", "a.log@6", "--format", "json"]).json();
    let mut sinks = traces[0]["sinks"].as_array().expect("sinks").iter();
    let held = sinks.find(|held| held["sink"] == "dead_letters").expect("dead letters");
    let mut rows: Vec<_> = held["rows"].as_array().expect("rows").iter().collect();
    rows.sort_by_key(|row| row["_ordinal"].as_i64());
    (ids, rows.iter().map(|row| row["state"].as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn each_of_two_letters_of_a_line_is_named_and_closed_alone() {
    let desk = Desk::new();
    desk.write("a.log", LINES);
    desk.write(
        "both.yaml",
        &pipeline("a, b", AS_IT_IS).replace("1.0 AS value", "CAST(value AS DOUBLE) AS value"),
    );
    assert_eq!(run(&desk)["sinks"][0]["dead_lettered"], 2);
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(letters(&desk), (owned(&["a.log@6#1", "a.log@6#2"]), owned(&["open", "open"])));
    let close =
        |id| desk.done(&["dead-letters", "ack", "both.yaml", id, "--format", "json"]).json();
    assert_eq!(desk.run(&["dead-letters", "ack", "both.yaml", "a.log@6#3"]).code, 2);
    assert_eq!(close("a.log@6#1")["taken"], 1);
    assert_eq!(letters(&desk), (owned(&["a.log@6#2"]), owned(&["acknowledged", "open"])));
    let shown = desk.done(&["dead-letters", "show", "a.log@6#1", "--format", "json"]).json();
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!((&shown[0]["ordinal"], &shown[0]["state"]), (&1.into(), &"acknowledged".into()));
    assert_eq!(close("a.log@6")["taken"], 1);
    assert_eq!(letters(&desk), (owned(&[]), owned(&["acknowledged", "acknowledged"])));
}

#[test]
fn letters_of_epochs_before_and_after_a_change_go_their_own_ways() {
    let desk = refused();
    desk.write("both.yaml", &pipeline("b, a", AS_IT_IS));
    desk.write("a.log", &format!("{LINES}four NaN\n"));
    run(&desk);
    desk.write("both.yaml", &pipeline("b, a", HELD));
    assert_eq!(replay(&desk)["taken"], 2);
    let mut whole: Vec<_> = WHOLE.into_iter().chain(["four-a 2", "four-b 1"]).collect();
    whole.sort_unstable();
    assert_eq!(held(&desk), whole);
    desk.done(&["audit", "both.yaml"]);
}

#[test]
fn an_interrupted_replay_is_finished_by_the_way_that_it_began() {
    for point in ["recover.first", "decide.before", "decide.after", "commit.sink.after"] {
        let desk = refused();
        desk.write("both.yaml", &pipeline("a, b", HELD));
        let killed = desk
            .command(&["dead-letters", "replay", "both.yaml", "--quiet"])
            .env("LOGMILL_FAILPOINT", format!("{point}:1"))
            .status()
            .expect("the program starts");
        assert_eq!(killed.code(), None, "{point} is passed");
        desk.write("both.yaml", &pipeline("b, a", HELD));
        assert_eq!(replay(&desk)["finished_interrupted"], true, "{point}");
        check_whole(&desk);
    }
}

#[test]
fn a_row_whose_way_is_gone_stays_open_and_the_way_is_named() {
    let desk = refused();
    let renamed = pipeline("b, c", HELD).replace("  a: {", "  c: {");
    desk.write("both.yaml", &renamed);
    let report = replay(&desk);
    assert_eq!((&report["taken"], &report["left"][0]["dead_letters"]), (&0.into(), &1.into()));
    let reason = report["left"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("lines > parsed > a,") && reason.contains("bring it back"), "{reason}");
    assert_eq!(held(&desk).len(), 5);
    desk.write("both.yaml", &pipeline("b, a", HELD));
    replay(&desk);
    check_whole(&desk);
}

#[test]
fn a_row_whose_epoch_is_not_known_any_more_stays_open() {
    let desk = refused();
    for more in ["", "five 5\n"] {
        desk.write("a.log", &format!("{LINES}four 4\n{more}"));
        run(&desk);
    }
    let folder = desk.path().join("logmill-data/checkpoints/both/main");
    // As if it were older than the history that is kept.
    let name = format!("epoch-{:020}", 1);
    std::fs::rename(folder.join(&name), desk.path().join(&name)).expect("moved");
    desk.write("both.yaml", &pipeline("b, a", HELD));
    let report = desk.run(&["dead-letters", "replay", "both.yaml", "--format", "json"]);
    check_left(&report, "is not kept any more");
}

fn check_left(ran: &Ran, reason: &str) {
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["taken"], 0, "{report}");
    let left = report["left"][0]["reason"].as_str().expect("a reason");
    assert!(left.contains(reason), "{left}");
}

/// Letters of a step in which both ways meet.
#[test]
fn a_step_where_ways_meet_gets_a_row_again_by_its_own() {
    let pipeline = |inputs: &str, number: &str| {
        format!(
            "name: both
sources:
  lines: {{ type: file, paths: [a.log] }}
transforms:
  parsed: {{ type: parse, input: lines, format: regex, pattern: '^(?<word>[a-z]+) (?<value>.+)$' }}
  a: {{ type: sql, query: \"SELECT concat(word, '-a') AS word, value FROM parsed\" }}
  b: {{ type: sql, query: \"SELECT concat(word, '-b') AS word, value FROM parsed\" }}
  met: {{ type: route, input: [{inputs}], routes: {{ all: '{number} > 0' }} }}
sinks:
  out: {{ type: lake, input: met.all, table: words }}
"
        )
    };
    let desk = Desk::new();
    desk.write("a.log", "one 1\ntwo none\n");
    desk.write("both.yaml", &pipeline("a, b", "CAST(value AS BIGINT)"));
    run(&desk);
    desk.write("both.yaml", &pipeline("b, a", "coalesce(TRY_CAST(value AS BIGINT), 1)"));
    assert_eq!(replay(&desk)["taken"], 2);
    let sql = "SELECT word, _ordinal FROM words ORDER BY word";
    let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(rows, "word,_ordinal\none-a,1\none-b,2\ntwo-a,1\ntwo-b,2\n");
    desk.done(&["audit", "both.yaml"]);
}
