//! Files that are read and removed leave the roster, and no row of them is lost or doubled,
//! whatever comes back and wherever the process dies.

use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::Desk;

const PIPELINE: &str = "\
name: logs
sources:
  access: { type: file, paths: ['logs/*'] }
sinks:
  lake: { type: lake, input: access, table: lines }
";

fn desk(pipeline: &str) -> Desk {
    let desk = Desk::new();
    desk.write("p.yaml", pipeline);
    fs::create_dir(desk.path().join("logs")).unwrap();
    desk
}

/// Lines of which no two files have the same, more than a KiB, with times.
fn lines(name: &str, count: usize) -> String {
    let line = |number| format!("2026-11-28 10:00:00 {name} line {number}, long enough\n");
    (0..count).map(line).collect()
}

impl Desk {
    /// A file that was last written long ago, as removed ones mostly are.
    fn log(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join("logs").join(name);
        fs::write(&path, bytes).unwrap();
        let file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path().join("logs").join(name)).unwrap();
    }

    fn until_end(&self) {
        self.done(&["run", "p.yaml", "--until-end", "--quiet"]);
    }

    /// The names of the splits that are known.
    fn known(&self) -> Vec<String> {
        let listed =
            self.done(&["splits", "list", "p.yaml", "-f", "json", "--limit", "1000"]).json();
        let splits = listed["splits"].as_array().unwrap().iter();
        let mut names: Vec<_> = splits
            .map(|one| one["split"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// How many rows there are, and how many texts.
    fn texts(&self) -> (u64, u64) {
        let sql = "SELECT count(*) AS rows, count(DISTINCT message) AS texts FROM lines";
        let found: Value = self.done(&["query", sql, "--format", "json"]).json();
        let row = if found.is_array() { &found[0] } else { &found };
        (row["rows"].as_u64().unwrap(), row["texts"].as_u64().unwrap())
    }

    fn audited(&self) {
        let audit = self.done(&["audit", "p.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_that_was_removed_is_forgotten_and_goes_on_if_it_comes_back() {
    let desk = desk(PIPELINE);
    desk.log("a.log", lines("a", 100));
    desk.until_end();
    desk.remove("a.log");
    desk.log("b.log", lines("b", 100));
    desk.until_end();
    assert_eq!(desk.known(), ["b.log"]);
    desk.audited();
    // Compressed, under another name, and with something more.
    desk.log("old-a.gz", gzip(&lines("a", 120)));
    // Another file under its old name.
    desk.log("a.log", lines("c", 100));
    desk.until_end();
    assert_eq!(desk.known(), ["a.log#2", "b.log", "old-a.gz"]);
    assert_eq!(desk.texts(), (320, 320));
    desk.audited();
    let sql = "SELECT count(*) AS rows FROM ledger WHERE sink = 'lake'";
    let before = desk.done(&["query", sql, "--format", "csv"]).stdout;
    desk.until_end();
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, before, "nothing is new");
}

#[test]
fn a_file_of_which_a_record_was_refused_stays_known() {
    let parsed = PIPELINE.replace("input: access", "input: parsed");
    let desk = desk(&parsed.replace(
        "sinks:",
        "transforms:\n  parsed: { type: parse, input: access, format: regex, pattern: \
         '^(?<message>.* line .*)$' }\nsinks:",
    ));
    desk.log("a.log", lines("a", 100));
    desk.log("b.log", format!("{}refused\n", lines("b", 100)));
    desk.until_end();
    desk.remove("a.log");
    desk.remove("b.log");
    desk.log("c.log", lines("c", 100));
    desk.until_end();
    assert_eq!(desk.known(), ["b.log", "c.log"], "its letter may be asked for");
    desk.audited();
}

#[test]
fn no_kill_amid_a_retirement_loses_or_doubles_a_row() {
    let points = [
        "decide.before:1",
        "decide.answer:1",
        "decide.after:1",
        "commit.sink.before:1",
        "commit.sink.after:1",
        "publish.done:1",
        "complete.before:1",
        "recover.done:1",
    ];
    for point in points {
        let desk = desk(PIPELINE);
        desk.log("a.log", lines("a", 100));
        desk.until_end();
        desk.remove("a.log");
        desk.log("b.log", lines("b", 100));
        let killed = desk
            .command(&["run", "p.yaml", "--until-end", "--quiet"])
            .env("LOGMILL_FAILPOINT", point)
            .status()
            .unwrap();
        assert_eq!(killed.code(), None, "{point} is passed");
        desk.log("a.log.1.gz", gzip(&lines("a", 110)));
        desk.log("a.log", lines("c", 100));
        desk.until_end();
        assert_eq!(desk.texts(), (310, 310), "{point}");
        desk.audited();
    }
}

#[test]
fn an_audit_adds_up_after_splits_retired_and_their_epochs_were_folded() {
    // So many epochs that old ones are packed twice, and the first pack is older than what is kept.
    let pipeline = PIPELINE.replace("['logs/*']", "['logs/*'], block_bytes: 4KiB");
    let ends = "epoch: { bytes_max: 1KiB }\nhistory: { keep: 1s }\n";
    let desk = desk(&format!("{pipeline}{ends}"));
    desk.log("a.log", lines("a", 6_000));
    desk.until_end();
    desk.remove("a.log");
    desk.log("b.log", lines("b", 66_000));
    desk.until_end();
    assert_eq!(desk.known(), ["b.log"]);
    assert_eq!(desk.texts(), (72_000, 72_000));
    desk.audited();
    let sql = "SELECT sum(delivered) AS rows FROM ledger WHERE split = '' AND sink = 'lake'";
    let gone = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(gone, "rows\n6000\n", "they are counted to their family");
    // The name is known though the tombstone is not.
    desk.log("a.log", lines("c", 100));
    desk.until_end();
    assert_eq!(desk.known(), ["a.log#2", "b.log"]);
    desk.audited();
}
