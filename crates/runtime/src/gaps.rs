//! Sinks that come back into a pipeline file that had them not for a while.
//!
//! What was read meanwhile they did not get, and will not: their token is the one that the history
//! expects, so that nobody else would notice. A start says which epochs these are and goes on only
//! if it is told to; from then on the gap stands in the history, and `audit` names it.

use contract::{Error, Result};
use state::Checkpoint;
use state::checkpoint::Gap;

use crate::graph::Pipeline;

/// Notes that what sinks did not see is done without. Returns whether there is such a sink.
pub fn accept(pipeline: &Pipeline, checkpoint: &mut Checkpoint) -> bool {
    let epoch = checkpoint.epoch;
    let mut accepted = false;
    for node in &pipeline.sinks[..pipeline.dead_letter_sink()] {
        let Some(state) = checkpoint.sinks.get_mut(&node.name) else { continue };
        if state.absent_from.is_some() {
            state.gaps = state.missed(epoch);
            state.absent_from = None;
            accepted = true;
        }
    }
    accepted
}

/// Refuses to go on where a sink did not see the newest epochs.
///
/// # Errors
/// Config: there is such a sink.
pub fn refuse(pipeline: &Pipeline, checkpoint: &Checkpoint) -> Result<()> {
    for node in &pipeline.sinks[..pipeline.dead_letter_sink()] {
        let Some(state) = checkpoint.sinks.get(&node.name) else { continue };
        if state.absent_from.is_none() {
            continue;
        }
        if let Some(Gap { from, to }) = state.missed(checkpoint.epoch).last() {
            let name = &node.name;
            let epochs = match from == to {
                true => format!("epoch {from}"),
                false => format!("epochs {from} to {to}"),
            };
            return Err(Error::config(format!(
                "sink {name:?} did not see {epochs}: the pipeline file had it not then"
            ))
            .hint(
                "`run --accept-gap` goes on without them, and `audit` names them; under another \
                 name and in another place it begins with what is read from now on; with another \
                 `name` of the pipeline and other places, everything is read from the beginning",
            ));
        }
    }
    Ok(())
}
