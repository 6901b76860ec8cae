//! `logmill test`: the unit tests inside a pipeline file, rows in and rows expected.
//!
//! Nothing is read or written but the pipeline file and the resources of its steps; the clock
//! stands where the test puts it.

mod compare;
mod rehearsal;

use std::io::Write;

use clap::Args;
use contract::{Error, Result};
use plan::TestCase;
use runtime::Pipeline;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::output;
use crate::pipeline::{Loaded, Several};

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

/// Run the unit tests of pipeline files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Test {
    #[command(flatten)]
    pipelines: Several,
}

/// The outcome of one test.
#[derive(Serialize)]
struct Outcome {
    pipeline: String,
    test: String,
    passed: bool,
    differences: Vec<String>,
}

pub fn start(test: &Test, global: &Global) -> Result<Exit> {
    let all = test.pipelines.load(&global.data)?;
    if all.iter().all(|one| one.plan.tests.is_empty()) {
        let files = test.pipelines.files.iter().map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        return Err(Error::config(format!("{files} has no tests"))
            .hint("add a section `tests`; `logmill help test` shows one"));
    }
    let mut outcomes = Vec::new();
    for Loaded { plan, pipeline, .. } in &all {
        for case in &plan.tests {
            outcomes.push(outcome(pipeline, case)?);
        }
    }
    output::list(global, &outcomes, |out| {
        outcomes.iter().try_for_each(|outcome| print(outcome, all.len() > 1, out))
    })?;
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    Ok(if passed { Exit::Done } else { Exit::Difference })
}

fn outcome(pipeline: &Pipeline, case: &TestCase) -> Result<Outcome> {
    let seen = rehearsal::run(pipeline, case).map_err(|error| {
        error.at(&case.place).context(format!("could not run the test {:?}", case.name))
    })?;
    let differences = compare::differences(case, &seen);
    let (pipeline, test) = (pipeline.name.clone(), case.name.clone());
    Ok(Outcome { pipeline, test, passed: differences.is_empty(), differences })
}

fn print(outcome: &Outcome, several: bool, out: &mut output::Stdout) -> std::io::Result<()> {
    let verdict = if outcome.passed { "passed" } else { "FAILED" };
    let of = if several { format!("{}: ", outcome.pipeline) } else { String::new() };
    writeln!(out, "{verdict}: {of}{}", outcome.test)?;
    outcome.differences.iter().try_for_each(|difference| writeln!(out, "  {difference}"))
}
