//! The loop of an attempt: opens splits, ends epochs, until the end or an order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use contract::source::{Split, Until};
use contract::{Result, failpoint};
use state::Checkpoint;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::attempt::Attempt;
use crate::coordinator::{End, Order, reached};
use crate::flow::SplitContext;
use crate::originals;
use crate::owner::{Owner, Scope};
use crate::reader_task::ReaderTask;
use crate::summary::SummaryBuilder;

/// Splits that are read at once when there is an end.
const READERS_MAX_UNTIL_END: usize = 8;
/// Splits that are read at once when following; further ones wait for one to end.
const READERS_MAX_FOLLOWING: usize = 1024;
/// How often a source is asked for new splits while following.
pub const DISCOVER_EVERY: Duration = Duration::from_secs(1);
/// After so long without an epoch the newest is marked as complete.
const REST: Duration = Duration::from_secs(60);

/// What came of asking for an epoch's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The epoch is committed everywhere.
    Committed,
    /// Nothing was read, so no epoch was made.
    Nothing,
    /// The lineage was left before the epoch was decided.
    Left,
}

/// The splits of an attempt.
pub struct Epochs {
    orders: watch::Receiver<Order>,
    /// Splits that wait for a reader.
    waiting: VecDeque<(usize, usize, Split)>,
    /// Readers that were started.
    opened: u64,
}

impl Epochs {
    /// Nothing is read yet.
    pub fn new(orders: watch::Receiver<Order>) -> Self {
        Self { orders, waiting: VecDeque::new(), opened: 0 }
    }

    /// Reads all splits and ends an epoch by time, by bytes, at the end.
    ///
    /// # Errors
    /// The first error of any task of the attempt.
    pub async fn run(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<End> {
        let owner = attempt.owner;
        let until_end = owner.options.until_end;
        // What can be read only once has nothing more to give at its end, even when followed.
        let is_finite = until_end || sources_all_once(owner);
        let interval = owner.pipeline.settings.epoch_interval;
        let mut ends = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut discovers = tokio::time::interval(DISCOVER_EVERY);
        discovers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        discovers.tick().await;
        self.discover(attempt).await?;
        let mut rests = Instant::now();
        // Nothing depends on a mark, so that a second one for an epoch does no harm.
        let mut marked = 0;
        loop {
            self.open_waiting(attempt).await?;
            let order = *self.orders.borrow_and_update();
            let at_end = is_finite && self.active(attempt) == 0 && self.waiting.is_empty();
            match order {
                Order::Leave => return Ok(End::Left),
                Order::Stop => return self.finish(attempt, summary, End::Stopped).await,
                Order::Run if at_end => return self.finish(attempt, summary, End::Ended).await,
                Order::Run => {}
            }
            let shared = attempt.shared.clone();
            tokio::select! {
                biased;
                Ok(()) = self.orders.changed() => {}
                failure = attempt.failed() => return Err(failure),
                () = shared.bell.notified() => {
                    if shared.full() {
                        self.end_epoch(attempt, summary).await?;
                        ends.reset();
                    }
                }
                _ = ends.tick() => {
                    if self.end_epoch(attempt, summary).await? == Ended::Committed {
                        rests = Instant::now();
                    } else if rests.elapsed() >= REST && marked != attempt.checkpoint.epoch {
                        marked = attempt.checkpoint.epoch;
                        owner.history.mark_complete(marked).await?;
                    }
                }
                _ = discovers.tick(), if !until_end => self.discover(attempt).await?,
            }
        }
    }

    fn active(&self, attempt: &Attempt<'_>) -> u64 {
        self.opened - attempt.shared.ended.load(Ordering::Relaxed)
    }

    /// Looks for splits; those without a reader wait for one.
    async fn discover(&mut self, attempt: &mut Attempt<'_>) -> Result<()> {
        if attempt.owner.scope == Scope::Checkpoint {
            self.take_from_checkpoint(attempt);
            return Ok(());
        }
        for (number, node) in attempt.owner.sources() {
            let known = attempt.checkpoint.known(&node.name);
            let found = node.source.splits(Some(&known)).await;
            let found = found.map_err(|error| {
                attempt.owner.instruments.failed(Some(&node.name), &error);
                error.context(format!("source {:?}", node.name))
            })?;
            for warning in found.warnings {
                warn!(source = node.name, "{warning}");
            }
            for split in found.splits {
                let index = attempt.checkpoint.split_index(&node.name, &split);
                attempt.checkpoint.splits[index].known.split = split.clone();
                self.add(attempt, number, index, split);
            }
        }
        Ok(())
    }

    fn take_from_checkpoint(&mut self, attempt: &Attempt<'_>) {
        for index in 0..attempt.checkpoint.splits.len() {
            let context = originals::context_at(attempt.owner, &attempt.checkpoint, index);
            if let Some(context) = context {
                self.add(attempt, context.source, index, context.split.clone());
            }
        }
    }

    fn add(&mut self, attempt: &Attempt<'_>, source: usize, index: usize, split: Split) {
        let read = attempt.readers.iter().any(|reader| reader.split.index == index);
        let waits = self.waiting.iter().any(|(_, waiting, _)| *waiting == index);
        if !read && !waits {
            self.waiting.push_back((source, index, split));
        }
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

    /// Ends the epoch under way. What is undecided when the lineage is left stays so, and goes
    /// with the attempt.
    async fn end_epoch(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<Ended> {
        let draft = tokio::select! {
            biased;
            _ = reached(&mut self.orders, Order::Leave) => return Ok(Ended::Left),
            draft = attempt.draft_epoch() => draft?,
        };
        let instruments = &attempt.owner.instruments;
        let Some(draft) = draft else {
            instruments.through_barrier(&attempt.owner.lineage);
            return Ok(Ended::Nothing);
        };
        attempt.commit_epoch(draft).await?;
        instruments.through_barrier(&attempt.owner.lineage);
        summary.add(&attempt.checkpoint);
        Ok(Ended::Committed)
    }

    /// A clean end: everything is committed, and the mark says so.
    async fn finish(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
        end: End,
    ) -> Result<End> {
        if self.end_epoch(attempt, summary).await? == Ended::Left {
            return Ok(End::Left);
        }
        failpoint::reach("complete.before").await?;
        let checkpoint: &Checkpoint = &attempt.checkpoint;
        attempt.owner.history.mark_complete(checkpoint.epoch).await?;
        failpoint::reach("complete.after").await?;
        let lineage = attempt.owner.lineage.as_str();
        info!(lineage, epoch = checkpoint.epoch, ?end, "finished");
        Ok(end)
    }
}

fn sources_all_once(owner: &Owner) -> bool {
    owner.scope == Scope::Sources && owner.sources().all(|(_, node)| !node.source.replayable())
}
