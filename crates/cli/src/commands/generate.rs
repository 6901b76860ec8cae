//! `logmill generate`: realistic sample logs, the same for the same seed.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use contract::Result;
use formats::sample::{AccessLog, DAYS};

use crate::failure::Exit;
use crate::output::{self, rows};

const EXAMPLES: &str = "\
Examples:
  logmill generate access-log --rows 10000 > access.log
  logmill generate access-log --rows 1000000 --seed 7 --broken 0.01 -o access.log";

/// Make sample data.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Generate {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Access logs in the combined format, about 240 bytes a line.
    AccessLog(AccessLogArguments),
}

#[derive(Debug, Args)]
struct AccessLogArguments {
    /// Number of lines.
    #[arg(long, default_value_t = 10_000)]
    rows: u64,

    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Days over which the lines are spread.
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,

    /// Fraction of lines that no parser can read, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = fraction)]
    broken: f64,

    /// Add a response time in milliseconds to every line.
    #[arg(long)]
    response_time: bool,

    /// Write to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn start(generate: &Generate) -> Result<Exit> {
    let Kind::AccessLog(arguments) = &generate.kind;
    let mut log = AccessLog::new(arguments.seed, arguments.rows).with_broken(arguments.broken);
    log = log.with_days(arguments.days);
    if arguments.response_time {
        log = log.with_response_time();
    }
    let mut out = rows::open(arguments.output.as_deref())?;
    log.write_all(&mut out).and_then(|()| out.flush()).map_err(output::failed)?;
    Ok(Exit::Done)
}

fn fraction(text: &str) -> std::result::Result<f64, String> {
    let fraction = text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
    fraction.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}
