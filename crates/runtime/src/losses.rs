//! What could not be delivered of a decided epoch, because it can no longer be read.
//!
//! The checkpoint of that epoch stands and says that the rows were delivered. So the next epoch
//! takes them back (`rejected_after`) and books them as `lost`, or as dead letters where they can
//! be read and their sink refuses them now. A note beside the checkpoint is durable before any sink
//! commits without these rows: whatever crashes, they are booked once.

use std::collections::{BTreeMap, BTreeSet};

use contract::record::{OriginSum, split_seed};
use contract::source::Again;
use contract::{Error, Position, Result, SplitId};
use state::Checkpoint;
use state::checkpoint::{Cut, SinkRejectState};
use state::history::Losses;
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

use crate::feed::Gone;
use crate::graph::{DEAD_LETTERS, Pipeline};
use crate::owner::Owner;
use crate::sink_task::SinkReport;

/// What came of a replay.
pub enum Compared {
    /// The rows that were recorded, but for those that are lost or refused now.
    Same(Losses),
    /// Other rows of these splits; nothing of the replay may be committed.
    Others(BTreeSet<usize>),
}

/// What may be missing in a replay.
pub struct Terms<'a> {
    /// Whether losses are accepted.
    pub accepts: bool,
    /// What was not read again, whatever is there.
    pub gone: &'a Gone,
    /// Where splits were cut off: what was read again stands before that, and is proven.
    pub cut_off: &'a BTreeMap<usize, Position>,
}

impl Terms<'_> {
    /// Whether a loss of a split is accepted: by this start, or by one before it, after which
    /// another sink committed without what is lost.
    fn accept(&self, checkpoint: &Checkpoint, id: &SplitId) -> bool {
        let mut splits = splits_of(checkpoint, id);
        self.accepts || splits.any(|split| self.gone.cut_off.contains_key(&split))
    }

    /// Whether fewer rows of a split are some of those that were recorded. Sums cannot tell: fewer
    /// lines of a rewritten file are other rows.
    fn are_some_of_them(&self, checkpoint: &Checkpoint, pipeline: &Pipeline, id: &SplitId) -> bool {
        let sparse = |name: &str| {
            let mut sources = pipeline.sources.iter().filter(|node| node.name == name);
            sources.all(|node| node.source.again() == Again::Sparse)
        };
        let mut splits = splits_of(checkpoint, id);
        splits.all(|split| {
            self.gone.given_up.contains(&split)
                || self.cut_off.contains_key(&split)
                || sparse(&checkpoint.roster[split].source)
        })
    }
}

