//! What a start does before it reads anything: own, look, finish what was decided (EPOCH §4).
//!
//! For each sink the newest checkpoint names two legal tokens: the one before the epoch and the
//! epoch itself. Every other token stops the start; nothing is ever sent again on a guess.

use std::collections::{BTreeMap, BTreeSet};

use contract::sink::{CommitOutcome, Held, SinkKind};
use contract::transform::EpochStart;
use contract::{Error, ErrorKind, Position, Result, failpoint};
use futures::future::try_join_all;
use state::checkpoint::{FORMAT, SEMANTICS, SinkState};
use state::{Checkpoint, History};
use tracing::{info, warn};

use crate::assume;
use crate::attempt::{Attempt, Cast};
use crate::barrier::{commit_of, not_owner};
use crate::beginnings::Beginning;
use crate::feed::{Feed, Gone};
use crate::flow::Tally;
use crate::forgotten;
use crate::gaps;
use crate::graph::{DEAD_LETTERS, LATE, LEDGER, Pipeline, SinkNode, TAKEN_SINCE};
use crate::identities;
use crate::losses::{self, Compared, Terms};
use crate::made;
use crate::owner::Owner;
use crate::remaining::Replayed;
use crate::sink_task::{Skip, commit_one};
use crate::targets;

/// Epochs of no rows by which a history goes over to another layout.
const UPGRADE_EPOCHS: usize = 2;

/// What a start found.
pub struct Recovered {
    /// The newest checkpoint, with what was assumed.
    pub checkpoint: Checkpoint,
    /// Whether anything in it was assumed on the operator's word. It counts once the run begins:
    /// then whoever runs it must [`assume::keep`] it.
    pub assumed: bool,
}

/// Brings every sink to the newest checkpoint and returns it. A new history begins with what the
/// sources found first.
///
/// # Errors
/// Config: a sink holds something that this history does not explain. External: a range that must
/// be replayed can no longer be read, or a system does not answer (retryable). NotOwner.
pub async fn recover(owner: &Owner, first: Vec<Beginning>) -> Result<Recovered> {
    let (mut checkpoint, mut complete) = newest(owner, first).await?;
    if owner.options.adopt && checkpoint.epoch == 0 {
        (checkpoint, complete) = (adopt(owner, checkpoint).await?, true);
    }
    failpoint::reach("recover.owned").await?;
    let format = checkpoint.format;
    let mut targets = targets::compare(owner, &mut checkpoint, complete)?;
    match owner.options.accept_gap {
        _ if owner.lineage.is_replay() => {}
        true => targets.assumed |= gaps::accept(&owner.pipeline, &mut checkpoint),
        false => gaps::refuse(&owner.pipeline, &checkpoint)?,
    }
    let held = fence(owner, &checkpoint).await?;
    failpoint::reach("recover.fenced").await?;
    targets.remember(owner, checkpoint.epoch).await?;
    refuse_missing_sinks(&owner.pipeline, &checkpoint, complete)?;
    refuse_missing_windows(&owner.pipeline, &checkpoint)?;
    let mut behind = Vec::new();
    for (sink, held) in held.into_iter().enumerate() {
        targets.prove(owner, &mut checkpoint, sink, held)?;
        let node = &owner.pipeline.sinks[sink];
        let assumed = is_behind(node, &checkpoint, held, complete).is_err()
            && assume::take(owner, &mut checkpoint, sink, held);
        targets.assumed |= assumed;
        let complete = complete && !assumed && !targets.replay.contains(&sink);
        if is_behind(node, &checkpoint, held, complete)? {
            behind.push(sink);
        }
    }
    targets.note_moves(owner, checkpoint.epoch).await?;
    let cut_off = losses::settle(owner, &checkpoint, &behind).await?;
    let mut replay = Vec::new();
    for sink in &behind {
        let name = owner.pipeline.sinks[*sink].name.as_str();
        if targets.replay.contains(sink) || identities::lost(owner, &checkpoint, *sink).await {
            replay.push(name);
            continue;
        }
        let committed = commit_again(owner, &checkpoint, *sink).await;
        if !committed.inspect_err(|error| owner.instruments.failed(Some(name), error))? {
            replay.push(name);
        }
    }
    let assumed = targets.assumed;
    let mut changed = false;
    if !replay.is_empty() {
        let recorded = checkpoint.clone();
        replay_epoch(owner, &mut checkpoint, &replay, cut_off).await?;
        changed = identities::differ(&recorded, &checkpoint);
    }
    if !behind.is_empty() {
        owner.instruments.count_ledger(&checkpoint);
    }
    identities::look(owner, &checkpoint).await;
    let checkpoint = book_losses(owner, checkpoint, &targets).await?;
    let mut checkpoint = forgotten::book(owner, checkpoint).await?;
    if changed && !assumed {
        checkpoint = assume::keep(owner, checkpoint).await?;
    }
    if !assumed {
        checkpoint = upgrade(owner, checkpoint, format).await?;
    }
    failpoint::reach("recover.done").await?;
    Ok(Recovered { checkpoint, assumed })
}

