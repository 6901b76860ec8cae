//! Tables of PostgreSQL: rows by binary `COPY`, in one transaction with the token of their epoch.
//!
//! A transaction sink: an epoch's rows are visible together with its token or not at all. Reading
//! order: [`sink`], [`writer`] (one epoch's transaction), [`session`] (statements), [`sieve`]
//! (rows that are refused), [`token`] (fence and compare-and-set), [`layout`] and [`encode`] (from
//! columns to the bytes of a `COPY`). [`reader`] looks at tables for others.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answers;
mod catalog;
mod changes;
mod chunk;
mod client;
mod config;
mod create;
mod encode;
mod failpoints;
mod failure;
mod layout;
mod maker;
mod names;
mod needs;
mod read;
pub mod reader;
mod session;
mod sieve;
mod sink;
mod table;
mod tls;
mod token;
mod url;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::needs::Needs;
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector, Part, SinkSpec, Spec};
use contract::{Result, Section};

use crate::config::Config;
use crate::needs::TableNeeds;
use crate::sink::PostgresSink;

pub use crate::table::quoted;

/// The connector `postgres`.
pub struct Postgres;

static SPEC: Spec = Spec {
    name: "postgres",
    summary: "Writes tables of PostgreSQL by binary COPY, each epoch in one transaction.",
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

impl Connector for Postgres {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let sink = PostgresSink::new(section.read()?).map_err(|error| error.at(section.place()))?;
        Ok(Arc::new(sink))
    }

    fn needs(&self, of: &Part<'_>, ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        let Part::Sink(section, columns) = of else { return Ok(None) };
        let sink = PostgresSink::new(section.read()?).map_err(|error| error.at(section.place()))?;
        Ok(Some(Box::new(TableNeeds::new(sink, columns, ctx))))
    }
}
