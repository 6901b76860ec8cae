//! `cargo xtask crash`: builds the release and kills it, at every point and at random moments.

use std::process::Command;

use clap::{Args, ValueEnum};

use crate::services::{self, Installation};
use crate::steps::{cargo, step, target};

/// What to kill, and how often.
#[derive(Args)]
pub struct Options {
    /// What flows through the program; one after the other by default, without `others`.
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// Kills at random moments, beside one at each point.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Records, one in a hundred of them broken.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How long PostgreSQL is away in an outage.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What flows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// A log file, into the lake.
    Log,
    /// Four partitions of Kafka, into real servers.
    Stream,
    /// The same into Kafka and PostgreSQL, which is away for longer than transactions live.
    Outage,
    /// Records into Kafka, then into PostgreSQL, by other programs too: a table of what each one
    /// lost and doubled.
    Others,
}

/// Builds the program and the one that kills it, then lets them meet.
///
/// # Errors
/// A build fails, or a record was lost or doubled.
pub fn run(options: &Options) -> Result<(), String> {
    let chosen = |subject| match options.subjects.is_empty() {
        true => subject != Subject::Others,
        false => options.subjects.contains(&subject),
    };
    let flowing =
        [(Subject::Stream, "stream"), (Subject::Outage, "outage"), (Subject::Others, "others")];
    let needs_servers = flowing.iter().any(|(subject, _)| chosen(*subject));
    let servers = if needs_servers { services::STREAM } else { &[] };
    let installation = Installation::begin(servers)?;
    step("release", cargo(["build", "--release", "--workspace", "--bins"]))?;
    if chosen(Subject::Log) {
        step("crash of a log", crash("log", options))?;
    }
    let others = if chosen(Subject::Others) { services::others::programs()? } else { Vec::new() };
    let servers = installation.finish()?.start(servers)?;
    for (subject, name) in flowing {
        if chosen(subject) {
            let mut crash = crash(name, options);
            crash.envs(servers.variables.iter().map(|(name, value)| (name, value)));
            crash.envs(others.iter().map(|(name, program)| (name, program)));
            step(&format!("crash: {name}"), crash)?;
        }
    }
    Ok(())
}

fn crash(subject: &str, options: &Options) -> Command {
    let target = target("release");
    let mut crash = Command::new(target.join("crash"));
    crash
        .arg(target.join("logmill"))
        .arg(subject)
        .args(["--kills", &options.kills.to_string()])
        .args(["--rows", &options.rows.to_string()])
        .args(["--minutes", &options.minutes.to_string()])
        .args(["--seed", &options.seed.to_string()]);
    crash
}
