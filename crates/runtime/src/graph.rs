//! A pipeline whose parts are made and wired, ready to run.
//!
//! Steps stand in topological order, so every edge points to a larger number. For each sink the
//! graph knows which nodes lead to it: that is what the ledger counts by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use contract::record::{ORDINAL, POSITION, is_origin, renumbered, sink_schema, with_ordinal};
use contract::sink::{Choice, Sink};
use contract::source::{Lineages, Source};
use contract::spec::{BuildContext, Connector, Part};
use contract::transform::{Means, Resource, Step};
use contract::{Error, Place, Result, Section};
use plan::{Input, NodeRef, Plan, Settings};
use state::CheckpointStore;
use state::checkpoint::{NumberedEdge, Target, sha256_hex};

use crate::branches::{Branch, Branches};
use crate::columns;
use crate::dead_letters;
use crate::joins;
use crate::memory;
use crate::replay::DEAD_LETTER_STATES;
use crate::times::{self, Measure};

/// The name under which dead letters stand in ledger and checkpoints, beside the sinks' own.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the records behind the watermark.
pub const LATE: &str = "late";
/// The name of the table of counts.
pub const LEDGER: &str = "ledger";
/// From these rules on, these two names are reserved.
const RESERVED_FROM: u32 = 2;
/// What to do where an earlier version took one of these names.
pub const TAKEN_SINCE: &str = ". If an earlier version of logmill ran the pipeline, let that one \
    finish what it decided first: `run --until-end`, with the name as it was";

/// Makes a step from its kind, name, settings and the columns of its inputs.
pub type MakeStep<'a> =
    &'a dyn Fn(&str, &str, &Section, &[(String, SchemaRef)]) -> Result<Arc<dyn Step>>;

/// Everything that binding needs besides the plan.
pub struct BindContext<'a> {
    /// Makes the transforms.
    pub make_step: MakeStep<'a>,
    /// The connectors that exist.
    pub connectors: &'a [&'static dyn Connector],
    /// Where the embedded lake and the checkpoints live.
    pub data: PathBuf,
    /// Where dead letters go.
    pub dead_letters: Arc<dyn Sink>,
    /// The rules by which rows are made: those of an earlier program for an epoch that it decided,
    /// else [`state::checkpoint::SEMANTICS`].
    pub semantics: u32,
}

/// A checked plan with its sources, steps and sinks made.
pub struct Pipeline {
    /// The pipeline's name.
    pub name: String,
    /// The pipeline file as it was read.
    pub text: Arc<str>,
    /// Hash of everything that changes rows: the plan and the content of its resources.
    pub fingerprint: String,
    /// The rules by which its rows are made.
    pub semantics: u32,
    /// In a replay of dead letters, how rows are numbered, where the file says otherwise.
    pub numbering: Vec<NumberedEdge>,
    /// The settings of the runtime.
    pub settings: Settings,
    /// The memory of which the limit in the settings is a share: that of the process, or itself.
    pub memory_divided: u64,
    /// Where the embedded lake and the checkpoints live.
    pub data: PathBuf,
    /// Where records come from.
    pub sources: Vec<SourceNode>,
    /// What is done to them, in topological order.
    pub steps: Vec<StepNode>,
    /// Where they go; the last one takes the dead letters.
    pub sinks: Vec<SinkNode>,
}

/// A source in the graph.
pub struct SourceNode {
    /// Its name in the pipeline file.
    pub name: String,
    /// The word after `type:`.
    pub kind: String,
    /// The connector's reading side.
    pub source: Arc<dyn Source>,
    /// How its splits are divided among lineages.
    pub lineages: Lineages,
    /// Whether another system answers for it. What is on this machine may be looked through for
    /// long.
    pub is_elsewhere: bool,
    /// Who gets its batches.
    pub consumers: Consumers,
}

/// A step in the graph.
pub struct StepNode {
    /// Its name in the pipeline file.
    pub name: String,
    /// The transform.
    pub step: Arc<dyn Step>,
    /// Who gets the batches of each port.
    pub ports: Vec<Consumers>,
    /// Whether a sink stands below: by number.
    pub reach: Vec<bool>,
}

impl StepNode {
    /// The number of a port by its name.
    fn port(&self, name: &str) -> Option<usize> {
        self.step.ports().iter().position(|port| *port.name == *name)
    }
}

/// A sink in the graph.
pub struct SinkNode {
    /// Its name in the pipeline file.
    pub name: String,
    /// The word after `type:`.
    pub kind: String,
    /// The connector's writing side.
    pub sink: Arc<dyn Sink>,
    /// The columns of its rows, origin included.
    pub schema: SchemaRef,
    /// Where it writes; none for the sinks that no pipeline file names.
    pub target: Option<Target>,
}

