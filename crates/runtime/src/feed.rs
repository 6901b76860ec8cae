//! Gives the recorded cuts of a decided epoch again, and goes around what nobody has any more.
//!
//! It decides nothing: what a loss is, and whether it may be booked, the caller compares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::record::POSITION;
use contract::source::{Again, SplitReader, Until};
use contract::transform::EpochStart;
use contract::{Error, ErrorKind, Position, Result};
use state::Checkpoint;
use state::checkpoint::Cut;
use tracing::warn;

use crate::chain::Chain;
use crate::dead_letters::{DeadLetter, add_originals};
use crate::flow::{Budget, SplitContext};
use crate::graph::{Consumer, Consumers, DEAD_LETTERS, Pipeline};
use crate::originals;
use crate::outlet::Outlet;
use crate::owner::Owner;

/// What of an epoch nobody gets any more, whatever is there by now.
#[derive(Clone, Default)]
pub struct Gone {
    /// Splits of which nothing more can be read, by number; a loss that is accepted.
    pub given_up: BTreeSet<usize>,
    /// Where splits were cut off, by number, for a sink that holds the epoch by now: what stands
    /// behind is read as another split, also where the file is whole again.
    pub cut_off: BTreeMap<usize, Position>,
}

/// Reads the recorded cuts one after the other.
pub struct Feed<'a> {
    owner: &'a Owner,
    checkpoint: &'a Checkpoint,
    epoch: EpochStart,
    chain: Chain,
    open: BTreeMap<usize, OpenSplit>,
    /// By number of source, whether its rows are needed.
    needed: Vec<bool>,
    gone: Gone,
    /// Where splits were cut off, by number; behind that nothing of them is read again.
    cut_off: BTreeMap<usize, Position>,
}

struct OpenSplit {
    context: Arc<SplitContext>,
    reader: Box<dyn SplitReader>,
    /// Rows that were read beyond the cut before.
    rest: Option<RecordBatch>,
    /// The record after the last that was read.
    next: Option<Position>,
    /// Whether its source ends where nothing proves any more that it is what was read.
    is_proven: bool,
}

impl<'a> Feed<'a> {
    /// A feed of the cuts of an epoch to all sinks, without what is gone.
    pub fn new(
        owner: &'a Owner,
        checkpoint: &'a Checkpoint,
        epoch: EpochStart,
        gone: Gone,
    ) -> Self {
        let chain = Chain::new(owner.pipeline.clone(), epoch);
        let (open, cut_off) = (BTreeMap::new(), BTreeMap::new());
        let needed = vec![true; owner.pipeline.sources.len()];
        Self { owner, checkpoint, epoch, chain, open, needed, gone, cut_off }
    }

    /// Leaves out sources of which these sinks get nothing but what steps made of many rows: that
    /// was kept, and is not made again.
    pub fn only_for(mut self, sinks: &[bool]) -> Self {
        let pipeline = &self.owner.pipeline;
        let all =
            pipeline.sinks.iter().zip(sinks).any(|(sink, is)| *is && sink.name == DEAD_LETTERS);
        let sources = pipeline.sources.iter();
        self.needed =
            sources.map(|node| all || gets_rows(pipeline, &node.consumers, sinks)).collect();
        self
    }

    /// By number of source, whether it is left out.
    pub fn left_out(&self) -> Vec<bool> {
        self.needed.iter().map(|is_needed| !is_needed).collect()
    }

    /// Feeds every cut. What can no longer be read is left out where that is accepted; returns
    /// where splits were cut off of which all that was fed is proven.
    ///
    /// # Errors
    /// External: a range can no longer be read, or a system does not answer (retryable).
    pub async fn run(
        mut self,
        outlet: &Outlet,
        budget: &Budget,
    ) -> Result<BTreeMap<usize, Position>> {
        for cut in &self.checkpoint.cuts {
            let is_gone = self.gone.given_up.contains(&cut.split) || !self.is_needed(cut);
            if is_gone || self.cut_off.contains_key(&cut.split) {
                continue;
            }
            let Err(error) = self.open_and_feed(cut, outlet, budget).await else { continue };
            if !stays(&error) || !self.owner.options.accept_loss {
                return Err(error);
            }
            if self.is_sparse(cut) {
                self.feed_rest(cut, error, (outlet, budget)).await?;
            } else {
                self.give_up(cut, &error);
            }
        }
        Ok(self.cut_off)
    }

    /// Whether somebody gets rows of the split of a cut.
    fn is_needed(&self, cut: &Cut) -> bool {
        let name = &self.checkpoint.roster[cut.split].source;
        let source = self.owner.pipeline.sources.iter().position(|node| node.name == *name);
        source.is_none_or(|source| self.needed[source])
    }

