#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]
//! Turns a pipeline file into a graph whose edges only ever point downstream.
//!
//! Pure: no I/O, no clock, no connector. What exists outside (connectors, environment, secrets)
//! comes in as a [`Vocabulary`]. A [`Plan`] that exists is acyclic, every input in it exists, and
//! its transforms stand in an order in which each comes after what it reads.

mod cases;
mod document;
mod graph;
mod hash;
mod idle;
mod measure;
mod nodes;
pub mod schedule;
pub mod schema;
mod settings;
mod substitute;
pub mod table;
mod yaml;

use std::sync::Arc;

use contract::source::Lineages;
use contract::{Error, Place, Result, Section};

pub use cases::TestCase;
pub use document::{Document, Outside, Values, documents};
pub use idle::Idle;
pub use measure::{Expression, Filter, Measure, Operator, Selector};
pub use settings::{OnSplitError, Serve, ServeBackend, Settings};

use substitute::{Lookups, substitute};
use yaml::Scalars;

/// The keys at the top level of a pipeline file.
const KEYS: &[&str] = &[
    "name",
    "sources",
    "transforms",
    "sinks",
    "epoch",
    "memory",
    "checkpoint",
    "retry",
    "on_split_error",
    "history",
    "serve",
    "schedule",
    "values",
    "secrets",
    "metrics",
    "without_effect",
    "tests",
];

/// A pipeline, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The file as it was read, or its document where it has several, before anything was
    /// substituted; it holds no secret.
    pub text: Arc<str>,
    /// What holds for the pipeline as a whole.
    pub settings: Settings,
    /// Where rows come from, in the order of the file.
    pub sources: Vec<SourceNode>,
    /// What becomes of them; each stands after its inputs.
    pub transforms: Vec<TransformNode>,
    /// Where they go.
    pub sinks: Vec<SinkNode>,
    /// The unit tests of the pipeline file.
    pub tests: Vec<TestCase>,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
    /// SHA-256, in hexadecimal, of what decides which rows come out: names, edges, transforms with
    /// the values of variables, sources as they are written. No secret and no sink setting changes
    /// it.
    pub hash: String,
}

/// A source of a plan.
#[derive(Clone, Debug)]
pub struct SourceNode {
    /// Its name, unique in the plan.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// How its splits are divided among lineages; as its connector does where the file is silent.
    pub lineages: Option<Lineages>,
    /// The connector's settings.
    pub section: Section,
    /// Where its name stands.
    pub place: Place,
}

/// A transform of a plan.
#[derive(Clone, Debug)]
pub struct TransformNode {
    /// Its name, unique in the plan.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// What it reads; at least one.
    pub inputs: Vec<Input>,
    /// Its settings.
    pub section: Section,
    /// Where its name stands.
    pub place: Place,
}

/// A sink of a plan.
#[derive(Clone, Debug)]
pub struct SinkNode {
    /// Its name, unique in the plan.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// What it takes; at least one.
    pub inputs: Vec<Input>,
    /// The connector's settings.
    pub section: Section,
    /// Where its name stands; for a sink that the file leaves out, the name that its table has.
    pub place: Place,
}

/// An edge of the graph, seen from its lower end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Whose rows come in.
    pub node: NodeRef,
    /// Which of its outputs: `errors` in `input: steps.errors`, empty for the node itself.
    pub port: String,
    /// Where the input is named.
    pub place: Place,
}

/// A node that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeRef {
    /// An index into [`Plan::sources`].
    Source(usize),
    /// An index into [`Plan::transforms`].
    Transform(usize),
}

/// Tells the inputs of a transform of some kind from its settings, or none.
pub type FindInputs<'a> = dyn Fn(&str, &Section) -> Result<Option<Vec<String>>> + 'a;

/// What a pipeline file may name.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    /// Connectors that read.
    pub sources: &'a [&'a str],
    /// Kinds of transforms.
    pub transforms: &'a [&'a str],
    /// Connectors that write.
    pub sinks: &'a [&'a str],
    /// The inputs that a transform of this kind finds in its settings (the tables after `FROM`);
    /// none if the file must name them.
    pub inputs: &'a FindInputs<'a>,
    /// Environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Secrets by their path.
    pub secrets: &'a dyn Fn(&str) -> Result<String>,
}

impl<'a> Vocabulary<'a> {
    fn lookups(&self) -> Lookups<'a> {
        Lookups { environment: self.environment, secrets: self.secrets }
    }
}

/// Reads YAML into a tree of values with their places: the settings of one connector.
///
/// # Errors
/// Config, with the place: the text is not YAML.
pub fn parse_section(text: &str, file: &str) -> Result<Section> {
    yaml::parse(text, &file.into(), Scalars::Typed)
}

/// Reads YAML, JSON too, in which every value is the text that stands there, `0123` and `1e5` too:
/// values of variables, secrets.
///
/// # Errors
/// Config, with the place: the text is not YAML. What it says quotes nothing but keys.
pub fn parse_texts(text: &str, file: &str) -> Result<Section> {
    yaml::parse(text, &file.into(), Scalars::Text)
}

/// Reads and checks a pipeline file with one pipeline. `file` is how errors name it.
///
/// # Errors
/// Config, with place, setting and a hint: the text is not YAML, a key or name is unknown, an
/// input does not exist, the graph has a cycle, there are several pipelines.
pub fn read(text: &str, file: &str, vocabulary: &Vocabulary<'_>) -> Result<Plan> {
    let documents = documents(text, file)?;
    match &documents[..] {
        [document] => document.read(vocabulary),
        several => Err(Error::config(format!("the file holds {} pipelines", several.len()))
            .at(several[1].place())
            .hint("name one of them")),
    }
}

/// Makes the plan of a document.
fn assemble(document: &Document, vocabulary: &Vocabulary<'_>) -> Result<Plan> {
    let written = &document.root;
    nodes::expect_map(written, "the file")?;
    nodes::check_keys(written, KEYS)?;
    // Nodes are substituted one by one: what is disabled may name variables that are not set.
    let rest = written.without(&["sources", "transforms", "sinks"]);
    let rest = substitute(&rest, &vocabulary.lookups())?;
    let name = pipeline_name(&rest)?;
    let settings = settings::read(&rest, &document.variables())?;
    let declared = nodes::declare(written, vocabulary)?;
    let tests = cases::read(rest.get("tests"), &declared)?;
    let named = rest.get("name").map_or(written.place(), Section::place);
    let graph = graph::link(declared, (&name, named), written.place())?;
    let mut plan = Plan {
        name,
        file: document.file.clone(),
        text: document.text.clone(),
        settings,
        sources: graph.sources,
        transforms: graph.transforms,
        sinks: graph.sinks,
        tests,
        warnings: graph.warnings,
        hash: String::new(),
    };
    plan.hash = hash::of(&plan, written, vocabulary)?;
    Ok(plan)
}

fn pipeline_name(root: &Section) -> Result<String> {
    let Some(section) = root.get("name") else {
        return Err(Error::config("the key \"name\" is missing")
            .at(root.place())
            .hint("add `name: …`; checkpoints are kept under it"));
    };
    let name = nodes::expect_text(section, "name")?;
    nodes::check_name(name, section.place())?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests;
