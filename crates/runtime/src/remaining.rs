//! What steps with a state hold after an epoch of which something was lost.
//!
//! The state of that epoch was made of all of its rows. What is lost is lost to its steps as well:
//! they go on with the state that the replay gave them, so that what is brought back is news to
//! them. Results that were made in the epoch stay as they are; they are never made again.

use std::collections::BTreeMap;

use contract::SplitId;
use state::Checkpoint;
use state::checkpoint::StepTime;
use state::history::{Losses, Remaining};
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

use crate::event_times::sources_above;
use crate::flow::Tally;
use crate::graph::{Pipeline, SinkNode};

/// What stands behind the barrier of an epoch that was given again.
pub struct Replayed {
    /// Where the states of steps are stored, by name.
    pub states: BTreeMap<String, String>,
    /// What those hold that have an event time.
    pub times: BTreeMap<String, StepTime>,
    /// What became of the rows in steps with a state.
    pub tally: Tally,
    /// By number of source, whether it was left out of the replay, as nobody needed it.
    pub left_out: Vec<bool>,
}

impl Replayed {
    /// The losses of a replay, with what the steps hold without them. Windows keep all that they
    /// hold where nothing of it can be brought back.
    pub fn without(self, pipeline: &Pipeline, checkpoint: &Checkpoint, losses: Losses) -> Losses {
        let is_cut_off = !losses.cut_off.is_empty();
        if !is_cut_off && losses.entries.iter().all(|entry| entry.counts.lost == 0) {
            return losses;
        }
        let mut remaining = Remaining::default();
        if is_cut_off {
            let sinks = pipeline.sinks.iter().enumerate();
            let entries = sinks.flat_map(|(sink, node)| {
                self.not_held(pipeline, checkpoint, (sink, node)).into_iter()
            });
            remaining.entries = entries.collect();
        }
        let steps = pipeline.steps.iter().enumerate();
        for (number, node) in steps.filter(|(_, node)| is_cut_off || !node.step.makes_records()) {
            // What was not given again is not in it, and was not lost either.
            if !self.is_whole(pipeline, number) {
                continue;
            }
            let name = || node.name.clone();
            remaining
                .states
                .extend(self.states.get(&node.name).map(|state| (name(), state.clone())));
            remaining.times.extend(self.times.get(&node.name).map(|time| (name(), *time)));
        }
        Losses { remaining: Some(remaining), ..losses }
    }

    /// What is lost of the rows that windows above a sink held, as it will stand in the ledger.
    fn not_held(
        &self,
        pipeline: &Pipeline,
        checkpoint: &Checkpoint,
        (sink, node): (usize, &SinkNode),
    ) -> Vec<Entry> {
        let above = pipeline.steps.iter().enumerate();
        let above = above.filter(|(step, node)| node.reach[sink] && self.is_whole(pipeline, *step));
        let mut held: u64 = above.map(|(_, node)| self.let_go(checkpoint, &node.name)).sum();
        let mut given: BTreeMap<&str, u64> = BTreeMap::new();
        for (split, counts) in &self.tally.counts {
            let id = checkpoint.roster[*split].known.split.id.as_str();
            *given.entry(id).or_default() += counts[sink].aggregated;
        }
        let (mut lost, mut inside) = (Vec::new(), 0);
        for entry in checkpoint.ledger.iter().filter(|entry| entry.sink == node.name) {
            if self.is_left_out(pipeline, checkpoint, &entry.split) {
                continue;
            }
            let given = given.remove(entry.split.as_str()).unwrap_or_default();
            let gone = entry.counts.aggregated.saturating_sub(given);
            let rows = gone.min(held);
            held -= rows;
            inside += gone - rows;
            if rows > 0 {
                let counts = Counts { expanded: rows, lost: rows, ..Counts::default() };
                lost.push(Entry { counts, hash: hash_text(0), ..entry.clone() });
            }
        }
        if inside > 0 {
            warn!(
                sink = node.name,
                rows = inside,
                "rows that are lost elsewhere are counted in results of this epoch, and are \
                 counted once more if they are brought back"
            );
        }
        lost
    }

    /// Whether all sources above a step were given again.
    fn is_whole(&self, pipeline: &Pipeline, step: usize) -> bool {
        let above = sources_above(pipeline, step);
        !above.iter().any(|source| self.left_out.get(*source).copied().unwrap_or(false))
    }

    /// Whether a split is one of a source that was left out.
    fn is_left_out(&self, pipeline: &Pipeline, checkpoint: &Checkpoint, split: &str) -> bool {
        let left_out = |name: &str| {
            let mut sources = pipeline.sources.iter().zip(&self.left_out);
            sources.any(|(node, left_out)| *left_out && node.name == name)
        };
        let mut known = checkpoint.roster.of_id(&SplitId::new(split));
        known.any(|(_, state)| left_out(&state.source))
    }

    /// How many rows a step holds less than it held with what is lost.
    fn let_go(&self, checkpoint: &Checkpoint, step: &str) -> u64 {
        let rows = |times: &BTreeMap<String, StepTime>| times.get(step).map_or(0, |time| time.rows);
        rows(&checkpoint.times).saturating_sub(rows(&self.times))
    }
}
