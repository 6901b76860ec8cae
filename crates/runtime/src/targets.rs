//! Where sinks write, compared with where their history says that they wrote.
//!
//! A history belongs to a place, not to a name: an epoch that was decided for one place is never
//! given to another, and no place lacks rows without a word. What changed is refused before
//! anything is written; only a token of this very history proves that a place was but moved.

use std::collections::{BTreeMap, BTreeSet};

use contract::sink::{Held, SinkKind};
use contract::{Error, Result};
use futures::{Stream, StreamExt};
use state::checkpoint::{SinkState, Target};
use state::history::Newest;
use state::{Checkpoint, CheckpointStore};
use tracing::{info, warn};

use crate::assume::Assumption;
use crate::graph::Pipeline;
use crate::owner::Owner;

/// Checkpoints that are read side by side.
const LOOKS_AT_ONCE: usize = 16;

/// A sink that writes elsewhere than its history says.
#[derive(Debug)]
pub struct Change<'a> {
    /// Its number in the pipeline.
    pub sink: usize,
    /// Its name.
    pub name: &'a str,
    /// Where it wrote.
    pub was: &'a Target,
    /// Where it writes.
    pub now: &'a Target,
    /// Whether a token in the new place could still prove that it is the old one.
    pub provable: bool,
    /// The newest epoch, if the old place may not hold it.
    unfinished: Option<u64>,
    /// The newest epoch.
    epoch: u64,
}

/// The sinks of a pipeline that wrote elsewhere in the epochs of a checkpoint. `complete` says that
/// every sink holds the newest of them. A sink that never got a row may write where it likes, and
/// one of which nothing was noted takes what it meets.
pub fn changes<'a>(
    pipeline: &'a Pipeline,
    checkpoint: &'a Checkpoint,
    complete: bool,
) -> Vec<Change<'a>> {
    let epoch = checkpoint.epoch;
    let nodes = pipeline.sinks.iter().enumerate();
    let changes = nodes.filter_map(|(sink, node)| {
        let state = checkpoint.sinks.get(&node.name)?;
        let (now, was) = (node.target.as_ref()?, state.target.as_ref()?);
        (!now.is_one(was) && state.token_after(epoch).is_some()).then(|| Change {
            sink,
            name: &node.name,
            was,
            now,
            provable: now.kind == was.kind && node.sink.promise().token,
            unfinished: (state.owes && !complete).then_some(epoch),
            epoch,
        })
    });
    changes.collect()
}

/// Looks through the newest checkpoints of all lineages, so that none begins where another will
/// stop. Returns what only the tokens of sinks can tell, a sentence each. Checkpoints that cannot
/// be read are passed over: their lineages say what is to be done.
///
/// # Errors
/// Config: a sink changed for certain.
pub async fn look(pipeline: &Pipeline, checkpoints: &CheckpointStore) -> Result<Vec<String>> {
    look_without(pipeline, checkpoints, &[]).await
}

/// Looks through the newest checkpoints of all lineages for an epoch that would lie nowhere if
/// sinks went on in other places and no earlier epoch were delivered again.
///
/// # Errors
/// Config: there is one.
pub async fn look_for_unfinished(pipeline: &Pipeline, checkpoints: &CheckpointStore) -> Result<()> {
    let mut newest = std::pin::pin!(newest(pipeline, checkpoints).await);
    while let Some(newest) = newest.next().await {
        let Ok(Some(newest)) = newest else { continue };
        let changes = changes(pipeline, &newest.checkpoint, newest.complete);
        let unfinished = changes.iter().find_map(|one| one.unfinished.map(|epoch| (one, epoch)));
        if let Some((change, epoch)) = unfinished {
            return Err(change.refuse_held(epoch));
        }
    }
    Ok(())
}

/// The newest checkpoint of each lineage, but for replays; of none where they cannot be listed.
async fn newest<'a>(
    pipeline: &'a Pipeline,
    checkpoints: &'a CheckpointStore,
) -> impl Stream<Item = Result<Option<Newest>>> + use<'a> {
    let lineages = checkpoints.lineages(&pipeline.name).await.unwrap_or_default();
    let lineages = lineages.into_iter().filter(|lineage| !lineage.is_replay());
    futures::stream::iter(lineages)
        .map(move |lineage| {
            let history = checkpoints.history(&pipeline.name, &lineage);
            async move { history.newest().await }
        })
        .buffered(LOOKS_AT_ONCE)
}

