//! `sql`: projections and filters with any expression, one output per query.
//!
//! A record is taken or refused as a whole: if one of several queries cannot compute a row, no
//! output gets it. The origin of a row comes along whether a query names it or not.

mod query;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use contract::record::{ordinals, positions};
use contract::transform::{EpochStart, Means, Output, Port, Step, Transform};
use contract::{Error, Result, Section};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::expressions::run_or_reject;
use crate::planner::{self, BATCH_BYTES_MAX, made_of_batch_max};
use crate::steps::{Site, TransformSpec, check_port_name};
use query::{Program, Query};

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "sql",
    summary: "Chooses rows and computes columns with SQL: projections and filters, any expression.",
    config_schema: || schema_for!(Config),
    example: "errors: { type: sql, \
              query: \"SELECT ts, ip, endpoint FROM parsed WHERE status >= 500\" }\n",
};

/// Either `query` or `queries`. What a query reads stands after its `FROM`; there is no `input`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// One query: `SELECT … FROM step WHERE …`. Its rows are the output of the step itself. Beside
    /// SQL's own functions there are `parse_url(url, part)`, `parse_query(url, name)`,
    /// `redact(text[, what])`, `hash(value, …)`, and for addresses `ip_in(ip, network)`,
    /// `ip_mask(ip, bits)` and `ip_only(text)`, which takes off ports, zones and brackets. An
    /// address may stand with them everywhere, and `::ffff:192.0.2.1` is `192.0.2.1`.
    query: Option<String>,

    /// Several queries over the same input, by name. The rows of the query `errors` of the step
    /// `split` are read as `split.errors`. A row may go to several outputs.
    queries: Option<BTreeMap<String, String>>,
}

/// A query as it stands in the file.
struct Named<'a> {
    port: &'a str,
    text: &'a str,
    section: &'a Section,
}

impl Named<'_> {
    fn place(&self, error: Error) -> Error {
        let field = match self.port {
            "" => "query".to_owned(),
            port => format!("queries.{port}"),
        };
        error.at(self.section.place()).field(field)
    }
}

/// The tables after `FROM`.
pub(crate) fn tables(section: &Section) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for query in queries(section)? {
        let found = planner::tables(query.text).map_err(|error| query.place(error))?;
        for name in found {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    if site.inputs.len() > 1 {
        let names: Vec<_> = site.inputs.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("the queries read several inputs: {}", names.join(", "));
        return Err(Error::config(message).hint("write one step per input"));
    }
    let mut ports = Vec::new();
    let mut plans = Vec::new();
    for query in queries(site.section)? {
        if !query.port.is_empty() {
            check_port_name(query.port).map_err(|error| query.place(error))?;
        }
        let plan = Query::plan(query.text, site.inputs).map_err(|error| query.place(error))?;
        // A constant that cannot be computed is found now rather than in the first epoch.
        plan.compile(0, BATCH_BYTES_MAX).map_err(|error| query.place(error))?;
        ports.push(Port { name: query.port.into(), schema: plan.schema() });
        plans.push(plan);
    }
    Ok(Arc::new(Sql { ports, plans: plans.into() }))
}

fn queries(section: &Section) -> Result<Vec<Named<'_>>> {
    let config: Config = section.read()?;
    let found = match (&config.query, &config.queries) {
        (Some(_), None) => section.get("query").map(|query| vec![("", query)]),
        (None, Some(_)) => section.get("queries").map(|queries| {
            queries.entries().iter().map(|entry| (&*entry.key, &entry.value)).collect()
        }),
        _ => None,
    };
    let found = found.unwrap_or_default();
    if found.is_empty() {
        return Err(Error::config("expected either `query` or `queries`")
            .hint("`query: \"SELECT … FROM input WHERE …\"`"));
    }
    let named = found
        .into_iter()
        .filter_map(|(port, section)| Some(Named { port, text: section.as_text()?, section }));
    Ok(named.collect())
}

struct Sql {
    ports: Vec<Port>,
    plans: Arc<[Query]>,
}

impl Step for Sql {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn build(&self, means: Means) -> Result<Box<dyn Transform>> {
        let bytes_max = made_of_batch_max(means);
        let programs = self.plans.iter().map(|plan| plan.compile(0, bytes_max));
        let programs = programs.collect::<Result<_>>()?;
        Ok(Box::new(Worker { plans: self.plans.clone(), programs, bytes_max }))
    }
}

struct Worker {
    plans: Arc<[Query]>,
    /// One for each plan and port.
    programs: Vec<Program>,
    /// What a function may make of a batch.
    bytes_max: u64,
}

impl Transform for Worker {
    fn start_epoch(&mut self, start: EpochStart) -> Result<()> {
        for (plan, program) in self.plans.iter().zip(&mut self.programs) {
            if plan.depends_on_now() {
                *program = plan.compile(start.now_us, self.bytes_max)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let programs = &self.programs;
        let parts: Vec<(_, Vec<_>)> = run_or_reject(batch, out, &mut |part| {
            programs.iter().map(|program| program.run(part)).collect()
        })?;
        for (part, results) in parts {
            count(&part, &results, out)?;
            for (port, rows) in results.into_iter().enumerate() {
                out.push_to(port, rows);
            }
        }
        Ok(())
    }
}

/// Books the rows that went nowhere as filtered and the second copies as expanded.
fn count(part: &RecordBatch, results: &[RecordBatch], out: &mut Output) -> Result<()> {
    let rows = part.num_rows();
    let sent: usize = results.iter().map(RecordBatch::num_rows).sum();
    let taken = match results {
        [one] => one.num_rows(),
        several => rows_taken(part, several)?,
    };
    out.filtered += (rows - taken) as u64;
    out.expanded += (sent - taken) as u64;
    Ok(())
}

/// How many rows stand in at least one result. Results keep the order of the rows, so one walk
/// over both finds them by their origin.
fn rows_taken(part: &RecordBatch, results: &[RecordBatch]) -> Result<usize> {
    let origins = Origins::of(part)?;
    let mut taken = vec![false; part.num_rows()];
    for result in results {
        let found = Origins::of(result)?;
        let mut next = 0;
        for (row, taken) in taken.iter_mut().enumerate() {
            if next < result.num_rows() && origins.at(row) == found.at(next) {
                *taken = true;
                next += 1;
            }
        }
    }
    Ok(taken.iter().filter(|taken| **taken).count())
}

struct Origins<'a> {
    positions: &'a Int64Array,
    ordinals: Option<&'a Int64Array>,
}

impl<'a> Origins<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self { positions: positions(batch)?, ordinals: ordinals(batch) })
    }

    fn at(&self, row: usize) -> (i64, i64) {
        (self.positions.value(row), self.ordinals.map_or(0, |ordinals| ordinals.value(row)))
    }
}

#[cfg(test)]
mod tests;
