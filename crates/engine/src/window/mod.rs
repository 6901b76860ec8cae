//! `window`: rows that belong together become one row of counts, sums and the like.
//!
//! What a window holds are the rows of one epoch: at its end each group becomes a row, and nothing
//! is kept. So the rows of several epochs add up, whatever came late, and the same group may come
//! again in the next epoch. A result is a record of its own; which rows went into it is known from
//! the epoch.

mod aggregates;
mod groups;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use contract::record::{is_origin, position_field};
use contract::sink::Room;
use contract::transform::{EpochStart, Means, Output, Port, Step, Transform};
use contract::{Error, Result, Section};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result as EvalResult;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::columns::{input_schema, unique};
use crate::expressions::{Expressions, evaluate, run_or_reject};
use crate::planner::{BATCH_BYTES_MAX, explain, made_of_batch_max, named_expression};
use crate::steps::{Site, TransformSpec};
use aggregates::Aggregate;
use groups::{Evaluated, Groups};

/// What the groups of a step may take of the memory for its state: rows on their way still come.
const GROUPS_PERCENT: u64 = 40;

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "window",
    summary: "Makes one row of many: counts, sums and the like, by group.",
    config_schema: || schema_for!(Config),
    example: "hits: { type: window, input: parsed, span: epoch, group_by: [endpoint], \
              aggregate: { hits: count(*), bytes: sum(bytes) } }\n",
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Which rows belong together. `epoch`: those of one epoch. Each group then gives a row for
    /// each epoch that has rows of it, and the rows of several epochs add up.
    span: Span,

    /// Columns or SQL expressions; rows that agree in all of them are one group (nulls are equal).
    /// An expression needs a name: `date_trunc('minute', ts) AS minute`. Without any, all rows are
    /// one group.
    #[serde(default)]
    group_by: Vec<String>,

    /// What is made of the rows of a group, by the name of its column: one call of `count`, `sum`,
    /// `min`, `max`, `avg`, `approx_distinct`, `bool_and` or `bool_or`, with `DISTINCT` in `count`,
    /// and `FILTER (WHERE …)`.
    aggregate: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Span {
    Epoch,
}

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: Config = site.section.read()?;
    let Span::Epoch = config.span;
    let input = input_schema(site)?;
    let columns = Arc::new(DFSchema::try_from(input.clone()).map_err(explain)?);
    let groups = plan_groups(&config, &input, &columns)
        .map_err(|error| placed(error, site.section, "group_by"))?;
    let aggregates = plan_aggregates(&config, &columns, site.section)?;
    let mut fields: Vec<Field> = groups.iter().map(|group| group.field.clone()).collect();
    fields.extend(aggregates.iter().map(|aggregate| aggregate.field.clone()));
    for field in &fields {
        if is_origin(field.name()) {
            let message = format!("column {:?} is the origin of a row", field.name());
            return Err(Error::config(message).hint("give the column another name"));
        }
    }
    fields.push(position_field());
    let schema = unique(fields)?;
    let plan = Plan {
        groups: Expressions::new(groups.iter().map(|group| group.expr.clone()).collect(), columns),
        group_fields: groups.into_iter().map(|group| group.field).collect(),
        aggregates,
        schema: schema.clone(),
    };
    plan.compile(0, BATCH_BYTES_MAX)?;
    let ports = vec![Port { name: "".into(), schema }];
    Ok(Arc::new(Window { ports, plan: Arc::new(plan) }))
}

/// An expression by which rows are told apart.
struct Group {
    expr: Expr,
    field: Field,
}

fn plan_groups(config: &Config, input: &SchemaRef, columns: &DFSchemaRef) -> Result<Vec<Group>> {
    let planned = config.group_by.iter().map(|text| {
        let (name, expr) = match input.index_of(text) {
            Ok(index) => (text.clone(), Expr::from(columns.qualified_field(index))),
            Err(_) => {
                let (name, expr) = named_expression(text, columns)?;
                let name = name.ok_or_else(|| {
                    Error::config(format!("{text:?} has no name"))
                        .hint(format!("name the column that it makes: `{text} AS name`"))
                })?;
                (name, expr)
            }
        };
        let data_type = plain(&expr.get_type(columns.as_ref()).map_err(explain)?);
        if data_type.is_nested() {
            let message = format!("{text:?} is {data_type}, by which rows cannot be grouped");
            return Err(Error::config(message).hint("group by the values in it"));
        }
        let expr = expr.cast_to(&data_type, columns.as_ref()).map_err(explain)?;
        let nullable = expr.nullable(columns.as_ref()).map_err(explain)?;
        Ok(Group { expr, field: Field::new(name, data_type, nullable) })
    });
    planned.collect()
}

