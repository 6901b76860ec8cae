//! Records that an unfinished epoch needs and nobody has any more.

use std::path::Path;

use testkit::services::{find, unique};

use crate::Desk;
use crate::replaced::ask;

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
    kill_decided(&desk);
    for table in ["web", "dead_letters"] {
        remove_files(&desk.path().join("logmill-data/lake").join(table));
    }
    desk
}

/// Runs it until its first epoch is decided, and dies.
pub fn kill_decided(desk: &Desk) {
    let killed = desk
        .command(&["run", "web.yaml", "--until-end", "--quiet"])
        .env("LOGMILL_FAILPOINT", "decide.after:1")
        .status()
        .expect("the program starts");
    assert_eq!(killed.code(), None, "the epoch is decided");
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
    // What is brought back comes, as another split.
    desk.write("gone.log", "c\n2\nd\n");
    for _ in 0..2 {
        desk.done(&["run", "web.yaml", "--until-end"]);
        assert_eq!(words(&desk), "word a b c d e ");
    }
    desk.done(&["audit", "web.yaml"]);
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

/// A log that was rotated while its epoch is decided, and a new one that begins as it did.
#[test]
fn a_new_log_that_begins_alike_is_not_taken_for_the_rotated_one() {
    let banner: String = (0..50).map(|line| format!("the server starts {line:08}\n")).collect();
    let log = |what: &str, lines: usize| {
        let lines = (0..lines).map(|line| format!("{what} {line:08}\n"));
        banner.clone() + &lines.collect::<String>()
    };
    // One that is longer, with lines as long; one that is shorter.
    for (lines, flag) in [(400, None), (10, None), (400, Some("--accept-loss"))] {
        let desk = Desk::new();
        desk.write("a.log", &log("old", 300));
        desk.write("web.yaml", &PIPELINE.replace("[a-z]+", ".+").replace("*.log", "a.log*"));
        kill_decided(&desk);
        remove_files(&desk.path().join("logmill-data/lake/web"));
        let path = |name: &str| desk.path().join(name);
        std::fs::rename(path("a.log"), path("a.log.1")).expect("renamed");
        desk.write("a.log", &log("new", lines));
        let arguments = ["run", "web.yaml", "--until-end"].into_iter().chain(flag);
        desk.done(&arguments.collect::<Vec<_>>());
        let sql = "SELECT count(*), count(DISTINCT word) FROM web";
        let counted = desk.done(&["query", sql, "--format", "csv"]).stdout;
        let (rows, distinct) = (350 + 50 + lines, 350 + lines);
        assert!(counted.ends_with(&format!("\n{rows},{distinct}\n")), "{flag:?}: {counted}");
        desk.done(&["audit", "web.yaml"]);
    }
}

/// A log in whose middle one line end is another byte since it was read.
fn altered(byte: u8) -> Desk {
    let desk = Desk::new();
    let lines: String = (0..1_000).map(|number| format!("line {number:04}\n")).collect();
    desk.write("kept.log", &lines);
    let yaml = PIPELINE.replace("[a-z]+", ".+");
    desk.write("web.yaml", &yaml);
    kill_decided(&desk);
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
    // What is proven stands before the change; behind it the file is another split.
    let [lost] = numbers(&desk, LOST)[..] else { panic!("one number") };
    assert!((500..=567).contains(&lost), "{lost} booked as lost");
    assert_eq!(numbers(&desk, ROWS), [999, 999]);
    desk.done(&["audit", "web.yaml"]);
}

const LINES: usize = 1_000;
const LINE_BYTES: usize = 18;

/// A log of lines of one length that is decided for two sinks, one of which has nothing of it, and
/// that was cut off since, behind so many bytes of it.
fn cut_off(bytes: usize) -> Desk {
    let desk = Desk::new();
    let lines: String = (0..LINES).map(|number| format!("line {number:04} abcdefg\n")).collect();
    assert_eq!(lines.len(), LINES * LINE_BYTES);
    desk.write("kept.log", &lines);
    let also = "  also: { type: lake, input: parsed, table: also }\n";
    desk.write("web.yaml", &(PIPELINE.replace("[a-z]+", ".+") + also));
    kill_decided(&desk);
    remove_files(&desk.path().join("logmill-data/lake/web"));
    let file = std::fs::File::options().write(true).open(desk.path().join("kept.log"));
    file.expect("it is there").set_len(bytes as u64).expect("truncated");
    desk
}

fn append(desk: &Desk, text: &str) {
    let mut file = std::fs::File::options().append(true).open(desk.path().join("kept.log"));
    let file = file.as_mut().expect("it is there");
    std::io::Write::write_all(file, text.as_bytes()).expect("written");
}

fn numbers(desk: &Desk, sql: &str) -> Vec<u64> {
    let table = desk.done(&["query", sql, "--format", "csv"]).stdout;
    let fields = table.lines().skip(1).flat_map(|line| line.split(','));
    fields.map(|field| field.parse().expect("a number")).collect()
}

const LOST: &str = "SELECT sum(lost) AS lost FROM ledger WHERE sink = 'lake'";
const ROWS: &str = "SELECT count(*) AS rows, count(DISTINCT word) AS words FROM web";

#[test]
fn what_stands_before_the_cut_of_a_truncated_file_is_delivered_once() {
    let whole = 600;
    let desk = cut_off(whole * LINE_BYTES + 5);
    let stopped = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("run --accept-loss") || stopped.stderr.contains("--accept-loss`")
    );
    let done = desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    assert!(done.stderr.contains("not proven to be there any more"), "{}", done.stderr);
    assert_eq!(numbers(&desk, ROWS), [600, 600]);
    let [lost] = numbers(&desk, LOST)[..] else { panic!("one number") };
    let gone = (LINES - whole) as u64;
    assert!((gone..=gone + LINES as u64 / 15 + 1).contains(&lost), "{lost} booked as lost");
    // The sink that had all of it gets no more again than what is not proven.
    let [also] = numbers(&desk, "SELECT count(*) AS rows FROM also")[..] else { panic!("one") };
    assert_eq!(also, LINES as u64 + lost - gone);
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    append(&desk, " and its end\nanother line\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(numbers(&desk, ROWS), [602, 602]);
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_file_that_grew_again_behind_its_cut_is_no_more_than_what_stands_before() {
    let desk = cut_off(600 * LINE_BYTES);
    let others: String = (0..LINES).map(|number| format!("other {number:04} line\n")).collect();
    append(&desk, &others);
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    assert_eq!(numbers(&desk, ROWS), [1_600, 1_600]);
    let [lost] = numbers(&desk, LOST)[..] else { panic!("one number") };
    assert!((400..=467).contains(&lost), "{lost} booked as lost");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_file_of_a_few_lines_is_proven_line_by_line() {
    let desk = Desk::new();
    desk.write("kept.log", "a\nb\nc\nd\n");
    desk.write("web.yaml", PIPELINE);
    kill_decided(&desk);
    remove_files(&desk.path().join("logmill-data/lake/web"));
    desk.write("kept.log", "a\nb\ne\n");
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    let sql = "SELECT split, sum(delivered) AS delivered, sum(lost) AS lost FROM ledger \
               WHERE sink = 'lake' GROUP BY split ORDER BY split";
    let ledger = desk.done(&["query", sql, "--format", "csv"]).stdout;
    let rows: Vec<_> = ledger.lines().filter_map(|line| line.split_once(".log")).collect();
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [",4,2", "#2,1,0"], "{ledger}");
    assert_eq!(words(&desk), "word a b e ");
    desk.done(&["audit", "web.yaml"]);
}

/// How many lines of a file come once more, of which some were cut off: none of a file of fewer
/// than 16 lines, and at most one in 16 of any other.
#[test]
fn of_a_small_file_that_was_cut_off_at_most_a_line_in_sixteen_comes_again() {
    for (lines, kept, again) in [(15, 10, 0), (16, 15, 1), (160, 154, 0), (160, 153, 10)] {
        let letter = |at: usize| char::from(b"abcdefghijklmnop"[at % 16]);
        let line = |at: usize| format!("{}{}\n", letter(at / 16), letter(at));
        let text = |lines: usize| (0..lines).map(line).collect::<String>();
        let desk = Desk::new();
        desk.write("kept.log", &text(lines));
        desk.write("web.yaml", PIPELINE);
        kill_decided(&desk);
        remove_files(&desk.path().join("logmill-data/lake/web"));
        desk.write("kept.log", &text(kept));
        desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
        let sql = "SELECT coalesce(sum(delivered), 0) AS n FROM ledger \
                   WHERE sink = 'lake' AND split LIKE '%#2'";
        let counted = desk.done(&["query", sql, "--format", "csv"]).stdout;
        assert_eq!(counted, format!("n\n{again}\n"), "{kept} of {lines}");
        desk.done(&["audit", "web.yaml"]);
    }
}

#[test]
fn what_stands_before_a_cut_is_delivered_once_wherever_the_process_dies() {
    for point in [
        "recover.replay:1",
        "recover.replayed:1",
        "commit.sink.before:1",
        "commit.sink.after:1",
        "decide.answer:1",
        "recover.done:1",
        "decide.before:1",
        "decide.after:1",
        "publish.done:1",
    ] {
        let desk = cut_off(600 * LINE_BYTES);
        let killed = desk
            .command(&["run", "web.yaml", "--until-end", "--accept-loss", "--quiet"])
            .env("LOGMILL_FAILPOINT", point)
            .status()
            .expect("the program starts");
        assert_eq!(killed.code(), None, "{point} is passed");
        desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
        assert_eq!(numbers(&desk, ROWS), [600, 600], "{point}");
        let [lost] = numbers(&desk, LOST)[..] else { panic!("one number") };
        assert!((400..=467).contains(&lost), "{point}: {lost} booked as lost");
        desk.done(&["audit", "web.yaml"]);
    }
}

/// A file that was cut off is back after one of two sinks committed without the rest: what was lost
/// to that one comes to both as another split.
#[test]
fn a_file_that_is_back_between_two_commits_of_a_loss_is_delivered_once_to_each_sink() {
    let Some(url) = find("postgres") else { return };
    for (point, accept) in [
        ("postgres.commit.after:1", &[][..]),
        ("postgres.commit.after:1", &["--accept-loss"]),
        ("lake.commit.after:1", &[]),
        ("lake.commit.after:1", &["--accept-loss"]),
    ] {
        let desk = Desk::new();
        let lines: String =
            (0..LINES).map(|number| format!("line {number:04} abcdefg\n")).collect();
        desk.write("kept.log", &lines);
        let table = unique("back");
        let warehouse = format!(
            "  warehouse: {{ type: postgres, input: parsed, url: '{url}', table: {table}, \
             create: true }}\n"
        );
        desk.write("web.yaml", &(PIPELINE.replace("[a-z]+", ".+") + &warehouse));
        let run = |point: &str, more: &[&str]| {
            let arguments = [&["run", "web.yaml", "--until-end", "--quiet"], more].concat();
            let killed = desk.command(&arguments).env("LOGMILL_FAILPOINT", point).status();
            assert_eq!(killed.expect("the program starts").code(), None, "{point} is passed");
        };
        run("decide.after:1", &[]);
        remove_files(&desk.path().join("logmill-data/lake/web"));
        let file = std::fs::File::options().write(true).open(desk.path().join("kept.log"));
        file.expect("it is there").set_len(600 * LINE_BYTES as u64).expect("truncated");
        run(point, &["--accept-loss"]);
        desk.write("kept.log", &lines);
        desk.done(&[&["run", "web.yaml", "--until-end"], accept].concat());
        let all = LINES as u64;
        assert_eq!(numbers(&desk, ROWS), [all, all], "{point}");
        let held = ask(&url, &format!("SELECT count(*), count(DISTINCT word) FROM {table}"));
        assert_eq!(held, format!("{all}|{all}"), "{point}");
        let books = "SELECT sum(delivered) - sum(lost) AS rows FROM ledger \
                     WHERE sink <> 'dead_letters'";
        assert_eq!(numbers(&desk, books), [2 * all], "{point}");
        desk.done(&["audit", "web.yaml"]);
    }
}

/// A file that is named without a pattern and is gone: whatever was decided of it can be finished,
/// and what it delivered can be audited. One that nobody read yet is a mistake.
#[test]
fn a_named_file_that_is_gone_keeps_nobody_from_finishing_its_epoch() {
    let desk = Desk::new();
    desk.write("kept.log", "a\n1\nb\n");
    desk.write("gone.log", "c\n2\nd\n");
    let named = PIPELINE.replace("['*.log']", "[kept.log, gone.log]");
    desk.write("web.yaml", &named);
    kill_decided(&desk);
    for table in ["web", "dead_letters"] {
        remove_files(&desk.path().join("logmill-data/lake").join(table));
    }
    std::fs::remove_file(desk.path().join("gone.log")).expect("removed");
    desk.done(&["check", "web.yaml"]);
    let stopped = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    for part in ["gone.log", "records 0 to 6", "run --accept-loss"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
    let unfinished = desk.run(&["audit", "web.yaml"]);
    assert_eq!(unfinished.code, 3, "{}", unfinished.stderr);
    let done = desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    assert!(done.stderr.contains("gone.log\" is not there any more"), "{}", done.stderr);
    assert_eq!(words(&desk), "word a b ");
    desk.done(&["audit", "web.yaml"]);
    desk.write("kept.log", "a\n1\nb\ne\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(words(&desk), "word a b e ");
    desk.write("web.yaml", &named.replace("gone.log", "gnoe.log"));
    for command in [&["check", "web.yaml"][..], &["run", "web.yaml", "--until-end"]] {
        let refused = desk.run(command);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        for part in ["file \"gnoe.log\" does not exist", "web.yaml:3:", "paths.1"] {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
    }
}
