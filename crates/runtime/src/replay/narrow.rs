//! Leaves of a pipeline only the ways through one node.
//!
//! A record that a node refused came to all sinks that are not below it. Given again, it must
//! reach only those below, and come by the way on which its row was refused.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use contract::record::{ORDINAL, with_ordinal};

use crate::graph::{Consumer, Consumers, Edge, Pipeline};

/// Ways that are looked for: with two of them, nobody knows which of all it was.
const WAYS_MAX: usize = 2;

/// Whose output it is: a source's, or that of a step by one of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Giver {
    /// A source, by number.
    Source(usize),
    /// A step, by number, and one of its ports.
    Step(usize, usize),
}

/// An edge, by its place among those of its giver.
pub type Leg = (Giver, usize);

/// Which rows are followed back.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// Those of this number.
    Numbered(i64),
    /// All of them.
    All,
}

/// The ways on which rows come from a source to a node, two at most.
pub fn ways(pipeline: &Pipeline, node: Consumer, rows: Rows, source: usize) -> Vec<Vec<Leg>> {
    let mut search = Search { pipeline, source, reached: reached_by(pipeline, source) };
    let mut found = Vec::new();
    search.follow(node, rows, &mut Vec::new(), &mut found);
    found
}

/// Looks for ways from one source.
struct Search<'a> {
    pipeline: &'a Pipeline,
    source: usize,
    /// By number of step: whether rows of the source come to it.
    reached: Vec<bool>,
}

impl Search<'_> {
    fn follow(
        &mut self,
        node: Consumer,
        rows: Rows,
        legs: &mut Vec<Leg>,
        found: &mut Vec<Vec<Leg>>,
    ) {
        for leg in leading_to(self.pipeline, node) {
            let (giver, place) = leg;
            let branch = consumers(self.pipeline, giver).edges[place].branch;
            let before = match (rows, branch) {
                (Rows::Numbered(number), Some(branch)) => branch.before(number).map(Rows::Numbered),
                (rows, _) => Some(rows),
            };
            let Some(before) = before.filter(|_| found.len() < WAYS_MAX) else { continue };
            legs.push(leg);
            match giver {
                Giver::Source(source) if source == self.source => {
                    if matches!(before, Rows::All | Rows::Numbered(0)) {
                        found.push(legs.iter().rev().copied().collect());
                    }
                }
                Giver::Step(step, port)
                    if self.reached[step] && self.is_known(before, step, port) =>
                {
                    self.follow(Consumer::Step(step), before, legs, found);
                }
                Giver::Source(_) | Giver::Step(..) => {}
            }
            legs.pop();
        }
    }

    fn is_known(&self, rows: Rows, step: usize, port: usize) -> bool {
        matches!(rows, Rows::All) || keeps_numbers(self.pipeline, step, port)
    }
}

fn reached_by(pipeline: &Pipeline, source: usize) -> Vec<bool> {
    let mut reached = vec![false; pipeline.steps.len()];
    let reach = |edges: &[Edge], reached: &mut Vec<bool>| {
        for edge in edges {
            if let Consumer::Step(step) = edge.to {
                reached[step] = true;
            }
        }
    };
    reach(&pipeline.sources[source].consumers.edges, &mut reached);
    for step in 0..pipeline.steps.len() {
        if reached[step] {
            pipeline.steps[step].ports.iter().for_each(|port| reach(&port.edges, &mut reached));
        }
    }
    reached
}

/// Whether the rows of a port have the numbers with which they came into the step. One that makes
/// several rows of one gives them numbers of its own, which tell no way.
fn keeps_numbers(pipeline: &Pipeline, step: usize, port: usize) -> bool {
    let numbered = pipeline.steps[step].step.ports()[port].schema.index_of(ORDINAL).is_ok();
    !numbered || leading_to(pipeline, Consumer::Step(step)).any(|leg| takes_numbers(pipeline, leg))
}

/// Whether the rows of an edge have numbers where they come in.
pub fn takes_numbers(pipeline: &Pipeline, leg: Leg) -> bool {
    entering(pipeline, leg).index_of(ORDINAL).is_ok()
}

