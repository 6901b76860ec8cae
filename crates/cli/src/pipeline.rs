//! From a pipeline file to its parts, and to what it left behind.
//!
//! What `run`, `check`, `test`, `audit`, `where` and `demo` share. Nothing is opened here.

use std::path::Path;
use std::sync::Arc;

use contract::section::{Entry, Value};
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector};
use contract::{Error, Place, Result, Section};
use object_store::ObjectStore;
use plan::{Plan, Vocabulary};
use query::audit::AuditedSink;
use runtime::{BindContext, DEAD_LETTERS, Owner, Pipeline, Rebuild, Recipe};

use crate::secrets;

/// A pipeline file that was read, with its parts made.
pub struct Loaded {
    /// What the file says.
    pub plan: Plan,
    /// The parts, wired.
    pub pipeline: Pipeline,
}

/// Reads and checks a pipeline file and makes its parts.
///
/// # Errors
/// Config, with the place in the file.
pub fn load(file: &Path, data: &Path) -> Result<Loaded> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::config(format!("could not read pipeline file {name:?}"))
            .because(error)
            .hint("`logmill connectors NAME` shows a pipeline file to begin with")
    })?;
    let plan = parse(&text, &name, data)?;
    let pipeline = bind(&plan, data)?;
    Ok(Loaded { plan, pipeline })
}

fn bind(plan: &Plan, data: &Path) -> Result<Pipeline> {
    let ctx = BindContext {
        make_step: &engine::step,
        connectors: registry::connectors(),
        data: data.to_owned(),
        dead_letters: dead_letter_sink(plan, data)?,
    };
    Pipeline::bind(plan, &ctx)
}

fn parse(text: &str, name: &str, data: &Path) -> Result<Plan> {
    let specs = || registry::connectors().iter().map(|connector| connector.spec());
    let sources = specs().filter(|spec| spec.source.is_some()).map(|spec| spec.name);
    let sinks = specs().filter(|spec| spec.sink.is_some()).map(|spec| spec.name);
    let transforms = engine::specs().iter().map(|spec| spec.name);
    let secrets = secrets::file(data);
    let vocabulary = Vocabulary {
        sources: &sources.collect::<Vec<_>>(),
        transforms: &transforms.collect::<Vec<_>>(),
        sinks: &sinks.collect::<Vec<_>>(),
        inputs: &engine::inputs,
        environment: &|variable| std::env::var(variable).ok(),
        secrets: &|path| secrets::find(&secrets, path),
    };
    plan::read(text, name, &vocabulary)
}

/// Makes earlier versions of a pipeline again, with the files that their steps read as they were.
pub fn rebuild(data: &Path) -> Rebuild {
    let data = data.to_owned();
    Arc::new(move |recipe: &Recipe| {
        let mut plan = parse(&recipe.text, "the earlier version", &data)?;
        for node in &mut plan.transforms {
            node.section = node.section.with_texts(&|text| {
                let kept = recipe.resources.iter().find(|(path, _)| path == text);
                kept.map(|(_, kept)| kept.to_string_lossy().into_owned())
            });
        }
        bind(&plan, &data)
    })
}

/// Dead letters go to the embedded lake, whatever the sinks are.
fn dead_letter_sink(plan: &Plan, data: &Path) -> Result<Arc<dyn Sink>> {
    let place = Place { file: plan.file.clone(), line: 0, column: 0 };
    let table = Section::new(place.clone(), Value::Text(query::DEAD_LETTERS.into()));
    let entry = Entry { key: "table".into(), place: place.clone(), value: table };
    let section = Section::new(place, Value::Map(vec![entry]));
    let ctx = BuildContext {
        pipeline: plan.name.clone(),
        name: DEAD_LETTERS.to_owned(),
        data: data.to_owned(),
    };
    connector_lake::Lake.sink(&section, &ctx)
}

/// The checkpoints of a pipeline. Looking at them makes nothing.
///
/// # Errors
/// Config: the pipeline never ran with this data folder.
pub fn checkpoints(pipeline: &Pipeline) -> Result<Arc<dyn ObjectStore>> {
    let folder = Owner::checkpoint_folder(pipeline)?;
    if !folder.join(&pipeline.name).is_dir() {
        let name = &pipeline.name;
        return Err(Error::config(format!("pipeline {name:?} has no checkpoints in {folder:?}"))
            .hint("run it first, or name its data folder with `--data`"));
    }
    state::store::open(&folder.to_string_lossy())
}

/// The sinks of a pipeline as the audit takes them, dead letters last.
pub fn audited(pipeline: &Pipeline) -> Vec<AuditedSink> {
    let sinks = pipeline.sinks.iter();
    sinks.map(|node| AuditedSink { name: node.name.clone(), sink: node.sink.clone() }).collect()
}
