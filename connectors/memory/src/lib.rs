//! Numbers in memory: the smallest complete connector, and the one to copy.
//!
//! Its sink plays every kind of destination (transaction, staged, idempotent, none), so that the
//! epoch protocol can be proved on each without a server. What a sink holds lives as long as the
//! process, beside the pipelines that write it, like a server of its own.

pub mod config;
mod failpoints;
mod sink;
pub mod source;
pub mod store;

use std::sync::Arc;

use contract::sink::{Promise, Proof, Sink, SinkKind};
use contract::source::Source;
use contract::spec::{BuildContext, Connector, SinkSpec, Spec};
use contract::{Result, Section};

pub use config::{Kind, SinkConfig, SourceConfig};

/// The connector.
pub struct Memory;

static SPEC: Spec = Spec {
    name: "memory",
    summary: "Counts upwards and keeps rows in memory, for tests and demonstrations.",
    source: Some(|| schemars::schema_for!(SourceConfig)),
    sink: Some(SinkSpec {
        config_schema: || schemars::schema_for!(SinkConfig),
        promise: Promise {
            kind: SinkKind::Transaction,
            token: true,
            proof: Proof::Origin,
            sentence: "exactly once, as long as the process lives",
            with_origin: true,
        },
        changes: &[],
        answers: &[],
    }),
    failpoints: failpoints::FAILPOINTS,
    example: include_str!("../example.yaml"),
};

impl Connector for Memory {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::Counter::new(section.read()?)))
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::MemorySink::new(section.read()?, &ctx.name)))
    }
}
