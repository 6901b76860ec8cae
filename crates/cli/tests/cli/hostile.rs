//! Bad input, bad files, a full disk: each gets one error with a way out, and nothing is lost.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Desk;

const PIPELINE: &str = "\
name: web
retry: { for: 1ms }
epoch: { bytes_max: 256KiB }
sources:
  access: { type: file, paths: [access.log], block_bytes: 64KiB }
transforms:
  parsed: { type: parse, input: access, format: combined }
sinks:
  lake: { type: lake, input: parsed, table: web }
";
const ROWS: u64 = 5_000;

/// A folder with a pipeline and a log of which one line in a hundred is broken.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("web.yaml", PIPELINE);
    let rows = ROWS.to_string();
    desk.done(&["generate", "access-log", "--rows", &rows, "--broken", "0.01", "-o", "access.log"]);
    desk
}

/// Runs to the end and asserts that every line of the log stands once in the lake or in the dead
/// letters.
fn holds_everything(desk: &Desk) {
    desk.done(&["run", "web.yaml", "--until-end"]);
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    let sql = "SELECT count(*) AS rows, count(DISTINCT _position) AS origins FROM \
               (SELECT _position FROM web UNION ALL SELECT position FROM dead_letters)";
    let held = desk.done(&["query", sql, "--format", "json"]).json();
    assert_eq!((&held[0]["rows"], &held[0]["origins"]), (&ROWS.into(), &ROWS.into()));
}

