//! The way between records and what a step made of many of them.
//!
//! A result is followed back to the ranges that the step was given: in its epoch, or in all epochs
//! at whose end its window was open. Which of these records are in it only the step can tell.

use std::collections::{BTreeMap, BTreeSet};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use contract::source::Split;
use contract::transform::EpochStart;
use contract::{Origin, Result, SplitId};
use serde::Serialize;
use serde_json::Value;
use state::Checkpoint;
use state::checkpoint::StepTime;

use crate::trace::{Checkpoints, Held, Places};

/// What a step made a result of.
#[derive(Clone, Debug, Serialize)]
pub struct MadeOf {
    /// The name of the step.
    pub step: String,
    /// Records that it was given, the result's own among them.
    pub ranges: Vec<Range>,
}

/// Records of one split that one epoch read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The epoch.
    pub epoch: u64,
    /// The split.
    pub split: String,
    /// The first of them.
    pub from: i64,
    /// Behind the last of them.
    pub to: i64,
}

/// The window that a record went into.
#[derive(Clone, Debug, Serialize)]
pub struct InWindow {
    /// The name of the step.
    pub step: String,
    /// The columns that tell its windows apart, as they are for this one.
    pub window: Value,
    /// Whether it was closed before.
    pub late: bool,
    /// The split of the results that the epoch of the record made, and their numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Range>,
}

/// What a record needs to pass a pipeline once more.
pub struct Passage {
    /// Its source.
    pub source: String,
    /// Its split.
    pub split: Split,
    /// The epoch that read it.
    pub epoch: EpochStart,
    /// How far event time had come before that, by step.
    pub watermarks: BTreeMap<String, i64>,
    /// The results that were made in that epoch, by step.
    pub results: BTreeMap<String, Range>,
}

/// What a record needs to pass a pipeline once more; none where its epoch is not known any more.
///
/// # Errors
/// External: a checkpoint cannot be read.
pub async fn passage(origin: &Origin, places: &Places<'_>) -> Result<Option<Passage>> {
    let history = Checkpoints::read(places).await?;
    for epochs in &history.lineages {
        let Some(at) = epochs.iter().position(|one| reads(one, origin)) else { continue };
        let (checkpoint, newest) = (&epochs[at], &epochs[epochs.len() - 1]);
        let Some((_, state)) = newest.roster.of_id(&origin.split).next() else { continue };
        let before = at.checked_sub(1).map(|before| &epochs[before].times);
        let watermarks = before.into_iter().flatten();
        let watermarks =
            watermarks.filter_map(|(step, time)| Some((step.clone(), time.watermark_us?)));
        let made = newest.roster.iter().filter_map(|(_, state)| {
            let split = &state.known.split;
            let (from, to) = numbers(epochs, &split.id, checkpoint.epoch)?;
            let range = Range { epoch: checkpoint.epoch, split: split.id.to_string(), from, to };
            split.is_made().then(|| (state.source.clone(), range))
        });
        return Ok(Some(Passage {
            source: state.source.clone(),
            split: state.known.split.clone(),
            epoch: EpochStart { epoch: checkpoint.epoch, now_us: checkpoint.now_us },
            watermarks: watermarks.collect(),
            results: made.collect(),
        }));
    }
    Ok(None)
}