/// The same, without a word on the tokens of sinks whose numbers are `asked`.
///
/// # Errors
/// As for [`look`].
pub async fn look_without(
    pipeline: &Pipeline,
    checkpoints: &CheckpointStore,
    asked: &[usize],
) -> Result<Vec<String>> {
    let mut newest = std::pin::pin!(newest(pipeline, checkpoints).await);
    let mut told = BTreeMap::new();
    while let Some(newest) = newest.next().await {
        let Ok(Some(newest)) = newest else { continue };
        for change in changes(pipeline, &newest.checkpoint, newest.complete) {
            if !change.provable {
                return Err(change.error());
            }
            if asked.contains(&change.sink) {
                continue;
            }
            told.entry(change.sink).or_insert_with(|| change.sentence());
        }
    }
    Ok(told.into_values().collect())
}

impl Change<'_> {
    /// What changed, as a sentence.
    pub fn sentence(&self) -> String {
        let Self { name, was, now, epoch, .. } = self;
        match (&was.place, &now.place) {
            (Some(was), Some(now)) if self.was.kind == self.now.kind => {
                format!("sink {name:?} writes to {now:?} now, and up to epoch {epoch} to {was:?}")
            }
            _ => format!(
                "sink {name:?} is of type {} now, and was of type {} up to epoch {epoch}",
                now.kind, was.kind
            ),
        }
    }

    /// The error that stops a start, with the ways out.
    pub fn error(&self) -> Error {
        let first = self.unfinished.map_or_else(String::new, |epoch| {
            format!(
                "epoch {epoch} may not be finished where it wrote: run the earlier file once with \
                 `--until-end` first; then "
            )
        });
        let missing = match self.unfinished {
            Some(_) if self.was.kind == self.now.kind => {
                ", or with `--assume missing` if it is to get that epoch too"
            }
            _ => "",
        };
        Error::config(self.sentence()).hint(format!(
            "{first}give the new one another name (it then gets what is read from now on; with \
             another `name` of the pipeline, everything from the beginning), put the old one \
             back, or `run --until-end --assume held` to go on there under the old name{missing}"
        ))
    }

    /// The error of a word that would leave an epoch in neither place.
    fn refuse_held(&self, epoch: u64) -> Error {
        let missing = match self.was.kind == self.now.kind {
            true => ", or say `--assume missing` if the new place is to get that epoch",
            false => "",
        };
        Error::config(self.sentence()).hint(format!(
            "epoch {epoch} is decided, and may lie in neither place: run the earlier file once \
             with `--until-end` to finish it there{missing}; where neither can be done, `--assume \
             held --accept-loss` books its rows as lost"
        ))
    }

    /// The error of an assumption that does not suit the change.
    fn refuse_missing(&self) -> Error {
        Error::config(self.sentence()).hint(format!(
            "epoch {} was made for a sink of type {}: run the earlier file once to finish it \
             there, then `--assume held`, or give the new sink another name",
            self.epoch, self.was.kind
        ))
    }
}

/// What was found out about sinks that write elsewhere.
#[derive(Debug, Default)]
pub struct Settled {
    /// Sinks whose token must be the one that the history expects.
    to_prove: BTreeSet<usize>,
    /// Sinks that are to get the newest epoch in a new place: what was prepared lies in the old.
    pub replay: BTreeSet<usize>,
    /// Sinks that write elsewhere now and whose newest epoch is given up: it may lie nowhere.
    pub given_up: BTreeSet<usize>,
    /// Whether anything was taken on the operator's word.
    pub assumed: bool,
    /// Whether every sink is known to hold the newest epoch.
    complete: bool,
    /// Where an earlier start gave sinks the newest epoch on the operator's word.
    moved: BTreeMap<String, Target>,
}

/// Compares before anything is touched. What the operator says of a changed sink enters the
/// checkpoint; a sink that may be proved by its token waits for [`Settled::prove`].
///
/// # Errors
/// Config: a sink changed, with the ways out.
pub fn compare(owner: &Owner, checkpoint: &mut Checkpoint, complete: bool) -> Result<Settled> {
    let mut settled = Settled { complete, ..Settled::default() };
    let before = checkpoint.clone();
    for change in changes(&owner.pipeline, &before, complete) {
        if change.provable {
            settled.to_prove.insert(change.sink);
            continue;
        }
        settled.take(owner, checkpoint, &change, None)?;
    }
    Ok(settled)
}

impl Settled {
    /// Looks up what an earlier start was told and could not keep before it died. Called before
    /// [`Settled::prove`].
    ///
    /// # Errors
    /// As for [`state::History::losses`].
    pub async fn remember(&mut self, owner: &Owner, epoch: u64) -> Result<()> {
        if !self.to_prove.is_empty() {
            self.moved = owner.history.losses(epoch).await?.moved;
        }
        Ok(())
    }

