//! Programs that never outlive us.
//!
//! Each runs under a small shell that holds the reading end of a pipe. The pipe closes when we
//! end, even by SIGKILL, and the shell then stops the program by its pid.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const GUARD: &str = include_str!("texts/guard.sh");
const ONCE: &str = include_str!("texts/once.sh");
/// A network that stands still must not hold up a whole run; building MinIO takes minutes.
const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Lines of a log that explain a failure.
const TAIL_LINES: usize = 20;

/// A server that runs until this is dropped.
pub struct Guard {
    shell: Child,
    folder: PathBuf,
}

impl Guard {
    /// Starts a server, whose log and pid go to `log` and `pid` in this folder.
    pub fn start(folder: &Path, signal: &str, command: &Command) -> Result<Self, String> {
        use std::os::unix::process::CommandExt;
        let mut guarded = shell(GUARD);
        guarded.arg(folder).arg(signal);
        take_over(&mut guarded, command);
        // A terminal's Ctrl-C is for us alone; the servers stop in good order.
        guarded.current_dir(folder).process_group(0).stdin(Stdio::piped());
        let shell = guarded.spawn().map_err(|error| format!("could not start sh: {error}"))?;
        Ok(Self { shell, folder: folder.to_owned() })
    }

    /// Waits for a condition, as long as the server lives.
    pub fn wait_until(&mut self, ready: &dyn Fn() -> bool, limit: Duration) -> Result<(), String> {
        let until = Instant::now() + limit;
        while !ready() {
            let ended = self.shell.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() {
                return Err(format!("it ended; its log ends with\n{}", self.log()));
            }
            if Instant::now() > until {
                let seconds = limit.as_secs();
                return Err(format!(
                    "no answer after {seconds} s; its log ends with\n{}",
                    self.log()
                ));
            }
            std::thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Lets it stop; dropping waits for the end.
    pub fn begin_stop(&mut self) {
        drop(self.shell.stdin.take());
    }

    fn log(&self) -> String {
        tail(&self.folder.join("log"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.begin_stop();
        // Nothing is left to do if the shell cannot be waited for.
        let _ = self.shell.wait();
    }
}

/// Runs a program to its end; what it printed explains a failure.
pub fn run(command: &Command, log: &Path) -> Result<(), String> {
    let program = command.get_program().to_string_lossy();
    match end(command, log, INSTALL_LIMIT)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{program} failed ({status}):\n{}", tail(log))),
        None => {
            let minutes = INSTALL_LIMIT.as_secs() / 60;
            Err(format!("{program} did not end within {minutes} minutes:\n{}", tail(log)))
        }
    }
}

/// Runs a program, whose output goes to a log, to its end; none where it was stopped at the limit.
pub fn end(command: &Command, log: &Path, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let program = command.get_program().to_string_lossy();
    let failed = |error| format!("could not start {program}: {error}");
    let output = std::fs::File::create(log).map_err(failed)?;
    let mut guarded = shell(ONCE);
    // Installations leave the processors to the build beside them.
    guarded.args(["nice", "-n", "10"]);
    take_over(&mut guarded, command);
    guarded.stdin(Stdio::piped()).stderr(output.try_clone().map_err(failed)?).stdout(output);
    let mut child = guarded.spawn().map_err(failed)?;
    // It closes when we return, which stops whatever still runs.
    let pipe = child.stdin.take();
    let status = wait(&mut child, limit).map_err(failed);
    drop(pipe);
    status
}

/// The end of a child; none after the limit.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > until {
            return Ok(ended);
        }
        std::thread::sleep(POLL_EVERY);
    }
}

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]);
    shell
}

/// Makes the wrapped command an argument list of the wrapper.
fn take_over(wrapper: &mut Command, command: &Command) {
    wrapper.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Guard, run};

    const LIMIT: Duration = Duration::from_secs(20);

    fn pid(folder: &std::path::Path) -> Option<String> {
        let text = std::fs::read_to_string(folder.join("pid")).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    }

    fn lives(pid: &str) -> bool {
        Command::new("kill").args(["-0", pid]).output().expect("kill starts").status.success()
    }

    fn fresh(name: &str) -> std::path::PathBuf {
        let base = std::env::temp_dir().join(format!("guard-{name}-{}", std::process::id()));
        let folder = base.join("server");
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn a_dropped_guard_leaves_neither_server_nor_folder() {
        let folder = fresh("dropped");
        let mut guard = Guard::start(&folder, "TERM", &sleeper()).expect("it starts");
        guard.wait_until(&|| pid(&folder).is_some(), LIMIT).expect("it runs");
        let pid = pid(&folder).expect("a pid");
        assert!(lives(&pid));
        drop(guard);
        assert!(!lives(&pid) && !folder.parent().expect("a base").exists());
    }

    #[test]
    fn a_killed_server_starts_again() {
        let folder = fresh("killed");
        let mut guard = Guard::start(&folder, "TERM", &sleeper()).expect("it starts");
        guard.wait_until(&|| pid(&folder).is_some(), LIMIT).expect("it runs");
        let first = pid(&folder).expect("a pid");
        assert!(Command::new("kill").args(["-9", &first]).status().expect("kill").success());
        let again = || pid(&folder).is_some_and(|now| now != first && lives(&now));
        guard.wait_until(&again, LIMIT).expect("it runs again");
    }

    #[test]
    fn a_server_that_ends_is_not_waited_for() {
        let folder = fresh("ended");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such disk; exit 3"]);
        let mut guard = Guard::start(&folder, "TERM", &command).expect("it starts");
        let begun = Instant::now();
        let error = guard.wait_until(&|| false, LIMIT).expect_err("it ended");
        assert!(error.contains("no such disk") && begun.elapsed() < LIMIT, "{error}");
        drop(guard);
        let base = folder.parent().expect("a base");
        std::fs::remove_dir_all(base).expect("the folder stayed for its log");
    }

    #[test]
    fn a_failed_program_is_explained_by_what_it_printed() {
        let folder = fresh("once");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no network; exit 5"]);
        let error = run(&command, &folder.join("log")).expect_err("it fails");
        assert!(error.contains("no network") && error.contains('5'), "{error}");
        std::fs::remove_dir_all(folder.parent().expect("a base")).expect("the folder");
    }
}
