//! Dead letters given again, or closed: a pipeline of its own over the same file.
//!
//! Its sources are refused records with their old origins; its ways are those that lead through
//! the one who refused them, so that no sink gets a row that it holds already. In the same epoch
//! one more sink notes which records were taken; where they are only closed, it is the only one.
//! A replay has a lineage of its own and is finished like any other: exactly once, whatever
//! crashes.

mod letters;
mod marks;
pub(crate) mod narrow;
mod passing;
mod plans;
mod reread;
mod ways;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use contract::record::{message_schema, sink_schema};
use contract::sink::Sink;
use contract::source::{Again, Lineages, OriginalKind, Reject, Split};
use contract::{Error, Lineage, Result, SplitId};
use serde::{Deserialize, Serialize};
use state::checkpoint::{NumberedEdge, sha256_hex};

use crate::graph::{Consumer, Consumers, Edge, Pipeline, SinkNode, StepNode};
use letters::Letters;
use marks::Marks;
use narrow::{Leg, Rows};
use passing::{Barring, Passing};
pub use plans::Plans;
use reread::Reread;
pub use ways::{Refused, Route, Way};

/// The name under which replayed letters are noted, in ledger, checkpoints and lake.
pub const DEAD_LETTER_STATES: &str = "dead_letter_states";

/// Digits of a hash that name a request.
const ID_DIGITS: usize = 12;

/// Who refused a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refuser {
    /// A step (or a source), by name.
    Step(String),
    /// A sink, by name.
    Sink(String),
}

impl fmt::Display for Refuser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(name) => write!(formatter, "transform {name:?}"),
            Self::Sink(name) => write!(formatter, "sink {name:?}"),
        }
    }
}

/// A refused record that is given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The source that read it, by name.
    pub source: String,
    /// Its split.
    pub split: SplitId,
    /// Its position, the reason, and its original.
    #[serde(flatten)]
    pub reject: Reject,
}

impl Letter {
    /// Whether it keeps the very bytes of its record; else its source must be read again.
    pub fn has_bytes(&self) -> bool {
        self.reject.kind == OriginalKind::Bytes && self.reject.original.is_some()
    }
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// They are given to the pipeline again.
    #[default]
    Replay,
    /// Somebody has seen them and wants no more of them.
    Acknowledge,
}

impl Purpose {
    /// The state of a letter afterwards.
    pub fn state(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Acknowledge => "acknowledged",
        }
    }
}

/// The letters of one refuser that are taken together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// What becomes of them.
    #[serde(default)]
    pub purpose: Purpose,
    /// Who refused them.
    pub refuser: Refuser,
    /// When the newest of them was refused, in microseconds since 1970. Whatever the replay writes
    /// is newer.
    pub newest_us: i64,
    /// The number of each of these rows among those made of one record: in the plan of its epoch
    /// it says by which way they came to the refuser.
    #[serde(default)]
    pub ordinal: i64,
    /// Those ways, one for each source. Earlier programs kept none.
    #[serde(default)]
    pub ways: Vec<Way>,
    /// The numbers that rows had in the plan of that epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbering: Vec<NumberedEdge>,
    /// One letter per record, by split and position.
    pub letters: Vec<Letter>,
    /// How often the same letters were taken before, and none of their records could be had.
    #[serde(default)]
    pub tries: u32,
    /// The splits of the letters, as the sources know them that can read them again.
    #[serde(default)]
    pub splits: Vec<Split>,
}

impl Request {
    /// The lineage of the replay: the same letters have the same.
    pub fn lineage(&self) -> Lineage {
        let mut text = format!("{}\n{}\n", self.refuser, self.newest_us);
        if self.purpose != Purpose::Replay {
            text.push_str(self.purpose.state());
        }
        for letter in &self.letters {
            text.push_str(&format!("{}@{}\n", letter.split, letter.reject.position));
        }
        if self.ordinal > 0 {
            text.push_str(&format!("row {}\n", self.ordinal));
        }
        if self.tries > 0 {
            text.push_str(&self.tries.to_string());
        }
        Lineage::replay(&sha256_hex(text.as_bytes())[..ID_DIGITS])
    }

    /// The request as it is kept until the replay is through.
    ///
    /// # Errors
    /// Bug: it is no JSON.
    pub fn to_bytes(&self) -> Result<Bytes> {
        let bytes = serde_json::to_vec(self);
        bytes
            .map(Bytes::from)
            .map_err(|error| Error::bug("could not write a request as JSON").because(error))
    }

    /// Reads what [`Request::to_bytes`] wrote.
    ///
    /// # Errors
    /// External: it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::external("a kept replay request is damaged").because(error))
    }
}

