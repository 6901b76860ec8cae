//! The key of a row as one number: the first half of the SHA-256 of its values.
//!
//! Whoever writes the log cannot make two keys meet, and a state means the same in every version.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use contract::{Error, Result};
use sha2::{Digest, Sha256};

use crate::columns::{as_text, is_text};

/// Whether values of a type can be part of a key.
pub fn can_be_key(data_type: &DataType) -> bool {
    is_text(data_type) || number_form(data_type).is_some()
}

/// The keys of rows whose values are given column by column.
///
/// # Errors
/// Bug: a column is of a type that cannot be part of a key.
pub fn hash_keys(columns: &[ArrayRef], rows: usize) -> Result<Vec<u128>> {
    let columns = columns.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
    let mut key = Vec::new();
    let mut hashes = Vec::with_capacity(rows);
    for row in 0..rows {
        key.clear();
        for column in &columns {
            column.write(row, &mut key);
        }
        let digest = Sha256::digest(&key);
        let (half, _) = digest.split_at(16);
        hashes.push(u128::from_le_bytes(half.try_into().expect("half of 32 bytes is 16 bytes")));
    }
    Ok(hashes)
}

/// The type as which values that are no text enter a key.
fn number_form(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, values) => number_form(values),
        DataType::Timestamp(..) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        DataType::Boolean | DataType::Date32 | DataType::Null => Some(DataType::Int64),
        // Neither fits the integer; as text both are exact.
        DataType::UInt64 | DataType::Decimal128(..) => Some(DataType::Utf8View),
        other if other.is_integer() => Some(DataType::Int64),
        other if other.is_floating() => Some(DataType::Float64),
        _ => None,
    }
}

/// A column of keys, brought to one of few forms.
enum Column {
    Text(StringViewArray),
    Integer(Int64Array),
    Float(Float64Array),
}

impl Column {
    fn new(values: &ArrayRef) -> Result<Self> {
        if is_text(values.data_type()) {
            return Ok(Self::Text(as_text(values)?));
        }
        let form = number_form(values.data_type())
            .ok_or_else(|| Error::bug("a key of a type that was refused"))?;
        let failed = |error| Error::bug("could not bring a key to its form").because(error);
        let values = cast(values, &form).map_err(failed)?;
        Ok(match form {
            DataType::Utf8View => Self::Text(as_text(&values)?),
            DataType::Float64 => Self::Float(values.as_primitive::<Float64Type>().clone()),
            _ => {
                let values = cast(&values, &DataType::Int64).map_err(failed)?;
                Self::Integer(values.as_primitive::<Int64Type>().clone())
            }
        })
    }

    /// Writes a value so that rows of different keys never write the same: null is a zero byte,
    /// else a one stands before the value, and a text follows its length.
    fn write(&self, row: usize, key: &mut Vec<u8>) {
        let is_valid = match self {
            Self::Text(texts) => texts.is_valid(row),
            Self::Integer(numbers) => numbers.is_valid(row),
            Self::Float(numbers) => numbers.is_valid(row),
        };
        key.push(u8::from(is_valid));
        if !is_valid {
            return;
        }
        match self {
            Self::Text(texts) => {
                let text = texts.value(row);
                key.extend((text.len() as u64).to_le_bytes());
                key.extend(text.as_bytes());
            }
            Self::Integer(numbers) => key.extend(numbers.value(row).to_le_bytes()),
            Self::Float(numbers) => key.extend(numbers.value(row).to_le_bytes()),
        }
    }
}