    /// Notes which sinks get the newest epoch in another place, before any of them does: by its
    /// token alone a later start would take that place for the earlier one.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn note_moves(&self, owner: &Owner, epoch: u64) -> Result<()> {
        if self.replay.is_empty() {
            return Ok(());
        }
        let mut note = owner.history.losses(epoch).await?;
        let sinks = self.replay.iter().map(|sink| &owner.pipeline.sinks[*sink]);
        note.moved.extend(sinks.filter_map(|node| Some((node.name.clone(), node.target.clone()?))));
        owner.history.keep_losses(epoch, &note).await
    }

    /// Asks the token of a sink whose place looks like another one: a server may have got another
    /// name, a folder may have been moved. Called once the sink was fenced.
    ///
    /// # Errors
    /// Config: the token proves nothing.
    pub fn prove(
        &mut self,
        owner: &Owner,
        checkpoint: &mut Checkpoint,
        sink: usize,
        held: Held,
    ) -> Result<()> {
        if !self.to_prove.contains(&sink) {
            return Ok(());
        }
        let before = checkpoint.clone();
        let changes = changes(&owner.pipeline, &before, self.complete);
        let Some(change) = changes.into_iter().find(|change| change.sink == sink) else {
            return Ok(());
        };
        let token = token_of(&before, held);
        if is_proved(&before, change.name, token) {
            let is_told = self.moved.get(change.name).is_some_and(|to| to.is_one(change.now));
            let missing = is_told || owner.options.assume == Some(Assumption::Missing);
            let state = state_of(checkpoint, change.name);
            if missing && state.owes && token == Some(change.epoch) {
                // A start with this word gave it the epoch, and died before it could note that.
                warn!("{}, as `--assume` said", change.sentence());
                state.move_to(change.now, change.epoch - 1);
                self.assumed = true;
                return Ok(());
            }
            info!(sink = change.name, "its place has another name: {}", change.sentence());
            state.rename_to(change.now);
            return Ok(());
        }
        self.take(owner, checkpoint, &change, token)
    }

    /// Takes the operator's word for a changed sink.
    fn take(
        &mut self,
        owner: &Owner,
        checkpoint: &mut Checkpoint,
        change: &Change,
        held: Option<u64>,
    ) -> Result<()> {
        let Some(assumption) = owner.options.assume else { return Err(change.error()) };
        let gets = assumption == Assumption::Missing;
        let state = state_of(checkpoint, change.name);
        if gets && change.was.kind != change.now.kind && state.owes {
            return Err(change.refuse_missing());
        }
        let lacks = change.unfinished.filter(|_| !gets);
        if let Some(epoch) = lacks.filter(|_| !owner.options.accept_loss) {
            return Err(change.refuse_held(epoch));
        }
        warn!("{}, as `--assume` says", change.sentence());
        let kind = owner.pipeline.sinks[change.sink].sink.promise().kind;
        let owes = gets && state.owes && kind != SinkKind::None;
        *state = match owes {
            true => SinkState { prev: held, committable: None, ..state.clone() },
            false => SinkState { owes, ..state.at_rest(held) },
        };
        // Where it gets the newest epoch too, that went to the new place; one that is given up is
        // nowhere.
        let is_new = owes || lacks.is_some();
        state.move_to(change.now, change.epoch - u64::from(is_new));
        if owes {
            self.replay.insert(change.sink);
        }
        if lacks.is_some() {
            self.given_up.insert(change.sink);
        }
        self.assumed = true;
        Ok(())
    }
}

/// The epoch of this history that a sink holds.
fn token_of(checkpoint: &Checkpoint, held: Held) -> Option<u64> {
    match held {
        Held::Token(token) if token.incarnation == checkpoint.incarnation => Some(token.epoch),
        _ => None,
    }
}

/// Whether a token shows that a place is the old one under another name.
fn is_proved(checkpoint: &Checkpoint, sink: &str, token: Option<u64>) -> bool {
    let nothing = SinkState::default();
    let state = checkpoint.sinks.get(sink).unwrap_or(&nothing);
    let expected = [state.token_after(checkpoint.epoch), state.prev];
    token.is_some() && expected[..1 + usize::from(state.owes)].contains(&token)
}

/// Whether what a sink holds proves that a changed place is but moved.
///
/// # Errors
/// Config: it proves nothing.
pub fn prove_place(change: &Change, checkpoint: &Checkpoint, held: Held) -> Result<()> {
    match is_proved(checkpoint, change.name, token_of(checkpoint, held)) {
        true => Ok(()),
        false => Err(change.error()),
    }
}

fn state_of<'a>(checkpoint: &'a mut Checkpoint, name: &str) -> &'a mut SinkState {
    checkpoint.sinks.entry(name.to_owned()).or_default()
}