/// Books what a replay lacked, and gives the dead letters of that to their sink.
async fn book_losses(
    owner: &Owner,
    checkpoint: Checkpoint,
    targets: &targets::Settled,
) -> Result<Checkpoint> {
    let epoch = checkpoint.epoch;
    let mut booked = losses::book(owner, checkpoint, &targets.given_up).await?;
    if booked.epoch > epoch && booked.sinks.get(DEAD_LETTERS).is_some_and(|state| state.owes) {
        replay_epoch(owner, &mut booked, &[DEAD_LETTERS], BTreeMap::new()).await?;
    }
    Ok(booked)
}

/// The newest checkpoint; a new history begins with checkpoint 0, created before the first read.
async fn newest(owner: &Owner, begun: Vec<Beginning>) -> Result<(Checkpoint, bool)> {
    let found = newest_readable(owner).await;
    if let Some(newest) = found.inspect_err(|error| owner.instruments.failed(None, error))? {
        refuse_later_rules(&newest.checkpoint)?;
        return Ok((newest.checkpoint, newest.complete));
    }
    let incarnation = rand::random::<u32>() >> 1;
    let mut first = Checkpoint::first(&owner.pipeline.name, &owner.lineage, incarnation);
    begun.into_iter().for_each(|one| one.enter(&mut first));
    owner.decide(&mut first).await?;
    failpoint::reach("recover.first").await?;
    Ok((first, true))
}

/// Goes over to the layout of this program, by epochs that read nothing: the newest epoch and the
/// one before it are written in it before anything else happens.
async fn upgrade(owner: &Owner, checkpoint: Checkpoint, format: u32) -> Result<Checkpoint> {
    if !(1..FORMAT).contains(&format) {
        return Ok(checkpoint);
    }
    let mut checkpoint = checkpoint;
    for _ in 0..UPGRADE_EPOCHS {
        checkpoint = assume::keep(owner, checkpoint).await?;
        failpoint::reach("recover.upgraded").await?;
    }
    Ok(checkpoint)
}

/// What a later program decided cannot be finished here: its rules make other rows.
fn refuse_later_rules(checkpoint: &Checkpoint) -> Result<()> {
    let Checkpoint { epoch, semantics, .. } = checkpoint;
    match *semantics > SEMANTICS {
        false => Ok(()),
        true => Err(Error::config(format!(
            "epoch {epoch} was made by rules {semantics} of a later version, this program has \
             rules {SEMANTICS}"
        ))
        .hint("use the version of logmill that made it; nothing was changed")),
    }
}

/// Begins a new history over sinks that hold epochs of one that was lost: it goes on numbering
/// above the highest of them, as the same incarnation.
async fn adopt(owner: &Owner, first: Checkpoint) -> Result<Checkpoint> {
    let mut adopted = first.clone();
    for (sink, held) in fence(owner, &first).await?.into_iter().enumerate() {
        let Held::Token(token) = held else { continue };
        let name = &owner.pipeline.sinks[sink].name;
        if adopted.epoch > 0 && token.incarnation != adopted.incarnation {
            return Err(Error::config(format!(
                "sink {name:?} and another one hold epochs of two different histories"
            ))
            .hint("give one of them another name to start it afresh"));
        }
        adopted.incarnation = token.incarnation;
        adopted.epoch = adopted.epoch.max(token.epoch);
        let state = SinkState { prev: Some(token.epoch), ..SinkState::default() };
        adopted.sinks.insert(name.clone(), state);
    }
    if adopted.epoch > 0 {
        owner.decide(&mut adopted).await?;
        warn!(epoch = adopted.epoch, "adopted what the sinks hold; everything is read again");
    }
    Ok(adopted)
}

/// A newest checkpoint that cannot be read.
pub struct Damaged {
    /// Its epoch.
    pub epoch: u64,
    /// The checkpoint before it.
    pub before: Checkpoint,
    /// Why it cannot be read.
    pub error: Error,
}

