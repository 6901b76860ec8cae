//! Objects in S3, Azure, GCS or a local folder: JSON lines, Parquet, CSV or text under names that
//! tell what is in them.
//!
//! A staged sink without a token: rows of an epoch are durable as parts of uploads that nobody
//! sees, and the checkpoint says how to complete them. Names follow from the rows alone, so that a
//! repeat overwrites itself. Reading order: [`sink`], [`key`], [`writer`], [`commit`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answers;
mod body;
mod changes;
mod commit;
mod config;
mod crowd;
mod encode;
mod failpoints;
mod fill;
mod key;
mod needs;
mod place;
mod read;
mod sink;
mod sizes;
mod spill;
mod unsettled;
mod way;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::needs::Needs;
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector, Part, SinkSpec, Spec};
use contract::{Result, Section};

use crate::config::Config;
use crate::needs::BucketNeeds;
use crate::sink::ObjectSink;

/// The connector `object_store`.
pub struct Objects;

static SPEC: Spec = Spec {
    name: "object_store",
    summary: "Writes objects in S3, Azure, GCS or a local folder.",
    source: None,
    sink: Some(SinkSpec {
        config_schema: Config::schema,
        promise: sink::PROMISE,
        changes: changes::CHANGES,
        answers: answers::ANSWERS,
    }),
    failpoints: failpoints::FAILPOINTS,
    example: include_str!("../example.yaml"),
};

impl Connector for Objects {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let sink = Config::read(section).and_then(|config| ObjectSink::new(config, ctx));
        Ok(Arc::new(sink.map_err(|error| error.at(section.place()))?))
    }

    fn needs(&self, of: &Part<'_>, _ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        let Part::Sink(section, _) = of else { return Ok(None) };
        Ok(Some(Box::new(BucketNeeds::new(Config::read(section)?))))
    }
}
