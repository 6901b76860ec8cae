//! Leaves of a pipeline only the ways through one node.
//!
//! A record that a node refused came to all sinks that are not below it. Given again, it must
//! reach only those below, and come by the way on which its row was refused: the row's number says
//! which of several that was.

use std::collections::BTreeSet;

use contract::record::ORDINAL;

use crate::graph::{Consumer, Pipeline};

/// Whose output it is: a source's, or that of a step by one of its ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Giver {
    Source(usize),
    Step(usize, usize),
}

/// The ways on which a row may have come to a node.
#[derive(Default)]
pub struct Trace {
    /// Their edges, each with its place among those of its giver.
    edges: BTreeSet<(Giver, usize)>,
    /// The source at the beginning of each, by number.
    pub sources: Vec<usize>,
}

/// The ways on which a row of this number came to a node; more than one only if they begin at
/// different sources.
pub fn trace(pipeline: &Pipeline, node: Consumer, ordinal: i64) -> Trace {
    let mut trace = Trace::default();
    follow(pipeline, node, ordinal, &mut trace);
    trace
}

/// Goes back from a node; says whether a source stands at the beginning.
fn follow(pipeline: &Pipeline, node: Consumer, ordinal: i64, trace: &mut Trace) -> bool {
    let mut begins = false;
    for (giver, place) in leading_to(pipeline, node) {
        let branch = consumers(pipeline, giver)[place].branch;
        let before = branch.map_or(Some(ordinal), |branch| branch.before(ordinal));
        let came = match (giver, before) {
            (Giver::Source(source), Some(0)) => {
                trace.sources.push(source);
                true
            }
            (Giver::Step(step, port), Some(before)) if keeps_numbers(pipeline, step, port) => {
                follow(pipeline, Consumer::Step(step), before, trace)
            }
            _ => false,
        };
        if came {
            trace.edges.insert((giver, place));
            begins = true;
        }
    }
    begins
}

/// Whether the rows of a port have the numbers with which they came into the step. One that makes
/// several rows of one gives them numbers of its own, which tell no way.
fn keeps_numbers(pipeline: &Pipeline, step: usize, port: usize) -> bool {
    let numbered = pipeline.steps[step].step.ports()[port].schema.index_of(ORDINAL).is_ok();
    let mut inputs = leading_to(pipeline, Consumer::Step(step));
    !numbered
        || inputs.any(|(giver, place)| {
            let of_giver = match giver {
                Giver::Source(source) => pipeline.sources[source].source.schema(),
                Giver::Step(above, port) => pipeline.steps[above].step.ports()[port].schema.clone(),
            };
            consumers(pipeline, giver)[place].branch.is_some() || of_giver.index_of(ORDINAL).is_ok()
        })
}

fn consumers(pipeline: &Pipeline, giver: Giver) -> &[crate::graph::Edge] {
    match giver {
        Giver::Source(source) => &pipeline.sources[source].consumers.edges,
        Giver::Step(step, port) => &pipeline.steps[step].ports[port].edges,
    }
}

/// The edges that lead to a node.
fn leading_to(pipeline: &Pipeline, node: Consumer) -> impl Iterator<Item = (Giver, usize)> {
    let of_sources = (0..pipeline.sources.len()).map(Giver::Source);
    let ports = |step: usize| (0..pipeline.steps[step].ports.len()).map(move |port| (step, port));
    let of_steps = (0..pipeline.steps.len()).flat_map(ports);
    let givers = of_sources.chain(of_steps.map(|(step, port)| Giver::Step(step, port)));
    givers.flat_map(move |giver| {
        let edges = consumers(pipeline, giver).iter().enumerate();
        edges.filter(move |(_, edge)| edge.to == node).map(move |(place, _)| (giver, place))
    })
}

/// Takes away every edge that neither leads to `node` on the ways of `trace` nor goes on from it,
/// and every sink that is not reached any more.
pub fn to(pipeline: &mut Pipeline, node: Consumer, trace: &Trace) {
    let below = below(pipeline, node);
    for (number, source) in pipeline.sources.iter_mut().enumerate() {
        let mut place = 0..;
        source.consumers.edges.retain(|_| {
            place.next().is_some_and(|place| trace.edges.contains(&(Giver::Source(number), place)))
        });
    }
    for (number, step) in pipeline.steps.iter_mut().enumerate().filter(|(at, _)| !below[*at]) {
        for (port, consumers) in step.ports.iter_mut().enumerate() {
            let giver = Giver::Step(number, port);
            let mut place = 0..;
            consumers.edges.retain(|_| {
                place.next().is_some_and(|place| trace.edges.contains(&(giver, place)))
            });
        }
    }
    remove_idle_sinks(pipeline);
    pipeline.count_ways();
}

/// By number of step: whether it is the node, or stands below it.
pub fn below(pipeline: &Pipeline, node: Consumer) -> Vec<bool> {
    let mut below = vec![false; pipeline.steps.len()];
    if let Consumer::Step(step) = node {
        below[step] = true;
    }
    for number in 0..pipeline.steps.len() {
        if !below[number] {
            continue;
        }
        for edge in pipeline.steps[number].ports.iter().flat_map(|port| &port.edges) {
            if let Consumer::Step(step) = edge.to {
                below[step] = true;
            }
        }
    }
    below
}

/// Sinks without an input go, except the one that takes the dead letters; the others move up.
fn remove_idle_sinks(pipeline: &mut Pipeline) {
    let mut fed = vec![false; pipeline.sinks.len()];
    fed[pipeline.dead_letter_sink()] = true;
    let of_sources = pipeline.sources.iter().map(|source| &source.consumers);
    let all = of_sources.chain(pipeline.steps.iter().flat_map(|step| &step.ports));
    for edge in all.flat_map(|consumers| &consumers.edges) {
        if let Consumer::Sink(sink) = edge.to {
            fed[sink] = true;
        }
    }
    let number_of = |sink: usize| fed[..sink].iter().filter(|fed| **fed).count();
    let of_sources = pipeline.sources.iter_mut().map(|source| &mut source.consumers);
    let all = of_sources.chain(pipeline.steps.iter_mut().flat_map(|step| &mut step.ports));
    for edge in all.flat_map(|consumers| &mut consumers.edges) {
        if let Consumer::Sink(sink) = &mut edge.to {
            *sink = number_of(*sink);
        }
    }
    let mut fed = fed.iter();
    pipeline.sinks.retain(|_| fed.next().copied().unwrap_or(false));
}
