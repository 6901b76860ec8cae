//! The loop of an attempt: opens splits, ends epochs, until the end or an order.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use contract::discovery::{Differences, Tombstone};
use contract::source::{Again, KnownSplit, Rest, Until};
use contract::{Result, failpoint};
use state::Checkpoint;
use state::roster::Entered;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::attempt::{Attempt, Departed};
use crate::beginnings::Beginning;
use crate::coordinator::{End, Order, reached};
use crate::descriptors;
use crate::event_times::Others;
use crate::flow::SplitContext;
use crate::graph::SourceNode;
use crate::memory::Portion;
use crate::originals;
use crate::owner::{Owner, Scope};
use crate::patience;
use crate::reader_task::{Assignment, Leave, ReaderTask};
use crate::renamed;
use crate::retries::Requests;
use crate::roster::arrivals::{Arrivals, Arrived, until};
use crate::roster::discovery::Discoverers;
use crate::roster::phases::{Phases, Seen};
use crate::roster::retirement::{Left, Retirement};
use crate::standing;
use crate::summary::SummaryBuilder;

/// Splits that are read at once when there is an end.
const READERS_MAX_UNTIL_END: usize = 8;
/// Splits that are read at once when following; further ones take the places of those that rest.
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
    phases: Phases,
    /// Sources that did not come yet.
    arrivals: Arrivals,
    /// Those that came.
    discoverers: Discoverers,
    /// Splits that may retire.
    retirement: Retirement,
    /// Why sources could not list their splits, as far as that was told.
    told: HashSet<String>,
    /// Readers that were started.
    opened: u64,
    /// The epoch that was committed when sources that asked for it were looked at last.
    looked_again: Option<u64>,
    /// Whether a source asked to be looked at again once what was read is committed.
    ask_again: bool,
    /// When a source that asked for it is looked at again in a run with an end.
    again_at: Option<Instant>,
}

impl Epochs {
    /// Nothing is read yet, and these sources did not come yet.
    pub fn new(orders: watch::Receiver<Order>, arrivals: Arrivals) -> Self {
        let (phases, discoverers) = (Phases::default(), Discoverers::default());
        Self {
            orders,
            phases,
            arrivals,
            discoverers,
            retirement: Retirement::default(),
            told: HashSet::new(),
            opened: 0,
            looked_again: None,
            ask_again: false,
            again_at: None,
        }
    }

