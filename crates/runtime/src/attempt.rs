//! One attempt at a lineage: its tasks, and the means to talk to them.
//!
//! An attempt begins at a checkpoint and ends with the first error of any of its tasks. Whatever
//! it had not decided is gone with it; the next one begins at the newest checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::sink::Writer;
use contract::transform::EpochStart;
use contract::{Error, Position, Result};
use futures::future::try_join_all;
use state::Checkpoint;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::beginnings::Beginning;
use crate::contained::contained;
use crate::ends::Ends;
use crate::event_times::EventTimes;
use crate::flow::{QUEUE_MESSAGES_MAX, Queue, SplitContext, gone, is_gone};
use crate::forgotten;
use crate::made::{Made, Makers};
use crate::outlet::Outlet;
use crate::owner::Owner;
use crate::places::Places;
use crate::reader_task::{Leave, ReaderHandle, ReaderReport, ReaderShared};
use crate::roster::files::Merging;
use crate::roster::retirement::Leaving;
use crate::sink_task::{SinkHandle, SinkTask, Skip};
use crate::standing::Seen;
use crate::step_task::{Making, Restored, StepMessage};
use crate::troubles::Stand;
use crate::weight::Weight;

/// How long tasks may take to end once nobody needs them.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);

/// Which sinks take part, and what they leave out.
pub struct Cast {
    /// By number of sink: none for a sink that stands aside.
    pub sinks: Vec<Option<Skip>>,
    /// In a replay, what steps made in the epoch, by name; none where they make it now.
    pub copies: Option<BTreeMap<String, Made>>,
}

impl Cast {
    /// Every sink, nothing left out.
    pub fn everyone(count: usize) -> Self {
        let sinks = (0..count).map(|_| Some(Skip::default())).collect();
        Self { sinks, copies: None }
    }
}

/// A reader that is not there any more.
pub struct Departed {
    /// What it read.
    pub split: Arc<SplitContext>,
    /// Where it stood.
    pub position: Option<Position>,
    /// Whether records came since it was opened.
    pub moved: bool,
    /// Why it left; none if it was at its end.
    pub why: Option<Leave>,
}

/// The queues of steps, by number; none for stateless ones.
type StepQueues = Vec<Option<Queue<StepMessage>>>;

/// The last report of a reader that left in the epoch under way, and what it read.
pub type LastReport = (Arc<SplitContext>, ReaderReport);

/// Notes what waits where a reader stands; `is_left` says that nobody looks again soon.
pub fn note_stand(owner: &Owner, split: &SplitContext, of: (&ReaderReport, bool)) {
    let (report, is_left) = of;
    let source = &owner.pipeline.sources[split.source].name;
    let position = report.position.as_ref().map_or(0, |position| position.at);
    let stand = Stand { position, held: report.lag.held, is_left };
    owner.progress.troubles.stands(source, split.id().as_str(), stand);
}

/// The tasks of an attempt.
pub struct Attempt<'a> {
    /// Whose attempt it is.
    pub owner: &'a Owner,
    /// The newest checkpoint; every sink holds its epoch.
    pub checkpoint: Checkpoint,
    /// The epoch under way.
    pub epoch: EpochStart,
    /// When it began.
    pub begun: Instant,
    /// What all readers share.
    pub shared: Arc<ReaderShared>,
    /// The readers.
    pub readers: Vec<ReaderHandle>,
    /// Last reports that the next barrier takes with those of the readers.
    pub last_reports: Vec<LastReport>,
    /// Readers that are gone and were not seen to yet.
    pub departed: Vec<Departed>,
    /// What barriers saw of the readers, for people.
    pub seen: Seen,
    /// Numbers of splits whose positions are committed and of which the sources were not told yet.
    pub moved: BTreeSet<usize>,
    /// Splits that were read as far as they went when they were opened, which no checkpoint says
    /// yet.
    pub read: BTreeMap<usize, Arc<SplitContext>>,
    /// Splits that retire.
    pub leaving: Leaving,
    /// Whether the epoch under way is the last one: then it is made for them alone, too.
    pub is_last: bool,
    /// Where sources begin that came since the last checkpoint.
    pub beginnings: Vec<Beginning>,
    /// The sinks, by number; none for those that stand aside.
    pub sinks: Vec<Option<SinkHandle>>,
    /// The steps that make records.
    pub makers: Makers,
    /// How far event time has come.
    pub event_times: EventTimes,
    /// A new base of the roster, which is being made.
    pub merging: Option<Merging>,
    /// Tasks that hold each other's queues and so do not end by themselves.
    steps: Vec<AbortHandle>,
    tasks: JoinSet<Result<()>>,
}

