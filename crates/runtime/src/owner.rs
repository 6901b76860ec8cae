//! The owner of a lineage: what every attempt at it needs and none of them changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::error::Context;
use contract::sink::WriterContext;
use contract::transform::EpochStart;
use contract::{Error, Lineage, Result};
use state::checkpoint::sha256_hex;
use state::{Checkpoint, History};
use tokio::sync::watch;

use crate::graph::Pipeline;
use crate::progress::Progress;

/// The share of the memory limit for batches under way, in hundredths.
const FLOW_PERCENT: u64 = 12;
/// The share for the writers of all sinks together.
const WRITERS_PERCENT: u64 = 35;
/// The share for the writer of dead letters.
const DEAD_LETTERS_PERCENT: u64 = 5;

/// What made an epoch, as its checkpoint names it.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The pipeline file.
    pub text: String,
    /// The files that its steps read: where each lay, and where its content is kept.
    pub resources: Vec<(String, PathBuf)>,
}

/// Makes the pipeline of an earlier version of the file again.
pub type Rebuild = Arc<dyn Fn(&Recipe) -> Result<Pipeline> + Send + Sync>;

/// How a pipeline is to be run.
#[derive(Clone)]
pub struct RunOptions {
    /// Whose epochs they are.
    pub lineage: Lineage,
    /// No epoch's `now()` lies before this, in microseconds since 1970.
    pub not_before_us: i64,
    /// Makes the version of the pipeline that decided an epoch which is not finished.
    pub rebuild: Rebuild,
    /// Stop at the end that each split has at the start; else follow.
    pub until_end: bool,
    /// Go on numbering above the tokens that sinks hold from another history.
    pub adopt: bool,
    /// Give up records of an unfinished epoch that can no longer be read, and book them as lost.
    pub accept_loss: bool,
    /// Turns true when the run should finish its epoch and stop.
    pub stop: watch::Receiver<bool>,
}

/// The owner of one lineage.
#[derive(Clone)]
pub struct Owner {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Its checkpoints.
    pub history: History,
    /// The lineage.
    pub lineage: Lineage,
    /// How it is run.
    pub options: RunOptions,
    /// What people see.
    pub progress: Arc<Progress>,
}

impl Owner {
    /// Keeps what an epoch is made with, before the first checkpoint that names it.
    ///
    /// # Errors
    /// External: a resource cannot be read any more, or the store does not answer (retryable).
    pub async fn keep_recipe(&self, checkpoint: &Checkpoint) -> Result<()> {
        let text = Bytes::copy_from_slice(self.pipeline.text.as_bytes());
        self.history.keep_resource(&checkpoint.plan_text, text).await?;
        for resource in self.pipeline.resources() {
            let shown = resource.path.display();
            let content = tokio::fs::read(&resource.path)
                .await
                .external(|| format!("could not read resource \"{shown}\""))?;
            if sha256_hex(&content) != resource.sha256 {
                return Err(Error::transient(format!("resource \"{shown}\" changed while we run")));
            }
            self.history.keep_resource(&resource.sha256, content.into()).await?;
        }
        Ok(())
    }

    /// This owner with the version of the pipeline that made a checkpoint. Its sinks are those of
    /// the file as it is now: connection settings change nothing that was decided.
    ///
    /// # Errors
    /// Config: that version cannot be made again.
    pub async fn as_of(&self, checkpoint: &Checkpoint) -> Result<Self> {
        if checkpoint.plan == self.pipeline.fingerprint {
            return Ok(self.clone());
        }
        let text = self.history.resource(&checkpoint.plan_text).await?;
        let folder = Self::checkpoint_folder(&self.pipeline)?;
        let folder = folder.join(&self.pipeline.name).join("resources");
        let resources = checkpoint.resources.iter();
        let recipe = Recipe {
            text: String::from_utf8_lossy(&text).into_owned(),
            resources: resources
                .map(|resource| (resource.path.clone(), folder.join(&resource.sha256)))
                .collect(),
        };
        let mut pipeline = (self.options.rebuild)(&recipe)?;
        if pipeline.fingerprint != checkpoint.plan {
            return Err(Error::config(format!(
                "epoch {} was decided under another version of this pipeline and is not \
                 finished, and that version cannot be made again: variables in it have changed",
                checkpoint.epoch
            ))
            .hint("run once with the old environment, stop cleanly, then change it"));
        }
        for node in &mut pipeline.sinks {
            let now = self.pipeline.sinks.iter().find(|now| now.name == node.name);
            if let Some(now) = now.filter(|now| now.kind == node.kind) {
                node.sink = now.sink.clone();
            }
        }
        Ok(Self { pipeline: Arc::new(pipeline), ..self.clone() })
    }

    /// Where the checkpoints of a pipeline lie: `checkpoint.url`, or beside the lake.
    ///
    /// # Errors
    /// Config: the URL names a store that cannot hold a lease.
    pub fn checkpoint_folder(pipeline: &Pipeline) -> Result<PathBuf> {
        let Some(url) = &pipeline.settings.checkpoint_url else {
            return Ok(pipeline.data.join("checkpoints"));
        };
        state::store::local_folder(url)?.ok_or_else(|| {
            Error::config("checkpoints can only lie in a local folder")
                .field("checkpoint.url")
                .hint("use a path or file:///…; sinks may be anywhere")
        })
    }

    /// What a sink's writer is told.
    pub fn writer_context(&self, sink: usize, incarnation: u32) -> WriterContext {
        let node = &self.pipeline.sinks[sink];
        let limit = self.pipeline.settings.memory_limit;
        let bytes = match sink == self.pipeline.dead_letter_sink() {
            true => limit * DEAD_LETTERS_PERCENT / 100,
            false => limit * WRITERS_PERCENT / 100 / self.pipeline.dead_letter_sink().max(1) as u64,
        };
        WriterContext {
            pipeline: self.pipeline.name.clone(),
            sink: node.name.clone(),
            incarnation,
            writer_id: format!("{:016x}", rand::random::<u64>()),
            schema: node.schema.clone(),
            memory_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Bytes of batches that may be under way.
    pub fn flow_bytes(&self) -> usize {
        let bytes = self.pipeline.settings.memory_limit * FLOW_PERCENT / 100;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The beginning of an epoch: now, but never before the epoch that went before.
    pub fn start_epoch(&self, epoch: u64, not_before_us: i64) -> EpochStart {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let earliest_us = not_before_us.max(self.options.not_before_us);
        EpochStart { epoch, now_us: now_us.max(earliest_us) }
    }
}
