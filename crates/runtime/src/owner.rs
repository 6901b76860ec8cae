//! The owner of a lineage: what every attempt at it needs and none of them changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::error::Context;
use contract::sink::WriterContext;
use contract::source::{Lineages, Terms, Until};
use contract::transform::EpochStart;
use contract::{Error, ErrorKind, Lineage, Result, failpoint};
use plan::OnSplitError;
use state::checkpoint::{FORMAT, KeptResource, SinkState, sha256_hex};
use state::history::Decision;
use state::lease::Lease;
use state::ledger::Entry;
use state::{Checkpoint, CheckpointStore, History};
use tokio::sync::{OnceCell, watch};
use tracing::warn;

use crate::assume::Assumption;
use crate::graph::Pipeline;
use crate::memory::{self, Memory, WriterHolding, limit_for, writers_need};
use crate::metrics::Instruments;
use crate::progress::Progress;

const MIB: u64 = 1 << 20;

/// What made an epoch, as its checkpoint names it.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The pipeline file.
    pub text: String,
    /// The files that its steps read: where each lay, and where its content is kept.
    pub resources: Vec<(String, PathBuf)>,
    /// The rules by which rows are made of it.
    pub semantics: u32,
}

impl Recipe {
    /// What made the epoch of a checkpoint, as it is kept beside the checkpoints of the pipeline.
    ///
    /// # Errors
    /// External: it is not there, or the store does not answer (retryable).
    pub async fn of(
        checkpoint: &Checkpoint,
        pipeline: &Pipeline,
        checkpoints: &CheckpointStore,
    ) -> Result<Self> {
        // What is kept by content is the same for all lineages.
        let history = checkpoints.history(&pipeline.name, &Lineage::main());
        let text = history.resource(&checkpoint.plan_text).await?;
        let mut resources = Vec::new();
        for KeptResource { path, sha256 } in &checkpoint.resources {
            let file = match checkpoints.resource_file(&pipeline.name, sha256) {
                Some(file) => file,
                None => copy(&history, sha256, &pipeline.data).await?,
            };
            resources.push((path.clone(), file));
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Self { text, resources, semantics: checkpoint.semantics })
    }
}

/// Copies a resource that was kept to a file on this machine.
async fn copy(history: &History, sha256: &str, data: &Path) -> Result<PathBuf> {
    let content = history.resource(sha256).await?;
    let folder = data.join("resources");
    let failed = || format!("could not copy a resource to {:?}", folder.display());
    tokio::fs::create_dir_all(&folder).await.external(failed)?;
    let (file, part) = (folder.join(sha256), folder.join(format!("{sha256}.part")));
    tokio::fs::write(&part, &content).await.external(failed)?;
    tokio::fs::rename(&part, &file).await.external(failed)?;
    Ok(file)
}

/// Makes the pipeline of an earlier version of the file again.
pub type Rebuild = Arc<dyn Fn(&Recipe) -> Result<Pipeline> + Send + Sync>;

/// How a pipeline is to be run.
#[derive(Clone)]
pub struct RunOptions {
    /// Where its checkpoints lie.
    pub checkpoints: CheckpointStore,
    /// Whose epochs they are, those of splits apart that are lineages of their own.
    pub lineage: Lineage,
    /// No epoch's `now()` lies before this, in microseconds since 1970.
    pub not_before_us: i64,
    /// Makes the version of the pipeline that decided an epoch which is not finished.
    pub rebuild: Rebuild,
    /// Stop at the end that each split has at the start; else follow.
    pub until_end: bool,
    /// Go on numbering above the tokens that sinks hold from another history.
    pub adopt: bool,
    /// What a sink is taken to hold whose token the history does not explain; none to stop there.
    pub assume: Option<Assumption>,
    /// Give up records of an unfinished epoch that can no longer be read, and book them as lost.
    pub accept_loss: bool,
    /// At the end, close the windows that are over by the clock.
    pub flush_windows: bool,
    /// Go on with sinks that were not in the pipeline file for some epochs.
    pub accept_gap: bool,
    /// Wait for leases that other processes hold, instead of giving up.
    pub standby: bool,
    /// Turns true when the run should finish its epoch and stop.
    pub stop: watch::Receiver<bool>,
}

/// What all lineages of a run have together.
#[derive(Clone)]
pub struct RunContext {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// How it is run.
    pub options: RunOptions,
    /// What people see.
    pub progress: Arc<Progress>,
    /// What its parts may hold.
    pub memory: Memory,
    /// Who counts.
    pub instruments: Arc<Instruments>,
    /// The lineages among which the memory of writers is divided.
    pub lineages: u64,
    /// By number, the sources that know where their readers will stop.
    begun: Arc<Vec<OnceCell<()>>>,
}

