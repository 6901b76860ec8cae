//! Links declared nodes into a graph, without what is disabled, in topological order.
//!
//! An edge is settled here once and for all: nobody after this module looks a node up by name.

use std::collections::{HashMap, HashSet};

use contract::section::{Entry, Value};
use contract::{Error, Place, Result, Section};

use crate::nodes::{Declared, Node, Reference};
use crate::{Input, NodeRef, SinkNode, SourceNode, TransformNode};

/// The nodes of a plan, and what is odd about them.
pub(crate) struct Graph {
    pub sources: Vec<SourceNode>,
    pub transforms: Vec<TransformNode>,
    pub sinks: Vec<SinkNode>,
    pub warnings: Vec<String>,
}

/// Links the nodes of a pipeline with a name and its place. `top` is that of the file's beginning.
///
/// # Errors
/// Config: an input does not exist, there is a cycle, or nothing is left to run.
pub(crate) fn link(declared: Declared, pipeline: (&str, &Place), top: &Place) -> Result<Graph> {
    let names = Names::new(&declared);
    let transform_inputs = names.resolve_all(&declared.transforms)?;
    let sink_inputs = names.resolve_all(&declared.sinks)?;
    let order = order(&declared.transforms, &transform_inputs)?;

    let mut numbers = number_sources(&declared.sources, top)?;
    number_transforms(&order, &transform_inputs, &mut numbers);
    let edges = Edges { transforms: transform_inputs, sinks: sink_inputs };
    let warnings = unread(&declared, &edges, &numbers);
    let sinks = match declared.sinks.is_empty() {
        true => default_sinks(&declared, &edges, &numbers, pipeline),
        false => fed_sinks(declared.sinks, &edges.sinks, &numbers, top)?,
    };
    Ok(Graph {
        sources: declared.sources.into_iter().filter(|node| node.enabled).map(source).collect(),
        transforms: fed_transforms(declared.transforms, &order, &edges.transforms, &numbers),
        sinks,
        warnings,
    })
}

/// What each transform and each sink reads, by numbers in the file.
struct Edges {
    transforms: Vec<Vec<Input>>,
    sinks: Vec<Vec<Input>>,
}

/// From numbers in the file to numbers in the plan; what runs without is absent.
type Numbers = HashMap<NodeRef, NodeRef>;

struct Names<'a> {
    readable: HashMap<&'a str, NodeRef>,
    sinks: HashSet<&'a str>,
    in_order: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn new(declared: &'a Declared) -> Self {
        let sources = declared.sources.iter().enumerate();
        let transforms = declared.transforms.iter().enumerate();
        let nodes: Vec<_> = sources
            .map(|(at, node)| (node.name.as_str(), NodeRef::Source(at)))
            .chain(transforms.map(|(at, node)| (node.name.as_str(), NodeRef::Transform(at))))
            .collect();
        Self {
            in_order: nodes.iter().map(|(name, _)| *name).collect(),
            readable: nodes.into_iter().collect(),
            sinks: declared.sinks.iter().map(|node| node.name.as_str()).collect(),
        }
    }

    fn resolve_all(&self, nodes: &[Node]) -> Result<Vec<Vec<Input>>> {
        nodes
            .iter()
            .map(|node| node.inputs.iter().map(|input| self.resolve(input)).collect())
            .collect()
    }

    fn resolve(&self, reference: &Reference) -> Result<Input> {
        let Reference { node: name, port, place } = reference;
        let error = |message: String, hint: String| {
            Error::config(message).at(place).field("input").hint(hint)
        };
        match self.readable.get(name.as_str()) {
            Some(NodeRef::Source(_)) if !port.is_empty() => Err(error(
                format!("source {name:?} has no output {port:?}"),
                format!("write `{name}`; only transforms have several outputs"),
            )),
            Some(node) => Ok(Input { node: *node, port: port.clone(), place: place.clone() }),
            None if self.sinks.contains(name.as_str()) => Err(error(
                format!("{name:?} is a sink, and a sink cannot be read"),
                "read what the sink reads".to_owned(),
            )),
            None => Err(error(
                format!("there is no source or transform {name:?}"),
                Section::did_you_mean(name, self.in_order.iter().copied()),
            )),
        }
    }
}

/// The transforms, each after what it reads, else in the order of the file.
fn order(transforms: &[Node], inputs: &[Vec<Input>]) -> Result<Vec<usize>> {
    let mut walk = Walk { transforms, inputs, path: Vec::new(), done: Vec::new() };
    for at in 0..transforms.len() {
        walk.visit(at)?;
    }
    Ok(walk.done)
}

/// A walk against the edges, depth first. The number of nodes bounds its depth.
struct Walk<'a> {
    transforms: &'a [Node],
    inputs: &'a [Vec<Input>],
    path: Vec<usize>,
    done: Vec<usize>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) -> Result<()> {
        if self.done.contains(&at) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == at) {
            return Err(self.cycle(start));
        }
        self.path.push(at);
        for input in &self.inputs[at] {
            if let NodeRef::Transform(below) = input.node {
                self.visit(below)?;
            }
        }
        self.path.pop();
        self.done.push(at);
        Ok(())
    }

    fn cycle(&self, start: usize) -> Error {
        let cycle = &self.path[start..];
        let mut names: Vec<_> = cycle.iter().map(|at| self.transforms[*at].name.as_str()).collect();
        names.push(names[0]);
        Error::config(format!("cycle: {}", names.join(" -> ")))
            .at(&self.transforms[cycle[0]].place)
            .hint("each reads the next; let one of them read a source")
    }
}

