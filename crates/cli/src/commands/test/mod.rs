//! `logmill test`: the unit tests inside a pipeline file, rows in and rows expected.
//!
//! Nothing is read or written but the pipeline file and the resources of its steps; the clock
//! stands where the test puts it.

mod compare;
mod rehearsal;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use contract::{Error, Result};
use plan::TestCase;
use runtime::Pipeline;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::{output, pipeline};

const EXAMPLES: &str = "\
Examples:
  logmill test web.yaml

A test in the pipeline file:
  tests:
    - name: keeps server errors
      now: 2026-01-01T00:00:00Z
      input: { access: ['1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 500 1'] }
      expect: { errors: [ { status: 500 } ] }
      dead_letters: []

Exits with 3 if a test fails.";

/// Run the unit tests of a pipeline file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Test {
    /// The pipeline file.
    file: PathBuf,
}

/// The outcome of one test.
#[derive(Serialize)]
struct Outcome {
    test: String,
    passed: bool,
    differences: Vec<String>,
}

pub fn start(test: &Test, global: &Global) -> Result<Exit> {
    let pipeline::Loaded { plan, pipeline, .. } = pipeline::load(&test.file, &global.data)?;
    if plan.tests.is_empty() {
        return Err(Error::config(format!("{} has no tests", test.file.display()))
            .hint("add a section `tests`; `logmill help test` shows one"));
    }
    let outcomes = plan.tests.iter().map(|case| outcome(&pipeline, case));
    let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
    output::list(global, &outcomes, |out| {
        outcomes.iter().try_for_each(|outcome| print(outcome, out))
    })?;
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    Ok(if passed { Exit::Done } else { Exit::Difference })
}

fn outcome(pipeline: &Pipeline, case: &TestCase) -> Result<Outcome> {
    let seen = rehearsal::run(pipeline, case).map_err(|error| {
        error.at(&case.place).context(format!("could not run the test {:?}", case.name))
    })?;
    let differences = compare::differences(case, &seen);
    Ok(Outcome { test: case.name.clone(), passed: differences.is_empty(), differences })
}

fn print(outcome: &Outcome, out: &mut output::Stdout) -> std::io::Result<()> {
    let verdict = if outcome.passed { "passed" } else { "FAILED" };
    writeln!(out, "{verdict}: {}", outcome.test)?;
    outcome.differences.iter().try_for_each(|difference| writeln!(out, "  {difference}"))
}
