//! The groups of a window while its rows come in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use contract::error::Context;
use contract::source::Reject;
use contract::transform::Output;
use contract::{Error, Result};
use datafusion::common::ScalarValue;
use datafusion::error::Result as EvalResult;
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

impl Evaluated {
    /// The same of some of the rows.
    ///
    /// # Errors
    /// Bug: there are no such rows.
    pub fn taken(&self, rows: &UInt32Array) -> Result<Self> {
        let all = |columns: &[ArrayRef]| {
            let taken = columns.iter().map(|column| {
                take(column.as_ref(), rows, None).bug("rows could not be taken out of a batch")
            });
            taken.collect::<Result<Vec<_>>>()
        };
        let arguments = self.arguments.iter().map(|columns| all(columns));
        Ok(Self { groups: all(&self.groups)?, arguments: arguments.collect::<Result<_>>()? })
    }
}

/// The groups that rows made so far, in the order in which they came.
pub struct Groups {
    /// None where all rows are one group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// By row of a batch, the number of its group.
    numbers: Vec<usize>,
    /// Rows in each group.
    rows: Vec<i64>,
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
        Ok(Self { values, accumulators, numbers: Vec::new(), rows: Vec::new() })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Bug: they are not of the types that were planned.
    pub fn add(&mut self, plan: &Plan, rows: &Evaluated, count: usize) -> Result<()> {
        let failed = |error| Error::bug("could not add rows to a window").because(error);
        if count == 0 {
            return Ok(());
        }
        let total = self.intern(&rows.groups, count).map_err(failed)?;
        self.numbers.iter().for_each(|group| self.rows[*group] += 1);
        let all = self.accumulators.iter_mut().zip(&plan.aggregates).zip(&rows.arguments);
        for ((accumulator, aggregate), read) in all {
            let (arguments, condition) = aggregate.divide(read);
            let added = accumulator.update_batch(arguments, &self.numbers, condition, total);
            added.map_err(failed)?;
        }
        Ok(())
    }

    /// Adds what [`Groups::partial`] gave.
    ///
    /// # Errors
    /// Bug: it is of other types than were planned.
    pub fn merge(&mut self, plan: &Plan, partial: &RecordBatch) -> Result<()> {
        let failed = |error| Error::bug("could not merge the groups of a window").because(error);
        let columns = partial.columns();
        let groups = plan.group_fields.len();
        let total = self.intern(&columns[..groups], partial.num_rows()).map_err(failed)?;
        let mut begin = groups;
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&plan.aggregates) {
            let end = begin + aggregate.state.len();
            let states = &columns[begin..end];
            accumulator.merge_batch(states, &self.numbers, total).map_err(failed)?;
            begin = end;
        }
        let rows = columns[begin].as_primitive::<Int64Type>();
        for (group, rows) in self.numbers.iter().zip(rows.values()) {
            self.rows[*group] += rows;
        }
        Ok(())
    }

    /// What the groups are so far, to be merged with others, with the rows in each; they are
    /// forgotten.
    ///
    /// # Errors
    /// Bug: they are not of the types that were planned.
    pub fn partial(&mut self, plan: &Plan) -> Result<RecordBatch> {
        let failed = |error| Error::bug("could not keep the groups of a window").because(error);
        let mut columns = match &mut self.values {
            Some(values) => values.emit(EmitTo::All).map_err(failed)?,
            None => Vec::new(),
        };
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All).map_err(failed)?);
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.rows))));
        let partial = assemble(&plan.partial, columns)?;
        *self = Self::new(&plan.group_fields, &plan.aggregates)?;
        Ok(partial)
    }

    /// Finds the groups of rows; returns how many groups there are.
    fn intern(&mut self, groups: &[ArrayRef], count: usize) -> EvalResult<usize> {
        self.numbers.clear();
        match &mut self.values {
            Some(values) => values.intern(groups, &mut self.numbers)?,
            None => self.numbers.resize(count, 0),
        }
        let total = self.values.as_ref().map_or(1, |values| values.len());
        self.rows.resize(total, 0);
        Ok(total)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row came.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that went in.
    pub fn rows(&self) -> u64 {
        self.rows.iter().sum::<i64>().unsigned_abs()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        let values = self.values.as_ref().map_or(0, |values| values.size());
        let accumulators = self.accumulators.iter().map(|one| one.size()).sum::<usize>();
        (values + accumulators) as u64
    }

    /// Gives a row for each group, and forgets them. `window` are the columns that say which window
    /// they are of, `first` is the position of the first row. A result that does not fit its column
    /// is refused.
    ///
    /// # Errors
    /// Bug: they are not of the types that were planned.
    pub fn close(
        &mut self,
        plan: &Plan,
        (window, first): (&[ScalarValue], i64),
        out: &mut Output,
    ) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let failed = |error| Error::bug("could not close a window").because(error);
        out.closed += self.rows();
        let rows = self.rows.len();
        let mut columns = match &mut self.values {
            Some(values) => values.emit(EmitTo::All).map_err(failed)?,
            None => Vec::new(),
        };
        for bound in window {
            columns.push(bound.to_array_of_size(rows).map_err(failed)?);
        }
        let groups = columns.len();
        let mut whole = Vec::new();
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&plan.aggregates) {
            let values = accumulator.evaluate(EmitTo::All).map_err(failed)?;
            columns.push(aggregate.finished(&values).map_err(failed)?);
            whole.push(values);
        }
        columns
            .push(Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| first + row))));
        let made = assemble(&plan.schema, columns)?;
        *self = Self::new(&plan.group_fields, &plan.aggregates)?;
        let fitting = refuse_misfits(&made, (groups, first), &whole, out)?;
        out.push(fitting);
        Ok(())
    }
}

/// The rows of which every value fits its column; the others are refused. `whole` are the values of
/// aggregates before they were brought to the types of their columns, which begin behind `groups`;
/// `first` is the position of the first row.
fn refuse_misfits(
    made: &RecordBatch,
    (groups, first): (usize, i64),
    whole: &[ArrayRef],
    out: &mut Output,
) -> Result<RecordBatch> {
    let known = out.rejects.len();
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
        let reject = Reject::new(first + row as i64, reason);
        out.rejects.push(Reject { original: Some(shown(made, groups, whole, row)?), ..reject });
    }
    match out.rejects.len() == known {
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
