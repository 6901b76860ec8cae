//! `logmill config`: what editors need to know about pipeline files.

use std::io::Write;

use clap::{Args, Subcommand};
use contract::Result;
use serde_json::Value;

use crate::failure::Exit;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  logmill config schema > logmill.schema.json
  # then, as the first line of a pipeline file:
  # yaml-language-server: $schema=logmill.schema.json";

/// Print the JSON Schema of pipeline files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// Print the JSON Schema of pipeline files, for completion and checks in editors.
    Schema,
}

pub fn start(config: &Config) -> Result<Exit> {
    match config.action {
        Action::Schema => {
            let schema = schema();
            output::write(|out| {
                serde_json::to_writer_pretty(&mut *out, &schema)?;
                out.write_all(b"\n")
            })?;
        }
    }
    Ok(Exit::Done)
}

fn schema() -> Value {
    let specs = || registry::connectors().iter().map(|connector| connector.spec());
    let sources = specs().filter_map(|spec| Some((spec.name, spec.source?())));
    let sinks = specs().filter_map(|spec| Some((spec.name, (spec.sink.as_ref()?.config_schema)())));
    let transforms = engine::specs().iter().map(|spec| (spec.name, (spec.config_schema)()));
    plan::schema::pipeline_schema(
        &sources.collect::<Vec<_>>(),
        &transforms.collect::<Vec<_>>(),
        &sinks.collect::<Vec<_>>(),
    )
}
