//! Runs a pipeline: owns its lineage, recovers, flows, and starts again after passing errors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use contract::source::{Split, Until};
use contract::{Error, Result, failpoint};
use serde::Serialize;
use state::lease::Lease;
use state::{Checkpoint, History};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::attempt::{Attempt, Cast};
use crate::barrier::Ended;
use crate::flow::SplitContext;
use crate::graph::Pipeline;
use crate::owner::{Owner, RunOptions};
use crate::progress::Progress;
use crate::reader_task::ReaderTask;
use crate::recovery::recover;
use crate::summary::{Summary, SummaryBuilder};

/// Splits that are read at once when there is an end.
const READERS_MAX_UNTIL_END: usize = 8;
/// Splits that are read at once when following; further ones wait for one to end.
const READERS_MAX_FOLLOWING: usize = 1024;
/// How often a source is asked for new splits while following.
const DISCOVER_EVERY: Duration = Duration::from_secs(1);
/// After so long without an epoch the newest is marked as complete.
const REST: Duration = Duration::from_secs(60);
/// The first pause before another attempt; it doubles each time, with jitter.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause before another attempt.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// How long a run with an end keeps trying without any progress, if `retry.for` does not say.
const RETRY_FOR_UNTIL_END: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every split is at its end and everything is committed.
    Ended,
    /// It was asked to stop; the epoch under way was finished first.
    Stopped,
}

/// Runs a pipeline until its end, or until it is asked to stop.
///
/// # Errors
/// NotOwner (exit 4) before anything is touched; Config, External after the retries that the
/// settings allow; Bug.
pub async fn run(
    pipeline: Pipeline,
    options: RunOptions,
    progress: Arc<Progress>,
) -> Result<Summary> {
    let begun = Instant::now();
    let folder = Owner::checkpoint_folder(&pipeline)?;
    let lineage = options.lineage.clone();
    let _lease = Lease::take(&folder.join(&pipeline.name).join(lineage.as_str()))?;
    let store = Arc::new(state::store::DurableLocal::open(&folder)?);
    let history = History::new(store, &pipeline.name, &lineage);
    let owner = Owner { pipeline: Arc::new(pipeline), history, lineage, options, progress };
    let mut summary = SummaryBuilder::default();
    let mut patience = Patience::new(&owner);
    loop {
        let error = match attempt(&owner, &mut summary).await {
            Ok(outcome) => return Ok(summary.finish(&owner, outcome, begun)),
            Err(error) => error,
        };
        if *owner.options.stop.borrow() || !error.retry() {
            return Err(error);
        }
        patience.wait(&owner, error).await?;
    }
}

/// From recovery to the end, the stop or the first error.
async fn attempt(owner: &Owner, summary: &mut SummaryBuilder) -> Result<Outcome> {
    let checkpoint = recover(owner).await?;
    let epoch = owner.start_epoch(checkpoint.epoch + 1, checkpoint.now_us);
    let cast = Cast::everyone(owner.pipeline.sinks.len());
    let mut attempt = Attempt::start(owner, checkpoint, epoch, cast).await?;
    let mut flow = Flow { waiting: VecDeque::new(), opened: 0 };
    let outcome = flow.run(&mut attempt, summary).await;
    let (outcome, error) = match outcome {
        Ok(outcome) => (Some(outcome), None),
        Err(error) => (None, Some(error)),
    };
    match (attempt.end(error).await, outcome) {
        (None, Some(outcome)) => Ok(outcome),
        (Some(error), _) => Err(error),
        (None, None) => Err(Error::bug("an attempt ended without a reason")),
    }
}

/// The splits of an attempt.
struct Flow {
    /// Splits that wait for a reader.
    waiting: VecDeque<(usize, usize, Split)>,
    /// Readers that were started.
    opened: u64,
}

impl Flow {
    async fn run(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<Outcome> {
        let owner = attempt.owner;
        let until_end = owner.options.until_end;
        // What can be read only once has nothing more to give at its end, even when followed.
        let is_finite = until_end || sources_all_once(owner);
        let mut stop = owner.options.stop.clone();
        let interval = owner.pipeline.settings.epoch_interval;
        let mut ends = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut discovers = tokio::time::interval(DISCOVER_EVERY);
        discovers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        discovers.tick().await;
        self.discover(attempt).await?;
        let mut rests = Instant::now();
        loop {
            self.open_waiting(attempt).await?;
            if *stop.borrow() {
                end_epoch(attempt, summary).await?;
                return finish(attempt, Outcome::Stopped).await;
            }
            if is_finite && self.active(attempt) == 0 && self.waiting.is_empty() {
                end_epoch(attempt, summary).await?;
                return finish(attempt, Outcome::Ended).await;
            }
            let shared = attempt.shared.clone();
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                failure = attempt.failed() => return Err(failure),
                () = shared.bell.notified() => {
                    if shared.full() {
                        end_epoch(attempt, summary).await?;
                        ends.reset();
                    }
                }
                _ = ends.tick() => {
                    if end_epoch(attempt, summary).await? == Ended::Committed {
                        rests = Instant::now();
                    } else if rests.elapsed() >= REST {
                        owner.history.mark_complete(attempt.checkpoint.epoch).await?;
                        rests = Instant::now();
                    }
                }
                _ = discovers.tick(), if !until_end => self.discover(attempt).await?,
            }
        }
    }