    /// Reads all splits of the sources that came and that come, and ends an epoch by time, by
    /// bytes, at the end.
    ///
    /// # Errors
    /// The first error of any task of the attempt.
    pub async fn run(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
        came: Vec<(usize, Arrived)>,
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
        self.take_first(attempt, came);
        let mut rests = Instant::now();
        let mut requests = Requests::new(&owner.pipeline.data, &owner.pipeline.name);
        // Nothing depends on a mark, so that a second one for an epoch does no harm.
        let mut marked = 0;
        loop {
            self.see_to_departed(attempt);
            self.begin_new(attempt, summary).await?;
            self.open_waiting(attempt);
            standing::note(attempt, &self.phases);
            let order = *self.orders.borrow_and_update();
            let at_end = is_finite && self.active(attempt) == 0 && self.is_through(attempt);
            match order {
                Order::Leave => return Ok(End::Left),
                Order::Stop => return self.finish(attempt, summary, End::Stopped).await,
                Order::Run if at_end && self.looks_again(attempt, summary).await? => {}
                Order::Run if at_end => return self.finish(attempt, summary, End::Ended).await,
                Order::Run => {}
            }
            let shared = attempt.shared.clone();
            let again_at = self.again_at.filter(|_| until_end);
            let due = self.phases.next_due().into_iter().chain(again_at).min();
            tokio::select! {
                biased;
                Ok(()) = self.orders.changed() => {}
                failure = attempt.failed() => return Err(failure),
                came = self.arrivals.next() => {
                    self.take_arrived(attempt, came?);
                    self.keep_troubles(attempt);
                }
                () = shared.ends.rung() => {
                    if shared.ends.is_due(attempt.epoch.epoch) {
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
                answer = self.discoverers.answer() => {
                    let (source, found) = answer?;
                    self.take_answer(attempt, source, found)?;
                    self.phases.wake(Instant::now());
                }
                request = requests.next(), if attempt.shared.isolates => {
                    requests.take(&request, attempt, &mut self.phases).await;
                }
                _ = discovers.tick(), if !until_end => self.discover(attempt),
                () = until(due), if !self.discoverers.is_asked() => self.wake_due(attempt),
            }
        }
    }

    /// Something in a split is due. Where nobody looks again by the clock, the split may have been
    /// moved or removed.
    fn wake_due(&mut self, attempt: &Attempt<'_>) {
        if !attempt.owner.options.until_end {
            return self.phases.wake(Instant::now());
        }
        let looked = self.again_at.map(|_| attempt.checkpoint.epoch);
        self.looked_again = self.looked_again.or(looked);
        self.discover(attempt);
    }

    /// Whether there may be more behind the end, as a source knows it once what was read is
    /// committed: it is asked once for each epoch, if it said so.
    async fn looks_again(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<bool> {
        if self.discoverers.is_asked() {
            return Ok(self.looked_again.is_some());
        }
        if self.again_at.is_some() {
            return Ok(true);
        }
        if !self.ask_again {
            return Ok(false);
        }
        self.end_epoch(attempt, summary).await?;
        let committed = Some(attempt.checkpoint.epoch);
        let is_news = self.looked_again != committed;
        if is_news {
            self.looked_again = committed;
            self.discover(attempt);
        }
        Ok(is_news)
    }

    fn active(&self, attempt: &Attempt<'_>) -> u64 {
        self.opened - attempt.shared.ended.load(Ordering::Relaxed)
    }

    /// Whether no split waits for a reader, or for another try, and no source is away. Asked once
    /// no reader is active: one that left since it was looked for has left its report before.
    fn is_through(&self, attempt: &Attempt<'_>) -> bool {
        let is_seen_to = attempt.shared.left().is_empty();
        let has_come = self.arrivals.is_over() && attempt.beginnings.is_empty();
        self.phases.waiting() == 0 && !self.phases.has_failed() && is_seen_to && has_come
    }

    /// The splits of the sources that came before the attempt began, in the order of these.
    fn take_first(&mut self, attempt: &mut Attempt<'_>, mut came: Vec<(usize, Arrived)>) {
        if attempt.owner.scope == Scope::Checkpoint {
            self.take_from_checkpoint(attempt);
        }
        came.sort_by_key(|(number, _)| *number);
        came.into_iter().for_each(|one| self.take_arrived(attempt, Some(one)));
        self.keep_troubles(attempt);
    }

    fn take_arrived(&mut self, attempt: &mut Attempt<'_>, came: Option<(usize, Arrived)>) {
        match came {
            None => {}
            Some((number, Arrived::New(splits))) => {
                let source = attempt.owner.pipeline.sources[number].name.clone();
                attempt.beginnings.push(Beginning { source, splits });
            }
            Some((number, Arrived::Known(discoverer, found))) => {
                self.discoverers.add(number, discoverer);
                self.take_found(attempt, number, found);
            }
        }
    }

    /// Decides where sources begin that came, by an epoch that ends at once.
    async fn begin_new(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<()> {
        if attempt.beginnings.is_empty() {
            return Ok(());
        }
        let new = attempt.beginnings.iter().map(|one| one.source.clone()).collect::<Vec<_>>();
        failpoint::reach("begin.before").await?;
        if self.end_epoch(attempt, summary).await? != Ended::Committed {
            return Ok(());
        }
        failpoint::reach("begin.after").await?;
        let owner = attempt.owner;
        for (number, node) in owner.sources().filter(|(_, node)| new.contains(&node.name)) {
            info!(source = node.name, epoch = attempt.checkpoint.epoch, "a source begins");
            self.arrivals.ask_begun(number, &attempt.checkpoint.roster);
        }
        Ok(())
    }

    /// Begins to look for splits, beside everything else.
    fn discover(&mut self, attempt: &Attempt<'_>) {
        // Those that are asked say it anew.
        (self.ask_again, self.again_at) = (false, None);
        match attempt.owner.scope {
            Scope::Checkpoint => self.take_from_checkpoint(attempt),
            Scope::Sources => self.discoverers.ask(),
        }
    }

    /// A listing that fails changes nothing.
    fn take_answer(
        &mut self,
        attempt: &mut Attempt<'_>,
        source: usize,
        found: Result<Differences>,
    ) -> Result<()> {
        match of_source(attempt.owner, source, found) {
            Ok(found) => self.take_found(attempt, source, found),
            Err(error) if error.retry() && attempt.shared.isolates => {
                let name = attempt.owner.pipeline.sources[source].name.as_str();
                let text = error.chain();
                if self.told.insert(text.clone()) {
                    warn!(source = name, error = text, "could not look for new splits");
                }
            }
            Err(error) => return Err(error),
        }
        self.keep_troubles(attempt);
        Ok(())
    }

    fn take_found(&mut self, attempt: &mut Attempt<'_>, number: usize, found: Differences) {
        let owner = attempt.owner;
        let node = &owner.pipeline.sources[number];
        self.ask_again |= found.ask_again;
        let again_at = found.again_in.map(|wait| Instant::now() + wait);
        self.again_at = self.again_at.into_iter().chain(again_at).min();
        for warning in found.warnings {
            warn!(source = node.name, "{warning}");
        }
        let now = Instant::now();
        let roster = &mut attempt.checkpoint.roster;
        for split in found.found {
            owner.instruments.came(&node.name, &split);
            let Entered { number: index, is_news } = roster.enter(&node.name, split);
            let state = &roster[index];
            let (is_read, family) = (state.is_read, state.known.split.family());
            self.retirement.withdraw(index);
            self.phases.found(Seen { index, source: number, family, is_news, is_read }, now);
        }
        for gone in &found.gone {
            owner.progress.troubles.gone(&node.name, gone.id.as_str());
            if let Some(index) = roster.number(&node.name, &gone.id) {
                owner.instruments.left(&node.name, &roster[index].known.split);
                self.phases.gone(index, gone.end);
            }
        }
        for finished in found.finished {
            if let Some(index) = roster.number(&node.name, &finished.id) {
                self.retirement.offer(index, finished);
            }
        }
        for index in self.phases.forget_gone(number) {
            let id = &roster[index].known.split.id;
            owner.progress.troubles.passed(&node.name, id.as_str());
        }
        owner.progress.troubles.found(&node.name, found.unreadable);
        for gone in found.gone {
            if let Some(index) = attempt.checkpoint.roster.number(&node.name, &gone.id) {
                self.tell_if_lost(attempt, index);
            }
        }
    }

    /// Tells the sources how far their splits are committed.
    fn tell_moved(&mut self, attempt: &mut Attempt<'_>) {
        let owner = attempt.owner;
        let moved = std::mem::take(&mut attempt.moved);
        if owner.scope != Scope::Sources {
            return;
        }
        for number in moved {
            let state = &attempt.checkpoint.roster[number];
            let mut sources = owner.sources();
            let source = sources.find(|(_, node)| node.name == state.source);
            if let (Some((source, _)), Some(position)) = (source, &state.known.position) {
                self.discoverers.moved(source, state.known.split.id.clone(), position.clone());
            }
        }
    }

    /// The splits that may retire with the epoch under way.
    fn retiring(&mut self, attempt: &Attempt<'_>) -> BTreeMap<usize, Tombstone> {
        let owner = attempt.owner;
        let is_asked = |name: &str| {
            let of_name = |(_, node): &(usize, &SourceNode)| node.name == name;
            let source = owner.sources().find(of_name).map(|(number, _)| number);
            source.is_none_or(|source| !self.discoverers.is_idle(source))
        };
        self.retirement.due(&attempt.checkpoint.roster, &self.phases, is_asked)
    }

    /// Forgets the splits that retired, and tells their sources.
    fn tell_retired(&mut self, attempt: &mut Attempt<'_>) {
        for Left { number, source, retired } in std::mem::take(&mut attempt.leaving.left) {
            self.phases.forget(number);
            self.retirement.withdraw(number);
            let mut sources = attempt.owner.sources();
            if let Some((source, _)) = sources.find(|(_, node)| node.name == source) {
                self.discoverers.retired(source, retired);
            }
        }
    }

    /// Says what of a split that rests and is gone was never read.
    fn tell_if_lost(&mut self, attempt: &Attempt<'_>, index: usize) {
        let Some(lost) = self.phases.lost(index) else { return };
        let known = &attempt.checkpoint.roster[index].known;
        let position = lost.position.as_ref().or(known.position.as_ref()).map_or(0, |one| one.at);
        if position < lost.end {
            let (split, end) = (known.split.id.as_str(), lost.end);
            warn!(
                split,
                position, end, "the split was removed before all of it was read; the rest is lost"
            );
        }
    }

    fn take_from_checkpoint(&mut self, attempt: &Attempt<'_>) {
        for (index, _) in attempt.checkpoint.roster.iter() {
            let context = originals::context_at(attempt.owner, &attempt.checkpoint, index);
            if let Some(context) = context {
                let (source, is_news, is_read) = (context.source, false, false);
                let seen = Seen { index, source, family: None, is_news, is_read };
                self.phases.found(seen, Instant::now());
            }
        }
    }

    /// Gives each split that waits a reader, as long as there are places.
    fn open_waiting(&mut self, attempt: &mut Attempt<'_>) {
        let (readers_max, until) = match attempt.owner.options.until_end {
            true => (READERS_MAX_UNTIL_END, Until::End),
            false => (readers_max_following(), Until::Forever),
        };
        let memory = &attempt.owner.memory;
        while self.active(attempt) < readers_max as u64
            && (self.active(attempt) == 0 || memory.has_room(Portion::Fetch))
        {
            let Some(next) = self.phases.next() else { break };
            let KnownSplit { split, position } = &attempt.checkpoint.roster[next.index].known;
            // What a reader that left had read stands in the epoch under way.
            let position = next.position.max(position.clone());
            attempt.owner.instruments.split_opened(next.source);
            let assignment = Assignment {
                number: self.opened,
                split: SplitContext::new(next.index, next.source, split.clone()),
                position,
                until: until.clone(),
            };
            let (task, handle) = ReaderTask::new(attempt.shared.clone(), assignment, attempt.epoch);
            attempt.readers.push(handle);
            attempt.spawn(task.run());
            self.opened += 1;
        }
        // Where there is an end, each reader comes to it and makes room.
        let waiting = if until == Until::End { 0 } else { self.phases.waiting() };
        let readers = usize::try_from(self.active(attempt)).unwrap_or(usize::MAX);
        attempt.shared.places.want(waiting, readers, Instant::now());
    }

    /// Decides what becomes of the splits whose readers are gone.
    fn see_to_departed(&mut self, attempt: &mut Attempt<'_>) {
        attempt.let_go_of_left();
        let departed = std::mem::take(&mut attempt.departed);
        if departed.is_empty() {
            return;
        }
        for departed in departed {
            self.see_to(attempt, departed);
        }
        self.keep_troubles(attempt);
    }

    fn see_to(&mut self, attempt: &Attempt<'_>, departed: Departed) {
        let owner = attempt.owner;
        let until_end = owner.options.until_end;
        let troubles = &owner.progress.troubles;
        let Departed { split, position, moved, why } = departed;
        let source = owner.pipeline.sources[split.source].name.as_str();
        let (index, id, now) = (split.index, split.id().as_str(), Instant::now());
        match why {
            None => {
                troubles.passed(source, id);
                // An end that is taken once is no other when the split grows.
                if until_end {
                    self.phases.give_up(index)
                } else {
                    self.phases.rests(index, None, None)
                }
            }
            Some(Leave::Rests(rest)) => {
                troubles.passed(source, id);
                let due = match rest {
                    Rest::AtMost(period) => Some(now + period),
                    Rest::None | Rest::UntilChanged | Rest::OnceCommitted => None,
                };
                self.phases.rests(index, position, due);
                self.tell_if_lost(attempt, index);
            }
            Some(Leave::Failed(error)) => {
                if moved {
                    troubles.got_on(source, id);
                }
                let (pause, since) = troubles.failed(source, id, &error);
                self.phases.fails(index, position, now, now + pause);
                let limit = patience::limit(&owner.pipeline.settings, &owner.options);
                let is_over = limit.is_some_and(|limit| since.elapsed() + pause > limit);
                if until_end && (!error.retry() || is_over) {
                    troubles.gave_up(source, id);
                    self.phases.give_up(index);
                }
            }
        }
    }

    /// Shows what cannot be read, and notes it beside the checkpoints.
    fn keep_troubles(&self, attempt: &mut Attempt<'_>) {
        let owner = attempt.owner;
        if owner.scope != Scope::Sources {
            return;
        }
        owner.instruments.show_troubles(&owner.progress.troubles);
        let (progress, history) = (owner.progress.clone(), owner.history.clone());
        attempt.spawn(async move {
            progress.troubles.keep(&history).await;
            Ok(())
        });
    }

    /// Ends the epoch under way. What is undecided when the lineage is left stays so, and goes
    /// with the attempt.
    async fn end_epoch(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
    ) -> Result<Ended> {
        attempt.leaving.due = self.retiring(attempt);
        attempt.event_times.others = self.others(attempt);
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
        let before = attempt.checkpoint.epoch;
        let committed = attempt.commit_epoch(draft).await;
        // What is decided happens, whoever finishes it, and nobody decides it again.
        if attempt.checkpoint.epoch > before {
            summary.add(&attempt.checkpoint);
        }
        committed?;
        self.tell_moved(attempt);
        self.tell_retired(attempt);
        instruments.through_barrier(&attempt.owner.lineage);
        Ok(Ended::Committed)
    }

    /// How the splits are that have no reader.
    fn others(&self, attempt: &Attempt<'_>) -> Others {
        let is_new = |name: &str| attempt.beginnings.iter().any(|one| one.source == name);
        let new = attempt.owner.sources().filter(|(_, node)| is_new(&node.name));
        let mut waiting = self.phases.waiting_sources();
        waiting.extend(self.arrivals.awaited().chain(new.map(|(number, _)| number)));
        Others { waiting, failed: self.phases.failed_sources() }
    }

    /// A clean end: everything is committed, and the mark says so.
    async fn finish(
        &mut self,
        attempt: &mut Attempt<'_>,
        summary: &mut SummaryBuilder,
        end: End,
    ) -> Result<End> {
        attempt.is_last = true;
        attempt.event_times.flushes = end == End::Ended && attempt.owner.options.flush_windows;
        if self.end_epoch(attempt, summary).await? == Ended::Left {
            return Ok(End::Left);
        }
        self.see_to_departed(attempt);
        if attempt.owner.scope == Scope::Sources {
            attempt.owner.progress.troubles.end();
            attempt.owner.progress.troubles.keep(&attempt.owner.history).await;
        }
        attempt.event_times.tell_of_open(attempt.owner);
        failpoint::reach("complete.before").await?;
        let checkpoint: &Checkpoint = &attempt.checkpoint;
        attempt.owner.history.mark_complete(checkpoint.epoch).await?;
        failpoint::reach("complete.after").await?;
        let lineage = attempt.owner.lineage.as_str();
        info!(lineage, epoch = checkpoint.epoch, ?end, "finished");
        Ok(end)
    }
}

/// Half of the descriptors are left to sinks, connections and whoever else is in the process.
fn readers_max_following() -> usize {
    READERS_MAX_FOLLOWING.min(descriptors::limit() / 2).max(READERS_MAX_UNTIL_END)
}

/// What a source answered; its error is counted, and says whose it is.
fn of_source(owner: &Owner, source: usize, found: Result<Differences>) -> Result<Differences> {
    let name = &owner.pipeline.sources[source].name;
    found.map_err(|error| {
        owner.instruments.failed(Some(name), &error);
        renamed::of_source(name, error)
    })
}

fn sources_all_once(owner: &Owner) -> bool {
    owner.scope == Scope::Sources
        && owner.sources().all(|(_, node)| node.source.again() == Again::Never)
}
