//! What could not be delivered of a decided epoch, because it can no longer be read.
//!
//! The checkpoint of that epoch stands and says that the rows were delivered. So the next epoch
//! takes them back (`rejected_after`) and books them as `lost`. A note beside the checkpoint is
//! durable before any sink commits without these rows: whatever crashes, they are booked once.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Error, Result};
use state::Checkpoint;
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

use crate::graph::Pipeline;
use crate::owner::Owner;
use crate::sink_task::SinkReport;

/// Compares what a replay gave with what the checkpoint recorded, to the last row; only splits
/// that are unreadable may lack some.
///
/// # Errors
/// Bug: the replay gave other rows; nothing of it may be committed.
pub fn of_replay(
    checkpoint: &Checkpoint,
    pipeline: &Pipeline,
    reports: &[Option<SinkReport>],
    unreadable: &BTreeSet<usize>,
) -> Result<Vec<Entry>> {
    let mut losses = Vec::new();
    for (node, report) in pipeline.sinks.iter().zip(reports) {
        let Some(report) = report else { continue };
        let refused = report.prepared.as_ref().map_or(0, |prepared| prepared.rejects.len());
        let mut given: BTreeMap<_, _> = report.sums.iter().collect();
        for entry in checkpoint.ledger.iter().filter(|entry| entry.sink == node.name) {
            let split = split_of(checkpoint, &entry.split)?;
            let sum = given.remove(&split).copied().unwrap_or_default();
            let lost = entry.counts.delivered.checked_sub(sum.rows);
            match lost {
                Some(0) if hash_text(sum.hash) == entry.hash => {}
                Some(lost) if lost > 0 && unreadable.contains(&split) => {
                    losses.push(loss(entry, lost));
                }
                _ => return Err(other_rows(&node.name, &entry.split)),
            }
        }
        if refused > 0 || given.values().any(|sum| sum.rows > 0) {
            return Err(other_rows(&node.name, "none that was recorded"));
        }
    }
    Ok(losses)
}

/// Notes the losses of the sinks that were replayed; those of others stay.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn keep(
    owner: &Owner,
    checkpoint: &Checkpoint,
    reports: &[Option<SinkReport>],
    losses: Vec<Entry>,
) -> Result<()> {
    let replayed = |name: &str| {
        let mut sinks = owner.pipeline.sinks.iter().zip(reports);
        sinks.any(|(node, report)| report.is_some() && node.name == name)
    };
    let mut all = owner.history.losses(checkpoint.epoch).await?;
    let known = all.len();
    all.retain(|entry| !replayed(&entry.sink));
    if all.len() == known && losses.is_empty() {
        return Ok(());
    }
    all.extend(losses);
    owner.history.keep_losses(checkpoint.epoch, &all).await
}

/// Makes an epoch of the losses that were noted, once every sink holds what is left.
///
/// # Errors
/// NotOwner: another process made that epoch. External, from the store.
pub async fn book(owner: &Owner, checkpoint: Checkpoint) -> Result<Checkpoint> {
    let losses = owner.history.losses(checkpoint.epoch).await?;
    if losses.is_empty() {
        return Ok(checkpoint);
    }
    let sinks = checkpoint.sinks.iter().map(|(name, state)| {
        let of_sink = losses.iter().filter(|entry| entry.sink == *name);
        let lost: u64 = of_sink.map(|entry| entry.counts.lost).sum();
        // A sink that lost every row of the epoch has committed nothing.
        let prev = if state.owes && lost == state.rows {
            state.prev
        } else {
            state.token_after(checkpoint.epoch)
        };
        (name.clone(), state.at_rest(prev))
    });
    let rows: u64 = losses.iter().map(|entry| entry.counts.lost).sum();
    let next = owner.decide_without_rows(&checkpoint, sinks.collect(), losses).await?;
    warn!(epoch = next.epoch, rows, "booked rows as lost");
    Ok(next)
}

fn split_of(checkpoint: &Checkpoint, id: &str) -> Result<usize> {
    let split = checkpoint.splits.iter().position(|state| state.known.split.id.as_str() == id);
    split.ok_or_else(|| Error::bug(format!("the ledger names split {id:?}, which nobody knows")))
}

fn loss(entry: &Entry, rows: u64) -> Entry {
    let counts = Counts { rejected_after: rows, lost: rows, ..Counts::default() };
    Entry { counts, hash: hash_text(0), ..entry.clone() }
}

fn other_rows(sink: &str, split: &str) -> Error {
    Error::bug(format!(
        "a replay for sink {sink:?} gave other rows of split {split:?} than were recorded"
    ))
}
