//! The checkpoint of an epoch before it is decided: what was gathered, put in order and checked.
//!
//! Pure. A draft that exists adds up: for every split and sink, what came is what went.

use std::collections::BTreeMap;
use std::time::Instant;

use contract::record::OriginSum;
use contract::transform::EpochStart;
use contract::{Error, Position, Result};
use state::checkpoint::{
    Copied, Cut, KeptResource, SinkRejectState, SinkState, StepTime, sha256_hex,
};
use state::ledger::{Counts, Entry, hash_text};
use state::{Checkpoint, Roster};

use crate::flow::{Sums, Tally};
use crate::graph::{DEAD_LETTERS, Pipeline};
use crate::identities::{Known, Replaced};
use crate::metrics::Observed;
use crate::originals;
use crate::owner::Owner;
use crate::progress::Batches;
use crate::sink_task::SinkReport;

/// What the tasks reported.
pub struct Gathered {
    /// What was read, in order.
    pub cuts: Vec<Cut>,
    /// Where each split stands, by its number in the checkpoint.
    pub positions: BTreeMap<usize, Position>,
    /// Where the steps' states are stored.
    pub states: BTreeMap<String, String>,
    /// How far event time has come, by step.
    pub times: BTreeMap<String, StepTime>,
    /// What steps made of many rows.
    pub copies: BTreeMap<String, Copied>,
    /// What became of the rows.
    pub tally: Tally,
    /// What the sinks got and made of it, by number.
    pub reports: Vec<Option<SinkReport>>,
    /// When the epoch began.
    pub begun: Instant,
    /// When its batches were read.
    pub read_at: Vec<Instant>,
    /// What they hold.
    pub batches: Batches,
}

/// A checkpoint that adds up.
pub struct Draft {
    /// The checkpoint, as yet without its splits: they stay with the one before until it is
    /// decided, however many there are.
    pub checkpoint: Checkpoint,
    /// Where splits stand that were read, by their number.
    pub moved: BTreeMap<usize, Position>,
    /// The greatest event times of their rows, by number of split and step.
    pub times: BTreeMap<(usize, usize), i64>,
    /// What people are told beside it.
    pub observed: Observed,
    /// Destinations that are others than before.
    pub replaced: Vec<Replaced>,
    /// What was read.
    pub batches: Batches,
}

impl Draft {
    /// Puts the books of an epoch in order.
    ///
    /// # Errors
    /// Bug: they do not add up.
    pub fn new(
        owner: &Owner,
        before: &Checkpoint,
        ending: EpochStart,
        mut gathered: Gathered,
    ) -> Result<Self> {
        let pipeline = &owner.pipeline;
        book_rejects(pipeline, before, &mut gathered)?;
        let mut checkpoint = Checkpoint {
            now_us: ending.now_us,
            writer: format!("{:016x}", rand::random::<u64>()),
            semantics: pipeline.semantics,
            plan: pipeline.fingerprint.clone(),
            plan_text: sha256_hex(pipeline.text.as_bytes()),
            resources: pipeline.resources().iter().map(KeptResource::from).collect(),
            numbering: pipeline.numbering.clone(),
            cuts: std::mem::take(&mut gathered.cuts),
            states: std::mem::take(&mut gathered.states),
            times: std::mem::take(&mut gathered.times),
            copies: std::mem::take(&mut gathered.copies),
            ..before.successor()
        };
        let mut replaced = Vec::new();
        for (sink, node) in pipeline.sinks.iter().enumerate() {
            let sums = gathered.reports[sink].as_ref().map(|report| &report.sums);
            let counts = gathered.tally.counts.iter().map(|(split, counts)| (split, counts[sink]));
            let entries = match sink == pipeline.dead_letter_sink() {
                true => dead_letter_entries(&before.roster, sums),
                false => entries(&before.roster, &node.name, counts, sums)?,
            };
            checkpoint.ledger.extend(entries);
            let report = gathered.reports[sink].take().unwrap_or_default();
            let known = Known::before(before, &node.name);
            let (identities, others) = known.meet(ending.epoch, report.identities());
            replaced.extend(others);
            let prev = before.token_after(&node.name);
            let state = sink_state(prev, report)?;
            let state = match before.sinks.get(&node.name) {
                None => state,
                Some(SinkState { gaps, earlier, .. }) => {
                    SinkState { gaps: gaps.clone(), earlier: earlier.clone(), ..state }
                }
            };
            let state = SinkState { target: node.target.clone(), identities, ..state };
            checkpoint.sinks.insert(node.name.clone(), state);
        }
        keep_absent_sinks(before, pipeline, &mut checkpoint);
        let Gathered { positions: moved, begun, read_at, tally, batches, .. } = gathered;
        let times = tally.times;
        let observed = Observed { begun, read_at, refused: tally.refused, late: tally.late };
        Ok(Self { checkpoint, moved, times, observed, replaced, batches })
    }
}

