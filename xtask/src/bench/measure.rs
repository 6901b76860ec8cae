//! Runs programs and says what they cost.
//!
//! Python's `wait4` tells the processor time and the memory of exactly one process, and so do we.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps;

const MEASURE: &str = include_str!("measure.py");
const BESIDE: &str = include_str!("beside.py");
const SHELL: &str = include_str!("shell.py");
const GEOIP: &str = include_str!("geoip.py");

/// What a run of a program cost.
#[derive(Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub seconds: f64,
    /// User and system time of all threads.
    pub cpu_seconds: f64,
    /// The most memory that was resident at once.
    pub memory_bytes: f64,
}

impl Cost {
    /// How many cores were busy on average.
    pub fn cores(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }
}

/// The run of several that took the least processor time. A run may meet memory that the machine
/// has to fetch first, which costs it as much again; the best of several does not.
pub fn best(rounds: usize, mut run: impl FnMut() -> Result<Cost, String>) -> Result<Cost, String> {
    let mut best = run()?;
    for _ in 1..rounds {
        let cost = run()?;
        if cost.cpu_seconds < best.cpu_seconds {
            best = cost;
        }
    }
    Ok(best)
}

/// The programs that measure and are measured, and a folder for what they write.
pub struct Tools {
    python: PathBuf,
    folder: PathBuf,
    logmill: PathBuf,
}

impl Tools {
    /// Prepares the folder under cargo's own.
    pub fn new(python: PathBuf) -> Result<Self, String> {
        let folder = steps::target("bench");
        fs::create_dir_all(&folder)
            .map_err(|error| format!("could not create {}: {error}", folder.display()))?;
        let tools = Self { python, logmill: steps::target("release").join("logmill"), folder };
        tools.write("measure.py", MEASURE)?;
        tools.write("beside.py", BESIDE)?;
        tools.write("shell.py", SHELL)?;
        Ok(tools)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        fs::write(&path, text)
            .map_err(|error| format!("could not write {}: {error}", path.display()))?;
        Ok(path)
    }

    /// A new, empty folder of this name in the folder.
    pub fn fresh_folder(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("could not remove {}: {error}", path.display()))
            }
            _ => Ok(path),
        }
    }

    /// Runs logmill; its answer goes to the file `answer` in the folder.
    pub fn logmill(&self, arguments: &[&OsStr]) -> Result<Cost, String> {
        self.cost(&self.logmill, arguments)
    }

    /// Runs another program that was built with ours.
    pub fn beside(&self, program: &str, arguments: &[&OsStr]) -> Result<Cost, String> {
        self.cost(&self.logmill.with_file_name(program), arguments)
    }

    /// Runs any program.
    pub fn run(&self, program: &Path, arguments: &[&OsStr]) -> Result<Cost, String> {
        self.cost(program, arguments)
    }

    /// The program that is measured.
    pub fn program(&self) -> &Path {
        &self.logmill
    }

    /// Runs a script in Python.
    pub fn python(&self, arguments: &[&OsStr]) -> Result<Cost, String> {
        self.cost(&self.python, arguments)
    }

    /// Runs what DuckDB does beside us, as a process.
    pub fn duckdb(&self, arguments: &[&OsStr]) -> Result<Cost, String> {
        let script = self.path("beside.py");
        let with_script: Vec<_> =
            [script.as_os_str()].into_iter().chain(arguments.iter().copied()).collect();
        self.python(&with_script)
    }

    /// A made-up GeoIP database.
    pub fn geoip(&self) -> Result<PathBuf, String> {
        let script = self.write("geoip.py", GEOIP)?;
        let database = self.path("made-up.mmdb");
        self.python(&[script.as_os_str(), database.as_os_str()])?;
        Ok(database)
    }

    /// The seconds that DuckDB says one of its queries took.
    pub fn duckdb_seconds(&self, arguments: &[&OsStr]) -> Result<f64, String> {
        self.duckdb(arguments)?;
        let [seconds] = self.answer()?;
        Ok(seconds)
    }

    /// The seconds that the SQL shell says a query took over the lake of a data folder: the
    /// quickest of several in one shell.
    pub fn shell_seconds(&self, sql: &str, data: &Path) -> Result<f64, String> {
        let script = self.path("shell.py");
        let (sql, program) = (OsStr::new(sql), self.logmill.as_os_str());
        let shell = [OsStr::new("query"), OsStr::new("--data"), data.as_os_str()];
        self.python(&[&[script.as_os_str(), sql, program], &shell[..]].concat())?;
        let [seconds] = self.answer()?;
        Ok(seconds)
    }

    /// The figures that the last program printed.
    pub fn answer<const N: usize>(&self) -> Result<[f64; N], String> {
        let answer = fs::read_to_string(self.path("answer")).unwrap_or_default();
        let figures = answer.split_whitespace().map(|figure| figure.parse().ok());
        let figures: Option<Vec<f64>> = figures.collect();
        let figures = figures.and_then(|figures| figures.try_into().ok());
        figures.ok_or_else(|| format!("expected {N} figures, not {answer:?}"))
    }

    /// Runs a program that may not be installed.
    pub fn if_installed(
        &self,
        program: &str,
        arguments: &[&OsStr],
    ) -> Result<Option<Cost>, String> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders).map(|folder| folder.join(program));
        match found.into_iter().find(|path| path.is_file()) {
            Some(path) => self.cost(&path, arguments).map(Some),
            None => Ok(None),
        }
    }

    fn cost(&self, program: &Path, arguments: &[&OsStr]) -> Result<Cost, String> {
        let mut command = Command::new(&self.python);
        command.arg(self.path("measure.py")).arg(self.path("answer"));
        command.arg(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command
            .output()
            .map_err(|error| format!("could not start {}: {error}", self.python.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let figures: Vec<f64> =
            said.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        match (output.status.success(), figures.as_slice()) {
            (true, &[seconds, cpu_seconds, memory_bytes]) => {
                Ok(Cost { seconds, cpu_seconds, memory_bytes })
            }
            _ => Err(format!("{} {arguments:?} failed ({})", program.display(), output.status)),
        }
    }
}
