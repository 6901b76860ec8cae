//! Delta Lake tables on local disk, S3, Azure or GCS: Parquet files with a log that any engine
//! reads.
//!
//! A staged sink: rows become files that nobody reads until an entry of the table's log names
//! them, together with the token of their epoch. Reading order: [`sink`], [`writer`], [`shared`],
//! [`commit`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answers;
mod changes;
mod commit;
mod config;
mod failpoints;
mod fit;
mod maintenance;
mod needs;
mod partition;
mod read;
mod schema;
mod shared;
mod sink;
mod sparing;
pub mod table;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use contract::needs::Needs;
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector, Part, SinkSpec, Spec};
use contract::{Result, Section};

use crate::config::Config;
use crate::needs::TableNeeds;
use crate::sink::LakeSink;
use crate::table::Location;

/// The connector `lake`.
pub struct Lake;

impl Lake {
    /// The table that the settings of a sink name, and where it lies; `data` is the folder of the
    /// embedded lake. For those who read it.
    ///
    /// # Errors
    /// Config, with the place in the file.
    pub fn table(section: &Section, data: &Path) -> Result<(String, Location)> {
        let config = Config::read(section)?;
        let location = config.location(data);
        Ok((config.table, location))
    }
}

static SPEC: Spec = Spec {
    name: "lake",
    summary: "Writes Delta Lake tables on local disk, S3, Azure or GCS.",
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

impl Connector for Lake {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(LakeSink::new(Config::read(section)?, &ctx.data)?))
    }

    fn needs(&self, of: &Part<'_>, ctx: &BuildContext) -> Result<Option<Box<dyn Needs>>> {
        let Part::Sink(section, columns) = of else { return Ok(None) };
        let sink = LakeSink::new(Config::read(section)?, &ctx.data)?;
        Ok(Some(Box::new(TableNeeds::new(sink, columns))))
    }
}
