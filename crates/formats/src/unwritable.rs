//! Rows that a text format cannot hold: NaN in JSON, times that no calendar reaches.
//!
//! An encoder would lose the value or fail on the whole batch; a sink refuses the row instead.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Float64Type, Int64Type, TimeUnit,
};
use chrono::{DateTime, Utc};
use contract::Result;
use contract::error::Context;

use crate::Refused;
use crate::encode::EncodeFormat;

const SECONDS_OF_A_DAY: i64 = 86_400;

/// The rows that a format cannot hold, ascending, each with the first column that says so.
///
/// # Errors
/// Bug: a column cannot be read.
pub fn rows(format: EncodeFormat, batch: &RecordBatch) -> Result<Vec<Refused>> {
    let mut refused: Vec<Refused> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(unfit) = unfit(format, column)? else { continue };
        for (row, _) in unfit.iter().enumerate().filter(|(_, unfit)| **unfit) {
            if let Err(at) = refused.binary_search_by_key(&row, |known| known.row) {
                let reason = format!("column {:?} holds a value that has no text", field.name());
                refused.insert(at, Refused { row, reason });
            }
        }
    }
    Ok(refused)
}

/// For each row whether a column holds what the format cannot; none where no row does.
fn unfit(format: EncodeFormat, column: &ArrayRef) -> Result<Option<Vec<bool>>> {
    let (earliest, latest) =
        (DateTime::<Utc>::MIN_UTC.timestamp(), DateTime::<Utc>::MAX_UTC.timestamp());
    let is_date = |seconds: i64| (earliest..=latest).contains(&seconds);
    Ok(match column.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64
            if format == EncodeFormat::Json =>
        {
            let floats = cast(column, &DataType::Float64).bug("could not read a float")?;
            of_values::<Float64Type>(floats.as_primitive(), f64::is_finite)
        }
        DataType::Date32 => of_values::<Date32Type>(column.as_primitive(), |day| {
            is_date(i64::from(day) * SECONDS_OF_A_DAY)
        }),
        DataType::Date64 => of_values::<Date64Type>(column.as_primitive(), |millis| {
            is_date(millis.div_euclid(1_000))
        }),
        DataType::Timestamp(unit, _) => {
            let parts = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => return Ok(None),
            };
            let numbers = cast(column, &DataType::Int64).bug("could not read a timestamp")?;
            of_values::<Int64Type>(numbers.as_primitive(), |at| is_date(at.div_euclid(parts)))
        }
        DataType::Dictionary(_, value) => unfit(format, &cast(column, value).bug("a dictionary")?)?,
        DataType::Struct(_) => {
            let mut all: Option<Vec<bool>> = None;
            for inner in column.as_struct().columns() {
                let Some(inner) = unfit(format, inner)? else { continue };
                let all = all.get_or_insert_with(|| vec![false; inner.len()]);
                all.iter_mut().zip(inner).for_each(|(unfit, inner)| *unfit |= inner);
            }
            all
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            unfit(format, list.values())?.map(|items| of_items(&items, list.offsets()))
        }
        DataType::LargeList(_) => {
            let list = column.as_list::<i64>();
            unfit(format, list.values())?.map(|items| of_items(&items, list.offsets()))
        }
        _ => None,
    })
}

fn of_values<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    fits: impl Fn(T::Native) -> bool,
) -> Option<Vec<bool>> {
    let unfit = |row: usize| column.is_valid(row) && !fits(column.value(row));
    let all_fit = column.values().iter().all(|value| fits(*value));
    (!all_fit).then(|| (0..column.len()).map(unfit).collect())
}

fn of_items<O: OffsetSizeTrait>(items: &[bool], offsets: &[O]) -> Vec<bool> {
    let lists = offsets.windows(2);
    lists.map(|list| items[list[0].as_usize()..list[1].as_usize()].contains(&true)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, ListArray, TimestampMicrosecondArray};

    use super::*;

    fn check(column: ArrayRef, json: &[usize], csv: &[usize]) {
        let batch = RecordBatch::try_from_iter([("x", column)]).expect("a batch");
        let refused = |format| -> Vec<usize> {
            let rows = rows(format, &batch).expect("readable");
            rows.into_iter().map(|refused| refused.row).collect()
        };
        assert_eq!(refused(EncodeFormat::Json), json);
        assert_eq!(refused(EncodeFormat::Csv), csv);
    }

    #[test]
    fn only_what_has_no_text_is_refused() {
        check(Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.0), None])), &[0], &[]);
        check(Arc::new(Float32Array::from(vec![0.5, f32::INFINITY])), &[1], &[]);
        let times = vec![i64::MAX, 253_402_300_799_000_000, -62_167_219_200_000_000, i64::MIN];
        check(Arc::new(TimestampMicrosecondArray::from(times)), &[0, 3], &[0, 3]);
        let lists = vec![Some(vec![Some(1.0)]), None, Some(vec![None, Some(f64::NAN)])];
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
        check(Arc::new(lists), &[2], &[]);
    }
}