/// Where a lineage finds its splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its sources are asked, again and again; those whose splits are lineages of their own are
    /// none of them.
    Sources,
    /// In its first checkpoint.
    Checkpoint,
}

/// The owner of one lineage.
#[derive(Clone)]
pub struct Owner {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The lineage.
    pub lineage: Lineage,
    /// Where it finds its splits.
    pub scope: Scope,
    /// Its checkpoints.
    pub history: History,
    /// The right to write it.
    pub lease: Arc<Lease>,
    /// How it is run.
    pub options: RunOptions,
    /// What people see.
    pub progress: Arc<Progress>,
    /// What the parts of all lineages of the run may hold.
    pub memory: Memory,
    /// Who counts.
    pub instruments: Arc<Instruments>,
    /// The lineages among which the memory of writers is divided.
    lineages: u64,
    begun: Arc<Vec<OnceCell<()>>>,
}

impl RunContext {
    /// The context of a run with one lineage, so far.
    pub fn new(pipeline: Pipeline, options: RunOptions, progress: Arc<Progress>) -> Self {
        let memory = Memory::new(pipeline.settings.memory_limit);
        let instruments = Instruments::new(&pipeline, &memory);
        let begun = Arc::new(pipeline.sources.iter().map(|_| OnceCell::new()).collect());
        let pipeline = Arc::new(pipeline);
        Self { pipeline, options, progress, memory, instruments, lineages: 1, begun }
    }

    /// Tells a source where its readers will stop, unless it knows.
    ///
    /// # Errors
    /// As for [`contract::source::Source::begin`].
    pub async fn begin(&self, source: usize) -> Result<()> {
        begin(&self.pipeline, &self.options, &self.begun, source).await
    }

    /// Divides the memory of writers among so many lineages.
    pub fn divide_among(&mut self, lineages: u64) {
        self.lineages = lineages;
        let needed = writers_need(&self.pipeline, lineages);
        if lineages > 1 && needed > self.pipeline.settings.memory_limit {
            let limit = limit_for(&self.pipeline, needed).div_ceil(MIB);
            warn!("{lineages} lineages need a `memory.limit` of {limit} MiB and will take it");
        }
    }

    /// Takes the lease of a lineage.
    ///
    /// # Errors
    /// As for [`CheckpointStore::lease`].
    pub async fn lease(&self, lineage: &Lineage) -> Result<Lease> {
        self.options.checkpoints.lease(&self.pipeline.name, lineage).await
    }
}

impl Owner {
    /// The owner of a lineage whose lease is held.
    pub fn new(run: &RunContext, lineage: &Lineage, scope: Scope, lease: Lease) -> Self {
        let (checkpoints, lease) = (&run.options.checkpoints, Arc::new(lease));
        Self {
            pipeline: run.pipeline.clone(),
            lineage: lineage.clone(),
            scope,
            history: checkpoints.history(&run.pipeline.name, lineage).owned(lease.clone()),
            lease,
            options: run.options.clone(),
            progress: run.progress.clone(),
            memory: run.memory.clone(),
            instruments: run.instruments.clone(),
            lineages: run.lineages,
            begun: run.begun.clone(),
        }
    }

    /// Whether a split that cannot be read keeps no other back. A lineage of one split recovers as
    /// a whole, and a replay of dead letters gives all of them or fails.
    pub fn isolates(&self) -> bool {
        self.scope == Scope::Sources
            && self.pipeline.settings.on_split_error == OnSplitError::Isolate
            && !self.lineage.is_replay()
    }

    /// The sources that are asked for splits, with their numbers.
    pub fn sources(&self) -> impl Iterator<Item = (usize, &crate::graph::SourceNode)> {
        let asks = self.scope == Scope::Sources;
        let sources = self.pipeline.sources.iter().enumerate();
        sources.filter(move |(_, node)| asks && node.lineages == Lineages::One)
    }

    /// Tells a source where its readers will stop, unless it knows.
    ///
    /// # Errors
    /// As for [`contract::source::Source::begin`].
    pub async fn begin(&self, source: usize) -> Result<()> {
        begin(&self.pipeline, &self.options, &self.begun, source).await
    }

    /// Creates a checkpoint if none stands under its number, once it is certain that the lease is
    /// still held.
    ///
    /// # Errors
    /// As for [`Lease::verify`] and [`History::decide`].
    pub async fn decide(&self, checkpoint: &mut Checkpoint) -> Result<Decision> {
        self.lease.verify().await?;
        let begun = Instant::now();
        let decision = self.history.decide(checkpoint).await;
        match &decision {
            Ok(_) => self.instruments.decided(begun.elapsed()),
            Err(error) => self.instruments.failed(None, error),
        }
        decision
    }

