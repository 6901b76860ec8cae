//! Values of an answer, the same whichever backend gave them.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use contract::Result;
use contract::error::Context;
use serde::{Serialize, Serializer};

use super::columns::Kind;
use super::params::written;

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// There is none.
    #[default]
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A moment, in microseconds since 1970.
    Time(i64),
    /// True or false.
    Boolean(bool),
}

/// A row of an answer.
pub type Row = Vec<Cell>;

impl Cell {
    /// The whole number in it; 0 where there is none.
    pub fn count(&self) -> u64 {
        match self {
            Self::Integer(number) => u64::try_from(*number).unwrap_or_default(),
            _ => 0,
        }
    }

    /// The number in it.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Real(number) => Some(*number).filter(|number| number.is_finite()),
            _ => None,
        }
    }

    /// The moment in it.
    pub fn time(&self) -> Option<i64> {
        match self {
            Self::Time(micros) => Some(*micros),
            _ => None,
        }
    }

    /// The bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let beside = if let Self::Text(text) = self { text.capacity() } else { 0 };
        size_of::<Self>() + beside
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_none(),
            Self::Text(text) => to.serialize_str(text),
            Self::Integer(number) => to.serialize_i64(*number),
            Self::Real(number) if number.is_finite() => to.serialize_f64(*number),
            Self::Real(_) => to.serialize_none(),
            Self::Time(micros) => to.serialize_str(&written(*micros)),
            Self::Boolean(value) => to.serialize_bool(*value),
        }
    }
}

/// The kind of an Arrow column; none if questions cannot be about it.
pub fn kind_of(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Kind::Text),
        DataType::Dictionary(_, value) => kind_of(value),
        number if number.is_integer() => Some(Kind::Integer),
        number if number.is_floating() => Some(Kind::Real),
        DataType::Decimal128(..) | DataType::Decimal256(..) => Some(Kind::Real),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(Kind::Time),
        DataType::Boolean => Some(Kind::Boolean),
        _ => None,
    }
}

/// The rows of batches whose columns are of these kinds.
///
/// # Errors
/// Bug: a column is of another kind.
pub fn rows(batches: &[RecordBatch], kinds: &[Kind]) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for batch in batches {
        let first = rows.len();
        rows.resize_with(first + batch.num_rows(), || Vec::with_capacity(kinds.len()));
        for (column, kind) in batch.columns().iter().zip(kinds) {
            let cells = cells(column, *kind)?;
            for (row, cell) in rows[first..].iter_mut().zip(cells) {
                row.push(cell);
            }
        }
    }
    Ok(rows)
}

fn cells(column: &dyn Array, kind: Kind) -> Result<Vec<Cell>> {
    let wanted = match kind {
        Kind::Text => DataType::Utf8View,
        Kind::Integer => DataType::Int64,
        Kind::Real => DataType::Float64,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Boolean => DataType::Boolean,
    };
    // What does not fit is null.
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let column = match (column.data_type(), kind) {
        // Without a zone the numbers are those of UTC.
        (DataType::Timestamp(unit, Some(_)), Kind::Time) => {
            let utc = DataType::Timestamp(*unit, Some("UTC".into()));
            cast_with_options(column, &utc, &options).bug("a column holds no times")?
        }
        _ => arrow::array::make_array(column.to_data()),
    };
    let column = cast_with_options(&column, &wanted, &options).bug("a column changed its kind")?;
    Ok(match kind {
        Kind::Text => {
            let texts = column.as_string_view().iter();
            texts.map(|text| cell(text.map(str::to_owned), Cell::Text)).collect()
        }
        Kind::Integer => {
            let numbers = column.as_primitive::<Int64Type>().iter();
            numbers.map(|number| cell(number, Cell::Integer)).collect()
        }
        Kind::Real => {
            let numbers = column.as_primitive::<Float64Type>().iter();
            numbers.map(|number| cell(number, Cell::Real)).collect()
        }
        Kind::Time => {
            let times = column.as_primitive::<TimestampMicrosecondType>().iter();
            times.map(|time| cell(time, Cell::Time)).collect()
        }
        Kind::Boolean => {
            column.as_boolean().iter().map(|value| cell(value, Cell::Boolean)).collect()
        }
    })
}

fn cell<T>(value: Option<T>, make: fn(T) -> Cell) -> Cell {
    value.map_or(Cell::Null, make)
}
