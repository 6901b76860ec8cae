//! What each chore runs, in order.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::times::Times;
use crate::{dashboard, python, services};

/// Format, lints, tests, the dashboard. What the tests need is installed while cargo compiles.
/// Afterwards, also where something failed, it says what took how long.
pub fn test() -> Result<(), String> {
    let started = Instant::now();
    let mut times = Times::default();
    let outcome = all(&mut times);
    times.print();
    outcome?;
    println!("xtask: everything holds, after {} s", started.elapsed().as_secs());
    Ok(())
}

fn all(times: &mut Times) -> Result<(), String> {
    times.step("format", cargo(["fmt", "--all", "--check"]))?;
    let python = python::start()?;
    let servers = services::Installation::begin(&services::all())?;
    let dashboard = dashboard::begin();
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    times.step("lints", cargo(lints))?;
    times.step("build", cargo(["test", "--workspace", "--no-run"]))?;
    let waiting = Instant::now();
    let python = python.finish()?;
    let servers = servers.finish()?.start(&services::all())?;
    times.add("servers", waiting.elapsed());
    // One failure does not hide the others: the rest runs, and cargo names at its end what failed.
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    // An absent service fails a test here, instead of leaving it out.
    tests.env("REQUIRE_SERVICES", "1").env("LOGMILL_PYTHON", python);
    tests.envs(servers.variables.iter().map(|(name, value)| (name, value)));
    let tested = times.tests("tests", tests);
    drop(servers);
    let looked = dashboard.check(&target("debug").join("logmill"), times);
    tested.and(looked)
}

/// Runs at full size what tests run at a tenth on every change, in the released program.
pub fn whole() -> Result<(), String> {
    let mut tests = cargo(["test", "--release", "--workspace", "at_a_tenth"]);
    tests.args(["--", "--nocapture", "--test-threads", "1"]).env("LOGMILL_WHOLE", "1");
    step("whole", tests)
}

/// Fails if a generated page is stale.
pub fn check_docs() -> Result<(), String> {
    step("docs", docs())
}

/// Writes the generated pages.
pub fn write_docs() -> Result<(), String> {
    let mut docs = docs();
    docs.env("LOGMILL_DOCS", "write");
    step("docs", docs)
}

/// The test that knows the pages. Over the whole workspace, so that cargo builds no dependency
/// again with the features of one package.
fn docs() -> Command {
    cargo(["test", "--workspace", "--test", "docs"])
}

/// The cargo that runs us, at the root of the checkout.
pub fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    // What the cargo that runs us says of this package, build scripts of others take for news, and
    // half of all dependencies would be built again.
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// A folder of what cargo built, such as that of a profile.
pub fn target(folder: &str) -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || root().join("target"),
        |chosen| std::path::absolute(&chosen).unwrap_or_else(|_| chosen.into()),
    );
    chosen.join(folder)
}

/// Runs a command to its end, with its output going where ours goes.
pub fn step(name: &str, command: Command) -> Result<(), String> {
    Times::default().step(name, command)
}
