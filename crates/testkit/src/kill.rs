//! The real program, killed with SIGKILL and started again, until it comes to its end.
//!
//! The same log goes once through an undisturbed run and then through killed ones; afterwards
//! lake and dead letters must hold the same, each record once, and `audit` must agree.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::failpoint::Passed;

use crate::crash;
use crate::program::{Killed, Program};

/// What an undisturbed run leaves behind; every killed one must leave the same.
const FINGERPRINTS: &[&str] = &[
    "SELECT count(*) AS rows, count(DISTINCT _position) AS records, sum(status) AS status, \
     sum(bytes) AS bytes, min(ts) AS first, max(ts) AS last FROM requests",
    "SELECT count(*) AS rows, count(DISTINCT position) AS records, sum(length(reason)) AS reasons \
     FROM dead_letters",
];

/// Further settings of a sink, each with a comma before it; asked for anew for each run that begins
/// from nothing.
pub type Sink = Box<dyn Fn() -> String>;

/// A pipeline file, its input, and the program to kill.
pub struct KillProof {
    program: Program,
    epoch_bytes: u64,
    sink: Sink,
}

impl KillProof {
    /// Prepares a folder: `access.log` with `rows` lines, one in a hundred broken, for a pipeline
    /// into the embedded lake whose epochs end every `epoch_bytes`.
    ///
    /// # Panics
    /// The folder cannot be written, or the program cannot generate a log.
    pub fn new(program: &Path, folder: &Path, rows: u64, epoch_bytes: u64) -> Self {
        let program = Program::new(program, folder);
        let log = File::create(folder.join("access.log")).expect("a log file");
        let status = program
            .command(&["generate", "access-log", "--seed", "7", "--broken", "0.01"])
            .args(["--rows", &rows.to_string()])
            .stdout(log)
            .status()
            .expect("the program starts");
        assert!(status.success(), "the log is generated");
        Self { program, epoch_bytes, sink: Box::new(String::new) }
    }

    /// The same with a log in combined format that is there already.
    ///
    /// # Panics
    /// It cannot be copied into the folder.
    pub fn over(program: &Path, folder: &Path, log: &Path, epoch_bytes: u64) -> Self {
        std::fs::copy(log, folder.join("access.log")).expect("a copy of the log");
        let program = Program::new(program, folder);
        Self { program, epoch_bytes, sink: Box::new(String::new) }
    }

    /// The same with further settings of the lake sink, such as another place.
    #[must_use]
    pub fn with_sink(self, sink: Sink) -> Self {
        Self { sink, ..self }
    }

    /// An empty folder for data, and a pipeline file for what begins in it.
    fn fresh(&self, name: &str) -> PathBuf {
        let (epoch_bytes, sink) = (self.epoch_bytes, (self.sink)());
        let pipeline = format!(
            "name: requests\nepoch: {{ interval: 1h, bytes_max: {epoch_bytes}B }}\n\
             sources:\n  access: {{ type: file, paths: [access.log], block_bytes: 256KiB }}\n\
             transforms:\n  parsed: {{ type: parse, input: access, format: combined }}\n\
             sinks:\n  lake: {{ type: lake, input: parsed, table: requests{sink} }}\n"
        );
        let file = self.program.folder().join("pipeline.yaml");
        std::fs::write(file, pipeline).expect("a pipeline file");
        self.program.fresh(name)
    }

    /// What an undisturbed run leaves behind.
    ///
    /// # Panics
    /// The run fails, or `audit` finds anything.
    pub fn undisturbed(&self) -> Vec<String> {
        let data = self.fresh("undisturbed");
        self.program.finish(&data);
        self.fingerprints(&data)
    }

    /// Kills at the `n`th pass of a point, then finishes.
    ///
    /// # Panics
    /// A start fails, or `audit` finds anything.
    pub fn kill_at(&self, point: &str, n: u64) -> (Killed, Vec<String>) {
        let data = self.fresh("point");
        let failpoint = format!("{point}:{n}");
        let killed = self.program.start(&data, Some(&failpoint)).killed();
        self.program.finish(&data);
        (killed, self.fingerprints(&data))
    }

    /// Kills between the decision of an epoch and its commits, then at a point while the next
    /// start repairs that, then finishes.
    ///
    /// # Panics
    /// As for [`KillProof::kill_at`]; or the first kill does not strike.
    pub fn kill_in_recovery(&self, point: &str) -> (Killed, Vec<String>) {
        let data = self.fresh("recovery");
        let first = self.program.start(&data, Some("decide.after:2")).killed();
        assert_eq!(first, Killed::Yes, "an epoch is decided");
        let killed = self.program.start(&data, Some(&format!("{point}:1"))).killed();
        self.program.finish(&data);
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
            match self.program.start(&data, None).kill_after(*pause) {
                Killed::Yes => struck += 1,
                Killed::No => break,
            }
        }
        self.program.finish(&data);
        (struck, self.fingerprints(&data))
    }

    /// Every point that a run of one process with a lake passes.
    pub fn points(&self) -> Vec<String> {
        let points = crash::points(&[Passed::First, Passed::Start, Passed::Epoch]);
        points.map(str::to_owned).chain(self.lake_points()).collect()
    }

    /// Points inside the lake's own steps.
    pub fn lake_points(&self) -> Vec<String> {
        self.program.failpoints("lake", Passed::Epoch)
    }

    /// Points that a start passes while it finishes an epoch that was decided before a kill: it
    /// commits, and prepares nothing.
    pub fn recovery_points(&self) -> Vec<String> {
        let points = crash::points(&[Passed::Start, Passed::Recovery]).map(str::to_owned);
        points.chain(self.lake_commits()).collect()
    }

    /// Points inside the lake's commits.
    pub fn lake_commits(&self) -> Vec<String> {
        let points = self.lake_points().into_iter();
        points.filter(|point| point.contains(".commit.")).collect()
    }

    /// How long an undisturbed run takes, to choose moments within it.
    ///
    /// # Panics
    /// The run fails.
    pub fn measure(&self) -> Duration {
        let data = self.fresh("measured");
        let begun = Instant::now();
        self.program.finish(&data);
        begun.elapsed()
    }

    fn fingerprints(&self, data: &Path) -> Vec<String> {
        let ask = |query: &&str| self.program.ask(data, &["query", query, "--format", "json"]);
        FINGERPRINTS.iter().map(ask).collect()
    }
}
