//! What steps with a state hold after an epoch of which something was lost.
//!
//! The state of that epoch was made of all of its rows. What is lost is lost to its steps as well:
//! they go on with the state that the replay gave them, so that what is brought back is news to
//! them. Results that were made in the epoch stay as they are; they are never made again.

use std::collections::BTreeMap;

use state::Checkpoint;
use state::checkpoint::StepTime;
use state::history::{Losses, Remaining};
use state::ledger::{Counts, Entry, hash_text};
use tracing::warn;

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
        for node in pipeline.steps.iter().filter(|node| is_cut_off || !node.step.makes_records()) {
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
        let above = pipeline.steps.iter().filter(|step| step.reach[sink]);
        let mut held: u64 = above.map(|step| self.let_go(checkpoint, &step.name)).sum();
        let mut given: BTreeMap<&str, u64> = BTreeMap::new();
        for (split, counts) in &self.tally.counts {
            let id = checkpoint.roster[*split].known.split.id.as_str();
            *given.entry(id).or_default() += counts[sink].aggregated;
        }
        let (mut lost, mut inside) = (Vec::new(), 0);
        for entry in checkpoint.ledger.iter().filter(|entry| entry.sink == node.name) {
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

    /// How many rows a step holds less than it held with what is lost.
    fn let_go(&self, checkpoint: &Checkpoint, step: &str) -> u64 {
        let rows = |times: &BTreeMap<String, StepTime>| times.get(step).map_or(0, |time| time.rows);
        rows(&checkpoint.times).saturating_sub(rows(&self.times))
    }
}