impl<'a> Attempt<'a> {
    /// Opens the writers and starts the tasks of sinks and stateful steps, in the state of
    /// `checkpoint`, for `epoch`.
    ///
    /// # Errors
    /// From connectors, steps and the checkpoint store.
    pub async fn start(
        owner: &'a Owner,
        mut checkpoint: Checkpoint,
        epoch: EpochStart,
        cast: Cast,
    ) -> Result<Attempt<'a>> {
        let mut tasks = JoinSet::new();
        let writers = open_writers(owner, &checkpoint, &cast).await?;
        let ends = Arc::new(Ends::new(owner.pipeline.settings.epoch_bytes_max));
        let (mut queues, mut sinks) = (Vec::new(), Vec::new());
        for (sink, (writer, skip)) in writers.into_iter().zip(cast.sinks).enumerate() {
            let (Some(writer), Some(skip)) = (writer, skip) else {
                queues.push(None);
                sinks.push(None);
                continue;
            };
            let (queue, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
            let (control_queue, control) = mpsc::channel(1);
            queues.push(Some(queue));
            sinks.push(Some(SinkHandle { control: control_queue }));
            let task = SinkTask {
                pipeline: owner.pipeline.clone(),
                sink,
                lineage: owner.lineage.clone(),
                lease: owner.lease.clone(),
                writer,
                epoch: epoch.epoch,
                started: None,
                messages,
                control,
                skip,
                ends: ends.clone(),
                held: owner.writer_holding(sink),
                instruments: owner.instruments.clone(),
            };
            tasks.spawn(contained(task.run()));
        }
        let makers = Makers::of(owner, &mut checkpoint);
        let event_times = EventTimes::of(owner, &checkpoint);
        let (step_queues, restored) =
            restore_steps(owner, &checkpoint, (&makers, cast.copies), epoch).await?;
        let outlet = Arc::new(Outlet::new(owner.pipeline.clone(), step_queues, queues));
        let mut steps = Vec::new();
        for (step, messages) in restored {
            let task = step.begin(messages, outlet.clone(), ends.clone());
            steps.push(tasks.spawn(contained(task.run())));
        }
        Ok(Self {
            owner,
            checkpoint,
            epoch,
            begun: Instant::now(),
            shared: share(owner, outlet, ends),
            readers: Vec::new(),
            last_reports: Vec::new(),
            departed: Vec::new(),
            seen: Seen::default(),
            moved: BTreeSet::new(),
            read: BTreeMap::new(),
            leaving: Leaving::default(),
            is_last: false,
            beginnings: Vec::new(),
            sinks,
            makers,
            event_times,
            merging: None,
            steps,
            tasks,
        })
    }

    /// Starts another task of this attempt.
    pub fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(contained(task));
    }

    /// Lets go of the readers that left by themselves; their last reports wait for the barrier.
    pub fn let_go_of_left(&mut self) {
        let left = std::mem::take(&mut *self.shared.left());
        for left in left {
            let place = self.readers.iter().position(|reader| reader.number == left.reader);
            let Some(place) = place else { continue };
            let split = self.readers.remove(place).split;
            let position = left.report.position.clone();
            let moved = left.report.moved;
            note_stand(self.owner, &split, (&left.report, true));
            self.last_reports.push((split.clone(), left.report));
            self.departed.push(Departed { split, position, moved, why: Some(left.why) });
        }
    }

    /// Lets go of the readers that were at their end at the last barrier, once nothing of theirs is
    /// left to acknowledge.
    pub fn let_go_of_ended(&mut self) {
        for reader in self.readers.extract_if(.., |reader| reader.ended) {
            let split = reader.split;
            self.departed.push(Departed { split, position: None, moved: true, why: None });
        }
    }

    /// Waits for an answer, or for the error that keeps it from coming.
    ///
    /// # Errors
    /// The error of the task that failed first.
    pub async fn answer<T>(&mut self, answer: oneshot::Receiver<T>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => Err(gone()),
            },
            failure = failed(&mut self.tasks) => Err(failure),
        }
    }

    /// Waits until a task fails.
    pub async fn failed(&mut self) -> Error {
        failed(&mut self.tasks).await
    }

    /// Ends all tasks: readers and steps first, then the sinks, which drop what is undecided.
    /// Returns `error`, or the one behind it if `error` only says that another task is gone.
    pub async fn end(mut self, error: Option<Error>) -> Option<Error> {
        let mut cause = error;
        self.readers.clear();
        self.sinks.clear();
        drop(self.shared);
        self.steps.iter().for_each(AbortHandle::abort);
        let drained = tokio::time::timeout(SHUTDOWN_LIMIT, async {
            while let Some(joined) = self.tasks.join_next().await {
                let Some(error) = failure_of(joined) else { continue };
                if cause.as_ref().is_none_or(|cause| is_gone(cause) && !is_gone(&error)) {
                    cause = Some(error);
                }
            }
        });
        if drained.await.is_err() {
            self.tasks.shutdown().await;
        }
        cause
    }
}