    /// Makes the epoch after a checkpoint that reads nothing: with what sinks held before it, and
    /// entries of the ledger.
    ///
    /// # Errors
    /// NotOwner: another process made that epoch. External, from the store.
    pub async fn decide_without_rows(
        &self,
        checkpoint: &Checkpoint,
        sinks: BTreeMap<String, SinkState>,
        ledger: Vec<Entry>,
    ) -> Result<Checkpoint> {
        let mut next = Checkpoint {
            epoch: checkpoint.epoch + 1,
            writer: format!("{:016x}", rand::random::<u64>()),
            cuts: Vec::new(),
            copies: BTreeMap::new(),
            sinks,
            ledger,
            format: FORMAT,
            ..checkpoint.clone()
        };
        failpoint::reach("without_rows.before").await?;
        match self.decide(&mut next).await? {
            Decision::Decided => {
                self.tell_of_layout(checkpoint.format);
                failpoint::reach("without_rows.after").await?;
                Ok(next)
            }
            Decision::Overtaken => Err(self.overtaken(next.epoch).await),
        }
    }

    /// Says once that there is no way back, where the checkpoint before was written by an earlier
    /// version.
    fn tell_of_layout(&self, before: u32) {
        if (1..FORMAT).contains(&before) && self.progress.upgrades() {
            warn!(
                from = before,
                to = FORMAT,
                "checkpoints are written in a new layout from now on; earlier versions cannot go \
                 on from here"
            );
        }
    }

    /// The error of an epoch that somebody else decided. While the lease is proved to be ours, it
    /// was an earlier owner, and we go on from what it decided.
    pub async fn overtaken(&self, epoch: u64) -> Error {
        match self.lease.prove().await {
            Ok(true) => Error::transient(format!("an earlier owner decided epoch {epoch}")),
            Err(error) => error,
            Ok(false) => Error::new(
                ErrorKind::NotOwner,
                format!("another process wrote epoch {epoch} of this pipeline"),
            )
            .hint("only one process may run a pipeline; this one has changed nothing"),
        }
    }

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
        let semantics = checkpoint.semantics;
        let is_alike = semantics == self.pipeline.semantics || !self.pipeline.numbers_rows();
        if checkpoint.plan == self.pipeline.fingerprint && is_alike {
            return Ok(self.clone());
        }
        let recipe = Recipe::of(checkpoint, &self.pipeline, &self.options.checkpoints).await?;
        let mut pipeline = (self.options.rebuild)(&recipe)?;
        if pipeline.fingerprint != checkpoint.plan {
            return Err(Error::config(format!(
                "epoch {} was decided under another version of this pipeline and is not \
                 finished, and that version cannot be made again: variables in it have changed",
                checkpoint.epoch
            ))
            .hint("run once with the old environment, stop cleanly, then change it"));
        }
        pipeline.settings.memory_limit = self.pipeline.settings.memory_limit;
        pipeline.memory_divided = self.pipeline.memory_divided;
        for node in &mut pipeline.sinks {
            let now = self.pipeline.sinks.iter().find(|now| now.name == node.name);
            if let Some(now) = now.filter(|now| now.kind == node.kind) {
                node.sink = now.sink.clone();
                node.target.clone_from(&now.target);
            }
        }
        Ok(Self { pipeline: Arc::new(pipeline), ..self.clone() })
    }

    /// What a sink's writer is told.
    pub fn writer_context(&self, sink: usize, incarnation: u32) -> WriterContext {
        memory::writer_context(&self.pipeline, self.lineages, sink, incarnation)
    }

    /// A writer of a sink that holds nothing yet.
    pub fn writer_holding(&self, sink: usize) -> WriterHolding {
        WriterHolding::new(&self.memory, self.writer_context(sink, 0).memory_bytes)
    }

    /// The beginning of an epoch: now, but never before the epoch that went before.
    pub fn start_epoch(&self, epoch: u64, not_before_us: i64) -> EpochStart {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let earliest_us = not_before_us.max(self.options.not_before_us);
        EpochStart { epoch, now_us: now_us.max(earliest_us) }
    }
}

/// Each source is told once in a run; only a call without an answer is repeated.
async fn begin(
    pipeline: &Pipeline,
    options: &RunOptions,
    begun: &[OnceCell<()>],
    source: usize,
) -> Result<()> {
    let until = if options.until_end { Until::End } else { Until::Forever };
    let node = &pipeline.sources[source];
    let fetch_bytes = memory::fetch_bytes(pipeline);
    let terms = Terms { until, lineages: node.lineages, fetch_bytes };
    begun[source].get_or_try_init(|| node.source.begin(&terms)).await?;
    Ok(())
}