/// The columns with which the rows of an edge come in.
fn entering(pipeline: &Pipeline, (giver, place): Leg) -> SchemaRef {
    let schema = schema_of(pipeline, giver);
    match consumers(pipeline, giver).edges[place].branch {
        Some(_) => with_ordinal(&schema),
        None => schema,
    }
}

/// The columns of what a giver gives.
pub fn schema_of(pipeline: &Pipeline, giver: Giver) -> SchemaRef {
    match giver {
        Giver::Source(source) => pipeline.sources[source].source.schema(),
        Giver::Step(step, port) => pipeline.steps[step].step.ports()[port].schema.clone(),
    }
}

/// Whether a step with a state sends rows on as they came: those that it let pass once may go by
/// it.
pub fn sends_on_what_came(pipeline: &Pipeline, step: usize) -> bool {
    let node = &pipeline.steps[step];
    let [port] = node.step.ports() else { return false };
    if node.step.makes_records() {
        return false;
    }
    let mut legs = leading_to(pipeline, Consumer::Step(step));
    legs.all(|leg| entering(pipeline, leg).fields() == port.schema.fields())
}

/// All that a giver gives to.
pub fn consumers(pipeline: &Pipeline, giver: Giver) -> &Consumers {
    match giver {
        Giver::Source(source) => &pipeline.sources[source].consumers,
        Giver::Step(step, port) => &pipeline.steps[step].ports[port],
    }
}

/// The same, to be changed.
pub fn consumers_mut(pipeline: &mut Pipeline, giver: Giver) -> &mut Consumers {
    match giver {
        Giver::Source(source) => &mut pipeline.sources[source].consumers,
        Giver::Step(step, port) => &mut pipeline.steps[step].ports[port],
    }
}

/// All sources, then all ports of steps.
pub fn givers(pipeline: &Pipeline) -> Vec<Giver> {
    let of_sources = (0..pipeline.sources.len()).map(Giver::Source);
    let ports = |step: usize| (0..pipeline.steps[step].ports.len()).map(move |port| (step, port));
    let of_steps = (0..pipeline.steps.len()).flat_map(ports);
    of_sources.chain(of_steps.map(|(step, port)| Giver::Step(step, port))).collect()
}

/// Every edge of a pipeline.
pub fn legs(pipeline: &Pipeline) -> impl Iterator<Item = Leg> {
    givers(pipeline).into_iter().flat_map(|giver| {
        (0..consumers(pipeline, giver).edges.len()).map(move |place| (giver, place))
    })
}

/// The edges that lead to a node.
pub fn leading_to(pipeline: &Pipeline, node: Consumer) -> impl Iterator<Item = Leg> {
    legs(pipeline)
        .filter(move |(giver, place)| consumers(pipeline, *giver).edges[*place].to == node)
}

/// The edges that stay where only some ways to a node are left: these, and those from it on.
pub fn kept(pipeline: &Pipeline, node: Consumer, ways: &[Vec<Leg>]) -> BTreeSet<Leg> {
    let below = below(pipeline, node);
    let mut kept: BTreeSet<Leg> = ways.iter().flatten().copied().collect();
    kept.extend(
        legs(pipeline).filter(|(giver, _)| matches!(giver, Giver::Step(step, _) if below[*step])),
    );
    kept
}

/// Takes away every edge but these, and every sink that is not reached any more.
pub fn to(pipeline: &mut Pipeline, kept: &BTreeSet<Leg>) {
    for giver in givers(pipeline) {
        let mut place = 0..;
        consumers_mut(pipeline, giver)
            .edges
            .retain(|_| place.next().is_some_and(|place| kept.contains(&(giver, place))));
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

/// The sinks that rows of a step reach without entering a step with a state, by number.
pub fn sinks_beside_states(pipeline: &Pipeline, step: usize) -> Vec<usize> {
    let mut open = vec![false; pipeline.steps.len()];
    open[step] = true;
    let mut sinks = BTreeSet::new();
    for number in 0..pipeline.steps.len() {
        let node = &pipeline.steps[number];
        if !open[number] || node.step.stateful() {
            continue;
        }
        for edge in node.ports.iter().flat_map(|port| &port.edges) {
            match edge.to {
                Consumer::Step(step) => open[step] = true,
                Consumer::Sink(sink) => drop(sinks.insert(sink)),
            }
        }
    }
    sinks.into_iter().collect()
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
