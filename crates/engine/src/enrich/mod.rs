//! `enrich`: columns that follow from a user agent or an address.
//!
//! Each worker remembers what it found: a batch pays one look-up per row, and one entry per
//! distinct word in the dictionaries that come out.

mod addresses;
mod geoip;
mod memo;
mod places;
mod user_agent;
mod words;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use contract::transform::{Means, Output, Port, Resource, Step, Transform};
use contract::{Error, Result, Section};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::columns::{
    as_text, assemble, end_of_user_columns, fields, input_schema, text_column, unique,
};
use crate::steps::{Site, TransformSpec};
use geoip::{Databases, GeoIpConfig};

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "enrich",
    summary: "Adds what follows from a user agent (device, system, browser, bot) or from an \
              address (country, city).",
    config_schema: || schema_for!(Config),
    example: "enriched: { type: enrich, input: parsed, user_agent: user_agent, \
              geoip: { field: ip, database: GeoLite2-City.mmdb } }\n",
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// A column of user agents. Adds `ua_device` (`mobile`, `tablet`, `pc` or null), `ua_os` and
    /// `ua_browser` (family and version, `Other` where unknown) and `ua_bot`: no person's, whether
    /// it says so (a crawler) or not (a browser without a screen, a health check, `curl`, a
    /// scanner). Only the first 2,048 bytes of a user agent are looked at.
    user_agent: Option<String>,

    /// Looks addresses up. Adds `country` and `city`, null where unknown.
    geoip: Option<GeoIpConfig>,
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: Config = site.section.read()?;
    let input = input_schema(site)?;
    let mut parts = Vec::new();
    if let Some(name) = &config.user_agent {
        let place = |error| placed(error, site.section, &["user_agent"]);
        parts.push(Part::UserAgent { column: text_column(&input, name).map_err(place)? });
    }
    if let Some(geoip) = &config.geoip {
        let place = |error| placed(error, site.section, &["geoip", "field"]);
        let column = text_column(&input, &geoip.field).map_err(place)?;
        let place = |error| placed(error, site.section, &["geoip", "database"]);
        let databases = Arc::new(Databases::open(geoip).map_err(place)?);
        parts.push(Part::GeoIp { column, databases });
    }
    if parts.is_empty() {
        return Err(Error::config("expected `user_agent` or `geoip`"));
    }
    let end = end_of_user_columns(&input);
    let mut columns = fields(&input);
    columns.splice(end..end, parts.iter().flat_map(Part::fields));
    let schema = unique(columns).map_err(|error| {
        error.hint("leave that column out with a `sql` step: `SELECT * EXCEPT (country) …`")
    })?;
    Ok(Arc::new(Enrich { ports: vec![Port { name: "".into(), schema }], parts, end }))
}

/// Adds the place of a setting, as deep as the file has it.
fn placed(error: Error, section: &Section, path: &[&str]) -> Error {
    let mut closest = section;
    for key in path {
        closest = closest.get(key).unwrap_or(closest);
    }
    error.at(closest.place()).field(path.join("."))
}

/// One thing that a step adds.
enum Part {
    UserAgent { column: usize },
    GeoIp { column: usize, databases: Arc<Databases> },
}

impl Part {
    fn fields(&self) -> Vec<Field> {
        let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        match self {
            Self::UserAgent { .. } => vec![
                Field::new("ua_device", text(), true),
                Field::new("ua_os", text(), true),
                Field::new("ua_browser", text(), true),
                Field::new("ua_bot", DataType::Boolean, true),
            ],
            Self::GeoIp { .. } => {
                vec![Field::new("country", text(), true), Field::new("city", text(), true)]
            }
        }
    }

    fn worker(&self) -> PartWorker {
        match self {
            Self::UserAgent { column } => PartWorker::UserAgent(*column, user_agent::Worker::new()),
            Self::GeoIp { column, databases } => {
                PartWorker::GeoIp(*column, places::Worker::new(databases.clone()))
            }
        }
    }
}

enum PartWorker {
    UserAgent(usize, user_agent::Worker),
    GeoIp(usize, places::Worker),
}

impl PartWorker {
    fn columns(&mut self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        match self {
            Self::UserAgent(column, worker) => worker.columns(&as_text(batch.column(*column))?),
            Self::GeoIp(column, worker) => worker.columns(&as_text(batch.column(*column))?),
        }
    }
}

struct Enrich {
    ports: Vec<Port>,
    parts: Vec<Part>,
    /// Where the new columns go.
    end: usize,
}

impl Step for Enrich {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn resources(&self) -> Vec<Resource> {
        let databases = self.parts.iter().filter_map(|part| match part {
            Part::GeoIp { databases, .. } => Some(databases.resources()),
            Part::UserAgent { .. } => None,
        });
        databases.flatten().collect()
    }

    fn passes_on(&self, column: &str) -> bool {
        let mut added = self.parts.iter().flat_map(Part::fields);
        added.all(|field| field.name() != column)
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Worker {
            schema: self.ports[0].schema.clone(),
            parts: self.parts.iter().map(Part::worker).collect(),
            end: self.end,
        }))
    }
}

struct Worker {
    schema: SchemaRef,
    parts: Vec<PartWorker>,
    end: usize,
}

impl Transform for Worker {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let mut added = Vec::new();
        for part in &mut self.parts {
            added.extend(part.columns(batch)?);
        }
        let mut columns = batch.columns().to_vec();
        columns.splice(self.end..self.end, added);
        out.push(assemble(&self.schema, columns)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
