//! Brings rows of one batch that come to a step with a state on several ways into one order.
//!
//! Such a step gets them way by way, batch after batch. Read again, the same records stand in
//! other batches, and a step to which order matters would keep other rows. The order of their
//! origins is the same however they are read; of the rows of one record, the order of the ways.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use contract::record::{keep_common_mark, positions};
use contract::{Error, Result};

use crate::graph::Consumer;

/// From these rules on, a step with a state gets its rows in an order that is recorded, those of
/// several ways in that of their origins.
pub const ORDERED_FROM: u32 = 2;

/// Joins the batches for a step whose rows do not follow each other as they were read.
///
/// # Errors
/// Bug: the batches of one step have different columns, or no positions.
pub fn by_origin(leaving: &mut Vec<(Consumer, RecordBatch)>) -> Result<()> {
    let mut of_steps: BTreeMap<usize, Vec<RecordBatch>> = BTreeMap::new();
    for (target, batch) in leaving.iter() {
        if let Consumer::Step(step) = target {
            of_steps.entry(*step).or_default().push(batch.clone());
        }
    }
    for (step, batches) in of_steps {
        if follow_each_other(&batches)? {
            continue;
        }
        leaving.retain(|(target, _)| *target != Consumer::Step(step));
        leaving.push((Consumer::Step(step), joined(&batches)?));
    }
    Ok(())
}

fn follow_each_other(batches: &[RecordBatch]) -> Result<bool> {
    let mut before = i64::MIN;
    for batch in batches {
        let positions = positions(batch)?.values();
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { continue };
        if *first < before {
            return Ok(false);
        }
        before = *last;
    }
    Ok(true)
}

fn joined(batches: &[RecordBatch]) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let positions = positions(batch)?.values().iter().enumerate();
        rows.extend(positions.map(|(row, position)| (*position, number, row)));
    }
    // Equal positions stay as they came.
    rows.sort_by_key(|(position, ..)| *position);
    let places: Vec<_> = rows.into_iter().map(|(_, number, row)| (number, row)).collect();
    let made = interleaved(batches, &places);
    made.map_err(|error| Error::bug("rows of several ways do not fit together").because(error))
}

fn interleaved(
    batches: &[RecordBatch],
    places: &[(usize, usize)],
) -> std::result::Result<RecordBatch, ArrowError> {
    let schema = common_schema(batches);
    let columns = (0..schema.fields().len()).map(|column| {
        let columns: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        interleave(&columns, places)
    });
    let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
    RecordBatch::try_new(schema, columns)
}

/// The columns of all of them: nullable where they are in one, JSON where they are in all.
fn common_schema(batches: &[RecordBatch]) -> SchemaRef {
    let first = batches[0].schema();
    if batches.iter().all(|batch| batch.schema() == first) {
        return first;
    }
    let fields = first.fields().iter().enumerate().map(|(column, field)| {
        let mut field = field.as_ref().clone();
        for other in &batches[1..] {
            let schema = other.schema();
            let other = schema.field(column);
            field.set_nullable(field.is_nullable() || other.is_nullable());
            keep_common_mark(&mut field, other);
        }
        field
    });
    Schema::new(fields.collect::<Vec<_>>()).into()
}