    fn active(&self, attempt: &Attempt<'_>) -> u64 {
        self.opened - attempt.shared.ended.load(Ordering::Relaxed)
    }

    /// Asks every source for its splits; those without a reader wait for one.
    async fn discover(&mut self, attempt: &mut Attempt<'_>) -> Result<()> {
        for (number, node) in attempt.owner.pipeline.sources.iter().enumerate() {
            let known = attempt.checkpoint.known(&node.name);
            let found = node.source.splits(&known).await;
            let found = found.map_err(|error| error.context(format!("source {:?}", node.name)))?;
            for warning in found.warnings {
                warn!(source = node.name, "{warning}");
            }
            for split in found.splits {
                let index = attempt.checkpoint.split_index(&node.name, &split);
                attempt.checkpoint.splits[index].known.split = split.clone();
                let read = attempt.readers.iter().any(|reader| reader.split.index == index);
                let waits = self.waiting.iter().any(|(_, waiting, _)| *waiting == index);
                if !read && !waits {
                    self.waiting.push_back((number, index, split));
                }
            }
        }
        Ok(())
    }

    async fn open_waiting(&mut self, attempt: &mut Attempt<'_>) -> Result<()> {
        let until_end = attempt.owner.options.until_end;
        let (readers_max, until) = match until_end {
            true => (READERS_MAX_UNTIL_END, Until::End),
            false => (READERS_MAX_FOLLOWING, Until::Forever),
        };
        while self.active(attempt) < readers_max as u64 {
            let Some((source, index, split)) = self.waiting.pop_front() else { return Ok(()) };
            let node = &attempt.owner.pipeline.sources[source];
            let position = attempt.checkpoint.splits[index].known.position.clone();
            let opened = node.source.open(&split, position.as_ref(), until.clone()).await;
            let reader = opened
                .map_err(|error| error.context(format!("could not open split \"{}\"", split.id)))?;
            let context = SplitContext::new(index, source, split);
            let (task, handle) =
                ReaderTask::new(attempt.shared.clone(), context, reader, attempt.epoch, position);
            attempt.readers.push(handle);
            attempt.spawn(task.run());
            self.opened += 1;
        }
        Ok(())
    }
}

fn sources_all_once(owner: &Owner) -> bool {
    owner.pipeline.sources.iter().all(|node| !node.source.replayable())
}

async fn end_epoch(attempt: &mut Attempt<'_>, summary: &mut SummaryBuilder) -> Result<Ended> {
    let ended = attempt.end_epoch().await?;
    if ended == Ended::Committed {
        summary.add(&attempt.checkpoint);
    }
    Ok(ended)
}

/// A clean end: everything is committed, and the mark says so.
async fn finish(attempt: &mut Attempt<'_>, outcome: Outcome) -> Result<Outcome> {
    failpoint::reach("complete.before").await?;
    let checkpoint: &Checkpoint = &attempt.checkpoint;
    attempt.owner.history.mark_complete(checkpoint.epoch).await?;
    failpoint::reach("complete.after").await?;
    info!(epoch = checkpoint.epoch, ?outcome, "finished");
    Ok(outcome)
}

/// How long to go on trying.
struct Patience {
    limit: Option<Duration>,
    since: Option<Instant>,
    epochs: u64,
    pause: Duration,
}

impl Patience {
    fn new(owner: &Owner) -> Self {
        let limit = owner.pipeline.settings.retry_for;
        let limit = limit.or(owner.options.until_end.then_some(RETRY_FOR_UNTIL_END));
        Self { limit, since: None, epochs: 0, pause: BACK_OFF_MIN }
    }

    /// Waits before another attempt, or gives the error back once it has lasted too long.
    async fn wait(&mut self, owner: &Owner, error: Error) -> Result<()> {
        let epochs = owner.progress.seen().epochs;
        if epochs > self.epochs {
            (self.since, self.epochs, self.pause) = (None, epochs, BACK_OFF_MIN);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.limit.is_some_and(|limit| since.elapsed() >= limit) {
            return Err(error);
        }
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
        warn!(error = error.chain(), ?pause, "starting again from the last checkpoint");
        self.pause = (self.pause * 2).min(BACK_OFF_MAX);
        let mut stop = owner.options.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = stop.changed() => Err(error),
        }
    }
}
