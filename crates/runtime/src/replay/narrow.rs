//! Leaves of a pipeline only the ways through one node.
//!
//! A record that a node refused came to all sinks that are not below it. Given again, it must
//! reach only those below.

use crate::graph::{Consumer, Consumers, Pipeline};

/// Takes away every edge that neither leads to `node` nor goes on from it, and every sink that is
/// not reached any more.
pub fn to(pipeline: &mut Pipeline, node: Consumer) {
    let leading = leading_to(pipeline, node);
    let below = below(pipeline, node);
    let leads = |consumer: &Consumer| step_on(consumer, node, &leading) > 0;
    pipeline.sources.iter_mut().for_each(|source| source.consumers.nodes.retain(leads));
    for (step, _) in pipeline.steps.iter_mut().zip(&below).filter(|(_, below)| !**below) {
        step.ports.iter_mut().for_each(|port| port.nodes.retain(leads));
    }
    remove_idle_sinks(pipeline);
    pipeline.count_ways();
}

/// By how many ways the node is reached from these consumers.
pub fn ways(pipeline: &Pipeline, from: &Consumers, node: Consumer) -> u64 {
    let leading = leading_to(pipeline, node);
    from.nodes.iter().map(|consumer| step_on(consumer, node, &leading)).sum()
}

/// By number of step: by how many ways the node is reached from it.
fn leading_to(pipeline: &Pipeline, node: Consumer) -> Vec<u64> {
    let mut leading = vec![0; pipeline.steps.len()];
    for number in (0..pipeline.steps.len()).rev() {
        let nodes = pipeline.steps[number].ports.iter().flat_map(|port| &port.nodes);
        leading[number] = nodes.map(|consumer| step_on(consumer, node, &leading)).sum();
    }
    leading
}

/// By how many ways the node is reached from one consumer, itself included.
fn step_on(consumer: &Consumer, node: Consumer, leading: &[u64]) -> u64 {
    match consumer {
        _ if *consumer == node => 1,
        Consumer::Step(step) => leading[*step],
        Consumer::Sink(_) => 0,
    }
}

/// By number of step: whether it is the node, or stands below it.
fn below(pipeline: &Pipeline, node: Consumer) -> Vec<bool> {
    let mut below = vec![false; pipeline.steps.len()];
    if let Consumer::Step(step) = node {
        below[step] = true;
    }
    for number in 0..pipeline.steps.len() {
        if !below[number] {
            continue;
        }
        for consumer in pipeline.steps[number].ports.iter().flat_map(|port| &port.nodes) {
            if let Consumer::Step(step) = consumer {
                below[*step] = true;
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
    for consumer in all.flat_map(|consumers| &consumers.nodes) {
        if let Consumer::Sink(sink) = consumer {
            fed[*sink] = true;
        }
    }
    let number_of = |sink: usize| fed[..sink].iter().filter(|fed| **fed).count();
    let of_sources = pipeline.sources.iter_mut().map(|source| &mut source.consumers);
    let all = of_sources.chain(pipeline.steps.iter_mut().flat_map(|step| &mut step.ports));
    for consumer in all.flat_map(|consumers| &mut consumers.nodes) {
        if let Consumer::Sink(sink) = consumer {
            *sink = number_of(*sink);
        }
    }
    let mut fed = fed.iter();
    pipeline.sinks.retain(|_| fed.next().copied().unwrap_or(false));
}
