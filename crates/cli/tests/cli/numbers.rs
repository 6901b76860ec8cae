//! Two ways from one record into one sink: two rows, each of which is known by its number.

use testkit::services::{find, unique};

use crate::{Desk, destinations::ask};

/// Each line with its whole word, and once more with its first three letters.
fn pipeline(name: &str, long: &str, sink: &str) -> String {
    format!(
        "name: {name}
sources:
  lines: {{ type: file, paths: [a.log] }}
transforms:
  parsed: {{ type: parse, input: lines, format: regex, pattern: '^(?<word>[a-z]+)$' }}
  short: {{ type: sql, query: 'SELECT substr(word, 1, 3) AS word FROM parsed' }}
  long: {{ type: sql, query: 'SELECT {long} AS word FROM parsed' }}
sinks:
  out: {{ input: [short, long], {sink} }}
"
    )
}

fn lines(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

fn audit_holds(desk: &Desk, file: &str, rows: u64) {
    let audit = desk.run(&["audit", file, "--format", "json"]);
    assert_eq!(audit.code, 0, "{}{}", audit.stdout, audit.stderr);
    let held = format!("\"expected\":{rows},\"found\":{rows},");
    assert!(audit.stdout.contains(&held), "{held} {}", audit.stdout);
}

#[test]
fn a_lake_that_gets_a_second_way_goes_on_and_tells_both_rows_apart() {
    let desk = Desk::new();
    desk.write("a.log", &lines(&["one", "two"]));
    let both = pipeline("words", "word", "type: lake, table: words");
    desk.write("words.yaml", &both.replace("[short, long]", "short"));
    desk.done(&["run", "words.yaml", "--until-end", "-q"]);
    desk.write("words.yaml", &both);
    desk.write("a.log", &lines(&["one", "two", "three"]));
    desk.done(&["run", "words.yaml", "--until-end", "-q"]);
    let sql = "SELECT word, coalesce(_ordinal, 0) AS number FROM words ORDER BY _position, number";
    let held = desk.done(&["query", "-f", "csv", sql]).stdout;
    assert_eq!(held.trim(), "word,number\none,0\ntwo,0\nthr,1\nthree,2");
    audit_holds(&desk, "words.yaml", 4);
}

#[test]
fn two_sources_over_one_file_give_rows_of_their_own() {
    let desk = Desk::new();
    desk.write("a.log", &lines(&["one", "two"]));
    desk.write(
        "words.yaml",
        "name: words\nsources:\n  a: { type: file, paths: [a.log] }\n  \
         b: { type: file, paths: ['*.log'] }\nsinks:\n  \
         out: { type: lake, input: [a, b], table: words }\n",
    );
    desk.done(&["run", "words.yaml", "--until-end", "-q"]);
    let sql = "SELECT message, _ordinal FROM words ORDER BY _position, _ordinal";
    let held = desk.done(&["query", "-f", "csv", sql]).stdout;
    assert_eq!(held.trim(), "message,_ordinal\none,1\none,2\ntwo,1\ntwo,2");
    audit_holds(&desk, "words.yaml", 4);
}

#[test]
fn an_index_keeps_a_document_for_each_way() {
    let Some(url) = find("opensearch") else { return };
    let index = unique("ways");
    let desk = Desk::new();
    let words: Vec<String> = (0..100).map(|number| format!("word{}", number % 7)).collect();
    desk.write(
        "a.json",
        &words.iter().map(|word| format!("{{\"w\":\"{word}\"}}\n")).collect::<String>(),
    );
    desk.write(
        "ways.yaml",
        &format!(
            "name: {index}\nsources:\n  lines: {{ type: file, paths: [a.json] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, fields: {{ w: text }} }}\n  \
             loud: {{ type: sql, query: 'SELECT upper(w) AS w FROM parsed' }}\n  \
             plain: {{ type: sql, query: 'SELECT w FROM parsed' }}\nsinks:\n  \
             out: {{ type: opensearch, input: [plain, loud], url: '{url}', index: {index} }}\n"
        ),
    );
    desk.done(&["run", "ways.yaml", "--until-end", "-q"]);
    audit_holds(&desk, "ways.yaml", 200);
}

#[test]
fn a_table_that_refuses_one_of_two_rows_goes_on_after_a_lost_answer_and_gets_it_replayed() {
    let Some(url) = find("postgres") else { return };
    let table = unique("ways").replace('-', "_");
    let desk = Desk::new();
    desk.write("a.log", &lines(&["one", "two", "three", "six"]));
    let sink = format!(
        "type: postgres, url: '{url}', table: {table}, \
         create: {{ columns: {{ word: varchar(3) }} }}"
    );
    // The table of a program that numbered nothing.
    let name = unique("ways");
    let both = pipeline(&name, "word", &sink);
    desk.write("ways.yaml", &both.replace("[short, long]", "short"));
    desk.done(&["run", "ways.yaml", "--until-end", "-q"]);
    desk.write("ways.yaml", &both);
    desk.write("a.log", &lines(&["one", "two", "three", "six", "four", "ten"]));
    let run_with = |point: &str| {
        let mut run = desk.command(&["run", "ways.yaml", "--until-end", "-q"]);
        run.env("LOGMILL_FAILPOINT", point).status().expect("it starts").code()
    };
    assert_eq!(run_with("commit.sink.after:1:fail"), Some(0), "COMMIT is done, its answer lost");
    let held = || {
        let rows = format!("SELECT word, _ordinal FROM {table} WHERE _ordinal > 0 ORDER BY 1, 2");
        ask(&url, &rows).expect("read").replace('\n', " ")
    };
    assert_eq!(held(), "fou|1 ten|1 ten|2");
    desk.write("a.log", &lines(&["one", "two", "three", "six", "four", "ten", "five"]));
    assert_eq!(run_with("decide.after:1"), None, "it was killed before COMMIT");
    assert_eq!(run_with("commit.sink.after:1:fail"), Some(0), "and the replay lost its answer");
    assert_eq!(held(), "fiv|1 fou|1 ten|1 ten|2");
    audit_holds(&desk, "ways.yaml", 8);
    desk.write("ways.yaml", &pipeline(&name, "substr(word, 2, 3)", &sink));
    let replayed = desk.done(&["dead-letters", "replay", "ways.yaml", "--format", "json"]).json();
    assert_eq!(
        (replayed["taken"].as_u64(), replayed["refused_again"].as_u64()),
        (Some(2), Some(0))
    );
    assert_eq!(held(), "fiv|1 fou|1 ive|2 our|2 ten|1 ten|2");
    audit_holds(&desk, "ways.yaml", 10);
    let open = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
    assert!(!open.contains("a.log@"), "{open}");
}
