//! Which windows a record went into: it passes the steps of its pipeline once more, alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use contract::Result;
use contract::error::Context;
use contract::transform::{Close, EpochStart, Output};
use serde_json::Value;

use crate::chain::Chain;
use crate::graph::{Consumer, Pipeline};

/// A window that a record went into.
#[derive(Debug)]
pub struct InWindow {
    /// The name of the step.
    pub step: String,
    /// The columns that tell its windows apart.
    pub window: Value,
    /// Whether it was closed before.
    pub is_late: bool,
}

/// Passes one record of a source through a pipeline up to its windows. A step that drops what
/// stood before passes it on.
///
/// # Errors
/// Config or Bug, from a step.
pub fn of_record(
    pipeline: &Arc<Pipeline>,
    (source, record): (usize, RecordBatch),
    epoch: EpochStart,
    watermarks: &BTreeMap<String, i64>,
) -> Result<Vec<InWindow>> {
    let mut chain = Chain::new(pipeline.clone(), epoch);
    let mut found = Vec::new();
    let mut leaving = chain.run_from_source(source, record)?.leaving;
    // Steps are in topological order, and each is left towards later ones alone.
    while let Some((to, batch)) = leaving.pop() {
        let Consumer::Step(number) = to else { continue };
        let node = &pipeline.steps[number];
        let mut worker = node.step.build(pipeline.means())?;
        worker.begin_at(watermarks.get(&node.name).copied());
        worker.start_epoch(epoch)?;
        let mut output = Output::default();
        worker.apply(&batch, &mut output)?;
        if !node.step.makes_records() {
            leaving.extend(chain.run_from_step(number, batch.num_rows(), output)?.leaving);
            continue;
        }
        let is_late = output.batches.iter().any(|(port, _)| node.step.late_port() == Some(*port));
        if is_late {
            found.push(InWindow { step: node.name.clone(), window: Value::Null, is_late });
            continue;
        }
        let mut made = Output::default();
        worker.close(Close::All, &mut made)?;
        for (_, result) in made.batches {
            let keys: Vec<_> = (0..node.step.key_columns()).collect();
            let window = shown(&result.project(&keys).bug("results lack their keys")?)?;
            found.push(InWindow { step: node.name.clone(), window, is_late });
        }
    }
    Ok(found)
}

/// The first row as JSON.
fn shown(batch: &RecordBatch) -> Result<Value> {
    if batch.num_columns() == 0 {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut json = ArrayWriter::new(Vec::new());
    json.write(batch).and_then(|()| json.finish()).bug("a window is no JSON")?;
    let rows: Value = serde_json::from_slice(&json.into_inner()).bug("a window is no JSON")?;
    Ok(rows[0].clone())
}