/// What stands before a newest checkpoint that could not be read for this error.
///
/// # Errors
/// That very one where it is no damage of the newest checkpoint alone: nobody may set it aside.
pub async fn damaged(history: &History, error: Error) -> Result<Damaged> {
    // What a later version wrote is no damage.
    if error.retry() || error.kind() == ErrorKind::Config {
        return Err(error);
    }
    let Some(epoch) = history.newest_epoch().await?.filter(|epoch| *epoch > 0) else {
        return Err(error);
    };
    match history.epoch(epoch).await {
        // It is whole; a file that it names is not.
        Ok(_) => Err(error.hint(
            "restore the file from a backup, or give the pipeline another `name` and its sinks \
             other places to begin anew",
        )),
        Err(passing) if passing.retry() => Err(passing),
        Err(_) => Ok(Damaged { epoch, before: history.epoch(epoch - 1).await?, error }),
    }
}

/// Whether a token shows that a sink got nothing after a checkpoint.
pub fn proves_nothing_since(before: &Checkpoint, sink: &str, held: Held) -> bool {
    let expected = before.token_after(sink);
    match held {
        Held::Token(token) => {
            Some(token.epoch) == expected && token.incarnation == before.incarnation
        }
        Held::Nothing => expected.is_none(),
        Held::Untold => false,
    }
}

/// The error of a damaged checkpoint over a sink that does not prove that.
pub fn unproven(error: Error, sink: &str, epoch: u64) -> Error {
    error.hint(format!(
        "sink {sink:?} cannot prove that nothing of epoch {epoch} was committed: restore the file \
         from a backup, or give the pipeline another `name` and its sinks other places to begin \
         anew"
    ))
}

/// A damaged newest checkpoint is set aside only if every sink proves by its token that nothing
/// of its epoch was committed.
async fn newest_readable(owner: &Owner) -> Result<Option<state::history::Newest>> {
    let error = match owner.history.newest().await {
        Err(error) => error,
        read => return read,
    };
    let Damaged { epoch: damaged, mut before, error } = damaged(&owner.history, error).await?;
    let mut targets = targets::compare(owner, &mut before, false)?;
    for (sink, held) in fence(owner, &before).await?.into_iter().enumerate() {
        targets.prove(owner, &mut before, sink, held)?;
        let name = &owner.pipeline.sinks[sink].name;
        if !proves_nothing_since(&before, name, held) {
            return Err(unproven(error, name, damaged));
        }
    }
    warn!(epoch = damaged, error = error.chain(), "set a damaged checkpoint aside");
    owner.history.set_aside(damaged).await?;
    owner.history.newest().await
}

async fn fence(owner: &Owner, checkpoint: &Checkpoint) -> Result<Vec<Held>> {
    let fenced = owner.pipeline.sinks.iter().enumerate().map(|(sink, node)| async move {
        let ctx = owner.writer_context(sink, checkpoint.incarnation);
        let held = node.sink.fence_and_read(&ctx, &owner.lineage).await;
        held.map_err(|error| {
            owner.instruments.failed(Some(&node.name), &error);
            error.context(format!("sink {:?}", node.name))
        })
    });
    try_join_all(fenced).await
}

/// A sink that still owes the newest epoch cannot be taken out of the file.
///
/// # Errors
/// Config: one was taken out.
pub fn refuse_missing_sinks(
    pipeline: &Pipeline,
    checkpoint: &Checkpoint,
    complete: bool,
) -> Result<()> {
    let known = |name: &String| pipeline.sinks.iter().any(|node| node.name == *name);
    let missing = checkpoint.sinks.iter().find(|(name, state)| state.owes && !known(name));
    match missing {
        Some((name, _)) if !complete => {
            let mut hint = "run once with the sink, stop cleanly, then take it out".to_owned();
            if [LATE, LEDGER].contains(&name.to_lowercase().as_str()) {
                hint.push_str(TAKEN_SINCE);
            }
            Err(Error::config(format!(
                "sink {name:?} is not in the pipeline file and may still owe epoch {}",
                checkpoint.epoch
            ))
            .hint(hint))
        }
        _ => Ok(()),
    }
}

