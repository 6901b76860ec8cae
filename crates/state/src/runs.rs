//! The history of scheduled runs: one object per run, beside the checkpoints of the pipeline.
//!
//! A run is claimed by creating its object, named by the time at which it was due, so that of
//! several processes one begins it. What becomes of it is written over the claim. Only the newest
//! runs are kept.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use contract::error::Context;
use contract::{Error, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use tracing::debug;

/// The folder of the runs of a pipeline, beside those of its lineages.
pub(crate) const RUNS: &str = "runs";
/// Names begin with this, so that their order is that of the times.
const PREFIX: &str = "due-";

/// What became of a scheduled run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It goes on, or its process ended in the middle of it.
    Running,
    /// It came to its end.
    Ok,
    /// It failed, after all attempts.
    Failed,
    /// It was told to stop, and the epoch under way was finished.
    Stopped,
    /// It did not begin: nobody was there in time.
    Skipped,
    /// The pipeline was first seen then; no earlier time counts as missed.
    Begun,
}

impl RunOutcome {
    /// The word in the history and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
            Self::Begun => "begun",
        }
    }
}

/// A scheduled run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it was due.
    pub due: DateTime<Utc>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// What became of it.
    pub outcome: RunOutcome,
    /// How often it was tried.
    pub attempts: u32,
    /// Records read, in all attempts.
    pub read: u64,
    /// Rows delivered, added up over the sinks.
    pub delivered: u64,
    /// Why it failed, or what was skipped.
    pub message: Option<String>,
    /// Random, of the process that runs it.
    pub process: String,
}

/// The history of the scheduled runs of one pipeline.
#[derive(Clone, Debug)]
pub struct Runs {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Runs {
    /// The history of a pipeline in a store of checkpoints.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, pipeline: &str) -> Self {
        Self { store, prefix: Path::from_iter([pipeline, RUNS]) }
    }

    /// Notes that a run begins; false if somebody has noted it before.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn claim(&self, run: &Run) -> Result<bool> {
        let path = self.path(run);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, body(run)?.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => {
                // A store may apply a put and answer with an error; then it is our own.
                Ok(self.read(&path).await?.is_some_and(|there| there == *run))
            }
            Err(error) => Err(error).transient(|| format!("could not write \"{path}\"")),
        }
    }

    /// Notes what became of a run that was claimed.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn note(&self, run: &Run) -> Result<()> {
        let path = self.path(run);
        let put = self.store.put(&path, body(run)?.into()).await;
        put.map(drop).transient(|| format!("could not write \"{path}\""))
    }

    /// The newest runs, the newest first.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn newest(&self, count: usize) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for path in self.paths().await?.iter().rev().take(count) {
            runs.extend(self.read(path).await?);
        }
        Ok(runs)
    }

    /// Forgets all but the newest runs.
    pub async fn tidy(&self, kept: usize) {
        let Ok(paths) = self.paths().await else { return };
        let old = paths.len().saturating_sub(kept);
        for path in &paths[..old] {
            if let Err(error) = self.store.delete(path).await {
                debug!(%path, %error, "could not delete an old run");
            }
        }
    }

    async fn paths(&self) -> Result<Vec<Path>> {
        let listed = self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>().await;
        let listed = listed.transient(|| format!("could not list \"{}\"", self.prefix))?;
        let paths = listed.into_iter().map(|object| object.location);
        let is_run = |path: &Path| path.filename().is_some_and(|name| name.starts_with(PREFIX));
        let mut paths: Vec<_> = paths.filter(is_run).collect();
        paths.sort();
        Ok(paths)
    }

    /// A run; none if it was forgotten meanwhile, or is not whole.
    async fn read(&self, path: &Path) -> Result<Option<Run>> {
        let bytes = match self.store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes = bytes.transient(|| format!("could not read \"{path}\""))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn path(&self, run: &Run) -> Path {
        self.prefix.clone().join(format!("{PREFIX}{}", run.due.format("%Y%m%dT%H%M%SZ")))
    }
}

fn body(run: &Run) -> Result<Bytes> {
    let text = serde_json::to_vec(run);
    text.map(Bytes::from).map_err(|error| Error::bug("a run is no JSON").because(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::{Run, RunOutcome, Runs};

    fn run(hour: u32, process: &str) -> Run {
        let due = format!("2026-11-21T{hour:02}:00:00Z").parse().expect("a time");
        Run {
            due,
            started: due,
            ended: None,
            outcome: RunOutcome::Running,
            attempts: 1,
            read: 0,
            delivered: 0,
            message: None,
            process: process.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_time_is_claimed_once_and_the_newest_runs_stay() {
        let runs = Runs::new(Arc::new(InMemory::new()), "web-logs");
        assert!(runs.claim(&run(9, "one")).await.expect("claimed"));
        assert!(!runs.claim(&run(9, "another")).await.expect("asked"), "somebody has it");
        assert!(runs.claim(&run(9, "one")).await.expect("asked"), "our own bytes are ours");
        let ended = Run { outcome: RunOutcome::Ok, ended: Some(run(9, "").due), ..run(9, "one") };
        runs.note(&ended).await.expect("noted");
        for hour in [11, 10, 12] {
            assert!(runs.claim(&run(hour, "one")).await.expect("claimed"));
        }
        assert_eq!(runs.newest(10).await.expect("runs").last(), Some(&ended));
        runs.tidy(2).await;
        let left = runs.newest(10).await.expect("runs");
        assert_eq!(left, [run(12, "one"), run(11, "one")]);
    }
}
