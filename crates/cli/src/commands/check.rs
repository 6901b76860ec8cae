//! `logmill check`: reads a pipeline file as `run` would and says what every sink promises.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use contract::Result;
use contract::sink::Promise;
use plan::Plan;
use runtime::Pipeline;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::{output, pipeline};

const EXAMPLES: &str = "\
Examples:
  logmill check web.yaml
  logmill check web.yaml --format json | jq .sinks";

/// Check a pipeline file and print the promise of every sink. Opens and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    /// The pipeline file.
    file: PathBuf,
}

/// What `check` prints.
#[derive(Serialize)]
struct Checked {
    pipeline: String,
    sources: Vec<Source>,
    transforms: Vec<Transform>,
    sinks: Vec<Sink>,
    tests: usize,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Source {
    source: String,
    r#type: String,
    replayable: bool,
}

#[derive(Serialize)]
struct Transform {
    transform: String,
    r#type: String,
}

#[derive(Serialize)]
struct Sink {
    sink: String,
    r#type: String,
    columns: usize,
    #[serde(flatten)]
    promise: Promise,
}

pub fn start(check: &Check, global: &Global) -> Result<Exit> {
    let loaded = pipeline::load(&check.file, &global.data)?;
    let checked = describe(&loaded.plan, &loaded.pipeline);
    output::value(global, &checked, |out| print(&checked, out))?;
    Ok(Exit::Done)
}

fn describe(plan: &Plan, bound: &Pipeline) -> Checked {
    let sources = plan.sources.iter().zip(&bound.sources).map(|(planned, node)| Source {
        source: node.name.clone(),
        r#type: planned.kind.clone(),
        replayable: node.source.replayable(),
    });
    let transforms = plan
        .transforms
        .iter()
        .map(|planned| Transform { transform: planned.name.clone(), r#type: planned.kind.clone() });
    let sinks = bound.sinks.iter().map(|node| Sink {
        sink: node.name.clone(),
        r#type: node.kind.clone(),
        columns: node.schema.fields().len(),
        promise: node.sink.promise(),
    });
    Checked {
        pipeline: plan.name.clone(),
        sources: sources.collect(),
        transforms: transforms.collect(),
        sinks: sinks.collect(),
        tests: plan.tests.len(),
        warnings: plan.warnings.clone(),
    }
}

fn print(checked: &Checked, out: &mut output::Stdout) -> std::io::Result<()> {
    writeln!(out, "pipeline {} is right", checked.pipeline)?;
    for source in &checked.sources {
        let replay = if source.replayable { "" } else { ", cannot be read twice" };
        writeln!(out, "  source {} ({}{replay})", source.source, source.r#type)?;
    }
    for transform in &checked.transforms {
        writeln!(out, "  transform {} ({})", transform.transform, transform.r#type)?;
    }
    for sink in &checked.sinks {
        writeln!(out, "  sink {} ({}): {}", sink.sink, sink.r#type, sink.promise.sentence)?;
    }
    for warning in &checked.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}
