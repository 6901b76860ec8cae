//! Arrow columns to the rows of a binary `COPY`.
//!
//! What a column is and where it goes is decided once for a batch; each value is then written by
//! one call, without a value in between. A value that PostgreSQL cannot hold refuses its row here,
//! which is much cheaper than to let the server find it.

mod number;
mod numeric;
mod text;
mod time;

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_empty_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use bytes::Bytes;
use contract::Result;
use contract::error::Context;
use contract::record::Origins;

use crate::catalog::Target;
use crate::chunk::{Part, Refused, RowEnd};
use crate::layout::Column;

/// The length that stands for null.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// What a value takes about, with its length.
const VALUE_BYTES: usize = 16;

/// Why a value cannot be stored.
pub type Refusal = Cow<'static, str>;

/// What became of a value.
pub type Written = std::result::Result<(), Refusal>;

/// The values of one column in a batch.
pub trait Field {
    /// Appends a value that is not null, without its length.
    ///
    /// # Errors
    /// PostgreSQL cannot hold the value; what was appended is dropped with the row.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written;
}

/// Whether values of a type can ever be stored in a column.
pub fn fits(data_type: &DataType, target: &Target) -> bool {
    matches!(field(&new_empty_array(data_type), target), Ok(Some(_)))
}

/// Encodes the rows of a batch of one split; those that cannot be stored are left out and named.
///
/// # Errors
/// Bug: the batch has not the columns that the layout was made for.
pub fn encode(batch: &RecordBatch, columns: &[Column]) -> Result<(Part, Vec<Refused>)> {
    let origins = Origins::of(batch)?;
    let mut writers = Vec::with_capacity(columns.len());
    for column in columns {
        writers.push(ColumnWriter::new(batch.column(column.index), column)?);
    }
    let count = i16::try_from(columns.len()).bug("a table has more columns than a row can")?;
    let mut out = Vec::with_capacity(batch.num_rows() * columns.len() * VALUE_BYTES);
    let mut rows = Vec::with_capacity(batch.num_rows());
    let mut refused = Vec::new();
    for index in 0..batch.num_rows() {
        let start = out.len();
        out.extend_from_slice(&count.to_be_bytes());
        match writers.iter().try_for_each(|writer| writer.write(index, &mut out)) {
            Ok(()) => rows.push(RowEnd { end: out.len(), index }),
            Err(reason) => {
                out.truncate(start);
                refused.push(origins.refuse(index, reason));
            }
        }
    }
    Ok((Part::new(Bytes::from(out), rows, origins), refused))
}

/// One column of a batch, on its way into one column of the table.
struct ColumnWriter<'a> {
    column: &'a Column,
    nulls: Option<NullBuffer>,
    field: Box<dyn Field>,
}

impl<'a> ColumnWriter<'a> {
    fn new(array: &ArrayRef, column: &'a Column) -> Result<Self> {
        let field = field(array, &column.target)
            .bug("a column cannot be converted")?
            .ok_or_else(|| contract::Error::bug("a column does not fit the table any more"))?;
        Ok(Self { column, nulls: array.logical_nulls(), field })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) -> std::result::Result<(), String> {
        let name = &self.column.name;
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            if self.column.not_null {
                return Err(format!("column {name:?} must not be null"));
            }
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.field.write(row, out).map_err(|reason| format!("column {name:?}: {reason}"))?;
        let length = i32::try_from(out.len() - start - 4)
            .map_err(|_| format!("column {name:?}: longer than 2 GiB"))?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// The writer of an array's values into a column; none if they can never fit.
fn field(array: &ArrayRef, target: &Target) -> arrow::error::Result<Option<Box<dyn Field>>> {
    if let DataType::Dictionary(_, values) = array.data_type() {
        return field(&cast(array, values)?, target);
    }
    let data_type = array.data_type();
    let field = match (data_type, target) {
        (DataType::Null, _) => Some(Box::new(Nothing) as _),
        (DataType::Boolean, Target::Bool) => Some(Box::new(Flag(array.as_boolean().clone())) as _),
        (DataType::Timestamp(unit, _), Target::Timestamp) => Some(time::timestamp(array, *unit)),
        (DataType::Date32, Target::Date) => Some(time::date(array)),
        (DataType::Decimal128(_, scale), Target::Numeric) => Some(numeric::decimal(array, *scale)),
        (DataType::Decimal128(..), Target::Float4 | Target::Float8) => {
            return field(&cast(array, &DataType::Float64)?, target);
        }
        (DataType::Float32, _) if !target.is_text() => number::float::<Float32Type>(array, target),
        (DataType::Float64, _) if !target.is_text() => number::float::<Float64Type>(array, target),
        _ if data_type.is_integer() && !target.is_text() => number::whole(array, target),
        _ if data_type.is_binary() => text::bytes(array, target)?,
        _ if data_type.is_string() => text::text(array, target)?,
        _ if data_type.is_nested() => text::json(array, target)?,
        _ if matches!(target, Target::Text { .. }) => {
            return match can_cast_types(data_type, &DataType::Utf8) {
                true => field(&cast(array, &DataType::Utf8)?, target),
                false => Ok(None),
            };
        }
        _ => None,
    };
    Ok(field)
}

/// A column of nulls only.
struct Nothing;

impl Field for Nothing {
    fn write(&self, _: usize, _: &mut Vec<u8>) -> Written {
        Ok(())
    }
}

struct Flag(BooleanArray);

impl Field for Flag {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        out.push(u8::from(self.0.value(row)));
        Ok(())
    }
}
