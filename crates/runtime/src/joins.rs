//! Refuses steps with a state in which rows would meet that a replay cannot bring together again,
//! and sinks below them that would show what a crash may undo.
//!
//! Each lineage is an epoch of its own, perhaps in another process: a state that all of them
//! change would belong to none of their checkpoints. And the order in which rows come to a step is
//! recorded for what readers send alone: it is that of the cuts, or that of the one task above.

use std::collections::BTreeSet;

use contract::sink::SinkKind;
use contract::source::Lineages;
use contract::{Error, Result};
use plan::Plan;

use crate::graph::{Consumer, Edge, Pipeline};
use crate::ordered::ORDERED_FROM;

/// Looks at every step with a state. `semantics` are the rules by which rows are made: what an
/// earlier program decided must be finished as it was begun.
///
/// # Errors
/// Config, at the step: rows of several lineages would meet in it, or rows in no recorded order.
pub fn refuse(plan: &Plan, pipeline: &Pipeline, semantics: u32) -> Result<()> {
    refuse_lineages(plan, pipeline)?;
    refuse_early_sinks(plan, pipeline)?;
    match semantics < ORDERED_FROM {
        true => Ok(()),
        false => refuse_orders(plan, pipeline),
    }
}

/// Looks at everything below the sources whose splits are lineages of their own.
fn refuse_lineages(plan: &Plan, pipeline: &Pipeline) -> Result<()> {
    let sources = pipeline.sources.iter();
    for source in sources.filter(|source| source.lineages == Lineages::Split) {
        let mut below = vec![false; pipeline.steps.len()];
        mark(&source.consumers.edges, &mut below);
        for number in 0..pipeline.steps.len() {
            if !below[number] {
                continue;
            }
            let node = &pipeline.steps[number];
            if node.step.stateful() {
                return Err(refused(&node.name, &source.name).at(&plan.transforms[number].place));
            }
            node.ports.iter().for_each(|port| mark(&port.edges, &mut below));
        }
    }
    Ok(())
}

fn mark(edges: &[Edge], below: &mut [bool]) {
    for edge in edges {
        if let Consumer::Step(step) = edge.to {
            below[step] = true;
        }
    }
}

/// Looks at the sinks that show rows before their epoch is decided: what a step makes of many rows
/// may be something else after a crash.
fn refuse_early_sinks(plan: &Plan, pipeline: &Pipeline) -> Result<()> {
    for node in pipeline.steps.iter().filter(|node| node.step.makes_records()) {
        for (number, planned) in plan.sinks.iter().enumerate() {
            let sink = &pipeline.sinks[number];
            let is_early = sink.sink.promise().kind == SinkKind::Idempotent;
            if is_early && node.ports[0].ways[number] > 0 {
                return Err(early(&sink.name, &node.name).at(&planned.place));
            }
        }
    }
    Ok(())
}

/// Whose task sends rows to a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Feeder {
    /// The readers, whose batches pass one lock.
    Readers,
    /// A step with a state, by number.
    Step(usize),
}

/// A step with a state is fed by the readers alone, or by one other task alone.
fn refuse_orders(plan: &Plan, pipeline: &Pipeline) -> Result<()> {
    let mut feeders = vec![BTreeSet::new(); pipeline.steps.len()];
    for source in &pipeline.sources {
        feed(&source.consumers.edges, &BTreeSet::from([Feeder::Readers]), &mut feeders);
    }
    for (number, node) in pipeline.steps.iter().enumerate() {
        if node.step.stateful() && feeders[number].len() > 1 {
            let names = feeders[number].iter().map(|feeder| match feeder {
                Feeder::Readers => "the readers".to_owned(),
                Feeder::Step(step) => format!("{:?}", pipeline.steps[*step].name),
            });
            let names: Vec<_> = names.collect();
            return Err(
                unordered(&node.name, &names.join(" and ")).at(&plan.transforms[number].place)
            );
        }
        let passed_on = match node.step.stateful() {
            true => BTreeSet::from([Feeder::Step(number)]),
            false => feeders[number].clone(),
        };
        node.ports.iter().for_each(|port| feed(&port.edges, &passed_on, &mut feeders));
    }
    Ok(())
}

fn feed(edges: &[Edge], by: &BTreeSet<Feeder>, feeders: &mut [BTreeSet<Feeder>]) {
    for edge in edges {
        if let Consumer::Step(step) = edge.to {
            feeders[step].extend(by);
        }
    }
}

fn unordered(step: &str, feeders: &str) -> Error {
    Error::config(format!(
        "transform {step:?} depends on the order of its rows, and gets them from {feeders}, each \
         in a task of its own: nobody records in which order they meet, so that an epoch that is \
         replayed after a crash might keep other rows"
    ))
    .hint(
        "feed it by sources and steps without a state alone, or put the steps with a state one \
         behind the other; or give each way a `dedupe` and a sink of its own",
    )
}

fn early(sink: &str, step: &str) -> Error {
    Error::config(format!(
        "sink {sink:?} shows rows before their epoch is decided, and transform {step:?} may make \
         other ones of the same records after a crash"
    ))
    .hint(
        "give its rows to a sink that shows what is decided alone: a lake table, PostgreSQL, Kafka",
    )
}

fn refused(step: &str, source: &str) -> Error {
    Error::config(format!(
        "transform {step:?} keeps a state, and rows of several lineages would meet in it: each \
         split of source {source:?} is a lineage of its own"
    ))
    .hint(
        "say `lineages: one` at the source, which one process then reads alone (others stand by: \
         `run --standby`); or let a sink that writes by key (`upsert_by`) take its place",
    )
}
