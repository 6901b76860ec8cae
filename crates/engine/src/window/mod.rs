//! `window`: rows that belong together become one row of counts, sums and the like.
//!
//! A window is what one epoch holds: at its end each group becomes a row, and nothing is kept, so
//! that rows of several epochs add up, whatever came late. Or it is a stretch of event time, which
//! stays open until the watermark has passed its end: then each group becomes a row, once, and what
//! comes later is late. A result is a record of its own.

mod aggregates;
mod calendar;
mod groups;
mod open;
mod settings;
#[cfg(test)]
mod tests;
mod times;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use contract::error::Context;
use contract::record::{is_origin, position_field};
use contract::sink::Room;
use contract::transform::{
    Close, EpochStart, EventTime, Held, Means, Output, Port, Step, Transform,
};
use contract::{Error, Result, Section};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::Result as EvalResult;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use schemars::schema_for;

use crate::columns::{input_schema, unique};
use crate::expressions::{Expressions, evaluate, run_or_reject};
use crate::planner::{BATCH_BYTES_MAX, explain, made_of_batch_max, named_expression};
use crate::steps::{Site, TransformSpec};
use aggregates::Aggregate;
use groups::{Evaluated, Groups};
use open::Open;
use settings::Config;
use times::{Span, Windows};

/// The columns that say which window a row is of.
const BOUNDS: [&str; 2] = ["window_start", "window_end"];
/// The name of the port of late rows, and its number.
const LATE: &str = "late";
const LATE_PORT: usize = 1;

/// What the groups of an epoch may take of the memory for the state of a step, in percent: rows on
/// their way still come.
const GROUPS_PERCENT: u64 = 40;
/// The same of windows that are open from one epoch to the next.
const OPEN_PERCENT: u64 = 40;

pub(crate) const SPEC: TransformSpec = TransformSpec {
    name: "window",
    summary: "Makes one row of many: counts, sums and the like, by group and time.",
    config_schema: || schema_for!(Config),
    example: "hits: { type: window, input: parsed, span: epoch, group_by: [endpoint], \
              aggregate: { hits: count(*), bytes: sum(bytes) } }\n",
};

pub(crate) fn make(site: &Site<'_>) -> Result<Arc<dyn Step>> {
    let config: Config = site.section.read()?;
    let input = input_schema(site)?;
    let (times, time) = settings::times(&config, &input, site.section)?;
    let columns = Arc::new(DFSchema::try_from(input.clone()).map_err(explain)?);
    let groups = plan_groups(&config, &input, &columns)
        .map_err(|error| placed(error, site.section, "group_by"))?;
    let aggregates = plan_aggregates(&config, &columns, site.section)?;
    let mut fields: Vec<Field> = groups.iter().map(|group| group.field.clone()).collect();
    let mut partial = fields.clone();
    if times.is_some() {
        fields.extend(BOUNDS.map(|name| Field::new(name, utc_micros(), false)));
    }
    fields.extend(aggregates.iter().map(|aggregate| aggregate.field.clone()));
    for field in &fields {
        if is_origin(field.name()) {
            let message = format!("column {:?} is the origin of a row", field.name());
            return Err(Error::config(message).hint("give the column another name"));
        }
    }
    fields.push(position_field());
    let schema = unique(fields)?;
    let states = aggregates.iter().flat_map(|aggregate| &aggregate.state).enumerate();
    partial.extend(states.map(|(number, field)| {
        Field::new(format!("state_{number}"), field.data_type().clone(), true)
    }));
    partial.push(Field::new("rows", DataType::Int64, false));
    let plan = Plan {
        groups: Expressions::new(groups.iter().map(|group| group.expr.clone()).collect(), columns),
        group_fields: groups.into_iter().map(|group| group.field).collect(),
        aggregates,
        schema: schema.clone(),
        partial: Arc::new(Schema::new(partial)),
        times,
        signature: String::new(),
    };
    let plan = Plan { signature: plan.sign(&config), ..plan };
    plan.compile(0, BATCH_BYTES_MAX)?;
    let mut ports = vec![Port { name: "".into(), schema }];
    if time.is_some() {
        ports.push(Port { name: LATE.into(), schema: input });
    }
    Ok(Arc::new(Window { ports, plan: Arc::new(plan), time }))
}

