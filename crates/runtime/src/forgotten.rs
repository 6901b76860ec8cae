//! States of steps that are gone or damaged: the step begins anew, where that is accepted, and what
//! it held is booked as lost.

use bytes::Bytes;
use contract::Result;
use contract::source::Split;
use state::Checkpoint;
use state::checkpoint::StepTime;
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

use crate::owner::Owner;

/// The state of a step, as a checkpoint names it.
///
/// # Errors
/// External: it is gone or damaged, or the store does not answer (retryable).
pub async fn read(owner: &Owner, step: &str, name: &str) -> Result<Bytes> {
    let read = owner.history.state(name).await;
    read.map_err(|error| {
        let error = error.context(format!("could not read the state of transform {step:?}"));
        match error.retry() {
            true => error,
            false => error.hint(
                "restore the file from a backup, or `run --accept-loss` to have the step begin \
                 anew: rows of its open windows are booked as lost, a `dedupe` takes every row \
                 for its first",
            ),
        }
    })
}

/// Takes the states of steps out of a checkpoint that are gone or damaged, where that is accepted;
/// returns the names of the steps.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn states(owner: &Owner, checkpoint: &mut Checkpoint) -> Result<Vec<String>> {
    let mut forgotten = Vec::new();
    if !owner.options.accept_loss {
        return Ok(forgotten);
    }
    for node in owner.pipeline.steps.iter().filter(|node| node.step.stateful()) {
        let Some(name) = checkpoint.states.get(&node.name) else { continue };
        match read(owner, &node.name, name).await {
            Ok(_) => {}
            Err(error) if error.retry() => return Err(error),
            Err(error) => {
                warn!(error = error.chain(), step = node.name, "a step begins anew");
                forgotten.push(node.name.clone());
            }
        }
    }
    checkpoint.states.retain(|step, _| !forgotten.contains(step));
    Ok(forgotten)
}

/// Makes an epoch of what steps held whose states are gone or damaged, where that is accepted.
///
/// # Errors
/// NotOwner: another process made that epoch. External, from the store.
pub async fn book(owner: &Owner, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
    let forgotten = states(owner, &mut checkpoint).await?;
    if forgotten.is_empty() {
        return Ok(checkpoint);
    }
    let mut ledger = Vec::new();
    for node in owner.pipeline.steps.iter().filter(|node| forgotten.contains(&node.name)) {
        let Some(time) = checkpoint.times.get_mut(&node.name) else { continue };
        let held = time.rows;
        *time = StepTime { watermark_us: time.watermark_us, ..StepTime::default() };
        let split = Split::made_by(&node.name, &owner.lineage).id.to_string();
        let sinks = owner.pipeline.sinks.iter().zip(&node.reach).filter(|(_, reach)| **reach);
        let counts = Counts { expanded: held, lost: held, ..Counts::default() };
        ledger.extend(sinks.filter(|_| held > 0).map(|(sink, _)| Entry {
            split: split.clone(),
            sink: sink.name.clone(),
            counts,
            hash: hash_text(0),
        }));
        warn!(step = node.name, rows = held, "booked rows of open windows as lost");
    }
    let sinks = checkpoint
        .sinks
        .iter()
        .map(|(name, state)| (name.clone(), state.at_rest(state.token_after(checkpoint.epoch))));
    let sinks = sinks.collect();
    owner.decide_without_rows(&checkpoint, sinks, ledger).await
}