/// Who gets the batches that leave a node by one port.
#[derive(Default)]
pub struct Consumers {
    /// The ways to steps and sinks.
    pub edges: Vec<Edge>,
    /// By how many of them each sink is reached.
    pub ways: Vec<u64>,
    /// Whose event time is looked at here.
    pub measures: Vec<Measure>,
}

/// A way to one of those who get a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who gets it.
    pub to: Consumer,
    /// What tells its rows from those that come by other ways; none where nothing must.
    pub branch: Option<Branch>,
}

impl Edge {
    /// A batch as it enters the node at the end.
    ///
    /// # Errors
    /// Bug: its rows could not be numbered.
    pub fn enter(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self.branch {
            Some(branch) => renumbered(batch, |ordinal| branch.number(ordinal)),
            None => Ok(batch.clone()),
        }
    }
}

/// One of those who get a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// A step, by number.
    Step(usize),
    /// A sink, by number.
    Sink(usize),
}

impl Pipeline {
    /// What the workers of its steps may use.
    pub fn means(&self) -> Means {
        let state_bytes = memory::state_bytes(self);
        let (memory_bytes, memory_limit) = (self.settings.memory_limit, self.memory_divided);
        Means { memory_bytes, memory_limit, state_bytes }
    }

    /// Makes every part of a plan. No I/O but the reading of resources (databases, schemas).
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn bind(plan: &Plan, ctx: &BindContext) -> Result<Self> {
        let branches = Branches::of(plan, ctx.semantics)?;
        let sources = bind_sources(plan, ctx)?;
        let steps = bind_steps(plan, ctx, &branches, &sources)?;
        let mut sinks = bind_sinks(plan, ctx, &branches, (&sources, &steps))?;
        sinks.push(SinkNode {
            name: DEAD_LETTERS.to_owned(),
            kind: "lake".to_owned(),
            sink: ctx.dead_letters.clone(),
            schema: sink_schema(&dead_letters::schema(), true),
            target: None,
        });
        refuse_shared_destinations(plan, &sinks)?;
        for node in &mut sinks[..plan.sinks.len()] {
            let place = node.sink.destination(&node.schema)?;
            node.target = Some(Target { kind: node.kind.clone(), place });
        }
        let mut pipeline = Self {
            name: plan.name.clone(),
            text: plan.text.clone(),
            fingerprint: fingerprint(plan, &steps),
            semantics: ctx.semantics,
            numbering: Vec::new(),
            settings: plan.settings.clone(),
            memory_divided: plan.settings.memory_limit,
            data: ctx.data.clone(),
            sources,
            steps,
            sinks,
        };
        pipeline.wire(plan, &branches);
        times::measure(plan, &mut pipeline)?;
        joins::refuse(plan, &pipeline, ctx.semantics)?;
        Ok(pipeline)
    }

    /// Opens the store of its checkpoints: `checkpoint.url`, or a folder beside the lake.
    ///
    /// # Errors
    /// As for [`CheckpointStore::open`].
    pub fn checkpoint_store(&self) -> Result<CheckpointStore> {
        checkpoint_store(&self.settings, &self.data)
    }

    /// The folder of its checkpoints, which need not exist; none for a shared store.
    ///
    /// # Errors
    /// Config: the URL is a `file://` that is no path.
    pub fn checkpoint_folder(&self) -> Result<Option<PathBuf>> {
        checkpoint_folder(&self.settings, &self.data)
    }

    /// The number of the sink that takes the dead letters.
    pub fn dead_letter_sink(&self) -> usize {
        self.sinks.len() - 1
    }

    /// The files that the steps read.
    pub fn resources(&self) -> Vec<Resource> {
        resources(&self.steps)
    }

    fn wire(&mut self, plan: &Plan, branches: &Branches) {
        for (number, node) in plan.transforms.iter().enumerate() {
            self.connect(&node.inputs, Consumer::Step(number), branches.meet_in_step(number));
        }
        for (number, node) in plan.sinks.iter().enumerate() {
            self.connect(&node.inputs, Consumer::Sink(number), branches.meet_in_sink(number));
        }
        self.count_ways();
    }

    /// Whether the rows of some node are numbered by the way on which they came.
    pub fn numbers_rows(&self) -> bool {
        let of_sources = self.sources.iter().map(|source| &source.consumers);
        let mut all = of_sources.chain(self.steps.iter().flat_map(|step| &step.ports));
        all.any(|consumers| consumers.edges.iter().any(|edge| edge.branch.is_some()))
    }

