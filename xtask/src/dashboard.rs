//! The checks of the dashboard: types, format, unit tests, and a headless Chromium that uses it
//! against the program that was just built.
//!
//! Works on a copy, so that nothing that npm makes ends up in the checkout.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use crate::services::browser;
use crate::steps::{cargo, root, step, target};
use crate::times::Times;

/// Folders that are made, not written.
const MADE: [&str; 2] = ["node_modules", "dist"];

/// A running installation of what the checks need.
pub struct Installation {
    thread: JoinHandle<Result<PathBuf, String>>,
}

/// Builds the program and checks the dashboard with it.
pub fn run() -> Result<(), String> {
    let installation = begin();
    step("build", cargo(["build", "--workspace", "--bins"]))?;
    installation.check(&target("debug").join("logmill"), &mut Times::default())
}

/// Starts the installation.
pub fn begin() -> Installation {
    Installation { thread: std::thread::spawn(|| browser::install(&root().join("dashboard"))) }
}

impl Installation {
    /// Waits until it is done, then checks the dashboard, also against this program.
    pub fn check(self, program: &Path, times: &mut Times) -> Result<(), String> {
        let installed =
            self.thread.join().map_err(|_| "the installation of npm's packages died")?;
        let copy = Copy::make(&installed?)?;
        times.step("dashboard", npm(&copy, &["run", "check"]))?;
        let mut used = npm(&copy, &["run", "test:browser"]);
        used.env("LOGMILL_PROGRAM", program);
        times.step("dashboard in Chromium", used)
    }
}

fn npm(copy: &Copy, arguments: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(&copy.folder);
    npm
}

/// A copy of the dashboard beside its packages; goes when it is dropped.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn make(installed: &Path) -> Result<Self, String> {
        let name = format!("logmill-dashboard-{}", std::process::id());
        let copy = Self { folder: std::env::temp_dir().join(name) };
        let failed = |error: io::Error| format!("could not copy the dashboard: {error}");
        copy_folder(&root().join("dashboard"), &copy.folder).map_err(failed)?;
        symlink(installed.join("node_modules"), copy.folder.join("node_modules"))
            .map_err(failed)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A copy that stays in the temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies the sources alone. The build script of `api` has the like: it cannot use this crate,
/// and a crate of its own would cost more than these lines.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if MADE.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ())?,
        }
    }
    Ok(())
}
