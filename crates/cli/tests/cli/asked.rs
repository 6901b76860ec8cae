//! What `query`, `where` and `dead-letters` say where something is missing, damaged or empty.

use serde_json::Value;

use crate::Desk;

/// A pipeline of an access log.
const WEB: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: combined }
sinks:
  lake: { type: lake, input: parsed, table: web }
";

fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |n| {
        format!(
            "192.0.2.1 - - [03/Mar/2026:10:00:00 +0000] \"GET /{n} HTTP/1.1\" 200 1 \"-\" \"-\"\n"
        )
    };
    numbers.map(line).collect()
}

/// A compressed file without its end.
fn cut_gzip(desk: &Desk, name: &str, text: &str) {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(text.as_bytes()).expect("packed");
    let whole = packed.finish().expect("packed");
    std::fs::write(desk.path().join(name), &whole[..whole.len() / 2]).expect("written");
}

/// A folder in which the pipeline has run over some lines and one that is none.
fn milled() -> Desk {
    let desk = Desk::new();
    desk.write("access.log", &(lines(0..15) + "no request\n"));
    desk.write("web.yaml", WEB);
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk
}

#[test]
fn what_can_be_read_of_a_pattern_is_answered_and_the_rest_is_named_once() {
    let desk = Desk::new();
    desk.write("a.log", &lines(0..20));
    cut_gzip(&desk, "b.log.gz", &lines(20..40));
    std::fs::write(desk.path().join("c.log.gz"), b"\x1f\x8b\x08garbage").expect("written");
    for sql in [
        "SELECT count(*) AS n FROM log('*.log*')",
        "SELECT count(path) AS n FROM log('*.log*', 'combined')",
    ] {
        let ran = desk.run(&["query", sql, "--format", "csv"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let rows: u32 = ran.stdout.lines().nth(1).expect("a row").parse().expect("a number");
        assert!((28..=30).contains(&rows), "{rows}");
        for name in ["b.log.gz", "c.log.gz"] {
            assert_eq!(ran.stderr.matches(&format!("could not read \"{name}")).count(), 1);
        }
        assert!(ran.stderr.contains("c.log.gz\" beyond byte 0"), "{}", ran.stderr);
    }
    let read = |sql: &str| desk.run(&["query", sql]);
    // What was read before the damage is what the words say.
    let ran = read("SELECT count(*) FROM log('b.log.gz')");
    let said = ran.stderr.split("beyond byte ").nth(1).expect("a place");
    let byte: u64 = said.split(' ').next().expect("a number").parse().expect("a number");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.is_empty() && byte > 500, "a name alone is strict: {}", ran.stderr);
    let ran = read("SELECT count(*) FROM log('[bc].log.gz', 'combined')");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let ran = read("SELECT count(*) FROM log('c.*')");
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("c.log.gz"), "{}", ran.stderr);
}

#[test]
fn a_lake_table_that_lacks_a_file_says_so_whatever_is_asked() {
    let desk = milled();
    let table = desk.path().join("logmill-data/lake/web");
    let mut files =
        std::fs::read_dir(&table).expect("a table").map(|it| it.expect("an entry").path());
    let file = files.find(|it| it.is_file()).expect("a file");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    std::fs::remove_file(&file).expect("removed");
    for sql in ["SELECT count(*) FROM web", "SELECT count(path) FROM web", "SELECT * FROM web"] {
        let ran = desk.run(&["query", sql]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{sql}: {}", ran.stderr);
        for part in ["lake/web\" lacks its file \"", name.as_str(), "hint: put the file back"] {
            assert!(ran.stderr.contains(part), "{sql}: {part}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_line_is_followed_from_wherever_it_is_named() {
    let desk = milled();
    let way = |wanted: &[&str]| desk.run(&[&["where", "web.yaml"], wanted].concat());
    let found = desk.done(&["where", "web.yaml", "GET /3 ", "--format", "json"]).json();
    let origin = found[0]["origin"].as_str().expect("an origin").to_owned();
    let (split, position) = origin.rsplit_once('@').expect("an origin");
    let by_origin = way(&[&origin]).stdout;
    assert!(by_origin.contains("  text: 192.0.2.1 - - "), "{by_origin}");
    // A place inside of the line is one of that line.
    let inside = format!("{split}@{}", position.parse::<u64>().expect("a number") + 5);
    let ran = way(&[&inside, "--format", "json"]).json();
    assert_eq!(
        (&ran[0]["origin"], &ran[0]["asked"]),
        (&found[0]["origin"], &inside.clone().into())
    );
    assert_eq!(ran[0]["sinks"][0]["rows"].as_array().map(Vec::len), Some(1));
    assert!(way(&[&inside]).stdout.contains("@5 lies inside") || inside.len() > 5);
    let beyond = way(&[&format!("{split}@99999999")]);
    assert_eq!((beyond.code, beyond.stdout.as_str()), (2, ""), "{}", beyond.stderr);
    assert!(beyond.stderr.contains("no record begins at "), "{}", beyond.stderr);

    let ten = way(&["GET /"]);
    assert_eq!(ten.stdout.matches("read in epoch").count(), 10);
    assert!(ten.stderr.contains("10 of 15 lines that contain it; `--all`"), "{}", ten.stderr);
    let all = way(&["GET /", "--all"]);
    assert_eq!((all.stdout.matches("read in epoch").count(), all.stderr.as_str()), (15, ""));
    for wrong in [&[""][..], &["  "], &["GET", "--limit", "0"]] {
        let ran = way(wrong);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{wrong:?}: {}", ran.stderr);
    }
}

#[test]
fn an_empty_answer_says_that_it_is_one() {
    let desk = milled();
    let none = desk.done(&["query", "SELECT path, status FROM web WHERE status = 999"]);
    assert!(none.stdout.contains("path") && none.stdout.contains("status"), "{}", none.stdout);
    let list = |arguments: &[&str]| {
        let ran = desk.done(&[&["dead-letters", "list"], arguments].concat());
        (ran.stdout, ran.stderr)
    };
    assert!(list(&[]).1.is_empty());
    assert!(
        list(&["--pipeline", "other"]).1.contains("no open dead letters of pipeline \"other\"")
    );
    assert!(list(&["--data", "nowhere"]).1.contains("there is no data folder \"nowhere\""));
    assert_eq!(list(&["--pipeline", "other", "--format", "json"]).0, "[]\n");
    let ran = desk.run(&["query", "SELECT 1 FROM web", "--data", "nowhere"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("there is no data folder \"nowhere\""), "{}", ran.stderr);
    let summary = desk.done(&["run", "web.yaml", "--until-end"]).stdout;
    assert!(summary.starts_with("0 records read in 0 epochs, "), "{summary}");
    desk.write("access.log", &(lines(0..15) + "no request\n" + &lines(20..21)));
    let summary = desk.done(&["run", "web.yaml", "--until-end"]).stdout;
    assert!(summary.starts_with("1 record read in 1 epoch, "), "{summary}");
    let closed = desk.done(&["dead-letters", "ack", "web.yaml", "--all"]).stdout;
    assert_eq!(closed, "1 dead letter closed\n");
    let none = desk.done(&["dead-letters", "list"]);
    assert!(none.stderr.contains("no open dead letters"), "{}", none.stderr);
    let all: Value = desk.done(&["dead-letters", "list", "--all", "--format", "json"]).json();
    assert_eq!(all.as_array().map(Vec::len), Some(1));
}