    /// Counts for every node by how many ways each sink is reached from it.
    pub(crate) fn count_ways(&mut self) {
        for number in (0..self.steps.len()).rev() {
            let mut ports = std::mem::take(&mut self.steps[number].ports);
            let mut reach = vec![false; self.sinks.len()];
            for port in &mut ports {
                port.ways = self.ways(&port.edges);
                port.ways.iter().zip(&mut reach).for_each(|(ways, reach)| *reach |= *ways > 0);
            }
            self.steps[number].ports = ports;
            self.steps[number].reach = reach;
        }
        for number in 0..self.sources.len() {
            self.sources[number].consumers.ways = self.ways(&self.sources[number].consumers.edges);
        }
    }

    fn connect(&mut self, inputs: &[Input], to: Consumer, meet: bool) {
        let has_numbers = |input: &Input| self.schema_of(input).index_of(ORDINAL).is_ok();
        let numbered = inputs.len() > 1 && inputs.iter().any(has_numbers);
        for (at, input) in inputs.iter().enumerate() {
            let branch = match meet {
                true => Some(Branch::new(at, inputs.len())),
                false => numbered.then(Branch::only),
            };
            let edge = Edge { to, branch };
            match input.node {
                NodeRef::Source(number) => self.sources[number].consumers.edges.push(edge),
                NodeRef::Transform(number) => {
                    let port = self.steps[number].port(&input.port);
                    let port = port.expect("schemas of all inputs were found");
                    self.steps[number].ports[port].edges.push(edge);
                }
            }
        }
    }

    fn schema_of(&self, input: &Input) -> SchemaRef {
        match input.node {
            NodeRef::Source(number) => self.sources[number].source.schema(),
            NodeRef::Transform(number) => {
                let step = &self.steps[number];
                let port = step.port(&input.port).expect("schemas of all inputs were found");
                step.step.ports()[port].schema.clone()
            }
        }
    }

    fn ways(&self, edges: &[Edge]) -> Vec<u64> {
        let mut ways = vec![0; self.sinks.len()];
        for edge in edges {
            match &edge.to {
                Consumer::Sink(number) => ways[*number] += 1,
                Consumer::Step(number) => {
                    let reach = &self.steps[*number].reach;
                    ways.iter_mut().zip(reach).for_each(|(ways, reach)| *ways += u64::from(*reach));
                }
            }
        }
        ways
    }
}

/// Opens the store where a pipeline of these settings has its checkpoints: `checkpoint.url`, or a
/// folder beside the lake.
///
/// # Errors
/// As for [`CheckpointStore::open`].
pub fn checkpoint_store(settings: &Settings, data: &Path) -> Result<CheckpointStore> {
    if settings.checkpoint.url.is_none() {
        return CheckpointStore::local(&data.join("checkpoints"));
    }
    let opened = CheckpointStore::open(&settings.checkpoint);
    opened.map_err(|error| error.context("could not open the checkpoint store"))
}

/// The folder of those checkpoints, which need not exist; none for a shared store.
///
/// # Errors
/// Config: the URL is a `file://` that is no path.
pub fn checkpoint_folder(settings: &Settings, data: &Path) -> Result<Option<PathBuf>> {
    match &settings.checkpoint.url {
        Some(url) => stores::local_folder(url),
        None => Ok(Some(data.join("checkpoints"))),
    }
}

/// How the splits of a source are divided among lineages, of the ways that its connector has.
fn lineages_of(node: &plan::SourceNode, possible: &[Lineages]) -> Result<Lineages> {
    let wanted = node.lineages.or(possible.first().copied()).unwrap_or(Lineages::One);
    if possible.contains(&wanted) {
        return Ok(wanted);
    }
    let why = match wanted {
        Lineages::One => "each of its splits has an owner of its own, given to it by the system",
        Lineages::Split => "its splits are found, and found again, together",
    };
    let (kind, word) = (&node.kind, wanted.word());
    Err(Error::config(format!("a source of type {kind} cannot have `lineages: {word}`: {why}"))
        .at(&node.place)
        .field("lineages")
        .hint("leave `lineages` out")
        .context(format!("source {:?}", node.name)))
}

