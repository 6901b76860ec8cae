//! `dedupe`: drops rows whose key stood before, within a bounded horizon.
//!
//! The horizon is a number of keys and, where asked for, a span of event time; the wall clock has
//! no part in it. The state is the keys' hashes in the order in which they came, and a restored
//! worker gives the same answers as one that never stopped.

mod key;
mod memory;

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use contract::quantity::Period;
use contract::transform::{EpochStart, Means, Output, Port, Step, Transform};
use contract::{Error, Result, Section};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::columns::{column, input_schema};
use crate::expressions::{Expressions, evaluate, keep, run_or_reject};
use crate::planner::{BATCH_BYTES_MAX, explain, expression, made_of_batch_max};
use crate::steps::{Site, TransformSpec};
use key::{can_be_key, hash_keys};
use memory::Memory;

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "dedupe",
    summary: "Drops rows whose key stood before, within a bounded horizon.",
    config_schema: || schema_for!(Config),
    example: "once: { type: dedupe, input: parsed, key: [ip, ts, endpoint], keys_max: 1000000 }\n",
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Columns or SQL expressions that together say which rows are the same. Nulls are equal.
    key: Vec<String>,

    /// How many keys are remembered; the oldest is forgotten first. A million keys take about
    /// 70 MB of memory and 24 MB in each checkpoint.
    #[serde(default = "keys_max_default")]
    keys_max: usize,

    /// How long a key is remembered, in the time of the column `time`: a key is forgotten once
    /// the greatest time seen lies further ahead of what it was when the key came. Without it
    /// only `keys_max` counts.
    within: Option<Period>,

    /// The column of points in time that `within` is measured in.
    time: Option<String>,
}

fn keys_max_default() -> usize {
    1_000_000
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: Config = site.section.read()?;
    let schema = input_schema(site)?;
    if config.keys_max == 0 {
        return Err(Error::config("expected at least 1").field("keys_max"));
    }
    let within = span(&config, &schema, site.section)?;
    let horizon = Horizon { keys_max: config.keys_max, within };
    let keys = Arc::new(plan_keys(&config, &schema, site.section)?);
    Ok(Arc::new(Dedupe { ports: vec![Port { name: "".into(), schema }], keys, horizon }))
}

fn plan_keys(config: &Config, schema: &SchemaRef, section: &Section) -> Result<Expressions> {
    if config.key.is_empty() {
        return Err(placed(Error::config("expected at least one column"), section, "key"));
    }
    let place = |error| placed(error, section, "key");
    let columns = Arc::new(DFSchema::try_from(schema.clone()).map_err(explain)?);
    let mut exprs = Vec::new();
    for text in &config.key {
        let expr = match schema.index_of(text) {
            Ok(index) => Expr::from(columns.qualified_field(index)),
            Err(_) => expression(text, &columns).map_err(place)?,
        };
        let data_type = expr.get_type(columns.as_ref()).map_err(explain)?;
        if !can_be_key(&data_type) {
            let message = format!("{text:?} is {data_type}, which cannot be part of a key");
            return Err(place(Error::config(message).hint("cast it: `CAST(x AS TEXT)`")));
        }
        exprs.push(expr);
    }
    let planned = Expressions::new(exprs, columns);
    planned.compile(0, BATCH_BYTES_MAX).map_err(place)?;
    Ok(planned)
}

fn span(config: &Config, schema: &SchemaRef, section: &Section) -> Result<Option<Span>> {
    let (within, time) = match (config.within, &config.time) {
        (None, None) => return Ok(None),
        (Some(within), Some(time)) => (within, time),
        _ => {
            return Err(
                Error::config("`within` and `time` belong together").hint("`within: 1h, time: ts`")
            );
        }
    };
    let place = |error| placed(error, section, "time");
    let index = column(schema, time).map_err(place)?;
    let found = schema.field(index).data_type();
    if !matches!(found, DataType::Timestamp(..)) {
        let message = format!("column {time:?} is {found}, expected a point in time");
        return Err(place(Error::config(message)));
    }
    let micros = i64::try_from(within.0.as_micros()).unwrap_or(i64::MAX);
    Ok(Some(Span { column: index, micros }))
}

fn placed(error: Error, section: &Section, setting: &str) -> Error {
    let place = section.get(setting).unwrap_or(section).place();
    error.at(place).field(setting)
}

#[derive(Clone, Copy)]
struct Horizon {
    keys_max: usize,
    within: Option<Span>,
}

#[derive(Clone, Copy)]
struct Span {
    column: usize,
    micros: i64,
}

struct Dedupe {
    ports: Vec<Port>,
    keys: Arc<Expressions>,
    horizon: Horizon,
}

impl Step for Dedupe {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn stateful(&self) -> bool {
        true
    }

    fn passes_on(&self, _column: &str) -> bool {
        true
    }

    fn build(&self, means: Means) -> Result<Box<dyn Transform>> {
        let memory = Memory::new(self.horizon.keys_max);
        let (plan, horizon, bytes_max) =
            (self.keys.clone(), self.horizon, made_of_batch_max(means));
        let compiled = plan.compile(0, bytes_max)?;
        Ok(Box::new(Worker { plan, compiled, horizon, memory, bytes_max }))
    }
}

struct Worker {
    plan: Arc<Expressions>,
    compiled: Vec<Arc<dyn PhysicalExpr>>,
    horizon: Horizon,
    memory: Memory,
    /// What a function may make of a batch.
    bytes_max: u64,
}

impl Transform for Worker {
    fn start_epoch(&mut self, start: EpochStart) -> Result<()> {
        if self.plan.depends_on_now() {
            self.compiled = self.plan.compile(start.now_us, self.bytes_max)?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let compiled = &self.compiled;
        let parts: Vec<(_, Vec<_>)> = run_or_reject(batch, out, &mut |part| {
            compiled.iter().map(|expr| evaluate(expr, part)).collect()
        })?;
        for (part, keys) in parts {
            let fresh = self.take_in(&part, hash_keys(&keys, part.num_rows())?)?;
            let mask = BooleanArray::from(fresh);
            out.deduplicated += (part.num_rows() - mask.true_count()) as u64;
            let kept = keep(&part, &mask)
                .map_err(|error| Error::bug("could not leave out repeated rows").because(error))?;
            out.push(kept);
        }
        out.state_bytes = self.memory.bytes();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Bytes>> {
        Ok(Some(self.memory.write()))
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let restored = Memory::read(state, self.horizon.keys_max);
        self.memory =
            restored.ok_or_else(|| Error::bug("the state of a dedupe step is not ours"))?;
        Ok(())
    }
}

impl Worker {
    /// Which rows are new. Event time moves on row by row, so that it does not matter how rows
    /// share batches.
    fn take_in(&mut self, part: &RecordBatch, hashes: Vec<u128>) -> Result<Vec<bool>> {
        let Some(span) = self.horizon.within else {
            return Ok(hashes.into_iter().map(|hash| self.memory.take_in(hash)).collect());
        };
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = cast(part.column(span.column), &micros)
            .map_err(|error| Error::bug("a time column holds no time").because(error))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let mut fresh = Vec::with_capacity(hashes.len());
        for (row, hash) in hashes.into_iter().enumerate() {
            if times.is_valid(row) {
                self.memory.move_to(times.value(row), span.micros);
            }
            fresh.push(self.memory.take_in(hash));
        }
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests;
