//! `cargo xtask crash`: builds the release and kills it, at every point and at random moments.

use std::path::PathBuf;

use clap::Args;

use crate::steps::{cargo, root, step};

/// What to kill, and how often.
#[derive(Args)]
pub struct Options {
    /// Kills at random moments, beside one at each point.
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Lines of the log, one in a hundred of them broken.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds the program and the one that kills it, then lets them meet.
///
/// # Errors
/// A build fails, or a record was lost or doubled.
pub fn run(options: &Options) -> Result<(), String> {
    step("release", cargo(["build", "--release", "--workspace", "--bins"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from).join("release");
    let mut crash = std::process::Command::new(target.join("crash"));
    crash
        .arg(target.join("logmill"))
        .args(["--kills", &options.kills.to_string()])
        .args(["--rows", &options.rows.to_string()])
        .args(["--seed", &options.seed.to_string()]);
    step("crash", crash)
}
