//! One bad file never holds back the others: what a user sees of it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Pid, Signal, getuid, kill_process};
use testkit::wait;

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

const PIPELINE: &str = "\
name: isolated
epoch: { interval: 100ms }
sources:
  access: { type: file, paths: [\"logs/*\"] }
sinks:
  lake: { type: lake, input: access, table: lines }
";

/// A folder with the pipeline and `logs`.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("p.yaml", PIPELINE);
    fs::create_dir(desk.path().join("logs")).unwrap();
    desk
}

impl Desk {
    /// The program, without the right to read what it may not.
    fn without_rights(&self, arguments: &[&str]) -> Command {
        let plain = self.command(arguments);
        if !getuid().is_root() {
            return plain;
        }
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(plain.get_program());
        command.args(plain.get_args()).current_dir(self.path());
        command.env_remove("LOGMILL_DATA").env_remove("LOGMILL_LOG").env_remove("LOGMILL_SECRETS");
        command.env_remove("LOGMILL_LOG_FORMAT").env_remove("LOGMILL_SERVICE");
        command
    }

    /// Follows with so few descriptors.
    fn follow_within(&self, descriptors: u32) -> Follows {
        let program = self.command(&["run", "p.yaml"]);
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(program.get_program());
        command.args(program.get_args()).current_dir(self.path()).env_remove("LOGMILL_DATA");
        let told = File::create(self.path().join("told")).expect("a file can be made");
        Follows(command.stdout(Stdio::null()).stderr(told).spawn().expect("it starts"))
    }

    /// The rows, and how many of them are different records.
    fn counted(&self) -> String {
        let query = "SELECT count(*), count(DISTINCT _split || '@' || _position) FROM lines";
        self.run(&["query", "-f", "csv", query]).stdout
    }

    fn may_read(&self, name: &str, mode: u32) {
        let path = self.path().join("logs").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.path().join("logs").join(name);
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Lines in the table, by file.
    fn lines(&self) -> Vec<String> {
        let query = "SELECT _split, count(*), count(DISTINCT _position) FROM lines GROUP BY _split";
        let ran = self.run(&["query", "-f", "csv", query]);
        let root = format!("{}/logs/", self.path().canonicalize().unwrap().display());
        let rows = ran.stdout.lines().skip(1).map(|row| row.replace(&root, ""));
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    }

    fn wait_for(&self, what: &str, expect: &[&str]) {
        wait::until(what, LIMIT, || (self.lines() == expect).then_some(()));
    }
}

/// A run that follows, and dies with the test.
struct Follows(Child);

impl Follows {
    fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }

    fn stop(mut self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::INT).expect("it lives");
        assert_eq!(self.0.wait().unwrap().code(), Some(130));
    }
}