/// Runs the pipeline and expects one error with these parts.
fn fails(desk: &Desk, code: i32, parts: &[&str]) {
    let ran = desk.run(&["run", "web.yaml", "--until-end", "--quiet"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

/// A run that committed what it could read, and says what it could not.
fn is_incomplete(desk: &Desk, parts: &[&str]) {
    let ran = desk.run(&["run", "web.yaml", "--until-end", "--quiet"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("not read to its end"), "{}", ran.stdout);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

fn checkpoints(desk: &Desk) -> PathBuf {
    desk.path().join("logmill-data/checkpoints/web/main")
}

fn newest_checkpoint(desk: &Desk) -> PathBuf {
    let mut epochs: Vec<_> = std::fs::read_dir(checkpoints(desk)).unwrap().flatten().collect();
    epochs.retain(|entry| entry.file_name().to_string_lossy().starts_with("epoch-"));
    epochs.iter().map(std::fs::DirEntry::path).max().expect("several epochs")
}

#[test]
fn a_log_with_fields_that_are_called_as_the_origin_is_keeps_both() {
    let desk = Desk::new();
    desk.write(
        "a.json",
        "{\"_split\":\"s1\",\"_epoch\":5,\"_ordinal\":3,\"word\":\"one\"}\n".repeat(20).as_str(),
    );
    let pipeline = |format: &str| {
        format!(
            "name: web\nsources:\n  a: {{ type: file, paths: [a.json] }}\ntransforms:\n  \
             p: {{ type: parse, input: a, {format} }}\nsinks:\n  \
             t: {{ type: lake, input: p, table: web }}\n"
        )
    };
    desk.write("web.yaml", &pipeline("format: json, fields: { _split: text }"));
    let refused = desk.run(&["check", "web.yaml"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("rename: { _split: log_split }"), "{}", refused.stderr);
    desk.write("web.yaml", &pipeline("format: auto"));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    let sql = "SELECT DISTINCT log_split, log_epoch, log_ordinal, _split, word FROM web";
    let held = desk.done(&["query", "-f", "csv", sql]).stdout;
    assert!(
        held.lines()
            .nth(1)
            .is_some_and(|row| row.starts_with("s1,5,3,") && row.ends_with("a.json,one")),
        "{held}"
    );
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn places_that_would_mix_rows_are_refused_before_anything_runs() {
    let desk = desk();
    let check = |old: &str, new: &str, expect: &str| {
        desk.write("web.yaml", &PIPELINE.replace(old, new));
        let ran = desk.run(&["check", "web.yaml"]);
        assert_eq!(ran.code, 2, "{new}");
        assert!(ran.stderr.contains(expect), "{new}: {}", ran.stderr);
        assert!(ran.stderr.contains("--> web.yaml:9:"), "{new}: {}", ran.stderr);
    };
    check("table: web", "table: ledger", "the table \"ledger\" belongs to logmill");
    check("table: web", "table: late", "the table \"late\" belongs to logmill");
    check("table: web", "table: dead_letters", "sink \"lake\" writes into the dead letters");
    check("table: web", "table: dead_letter_states", "\"dead_letter_states\" belongs to logmill");
    check("table: web", "table: web, partition_by: day(tss)", "did you mean \"ts\"?");
    let twice = "table: web }\n  again: { type: lake, input: parsed, table: web";
    check("table: web", twice, "\"lake\" and \"again\" write to one place");
}

/// Rows of two sinks may not name one place, whatever the values are.
#[test]
fn names_that_rows_of_two_sinks_can_give_are_refused_before_anything_runs() {
    let desk = desk();
    let both = |settings: &str, one: &str, other: &str| {
        let sinks = format!(
            "  one: {{ input: parsed, {settings}{one} }}\n  two: {{ input: parsed, {settings}{other} }}\n"
        );
        let (above, _) = PIPELINE.split_once("sinks:\n").expect("sinks");
        desk.write("web.yaml", &format!("{above}sinks:\n{sinks}"));
        desk.run(&["check", "web.yaml"])
    };
    let postgres = "type: postgres, url: 'postgres://db/logs', table: ";
    let search = "type: opensearch, url: 'http://search', index: ";
    let kafka = "type: kafka, brokers: 'broker:9092', token_topic: tokens, topic: ";
    for (settings, one, other, apart) in [
        (postgres, "'logs_{method}'", "'logs_x_{method}'", "'web_{method}'"),
        (search, "'logs-{method}'", "'logs-x'", "'web-{method}'"),
        (kafka, "'logs-{method}'", "'logs-{method}-x'", "'web-{method}'"),
    ] {
        let refused = both(settings, one, other);
        assert_eq!(refused.code, 2, "{one} {other}: {}", refused.stdout);
        let said = "rows of sinks \"one\" and \"two\" can name one place";
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        let right = both(settings, one, apart);
        assert_eq!(right.code, 0, "{}", right.stderr);
    }
}

#[test]
fn a_full_disk_stops_the_run_and_the_next_one_goes_on() {
    let desk = desk();
    // A limit on the size of files stands for the disk. Without the trap its signal would kill.
    let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
    for blocks in ["0", "4", "16", "64"] {
        let output = Command::new("sh")
            .args(["-c", script, "sh", blocks, env!("CARGO_BIN_EXE_logmill")])
            .args(["run", "web.yaml", "--until-end", "--quiet"])
            .current_dir(desk.path())
            .env_remove("LOGMILL_DATA")
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{blocks}: {said}");
        assert!(said.contains("File too large"), "{blocks}: {said}");
    }
    holds_everything(&desk);
}

#[test]
fn a_torn_archive_is_named_and_read_on_once_it_is_whole() {
    let desk = desk();
    let (archive, whole) = pack(&desk);
    std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    is_incomplete(&desk, &["access.log.gz", "its compressed end is missing"]);
    std::fs::write(&archive, whole).unwrap();
    holds_everything(&desk);
}

#[test]
fn a_damaged_archive_is_named() {
    let desk = desk();
    let (archive, mut damaged) = pack(&desk);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    std::fs::write(&archive, damaged).unwrap();
    is_incomplete(&desk, &["access.log.gz", "its compressed form is damaged"]);
}

/// Makes an archive of the log, which the pipeline reads instead; where it is, and what is in it.
fn pack(desk: &Desk) -> (PathBuf, Vec<u8>) {
    desk.write("web.yaml", &PIPELINE.replace("access.log", "access.log.gz"));
    let packed = Command::new("gzip").arg("access.log").current_dir(desk.path()).status();
    assert!(packed.expect("gzip is installed").success());
    let archive = desk.path().join("access.log.gz");
    let whole = std::fs::read(&archive).unwrap();
    (archive, whole)
}

#[test]
fn a_table_that_was_made_otherwise_is_left_alone() {
    let desk = desk();
    let narrow = PIPELINE.replace("input: parsed, table", "input: narrow, table").replace(
        "sinks:",
        "  narrow: { type: sql, query: \"SELECT ts, method AS status FROM parsed\" }\nsinks:",
    );
    let other = narrow.replace("name: web", "name: other").replace("access.log", "other.log");
    desk.write("other.yaml", &other);
    let log = std::fs::read(desk.path().join("access.log")).unwrap();
    desk.write("other.log", &String::from_utf8_lossy(&log).replace("GET", "HEAD"));
    desk.done(&["run", "other.yaml", "--until-end"]);
    fails(&desk, 2, &["\"web\" was made by another schema", "column \"status\"", "hint: "]);
    desk.write("web.yaml", &PIPELINE.replace("table: web", "table: web, partition_by: day(ts)"));
    fails(&desk, 2, &["partitioned by [], not by [\"ts_day\"]", "hint: "]);
    std::fs::remove_dir_all(desk.path().join("logmill-data")).unwrap();
    desk.write("web.yaml", PIPELINE);
    holds_everything(&desk);
}

#[test]
fn what_stands_in_the_place_of_a_table_is_named() {
    let desk = desk();
    let lake = desk.path().join("logmill-data/lake");
    std::fs::create_dir_all(&lake).unwrap();
    std::fs::write(lake.join("web"), "a file").unwrap();
    fails(&desk, 1, &["is a file, where the folder of the table should be", "hint: "]);
    std::fs::remove_file(lake.join("web")).unwrap();
    std::fs::create_dir_all(lake.join("web/_delta_log")).unwrap();
    let entry = lake.join("web/_delta_log/00000000000000000000.json");
    std::fs::write(&entry, "{not a log").unwrap();
    fails(&desk, 1, &["could not read lake table", "hint: "]);
    std::fs::remove_file(entry).unwrap();
    holds_everything(&desk);
}

#[test]
fn a_damaged_checkpoint_whose_epoch_nobody_holds_is_set_aside() {
    let desk = desk();
    // Killed after the third epoch was decided, before any sink committed it.
    let mut killed = desk.command(&["run", "web.yaml", "--until-end", "--quiet"]);
    let status = killed.env("LOGMILL_FAILPOINT", "decide.after:3").status().unwrap();
    assert_eq!(status.code(), None, "ended by SIGKILL");
    let newest = checkpoints(&desk).join("epoch-00000000000000000003");
    std::fs::write(newest, "damaged").unwrap();
    holds_everything(&desk);
}

#[test]
fn a_damaged_checkpoint_whose_epoch_a_sink_holds_stops_the_run() {
    let desk = desk();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let newest = newest_checkpoint(&desk);
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    let name = newest.file_name().unwrap().to_string_lossy();
    fails(&desk, 1, &[&name, "damaged", "hint: ", "restore the file from a backup"]);
    std::fs::write(&newest, whole).unwrap();
    holds_everything(&desk);
}

#[test]
fn a_lost_newest_checkpoint_stops_the_run_and_shows_in_the_audit() {
    let desk = desk();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let newest = newest_checkpoint(&desk);
    let kept = desk.path().join("kept");
    std::fs::rename(&newest, &kept).unwrap();
    fails(&desk, 2, &["where the checkpoints say", "restore the one that is missing"]);
    let audit = desk.run(&["audit", "web.yaml", "--format", "json"]);
    assert_eq!(audit.code, 3, "{}", audit.stderr);
    assert!(audit.json()["sinks"][0]["unexpected"].as_u64() > Some(0), "{}", audit.stdout);
    std::fs::rename(kept, newest).unwrap();
    holds_everything(&desk);
}

#[test]
fn lost_checkpoints_over_a_kept_lake_stop_the_run() {
    let desk = desk();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let kept = desk.path().join("kept");
    std::fs::rename(checkpoints(&desk), &kept).unwrap();
    fails(&desk, 2, &["of another history", "run --adopt"]);
    std::fs::remove_dir_all(checkpoints(&desk)).unwrap();
    std::fs::rename(&kept, checkpoints(&desk)).unwrap();
    holds_everything(&desk);
}

#[test]
fn a_table_that_was_removed_is_filled_as_the_operator_says() {
    let desk = desk();
    desk.write("web.yaml", &PIPELINE.replace("epoch: { bytes_max: 256KiB }\n", ""));
    let path = desk.path().join("access.log");
    let log = std::fs::read(&path).unwrap();
    let half: Vec<u8> =
        log.split_inclusive(|byte| *byte == b'\n').take(2_000).flatten().copied().collect();
    std::fs::write(&path, half).unwrap();
    desk.done(&["run", "web.yaml", "--until-end"]);
    std::fs::write(&path, &log).unwrap();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let rows = |condition: &str| {
        let sql = format!("SELECT count(*) AS rows FROM web WHERE {condition}");
        desk.done(&["query", &sql, "--format", "json"]).json()[0]["rows"].as_u64().unwrap()
    };
    let newest = rows("_epoch = 2");
    assert!(newest > 2_000 && newest < rows("true"), "{newest}");

    let table = desk.path().join("logmill-data/lake/web");
    let kept = desk.path().join("kept");
    std::fs::rename(&table, &kept).unwrap();
    fails(&desk, 2, &["holds nothing where the checkpoints say epoch 2", "--assume missing"]);
    let following = desk.run(&["run", "web.yaml", "--assume", "missing"]);
    assert_eq!(following.code, 2, "{}", following.stderr);
    // The newest epoch is delivered again, and only it.
    desk.done(&["run", "web.yaml", "--until-end", "--assume", "missing"]);
    assert_eq!((rows("true"), rows("_epoch = 2")), (newest, newest));

    std::fs::remove_dir_all(&table).unwrap();
    desk.done(&["run", "web.yaml", "--until-end", "--assume", "held"]);
    assert_eq!(rows("true"), 0, "nothing is delivered again");
    std::fs::remove_dir_all(&table).unwrap();
    std::fs::rename(&kept, &table).unwrap();
    fails(&desk, 2, &["holds epoch 2 where the checkpoints say nothing", "--assume held"]);
    desk.done(&["run", "web.yaml", "--until-end", "--assume", "held"]);
    holds_everything(&desk);
}

#[test]
fn a_file_of_the_lake_that_is_lost_is_named_by_split_and_range() {
    let desk = desk();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let folder = std::fs::read_dir(desk.path().join("logmill-data/lake/web")).unwrap();
    let files = folder.flatten().map(|entry| entry.path());
    let first = files.filter(|path| path.extension().is_some_and(|it| it == "parquet")).min();
    std::fs::remove_file(first.expect("a file")).unwrap();
    let ran = desk.run(&["audit", "web.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("is gone"), "{}", ran.stderr);
    let sink = &ran.json()["sinks"][0];
    let count = |name: &str| sink[name].as_u64().expect("a count");
    assert!(count("missing") > 0);
    assert_eq!(count("missing"), count("expected") - count("found"));
    let range = &sink["ranges"][0];
    assert!(range["split"].as_str().expect("a split").ends_with("access.log"), "{range}");
}

#[test]
fn a_run_that_is_asked_to_stop_says_so_and_the_next_one_goes_on() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let desk = desk();
        desk.write("web.yaml", &PIPELINE.replace("epoch: { ", "epoch: { interval: 50ms, "));
        let follows = desk.command(&["run", "web.yaml", "--quiet"]).stdout(Stdio::null()).spawn();
        let mut follows = follows.expect("the program starts");
        while !checkpoints(&desk).join("epoch-00000000000000000001").exists() {
            assert_eq!(follows.try_wait().expect("it runs"), None);
            std::thread::yield_now();
        }
        let id = follows.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        assert_eq!(follows.wait().unwrap().code(), Some(code));
        holds_everything(&desk);
    }
}

#[test]
fn hostile_lines_are_rows_or_dead_letters() {
    let desk = Desk::new();
    desk.write("web.yaml", &PIPELINE.replace("64KiB }", "64KiB, settle: 0ms }"));
    let line = |agent: &[u8], end: &str| {
        let start = "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"";
        [start.as_bytes(), agent, b"\"", end.as_bytes()].concat()
    };
    let lines = [
        line(b"plain", "\n"),
        line(b"carriage return", "\r\n"),
        line(b"nul \0 inside", "\n"),
        line(b"bad \xff\xfe text", "\n"),
        line("x".repeat(2 << 20).as_bytes(), "\n"),
        b"\0\0\0\n".to_vec(),
        b"\xff\xfe\xfd\n".to_vec(),
        b"\n\r\n".to_vec(),
        line(b"no end", ""),
    ];
    std::fs::write(desk.path().join("access.log"), lines.concat()).unwrap();
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = "SELECT user_agent AS agent, _lossy AS lossy FROM web ORDER BY _position";
    let rows = desk.done(&["query", sql, "--format", "ndjson"]).stdout;
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let agents: Vec<_> = rows.iter().map(|row| row["agent"].as_str().unwrap()).collect();
    let repaired = "bad \u{fffd}\u{fffd} text";
    assert_eq!(agents, ["plain", "carriage return", "nul \0 inside", repaired, "no end"]);
    let lossy: Vec<_> = rows.iter().map(|row| row["lossy"].as_bool().unwrap()).collect();
    assert_eq!(lossy, [false, false, false, true, false]);
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).json();
    let reasons: Vec<_> =
        letters.as_array().unwrap().iter().map(|letter| letter["reason"].as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().flatten().any(|reason| reason.contains("longer than 1MiB")));
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_format_that_cannot_be_written_is_refused_before_anything_runs() {
    let desk = desk();
    for format in ["csv", "parquet"] {
        let ran = desk.run(&["run", "web.yaml", "--until-end", "--format", format]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("this command does not write"), "{}", ran.stderr);
    }
    assert!(!desk.path().join("logmill-data").exists());
}

#[test]
fn rows_on_standard_output_stand_alone() {
    let desk = Desk::new();
    let stdio = "name: pass\nsources: { lines: { type: stdio } }\n\
                 sinks: { out: { type: stdio, input: lines, format: text } }\n";
    desk.write("pass.yaml", stdio);
    for arguments in [&["run", "pass.yaml", "--until-end"][..], &["run", "pass.yaml"]] {
        let ran = desk.run_with(arguments, "one\ntwo\n");
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "one\ntwo\n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("2 records read"), "{}", ran.stderr);
    }
}

#[test]
fn groups_for_which_memory_is_short_are_made_with_less_of_it() {
    let desk = Desk::new();
    desk.done(&["generate", "access-log", "--rows", "100000", "-o", "access.log"]);
    let sql = "SELECT count(*) AS groups FROM (SELECT DISTINCT endpoint, ip, user_agent, ts FROM \
               log('access.log', 'combined'))";
    let plenty = desk.done(&["query", sql, "--format", "json"]).json();
    let little = desk.done(&["query", sql, "--format", "json", "--memory", "48MiB"]).json();
    assert!(plenty[0]["groups"].as_u64() > Some(90_000), "{plenty}");
    assert_eq!(plenty, little);
}
