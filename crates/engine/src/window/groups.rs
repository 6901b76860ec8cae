//! The groups of a window while its rows come in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use contract::error::Context;
use contract::source::Reject;
use contract::transform::Output;
use contract::{Error, Result};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::Plan;
use super::aggregates::Aggregate;
use crate::columns::assemble;

/// What was read of rows.
pub struct Evaluated {
    /// What tells the groups apart.
    pub groups: Vec<ArrayRef>,
    /// By aggregate, what it reads.
    pub arguments: Vec<Vec<ArrayRef>>,
}

/// The groups that rows made so far, in the order in which they came.
pub struct Groups {
    /// None where all rows are one group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// By row of a batch, the number of its group.
    numbers: Vec<usize>,
    is_empty: bool,
}

impl Groups {
    /// No groups.
    ///
    /// # Errors
    /// Config: rows cannot be grouped by such columns, or not added up so.
    pub fn new(fields: &[Field], aggregates: &[Aggregate]) -> Result<Self> {
        let unmade = |error| Error::bug("could not make the groups of a window").because(error);
        let values = match fields {
            [] => None,
            _ => {
                let schema = Schema::new(fields.to_vec()).into();
                Some(new_group_values(schema, &GroupOrdering::None).map_err(unmade)?)
            }
        };
        let accumulators = aggregates.iter().map(|one| one.accumulator().map_err(unmade));
        let accumulators = accumulators.collect::<Result<_>>()?;
        Ok(Self { values, accumulators, numbers: Vec::new(), is_empty: true })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Bug: they are not of the types that were planned.
    pub fn add(&mut self, plan: &Plan, rows: &Evaluated, count: usize) -> Result<()> {
        let failed = |error| Error::bug("could not add rows to a window").because(error);
        self.numbers.clear();
        match &mut self.values {
            Some(values) => values.intern(&rows.groups, &mut self.numbers).map_err(failed)?,
            None => self.numbers.resize(count, 0),
        }
        let total = self.len().max(1);
        let all = self.accumulators.iter_mut().zip(&plan.aggregates).zip(&rows.arguments);
        for ((accumulator, aggregate), read) in all {
            let (arguments, condition) = aggregate.divide(read);
            let added = accumulator.update_batch(arguments, &self.numbers, condition, total);
            added.map_err(failed)?;
        }
        self.is_empty &= count == 0;
        Ok(())
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        let values = self.values.as_ref().map_or(0, |values| values.size());
        let accumulators = self.accumulators.iter().map(|one| one.size()).sum::<usize>();
        (values + accumulators) as u64
    }

    /// Gives a row for each group, and forgets them. A result that does not fit its column is
    /// refused.
    ///
    /// # Errors
    /// Bug: they are not of the types that were planned.
    pub fn close(&mut self, plan: &Plan, out: &mut Output) -> Result<()> {
        if self.is_empty {
            return Ok(());
        }
        let failed = |error| Error::bug("could not close a window").because(error);
        let mut columns = match &mut self.values {
            Some(values) => values.emit(EmitTo::All).map_err(failed)?,
            None => Vec::new(),
        };
        let groups = columns.len();
        let mut whole = Vec::new();
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&plan.aggregates) {
            let values = accumulator.evaluate(EmitTo::All).map_err(failed)?;
            columns.push(aggregate.finished(&values).map_err(failed)?);
            whole.push(values);
        }
        let rows = whole.first().map_or(0, |values| values.len());
        columns.push(Arc::new(Int64Array::from_iter_values(0..rows as i64)));
        let made = assemble(&plan.schema, columns)?;
        *self = Self::new(&plan.group_fields, &plan.aggregates)?;
        let fitting = refuse_misfits(&made, groups, &whole, out)?;
        out.push(fitting);
        Ok(())
    }

    fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }
}

/// The rows of which every value fits its column; the others are refused. `whole` are the values of
/// aggregates before they were brought to the types of their columns, which begin behind `groups`.
fn refuse_misfits(
    made: &RecordBatch,
    groups: usize,
    whole: &[ArrayRef],
    out: &mut Output,
) -> Result<RecordBatch> {
    let lost = |row: usize, number: usize| {
        whole[number].is_valid(row) && made.column(groups + number).is_null(row)
    };
    let misfit = |row: usize| (0..whole.len()).find(|number| lost(row, *number));
    let mut keep = Vec::with_capacity(made.num_rows());
    for row in 0..made.num_rows() {
        let found = misfit(row);
        keep.push(found.is_none());
        let Some(number) = found else { continue };
        let schema = made.schema();
        let field = schema.field(groups + number);
        let value = array_value_to_string(&whole[number], row).bug("a number is no text")?;
        let (name, data_type) = (field.name(), field.data_type());
        let reason = format!("{name:?} is {value}, which is no {data_type}");
        let reject = Reject::new(row as i64, reason);
        out.rejects.push(Reject { original: Some(shown(made, groups, whole, row)?), ..reject });
    }
    match out.rejects.is_empty() {
        true => Ok(made.clone()),
        false => filter_record_batch(made, &BooleanArray::from(keep))
            .bug("could not leave out refused results"),
    }
}

/// A result as JSON, with the values that do not fit.
fn shown(made: &RecordBatch, groups: usize, whole: &[ArrayRef], row: usize) -> Result<Bytes> {
    let columns = made.columns()[..groups].iter().chain(whole).map(|one| one.slice(row, 1));
    let columns: Vec<_> = columns.collect();
    let schema = made.schema();
    let fields = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let one = RecordBatch::try_new(schema, columns).bug("a result has other columns")?;
    let mut json = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut json);
    writer.write(&one).and_then(|()| writer.finish()).bug("a result is no JSON")?;
    json.pop_if(|last| *last == b'\n');
    Ok(json.into())
}