impl Drop for Follows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bad_file_is_named_and_the_others_are_complete() {
    let desk = desk();
    desk.append("a.log", "one\ntwo\n");
    desk.append("b.log", "three\n");
    desk.may_read("b.log", 0o000);
    symlink("loop", desk.path().join("logs/loop")).unwrap();
    symlink("nowhere", desk.path().join("logs/dangling")).unwrap();
    fs::create_dir(desk.path().join("logs/folder")).unwrap();
    let made = Command::new("mkfifo").arg(desk.path().join("logs/pipe")).status().unwrap();
    assert!(made.success());
    let check = desk.without_rights(&["check", "p.yaml"]).output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success(), "{said}");
    assert!(said.contains("could not read") && said.contains("b.log\": Permission"), "{said}");
    assert!(said.contains("passes over") && said.contains("pipe: it is a named pipe"), "{said}");

    let run = ["run", "p.yaml", "--until-end", "--format", "json"];
    let ran = desk.without_rights(&run).output().unwrap();
    let (said, told) =
        (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(told.contains("b.log"), "{told}");
    assert_eq!(desk.lines(), ["a.log,2,2"]);
    let summary: serde_json::Value = serde_json::from_str(&said).expect("the closing object");
    let unread = summary["unread"].as_array().unwrap();
    let state = |name: &str| {
        let one = unread.iter().find(|one| one["split"].as_str().unwrap().ends_with(name));
        one.map(|one| one["state"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    let states = ["b.log", "loop", "dangling", "pipe", "folder"].map(state);
    assert_eq!(states, ["broken", "passed_over", "passed_over", "passed_over", ""]);
    desk.done(&["audit", "p.yaml"]);

    desk.may_read("b.log", 0o644);
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.lines(), ["a.log,2,2", "b.log,1,1"]);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn a_file_that_is_given_back_while_it_is_followed_is_read_from_where_it_was() {
    let desk = desk();
    desk.append("a.log", "one\n");
    desk.append("b.log", "two\n");
    let follows = Follows::start(desk.without_rights(&["run", "p.yaml"]));
    desk.wait_for("both are read", &["a.log,1,1", "b.log,1,1"]);
    desk.append("c.log", "three\n");
    desk.may_read("c.log", 0o000);
    desk.append("a.log", "four\n");
    desk.wait_for("the others go on", &["a.log,2,2", "b.log,1,1"]);
    desk.may_read("c.log", 0o644);
    desk.append("b.log", "five\n");
    desk.wait_for("it is read, too", &["a.log,2,2", "b.log,2,2", "c.log,1,1"]);
    follows.stop();
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn what_lies_before_the_end_of_a_torn_archive_is_committed_and_the_rest_comes_later() {
    let desk = desk();
    desk.append("live.log", "one\n");
    let lines: String = (0..20_000).map(|line| format!("line {line} of an archive\n")).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = desk.path().join("logs/old.log.gz");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let ran = desk.run(&["run", "p.yaml", "--until-end"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("old.log.gz"), "{}", ran.stderr);
    assert!(ran.stdout.contains("not read to its end"), "{}", ran.stdout);
    let before = desk.lines();
    assert_eq!(before[0], "live.log,1,1");
    assert!(before[1].starts_with("old.log.gz,") && before[1] != "old.log.gz,20000,20000");
    desk.done(&["audit", "p.yaml"]);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.lines(), ["live.log,1,1", "old.log.gz,20000,20000"]);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn what_waits_is_said_in_every_form_and_when_a_run_is_stopped() {
    let desk = desk();
    desk.write("p.yaml", &PIPELINE.replace("[\"logs/*\"]", "[\"logs/*\"], settle: 1h"));
    desk.append("a.log", "one\ntwo");
    let waits = "a.log: its last line has no end yet: 3 bytes wait at position 4";
    let ran = desk.done(&["run", "p.yaml", "--until-end"]);
    assert!(ran.stdout.contains(waits), "{}", ran.stdout);
    let ran = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]);
    assert_eq!(ran.json()["unread"][0]["state"], "waiting");
    let check = desk.done(&["check", "p.yaml"]);
    assert!(check.stdout.contains(waits), "{}", check.stdout);
    let check = desk.done(&["check", "p.yaml", "--format", "json"]).json();
    assert_eq!(check["sources"][0]["unread"][0]["state"], "waiting");

    desk.append("b.log", "three\nfour");
    let mut command = desk.command(&["run", "p.yaml"]);
    let told = File::create(desk.path().join("told")).expect("a file can be made");
    let follows = Follows(command.stdout(told).stderr(Stdio::null()).spawn().expect("it starts"));
    desk.wait_for("the whole line is read", &["a.log,1,1", "b.log,1,1"]);
    follows.stop();
    let told = fs::read_to_string(desk.path().join("told")).unwrap();
    let waits = [waits, "b.log: its last line has no end yet: 4 bytes wait at position 6"];
    assert!(waits.iter().all(|waits| told.contains(waits)), "{told}");

    desk.append("a.log", " more\n");
    desk.append("b.log", "\n");
    let ran = desk.done(&["run", "p.yaml", "--until-end", "--format", "json"]);
    assert_eq!(ran.json()["unread"].as_array().map(Vec::len), Some(0), "{}", ran.stdout);
    let check = desk.done(&["check", "p.yaml"]);
    assert!(!check.stdout.contains("wait at"), "{}", check.stdout);
}

#[test]
fn an_archive_that_is_cut_off_is_told_once_while_it_is_followed() {
    let desk = desk();
    let lines: String = (0..20_000).map(|line| format!("line {line} of an archive\n")).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = desk.path().join("logs/old.log.gz");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let follows = desk.follow_within(256);
    const WAITS: &str = "its compressed form is not complete yet";
    let noted = || desk.done(&["check", "p.yaml"]).stdout.contains(WAITS);
    wait::until("it is noted beside the checkpoints", LIMIT, || noted().then_some(()));
    desk.append("live.log", "one\n");
    wait::until("the others go on", LIMIT, || {
        desk.lines().contains(&"live.log,1,1".to_owned()).then_some(())
    });
    let told = fs::read_to_string(desk.path().join("told")).unwrap();
    assert_eq!(told.matches(WAITS).count(), 1, "{told}");
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    desk.wait_for("the rest is read", &["live.log,1,1", "old.log.gz,20000,20000"]);
    wait::until("nothing waits any more", LIMIT, || (!noted()).then_some(()));
    follows.stop();
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn a_longer_copy_comes_in_the_run_that_reads_what_it_repeats() {
    let desk = desk();
    let lines: String = (0..200).map(|line| format!("line {line} of a log\n")).collect();
    desk.append("b.log", &lines);
    desk.done(&["run", "p.yaml", "--until-end"]);
    desk.append("b.log", "one\ntwo\n");
    desk.append("b.log.new", &format!("{lines}one\ntwo\nthree\n"));
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.lines(), ["b.log,202,202", "b.log.new,1,1"]);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn archives_of_other_kinds_are_named_and_the_logs_beside_them_are_read() {
    let desk = desk();
    desk.append("a.log", "one\n");
    fs::write(desk.path().join("logs/b.zip"), b"PK\x03\x04\x14\0\0\0two\n").unwrap();
    let check = desk.done(&["check", "p.yaml"]);
    assert!(check.stdout.contains("b.zip\": it is a zip"), "{}", check.stdout);
    assert!(check.stdout.contains("it is a zip archive, and no log"), "{}", check.stdout);
    let ran = desk.run(&["run", "p.yaml", "--until-end", "--format", "json"]);
    assert_eq!((ran.code, &ran.json()["unread"][0]["state"]), (1, &"broken".into()));
    assert!(ran.stderr.contains("unpack it, or leave it out"), "{}", ran.stderr);
    assert_eq!(desk.lines(), ["a.log,1,1"]);
    let sql = "SELECT count(*) FROM log('logs/*', 'text')";
    let ran = desk.run(&["query", "-f", "csv", sql]);
    assert!(ran.stderr.contains("it is a zip archive"), "{}", ran.stderr);
    assert!(ran.stderr.contains("unzip -p FILE"), "{}", ran.stderr);
    let ran = desk.run_with(&["look", "-"], b"PK\x03\x04\x14\0\0\0two\n");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("it is a zip archive"), "{}", ran.stderr);
    assert!(ran.stderr.contains("unzip -p FILE | logmill"), "{}", ran.stderr);
}

#[test]
fn a_path_without_a_pattern_stays_strict() {
    let desk = desk();
    desk.write("p.yaml", &PIPELINE.replace("logs/*", "logs/a.log"));
    desk.append("a.log", "one\n");
    desk.may_read("a.log", 0o000);
    let ran = desk.without_rights(&["run", "p.yaml", "--until-end"]).output().unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(told.contains("p.yaml:4:") && told.contains("a.log"), "{told}");
}

#[test]
fn more_files_than_descriptors_are_followed() {
    const FILES: usize = 1_300;
    let desk = desk();
    for number in 0..FILES {
        desk.append(&format!("{number}.log"), "one\n");
    }
    let follows = desk.follow_within(256);
    let rows = |rows: usize| desk.counted().ends_with(&format!("\n{rows},{rows}\n"));
    wait::until("every file is read", LIMIT, || rows(FILES).then_some(()));
    for number in (0..FILES).step_by(13) {
        desk.append(&format!("{number}.log"), "two\n");
    }
    wait::until("every new line is read", LIMIT, || rows(FILES + FILES / 13).then_some(()));
    follows.stop();
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn last_lines_without_end_come_when_more_files_wait_than_can_be_open() {
    const FILES: usize = 200;
    let desk = desk();
    desk.write("p.yaml", &PIPELINE.replace("[\"logs/*\"]", "[\"logs/*\"], settle: 1s"));
    for number in 0..FILES {
        desk.append(&format!("{number}.log"), &format!("one {number}\ntwo"));
    }
    let follows = desk.follow_within(80);
    let rows = |rows: usize| desk.counted().ends_with(&format!("\n{rows},{rows}\n"));
    wait::until("every last line is read", LIMIT, || rows(2 * FILES).then_some(()));
    follows.stop();
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn last_lines_without_end_keep_no_place_until_an_epoch_ends_by_the_clock() {
    const FILES: usize = 100;
    let desk = desk();
    let pipeline = PIPELINE.replace("[\"logs/*\"]", "[\"logs/*\"], settle: 1s");
    desk.write("p.yaml", &pipeline.replace("interval: 100ms", "interval: 1h"));
    for number in 0..FILES {
        desk.append(&format!("{number}.log"), "one");
    }
    let follows = desk.follow_within(40);
    // Those that have places when nobody waits any more keep theirs until the epoch ends.
    wait::until("most lines are read", LIMIT, || {
        let rows = desk.lines().len();
        (rows >= FILES * 3 / 4).then_some(())
    });
    follows.stop();
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert!(desk.counted().ends_with(&format!("\n{FILES},{FILES}\n")));
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn what_was_not_read_of_a_file_that_is_removed_while_it_rests_is_named() {
    const FILES: usize = 100;
    let desk = desk();
    let settings = "[\"logs/*\"], settle: 1h, rotate_wait: 100ms";
    desk.write("p.yaml", &PIPELINE.replace("[\"logs/*\"]", settings));
    for number in 0..FILES {
        desk.append(&format!("{number}.log"), "one\ntwo");
    }
    let follows = desk.follow_within(40);
    let rows = || {
        let counted = desk.counted();
        counted.lines().nth(1)?.split_once(',')?.0.parse::<usize>().ok()
    };
    wait::until("the whole lines are read", LIMIT, || (rows() == Some(FILES)).then_some(()));
    for number in 0..FILES {
        fs::remove_file(desk.path().join(format!("logs/{number}.log"))).unwrap();
    }
    let named = || {
        let told = fs::read_to_string(desk.path().join("told")).unwrap();
        let is_lost = |line: &&str| line.contains("removed before") && line.contains("end=7");
        told.lines().filter(is_lost).filter(|line| line.contains("position=4")).count()
    };
    wait::until("each is read or named", LIMIT, || {
        (rows().is_some_and(|rows| rows + named() == 2 * FILES)).then_some(())
    });
    assert!(named() >= FILES / 2, "most of them rested");
    follows.stop();
    assert_eq!(rows().map(|rows| rows + named()), Some(2 * FILES), "named once");
}

#[test]
fn brackets_in_names_are_no_patterns_where_such_names_are_there() {
    let desk = desk();
    fs::create_dir(desk.path().join("logs/old [1]")).unwrap();
    desk.append("old [1]/a.log", "one\n");
    desk.write("p.yaml", &PIPELINE.replace("logs/*", "logs/old [1]/*.log"));
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.lines(), ["old [1]/a.log,1,1"]);
}
