//! Several processes in one: runs of one pipeline side by side, whose splits a group divides among
//! them, and a sink that fails for one lineage as long as a test wants.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Known, Listing, Lists, list};
use contract::sink::{Commit, CommitOutcome};
use contract::source::{KnownSplit, Lineages, ReadBatch, Source, Split, SplitReader, Until};
use contract::{Error, Lineage, Position, Result, SplitId};
use runtime::{Pipeline, Progress, RunOptions, Summary};
use testkit::crash::Proof;
use testkit::wait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::altered::{AlteredSink, Habit};

/// A condition that takes longer never comes.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A group that assigns splits to members by name.
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<HashMap<String, HashSet<String>>>>);

impl Group {
    /// Gives a member these splits and no others.
    pub fn assign(&self, member: &str, splits: &[&str]) {
        let splits = splits.iter().map(|split| (*split).to_owned()).collect();
        self.0.lock().unwrap().insert(member.to_owned(), splits);
    }

    /// Makes a pipeline one of a member of this group.
    pub fn join(&self, pipeline: &mut Pipeline, member: &str) {
        self.join_stuck(pipeline, member, i64::MAX);
    }

    /// The same, of a member whose readers get stuck at a record.
    pub fn join_stuck(&self, pipeline: &mut Pipeline, member: &str, stuck_at: i64) {
        let inner = pipeline.sources[0].source.clone();
        let source = Member { inner, group: self.clone(), name: member.to_owned(), stuck_at };
        pipeline.sources[0].source = Arc::new(source);
    }
}

#[derive(Clone)]
struct Member {
    inner: Arc<dyn Source>,
    group: Group,
    name: String,
    stuck_at: i64,
}

#[async_trait]
impl Lists for Member {
    async fn list(&self, known: Option<&Known>) -> Result<Listing> {
        let found = list(self.inner.as_ref(), known.map(|known| known.as_slice())).await?;
        let assigned = self.group.0.lock().unwrap().get(&self.name).cloned().unwrap_or_default();
        let assigned = assigned.into_iter().map(SplitId::new).collect();
        Ok(Listing { assigned: Some(assigned), ..found })
    }
}

#[async_trait]
impl Source for Member {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn lineages(&self) -> &'static [Lineages] {
        &[Lineages::Split]
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(self.clone(), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let next = from.map_or(0, |from| from.at);
        let inner = self.inner.open(split, from, until).await?;
        Ok(Box::new(Stuck { inner, next, at: self.stuck_at }))
    }
}

/// A source whose splits start at a record if they are there when it is first looked at, and at
/// their beginning if they come later.
#[derive(Clone)]
pub struct StartsLate {
    pub inner: Arc<dyn Source>,
    pub start: i64,
}

impl StartsLate {
    /// Makes the source of a pipeline one.
    pub fn befall(pipeline: &mut Pipeline, start: i64) {
        let inner = pipeline.sources[0].source.clone();
        pipeline.sources[0].source = Arc::new(Self { inner, start });
    }
}

#[async_trait]
impl Lists for StartsLate {
    async fn list(&self, known: Option<&Known>) -> Result<Listing> {
        let mut found = list(self.inner.as_ref(), known.map(|known| known.as_slice())).await?;
        let new = if known.is_none() { self.start } else { 0 };
        for split in &mut found.splits {
            let known = known
                .into_iter()
                .flat_map(|known| known.iter())
                .find(|known| known.split.id == split.id);
            split.descriptor =
                known.map_or_else(|| new.into(), |known| known.split.descriptor.clone());
        }
        Ok(found)
    }
}

#[async_trait]
impl Source for StartsLate {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn lineages(&self) -> &'static [Lineages] {
        &[Lineages::Split]
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(self.clone(), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let start = Position::new(split.descriptor.as_i64().expect("a start"));
        self.inner.open(split, Some(from.unwrap_or(&start)), until).await
    }
}

/// A reader that gets stuck at a record, until somebody else reads on.
struct Stuck {
    inner: Box<dyn SplitReader>,
    next: i64,
    at: i64,
}

#[async_trait]
impl SplitReader for Stuck {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.next >= self.at {
            return std::future::pending().await;
        }
        let batch = self.inner.next_batch().await?;
        self.next = batch.as_ref().map_or(self.next, |batch| batch.next.at);
        Ok(batch)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.inner.acknowledge(position).await
    }
}

/// What goes wrong with commits of one lineage.
#[derive(Clone)]
pub struct Trouble {
    pub lineage: Lineage,
    pub answer: fn() -> Result<CommitOutcome>,
    /// How many commits still fail.
    pub times: Arc<AtomicU64>,
}

impl Trouble {
    /// Puts the trouble before a sink.
    pub fn befall(&self, pipeline: &mut Pipeline, sink: usize) {
        let inner = pipeline.sinks[sink].sink.clone();
        pipeline.sinks[sink].sink = Arc::new(AlteredSink { inner, habit: self.clone() });
    }
}

impl Habit for Trouble {
    fn instead(&mut self, commit: &Commit) -> Option<Result<CommitOutcome>> {
        let ours = commit.lineage == self.lineage;
        let less = |left: u64| left.checked_sub(1);
        let falls =
            ours && self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        falls.then(|| (self.answer)())
    }
}

/// A process that follows its sources.
pub struct Following {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Summary>>,
}

impl Following {
    /// Starts the pipeline of a proof, changed by `edit`.
    pub fn start(proof: &Proof, edit: impl FnOnce(&mut Pipeline)) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut pipeline = proof.pipeline().unwrap();
        edit(&mut pipeline);
        let options = RunOptions {
            checkpoints: proof.checkpoints.clone().unwrap(),
            lineage: Lineage::main(),
            not_before_us: 0,
            rebuild: Arc::new(|_| Err(Error::bug("the file did not change"))),
            until_end: false,
            adopt: false,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop: stopped,
        };
        let run = runtime::run(pipeline, options, Arc::new(Progress::default()));
        Self { stop, task: tokio::spawn(run) }
    }

    /// Stops it cleanly.
    pub async fn stop(self) -> Result<Summary> {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(self) -> Result<Summary> {
        tokio::time::timeout(WAIT_LIMIT, self.task).await.expect("a run hangs").unwrap()
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    wait::for_answer(what, WAIT_LIMIT, async || holds().await.then_some(())).await;
}