fn utc_micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
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
    /// Those in which groups are kept before their window closes.
    partial: SchemaRef,
    /// Which rows belong to which window; none where all of an epoch are one.
    times: Option<Windows>,
    /// What tells the state from that of other settings.
    signature: String,
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

    /// What must be the same for a state to go on.
    fn sign(&self, config: &Config) -> String {
        let span = match self.times.as_ref().map(|windows| &windows.span) {
            None => "0 µs".to_owned(),
            Some(Span::Even { size_us, every_us }) if size_us == every_us => {
                format!("{size_us} µs")
            }
            Some(Span::Even { size_us, every_us }) => format!("{size_us} µs each {every_us} µs"),
            Some(Span::Calendar(calendar)) => format!("a {:?} in {}", calendar.unit, calendar.zone),
        };
        let mut lines = vec![format!("{span} of {}", config.column().unwrap_or_default())];
        let groups = config.group_by.iter().zip(&self.group_fields);
        lines.extend(groups.map(|(text, field)| format!("by {text}: {}", field.data_type())));
        let aggregates = self.aggregates.iter();
        lines.extend(aggregates.map(|one| format!("{}: {}", one.field.name(), one.text)));
        lines.join("\n")
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
    time: Option<EventTime>,
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

    fn key_columns(&self) -> usize {
        self.plan.group_fields.len() + self.plan.times.as_ref().map_or(0, |_| BOUNDS.len())
    }

    fn event_time(&self) -> Option<&EventTime> {
        self.time.as_ref()
    }

    fn late_port(&self) -> Option<usize> {
        self.time.as_ref().map(|_| LATE_PORT)
    }

    fn build(&self, means: Means) -> Result<Box<dyn Transform>> {
        let plan = self.plan.clone();
        let bytes_max = made_of_batch_max(means);
        let compiled = plan.compile(0, bytes_max)?;
        let groups = Groups::new(&plan.group_fields, &plan.aggregates)?;
        let part = |percent| means.state_bytes / 100 * percent;
        Ok(Box::new(Worker {
            plan,
            compiled,
            groups,
            open: Open::default(),
            watermark_us: None,
            now_us: 0,
            bytes_max,
            groups_max: part(GROUPS_PERCENT),
            open_max: part(OPEN_PERCENT),
            memory_limit: means.memory_limit,
        }))
    }
}

struct Worker {
    plan: Arc<Plan>,
    compiled: Compiled,
    /// The groups of the epoch, where it is the window.
    groups: Groups,
    /// The windows of event time.
    open: Open,
    /// How far event time had come when the epoch began.
    watermark_us: Option<i64>,
    now_us: i64,
    /// What a function may make of a batch.
    bytes_max: u64,
    /// Bytes of groups from which on the epoch is to end.
    groups_max: u64,
    /// Bytes that windows may take which are open from one epoch to the next.
    open_max: u64,
    /// The memory limit that people set.
    memory_limit: u64,
}

impl Worker {
    /// Divides rows among the windows of event time.
    fn add_by_time(
        &mut self,
        (batch, evaluated): (&RecordBatch, &Evaluated),
        windows: &Windows,
        out: &mut Output,
    ) -> Result<()> {
        let plan = self.plan.clone();
        let open = self.open.next();
        let divided = windows.divide(batch, (open, self.now_us))?;
        out.rejects.extend(divided.refused);
        for (pane, rows) in divided.panes {
            let groups = self.open.fresh(pane, &plan)?;
            let count = rows.len() as u64;
            out.aggregated += count;
            let open = open.unwrap_or(i64::MIN);
            out.entered += count * windows.open_of(pane, open);
            out.missed += count * windows.missed_of(pane, open);
            match rows.len() == batch.num_rows() {
                true => groups.add(&plan, evaluated, rows.len())?,
                false => {
                    let count = rows.len();
                    groups.add(&plan, &evaluated.taken(&UInt32Array::from(rows))?, count)?;
                }
            }
        }
        if !divided.late.is_empty() {
            let late = take_record_batch(batch, &UInt32Array::from(divided.late));
            out.push_to(LATE_PORT, late.bug("late rows could not be taken out")?);
        }
        Ok(())
    }