/// A step with open windows cannot be taken out of the file: their rows are booked, and would come
/// out nowhere.
///
/// # Errors
/// Config: one was taken out.
pub fn refuse_missing_windows(pipeline: &Pipeline, checkpoint: &Checkpoint) -> Result<()> {
    let known = |name: &String| pipeline.steps.iter().any(|node| node.name == *name);
    let mut missing = checkpoint.times.iter().filter(|(name, _)| !known(name));
    match missing.find(|(_, time)| time.windows > 0) {
        Some((name, time)) => Err(Error::config(format!(
            "transform {name:?} is not in the pipeline file and holds {} rows in {} open windows",
            time.rows, time.windows
        ))
        .hint(
            "run the earlier file once more with `--until-end --flush-windows`, which closes them, \
             then take it out",
        )),
        None => Ok(()),
    }
}

/// Whether a sink lacks the newest epoch. One that had it once (`complete`) and does not hold it
/// any more has lost its token alone, or its rows as well: nobody knows.
///
/// # Errors
/// Config: it holds what this history does not explain.
pub fn is_behind(
    node: &SinkNode,
    checkpoint: &Checkpoint,
    held: Held,
    complete: bool,
) -> Result<bool> {
    let nothing = SinkState::default();
    let state = checkpoint.sinks.get(&node.name).unwrap_or(&nothing);
    let held = match held {
        Held::Untold => {
            let replayed = node.sink.promise().kind != SinkKind::None;
            return Ok(state.owes && !complete && replayed);
        }
        Held::Nothing => None,
        Held::Token(token) if token.incarnation == checkpoint.incarnation => Some(token.epoch),
        Held::Token(token) => {
            let found = format!("epoch {} of another history", token.epoch);
            return Err(unknown(&node.name, &found, checkpoint, ""));
        }
    };
    if held == state.token_after(checkpoint.epoch) {
        return Ok(false);
    }
    if state.owes && !complete && held == state.prev {
        return Ok(true);
    }
    let held = held.map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
    let expected = state.token_after(checkpoint.epoch);
    let expected = expected.map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
    let found = format!("{held} where the checkpoints say {expected}");
    let word = format!(
        ", or `run --until-end --assume held` if it holds everything up to epoch {newest}, \
         `--assume missing` if it lacks that epoch alone",
        newest = checkpoint.epoch
    );
    Err(unknown(&node.name, &found, checkpoint, &word))
}

/// The error of a token that nothing explains; `word` says what the operator may state.
fn unknown(sink: &str, found: &str, checkpoint: &Checkpoint, word: &str) -> Error {
    let way_out = match checkpoint.epoch {
        0 => {
            "give the sink another name to start it afresh, or `run --adopt` to go on from what \
             it holds (records that it holds already are then delivered again)"
        }
        _ => {
            "give the sink another name and place (it then gets what is read from now on), or \
             all of them and the pipeline (everything is then read again)"
        }
    };
    Error::config(format!("sink {sink:?} holds {found}")).hint(format!(
        "the checkpoints and the sink do not belong together: restore the one that is missing, \
         {way_out}{word}"
    ))
}

/// Commits from what the checkpoint recorded; false if that is gone.
async fn commit_again(owner: &Owner, checkpoint: &Checkpoint, sink: usize) -> Result<bool> {
    let node = &owner.pipeline.sinks[sink];
    let Some(state) = checkpoint.sinks.get(&node.name) else { return Ok(true) };
    let ctx = owner.writer_context(sink, checkpoint.incarnation);
    let opened = node.sink.open(ctx).await;
    let mut writer = opened.map_err(|error| of_decided(error, checkpoint.epoch))?;
    failpoint::reach("recover.commit.before").await?;
    let commit = commit_of(owner, checkpoint.epoch, state);
    let outcome = commit_one(&owner.lease, writer.as_mut(), commit).await?;
    failpoint::reach("recover.commit.after").await?;
    match outcome {
        CommitOutcome::Committed => {
            info!(sink = node.name, epoch = checkpoint.epoch, "finished a decided epoch");
            Ok(true)
        }
        CommitOutcome::NeedsReplay => Ok(false),
        CommitOutcome::NotOwner => Err(not_owner(&node.name)),
    }
}

/// The error of a destination that does not take a decided epoch's columns. What helps later ones,
/// a step in the pipeline file, does not help it. Errors that name a setting have their own ways.
fn of_decided(error: Error, epoch: u64) -> Error {
    if error.kind() != ErrorKind::Config || error.field_name().is_some() {
        return error;
    }
    error.hint(format!(
        "epoch {epoch} is decided and is finished as it was read, whatever the pipeline file says \
         now: bring the destination back to what it was, start once, and change both then; or \
         name another one and `run --until-end --assume missing` once"
    ))
}

