//! The pipelines that are served: those of the files, or all of the data folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use api::{Host, Replay, Replayed, ScheduledRun, Served, State};
use async_trait::async_trait;
use contract::error::Context;
use contract::{Error, Result};
use plan::Plan;
use query::Ledger;
use runtime::Pipeline;
use runtime::metrics::{Exporter, Own};
use runtime::replay::Purpose;
use state::CheckpointStore;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::running::Failed;
use super::runs;
use crate::arguments::Global;
use crate::commands::dead_letters;
use crate::commands::dead_letters::requests::Selection;
use crate::elsewhere;
use crate::origins::Chosen;
use crate::pipeline::{self, Named};

/// The pipelines of a server.
pub struct Pipelines {
    global: Global,
    files: Vec<Loaded>,
    exporter: Exporter,
    /// Pipelines of the data folder whose checkpoints lie elsewhere.
    elsewhere: Vec<Ledger>,
    /// Where replays run: a defect in what writes ends the program, as in every other command.
    tasks: Handle,
    /// Turns true when replays should stop.
    stop: watch::Receiver<bool>,
    /// Those that this server runs, and that failed.
    failed: Failed,
}

/// A pipeline with its file.
pub struct Loaded {
    /// Where it stands.
    pub place: Named,
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
    pub fn load(
        (files, names): (&[PathBuf], &[String]),
        exporter: Exporter,
        stop: watch::Receiver<bool>,
        global: &Global,
    ) -> Result<Self> {
        let loaded = pipeline::load_all(files, names, &global.data)?.into_iter().map(|loaded| {
            let pipeline::Loaded { place, plan, pipeline, .. } = loaded;
            Loaded { place, plan: Arc::new(plan), pipeline }
        });
        let loaded: Vec<_> = loaded.collect();
        let elsewhere = match files {
            [] => elsewhere::of(&global.data).ledgers,
            _ => Vec::new(),
        };
        let (global, tasks) = (global.clone(), Handle::current());
        let failed = Failed::default();
        Ok(Self { global, files: loaded, exporter, elsewhere, tasks, stop, failed })
    }

    /// Where it is noted which of them failed for good.
    pub fn failed(&self) -> Failed {
        self.failed.clone()
    }

    /// What stands in the files.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        self.files.iter().map(|loaded| loaded.plan.clone()).collect()
    }

    /// All pipelines that left checkpoints.
    fn of_folder(&self) -> Result<Vec<Served>> {
        let mut served = Vec::new();
        let folder = self.global.data.join("checkpoints");
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
        // What has no name yet lies in a hidden folder.
        let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'));
        if entry.path().is_dir() {
            names.extend(name);
        }
    }
    Ok(names)
}

fn known(name: String, checkpoints: CheckpointStore) -> Served {
    Served {
        name,
        file: None,
        promises: Vec::new(),
        checkpoints: Some(checkpoints),
        state: None,
        schedule: None,
    }
}

#[async_trait]
impl Host for Pipelines {
    async fn pipelines(&self) -> Result<Vec<Served>> {
        let mut served = Vec::with_capacity(self.files.len());
        for loaded in &self.files {
            let sinks = loaded.pipeline.sinks.iter();
            let (schedule, state) = match &loaded.plan.settings.schedule {
                Some(schedule) => {
                    let runs = loaded.pipeline.checkpoint_store()?.runs(&loaded.plan.name);
                    let (schedule, state) = runs::schedule(schedule, &runs).await?;
                    (Some(schedule), state)
                }
                None => (None, None),
            };
            let has_failed = self.failed.has(&loaded.plan.name);
            let state = if has_failed { Some(State::Failed) } else { state };
            served.push(Served {
                name: loaded.plan.name.clone(),
                file: Some((loaded.place.file.clone(), loaded.plan.clone())),
                promises: sinks.map(promise).collect(),
                checkpoints: pipeline::find_checkpoints(&loaded.pipeline).await?,
                state,
                schedule,
            });
        }
        if self.files.is_empty() {
            served = self.of_folder()?;
        }
        served.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(served)
    }

    async fn runs(&self, pipeline: &str) -> Result<Vec<ScheduledRun>> {
        let loaded = self.files.iter().find(|loaded| loaded.plan.name == pipeline);
        if let Some(loaded) = loaded.filter(|loaded| loaded.plan.settings.schedule.is_some()) {
            return runs::of(&loaded.pipeline.checkpoint_store()?.runs(pipeline)).await;
        }
        let served = self.pipelines().await?;
        let served = served.into_iter().find(|served| served.name == pipeline);
        match served.and_then(|served| served.checkpoints) {
            Some(checkpoints) => runs::of(&checkpoints.runs(pipeline)).await,
            None => Ok(Vec::new()),
        }
    }

    fn metrics(&self) -> String {
        let own: Vec<_> = self.files.iter().map(|loaded| Own::of(&loaded.pipeline)).collect();
        self.exporter.render(&own)
    }

    fn is_writable(&self) -> bool {
        !self.files.is_empty()
    }

    fn worker(&self) -> Command {
        // The same program, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg("answer-query").args(self.global.given.arguments()).env_remove("LOGMILL_TOKEN");
        command
    }

    async fn replay(&self, pipeline: &str, replay: Replay) -> Result<Replayed> {
        let loaded = self.files.iter().find(|loaded| loaded.plan.name == pipeline);
        let place = loaded.map(|loaded| loaded.place.clone()).ok_or_else(|| {
            Error::config(format!("the file of pipeline {pipeline:?} is not served"))
        })?;
        let Replay { sink, origins } = replay;
        let origins = origins.into_iter().map(|origin| Chosen { origin, ordinal: None }).collect();
        let selection = Selection { purpose: Purpose::Replay, sink, reason: None, origins };
        let (global, stop) = (self.global.clone(), self.stop.clone());
        let work = self.tasks.spawn(async move {
            dead_letters::replay::take(&place, &selection, &global, stop).await
        });
        let report = work.await.map_err(|error| Error::bug("a replay failed").because(error))??;
        let open = query::letters::open_counts(&self.global.data).await?;
        Ok(Replayed {
            replayed: report.taken.saturating_sub(report.refused_again),
            remaining: open.get(pipeline).copied().unwrap_or_default(),
            failed: report.refused_again,
        })
    }
}

fn promise(node: &runtime::graph::SinkNode) -> (String, String) {
    (node.name.clone(), node.sink.promise().sentence.to_owned())
}
