//! The pipelines that `serve` runs itself: those with a schedule, and the others with `--run`.
//!
//! A pipeline without an end that fails for good leaves its neighbours and the server running, as
//! `run` does; the last one that is left ends the server. A scheduled run that fails is noted in
//! the history and counted, and the next one comes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use contract::{Error, Result};
use futures::future::join_all;
use plan::schedule::Schedule;
use runtime::schedule::{Scheduled, Start, SystemClock};
use runtime::{Progress, RunOptions};
use tokio::sync::watch;

use super::Serve;
use crate::arguments::Global;
use crate::commands::query::named;
use crate::commands::run;
use crate::failure::Exit;
use crate::pipeline::{self, Named};
use crate::{detection, elsewhere, failure, standard_input};

/// The names of pipelines that failed for good.
#[derive(Clone, Default)]
pub struct Failed(Arc<Mutex<BTreeSet<String>>>);

impl Failed {
    /// Whether a pipeline did.
    pub fn has(&self, pipeline: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(pipeline)
    }

    /// Notes one; returns how many there are.
    fn add(&self, pipeline: String) -> usize {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.insert(pipeline);
        failed.len()
    }
}

/// What the server runs.
pub struct Running {
    pipelines: Vec<Kept>,
    data: PathBuf,
}

/// A pipeline that the server runs.
struct Kept {
    name: String,
    place: Named,
    /// The share of the process's memory, and all of it.
    memory: (u64, u64),
    /// None: it follows its sources.
    schedule: Option<Schedule>,
}

impl Running {
    /// Finds what is to be run.
    ///
    /// # Errors
    /// Config: a schedule cannot be kept, or there is nothing to run where `--run` says so.
    pub fn find(serve: &Serve, global: &Global) -> Result<Self> {
        if serve.run && serve.files.is_empty() {
            return Err(Error::config("`serve --run` needs pipeline files")
                .hint("write `logmill serve --run FILE…`"));
        }
        let mut all = pipeline::load_all(&serve.files, &serve.names, &global.data)?;
        all.retain(|loaded| serve.run || loaded.pipeline.settings.schedule.is_some());
        standard_input::refuse_second_reader(&all)?;
        serve.memory.divide(&mut all);
        let mut pipelines = Vec::new();
        for loaded in all {
            let schedule = loaded.pipeline.settings.schedule.clone();
            if schedule.is_some() {
                runtime::schedule::check(&loaded.pipeline)?;
            }
            elsewhere::note(&loaded.plan, &loaded.place.file, &global.data)?;
            named::note(&loaded.plan.name, &loaded.place.file, &global.data)?;
            let name = loaded.pipeline.name.clone();
            let memory = (loaded.pipeline.settings.memory_limit, loaded.pipeline.memory_divided);
            pipelines.push(Kept { name, place: loaded.place, memory, schedule });
        }
        Ok(Self { pipelines, data: global.data.clone() })
    }

    /// The names of the pipelines.
    pub fn names(&self) -> Vec<String> {
        self.pipelines.iter().map(|kept| kept.name.clone()).collect()
    }

    /// Runs them until `end` is true, which it is once all have failed for good. Who does is told
    /// of at once, and the others go on. Without any it waits. Returns the worst that became of
    /// them.
    pub async fn run(self, end: &watch::Sender<bool>, failed: &Failed, global: &Global) -> Exit {
        let all = self.pipelines.len();
        if all > 1 {
            runtime::contain();
        }
        let data = &self.data;
        let runs = self.pipelines.into_iter().map(|kept| async move {
            let name = kept.name.clone();
            let Err(error) = keep(kept, data.clone(), end.subscribe()).await else {
                return Exit::Done;
            };
            if failed.add(name.clone()) == all {
                end.send_replace(true);
            }
            failure::report(&error.context(format!("pipeline {name:?}")), global)
        });
        let ended = join_all(runs).await;
        let mut stop = end.subscribe();
        // Who gives the order is gone only when the program is.
        let _ = stop.wait_for(|stop| *stop).await;
        ended.into_iter().fold(Exit::Done, Exit::worse)
    }
}

async fn keep(kept: Kept, data: PathBuf, stop: watch::Receiver<bool>) -> Result<()> {
    let Some(schedule) = kept.schedule.clone() else {
        return begin(&kept, &data, stop, false).await.map(drop);
    };
    let name = kept.name.clone();
    let runs = kept.place.load(&data)?.pipeline.checkpoint_store()?.runs(&name);
    let (kept, stopped) = (Arc::new(kept), stop.clone());
    let start: Start = Arc::new(move || {
        let (kept, data, stop) = (kept.clone(), data.clone(), stopped.clone());
        Box::pin(async move { begin(&kept, &data, stop, true).await })
    });
    let clock = Arc::new(SystemClock);
    Scheduled { pipeline: name, schedule, runs, start, clock, stop }.keep().await
}

/// Runs a pipeline as its file is now.
async fn begin(
    kept: &Kept,
    data: &Path,
    stop: watch::Receiver<bool>,
    until_end: bool,
) -> Result<runtime::Summary> {
    let mut loaded = kept.place.load(data)?;
    (loaded.pipeline.settings.memory_limit, loaded.pipeline.memory_divided) = kept.memory;
    loaded.plan.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    detection::keep(&loaded.decisions, &loaded.pipeline).await?;
    let options = run::until_end(&loaded.pipeline, stop, data)?;
    let options = RunOptions { until_end, ..options };
    runtime::run(loaded.pipeline, options, Arc::new(Progress::default())).await
}