fn bind_sources(plan: &Plan, ctx: &BindContext) -> Result<Vec<SourceNode>> {
    let nodes = plan.sources.iter().map(|node| {
        if ctx.semantics >= RESERVED_FROM {
            refuse_reserved((&node.name, &node.place), ctx.semantics)?;
        }
        let connector = find(ctx.connectors, &node.kind, &node.section)?;
        let of_source = |error: Error| error.context(format!("source {:?}", node.name));
        let build = build_context(plan, ctx, &node.name);
        let source = connector.source(&node.section, &build).map_err(of_source)?;
        let needs = connector.needs(&Part::Source(&node.section), &build).map_err(of_source)?;
        refuse_origins(&source.schema()).map_err(|error| of_source(error.at(&node.place)))?;
        Ok(SourceNode {
            name: node.name.clone(),
            kind: node.kind.clone(),
            lineages: lineages_of(node, source.lineages())?,
            source,
            is_elsewhere: needs.is_some(),
            consumers: Consumers::default(),
        })
    });
    nodes.collect()
}

fn bind_steps(
    plan: &Plan,
    ctx: &BindContext,
    branches: &Branches,
    sources: &[SourceNode],
) -> Result<Vec<StepNode>> {
    let mut steps: Vec<StepNode> = Vec::new();
    for (number, node) in plan.transforms.iter().enumerate() {
        let inputs = node.inputs.iter().map(|input| input_schema(input, plan, sources, &steps));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let inputs = joined(inputs, branches.meet_in_step(number));
        if ctx.semantics >= RESERVED_FROM {
            refuse_reserved((&node.name, &node.place), ctx.semantics)?;
        }
        let step = (ctx.make_step)(&node.kind, &node.name, &node.section, &inputs)
            .map_err(|error| error.context(format!("transform {:?}", node.name)))?;
        let ports = step.ports().iter().map(|_| Consumers::default()).collect();
        steps.push(StepNode { name: node.name.clone(), step, ports, reach: Vec::new() });
    }
    Ok(steps)
}

fn bind_sinks(
    plan: &Plan,
    ctx: &BindContext,
    branches: &Branches,
    (sources, steps): (&[SourceNode], &[StepNode]),
) -> Result<Vec<SinkNode>> {
    let nodes = plan.sinks.iter().enumerate().map(|(number, node)| {
        refuse_reserved((&node.name, &node.place), ctx.semantics)?;
        let connector = find(ctx.connectors, &node.kind, &node.section)?;
        let sink = connector
            .sink(&node.section, &build_context(plan, ctx, &node.name))
            .map_err(|error| error.context(format!("sink {:?}", node.name)))?;
        let inputs = node.inputs.iter().map(|input| input_schema(input, plan, sources, steps));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let inputs = joined(inputs, branches.meet_in_sink(number));
        let (first, others) = inputs.split_first().ok_or_else(|| {
            Error::config(format!("sink {:?} has no input", node.name)).at(&node.place)
        })?;
        let mut columns = first.1.as_ref().clone();
        for (other, others_columns) in others {
            columns = columns::agreed((&first.0, &columns), (other, others_columns))
                .map_err(|error| error.at(&node.place).context(format!("sink {:?}", node.name)))?;
        }
        let schema = sink_schema(&columns, sink.promise().with_origin);
        let (name, kind) = (node.name.clone(), node.kind.clone());
        Ok(SinkNode { name, kind, sink, schema, target: None })
    });
    nodes.collect()
}

/// Refuses names under which Logmill keeps tables and books of its own, in whatever letters:
/// queries take them for the same.
fn refuse_reserved((name, place): (&str, &Place), semantics: u32) -> Result<()> {
    let mut reserved = vec![DEAD_LETTERS, DEAD_LETTER_STATES];
    if semantics >= RESERVED_FROM {
        reserved.extend([LATE, LEDGER]);
    }
    let folded = name.to_lowercase();
    if !reserved.contains(&folded.as_str()) {
        return Ok(());
    }
    let mut hint =
        "logmill has a table of this name in every data folder; choose another name".to_owned();
    if [LATE, LEDGER].contains(&folded.as_str()) {
        hint.push_str(TAKEN_SINCE);
    }
    Err(Error::config(format!("the name {name:?} is taken")).at(place).hint(hint))
}

/// Refuses columns of a source under names that the origin of a row takes before its sinks.
fn refuse_origins(schema: &Schema) -> Result<()> {
    let mut names = schema.fields().iter().map(|field| field.name().as_str());
    match names.find(|name| is_origin(name) && *name != POSITION) {
        None => Ok(()),
        Some(name) => Err(Error::config(format!("column {name:?} is the origin of a row"))
            .hint("give the column another name in the settings of the source")),
    }
}

