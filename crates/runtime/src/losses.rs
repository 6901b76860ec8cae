//! What could not be delivered of a decided epoch, because it can no longer be read.
//!
//! The checkpoint of that epoch stands and says that the rows were delivered. So the next epoch
//! takes them back (`rejected_after`) and books them as `lost`. A note beside the checkpoint is
//! durable before any sink commits without these rows: whatever crashes, they are booked once.

use std::collections::{BTreeMap, BTreeSet};

use contract::record::{OriginSum, split_seed};
use contract::{Error, Result, SplitId};
use state::Checkpoint;
use state::checkpoint::Cut;
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

use crate::graph::Pipeline;
use crate::owner::Owner;
use crate::sink_task::SinkReport;

/// What came of a replay.
pub enum Compared {
    /// The rows that were recorded, but for those that are lost.
    Same(Vec<Entry>),
    /// Other rows of these splits; nothing of the replay may be committed.
    Others(BTreeSet<usize>),
}

/// Compares what a replay gave with what the checkpoint recorded, to the last row. Where losses
/// are accepted (`accepts`), rows may be missing, and splits of which other rows came are named.
///
/// # Errors
/// External: the replay gave other rows, and nobody accepts that; nothing of it may be committed.
pub fn of_replay(
    checkpoint: &Checkpoint,
    pipeline: &Pipeline,
    reports: &[Option<SinkReport>],
    accepts: bool,
) -> Result<Compared> {
    let mut losses = Vec::new();
    let mut others = BTreeSet::new();
    for (node, report) in pipeline.sinks.iter().zip(reports) {
        let Some(report) = report else { continue };
        let mut given: BTreeMap<SplitId, Given> = given_by(checkpoint, report);
        for entry in recorded(checkpoint, &node.name) {
            let split = SplitId::new(entry.split.as_str());
            let given = given.remove(&split).unwrap_or_default();
            match entry.counts.delivered.checked_sub(given.sum.rows) {
                Some(0) if hash_text(given.sum.hash) == entry.hash => {}
                Some(lost) if lost > 0 && accepts => losses.push(loss(&entry, lost)),
                Some(lost) if lost > 0 => return Err(fewer(checkpoint, &entry, &given)),
                _ if accepts => others.extend(splits_of(checkpoint, &split)),
                _ => return Err(differs(checkpoint, &entry, &given)),
            }
        }
        let unrecorded = given.iter().find(|(_, given)| given.sum.rows > 0);
        match unrecorded {
            Some((split, _)) if accepts => others.extend(splits_of(checkpoint, split)),
            Some((split, given)) => {
                let entry = Entry {
                    split: split.to_string(),
                    sink: node.name.clone(),
                    counts: Counts::default(),
                    hash: hash_text(0),
                };
                return Err(differs(checkpoint, &entry, given));
            }
            None => {}
        }
    }
    Ok(match others.is_empty() {
        true => Compared::Same(losses),
        false => Compared::Others(others),
    })
}

/// What a replay gave a sink of one split.
#[derive(Default)]
struct Given {
    /// What the sink took.
    sum: OriginSum,
    /// What it refused, which it took before.
    refused: u64,
    /// Why it refused the first.
    reason: Option<String>,
}

/// What the checkpoint says that a sink got, by split. Two sources may read splits of one name;
/// what a sink holds does not say which of them a row came from.
fn recorded(checkpoint: &Checkpoint, sink: &str) -> Vec<Entry> {
    let mut all: BTreeMap<&str, Entry> = BTreeMap::new();
    for entry in checkpoint.ledger.iter().filter(|entry| entry.sink == sink) {
        match all.get_mut(entry.split.as_str()) {
            Some(known) => known.add(entry),
            None => drop(all.insert(&entry.split, entry.clone())),
        }
    }
    all.into_values().collect()
}

fn given_by(checkpoint: &Checkpoint, report: &SinkReport) -> BTreeMap<SplitId, Given> {
    let mut given: BTreeMap<SplitId, Given> = BTreeMap::new();
    for (split, sum) in &report.sums {
        let id = checkpoint.roster[*split].known.split.id.clone();
        given.entry(id).or_default().sum.merge(*sum);
    }
    for row in report.prepared.iter().flat_map(|prepared| &prepared.rejects) {
        let given = given.entry(row.split.clone()).or_default();
        let mut refused = OriginSum::default();
        let seed = split_seed(row.split.as_str());
        refused.add(seed, row.reject.position, row.reject.ordinal);
        given.sum.take(refused);
        given.refused += 1;
        given.reason.get_or_insert_with(|| row.reject.reason.clone());
    }
    given
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

/// The splits of a name, by number.
fn splits_of(checkpoint: &Checkpoint, id: &SplitId) -> impl Iterator<Item = usize> {
    checkpoint.roster.of_id(id).map(|(index, _)| index)
}

fn loss(entry: &Entry, rows: u64) -> Entry {
    let counts = Counts { rejected_after: rows, lost: rows, ..Counts::default() };
    Entry { counts, hash: hash_text(0), ..entry.clone() }
}

/// The error of a replay that gave too few rows.
fn fewer(checkpoint: &Checkpoint, entry: &Entry, given: &Given) -> Error {
    let why = match &given.reason {
        Some(reason) => format!("{} of them were refused now: {reason}", given.refused),
        None => "its source does not have the others any more".to_owned(),
    };
    unlike(checkpoint, entry, given)
        .because(why)
        .hint("`run --accept-loss` delivers those that are left and books the others as lost")
}

/// The error of a replay that gave rows which were not recorded.
fn differs(checkpoint: &Checkpoint, entry: &Entry, given: &Given) -> Error {
    unlike(checkpoint, entry, given).because("what it reads has changed since").hint(
        "bring back what was read then, or `run --accept-loss` to leave these rows out and book \
         them as lost",
    )
}

fn unlike(checkpoint: &Checkpoint, entry: &Entry, given: &Given) -> Error {
    let Entry { split, sink, counts, hash } = entry;
    let (recorded, rows) = (counts.delivered, given.sum.rows);
    let epoch = checkpoint.epoch;
    warn!(sink, split, epoch, recorded = hash, given = hash_text(given.sum.hash), "other rows");
    let (from, to) = range_of(checkpoint, split);
    Error::external(format!(
        "a replay of epoch {epoch} gave sink {sink:?} {rows} rows of split {split:?}, records \
         {from} to {to}, where {recorded} were recorded"
    ))
}

/// The records of a split that an epoch read.
fn range_of(checkpoint: &Checkpoint, split: &str) -> (i64, i64) {
    let of_split = |cut: &&Cut| checkpoint.roster[cut.split].known.split.id.as_str() == split;
    let cuts = || checkpoint.cuts.iter().filter(of_split);
    let from = cuts().map(|cut| cut.from.as_ref().map_or(0, |from| from.at)).min();
    let to = cuts().map(|cut| cut.to.at).max();
    (from.unwrap_or_default(), to.unwrap_or_default())
}
