//! Documents in OpenSearch or Elasticsearch, by the bulk API.
//!
//! An idempotent sink: the `_id` of a document and its index follow from the row alone, so that
//! rows that are sent again overwrite themselves. Reading order: [`sink`], [`names`], [`writer`],
//! [`bulk`], [`verdict`], [`version`], [`client`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answers;
mod bulk;
mod changes;
mod client;
mod config;
mod failpoints;
mod identity;
mod names;
mod needs;
mod read;
mod sink;
mod verdict;
mod version;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::needs::Needs;
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector, Part, SinkSpec, Spec};
use contract::{Result, Section};

use crate::config::Config;
use crate::needs::IndexNeeds;
use crate::sink::SearchSink;

/// The connector `opensearch`.
pub struct OpenSearch;

static SPEC: Spec = Spec {
    name: "opensearch",
    summary: "Writes documents into OpenSearch or Elasticsearch.",
    source: None,
    sink: Some(SinkSpec {
        config_schema: || schemars::schema_for!(Config),
        promise: sink::PROMISE,
        changes: changes::CHANGES,
        answers: answers::ANSWERS,
    }),
    failpoints: failpoints::FAILPOINTS,
    example: include_str!("../example.yaml"),
};

impl Connector for OpenSearch {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let sink = Config::read(section).and_then(|config| SearchSink::new(config, ctx));
        Ok(Arc::new(sink.map_err(|error| error.at(section.place()))?))
    }

    fn needs(&self, of: &Part<'_>, ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        let Part::Sink(section, _) = of else { return Ok(None) };
        let sink = SearchSink::new(Config::read(section)?, ctx)?;
        Ok(Some(Box::new(IndexNeeds::new(sink))))
    }
}
