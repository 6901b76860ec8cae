//! Refuses steps in which rows of several lineages would meet.
//!
//! Each lineage is an epoch of its own, perhaps in another process: a state that all of them
//! change would belong to none of their checkpoints.

use contract::{Error, Result};
use plan::Plan;

use crate::graph::{Consumer, Pipeline};

/// Looks at everything below the sources whose splits are lineages of their own.
///
/// # Errors
/// Config, at the step: it keeps a state.
pub fn refuse(plan: &Plan, pipeline: &Pipeline) -> Result<()> {
    let sources = pipeline.sources.iter();
    for source in sources.filter(|source| source.source.lineage_per_split()) {
        let mut below = vec![false; pipeline.steps.len()];
        mark(&source.consumers.nodes, &mut below);
        for number in 0..pipeline.steps.len() {
            if !below[number] {
                continue;
            }
            let node = &pipeline.steps[number];
            if node.step.stateful() {
                return Err(refused(&node.name, &source.name).at(&plan.transforms[number].place));
            }
            node.ports.iter().for_each(|port| mark(&port.nodes, &mut below));
        }
    }
    Ok(())
}

fn mark(nodes: &[Consumer], below: &mut [bool]) {
    for node in nodes {
        if let Consumer::Step(step) = node {
            below[*step] = true;
        }
    }
}

fn refused(step: &str, source: &str) -> Error {
    Error::config(format!(
        "transform {step:?} keeps a state, and rows of several lineages would meet in it: each \
         split of source {source:?} is a lineage of its own"
    ))
    .hint(
        "take it out of the way of this source; a sink that writes by key (`upsert_by`) can take \
         its place",
    )
}