/// Compares what a replay gave with what the checkpoint recorded, to the last row. Where losses
/// are accepted, rows may be missing or refused, and splits of which other rows came are named.
///
/// # Errors
/// External: the replay gave other rows, and nobody accepts that; nothing of it may be committed.
pub fn of_replay(
    checkpoint: &Checkpoint,
    pipeline: &Pipeline,
    reports: &[Option<SinkReport>],
    terms: &Terms,
) -> Result<Compared> {
    let cut_off = terms.cut_off.iter().map(|(split, at)| (*split, at.clone())).collect();
    let mut losses = Losses { cut_off, ..Losses::default() };
    let mut others = BTreeSet::new();
    for (node, report) in pipeline.sinks.iter().zip(reports) {
        let Some(report) = report else { continue };
        let mut given: BTreeMap<SplitId, Given> = given_by(checkpoint, report);
        for entry in recorded(checkpoint, &node.name) {
            let split = SplitId::new(entry.split.as_str());
            let accepts = terms.accept(checkpoint, &split);
            let given = given.remove(&split).unwrap_or_default();
            let missing = entry.counts.delivered.checked_sub(given.came.rows);
            let some = || terms.are_some_of_them(checkpoint, pipeline, &split);
            let whole = missing == Some(0) && hash_text(given.came.hash) == entry.hash;
            match (missing, given.refused()) {
                (_, 0) if whole => {}
                (Some(lost), refused) if accepts && (whole || lost > 0 && some()) => {
                    losses.entries.push(taken_back(&entry, lost, refused));
                }
                (Some(lost), _) if !accepts && (whole || lost > 0) => {
                    return Err(fewer(checkpoint, &entry, &given));
                }
                _ if accepts => others.extend(splits_of(checkpoint, &split)),
                _ => return Err(differs((pipeline, checkpoint), &entry, &given)),
            }
        }
        let rejects = report.prepared.iter().flat_map(|prepared| &prepared.rejects);
        let refused: Vec<_> = rejects.cloned().map(SinkRejectState).collect();
        if !refused.is_empty() {
            losses.refused.insert(node.name.clone(), refused);
        }
        let unrecorded = given.iter().find(|(_, given)| given.came.rows > 0);
        match unrecorded {
            Some((split, _)) if terms.accept(checkpoint, split) => {
                others.extend(splits_of(checkpoint, split))
            }
            Some((split, given)) => {
                let entry = Entry {
                    split: split.to_string(),
                    sink: node.name.clone(),
                    counts: Counts::default(),
                    hash: hash_text(0),
                };
                return Err(differs((pipeline, checkpoint), &entry, given));
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
    /// What came to the sink.
    came: OriginSum,
    /// What it took of that; it took all before.
    sum: OriginSum,
    /// Why it refused the first.
    reason: Option<String>,
}

impl Given {
    fn refused(&self) -> u64 {
        self.came.rows - self.sum.rows
    }
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
        let given = given.entry(id).or_default();
        given.came.merge(*sum);
        given.sum.merge(*sum);
    }
    for row in report.prepared.iter().flat_map(|prepared| &prepared.rejects) {
        let given = given.entry(row.split.clone()).or_default();
        let mut refused = OriginSum::default();
        let seed = split_seed(row.split.as_str());
        refused.add(seed, row.reject.position, row.reject.ordinal);
        given.sum.take(refused);
        given.reason.get_or_insert_with(|| row.reject.reason.clone());
    }
    given
}

/// Forgets what was noted for sinks that lack the epoch: they committed nothing without it, and
/// get whatever is there by now. Returns where splits were cut off for one that did.
///
/// # Errors
/// External: the store does not answer (retryable), or the note is damaged.
pub async fn settle(
    owner: &Owner,
    checkpoint: &Checkpoint,
    behind: &[usize],
) -> Result<BTreeMap<usize, Position>> {
    let noted = owner.history.losses(checkpoint.epoch).await?;
    let mut losses = noted.clone();
    let names = behind.iter().map(|sink| owner.pipeline.sinks[*sink].name.as_str());
    let behind: BTreeSet<_> = names.collect();
    losses.entries.retain(|entry| !behind.contains(entry.sink.as_str()));
    losses.refused.retain(|sink, _| !behind.contains(sink.as_str()));
    let lost = losses.entries.iter().filter(|entry| entry.counts.lost > 0);
    let lost: BTreeSet<_> = lost.map(|entry| entry.split.as_str()).collect();
    let is_lost = |split: usize| lost.contains(checkpoint.roster[split].known.split.id.as_str());
    losses.cut_off.retain(|(split, _)| is_lost(*split));
    losses.remaining = losses.remaining.filter(|_| !lost.is_empty());
    if losses != noted {
        owner.history.keep_losses(checkpoint.epoch, &losses).await?;
    }
    Ok(losses.cut_off.into_iter().collect())
}

/// Notes the losses of the sinks that were replayed; those of others stay.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn keep(
    owner: &Owner,
    checkpoint: &Checkpoint,
    reports: &[Option<SinkReport>],
    losses: Losses,
) -> Result<()> {
    let replayed = |name: &str| {
        let mut sinks = owner.pipeline.sinks.iter().zip(reports);
        sinks.any(|(node, report)| report.is_some() && node.name == name)
    };
    let mut all = owner.history.losses(checkpoint.epoch).await?;
    let known = (all.entries.len(), all.refused.len());
    all.entries.retain(|entry| !replayed(&entry.sink));
    all.refused.retain(|sink, _| !replayed(sink));
    if (all.entries.len(), all.refused.len()) == known && losses.is_empty() {
        return Ok(());
    }
    all.entries.extend(losses.entries);
    all.refused.extend(losses.refused);
    all.cut_off.retain(|(split, _)| losses.cut_off.iter().all(|(other, _)| other != split));
    all.cut_off.extend(losses.cut_off);
    all.remaining = losses.remaining.or(all.remaining);
    owner.history.keep_losses(checkpoint.epoch, &all).await
}

/// Makes an epoch of the losses that were noted, once every sink holds what is left. Where there
/// are dead letters among them, their sink owes them then. Of sinks that are `given_up` nothing is
/// where they write now, on the operator's word: that is noted nowhere before, as it is untrue once
/// a later start finds them where they wrote.
///
/// # Errors
/// NotOwner: another process made that epoch. External, from the store.
pub async fn book(
    owner: &Owner,
    checkpoint: Checkpoint,
    given_up: &BTreeSet<usize>,
) -> Result<Checkpoint> {
    let mut losses = owner.history.losses(checkpoint.epoch).await?;
    for sink in given_up {
        let name = &owner.pipeline.sinks[*sink].name;
        losses.entries.retain(|entry| entry.sink != *name);
        losses.refused.remove(name);
        let recorded = recorded(&checkpoint, name).into_iter();
        losses.entries.extend(recorded.map(|one| taken_back(&one, one.counts.delivered, 0)));
    }
    if losses.is_empty() {
        return Ok(checkpoint);
    }
    let Losses { entries, mut refused, cut_off, remaining, .. } = losses;
    let remaining = remaining.unwrap_or_default();
    tell_of_doubles(&checkpoint, &entries, &cut_off);
    let (letters, sum) = letters(&refused);
    let sinks = checkpoint.sinks.iter().map(|(name, state)| {
        let of_sink = entries.iter().filter(|entry| entry.sink == *name);
        let taken_back: u64 = of_sink.map(|entry| entry.counts.rejected_after).sum();
        // A sink that holds no row of the epoch has committed nothing.
        let prev = if state.owes && taken_back == state.rows {
            state.prev
        } else {
            state.token_after(checkpoint.epoch)
        };
        let mut next = state.at_rest(prev);
        next.rejects = refused.remove(name).unwrap_or_default();
        if name == DEAD_LETTERS && sum.rows > 0 {
            (next.owes, next.rows, next.hash) = (true, sum.rows, hash_text(sum.hash));
        }
        (name.clone(), next)
    });
    let sinks = sinks.collect();
    let ledger: Vec<_> = entries.into_iter().chain(remaining.entries).chain(letters).collect();
    let lost: u64 = ledger.iter().map(|entry| entry.counts.lost).sum();
    let mut checkpoint = checkpoint;
    checkpoint.states.extend(remaining.states);
    checkpoint.times.extend(remaining.times);
    for (split, position) in cut_off {
        checkpoint.roster.advance(split, &position);
    }
    let next = owner.decide_without_rows(&checkpoint, sinks, ledger).await?;
    warn!(epoch = next.epoch, lost, dead_letters = sum.rows, "booked rows that a replay lacks");
    Ok(next)
}

/// Says which sinks have what others lost: what is brought back comes to all of them.
fn tell_of_doubles(checkpoint: &Checkpoint, lost: &[Entry], cut_off: &[(usize, Position)]) {
    for (split, _) in cut_off {
        let split = checkpoint.roster[*split].known.split.id.as_str();
        let is_lost = |sink: &str| {
            let mut lost = lost.iter().filter(|entry| entry.split == split && entry.sink == sink);
            lost.any(|entry| entry.counts.lost > 0)
        };
        let entries = checkpoint.ledger.iter().filter(|entry| entry.split == split);
        for entry in entries.filter(|entry| entry.counts.delivered > 0 && !is_lost(&entry.sink)) {
            warn!(
                split,
                sink = entry.sink,
                "this sink has what others lost, and gets it once more if it is brought back"
            );
        }
    }
}

/// The entries of dead letters, and the sum of all.
fn letters(refused: &BTreeMap<String, Vec<SinkRejectState>>) -> (Vec<Entry>, OriginSum) {
    let mut sums: BTreeMap<&SplitId, OriginSum> = BTreeMap::new();
    for SinkRejectState(row) in refused.values().flatten() {
        let sum = sums.entry(&row.split).or_default();
        sum.add(split_seed(row.split.as_str()), row.reject.position, row.reject.ordinal);
    }
    let entries = sums.iter().map(|(split, sum)| Entry {
        split: split.to_string(),
        sink: DEAD_LETTERS.to_owned(),
        counts: Counts { read: sum.rows, delivered: sum.rows, ..Counts::default() },
        hash: hash_text(sum.hash),
    });
    let mut all = OriginSum::default();
    sums.values().for_each(|sum| all.merge(*sum));
    (entries.collect(), all)
}

/// The splits of a name, by number.
fn splits_of(checkpoint: &Checkpoint, id: &SplitId) -> impl Iterator<Item = usize> {
    checkpoint.roster.of_id(id).map(|(index, _)| index)
}

/// Rows that were booked as delivered, and are lost or refused.
fn taken_back(entry: &Entry, lost: u64, refused: u64) -> Entry {
    let rejected_after = lost + refused;
    let counts = Counts { rejected_after, lost, dead_lettered: refused, ..Counts::default() };
    Entry { counts, hash: hash_text(0), ..entry.clone() }
}

/// The error of a replay that gave too few rows.
fn fewer(checkpoint: &Checkpoint, entry: &Entry, given: &Given) -> Error {
    let why = match &given.reason {
        Some(reason) => format!("{} of them are refused now: {reason}", given.refused()),
        None => "its source does not have the others any more, or was rewritten".to_owned(),
    };
    unlike(checkpoint, entry, given).because(why).hint(
        "`run --accept-loss` delivers what is proved to be left, makes dead letters of what is \
         refused, and books the others as lost",
    )
}

/// The error of a replay that gave rows which were not recorded.
fn differs(
    (pipeline, checkpoint): (&Pipeline, &Checkpoint),
    entry: &Entry,
    given: &Given,
) -> Error {
    let why = match pipeline.steps.iter().any(|node| node.step.stateful()) {
        true => {
            "what it reads has changed since, or rows came to a step with a state in another order"
        }
        false => "what it reads has changed since",
    };
    unlike(checkpoint, entry, given).because(why).hint(
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

/// The records of a split that an epoch read, or made.
fn range_of(checkpoint: &Checkpoint, split: &str) -> (i64, i64) {
    let id = SplitId::new(split);
    if let Some((_, state)) = checkpoint.roster.of_id(&id).find(|(_, it)| it.known.split.is_made())
    {
        let end = state.known.position.as_ref().map_or(0, |end| end.at);
        let of_split = checkpoint.ledger.iter().filter(|entry| entry.split == split);
        let made = of_split.map(|entry| entry.counts.expanded).max().unwrap_or_default();
        return (end - i64::try_from(made).unwrap_or(end), end);
    }
    let of_split = |cut: &&Cut| checkpoint.roster[cut.split].known.split.id.as_str() == split;
    let cuts = || checkpoint.cuts.iter().filter(of_split);
    let from = cuts().map(|cut| cut.from.as_ref().map_or(0, |from| from.at)).min();
    let to = cuts().map(|cut| cut.to.at).max();
    (from.unwrap_or_default(), to.unwrap_or_default())
}
