//! The list of transforms, and how a section of a pipeline file becomes one.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use contract::transform::Step;
use contract::{Error, Result, Section};
use schemars::Schema;

use crate::{dedupe, enrich, parse, route, sql, window};

/// How a transform presents itself.
pub struct TransformSpec {
    /// The word after `type:`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The settings.
    pub config_schema: fn() -> Schema,
    /// An entry of `transforms` that uses it.
    pub example: &'static str,
}

/// What a step is made from.
pub(crate) struct Site<'a> {
    /// Its name in the pipeline file.
    pub name: &'a str,
    /// Its settings, without `type` and `input`.
    pub section: &'a Section,
    /// The nodes that it reads, with their columns.
    pub inputs: &'a [(String, SchemaRef)],
}

static SPECS: &[TransformSpec] =
    &[parse::SPEC, enrich::SPEC, sql::SPEC, route::SPEC, dedupe::SPEC, window::SPEC];

/// All transforms, in the order of the documentation.
pub fn specs() -> &'static [TransformSpec] {
    SPECS
}

/// Makes a step from its section. Reads the files that the settings name, and nothing else.
///
/// `inputs` are the nodes that it reads, by name, with the columns that come from them.
///
/// # Errors
/// Config, with the place in the file and, where there is one, the way out.
pub fn step(
    kind: &str,
    name: &str,
    section: &Section,
    inputs: &[(String, SchemaRef)],
) -> Result<Arc<dyn Step>> {
    let site = Site { name, section, inputs };
    let step = match kind {
        "parse" => parse::make(&site),
        "enrich" => enrich::make(&site),
        "sql" => sql::make(&site),
        "route" => route::make(&site),
        "dedupe" => dedupe::make(&site),
        "window" => window::make(&site),
        _ => Err(unknown(kind)),
    };
    step.map_err(|error| error.at(section.place()))
}

/// The inputs that a transform names in its own settings (the tables after SQL's `FROM`); none
/// where `input` names them.
///
/// # Errors
/// Config, with the place in the file.
pub fn inputs(kind: &str, section: &Section) -> Result<Option<Vec<String>>> {
    match kind {
        "sql" => sql::tables(section).map(Some).map_err(|error| error.at(section.place())),
        _ => Ok(None),
    }
}

/// Refuses the name of an output that `step.output` could not name.
pub(crate) fn check_port_name(name: &str) -> Result<()> {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|next| matches!(next, 'a'..='z' | '0'..='9' | '_' | '-'));
    if is_plain {
        return Ok(());
    }
    Err(Error::config(format!("an output cannot be named {name:?}"))
        .hint("a name begins with a small letter; letters, digits, `_` and `-` follow"))
}

fn unknown(kind: &str) -> Error {
    let names = SPECS.iter().map(|spec| spec.name);
    Error::config(format!("unknown transform {kind:?}"))
        .field("type")
        .hint(Section::did_you_mean(kind, names))
}
