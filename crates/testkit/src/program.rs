//! The real program as a child: started, killed, waited for, asked.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use contract::failpoint::Passed;
use serde_json::Value;

use crate::wait;

/// A start that takes longer than this hangs.
const START_LIMIT: Duration = Duration::from_secs(900);
/// A clean stop that takes longer hangs.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The program, in a folder with `pipeline.yaml`.
pub struct Program {
    path: PathBuf,
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

impl Program {
    /// The program at a path, which runs in a folder.
    ///
    /// # Panics
    /// It is not there.
    pub fn new(path: &Path, folder: &Path) -> Self {
        // It runs elsewhere, so a relative path would lead nowhere.
        let path = path.canonicalize().expect("the program is there");
        Self { path, folder: folder.to_owned() }
    }

    /// Where it runs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder for its data, empty.
    ///
    /// # Panics
    /// An old one does not go away.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let data = self.folder.join(name);
        if data.exists() {
            std::fs::remove_dir_all(&data).expect("an old folder goes away");
        }
        data
    }

    /// The program with arguments, and nothing of our environment that would disturb it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("LOGMILL_FAILPOINT").env_remove("LOGMILL_DATA");
        command
    }

    /// Starts the pipeline, to run to the end that its sources have now.
    ///
    /// # Panics
    /// The program does not start.
    pub fn start(&self, data: &Path, failpoint: Option<&str>) -> Running {
        let mut command = self.command(&["run", "pipeline.yaml", "--until-end", "--quiet"]);
        command.env("LOGMILL_DATA", data).stdout(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("LOGMILL_FAILPOINT", failpoint);
        }
        Running::spawn(&mut command)
    }

    /// Starts the pipeline, to follow its sources until it is stopped.
    ///
    /// # Panics
    /// The program does not start.
    pub fn follow(&self, data: &Path) -> Running {
        let mut command = self.command(&["run", "pipeline.yaml", "--quiet"]);
        command.env("LOGMILL_DATA", data).stdout(Stdio::null());
        Running::spawn(&mut command)
    }

    /// Runs the pipeline to its end, then audits it.
    ///
    /// # Panics
    /// The run fails, or `audit` finds anything.
    pub fn finish(&self, data: &Path) {
        let status = self.start(data, None).wait();
        assert!(status.success(), "a start after a kill ends well: {status}");
        self.audit(data);
    }

    /// Audits the pipeline.
    ///
    /// # Panics
    /// It finds anything.
    pub fn audit(&self, data: &Path) {
        let report = self.ask(data, &["audit", "pipeline.yaml", "--format", "json"]);
        assert!(report.replace(' ', "").contains("\"complete\":true"), "audit: {report}");
    }

    /// The points of a connector's own that are passed so, as the program names them.
    ///
    /// # Panics
    /// There is no such connector.
    pub fn failpoints(&self, connector: &str, passed: Passed) -> Vec<String> {
        let shown = self.ask(self.folder(), &["connectors", connector, "--format", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let points = shown["failpoints"].as_array().expect("a list of points").iter();
        let passed = serde_json::to_value(passed).expect("JSON");
        let points = points.filter(|point| point["passed"] == passed);
        points.map(|point| point["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// What a command prints.
    ///
    /// # Panics
    /// The command fails.
    pub fn ask(&self, data: &Path, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let output = command.env("LOGMILL_DATA", data).output().expect("the program starts");
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A start of a program. Dropped, it is killed.
pub struct Running(Child);

impl Running {
    /// Starts any program.
    ///
    /// # Panics
    /// It does not start.
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program starts"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(START_LIMIT).expect("the program comes to an end")
    }

    /// Waits for its end; `None` after the limit.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn wait_for(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait::up_to(limit, || self.0.try_wait().expect("a child can be waited for"))
    }

    /// Waits until it has killed itself at a failpoint, or has ended without passing it.
    ///
    /// # Panics
    /// It ends in any other way.
    pub fn killed(mut self) -> Killed {
        killed(self.wait())
    }

    /// Kills it after a pause, unless it ends before.
    ///
    /// # Panics
    /// It ends in any other way than well.
    pub fn kill_after(mut self, pause: Duration) -> Killed {
        if self.wait_for(pause).is_none() {
            self.signal("KILL");
        }
        killed(self.wait())
    }

    /// Asks it to end, unless it has ended, and waits for that.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(ended) = self.wait_for(Duration::ZERO) {
            return ended;
        }
        self.signal("TERM");
        self.wait_for(STOP_LIMIT).expect("a program that is told to end ends")
    }

    /// Waits until it was put to sleep, by itself or by SIGSTOP.
    ///
    /// # Panics
    /// It goes on.
    pub fn wait_until_it_sleeps(&self) {
        let stat = format!("/proc/{}/stat", self.0.id());
        wait::until("it goes to sleep", START_LIMIT, || {
            std::fs::read_to_string(&stat).expect("it runs").contains(") T ").then_some(())
        });
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Panics
    /// There is no program that sends signals.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("`kill` starts").success(), "SIG{name} is sent");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in a proof that went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