impl Pipeline {
    /// The sinks that lack what the refuser refused; none if it is not in the pipeline.
    pub fn sinks_below(&self, refuser: &Refuser) -> Option<Vec<&str>> {
        let sinks = &self.sinks[..self.dead_letter_sink()];
        match refuser {
            Refuser::Sink(name) => {
                let sink = sinks.iter().find(|node| node.name == *name)?;
                Some(vec![&sink.name])
            }
            Refuser::Step(name) => {
                let step = self.steps.iter().find(|node| node.name == *name)?;
                let reached = sinks.iter().zip(&step.reach).filter(|(_, reached)| **reached);
                Some(reached.map(|(node, _)| node.name.as_str()).collect())
            }
        }
    }

    /// Whether the records of a source can be had again.
    pub fn gives_again(&self, source: &str) -> bool {
        let found = self.sources.iter().find(|node| node.name == source);
        found.is_some_and(|node| self.gives_lines(source) || node.source.again() != Again::Never)
    }

    /// The step with a state that a letter of the refuser would enter, by name (the refuser itself,
    /// or one below), where it would come to no sink without. A replay has a lineage and states of
    /// its own, so that such a step would not know what the pipeline's has seen.
    pub fn state_below(&self, refuser: &Refuser) -> Option<&str> {
        let step = *self.states_below(refuser).first()?;
        self.sinks_beside_states(refuser).is_empty().then(|| self.steps[step].name.as_str())
    }

    /// The sinks that a row of the refuser reaches without entering a state.
    pub fn sinks_beside_states(&self, refuser: &Refuser) -> Vec<&str> {
        let sinks = match self.find(refuser) {
            None => Vec::new(),
            Some(Consumer::Sink(sink)) => vec![sink],
            Some(Consumer::Step(step)) => narrow::sinks_beside_states(self, step),
        };
        sinks.into_iter().map(|sink| self.sinks[sink].name.as_str()).collect()
    }

    /// The steps with a state among the refuser and those below it, by number.
    fn states_below(&self, refuser: &Refuser) -> Vec<usize> {
        let Some(Consumer::Step(step)) = self.find(refuser) else { return Vec::new() };
        let below = narrow::below(self, Consumer::Step(step)).into_iter().enumerate();
        let below = below.filter(|(step, below)| *below && self.steps[*step].step.stateful());
        below.map(|(step, _)| step).collect()
    }

    /// The step with a state on a way to the refuser, by name, that nobody can do without. What a
    /// step let pass that sends rows on as they came, passes again whatever it has seen: a replay
    /// goes by it.
    pub fn state_on(&self, way: &Way, refuser: &Refuser) -> Option<&str> {
        let legs = way.find(self, self.find(refuser)?)?;
        let mut found =
            self.stateful_on(&legs).filter(|step| !narrow::sends_on_what_came(self, *step));
        found.next().map(|step| self.steps[step].name.as_str())
    }

    fn stateful_on<'a>(&'a self, legs: &'a [Leg]) -> impl Iterator<Item = usize> + 'a {
        legs.iter().filter_map(|(giver, _)| match giver {
            narrow::Giver::Step(step, _) if self.steps[*step].step.stateful() => Some(*step),
            _ => None,
        })
    }

    /// The sources from which a row of this number may have come to a sink, by number.
    pub(crate) fn givers(&self, sink: usize, ordinal: i64) -> Vec<usize> {
        let rows = Rows::Numbered(ordinal);
        let gave =
            |source: &usize| !narrow::ways(self, Consumer::Sink(sink), rows, *source).is_empty();
        (0..self.sources.len()).filter(gave).collect()
    }

    /// Whether the records of a source can be made again of their original bytes alone; those of
    /// others are read again by their origin.
    pub fn gives_lines(&self, source: &str) -> bool {
        let node = self.sources.iter().find(|node| node.name == source);
        node.is_some_and(|node| node.source.schema() == message_schema())
    }

    /// This pipeline, reading the letters of a request; `marks` takes a row for each of them.
    ///
    /// # Errors
    /// Config: the refuser or a source is not in the pipeline any more.
    pub fn replaying(mut self, request: &Request, marks: Arc<dyn Sink>) -> Result<Self> {
        match request.purpose {
            Purpose::Replay => self.read_again(request)?,
            Purpose::Acknowledge => self.read_only_origins(request),
        }
        self.add_marks(request, marks);
        Ok(self)
    }

