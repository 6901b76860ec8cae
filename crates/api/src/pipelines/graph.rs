//! A pipeline's sources, transforms and sinks with the ways between them, as the page draws them.

use std::collections::HashMap;

use plan::{NodeRef, Plan};
use serde::Serialize;
use utoipa::ToSchema;

/// What a pipeline consists of.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Graph {
    /// Its parts.
    nodes: Vec<Node>,
    /// The ways between them.
    edges: Vec<Edge>,
}

/// A part of a pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its name.
    id: String,
    /// `source`, `transform` or `sink`.
    kind: &'static str,
    /// The word after `type:`.
    r#type: String,
    /// Records per second over the last minute: read by a source, into a transform, delivered by
    /// a sink.
    rate: f64,
}

/// A way from one part to another.
#[derive(Debug, Serialize, ToSchema)]
pub struct Edge {
    /// Whose rows they are.
    from: String,
    /// Who gets them.
    to: String,
    /// Records per second over the last minute.
    rate: f64,
}

/// The graph of a pipeline file, with the rates of its sources and sinks.
pub fn graph(plan: &Plan, sources: &HashMap<String, f64>, sinks: &HashMap<String, f64>) -> Graph {
    let rate = |rates: &HashMap<String, f64>, name: &str| rates.get(name).copied().unwrap_or(0.0);
    let mut graph = Graph::default();
    for node in &plan.sources {
        let rate = rate(sources, &node.name);
        graph.add(&node.name, "source", &node.kind, rate);
    }
    let mut incoming: Vec<f64> = Vec::new();
    for node in &plan.transforms {
        let mut into = 0.0;
        for input in &node.inputs {
            let rate = match input.node {
                NodeRef::Source(at) => rate(sources, &plan.sources[at].name),
                NodeRef::Transform(at) => incoming.get(at).copied().unwrap_or(0.0),
            };
            into += rate;
            graph.join(plan, input.node, &node.name, rate);
        }
        incoming.push(into);
        graph.add(&node.name, "transform", &node.kind, into);
    }
    for node in &plan.sinks {
        let rate = rate(sinks, &node.name);
        graph.add(&node.name, "sink", &node.kind, rate);
        for input in &node.inputs {
            graph.join(plan, input.node, &node.name, rate / node.inputs.len() as f64);
        }
    }
    graph
}

impl Graph {
    fn add(&mut self, name: &str, kind: &'static str, kind_of: &str, rate: f64) {
        let (id, r#type) = (name.to_owned(), kind_of.to_owned());
        self.nodes.push(Node { id, kind, r#type, rate });
    }

    fn join(&mut self, plan: &Plan, from: NodeRef, to: &str, rate: f64) {
        let from = match from {
            NodeRef::Source(at) => plan.sources[at].name.clone(),
            NodeRef::Transform(at) => plan.transforms[at].name.clone(),
        };
        self.edges.push(Edge { from, to: to.to_owned(), rate });
    }
}