/// Rows that a sink refused were counted as delivered; they are dead letters instead.
fn book_rejects(pipeline: &Pipeline, before: &Checkpoint, gathered: &mut Gathered) -> Result<()> {
    for (sink, report) in gathered.reports.iter_mut().enumerate() {
        let Some(SinkReport { sums, prepared: Some(prepared) }) = report else { continue };
        for row in &prepared.rejects {
            let split = originals::split_of(pipeline, before, sink, row)?;
            let mut refused = OriginSum::default();
            let seed = contract::record::split_seed(row.split.as_str());
            refused.add(seed, row.reject.position, row.reject.ordinal);
            let missing = || Error::bug(format!("a refused row was never given: {}", row.split));
            sums.get_mut(&split).ok_or_else(missing)?.take(refused);
            let counts = gathered.tally.counts.get_mut(&split).ok_or_else(missing)?;
            counts[sink].delivered -= 1;
            counts[sink].dead_lettered += 1;
        }
    }
    Ok(())
}

fn entries<'a>(
    roster: &Roster,
    sink: &str,
    counts: impl Iterator<Item = (&'a usize, Counts)>,
    sums: Option<&Sums>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (split, counts) in counts {
        let id = roster[*split].known.split.id.as_str();
        counts.check(id, sink)?;
        let sum = sums.and_then(|sums| sums.get(split)).copied().unwrap_or_default();
        if sum.rows != counts.delivered {
            return Err(Error::bug(format!(
                "sink {sink:?} got {} rows of split {id:?}, sent were {}",
                sum.rows, counts.delivered
            )));
        }
        if counts != Counts::default() {
            let hash = hash_text(sum.hash);
            entries.push(Entry { split: id.to_owned(), sink: sink.to_owned(), counts, hash });
        }
    }
    Ok(entries)
}

/// Dead letters have a ledger of their own: what the steps and sinks gave, all of it delivered.
fn dead_letter_entries(roster: &Roster, sums: Option<&Sums>) -> Vec<Entry> {
    let sums = sums.into_iter().flatten();
    let entries = sums.map(|(split, sum)| Entry {
        split: roster[*split].known.split.id.as_str().to_owned(),
        sink: DEAD_LETTERS.to_owned(),
        counts: Counts { read: sum.rows, delivered: sum.rows, ..Counts::default() },
        hash: hash_text(sum.hash),
    });
    entries.collect()
}

fn sink_state(prev: Option<u64>, report: SinkReport) -> Result<SinkState> {
    let accepted = report.sums.values().fold(OriginSum::default(), |mut all, sum| {
        all.merge(*sum);
        all
    });
    let prepared = report.prepared.unwrap_or_default();
    if prepared.rows != accepted.rows {
        return Err(Error::bug(format!(
            "a sink accepted {} rows of {} given",
            prepared.rows, accepted.rows
        )));
    }
    Ok(SinkState {
        prev,
        owes: accepted.rows > 0,
        rows: accepted.rows,
        hash: hash_text(accepted.hash),
        committable: prepared.committable,
        rejects: prepared.rejects.into_iter().map(SinkRejectState).collect(),
        ..SinkState::default()
    })
}

/// A sink that is disabled for a while must be found at its token when it comes back, and what it
/// did not see must be told: an epoch that read something.
fn keep_absent_sinks(before: &Checkpoint, pipeline: &Pipeline, checkpoint: &mut Checkpoint) {
    for (name, state) in &before.sinks {
        if !pipeline.sinks.iter().any(|node| node.name == *name) {
            let mut state = state.at_rest(before.token_after(name));
            if !checkpoint.cuts.is_empty() {
                state.absent_from.get_or_insert(checkpoint.epoch);
            }
            checkpoint.sinks.insert(name.clone(), state);
        }
    }
}