    /// The letters take the place of the sources, and go through the one who refused them.
    fn read_again(&mut self, request: &Request) -> Result<()> {
        let gone = |what: String| {
            Error::config(format!("{what}, as the dead letters need it that are being replayed"))
                .hint("put it back into the pipeline file until the replay is through")
        };
        let refuser = self
            .find(&request.refuser)
            .ok_or_else(|| gone(format!("{} is not in the pipeline", request.refuser)))?;
        let mut ways = Vec::new();
        let sources: BTreeSet<_> = request.letters.iter().map(|one| one.source.as_str()).collect();
        for source in sources {
            let way = self.way_from(source, refuser, request).ok_or_else(|| {
                gone(format!("source {source:?} does not lead to {}", request.refuser))
            })?;
            ways.push(way);
        }
        if let Some(step) = self.state_below(&request.refuser) {
            return Err(gone(format!("{step:?} keeps a state below {}", request.refuser)));
        }
        for step in self.states_below(&request.refuser) {
            let node = &mut self.steps[step];
            node.step = Arc::new(Barring::by(&node.name, node.step.ports()));
        }
        self.pass_by(&ways).map_err(gone)?;
        narrow::to(self, &narrow::kept(self, refuser, &ways));
        // Earlier programs numbered rows as their file says, and kept no ways.
        if !request.ways.is_empty() && !self.number_as(&request.numbering).is_empty() {
            return Err(gone(format!("rows of {} have no numbers", request.refuser)));
        }
        for node in &mut self.sources {
            // A replay is one lineage, whatever those of the pipeline are.
            node.lineages = Lineages::One;
            let letters = request.letters.iter().filter(|letter| letter.source == node.name);
            let has_lines = letters.clone().all(Letter::has_bytes);
            node.source = match has_lines && node.source.schema() == message_schema() {
                true => Arc::new(Letters::new(letters)),
                false => Arc::new(Reread::new(node.source.clone(), letters, &request.splits)),
            };
        }
        Ok(())
    }

    /// Whether records of a source can be read a second time, where it still has them.
    pub fn reads_again(&self, source: &str) -> bool {
        let node = self.sources.iter().find(|node| node.name == source);
        node.is_some_and(|node| node.source.again() != Again::Never)
    }

    /// The way from a source on which the rows of a request come to the one who refused them.
    fn way_from(&self, source: &str, refuser: Consumer, request: &Request) -> Option<Vec<Leg>> {
        if !self.gives_again(source) {
            return None;
        }
        if let Some(way) = request.ways.iter().find(|way| way.source() == source) {
            return way.find(self, refuser);
        }
        let number = self.sources.iter().position(|node| node.name == source)?;
        let mut ways = narrow::ways(self, refuser, Rows::Numbered(request.ordinal), number);
        ways.pop().filter(|_| ways.is_empty())
    }

    /// Lets rows go by the steps with a state that let them pass once.
    fn pass_by(&mut self, ways: &[Vec<Leg>]) -> std::result::Result<(), String> {
        let stateful: BTreeSet<_> = ways.iter().flat_map(|legs| self.stateful_on(legs)).collect();
        for step in stateful {
            let node = &self.steps[step];
            if !narrow::sends_on_what_came(self, step) {
                return Err(format!("{:?} keeps a state", node.name));
            }
            self.steps[step].step = Arc::new(Passing::by(node.step.ports()));
        }
        Ok(())
    }

    /// The letters take the place of all sources, and go nowhere but to the marks.
    fn read_only_origins(&mut self, request: &Request) {
        self.steps.clear();
        self.sinks.drain(..self.dead_letter_sink());
        self.sources.truncate(1);
        for node in &mut self.sources {
            node.lineages = Lineages::One;
            node.consumers = Consumers::default();
            node.source = Arc::new(Letters::new(request.letters.iter()));
        }
    }

    fn find(&self, refuser: &Refuser) -> Option<Consumer> {
        match refuser {
            Refuser::Step(name) => {
                let step = self.steps.iter().position(|node| node.name == *name);
                step.map(Consumer::Step)
            }
            Refuser::Sink(name) => {
                let sinks = &self.sinks[..self.dead_letter_sink()];
                sinks.iter().position(|node| node.name == *name).map(Consumer::Sink)
            }
        }
    }

    /// Every record that is read becomes a row of the sink that notes what was taken.
    fn add_marks(&mut self, request: &Request, sink: Arc<dyn Sink>) {
        let marks = Marks::new(&self.name, request);
        let number = self.dead_letter_sink();
        let schema = sink_schema(&marks.schema(), true);
        let name = DEAD_LETTER_STATES.to_owned();
        let kind = "lake".to_owned();
        self.sinks.insert(number, SinkNode { name, kind, sink, schema, target: None });
        let edge = |to| Edge { to, branch: None };
        let out = Consumers { edges: vec![edge(Consumer::Sink(number))], ..Consumers::default() };
        self.steps.push(StepNode {
            name: DEAD_LETTER_STATES.to_owned(),
            step: Arc::new(marks),
            ports: vec![out],
            reach: Vec::new(),
        });
        let step = edge(Consumer::Step(self.steps.len() - 1));
        self.sources.iter_mut().for_each(|node| node.consumers.edges.push(step));
        self.count_ways();
    }
}
