//! An archive that grows is gone on with where it was read to, wherever the process dies.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::wait;

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

const PIPELINE: &str = "\
name: growing
epoch: { interval: 100ms }
sources:
  access: { type: file, paths: ['a.log.gz'] }
sinks:
  lake: { type: lake, input: access, table: lines }
";

/// Somebody who writes one member, and flushes behind each piece.
struct Archive<'d> {
    desk: &'d Desk,
    encoder: flate2::write::GzEncoder<Vec<u8>>,
    lines: usize,
}

impl<'d> Archive<'d> {
    fn new(desk: &'d Desk) -> Self {
        let level = flate2::Compression::fast();
        Self { desk, encoder: flate2::write::GzEncoder::new(Vec::new(), level), lines: 0 }
    }

    fn path(&self) -> std::path::PathBuf {
        self.desk.path().join("a.log.gz")
    }

    fn append(&mut self, lines: usize) {
        for number in self.lines..self.lines + lines {
            writeln!(self.encoder, "{number} of many lines that are written one by one").unwrap();
        }
        self.lines += lines;
        self.encoder.flush().unwrap();
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(&std::mem::take(self.encoder.get_mut())).unwrap();
    }

    /// Damages what was read: whoever inflates it again finds another file there.
    fn damage(&self) {
        let file = OpenOptions::new().write(true).open(self.path()).unwrap();
        file.write_all_at(&[0xff; 64], 5_000).unwrap();
    }
}

/// A run that follows, and dies with the test.
struct Follows(Child);

impl Follows {
    fn start(desk: &Desk, point: Option<&str>) -> Self {
        let mut command = desk.command(&["run", "p.yaml"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(point.map(|point| ("LOGMILL_FAILPOINT", point)));
        Self(command.spawn().unwrap())
    }

    fn has_died(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(130));
    }
}

impl Drop for Follows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Follows until the table has all lines, each once.
fn follow(desk: &Desk, lines: usize, point: &str) {
    let run = Follows::start(desk, None);
    let sql = "SELECT count(*), count(DISTINCT message) FROM lines";
    let expect = format!("{lines},{lines}");
    wait::until(&format!("{lines} lines, {point}"), LIMIT, || {
        let ran = desk.run(&["query", "-f", "csv", sql]);
        (ran.stdout.lines().nth(1) == Some(&expect)).then_some(())
    });
    run.stop();
}

#[test]
fn killed_anywhere_a_long_member_is_not_inflated_again() {
    for point in ["inflate.before:1", "inflate.after:1", "decide.after:1", "commit.sink.after:1"] {
        let desk = Desk::new();
        desk.write("p.yaml", PIPELINE);
        let mut archive = Archive::new(&desk);
        archive.append(40_000);
        follow(&desk, archive.lines, point);
        // More than lies between two points.
        archive.append(20_000);
        let mut killed = Follows::start(&desk, Some(point));
        wait::until(point, LIMIT, || killed.has_died().then_some(()));
        archive.damage();
        archive.append(10);
        follow(&desk, archive.lines, point);
        let known = desk.done(&["splits", "list", "p.yaml", "-f", "json"]).json();
        assert_eq!(known["splits"].as_array().unwrap().len(), 1, "{point}: {known}");
        let audit = desk.done(&["audit", "p.yaml", "--format", "json"]).json();
        assert_eq!(audit["complete"], true, "{point}: {audit}");
        let kept = fs::read_dir(desk.path().join("logmill-data/checkpoints/growing/_inflate/main"));
        let kept = kept.unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(kept.into_iter().all(|bytes| bytes <= 33 << 10), "{point}: kept of one file");
    }
}