/// The epoch that made a result, and of what; none if no step made it.
pub(crate) fn of(
    origin: &Origin,
    history: &Checkpoints,
    sinks: &[Held],
) -> Option<(Option<u64>, MadeOf)> {
    let epochs = history.lineages.iter().find(|epochs| {
        let newest = epochs.last();
        newest.is_some_and(|newest| {
            newest.roster.of_id(&origin.split).any(|(_, state)| state.known.split.is_made())
        })
    })?;
    let (_, state) = epochs.last()?.roster.of_id(&origin.split).next()?;
    let step = state.source.clone();
    let made = epochs.iter().find(|one| {
        let made = numbers(epochs, &origin.split, one.epoch);
        made.is_some_and(|(from, to)| (from..to).contains(&origin.position))
    });
    let Some(made) = made else { return Some((None, MadeOf { step, ranges: Vec::new() })) };
    let mut rows = sinks.iter().flat_map(|held| &held.rows);
    let end = rows.find_map(|row| string_to_timestamp_nanos(row["window_end"].as_str()?).ok());
    let end = end.map(|nanos| nanos / 1_000);
    let mut ranges = Vec::new();
    for one in epochs.iter().filter(|one| gave(one, made, &step, end)) {
        ranges.extend(read_for(one, made, &origin.split));
    }
    Some((Some(made.epoch), MadeOf { step, ranges }))
}

/// Whether an epoch may have given rows to a window that was closed in a later one, or in it.
fn gave(one: &Checkpoint, made: &Checkpoint, step: &str, end_us: Option<i64>) -> bool {
    if one.epoch >= made.epoch {
        return one.epoch == made.epoch;
    }
    let Some(StepTime { watermark_us: until, .. }) = made.times.get(step) else { return false };
    let open = one.times.get(step).filter(|time| time.windows > 0);
    open.is_some_and(|open| open.last_us >= end_us && open.first_us <= *until)
}

/// The ranges of an epoch of which rows went into the step that makes the records of a split.
fn read_for(one: &Checkpoint, made: &Checkpoint, results: &SplitId) -> Vec<Range> {
    let of_results = made.ledger.iter().filter(|entry| entry.split == results.as_str());
    let below: BTreeSet<_> = of_results.map(|entry| entry.sink.as_str()).collect();
    let given = one.ledger.iter().filter(|entry| entry.counts.aggregated > 0);
    let given = given.filter(|entry| below.contains(entry.sink.as_str()));
    let given: BTreeSet<_> = given.map(|entry| entry.split.as_str()).collect();
    let mut ranges: BTreeMap<&str, Range> = BTreeMap::new();
    for cut in &one.cuts {
        let Some(state) = one.roster.get(cut.split) else { continue };
        let split = state.known.split.id.as_str();
        if !given.contains(split) {
            continue;
        }
        let from = cut.from.as_ref().map_or(0, |from| from.at);
        let range = Range { epoch: one.epoch, split: split.to_owned(), from, to: cut.to.at };
        let known = ranges.entry(split).or_insert_with(|| range.clone());
        (known.from, known.to) = (known.from.min(range.from), known.to.max(range.to));
    }
    ranges.into_values().collect()
}

/// The numbers of the results of a split that an epoch made: they go on from epoch to epoch.
fn numbers(epochs: &[Checkpoint], split: &SplitId, epoch: u64) -> Option<(i64, i64)> {
    let (_, state) = epochs.last()?.roster.of_id(split).next()?;
    let made = |one: &Checkpoint| {
        let entries = one.ledger.iter().filter(|entry| entry.split == split.as_str());
        // What is lost of a state stands there too, and has no number.
        let made = entries
            .map(|entry| entry.counts.expanded - entry.counts.lost.min(entry.counts.expanded));
        i64::try_from(made.max().unwrap_or_default()).unwrap_or_default()
    };
    let end = state.known.position.as_ref().map_or(0, |end| end.at);
    let later: i64 = epochs.iter().filter(|one| one.epoch > epoch).map(made).sum();
    let made = made(epochs.iter().find(|one| one.epoch == epoch)?);
    (made > 0).then(|| (end - later - made, end - later))
}

/// Whether an epoch read a record.
pub(crate) fn reads(checkpoint: &Checkpoint, origin: &Origin) -> bool {
    checkpoint.cuts.iter().any(|cut| {
        let split = checkpoint.roster.get(cut.split);
        let from = cut.from.as_ref().map_or(i64::MIN, |from| from.at);
        split.is_some_and(|state| state.known.split.id == origin.split)
            && (from..cut.to.at).contains(&origin.position)
    })
}
