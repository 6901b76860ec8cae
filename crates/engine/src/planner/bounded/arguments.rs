//! The arguments of a call as estimates read them: each value by its row, constants once.

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, OffsetSizeTrait, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

/// What a value that is no text takes at least, and an element of a list.
pub const ELEMENT_BYTES: u64 = 8;

/// An argument. A constant is one value for all rows.
pub struct Given {
    /// Text as views, whole numbers as 64 bits, times as milliseconds; all else as it came.
    pub values: ArrayRef,
    is_constant: bool,
}

impl Given {
    /// The argument of a call.
    ///
    /// # Errors
    /// It cannot be read as one of these.
    pub fn of(argument: &ColumnarValue) -> Result<Self> {
        Ok(match argument {
            ColumnarValue::Array(values) => {
                Self { values: comparable(values.clone())?, is_constant: false }
            }
            ColumnarValue::Scalar(value) => {
                Self { values: comparable(value.to_array()?)?, is_constant: true }
            }
        })
    }

    fn at(&self, row: usize) -> usize {
        if self.is_constant { 0 } else { row }
    }

    /// Whether there is no value in a row.
    pub fn is_null(&self, row: usize) -> bool {
        self.values.is_null(self.at(row))
    }

    /// The text of a row; empty where it is null or another type.
    pub fn text(&self, row: usize) -> &str {
        let texts = self.values.as_string_view_opt().filter(|_| !self.is_null(row));
        texts.map_or("", |texts| texts.value(self.at(row)))
    }

    /// The whole number of a row; none where it is null or another type.
    pub fn number(&self, row: usize) -> Option<i64> {
        let numbers = self.values.as_primitive_opt::<Int64Type>();
        numbers.filter(|_| !self.is_null(row)).map(|numbers| numbers.value(self.at(row)))
    }

    /// Whether it is a span of time.
    pub fn is_span(&self) -> bool {
        self.values.as_primitive_opt::<IntervalMonthDayNanoType>().is_some()
    }

    /// The span of a row; none where it is null or another type.
    pub fn span(&self, row: usize) -> Option<IntervalMonthDayNano> {
        let spans = self.values.as_primitive_opt::<IntervalMonthDayNanoType>();
        spans.filter(|_| !self.is_null(row)).map(|spans| spans.value(self.at(row)))
    }

    /// The list of a row; none where it is null or another type.
    pub fn list(&self, row: usize) -> Option<ArrayRef> {
        if self.is_null(row) {
            return None;
        }
        let row = self.at(row);
        match self.values.data_type() {
            DataType::List(_) => Some(self.values.as_list::<i32>().value(row)),
            DataType::LargeList(_) => Some(self.values.as_list::<i64>().value(row)),
            DataType::FixedSizeList(..) => Some(self.values.as_fixed_size_list().value(row)),
            _ => None,
        }
    }

    /// How many bytes the value of a row takes.
    pub fn bytes(&self, row: usize) -> u64 {
        bytes(&self.values, self.at(row), 1)
    }

    /// How many bytes the largest value takes, and all of `rows` rows.
    pub fn extent(&self, rows: usize) -> (u64, u64) {
        if self.is_constant {
            let one = self.bytes(0);
            return (one, one.saturating_mul(rows as u64));
        }
        match self.values.as_string_view_opt() {
            Some(texts) => texts.lengths().fold((0, 0), |(largest, all), length| {
                (largest.max(u64::from(length)), all + u64::from(length))
            }),
            // No row takes more than all of them.
            None => {
                let all = bytes(&self.values, 0, self.values.len());
                (all, all)
            }
        }
    }
}

/// A column in one of the forms that estimates read.
fn comparable(column: ArrayRef) -> Result<ArrayRef> {
    let wanted = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Dictionary(_, values) if values.is_string() => DataType::Utf8View,
        other if other.is_integer() => DataType::Int64,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let times = cast(&column, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            return Ok(cast(&times, &DataType::Int64)?);
        }
        _ => return Ok(column),
    };
    Ok(cast(&column, &wanted)?)
}

/// How many bytes `rows` values from `from` on take.
pub fn bytes(values: &dyn Array, from: usize, rows: usize) -> u64 {
    match values.data_type() {
        DataType::Utf8 => between(values.as_string::<i32>().value_offsets(), from, rows),
        DataType::LargeUtf8 => between(values.as_string::<i64>().value_offsets(), from, rows),
        DataType::Binary => between(values.as_binary::<i32>().value_offsets(), from, rows),
        DataType::LargeBinary => between(values.as_binary::<i64>().value_offsets(), from, rows),
        DataType::Utf8View => {
            let texts: StringViewArray = values.as_string_view().slice(from, rows);
            texts.lengths().map(u64::from).sum()
        }
        DataType::BinaryView => {
            let blobs: BinaryViewArray = values.as_binary_view().slice(from, rows);
            blobs.lengths().map(u64::from).sum()
        }
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            let offsets = lists.value_offsets();
            of_elements(lists.values(), offsets[from] as usize, offsets[from + rows] as usize)
        }
        DataType::LargeList(_) => {
            let lists = values.as_list::<i64>();
            let offsets = lists.value_offsets();
            of_elements(lists.values(), offsets[from] as usize, offsets[from + rows] as usize)
        }
        DataType::FixedSizeList(_, size) => {
            let (lists, size) = (values.as_fixed_size_list(), *size as usize);
            of_elements(lists.values(), from * size, (from + rows) * size)
        }
        DataType::Map(..) => {
            let maps = values.as_map();
            let offsets = maps.value_offsets();
            of_elements(maps.entries(), offsets[from] as usize, offsets[from + rows] as usize)
        }
        DataType::Struct(_) => {
            let columns = values.as_struct().columns().iter();
            columns.map(|column| bytes(column, from, rows)).sum()
        }
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let words = values.as_dictionary::<Int32Type>();
            let keys = (from..from + rows).filter_map(|row| words.key(row));
            keys.map(|key| bytes(words.values(), key, 1)).sum()
        }
        _ => ELEMENT_BYTES * rows as u64,
    }
}

fn between<O: OffsetSizeTrait>(offsets: &[O], from: usize, rows: usize) -> u64 {
    (offsets[from + rows].as_usize() - offsets[from].as_usize()) as u64
}

fn of_elements(values: &dyn Array, from: usize, to: usize) -> u64 {
    let rows = to - from;
    match values.data_type().is_primitive() {
        true => ELEMENT_BYTES * rows as u64,
        false => bytes(values, from, rows).saturating_add(ELEMENT_BYTES * rows as u64),
    }
}
