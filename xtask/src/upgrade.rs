//! `cargo xtask upgrade`: folders of an earlier program under this one, and of this one under the
//! earlier one, with real servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::services::Installation;
use crate::steps::{cargo, root, step, target};

/// The last program that wrote checkpoints in layout 1.
const COMMIT: &str = "f9136772a7e6ba88188087f6e894de40b738e6da";
/// The servers that its pipelines need.
const SERVERS: [&str; 2] = ["kafka", "postgres"];

/// Which program is the earlier one.
#[derive(Args)]
pub struct Options {
    /// The earlier program; built of the history of this repository by default, which takes as long
    /// as a build from nothing.
    #[arg(long)]
    before: Option<PathBuf>,
}

/// Builds the earlier program and runs the tests that need it.
///
/// # Errors
/// A build fails, or a folder does not go on as it must.
pub fn run(options: &Options) -> Result<(), String> {
    let before = match &options.before {
        Some(program) => std::path::absolute(program).map_err(|error| error.to_string())?,
        None => built()?,
    };
    let servers = Installation::begin(&SERVERS)?.finish()?.start(&SERVERS)?;
    let mut tests = cargo(["test", "--workspace", "--test", "cli", "before_"]);
    tests.args(["--", "--nocapture", "--test-threads", "1"]).env("LOGMILL_BEFORE", before);
    tests.env("REQUIRE_SERVICES", "1");
    tests.envs(servers.variables.iter().map(|(name, value)| (name, value)));
    step("upgrade", tests)
}

/// The earlier program, in a folder of its own beside what is built here.
fn built() -> Result<PathBuf, String> {
    let folder = target("before");
    let program = folder.join("target/debug/logmill");
    if program.is_file() {
        return Ok(program);
    }
    let source = folder.join("source");
    if !source.join("Cargo.toml").is_file() {
        step("earlier source", checkout(&source))?;
    }
    let mut build = cargo(["build", "--workspace", "--bin", "logmill"]);
    build.current_dir(&source).env("CARGO_TARGET_DIR", folder.join("target"));
    step("earlier program", build)?;
    Ok(program)
}

fn checkout(source: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(root())
        .args(["worktree", "add", "--force", "--detach"])
        .arg(source)
        .arg(COMMIT);
    git
}
