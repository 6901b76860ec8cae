//! Kafka: partitions as splits that can be read again, and transactions that carry their token.
//!
//! The source reads each partition with a consumer of its own; a group only proposes which
//! partitions this process may have. The sink writes each epoch of a lineage in one transaction,
//! with the epoch's number among the offsets that the transaction commits. Reading order:
//! [`config`], [`source`], [`reader`], [`sink`], [`session`], [`writer`].
//!
//! Invariant: positions come from checkpoints only. No consumer ever chooses an offset by itself.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod admin;
mod answers;
mod catalog;
mod changes;
mod client;
mod config;
mod end;
mod failpoints;
mod headers;
mod identity;
mod listener;
mod member;
mod needs;
mod outgoing;
mod read_back;
mod reader;
mod records;
mod reports;
mod session;
mod sink;
mod source;
mod start;
mod template;
mod timeout;
mod topic_id;
mod topics;
mod values;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::needs::Needs;
use contract::sink::Sink;
use contract::source::Source;
use contract::spec::{BuildContext, Connector, Part, SinkSpec, Spec};
use contract::{Result, Section, SplitId};

use crate::config::{SinkConfig, SourceConfig};
use crate::needs::SourceNeeds;

/// The connector `kafka`.
pub struct Kafka;

static SPEC: Spec = Spec {
    name: "kafka",
    summary: "Reads partitions of Kafka topics, writes each epoch as one transaction.",
    source: Some(|| schemars::schema_for!(SourceConfig)),
    sink: Some(SinkSpec {
        config_schema: || schemars::schema_for!(SinkConfig),
        promise: sink::EXACTLY_ONCE,
        changes: changes::CHANGES,
        answers: answers::ANSWERS,
    }),
    failpoints: failpoints::FAILPOINTS,
    example: include_str!("../example.yaml"),
};

impl Connector for Kafka {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let source = source::Partitions::new(section.read()?, ctx);
        Ok(Arc::new(source.map_err(|error| error.at(section.place()))?))
    }

    fn names_split(&self, section: &Section, split: &SplitId) -> Option<bool> {
        source::names(&section.read().ok()?, split)
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let sink = sink::Topics::new(section.read()?, ctx);
        Ok(Arc::new(sink.map_err(|error| error.at(section.place()))?))
    }

    fn needs(&self, of: &Part<'_>, ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        Ok(Some(match of {
            Part::Source(section) => Box::new(SourceNeeds::new(&section.read()?)?),
            Part::Sink(section, _) => Box::new(sink::Topics::new(section.read()?, ctx)?.needs()),
        }))
    }
}