/// Refuses two sinks whose rows nobody could tell apart, and columns that a sink cannot take.
fn refuse_shared_destinations(plan: &Plan, sinks: &[SinkNode]) -> Result<()> {
    let mut taken: Vec<(String, &str)> = Vec::new();
    let mut choices: Vec<(Choice, &str)> = Vec::new();
    // The dead letters come first, so that the place of the error is one in the file.
    for (number, node) in sinks.iter().enumerate().rev() {
        let place = plan.sinks.get(number).map(|sink| &sink.place);
        let at = |error: Error| match place {
            Some(place) => error.at(place),
            None => error,
        };
        let destination = node.sink.destination(&node.schema);
        let destination =
            destination.map_err(|error| at(error).context(format!("sink {:?}", node.name)))?;
        let Some(destination) = destination else { continue };
        let same = taken.iter().find(|(other, _)| stores::is_one_place(other, &destination));
        if let Some((_, other)) = same {
            if *other == DEAD_LETTERS {
                let name = &node.name;
                let error = Error::config(format!("sink {name:?} writes into the dead letters"));
                return Err(at(error.hint(
                    "logmill keeps there what is refused; choose another name for the table",
                )));
            }
            return Err(at(Error::config(format!(
                "sinks {:?} and {other:?} write to one place",
                node.name
            ))
            .hint("give each a place of its own, or one sink several inputs: `input: [a, b]`")));
        }
        taken.push((destination, &node.name));
        let Some(choice) = node.sink.choice() else { continue };
        if let Some((_, other)) = choices.iter().find(|(other, _)| choice.meets(other)) {
            let what = format!("rows of sinks {:?} and {other:?} can name one place", node.name);
            return Err(at(Error::config(what).hint(
                "let their names begin otherwise, or lie apart, or give one sink several inputs: \
                 `input: [a, b]`",
            )));
        }
        choices.push((choice, &node.name));
    }
    Ok(())
}

/// The columns with which the rows of several inputs enter one node.
fn joined(inputs: Vec<(String, SchemaRef)>, meet: bool) -> Vec<(String, SchemaRef)> {
    let has_numbers = |(_, schema): &(String, SchemaRef)| schema.index_of(ORDINAL).is_ok();
    match meet || inputs.len() > 1 && inputs.iter().any(has_numbers) {
        true => inputs.into_iter().map(|(name, schema)| (name, with_ordinal(&schema))).collect(),
        false => inputs,
    }
}

/// The name and the columns of what an input refers to.
fn input_schema(
    input: &Input,
    plan: &Plan,
    sources: &[SourceNode],
    steps: &[StepNode],
) -> Result<(String, SchemaRef)> {
    match input.node {
        NodeRef::Source(number) => {
            Ok((plan.sources[number].name.clone(), sources[number].source.schema()))
        }
        NodeRef::Transform(number) => {
            let step = &steps[number];
            let ports = step.step.ports();
            let names = || ports.iter().map(|port| &*port.name).filter(|name| !name.is_empty());
            let port = ports.iter().find(|port| *port.name == *input.port).ok_or_else(|| {
                Error::config(format!("transform {:?} has no output {:?}", step.name, input.port))
                    .at(&input.place)
                    .hint(Section::did_you_mean(&input.port, names()))
            })?;
            let name = match &*port.name {
                "" => step.name.clone(),
                port => format!("{}.{port}", step.name),
            };
            Ok((name, port.schema.clone()))
        }
    }
}

fn find(
    connectors: &[&'static dyn Connector],
    kind: &str,
    section: &Section,
) -> Result<&'static dyn Connector> {
    let found = connectors.iter().find(|connector| connector.spec().name == kind);
    found.copied().ok_or_else(|| {
        let names = connectors.iter().map(|connector| connector.spec().name);
        Error::config(format!("unknown connector {kind:?}"))
            .at(section.place())
            .hint(Section::did_you_mean(kind, names))
    })
}

fn build_context(plan: &Plan, ctx: &BindContext, name: &str) -> BuildContext {
    let epoch_interval = plan.settings.epoch_interval;
    BuildContext { epoch_interval, ..BuildContext::new(&plan.name, name, &ctx.data) }
}

fn resources(steps: &[StepNode]) -> Vec<Resource> {
    steps.iter().flat_map(|node| node.step.resources()).collect()
}

fn fingerprint(plan: &Plan, steps: &[StepNode]) -> String {
    let mut text = plan.hash.clone();
    for resource in resources(steps) {
        text.push('\n');
        text.push_str(&resource.sha256);
    }
    sha256_hex(text.as_bytes())
}
