//! The chores of this repository: `cargo xtask test`, `cargo xtask services`, `cargo xtask docs`,
//! `cargo xtask dashboard`, `cargo xtask proof`, `cargo xtask crash`, `cargo xtask fuzz`,
//! `cargo xtask whole`, `cargo xtask upgrade`, `cargo xtask bench`.
//!
//! Starts cargo and what the tests need. Stops at the first step that fails, but runs all tests,
//! those of the dashboard included. What is checked stands in tests, so that plain `cargo test`
//! checks it too.

mod bench;
mod crash;
mod dashboard;
mod fuzz;
mod proof;
mod python;
mod services;
mod steps;
mod times;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

/// The chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Runs all that must hold: format, lints, and every test with what it needs installed.
    Test,
    /// Starts the servers that tests talk to, and prints where they are.
    Services(services::Options),
    /// Writes docs/settings.md and docs/pipeline.schema.json from the types.
    Docs {
        /// Writes nothing; fails if a page is stale.
        #[arg(long)]
        check: bool,
    },
    /// Checks the dashboard: types, format, unit tests, and its use in a headless Chromium.
    Dashboard,
    /// Tries the program on cases and real data that lie outside of the repository.
    Proof(proof::Options),
    /// Kills the released program at every point and at random moments.
    Crash(crash::Options),
    /// Gives the sources any bytes: each of them must stand in one record, dead letter or gap.
    Fuzz(fuzz::Options),
    /// Runs at full size what tests run at a tenth, and prints the figures.
    Whole,
    /// Tries folders of an earlier program in this one, and of this one in the earlier one.
    Upgrade(upgrade::Options),
    /// Measures the released program, and other programs beside it.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Chore::parse() {
        Chore::Test => steps::test(),
        Chore::Services(options) => services::run(&options),
        Chore::Docs { check: true } => steps::check_docs(),
        Chore::Docs { check: false } => steps::write_docs(),
        Chore::Dashboard => dashboard::run(),
        Chore::Proof(options) => proof::run(&options),
        Chore::Crash(options) => crash::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Whole => steps::whole(),
        Chore::Upgrade(options) => upgrade::run(&options),
        Chore::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
