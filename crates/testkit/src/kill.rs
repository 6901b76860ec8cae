//! The real program, killed with SIGKILL and started again, until it comes to its end.
//!
//! The same log goes once through an undisturbed run and then through killed ones; afterwards
//! lake and dead letters must hold the same, each record once, and `audit` must agree.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::crash::POINTS;

/// Points inside the lake's own steps, beside those of the runtime.
pub const LAKE_POINTS: &[&str] = &[
    "lake.prepare.before_files",
    "lake.prepare.after_files",
    "lake.commit.before",
    "lake.commit.after",
];

/// A start that takes longer than this hangs.
const START_LIMIT: Duration = Duration::from_secs(900);
/// How often a child is asked whether it has ended.
const POLL_EVERY: Duration = Duration::from_millis(2);

/// What an undisturbed run leaves behind; every killed one must leave the same.
const FINGERPRINTS: &[&str] = &[
    "SELECT count(*) AS rows, count(DISTINCT _position) AS records, sum(status) AS status, \
     sum(bytes) AS bytes, min(ts) AS first, max(ts) AS last FROM requests",
    "SELECT count(*) AS rows, count(DISTINCT position) AS records, sum(length(reason)) AS reasons \
     FROM dead_letters",
];

/// A pipeline file, its input, and the program to kill.
pub struct KillProof {
    program: PathBuf,
    folder: PathBuf,
}

/// What a kill did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// The process died of SIGKILL.
    Yes,
    /// It had ended before.
    No,
}

impl KillProof {
    /// Prepares a folder: `access.log` with `rows` lines, one in a hundred broken, and a pipeline
    /// into the lake whose epochs end every `epoch_bytes`.
    ///
    /// # Panics
    /// The folder cannot be written, or the program cannot generate a log.
    pub fn new(program: &Path, folder: &Path, rows: u64, epoch_bytes: u64) -> Self {
        let proof = Self { program: program.to_owned(), folder: folder.to_owned() };
        let log = File::create(folder.join("access.log")).expect("a log file");
        let status = proof
            .command(&["generate", "access-log", "--seed", "7", "--broken", "0.01"])
            .args(["--rows", &rows.to_string()])
            .stdout(log)
            .status()
            .expect("the program starts");
        assert!(status.success(), "the log is generated");
        let pipeline = format!(
            "name: requests\nepoch: {{ interval: 1h, bytes_max: {epoch_bytes}B }}\n\
             sources:\n  access: {{ type: file, paths: [access.log], block_bytes: 256KiB }}\n\
             transforms:\n  parsed: {{ type: parse, input: access, format: combined }}\n\
             sinks:\n  lake: {{ type: lake, input: parsed, table: requests }}\n"
        );
        std::fs::write(folder.join("pipeline.yaml"), pipeline).expect("a pipeline file");
        proof
    }

    /// What an undisturbed run leaves behind.
    ///
    /// # Panics
    /// The run fails, or `audit` finds anything.
    pub fn undisturbed(&self) -> Vec<String> {
        let data = self.fresh("undisturbed");
        self.finish(&data);
        self.fingerprints(&data)
    }

    /// Kills at the `n`th pass of a point, then finishes.
    ///
    /// # Panics
    /// A start fails, or `audit` finds anything.
    pub fn kill_at(&self, point: &str, n: u64) -> (Killed, Vec<String>) {
        let data = self.fresh("point");
        let failpoint = format!("{point}:{n}");
        let mut child = self.start(&data, Some(&failpoint));
        let killed = killed(wait(&mut child));
        self.finish(&data);
        (killed, self.fingerprints(&data))
    }

    /// Kills after each of these pauses in turn, then finishes. Returns how many kills struck.
    ///
    /// # Panics
    /// As for [`KillProof::kill_at`].
    pub fn kill_after(&self, pauses: &[Duration]) -> (usize, Vec<String>) {
        let data = self.fresh("moments");
        let mut struck = 0;
        for pause in pauses {
            let mut child = self.start(&data, None);
            let until = Instant::now() + *pause;
            while Instant::now() < until && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(POLL_EVERY);
            }
            // A process that has just ended cannot be killed any more, which is fine.
            let _ = child.kill();
            match killed(wait(&mut child)) {
                Killed::Yes => struck += 1,
                Killed::No => break,
            }
        }
        self.finish(&data);
        (struck, self.fingerprints(&data))
    }

    /// How long an undisturbed run takes, to choose moments within it.
    ///
    /// # Panics
    /// The run fails.
    pub fn measure(&self) -> Duration {
        let data = self.fresh("measured");
        let begun = Instant::now();
        self.finish(&data);
        begun.elapsed()
    }

    fn fresh(&self, name: &str) -> PathBuf {
        let data = self.folder.join(name);
        if data.exists() {
            std::fs::remove_dir_all(&data).expect("an old folder goes away");
        }
        data
    }

    /// Runs to the end, then audits.
    fn finish(&self, data: &Path) {
        let mut child = self.start(data, None);
        let status = wait(&mut child);
        assert!(status.success(), "a start after a kill ends well: {status}");
        let audit = self.command(&["audit", "pipeline.yaml", "--format", "json"]);
        let report = output(audit, data);
        assert!(report.replace(' ', "").contains("\"complete\":true"), "audit: {report}");
    }

    fn fingerprints(&self, data: &Path) -> Vec<String> {
        let queries = FINGERPRINTS.iter().map(|query| {
            let command = self.command(&["query", query, "--format", "json"]);
            output(command, data)
        });
        queries.collect()
    }

    fn start(&self, data: &Path, failpoint: Option<&str>) -> Child {
        let mut command = self.command(&["run", "pipeline.yaml", "--until-end", "--quiet"]);
        command.env("LOGMILL_DATA", data).stdout(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("LOGMILL_FAILPOINT", failpoint);
        }
        command.spawn().expect("the program starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("LOGMILL_FAILPOINT").env_remove("LOGMILL_DATA");
        command
    }
}

/// Every point of one process with a lake.
pub fn points() -> impl Iterator<Item = &'static str> {
    POINTS.iter().chain(LAKE_POINTS).copied()
}

fn output(mut command: Command, data: &Path) -> String {
    let output = command.env("LOGMILL_DATA", data).output().expect("the program starts");
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        command.get_args(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn killed(status: ExitStatus) -> Killed {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(9) => Killed::Yes,
        _ => {
            assert!(status.success(), "a start that is not killed ends well: {status}");
            Killed::No
        }
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + START_LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > until {
            // The panic tells; whether the kill strikes does not matter.
            let _ = child.kill();
            panic!("a start hangs");
        }
        std::thread::sleep(POLL_EVERY);
    }
}
