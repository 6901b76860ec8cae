//! `cargo xtask fuzz`: the tests of any bytes, released, with more inputs than a test has time for.

use clap::Args;

use crate::steps::{cargo, step};

/// How many inputs, and which.
#[derive(Args)]
pub struct Options {
    /// Inputs in memory; beside them a twentieth as many growing gzip streams are tried, and a
    /// thousandth as many histories of files.
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// The first input; others follow it. A failure names the one that repeats it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the tests, which print how many inputs they tried.
///
/// # Errors
/// An input failed, or the build did.
pub fn run(options: &Options) -> Result<(), String> {
    // The program is built too, so that its dependencies have the features that they have there.
    let mut tests = cargo([
        "test",
        "--release",
        "-p",
        "formats",
        "-p",
        "connector-file",
        "-p",
        "logmill",
        "--test",
        "bytes",
        "--test",
        "folders",
        "--test",
        "gzip",
        "--",
        "--nocapture",
    ]);
    tests.env("LOGMILL_FUZZ_CASES", options.cases.to_string());
    tests.env("LOGMILL_FUZZ_SEED", options.seed.to_string());
    step("any bytes", tests)
}
