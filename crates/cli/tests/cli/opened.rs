//! Files that were read and did not change are not opened again, and nothing is lost by that.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use testkit::wait;

use crate::Desk;
use crate::metrics::{Server, value};

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

const PIPELINE: &str = "\
name: opened
epoch: { interval: 100ms }
sources:
  access: { type: file, paths: [\"logs/*\"] }
sinks:
  lake: { type: lake, input: access, table: lines }
";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("p.yaml", PIPELINE);
    fs::create_dir(desk.path().join("logs")).unwrap();
    desk
}

impl Desk {
    /// Writes a line behind a file, which was last written a day ago unless somebody follows it.
    fn line(&self, name: &str, text: &str) -> File {
        let path = self.path().join("logs").join(name);
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{text}\n").as_bytes()).unwrap();
        file
    }

    fn old_line(&self, name: &str, text: &str) {
        let day = Duration::from_secs(24 * 3600);
        self.line(name, text).set_modified(SystemTime::now() - day).unwrap();
    }

    /// All rows of the table.
    fn rows(&self) -> usize {
        let ran = self.run(&["query", "-f", "csv", "SELECT count(*) FROM lines"]);
        ran.stdout.lines().nth(1).and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    /// A run that follows and shows what it counts.
    fn follows(&self) -> Server {
        Server::start(self.command(&["run", "p.yaml", "--metrics", "127.0.0.1:0"]))
    }
}

/// The sum of a counter of the source.
fn counted(server: &Server, name: &str) -> f64 {
    let series = format!("{name}{{pipeline=\"opened\",source=\"access\",connector=\"file\"}}");
    value(&server.get("/metrics").unwrap(), &series).unwrap_or_default()
}

fn opened(server: &Server) -> f64 {
    counted(server, "logmill_source_splits_opened_total")
}

fn read(server: &Server) -> f64 {
    counted(server, "logmill_source_read_records_total")
}

#[test]
fn what_was_read_and_did_not_change_is_not_opened_by_the_next_start() {
    const FILES: usize = 2_000;
    let desk = desk();
    for number in 0..FILES {
        desk.old_line(&format!("{number}.log"), "one");
    }
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), FILES);
    let server = desk.follows();
    desk.line("7.log", "two");
    wait::until("the new line", LIMIT, || (read(&server) == 1.0).then_some(()));
    assert_eq!(opened(&server), 1.0, "the others rest as they are");
    assert_eq!(server.stop(), 143);
    // What was written a moment ago could change without a trace, so it is opened once more.
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), FILES + 1);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn files_that_were_just_written_rest_once_a_start_found_them_unchanged() {
    let desk = desk();
    for number in 0..3 {
        desk.line(&format!("{number}.log"), "one");
    }
    desk.done(&["run", "p.yaml", "--until-end"]);
    let now = SystemTime::now();
    let has_settled = || now.elapsed().is_ok_and(|age| age > Duration::from_secs(3));
    wait::until("the clock of the file system", LIMIT, || has_settled().then_some(()));
    desk.done(&["run", "p.yaml", "--until-end"]);
    let server = desk.follows();
    desk.line("new.log", "one");
    wait::until("the new file", LIMIT, || (read(&server) == 1.0).then_some(()));
    assert_eq!(opened(&server), 1.0, "a start without records keeps what it found, too");
    assert_eq!(server.stop(), 143);
}

#[test]
fn a_line_without_end_is_looked_at_by_every_start() {
    let desk = desk();
    let settle = |settle: &str| {
        let settings = format!("[\"logs/*\"], settle: {settle}");
        desk.write("p.yaml", &PIPELINE.replace("[\"logs/*\"]", &settings));
    };
    settle("1h");
    let path = desk.path().join("logs/torn.log");
    fs::write(&path, "one\ntwo").unwrap();
    let before = SystemTime::now() - Duration::from_secs(600);
    File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), 1);
    // Nothing about the file changes, but for how long it stood so.
    settle("1m");
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), 2);
}

/// A run that stands still at a failpoint.
struct Standing(Child);

impl Standing {
    fn at(desk: &Desk, failpoint: &str, descriptors: u32, arguments: &[&str]) -> Self {
        let program = desk.command(arguments);
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).arg(program.get_program()).args(program.get_args());
        command.current_dir(desk.path()).env_remove("LOGMILL_DATA");
        command.env("LOGMILL_FAILPOINT", format!("{failpoint}:1:stop"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let standing = Self(child);
        let stat = format!("/proc/{}/stat", standing.0.id());
        wait::until("it stands still", LIMIT, || {
            fs::read_to_string(&stat).ok()?.contains(") T ").then_some(())
        });
        standing
    }

    fn goes_on(&self) {
        kill_process(Pid::from_child(&self.0), Signal::CONT).unwrap();
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_written_while_a_reader_leaves_comes() {
    const FILES: usize = 60;
    let desk = desk();
    for number in 0..FILES {
        desk.old_line(&format!("{number}.log"), "one");
    }
    let run = Standing::at(&desk, "reader.leaves", 40, &["run", "p.yaml"]);
    // One of them is at its end, and does not look any more.
    for number in 0..FILES {
        desk.line(&format!("{number}.log"), "last");
    }
    run.goes_on();
    wait::until("every last line", LIMIT, || (desk.rows() == 2 * FILES).then_some(()));
    drop(run);
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), 2 * FILES);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn what_is_written_while_the_last_epoch_ends_comes_with_the_next_start() {
    let desk = desk();
    desk.old_line("a.log", "one");
    let mut run = Standing::at(&desk, "barrier.paused", 256, &["run", "p.yaml", "--until-end"]);
    desk.line("a.log", "last");
    run.goes_on();
    assert_eq!(run.0.wait().unwrap().code(), Some(0));
    assert_eq!(desk.rows(), 1);
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), 2);
}

#[test]
fn a_file_that_goes_right_after_its_last_line_is_read_to_its_end() {
    let desk = desk();
    desk.old_line("a.log", "one");
    let server = desk.follows();
    wait::until("the first line", LIMIT, || (read(&server) == 1.0).then_some(()));
    desk.line("a.log", "last");
    fs::remove_file(desk.path().join("logs/a.log")).unwrap();
    wait::until("the last line", LIMIT, || (read(&server) == 2.0).then_some(()));
    assert_eq!(server.stop(), 143);
    assert_eq!(desk.rows(), 2);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn a_file_that_an_attempt_found_and_did_not_commit_is_read() {
    let desk = desk();
    desk.old_line("a.log", "one");
    desk.done(&["run", "p.yaml", "--until-end"]);
    desk.old_line("b.log", "one");
    // The epoch in which it was found is dropped with the process.
    let run = Standing::at(&desk, "decide.before", 256, &["run", "p.yaml", "--until-end"]);
    drop(run);
    assert_eq!(desk.rows(), 1);
    desk.done(&["run", "p.yaml", "--until-end"]);
    assert_eq!(desk.rows(), 2);
    desk.done(&["audit", "p.yaml"]);
}

#[test]
fn as_many_files_as_the_system_allows_may_be_open() {
    let desk = desk();
    desk.old_line("a", "one");
    let ours = desk.command(&["run", "p.yaml", "--metrics", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\""]);
    command.arg(ours.get_program()).args(ours.get_args()).current_dir(desk.path());
    // It listens once it has begun.
    let server = Server::start(command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = files.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let [soft, hard] = numbers[..] else { panic!("{files}") };
    assert!(hard > 64, "nothing can be raised here: {files}");
    assert_eq!(soft, hard.min(1 << 20));
}