/// The type of the values of a dictionary: results are few, and each has a group of its own.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}

fn plan_aggregates(
    config: &Config,
    columns: &DFSchemaRef,
    section: &Section,
) -> Result<Vec<Aggregate>> {
    if config.aggregate.is_empty() {
        let error = Error::config("expected at least one column").hint("`hits: count(*)`");
        return Err(placed(error, section, "aggregate"));
    }
    let entries = section.get("aggregate").map(Section::entries).unwrap_or_default();
    let planned = entries.iter().map(|entry| {
        let text = entry.value.as_text().unwrap_or_default();
        Aggregate::plan(&entry.key, text, columns).map_err(|error| {
            error.at(entry.value.place()).field(format!("aggregate.{}", entry.key))
        })
    });
    planned.collect()
}

fn placed(error: Error, section: &Section, setting: &str) -> Error {
    let place = section.get(setting).unwrap_or(section).place();
    error.at(place).field(setting)
}

/// What a window makes of rows.
struct Plan {
    groups: Expressions,
    group_fields: Vec<Field>,
    aggregates: Vec<Aggregate>,
    /// The columns that come out.
    schema: SchemaRef,
}

impl Plan {
    fn compile(&self, now_us: i64, bytes_max: u64) -> Result<Compiled> {
        let aggregates = self.aggregates.iter();
        let aggregates = aggregates.map(|aggregate| aggregate.read.compile(now_us, bytes_max));
        Ok(Compiled {
            groups: self.groups.compile(now_us, bytes_max)?,
            aggregates: aggregates.collect::<Result<_>>()?,
        })
    }

    fn depends_on_now(&self) -> bool {
        let mut aggregates = self.aggregates.iter();
        self.groups.depends_on_now() || aggregates.any(|one| one.read.depends_on_now())
    }
}

/// The expressions of a plan, for an epoch.
struct Compiled {
    groups: Vec<Arc<dyn PhysicalExpr>>,
    /// By aggregate: its arguments, then its condition, if it has one.
    aggregates: Vec<Vec<Arc<dyn PhysicalExpr>>>,
}

impl Compiled {
    fn evaluate(&self, batch: &RecordBatch) -> EvalResult<Evaluated> {
        let all = |exprs: &[Arc<dyn PhysicalExpr>]| -> EvalResult<Vec<ArrayRef>> {
            exprs.iter().map(|expr| evaluate(expr, batch)).collect()
        };
        let arguments = self.aggregates.iter().map(|exprs| all(exprs));
        Ok(Evaluated {
            groups: all(&self.groups)?,
            arguments: arguments.collect::<EvalResult<_>>()?,
        })
    }
}

struct Window {
    ports: Vec<Port>,
    plan: Arc<Plan>,
}

impl Step for Window {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn stateful(&self) -> bool {
        true
    }

    fn makes_records(&self) -> bool {
        true
    }

    fn build(&self, means: Means) -> Result<Box<dyn Transform>> {
        let plan = self.plan.clone();
        let bytes_max = made_of_batch_max(means);
        let compiled = plan.compile(0, bytes_max)?;
        let groups = Groups::new(&plan.group_fields, &plan.aggregates)?;
        let groups_max = means.state_bytes / 100 * GROUPS_PERCENT;
        Ok(Box::new(Worker { plan, compiled, groups, bytes_max, groups_max }))
    }
}

struct Worker {
    plan: Arc<Plan>,
    compiled: Compiled,
    groups: Groups,
    /// What a function may make of a batch.
    bytes_max: u64,
    /// Bytes of groups from which on the epoch is to end.
    groups_max: u64,
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
        let parts = run_or_reject(batch, out, &mut |part| compiled.evaluate(part))?;
        for (part, evaluated) in parts {
            self.groups.add(&self.plan, &evaluated, part.num_rows())?;
            out.aggregated += part.num_rows() as u64;
        }
        out.state_bytes = self.groups.bytes();
        Ok(())
    }

    fn close(&mut self, out: &mut Output) -> Result<()> {
        self.groups.close(&self.plan, out)?;
        out.state_bytes = self.groups.bytes();
        Ok(())
    }

    fn room(&self) -> Room {
        match self.groups.bytes() < self.groups_max {
            true => Room::Left,
            false => Room::Full,
        }
    }
}
