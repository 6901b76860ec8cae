//! Sends the rows of a test through the steps of a pipeline, in memory and in one thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::{ReaderBuilder, WriterBuilder, writer::LineDelimited};
use contract::error::Context;
use contract::record::{LOSSY, MESSAGE, POSITION};
use contract::section::Value as Setting;
use contract::source::Reject;
use contract::transform::{Close, EpochStart, Output};
use contract::{Error, Result, Section};
use plan::TestCase;
use runtime::Pipeline;
use runtime::graph::{Consumer, Consumers, StepNode};
use serde_json::{Map, Value, json};

/// What came out of every node.
#[derive(Default)]
pub struct Seen {
    /// Rows by node, or `node.output`.
    pub rows: BTreeMap<String, Vec<Value>>,
    /// What the steps refused.
    pub dead_letters: Vec<Value>,
}

/// Rows that wait for their node.
struct Inboxes {
    steps: Vec<Vec<RecordBatch>>,
    sinks: Vec<Vec<RecordBatch>>,
}

impl Inboxes {
    fn deliver(&mut self, consumers: &Consumers, batch: &RecordBatch) -> Result<()> {
        for edge in &consumers.edges {
            let batch = edge.enter(batch)?;
            match edge.to {
                Consumer::Step(number) => self.steps[number].push(batch),
                Consumer::Sink(number) => self.sinks[number].push(batch),
            }
        }
        Ok(())
    }
}

/// Runs a test; compares nothing.
///
/// # Errors
/// Config: the rows do not fit the source. Bug: a step failed.
pub fn run(pipeline: &Pipeline, case: &TestCase) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut inboxes = Inboxes {
        steps: vec![Vec::new(); pipeline.steps.len()],
        sinks: vec![Vec::new(); pipeline.sinks.len()],
    };
    for node in &pipeline.sources {
        let given = case.input.iter().filter(|(name, _)| *name == node.name);
        for (name, rows) in given {
            let batch = batch_of(rows, &node.source.schema())?;
            seen.add(name, std::slice::from_ref(&batch))?;
            inboxes.deliver(&node.consumers, &batch)?;
        }
    }
    let epoch = EpochStart { epoch: 1, now_us: case.now_us.unwrap_or_default() };
    for (number, node) in pipeline.steps.iter().enumerate() {
        let mut worker = node.step.build(pipeline.means())?;
        worker.start_epoch(epoch)?;
        for batch in std::mem::take(&mut inboxes.steps[number]) {
            let mut out = Output::default();
            worker.apply(&batch, &mut out)?;
            seen.take(node, out, &mut inboxes)?;
        }
        // The rows of a test are those of one epoch.
        let mut out = Output::default();
        worker.close(Close::All, &mut out)?;
        seen.take(node, out, &mut inboxes)?;
    }
    for (node, batches) in pipeline.sinks.iter().zip(&inboxes.sinks) {
        seen.add(&node.name, batches)?;
    }
    Ok(seen)
}

impl Seen {
    /// Takes what a step gave, and sends it on.
    fn take(&mut self, node: &StepNode, out: Output, inboxes: &mut Inboxes) -> Result<()> {
        for (port, batch) in out.batches {
            let name = match &*node.step.ports()[port].name {
                "" => node.name.clone(),
                port => format!("{}.{port}", node.name),
            };
            self.add(&name, std::slice::from_ref(&batch))?;
            inboxes.deliver(&node.ports[port], &batch)?;
        }
        self.dead_letters.extend(out.rejects.iter().map(|reject| letter(&node.name, reject)));
        Ok(())
    }

    fn add(&mut self, node: &str, batches: &[RecordBatch]) -> Result<()> {
        let rows = self.rows.entry(node.to_owned()).or_default();
        for batch in batches {
            rows.extend(json_of(batch)?);
        }
        Ok(())
    }
}

fn letter(step: &str, reject: &Reject) -> Value {
    let original = reject.original.as_deref().map(String::from_utf8_lossy);
    json!({
        "step": step,
        "reason": reject.reason,
        "original": original,
        "position": reject.position,
    })
}

/// The rows of a test as a batch of a source. Text is a message; positions count the rows.
fn batch_of(rows: &[Section], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = rows.iter().enumerate().map(|(position, row)| {
        let mut columns = match json(row) {
            Value::Object(columns) => columns,
            text => Map::from_iter([(MESSAGE.to_owned(), text)]),
        };
        columns.entry(POSITION).or_insert_with(|| json!(position));
        columns.entry(LOSSY).or_insert_with(|| json!(false));
        Value::Object(columns)
    });
    let rows: Vec<_> = rows.collect();
    let unfit = |error| Error::config("the rows do not fit the source").because(error);
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows.len().max(1))
        .build_decoder()
        .bug("a source has columns that cannot be made from JSON")?;
    decoder.serialize(&rows).map_err(unfit)?;
    let batch = decoder.flush().map_err(unfit)?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}

fn json_of(batch: &RecordBatch) -> Result<Vec<Value>> {
    let mut lines =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    lines.write(batch).and_then(|()| lines.finish()).bug("a row cannot become JSON")?;
    let lines = lines.into_inner();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rows.map(|row| serde_json::from_slice(row).bug("arrow wrote no JSON")).collect()
}

/// A value of a pipeline file as JSON.
pub fn json(section: &Section) -> Value {
    match section.value() {
        Setting::Null => Value::Null,
        Setting::Bool(flag) => json!(flag),
        Setting::Integer(number) => json!(number),
        Setting::Float(number) => json!(number),
        Setting::Text(text) => json!(**text),
        Setting::List(items) => items.iter().map(json).collect(),
        Setting::Map(entries) => {
            entries.iter().map(|entry| (entry.key.to_string(), json(&entry.value))).collect()
        }
    }
}