/// Gives the recorded cuts of the newest epoch again, to the sinks that lost them. Where a loss is
/// accepted, a split of which other rows come than were recorded is given up. Nothing is read
/// behind the places where splits were cut off for sinks that hold the epoch.
async fn replay_epoch(
    owner: &Owner,
    checkpoint: &mut Checkpoint,
    replay: &[&str],
    cut_off: BTreeMap<usize, Position>,
) -> Result<()> {
    let mut gone = Gone { given_up: BTreeSet::new(), cut_off };
    loop {
        let others = replay_without(owner, checkpoint, replay, &gone).await?;
        if others.is_empty() {
            return Ok(());
        }
        // Each turn gives up at least one more.
        gone.given_up.extend(others);
    }
}

/// Replays an epoch, through the version of the pipeline that read it first; returns the splits
/// that must be given up before anything can be committed.
async fn replay_without(
    owner: &Owner,
    checkpoint: &mut Checkpoint,
    replay: &[&str],
    gone: &Gone,
) -> Result<BTreeSet<usize>> {
    let then = owner.as_of(checkpoint).await?;
    failpoint::reach("recover.replay").await?;
    let mut before = owner.history.epoch(checkpoint.epoch - 1).await?;
    before.roster.clone_from(&checkpoint.roster);
    let epoch = EpochStart { epoch: checkpoint.epoch, now_us: checkpoint.now_us };
    let sinks = then.pipeline.sinks.iter().map(|node| {
        let state = checkpoint.sinks.get(&node.name)?;
        replay
            .contains(&node.name.as_str())
            .then(|| Skip::new(state.rejects.iter().map(|reject| &reject.0)))
    });
    let forgotten = forgotten::states(&then, &mut before).await?;
    let copies = Some(made::copies(owner, checkpoint).await?);
    let cast = Cast { sinks: sinks.collect(), copies };
    let attempt = Attempt::start(&then, before, epoch, cast).await;
    let mut attempt = attempt.map_err(|error| of_decided(error, checkpoint.epoch))?;
    attempt.checkpoint = checkpoint.clone();
    attempt.event_times.stand_at(&then, checkpoint);
    let outcome = replay_into(&mut attempt, epoch, gone, &forgotten).await;
    checkpoint.clone_from(&attempt.checkpoint);
    let (others, error) = match outcome {
        Ok(others) => (others, None),
        Err(error) => (BTreeSet::new(), Some(error)),
    };
    match attempt.end(error).await {
        Some(error) => Err(error),
        None => Ok(others),
    }
}

async fn replay_into(
    attempt: &mut Attempt<'_>,
    epoch: EpochStart,
    gone: &Gone,
    forgotten: &[String],
) -> Result<BTreeSet<usize>> {
    let checkpoint = attempt.checkpoint.clone();
    let sinks: Vec<_> = attempt.sinks.iter().map(Option::is_some).collect();
    let feed = Feed::new(attempt.owner, &checkpoint, epoch, gone.clone()).only_for(&sinks);
    let left_out = feed.left_out();
    let outlet = attempt.shared.outlet.clone();
    let budget = attempt.shared.memory.budget.clone();
    let cut_off = tokio::select! {
        fed = feed.run(&outlet, &budget) => fed?,
        failure = attempt.failed() => return Err(failure),
    };
    let next = EpochStart { epoch: epoch.epoch + 1, ..epoch };
    let mut tally = Tally::default();
    let mut states = attempt.pass_barrier(next, &mut tally).await?;
    states.retain(|step, _| !forgotten.contains(step));
    let times = attempt.event_times.kept(attempt.owner);
    let reports = attempt.prepare_replayed(epoch).await?;
    let accepts = attempt.owner.options.accept_loss;
    let terms = Terms { accepts, gone, cut_off: &cut_off };
    match losses::of_replay(&checkpoint, &attempt.owner.pipeline, &reports, &terms)? {
        Compared::Others(splits) => Ok(splits),
        Compared::Same(losses) => {
            let replayed = Replayed { states, times, tally, left_out };
            let losses = replayed.without(&attempt.owner.pipeline, &checkpoint, losses);
            losses::keep(attempt.owner, &checkpoint, &reports, losses).await?;
            attempt.commit_replayed(&reports).await?;
            identities::meet_again(attempt, &reports).await?;
            Ok(BTreeSet::new())
        }
    }
}
