//! The owner of a lineage: what every attempt at it needs and none of them changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use contract::sink::WriterContext;
use contract::transform::EpochStart;
use contract::{Error, Lineage, Result};
use state::History;
use tokio::sync::watch;

use crate::graph::Pipeline;
use crate::progress::Progress;

/// The share of the memory limit for batches under way, in hundredths.
const FLOW_PERCENT: u64 = 25;
/// The share for the writers of all sinks together.
const WRITERS_PERCENT: u64 = 55;
/// The share for the writer of dead letters.
const DEAD_LETTERS_PERCENT: u64 = 5;

/// How a pipeline is to be run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Stop at the end that each split has at the start; else follow.
    pub until_end: bool,
    /// Go on numbering above the tokens that sinks hold from another history.
    pub adopt: bool,
    /// Turns true when the run should finish its epoch and stop.
    pub stop: watch::Receiver<bool>,
}

/// The owner of one lineage.
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
        EpochStart { epoch, now_us: now_us.max(not_before_us) }
    }
}
