//! `cargo xtask bench`: what a log line costs, beside other programs on the same file.
//!
//! Builds the released program and runs it as a user would, each time in a process of its own.
//! Nothing here fails because something is slow: it prints figures and the goals beside them.

mod before;
mod cases;
mod kafka;
mod latency;
mod look;
mod measure;
mod memory;
mod postgres;
mod report;
mod serve;

use std::path::PathBuf;

use clap::Args;

use crate::{python, steps};
use cases::Bench;
use measure::Tools;
use report::Table;

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Size of the log that is generated.
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,

    /// Also run 30 million records.
    #[arg(long)]
    long: bool,

    /// Also measure delivery from the file to PostgreSQL, which is installed and started.
    #[arg(long)]
    postgres: bool,

    /// Also measure delivery from Kafka to Kafka, PostgreSQL and S3, which are installed and
    /// started.
    #[arg(long)]
    kafka: bool,

    /// Also measure how long records take from Kafka to Kafka, PostgreSQL and the lake.
    #[arg(long)]
    latency: bool,

    /// Also ask the questions of the dashboard over 10 million requests, and open it in Chromium,
    /// which is installed.
    #[arg(long)]
    serve: bool,

    /// Measure a first look at the log alone, beside GoAccess, which is installed.
    #[arg(long, conflicts_with = "write")]
    look: bool,

    /// Measure alone how much memory runs take at a small limit.
    #[arg(long, conflicts_with_all = ["write", "look"])]
    memory: bool,

    /// Measure alone what 100,000 splits cost of which 200 move, through so many epochs.
    #[arg(long, value_name = "EPOCHS", num_args = 0..=1, default_missing_value = "1000")]
    #[arg(conflicts_with_all = ["write", "look", "memory"])]
    splits: Option<u64>,

    /// Measure parsing and the runs into the lake alone, in turn with an earlier program of ours;
    /// with --kafka also runs into Kafka, PostgreSQL, S3 and OpenSearch.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["write", "look", "memory"])]
    before: Option<PathBuf>,

    /// A GeoIP database; without one, one of 5,000 cities is made up.
    #[arg(long, value_name = "FILE")]
    geoip: Option<PathBuf>,

    /// Put the table into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// Measures everything, prints a table.
pub fn run(options: &Options) -> Result<(), String> {
    if let Some(epochs) = options.splits {
        return splits(epochs);
    }
    let python = python::start()?;
    let bins = ["build", "--release", "--package", "logmill", "--package", "testkit", "--bins"];
    steps::step("release build", steps::cargo(bins))?;
    let bench = Bench::prepare(Tools::new(python.finish()?)?, options.megabytes)?;
    let mut table = Table::default();
    let measured = measure(&bench, options, &mut table);
    let text = table.to_markdown();
    println!("\n{text}");
    if options.write {
        report::write(&text)?;
    }
    // What was measured before something failed is kept.
    measured
}

/// In a process of its own, which prints the figures.
fn splits(epochs: u64) -> Result<(), String> {
    let packages = ["bench", "--package", "runtime", "--package", "logmill", "--bench", "splits"];
    let mut command = steps::cargo(packages);
    command.arg("--").arg(format!("epochs={epochs}"));
    steps::step("splits", command)
}

fn measure(bench: &Bench, options: &Options, table: &mut Table) -> Result<(), String> {
    if options.look {
        return bench.look(table);
    }
    if options.memory {
        return bench.memory(table);
    }
    bench.parse(table)?;
    if let Some(program) = &options.before {
        bench.before(program, options.geoip.as_deref(), table)?;
        return if options.kafka { bench.before_with_servers(program, table) } else { Ok(()) };
    }
    bench.pipelines(options.geoip.as_deref(), table)?;
    bench.queries(table)?;
    bench.raw_queries(table)?;
    bench.first_row(table)?;
    let rows: &[u64] = if options.long { &[1, 10, 30] } else { &[1, 10] };
    bench.growth(rows, table)?;
    bench.others(table)?;
    if options.postgres {
        bench.postgres(table)?;
    }
    if options.kafka {
        bench.kafka(table)?;
    }
    if options.latency {
        bench.latency(table)?;
    }
    if options.serve {
        bench.serve(table)?;
    }
    Ok(())
}