/// What the readers of an attempt share.
fn share(owner: &Owner, outlet: Arc<Outlet>, ends: Arc<Ends>) -> Arc<ReaderShared> {
    Arc::new(ReaderShared {
        pipeline: owner.pipeline.clone(),
        outlet,
        history: owner.history.clone(),
        memory: owner.memory.clone(),
        weights: owner.pipeline.sources.iter().map(|_| Weight::unknown()).collect(),
        ended: AtomicU64::new(0),
        left: Mutex::default(),
        places: Places::new(),
        ends,
        isolates: owner.isolates(),
        progress: owner.progress.clone(),
        underway: owner.progress.underway(),
        instruments: owner.instruments.clone(),
    })
}

async fn open_writers(
    owner: &Owner,
    checkpoint: &Checkpoint,
    cast: &Cast,
) -> Result<Vec<Option<Box<dyn Writer>>>> {
    let opened = cast.sinks.iter().enumerate().map(|(sink, skip)| async move {
        if skip.is_none() {
            return Ok(None);
        }
        let ctx = owner.writer_context(sink, checkpoint.incarnation);
        let node = &owner.pipeline.sinks[sink];
        let writer = node.sink.open(ctx).await;
        writer.map(Some).map_err(|error| {
            owner.instruments.failed(Some(&node.name), &error);
            error.context(format!("sink {:?}", node.name))
        })
    });
    try_join_all(opened).await
}

/// The steps with a state as a checkpoint has them, with their queues. `copies` is what steps made
/// in an epoch that is replayed.
async fn restore_steps(
    owner: &Owner,
    checkpoint: &Checkpoint,
    (makers, mut copies): (&Makers, Option<BTreeMap<String, Made>>),
    epoch: EpochStart,
) -> Result<(StepQueues, Vec<(Restored, mpsc::Receiver<StepMessage>)>)> {
    let (mut queues, mut restored) = (StepQueues::new(), Vec::new());
    for (number, node) in owner.pipeline.steps.iter().enumerate() {
        if !node.step.stateful() {
            queues.push(None);
            continue;
        }
        let state = stored_state(owner, checkpoint, &node.name).await?;
        let making = makers.split(number).map(|split| Making {
            split: split.clone(),
            next: next_of(checkpoint, split),
            given: copies.as_mut().map(|all| all.remove(&node.name).unwrap_or_default()),
            budget: owner.memory.budget.clone(),
            held: 0,
        });
        let watermark_us = watermark_of(checkpoint, &node.name);
        let means = (state.as_deref(), making, watermark_us);
        let step = Restored::new(owner, number, means, epoch)?;
        let (queue, messages) = mpsc::channel(QUEUE_MESSAGES_MAX);
        queues.push(Some(queue));
        restored.push((step, messages));
    }
    Ok((queues, restored))
}

async fn stored_state(owner: &Owner, checkpoint: &Checkpoint, step: &str) -> Result<Option<Bytes>> {
    match checkpoint.states.get(step) {
        Some(name) => forgotten::read(owner, step, name).await.map(Some),
        None => Ok(None),
    }
}

/// How far the event time of a step had come.
pub fn watermark_of(checkpoint: &Checkpoint, step: &str) -> Option<i64> {
    checkpoint.times.get(step).and_then(|time| time.watermark_us)
}

/// The number of the next record of a split.
fn next_of(checkpoint: &Checkpoint, split: &SplitContext) -> i64 {
    checkpoint.roster[split.index].known.position.as_ref().map_or(0, |position| position.at)
}

/// Waits for the first task that fails; tasks that end well are not waited for.
async fn failed(tasks: &mut JoinSet<Result<()>>) -> Error {
    loop {
        match tasks.join_next().await {
            Some(joined) => {
                if let Some(error) = failure_of(joined) {
                    return error;
                }
            }
            None => std::future::pending::<()>().await,
        }
    }
}

fn failure_of(joined: std::result::Result<Result<()>, tokio::task::JoinError>) -> Option<Error> {
    match joined {
        Ok(outcome) => outcome.err(),
        Err(error) if error.is_cancelled() => None,
        Err(error) => Some(Error::bug("a task of the pipeline panicked").because(error)),
    }
}