fn number_sources(sources: &[Node], top: &Place) -> Result<Numbers> {
    let enabled = sources.iter().enumerate().filter(|(_, node)| node.enabled);
    let numbers: Numbers = enabled
        .enumerate()
        .map(|(new, (old, _))| (NodeRef::Source(old), NodeRef::Source(new)))
        .collect();
    if numbers.is_empty() {
        return Err(Error::config("every source is disabled")
            .at(top)
            .hint("set `enabled: true` on one of them"));
    }
    Ok(numbers)
}

/// Numbers the transforms that something feeds.
fn number_transforms(order: &[usize], inputs: &[Vec<Input>], numbers: &mut Numbers) {
    let mut next = 0;
    for at in order {
        if inputs[*at].iter().any(|input| numbers.contains_key(&input.node)) {
            numbers.insert(NodeRef::Transform(*at), NodeRef::Transform(next));
            next += 1;
        }
    }
}

/// The inputs that are left, with their numbers in the plan.
fn renumber(inputs: &[Input], numbers: &Numbers) -> Vec<Input> {
    inputs
        .iter()
        .filter_map(|input| Some(Input { node: *numbers.get(&input.node)?, ..input.clone() }))
        .collect()
}

fn source(node: Node) -> SourceNode {
    let Node { name, kind, section, place, lineages, .. } = node;
    SourceNode { name, kind, lineages, section, place }
}

fn fed_transforms(
    transforms: Vec<Node>,
    order: &[usize],
    inputs: &[Vec<Input>],
    numbers: &Numbers,
) -> Vec<TransformNode> {
    let mut nodes: Vec<_> = transforms.into_iter().map(Some).collect();
    let fed = order.iter().filter(|at| numbers.contains_key(&NodeRef::Transform(**at)));
    fed.map(|at| {
        let node = nodes[*at].take().expect("the order names each transform once");
        TransformNode {
            name: node.name,
            kind: node.kind,
            inputs: renumber(&inputs[*at], numbers),
            section: node.section,
            place: node.place,
        }
    })
    .collect()
}

fn fed_sinks(
    sinks: Vec<Node>,
    inputs: &[Vec<Input>],
    numbers: &Numbers,
    top: &Place,
) -> Result<Vec<SinkNode>> {
    let mut fed = Vec::new();
    for (node, inputs) in sinks.into_iter().zip(inputs) {
        let inputs = renumber(inputs, numbers);
        if !node.enabled || inputs.is_empty() {
            continue;
        }
        let Node { name, kind, section, place, .. } = node;
        fed.push(SinkNode { name, kind, inputs, section, place });
    }
    if fed.is_empty() {
        return Err(Error::config("no sink would get a row")
            .at(top)
            .hint("enable a sink and what it reads, or leave `sinks` out for the embedded lake"));
    }
    Ok(fed)
}

/// The sinks of a file that names none: an embedded lake table for every node that nothing reads.
fn default_sinks(
    declared: &Declared,
    edges: &Edges,
    numbers: &Numbers,
    pipeline: (&str, &Place),
) -> Vec<SinkNode> {
    let read = read_nodes(&edges.transforms);
    let sources = (0..declared.sources.len()).map(NodeRef::Source);
    let transforms = (0..declared.transforms.len()).map(NodeRef::Transform);
    let ends: Vec<_> = sources
        .chain(transforms)
        .filter(|node| numbers.contains_key(node) && !read.contains(node))
        .collect();
    let single = ends.len() == 1;
    ends.iter()
        .map(|end| {
            let (name, place) = named(declared, *end);
            let (sink, (table, place)) = match single {
                true => ("lake".to_owned(), pipeline),
                false => (format!("lake-{name}"), (name, place)),
            };
            let input = Input { node: numbers[end], port: String::new(), place: place.clone() };
            SinkNode {
                name: free_name(sink, declared),
                kind: "lake".to_owned(),
                inputs: vec![input],
                section: lake_section(table, place),
                place: place.clone(),
            }
        })
        .collect()
}

fn lake_section(table: &str, place: &Place) -> Section {
    let table = Value::Text(table.replace('-', "_").into());
    let value = Section::new(place.clone(), table);
    let entry = Entry { key: "table".into(), place: place.clone(), value };
    Section::new(place.clone(), Value::Map(vec![entry]))
}

fn free_name(mut name: String, declared: &Declared) -> String {
    let taken = |name: &str| {
        declared.sources.iter().chain(&declared.transforms).any(|node| node.name == name)
    };
    while taken(&name) {
        name.push_str("-sink");
    }
    name
}

fn read_nodes(inputs: &[Vec<Input>]) -> HashSet<NodeRef> {
    inputs.iter().flatten().map(|input| input.node).collect()
}

/// The name of a node, and where it stands.
fn named(declared: &Declared, node: NodeRef) -> (&str, &Place) {
    let node = match node {
        NodeRef::Source(at) => &declared.sources[at],
        NodeRef::Transform(at) => &declared.transforms[at],
    };
    (&node.name, &node.place)
}

/// Warns of nodes that run for nothing. A reader that is disabled counts: it is meant to be off.
fn unread(declared: &Declared, edges: &Edges, numbers: &Numbers) -> Vec<String> {
    if declared.sinks.is_empty() {
        return Vec::new();
    }
    let mut read = read_nodes(&edges.transforms);
    read.extend(read_nodes(&edges.sinks));
    let sources = (0..declared.sources.len()).map(NodeRef::Source);
    let transforms = (0..declared.transforms.len()).map(NodeRef::Transform);
    sources
        .chain(transforms)
        .filter(|node| numbers.contains_key(node) && !read.contains(node))
        .map(|node| format!("nothing reads {:?}", named(declared, node).0))
        .collect()
}
