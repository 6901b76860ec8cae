//! Kills a program at every point and at many random moments; `cargo xtask crash` runs it.

#![allow(clippy::panic, reason = "a proof fails by panicking")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::kill::{KillProof, points};
use testkit::program::Killed;

/// Kills that one run of the pipeline takes before it is left in peace.
const KILLS_PER_RUN: usize = 20;

/// What to kill, and how often.
#[derive(Parser)]
struct Crash {
    /// The program to kill.
    program: PathBuf,
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

fn main() -> ExitCode {
    match run(&Crash::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(difference) => {
            eprintln!("{difference}");
            ExitCode::FAILURE
        }
    }
}

/// Kills the program again and again; prints a line per proof.
fn run(crash: &Crash) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let proof = KillProof::new(&crash.program, folder.path(), crash.rows, 16 << 20);
    let expected = proof.undisturbed();
    println!("undisturbed: {}", expected.join(" "));
    for point in points() {
        let (killed, found) = proof.kill_at(point, 1);
        if killed == Killed::No || found != expected {
            return Err(format!("killed at {point}: {killed:?}, found {}", found.join(" ")));
        }
        println!("killed at {point}: each record once, audit complete");
    }
    let whole = proof.measure();
    let mut moments = StdRng::seed_from_u64(crash.seed);
    let mut struck = 0;
    let mut runs = 0;
    while struck < crash.kills {
        let pauses: Vec<Duration> = (0..KILLS_PER_RUN.min(crash.kills - struck))
            .map(|_| whole.mul_f64(moments.random_range(0.01..0.5)))
            .collect();
        let (kills, found) = proof.kill_after(&pauses);
        if found != expected {
            return Err(format!("after {kills} kills: {}", found.join(" ")));
        }
        struck += kills;
        runs += 1;
        println!("killed {kills} times at random moments: each record once, audit complete");
    }
    println!(
        "{struck} kills at random moments in {runs} runs of {} lines: none lost, none doubled",
        crash.rows
    );
    Ok(())
}
