//! Files beside the checkpoints that are gone or damaged: a start names them with the way out, and
//! goes on without them where that is accepted.

use std::path::{Path, PathBuf};

use crate::Desk;
use crate::brought_back::{number, remove_staged};
use crate::windows::LINES;

const RUN: [&str; 3] = ["run", "sums.yaml", "--until-end"];

/// Rows of many groups, so that what is made of them does not fit into a checkpoint.
fn desk() -> Desk {
    let desk = Desk::new();
    let line = |n: u64| {
        let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (minute, second) = (n / 60, n % 60);
        format!(
            "{{\"n\":{n},\"k\":\"{key:016x}{:016x}\",\"ts\":\"2025-01-01T00:{minute:02}:{second:02}Z\"}}\n",
            key.rotate_left(7).wrapping_mul(key)
        )
    };
    desk.write("a.json", &(0..LINES).map(line).collect::<String>());
    desk.write(
        "sums.yaml",
        "name: sums\nepoch: { interval: 1h, bytes_max: 64MiB }\nsources:\n  \
         lines: { type: file, paths: [a.json] }\ntransforms:\n  \
         parsed: { type: parse, input: lines, format: json, \
         fields: { n: integer, k: text, ts: timestamp } }\n  \
         once: { type: dedupe, input: parsed, key: [n] }\n  \
         sums: { type: window, input: parsed, span: epoch, group_by: [k], \
         aggregate: { hits: count(*) } }\n  \
         minutes: { type: window, input: parsed, span: { tumbling: 60s }, time: ts, \
         aggregate: { hits: count(*) } }\nsinks:\n  \
         raw: { type: lake, input: once, table: raw }\n  \
         results: { type: lake, input: sums, table: sums }\n  \
         timed: { type: lake, input: minutes, table: minutes }\n",
    );
    desk
}

fn killed(desk: &Desk, point: &str, more: &[&str]) {
    let arguments = [&RUN[..], &["--quiet"], more].concat();
    let killed = desk.command(&arguments).env("LOGMILL_FAILPOINT", point).status();
    assert_eq!(killed.expect("the program starts").code(), None, "{point} is passed");
}

/// The only file below the checkpoints whose path has this in it.
fn file(desk: &Desk, part: &str) -> PathBuf {
    let mut folders = vec![desk.path().join("logmill-data/checkpoints/sums")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.path().to_string_lossy().contains(part) => found.push(entry.path()),
                false => {}
            }
        }
    }
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.swap_remove(0)
}

/// Does something to a file.
type Harm = fn(&Path);

/// What becomes of a file, and what is said of it.
const HARMS: [(&str, Harm); 3] = [
    ("is not in the checkpoint store", |file| std::fs::remove_file(file).expect("removed")),
    ("is damaged", |file| {
        let mut bytes = std::fs::read(file).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(file, bytes).expect("written");
    }),
    ("is damaged", |file| std::fs::write(file, "").expect("written")),
];

/// A start stops, names the file, and says what helps.
fn check_refused(desk: &Desk, file: &Path, says: &str) {
    let stopped = desk.run(&RUN);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    for part in [&*name, says, "restore", "run --accept-loss"] {
        assert!(stopped.stderr.contains(part), "{part}: {}", stopped.stderr);
    }
}

fn lost(desk: &Desk, sink: &str) -> u64 {
    let sql = format!(
        "SELECT CAST(coalesce(sum(lost), 0) AS BIGINT) AS n FROM ledger WHERE sink = '{sink}'"
    );
    number(desk, &sql)
}

fn rows(desk: &Desk, table: &str) -> u64 {
    number(desk, &format!("SELECT count(*) AS n FROM {table}"))
}

/// The copy of an epoch that is decided, and of which both sinks lost what was staged.
fn without_copy(harm: Harm) -> (Desk, PathBuf) {
    let desk = desk();
    killed(&desk, "decide.after:1", &[]);
    for table in ["raw", "sums"] {
        remove_staged(&desk.path().join("logmill-data/lake").join(table));
    }
    let copy = file(&desk, "_copy/");
    harm(&copy);
    (desk, copy)
}

