//! The pipelines that are served: those of the files, or all of the data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Host, Replay, Replayed, Served};
use async_trait::async_trait;
use contract::error::Context;
use contract::{Error, Result};
use plan::Plan;
use query::Ledger;
use runtime::Pipeline;
use state::CheckpointStore;

use crate::arguments::Global;
use crate::{elsewhere, pipeline};

/// The pipelines of a server.
pub struct Pipelines {
    data: PathBuf,
    files: Vec<Loaded>,
    /// Pipelines of the data folder whose checkpoints lie elsewhere.
    elsewhere: Vec<Ledger>,
}

/// A pipeline with its file.
pub struct Loaded {
    /// Where the file lies.
    pub file: PathBuf,
    /// What stands in it.
    pub plan: Arc<Plan>,
    /// Its parts.
    pub pipeline: Pipeline,
}

impl Pipelines {
    /// Reads the pipeline files.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn load(files: &[PathBuf], global: &Global) -> Result<Self> {
        let mut loaded: Vec<Loaded> = Vec::new();
        for file in files {
            let pipeline::Loaded { plan, pipeline } = pipeline::load(file, &global.data)?;
            if loaded.iter().any(|other| other.plan.name == plan.name) {
                let name = &plan.name;
                return Err(Error::config(format!("two of the files have the name {name:?}"))
                    .hint("a pipeline is known by its name; give each its own"));
            }
            loaded.push(Loaded { file: file.clone(), plan: Arc::new(plan), pipeline });
        }
        let elsewhere = match files {
            [] => elsewhere::ledgers(&global.data),
            _ => Vec::new(),
        };
        Ok(Self { data: global.data.clone(), files: loaded, elsewhere })
    }

    /// What stands in the files.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        self.files.iter().map(|loaded| loaded.plan.clone()).collect()
    }

    /// All pipelines that left checkpoints.
    fn of_folder(&self) -> Result<Vec<Served>> {
        let mut served = Vec::new();
        let folder = self.data.join("checkpoints");
        if folder.is_dir() {
            let checkpoints = CheckpointStore::local(&folder)?;
            let names = names(&folder)?;
            served.extend(names.into_iter().map(|name| known(name, checkpoints.clone())));
        }
        for Ledger { pipeline, checkpoints } in &self.elsewhere {
            served.push(known(pipeline.clone(), checkpoints.clone()));
        }
        Ok(served)
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = || format!("could not list {:?}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).external(failed)? {
        let entry = entry.external(failed)?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(names)
}

fn known(name: String, checkpoints: CheckpointStore) -> Served {
    Served { name, file: None, promises: Vec::new(), checkpoints: Some(checkpoints) }
}

#[async_trait]
impl Host for Pipelines {
    async fn pipelines(&self) -> Result<Vec<Served>> {
        let mut served = Vec::with_capacity(self.files.len());
        for loaded in &self.files {
            let sinks = loaded.pipeline.sinks.iter();
            served.push(Served {
                name: loaded.plan.name.clone(),
                file: Some((loaded.file.clone(), loaded.plan.clone())),
                promises: sinks.map(promise).collect(),
                checkpoints: pipeline::find_checkpoints(&loaded.pipeline).await?,
            });
        }
        if self.files.is_empty() {
            served = self.of_folder()?;
        }
        served.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(served)
    }

    fn is_writable(&self) -> bool {
        !self.files.is_empty()
    }

    async fn replay(&self, _pipeline: &str, _replay: Replay) -> Result<Replayed> {
        Err(Error::config("replay is not to be had"))
    }
}

fn promise(node: &runtime::graph::SinkNode) -> (String, String) {
    (node.name.clone(), node.sink.promise().sentence.to_owned())
}
