//! How a connector presents itself: one value makes its documentation, its schema and its list
//! entry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::Schema;
use serde::Serialize;
use serde_json::Value;

use crate::discovery::Unreadable;
use crate::failpoint::Failpoint;
use crate::needs::Needs;
use crate::sink::{Promise, Sink};
use crate::source::{KnownSplit, Source};
use crate::{Error, Result, Section, SplitId};

/// Everything that the program says about a connector.
pub struct Spec {
    /// The word after `type:`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The settings of its sources; none if it cannot read.
    pub source: Option<fn() -> Schema>,
    /// The settings of its sinks and what they promise by default; none if it cannot write.
    pub sink: Option<SinkSpec>,
    /// The places of its own where a crash would hurt: every point that it passes.
    pub failpoints: &'static [Failpoint],
    /// A pipeline file that runs.
    pub example: &'static str,
}

/// The writing half of a [`Spec`].
pub struct SinkSpec {
    /// The settings.
    pub config_schema: fn() -> Schema,
    /// The promise under default settings; another one must not be weaker unless settings say so.
    pub promise: Promise,
    /// What it does when somebody else changes its destination: altered, replaced, closed, emptied.
    pub changes: &'static [Change],
    /// What it makes of what its destination answers to rows.
    pub answers: &'static [Answer],
}

/// What a destination answers to rows, and what becomes of them. The page on reliability has those
/// of all connectors in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What comes back.
    pub answer: &'static str,
    /// Whose matter it is.
    pub about: About,
    /// What the sink does then.
    pub then: &'static str,
    /// The tests that prove it, by name.
    pub proofs: &'static [&'static str],
}

/// Whose matter an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The row's: it becomes a dead letter, and the others arrive.
    Row,
    /// The destination's, and it may pass, or somebody may see to it while rows wait.
    Waits,
    /// The destination's, and only somebody who changes it, or the pipeline, helps.
    Stops,
}

impl About {
    /// Whose matter it is, as a table says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Row => "the row: dead letter",
            Self::Waits => "the destination: waits",
            Self::Stops => "the destination: stops",
        }
    }
}

/// What happens to a destination while a pipeline writes to it or is stopped, and what becomes of
/// it. `check` prints it, and the connector's page has it as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What somebody else does.
    pub when: &'static str,
    /// What the sink does then.
    pub then: &'static str,
    /// The tests that prove it, by name.
    #[serde(skip)]
    pub proofs: &'static [&'static str],
}

/// The settings of a section that is read by [`Section::read_with`]: its own, and those that it
/// shares with others. Of the shared ones, `required` must be there.
#[must_use]
pub fn joined(own: Schema, shared: Schema, required: &[&str]) -> Schema {
    let (mut own, shared) = (own.to_value(), shared.to_value());
    for part in ["properties", "$defs"] {
        let Some(Value::Object(more)) = shared.get(part) else { continue };
        match &mut own[part] {
            Value::Object(map) => map.extend(more.clone()),
            missing => *missing = Value::Object(more.clone()),
        }
    }
    let named = own["required"].as_array().cloned().unwrap_or_default();
    let all: Vec<_> = named.into_iter().chain(required.iter().map(|&key| key.into())).collect();
    own["required"] = Value::Array(all);
    own.try_into().unwrap_or_default()
}

/// The most time between two barriers where a pipeline file does not say.
pub const EPOCH_INTERVAL: Duration = Duration::from_secs(10);

/// What a connector may know of the pipeline that it is built for.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The pipeline's name.
    pub pipeline: String,
    /// The name of the source or sink in the pipeline file.
    pub name: String,
    /// Where the embedded lake and the checkpoints live (`--data`).
    pub data: PathBuf,
    /// The most time between two barriers.
    pub epoch_interval: Duration,
}

impl BuildContext {
    /// The context of something that has the epochs of a pipeline that sets none.
    pub fn new(pipeline: &str, name: &str, data: &Path) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            name: name.to_owned(),
            data: data.to_owned(),
            epoch_interval: EPOCH_INTERVAL,
        }
    }
}

/// One half of a connector, as a pipeline has it.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// A source, by its settings.
    Source(&'a Section),
    /// A sink, by its settings and the columns of its rows, origin included.
    Sink(&'a Section, &'a SchemaRef),
}

/// One kind of system that Logmill reads from or writes to.
pub trait Connector: Send + Sync {
    /// What it is.
    fn spec(&self) -> &'static Spec;

    /// Makes a source. No I/O: `check` calls it.
    ///
    /// # Errors
    /// Config, with the place in the file.
    fn source(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        Err(self.cannot(section, "source"))
    }

    /// Makes a sink. No I/O: `check` calls it.
    ///
    /// # Errors
    /// Config, with the place in the file.
    fn sink(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Err(self.cannot(section, "sink"))
    }

    /// What the settings of a source name and cannot be read, as far as a look at this machine
    /// tells that knows what was read before. `check` asks; no connection is opened.
    ///
    /// # Errors
    /// As for [`Connector::source`], and of the first listing: Config: something that must be there
    /// is not. External: it cannot be read.
    fn unreadable(&self, _section: &Section, _known: &[KnownSplit]) -> Result<Vec<Unreadable>> {
        Ok(Vec::new())
    }

    /// What must exist outside for a source or a sink; none where nothing must. No I/O.
    ///
    /// # Errors
    /// As for [`Connector::source`] and [`Connector::sink`].
    fn needs(&self, _of: &Part<'_>, _ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        Ok(None)
    }

    /// Whether the settings of a source name a split that was read before, as far as they alone
    /// tell; none where only a look can tell, or the settings are wrong. `check` asks; no
    /// connection is opened.
    fn names_split(&self, _section: &Section, _split: &SplitId) -> Option<bool> {
        None
    }

    /// The error for a connector that is asked for a half that it does not have.
    fn cannot(&self, section: &Section, half: &str) -> Error {
        Error::config(format!("connector {:?} cannot be a {half}", self.spec().name))
            .at(section.place())
            .hint(format!("`logmill connectors` lists what can be a {half}"))
    }
}
