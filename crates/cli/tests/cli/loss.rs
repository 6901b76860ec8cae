//! Records that an unfinished epoch needs and nobody has any more.

use std::path::Path;

use crate::Desk;

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: ['*.log'] }
transforms:
  parsed: { type: parse, input: access, format: regex, pattern: '^(?<word>[a-z]+)$' }
sinks:
  lake: { type: lake, input: parsed, table: web }
";

/// Two files of three lines, one of them refused; the epoch is decided, then the process dies and
/// what the sinks had staged is deleted.
fn interrupted() -> Desk {
    let desk = Desk::new();
    desk.write("kept.log", "a\n1\nb\n");
    desk.write("gone.log", "c\n2\nd\n");
    desk.write("web.yaml", PIPELINE);
    let killed = desk
        .command(&["run", "web.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    for table in ["web", "dead_letters"] {
        remove_files(&desk.path().join("logmill-data/lake").join(table));
    }
    desk
}

pub fn remove_files(folder: &Path) {
    let files = std::fs::read_dir(folder).expect("a table").map(|entry| entry.unwrap().path());
    let mut removed = 0;
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "parquet")) {
        std::fs::remove_file(file).expect("removed");
        removed += 1;
    }
    assert!(removed > 0, "something was staged");
}

fn words(desk: &Desk) -> String {
    let sql = "SELECT word FROM web ORDER BY word";
    desk.done(&["query", sql, "--format", "csv"]).stdout.replace('\n', " ")
}

#[test]
fn what_is_lost_is_booked_and_the_rest_delivered() {
    let desk = interrupted();
    std::fs::remove_file(desk.path().join("gone.log")).expect("removed");
    let stopped = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    for part in ["gone.log", "records 0 to 6", "run --accept-loss"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    assert_eq!(words(&desk), "word a b ");
    let sql = "SELECT sink, sum(lost) AS lost FROM ledger GROUP BY sink ORDER BY sink";
    let ledger = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(ledger, "sink,lost\ndead_letters,1\nlake,2\n");
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], &audit["sinks"][0]["found"]), (&true.into(), &2.into()));
    assert_eq!(audit["sinks"][0]["expected"], 2);
    assert_eq!(audit["sinks"][0]["lost"], 2);
    desk.write("new.log", "e\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(words(&desk), "word a b e ");
    let audit = desk.done(&["audit", "web.yaml"]).stdout;
    assert!(audit.contains("2 booked as lost with `--accept-loss`"), "{audit}");
}

#[test]
fn a_loss_is_booked_once_wherever_the_process_dies() {
    // Both sinks are first asked to commit what they had staged, which is gone.
    let points = [
        "recover.replayed:1",
        "commit.sink.before:3",
        "commit.sink.after:3",
        "commit.sink.after:4",
        "recover.done:1",
    ];
    for point in points {
        let desk = interrupted();
        std::fs::remove_file(desk.path().join("gone.log")).expect("removed");
        let killed = desk
            .command(&["run", "web.yaml", "--until-end", "--accept-loss", "--quiet"])
            .env("LOGMILL_FAILPOINT", point)
            .status()
            .expect("the program starts");
        assert_eq!(killed.code(), None, "{point} is passed");
        desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
        let sql = "SELECT sum(lost) AS lost FROM ledger";
        assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "lost\n3\n", "{point}");
        desk.done(&["audit", "web.yaml"]);
    }
}

#[test]
fn nothing_is_lost_where_everything_is_still_there() {
    let desk = interrupted();
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    assert_eq!(words(&desk), "word a b c d ");
    let sql = "SELECT sum(lost) AS lost FROM ledger";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "lost\n0\n");
    desk.done(&["audit", "web.yaml"]);
}

/// A log in whose middle one line end is another byte since it was read.
fn altered(byte: u8) -> Desk {
    let desk = Desk::new();
    let lines: String = (0..1_000).map(|number| format!("line {number:04}\n")).collect();
    desk.write("kept.log", &lines);
    let yaml = PIPELINE.replace("[a-z]+", ".+");
    desk.write("web.yaml", &yaml);
    let killed = desk
        .command(&["run", "web.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
    remove_files(&desk.path().join("logmill-data/lake/web"));
    let mut bytes = lines.into_bytes();
    // A file is known by its first KiB and the last one that was read.
    let middle = bytes.len() / 2 - 1;
    assert_eq!(bytes[middle], b'\n');
    bytes[middle] = byte;
    std::fs::write(desk.path().join("kept.log"), bytes).expect("written");
    desk
}

/// The lines that are left stand where others stood.
#[test]
fn fewer_lines_of_a_rewritten_file_are_not_taken_for_some_of_the_old_ones() {
    let desk = altered(b' ');
    let stopped = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    for part in ["sink \"lake\" 999 rows", "where 1000 were recorded", "run --accept-loss"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    let sql = "SELECT sink, sum(lost) AS lost FROM ledger GROUP BY sink ORDER BY sink";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "sink,lost\nlake,1000\n");
    let sql = "SELECT count(*) AS rows FROM web";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "rows\n0\n");
    desk.done(&["audit", "web.yaml"]);
}