    /// Whether what stands at a position of a split is what always stood there.
    fn is_sparse(&self, cut: &Cut) -> bool {
        let name = &self.checkpoint.roster[cut.split].source;
        let mut sources = self.owner.pipeline.sources.iter();
        sources.any(|node| node.name == *name && node.source.again() == Again::Sparse)
    }

    fn give_up(&mut self, cut: &Cut, error: &Error) {
        warn!(error = error.chain(), "gave up what can no longer be read");
        self.gone.given_up.insert(cut.split);
    }

    /// Reads what is left of a cut as a source is read for the first time: it passes over what is
    /// gone, and says how much that is.
    async fn feed_rest(
        &mut self,
        cut: &Cut,
        error: Error,
        (outlet, budget): (&Outlet, &Budget),
    ) -> Result<()> {
        let mut error = error;
        let mut tried = None;
        loop {
            let before = self.open.remove(&cut.split);
            let next = before.and_then(|open| open.next).or_else(|| cut.from.clone());
            if tried.as_ref().is_some_and(|tried| *tried == next) {
                self.give_up(cut, &error);
                return Ok(());
            }
            warn!(error = error.chain(), "going on behind what can no longer be read");
            let read = match open_behind(self.owner, self.checkpoint, cut, next.as_ref()).await {
                Ok(open) => {
                    self.open.insert(cut.split, open);
                    self.feed(cut, outlet, budget).await
                }
                Err(error) => {
                    let place = (self.owner, self.checkpoint);
                    Err(final_word(place, cut, next.as_ref(), error).await)
                }
            };
            tried = Some(next);
            match read {
                Ok(()) => return Ok(()),
                Err(again) if stays(&again) => error = again,
                Err(again) => return Err(again),
            }
        }
    }

    async fn open_and_feed(&mut self, cut: &Cut, outlet: &Outlet, budget: &Budget) -> Result<()> {
        if !self.open.contains_key(&cut.split) {
            let Some(until) = self.until(cut) else { return Ok(()) };
            let from = (cut.from.as_ref(), until);
            let open = open_until(self.owner, self.checkpoint, cut, from).await?;
            self.open.insert(cut.split, open);
        }
        self.feed(cut, outlet, budget).await
    }

    /// How far the split of a cut is read: up to the last cut of it. Where a loss is accepted, a
    /// source that can prove it gives what is left of them. None where nothing of it is left.
    fn until(&mut self, cut: &Cut) -> Option<Until> {
        let cuts = || self.checkpoint.cuts.iter().filter(|other| other.split == cut.split);
        let mut marks: Vec<_> = cuts().flat_map(|cut| &cut.marks).cloned().collect();
        if let Some(at) = self.gone.cut_off.get(&cut.split) {
            let Some(place) = marks.iter().position(|mark| mark.at == at.at) else {
                self.cut_off.insert(cut.split, at.clone());
                return None;
            };
            let to = marks[place].clone();
            marks.truncate(place);
            return Some(Until::Proven { marks, to });
        }
        let to = cuts().next_back().map_or_else(|| cut.to.clone(), |last| last.to.clone());
        Some(match self.owner.options.accept_loss && !marks.is_empty() {
            true => Until::Proven { marks, to },
            false => Until::Position(to),
        })
    }

    async fn feed(&mut self, cut: &Cut, outlet: &Outlet, budget: &Budget) -> Result<()> {
        loop {
            let open = self.open.get_mut(&cut.split).expect("opened before it is fed");
            let (records, rejects) = match open.rest.take() {
                Some(rest) => (rest, Vec::new()),
                None => match open.reader.next_batch().await? {
                    Some(batch) => {
                        if batch.lost > 0 {
                            let split = open.context.split.id.as_str();
                            warn!(
                                split,
                                records = batch.lost,
                                "records are gone from their source"
                            );
                        }
                        open.next = Some(batch.next);
                        (batch.records, batch.rejects)
                    }
                    None if open.next.as_ref().is_some_and(|next| next.at >= cut.to.at) => {
                        return Ok(());
                    }
                    None => return self.end_early(cut),
                },
            };
            let (inside, beyond) = divide(&records, &cut.to)?;
            let done = beyond.is_some();
            open.rest = beyond;
            let context = open.context.clone();
            let share = budget.take(inside.get_array_memory_size()).await?;
            let mut passed = self.chain.run_from_source(context.source, inside.clone())?;
            let source: Arc<str> = self.owner.pipeline.sources[context.source].name.as_str().into();
            passed.dead_letters.extend(rejects.into_iter().map(|reject| DeadLetter {
                step: Some(source.clone()),
                sink: None,
                reject,
            }));
            add_originals(&mut passed.dead_letters, &inside)?;
            outlet.send_made(&context, passed, share, self.epoch.now_us).await?;
            if done {
                return Ok(());
            }
        }
    }
}