    fn close_by_time(&mut self, windows: &Windows, close: Close, out: &mut Output) -> Result<()> {
        let plan = self.plan.clone();
        self.open.settle(&plan)?;
        let until = match close {
            Close::Until(watermark_us) => watermark_us,
            Close::Past => self.open.last_by(windows, self.now_us),
            Close::All => self.open.held(windows).last_us,
        };
        self.watermark_us = self.watermark_us.max(until);
        if let Some(until) = until {
            self.close_until(windows, until, out)?;
        }
        match self.open.bytes() > self.open_max {
            true => Err(self.too_many_open()),
            false => Ok(()),
        }
    }

    fn close_until(&mut self, windows: &Windows, until: i64, out: &mut Output) -> Result<()> {
        let plan = self.plan.clone();
        let mut first = 0;
        while let Some((start, mut groups)) = self.open.take_due((&plan, windows), until)? {
            let bounds = [start, windows.span.end(start)]
                .map(|us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
            let rows = groups.len() as i64;
            groups.close(&plan, (&bounds, first), out)?;
            first += rows;
        }
        self.open.pass(windows, windows.first_open(until));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.groups.bytes() + self.open.bytes() + self.open.fresh_bytes()
    }

    fn too_many_open(&self) -> Error {
        let (bytes, most) = (self.open.bytes(), self.open_max);
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        // What windows may take grows with the limit.
        let limit = u128::from(bytes) * u128::from(self.memory_limit) / u128::from(most.max(1));
        let limit = mib(u64::try_from(limit).unwrap_or(u64::MAX)) + 1;
        Error::config(format!(
            "the open windows of a step take {} MiB, and may take {} MiB",
            mib(bytes),
            most / (1 << 20)
        ))
        .hint(format!(
            "raise `memory.limit` to {limit}MiB at least, or make windows shorter or groups fewer"
        ))
    }
}

impl Transform for Worker {
    fn start_epoch(&mut self, start: EpochStart) -> Result<()> {
        self.now_us = start.now_us;
        if self.plan.depends_on_now() {
            self.compiled = self.plan.compile(start.now_us, self.bytes_max)?;
        }
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let compiled = &self.compiled;
        let parts = run_or_reject(batch, out, &mut |part| compiled.evaluate(part))?;
        for (part, evaluated) in parts {
            let plan = self.plan.clone();
            match &plan.times {
                Some(windows) => self.add_by_time((&part, &evaluated), windows, out)?,
                None => {
                    self.groups.add(&plan, &evaluated, part.num_rows())?;
                    out.aggregated += part.num_rows() as u64;
                    out.entered += part.num_rows() as u64;
                }
            }
        }
        out.state_bytes = self.bytes();
        Ok(())
    }

    fn close(&mut self, close: Close, out: &mut Output) -> Result<()> {
        let plan = self.plan.clone();
        match &plan.times {
            Some(windows) => self.close_by_time(windows, close, out)?,
            None => self.groups.close(&plan, (&[], 0), out)?,
        }
        out.state_bytes = self.bytes();
        Ok(())
    }

    fn held(&self) -> Held {
        match &self.plan.times {
            Some(windows) => Held { watermark_us: self.watermark_us, ..self.open.held(windows) },
            None => Held { rows: self.groups.rows(), ..Held::default() },
        }
    }

    fn begin_at(&mut self, watermark_us: Option<i64>) {
        self.watermark_us = watermark_us;
        if let Some(windows) = &self.plan.times {
            self.open.begin_at(windows, watermark_us);
        }
    }

    fn snapshot(&mut self) -> Result<Option<Bytes>> {
        match self.plan.times {
            Some(_) => self.open.write(&self.plan, &self.plan.signature).map(Some),
            None => Ok(None),
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.open = Open::read(state, &self.plan.signature)?;
        Ok(())
    }

    fn room(&self) -> Room {
        match self.groups.bytes() + self.open.fresh_bytes() < self.groups_max {
            true => Room::Left,
            false => Room::Full,
        }
    }
}