#[test]
fn what_a_step_made_and_nobody_has_any_more_is_booked_as_lost_to_who_lacks_it() {
    for (says, harm) in HARMS {
        let (desk, copy) = without_copy(harm);
        check_refused(&desk, &copy, says);
        let done = desk.done(&[&RUN[..], &["--accept-loss"]].concat());
        assert!(done.stderr.contains("nothing makes it again"), "{}", done.stderr);
        assert_eq!((rows(&desk, "raw"), lost(&desk, "raw")), (LINES, 0));
        assert_eq!(lost(&desk, "results"), LINES, "a row of each group");
        desk.done(&["audit", "sums.yaml"]);
        desk.done(&RUN);
        assert_eq!(lost(&desk, "results"), LINES);
    }
}

#[test]
fn the_loss_of_a_copy_is_booked_once_wherever_the_process_dies() {
    for point in ["recover.replayed:1", "commit.sink.after:1", "without_rows.before:1"] {
        let (desk, _) = without_copy(HARMS[0].1);
        killed(&desk, point, &["--accept-loss"]);
        desk.done(&[&RUN[..], &["--accept-loss"]].concat());
        let books = (rows(&desk, "raw"), lost(&desk, "raw"), lost(&desk, "results"));
        assert_eq!(books, (LINES, 0, LINES), "{point}");
        desk.done(&["audit", "sums.yaml"]);
    }
}

/// Results are taken from their copy, whatever became of what they were made of.
#[test]
fn a_sink_of_results_alone_is_finished_without_their_source() {
    let desk = desk();
    killed(&desk, "decide.after:1", &[]);
    remove_staged(&desk.path().join("logmill-data/lake/sums"));
    std::fs::remove_file(desk.path().join("a.json")).expect("removed");
    desk.done(&RUN);
    assert_eq!((rows(&desk, "raw"), rows(&desk, "sums")), (LINES, LINES));
    assert_eq!(lost(&desk, "raw") + lost(&desk, "results"), 0);
    desk.done(&["audit", "sums.yaml"]);
}

#[test]
fn a_step_whose_state_is_gone_begins_anew_where_that_is_accepted() {
    for (says, harm) in HARMS {
        for (step, held) in [("minutes", LINES), ("once", 0)] {
            let desk = desk();
            desk.done(&[&RUN[..], &["--quiet"]].concat());
            let state = file(&desk, &format!("-{step}-"));
            harm(&state);
            check_refused(&desk, &state, says);
            killed(&desk, "without_rows.before:1", &["--accept-loss"]);
            desk.done(&[&RUN[..], &["--accept-loss"]].concat());
            assert_eq!(lost(&desk, "timed"), held, "{step}");
            desk.done(&[&RUN[..], &["--flush-windows"]].concat());
            if held == 0 {
                let sum = "SELECT CAST(sum(hits) AS BIGINT) AS n FROM minutes";
                assert_eq!(number(&desk, sum), LINES);
            }
            desk.done(&["audit", "sums.yaml"]);
        }
    }
}

/// What a replay works out again is kept again.
#[test]
fn a_replay_of_an_epoch_gives_its_steps_their_states_again() {
    let desk = desk();
    killed(&desk, "decide.after:1", &[]);
    remove_staged(&desk.path().join("logmill-data/lake/raw"));
    for step in ["minutes", "once"] {
        HARMS[0].1(&file(&desk, &format!("-{step}-")));
    }
    desk.done(&[&RUN[..], &["--flush-windows"]].concat());
    assert_eq!(rows(&desk, "raw"), LINES);
    let sum = "SELECT CAST(sum(hits) AS BIGINT) AS n FROM minutes";
    assert_eq!(number(&desk, sum), LINES);
}