impl Feed<'_> {
    /// A split ends before its cut does.
    fn end_early(&mut self, cut: &Cut) -> Result<()> {
        let open = self.open.get(&cut.split).filter(|open| open.is_proven);
        let Some(at) = open.and_then(|open| open.next.clone()) else {
            return Err(unreadable(self.checkpoint, cut));
        };
        match self.gone.cut_off.get(&cut.split) {
            Some(known) if known.at <= at.at => {
                self.cut_off.insert(cut.split, known.clone());
                return Ok(());
            }
            Some(_) if !self.owner.options.accept_loss => {
                return Err(unreadable(self.checkpoint, cut));
            }
            _ => {}
        }
        let split = self.checkpoint.roster[cut.split].known.split.id.as_str();
        let (from, epoch) = (at.at, self.checkpoint.epoch);
        warn!(
            split,
            epoch,
            from,
            to = cut.to.at,
            "this is not proven to be there any more; what stands there now is another split"
        );
        self.cut_off.insert(cut.split, at);
        Ok(())
    }
}

/// Whether one of these sinks gets rows that leave a node, or what stateless steps make of them.
fn gets_rows(pipeline: &Pipeline, consumers: &Consumers, sinks: &[bool]) -> bool {
    consumers.edges.iter().any(|edge| match edge.to {
        Consumer::Sink(sink) => sinks[sink],
        Consumer::Step(step) => {
            let node = &pipeline.steps[step];
            let made = usize::from(node.step.makes_records());
            node.ports.iter().skip(made).any(|port| gets_rows(pipeline, port, sinks))
        }
    })
}

/// Opens the split of a cut at a position, as it is opened to be read for the first time.
async fn open_behind(
    owner: &Owner,
    checkpoint: &Checkpoint,
    cut: &Cut,
    from: Option<&Position>,
) -> Result<OpenSplit> {
    open_until(owner, checkpoint, cut, (from, Until::End)).await
}

async fn open_until(
    owner: &Owner,
    checkpoint: &Checkpoint,
    cut: &Cut,
    (from, until): (Option<&Position>, Until),
) -> Result<OpenSplit> {
    let context = originals::context_at(owner, checkpoint, cut.split)
        .ok_or_else(|| unreadable(checkpoint, cut).because("its source left the file"))?;
    let source = &owner.pipeline.sources[context.source].source;
    let is_proven = matches!(until, Until::Proven { .. });
    let opened = match from {
        Some(from) => {
            let from = owner.history.with_shortcut(from.clone()).await;
            source.open(&context.split, Some(&from), until).await
        }
        None => source.open(&context.split, None, until).await,
    };
    let reader = opened.map_err(|error| match error.retry() {
        true => error,
        false => unreadable(checkpoint, cut).because(error),
    })?;
    Ok(OpenSplit { context, reader, rest: None, next: from.cloned(), is_proven })
}

/// What nobody has now may come back, for who reads it for the first time. A recorded range that is
/// gone stays gone, and a source that says so is within reach.
async fn final_word(
    (owner, checkpoint): (&Owner, &Checkpoint),
    cut: &Cut,
    from: Option<&Position>,
    error: Error,
) -> Error {
    if !error.retry() {
        return error;
    }
    let until = Until::Position(cut.to.clone());
    match open_until(owner, checkpoint, cut, (from, until)).await {
        Err(said) if stays(&said) => said,
        _ => error,
    }
}

/// The rows before a position, and those from it on, if any.
fn divide(records: &RecordBatch, to: &Position) -> Result<(RecordBatch, Option<RecordBatch>)> {
    let positions = contract::record::positions(records)?.values();
    let inside = positions.partition_point(|position| *position < to.at);
    let beyond = records.num_rows() - inside;
    let rest = (beyond > 0).then(|| records.slice(inside, beyond));
    Ok((records.slice(0, inside), rest))
}

fn unreadable(checkpoint: &Checkpoint, cut: &Cut) -> Error {
    let split = &checkpoint.roster[cut.split].known.split.id;
    let from = cut.from.as_ref().map_or(0, |from| from.at);
    Error::external(format!(
        "could not read records {from} to {} of split \"{split}\" again ({POSITION}), which epoch \
         {} needs",
        cut.to.at, checkpoint.epoch
    ))
    .hint("bring them back, or `run --accept-loss` to deliver the rest and book them as lost")
}

/// Whether what cannot be read now can never be read.
fn stays(error: &Error) -> bool {
    !error.retry() && error.kind() != ErrorKind::Bug
}
