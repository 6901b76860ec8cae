//! A folder for one attempt, and what programs said in it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::services::guard;

/// How much later than the program itself the whole is stopped.
const GRACE: Duration = Duration::from_secs(30);
/// What `timeout` ends with at its limit.
const TIMED_OUT: i32 = 124;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A folder of its own, which goes when it is dropped.
pub struct Scratch {
    folder: PathBuf,
    limit: Duration,
}

/// What a program left behind.
pub struct Said {
    /// How it ended; none after a signal.
    pub code: Option<i32>,
    /// What it printed, errors too.
    pub text: String,
}

impl Scratch {
    /// An empty folder, for programs that end within a limit.
    pub fn new(limit: Duration) -> Result<Self, String> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("logmill-proof-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)
            .map_err(|error| format!("could not create {}: {error}", folder.display()))?;
        Ok(Self { folder, limit })
    }

    /// A file in it.
    pub fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let file = self.folder.join(name);
        fs::write(&file, text)
            .map_err(|error| format!("could not write {}: {error}", file.display()))
    }

    /// Runs a program in it, with its data there too.
    pub fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Result<Said, String> {
        // What a script started ends with it.
        let mut command = Command::new("timeout");
        command.arg("--kill-after=10").arg(self.limit.as_secs().to_string()).arg(program);
        command.args(arguments).current_dir(&self.folder).envs(variables.iter().copied());
        command.env("LOGMILL_DATA", self.folder.join("data")).env("NO_COLOR", "1");
        let log = self.folder.join("said");
        let status = guard::end(&command, &log, self.limit + GRACE)?;
        let text = fs::read(&log).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Said { code: status.and_then(|status| status.code()), text })
    }
}

impl Said {
    /// The output of a program that ended with one of these exit codes.
    ///
    /// # Errors
    /// It ended otherwise, with what it said.
    pub fn ended(self, codes: &[i32]) -> Result<String, String> {
        let how = match self.code {
            Some(code) if codes.contains(&code) => return Ok(self.text),
            Some(TIMED_OUT) | None => "it was stopped, because it did not end".to_owned(),
            Some(code) => format!("it ended with {code}"),
        };
        Err(format!("{how}\n{}", self.text.trim_end()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays among temporary ones does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
