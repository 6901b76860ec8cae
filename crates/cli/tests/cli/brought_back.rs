//! What was cut off, booked as lost and brought back afterwards, below steps with a state.

use std::fs::File;
use std::path::Path;

use crate::Desk;
use crate::loss::{kill_decided, remove_files};
use crate::windows::{
    BY_TIME, DISORDER, LINES, TRUE_BY_TIME, desk, query, timed_desk, timed_lines,
};

/// Cuts a file off, so that a line of it is the first that is not whole.
fn cut_off(desk: &Desk, name: &str, text: &str, lines: usize) {
    let whole: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
    let file = File::options().write(true).open(desk.path().join(name));
    file.expect("it is there").set_len(whole as u64 + 3).expect("truncated");
}

#[test]
fn what_is_brought_back_is_no_repetition_of_what_was_lost() {
    let desk = Desk::new();
    let text: String = (0..1_000).map(|number| format!("line {number:04} abcdefg\n")).collect();
    desk.write("kept.log", &text);
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  access: { type: file, paths: ['*.log'] }\ntransforms:\n  \
         parsed: { type: parse, input: access, format: regex, pattern: '^(?<word>.+)$' }\n  \
         once: { type: dedupe, input: parsed, key: [word] }\nsinks:\n  \
         lake: { type: lake, input: once, table: web }\n",
    );
    kill_decided(&desk);
    remove_files(&desk.path().join("logmill-data/lake/web"));
    cut_off(&desk, "kept.log", &text, 600);
    desk.done(&["run", "web.yaml", "--until-end", "--accept-loss"]);
    desk.write("kept.log", &(text.clone() + &text));
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(number(&desk, "SELECT count(*) AS n FROM web"), 1_000);
    assert_eq!(number(&desk, "SELECT count(DISTINCT word) AS n FROM web"), 1_000);
    let books = "SELECT sum(delivered) - sum(lost) AS n FROM ledger WHERE sink = 'lake'";
    assert_eq!(number(&desk, books), 1_000);
    desk.done(&["audit", "web.yaml"]);
}

/// Removes the files of a lake table that are staged and that its log does not name.
pub fn remove_staged(table: &Path) {
    let log = table.join("_delta_log");
    let entries = std::fs::read_dir(&log).into_iter().flatten().map(|entry| entry.unwrap().path());
    let named: String = entries.filter_map(|entry| std::fs::read_to_string(entry).ok()).collect();
    let files = std::fs::read_dir(table).expect("a table").map(|entry| entry.unwrap());
    for file in files.filter(|file| file.file_type().unwrap().is_file()) {
        if !named.contains(&*file.file_name().to_string_lossy()) {
            std::fs::remove_file(file.path()).expect("removed");
        }
    }
}

#[test]
fn a_window_counts_what_is_brought_back_once() {
    // All windows are open when the first epoch ends; the fifth one closes one of its own rows.
    for (bytes_max, epoch, lines) in [("16MiB", 1, 2_100), ("8KiB", 5, 740)] {
        let desk = timed_desk("back", DISORDER, "");
        let yaml = std::fs::read_to_string(desk.path().join("sums.yaml")).expect("a file");
        desk.write("sums.yaml", &yaml.replace("8KiB", bytes_max));
        let run = ["run", "sums.yaml", "--until-end", "--quiet"];
        let mut killed = desk.command(&run);
        let status = killed.env("LOGMILL_FAILPOINT", format!("decide.after:{epoch}")).status();
        assert_eq!(status.expect("it starts").code(), None, "the epoch is decided");
        remove_staged(&desk.path().join("logmill-data/lake/raw"));
        let text = timed_lines(0..LINES);
        cut_off(&desk, "a.json", &text, lines);
        desk.done(&[&run[..], &["--accept-loss"]].concat());
        let lost = |sink: &str| {
            let sql = format!(
                "SELECT CAST(sum(lost) AS BIGINT) AS n FROM ledger \
                 WHERE sink = '{sink}' AND split LIKE '%a.json'"
            );
            number(&desk, &sql)
        };
        let (raw, held) = (lost("raw"), lost("results"));
        assert!(raw > 40 && held > 0, "{raw} rows are lost, a window held {held} of them");
        desk.write("a.json", &text);
        desk.done(&[&run[..], &["--flush-windows"]].concat());
        assert!(query(&desk, BY_TIME) == query(&desk, TRUE_BY_TIME), "{raw}, {held}");
        assert_eq!(number(&desk, "SELECT count(*) AS n FROM raw"), LINES);
        // What a closed window has counted comes too late for it.
        let late = "SELECT CAST(sum(late) AS BIGINT) AS n FROM ledger WHERE sink = 'results'";
        assert_eq!(number(&desk, late) + held, raw, "{epoch}");
        desk.done(&["audit", "sums.yaml"]);
    }
}

pub fn number(desk: &Desk, sql: &str) -> u64 {
    let table = query(desk, sql);
    table.lines().nth(1).and_then(|line| line.parse().ok()).expect("a number")
}

/// What came out of an epoch as such is never made again: a warning says what it holds.
#[test]
fn what_results_of_an_epoch_hold_of_what_is_lost_is_said() {
    let desk = desk("sums", "");
    let run = ["run", "sums.yaml", "--until-end"];
    let mut killed = desk.command(&run);
    let status = killed.env("LOGMILL_FAILPOINT", "decide.after:1").status();
    assert_eq!(status.expect("it starts").code(), None, "the epoch is decided");
    remove_staged(&desk.path().join("logmill-data/lake/raw"));
    let text = std::fs::read_to_string(desk.path().join("a.json")).expect("lines");
    cut_off(&desk, "a.json", &text, 100);
    let done = desk.done(&[&run[..], &["--accept-loss"]].concat());
    let lost = "SELECT CAST(sum(lost) AS BIGINT) AS n FROM ledger WHERE sink = 'raw'";
    let says = format!(
        "counted once more if they are brought back sink=\"results\" rows={}",
        number(&desk, lost)
    );
    let told: String = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&says), "{says}: {told}");
}
