//! Kills a program at every point and at many random moments; `cargo xtask crash` runs it.

#![allow(clippy::panic, reason = "a proof fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use testkit::kill::KillProof;
use testkit::program::Killed;
use testkit::stream::others::{Found, Kills, Site, TOOLS, Target, Trial};
use testkit::stream::servers::{Called, Way};
use testkit::stream::{Layout, StreamProof, places};

/// Kills that one run of a log takes before it is left in peace.
const KILLS_PER_RUN: u32 = 20;
/// Records that flow between two kills at points, of a stream.
const ROWS_PER_POINT: u64 = 10_000;
const EPOCH_BYTES: u64 = 16 << 20;
/// Epochs that a log takes which is named.
const EPOCHS_OF_LOG: u64 = 10;

/// What to kill, and how often.
#[derive(Parser)]
struct Crash {
    /// The program to kill.
    program: PathBuf,
    /// What flows through it.
    #[arg(value_enum)]
    subject: Subject,
    /// Kills at random moments, beside one at each point.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Records, one in a hundred of them broken.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// The log, in combined format, instead of one that is made up.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long an outage lasts.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The connectors by which a stream goes; by all of them at once by default.
    #[arg(long, value_delimiter = ',', value_parser = places())]
    places: Vec<String>,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What flows.
#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// A log file, into the lake.
    Log,
    /// Four partitions of Kafka, into real servers.
    Stream,
    /// The same into Kafka and PostgreSQL, which is away for long.
    Outage,
    /// Whole records into Kafka, then into PostgreSQL, by other programs too.
    Others,
}

fn main() -> ExitCode {
    let crash = Crash::parse();
    let outcome = match crash.subject {
        Subject::Log => log(&crash),
        Subject::Stream => stream(&crash),
        Subject::Outage => outage(&crash),
        Subject::Others => others(&crash),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(difference) => {
            eprintln!("{difference}");
            ExitCode::FAILURE
        }
    }
}

/// Kills the program again and again; prints a line per proof.
fn log(crash: &Crash) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let proof = match &crash.log {
        None => KillProof::new(&crash.program, folder.path(), crash.rows, EPOCH_BYTES),
        Some(log) => {
            let bytes = std::fs::metadata(log).map_err(|error| error.to_string())?.len();
            KillProof::over(&crash.program, folder.path(), log, bytes / EPOCHS_OF_LOG)
        }
    };
    let expected = proof.undisturbed();
    println!("undisturbed: {}", expected.join(" "));
    for point in proof.points() {
        let (killed, found) = proof.kill_at(&point, 1);
        if killed == Killed::No || found != expected {
            return Err(format!("killed at {point}: {killed:?}, found {}", found.join(" ")));
        }
        println!("killed at {point}: each record once, audit complete");
    }
    for point in proof.recovery_points() {
        let (killed, found) = proof.kill_in_recovery(&point);
        if killed == Killed::No || found != expected {
            return Err(format!("recovery at {point}: {killed:?}, found {}", found.join(" ")));
        }
        println!("killed while recovering, at {point}: each record once, audit complete");
    }
    let whole = proof.measure();
    let mut moments = StdRng::seed_from_u64(crash.seed);
    let (mut struck, mut runs) = (0, 0);
    while struck < crash.kills {
        let pauses: Vec<Duration> = (0..KILLS_PER_RUN.min(crash.kills - struck))
            .map(|_| whole.mul_f64(moments.random_range(0.01..0.5)))
            .collect();
        let (kills, found) = proof.kill_after(&pauses);
        if found != expected {
            return Err(format!("after {kills} kills: {}", found.join(" ")));
        }
        struck += u32::try_from(kills).expect("kills are few");
        runs += 1;
        println!("killed {kills} times at random moments: each record once, audit complete");
    }
    println!("{struck} kills at random moments in {runs} runs: none lost, none doubled");
    Ok(())
}

/// Kills the program again and again while one stream flows. What is lost or doubled panics.
fn stream(crash: &Crash) -> Result<(), String> {
    let places = match crash.places.is_empty() {
        true => places(),
        false => crash.places.iter().map(String::as_str).collect(),
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let layout = Layout::plain(&places, EPOCH_BYTES);
    at_points(&crash.program, &fresh(folder.path(), "points")?, &layout)?;
    at_moments(crash, &fresh(folder.path(), "moments")?, &layout)
}

/// Takes PostgreSQL away for longer than a transaction of Kafka may live, from a pipeline without
/// any settings: half of the time nothing answers, then connections are refused.
fn outage(crash: &Crash) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let layout = Layout {
        called: Called::ThroughProxies,
        epoch_bytes: None,
        ..Layout::plain(&["kafka", "postgres"], EPOCH_BYTES)
    };
    let mut proof = proof(&crash.program, folder.path(), &layout)?;
    let half = Duration::from_secs(crash.minutes * 30);
    let took = proof.outlast("postgres", &[(Way::Stalled, half), (Way::Cut, half)]);
    println!(
        "{} minutes without PostgreSQL, {} records: all there {} s later, by the same process, \
         none lost, none doubled, audit complete",
        crash.minutes,
        proof.records(),
        took.as_secs()
    );
    Ok(())
}

/// Kills this program and others in the same way, and prints a table of what came of it.
fn others(crash: &Crash) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let kills = Kills::new(crash.kills, crash.rows, crash.seed)?;
    println!("| program | into | records | kills | lost | twice or more | never sent |");
    println!("|---|---|---|---|---|---|---|");
    for target in [Target::Topic, Target::Table] {
        let own = fresh(folder.path(), &format!("{target:?}"))?;
        let site = Site { program: &crash.program, folder: &own, target };
        let found = Trial::of_logmill(&site).run(kills);
        row(crash, "Logmill", target, &found);
        if !found.is_ok_and(|found| found.is_nothing()) {
            return Err("Logmill lost or doubled records".to_owned());
        }
        for tool in TOOLS {
            let own = fresh(&own, tool.service)?;
            let site = Site { folder: &own, ..site };
            if let Some(trial) = Trial::of_other(tool, &site) {
                row(crash, tool.name, target, &trial.run(kills));
            }
        }
    }
    Ok(())
}

fn row(crash: &Crash, program: &str, target: Target, found: &Result<Found, String>) {
    let Crash { rows, kills, .. } = crash;
    let found = match found {
        Ok(Found { missing, doubled, strange }) => {
            format!("{} | {} | {}", missing.len(), doubled.len(), strange.len())
        }
        Err(error) => format!("{error} | |"),
    };
    println!("| {program} | {target:?} | {rows} | {kills} | {found} |");
}

/// One kill at each point.
fn at_points(program: &Path, folder: &Path, layout: &Layout<'_>) -> Result<(), String> {
    let kills = proof(program, folder, layout)?.kill_at_points(ROWS_PER_POINT);
    println!("{kills} kills, one at each point: none lost, none doubled, audit complete");
    Ok(())
}

/// Kills at random moments of one long run.
fn at_moments(crash: &Crash, folder: &Path, layout: &Layout<'_>) -> Result<(), String> {
    let mut proof = proof(&crash.program, folder, layout)?;
    let records = proof.kill_at_moments(crash.kills, crash.rows, crash.seed);
    println!(
        "{} kills at random moments of {records} records: none lost, none doubled",
        crash.kills
    );
    Ok(())
}

fn proof(program: &Path, folder: &Path, layout: &Layout<'_>) -> Result<StreamProof, String> {
    StreamProof::new(program, folder, layout).ok_or("a stream needs its servers".to_owned())
}

fn fresh(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    Ok(folder)
}
