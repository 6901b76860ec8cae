//! The statistics of a file for the table's log, from its Parquet footer.
//!
//! Smallest and largest values may be wider than the truth, never narrower: readers skip files by
//! them.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::DateTime;
use contract::Result;
use contract::error::Context;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

/// Statistics as the log keeps them: JSON text with `numRecords`, `minValues`, `maxValues`,
/// `nullCount` of the columns that are not nested.
///
/// # Errors
/// Bug: they cannot be written as JSON.
pub fn statistics(metadata: &ParquetMetaData, schema: &Schema) -> Result<String> {
    let mut smallest = Map::new();
    let mut largest = Map::new();
    let mut nulls = Map::new();
    for field in schema.fields().iter().filter(|field| !field.data_type().is_nested()) {
        let chunks = chunks(metadata, field.name());
        if let Some(count) = chunks.iter().map(|chunk| null_count(chunk)).sum::<Option<u64>>() {
            nulls.insert(field.name().clone(), json!(count));
        }
        if let Some((min, max)) = bounds(&chunks, field.data_type()) {
            smallest.insert(field.name().clone(), min);
            largest.insert(field.name().clone(), max);
        }
    }
    let statistics = json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": smallest,
        "maxValues": largest,
        "nullCount": nulls,
    });
    serde_json::to_string(&statistics).bug("could not write the statistics of a file")
}

fn chunks<'a>(metadata: &'a ParquetMetaData, name: &str) -> Vec<&'a ColumnChunkMetaData> {
    let columns = metadata.row_groups().iter().flat_map(|row_group| row_group.columns());
    columns.filter(|column| column.column_path().parts() == [name]).collect()
}

fn null_count(chunk: &ColumnChunkMetaData) -> Option<u64> {
    chunk.statistics()?.null_count_opt()
}

/// The smallest and the largest value of all chunks; none if a chunk does not tell.
fn bounds(chunks: &[&ColumnChunkMetaData], data_type: &DataType) -> Option<(Value, Value)> {
    // A chunk of nulls has no bounds and widens none.
    let has_values = |chunk: &&&ColumnChunkMetaData| {
        null_count(chunk) != Some(chunk.num_values().cast_unsigned())
    };
    let statistics: Option<Vec<&Statistics>> =
        chunks.iter().filter(has_values).map(|chunk| chunk.statistics()).collect();
    let statistics = statistics?;
    match statistics.first()? {
        Statistics::Int32(_) => {
            let (min, max) = extremes(&statistics, |it| match it {
                Statistics::Int32(it) => Some((*it.min_opt()?, *it.max_opt()?)),
                _ => None,
            })?;
            Some((number(min.into(), data_type, false)?, number(max.into(), data_type, true)?))
        }
        Statistics::Int64(_) => {
            let (min, max) = extremes(&statistics, |it| match it {
                Statistics::Int64(it) => Some((*it.min_opt()?, *it.max_opt()?)),
                _ => None,
            })?;
            Some((number(min, data_type, false)?, number(max, data_type, true)?))
        }
        Statistics::ByteArray(_) => {
            let (min, max) = extremes(&statistics, |it| match it {
                Statistics::ByteArray(it) => Some((it.min_opt()?.clone(), it.max_opt()?.clone())),
                _ => None,
            })?;
            Some((text(&min, data_type)?, text(&max, data_type)?))
        }
        _ => None,
    }
}

fn extremes<T: PartialOrd>(
    statistics: &[&Statistics],
    bounds: impl Fn(&Statistics) -> Option<(T, T)>,
) -> Option<(T, T)> {
    let bounds: Option<Vec<(T, T)>> = statistics.iter().map(|it| bounds(it)).collect();
    bounds?.into_iter().reduce(|all, one| {
        let min = if one.0 < all.0 { one.0 } else { all.0 };
        let max = if one.1 > all.1 { one.1 } else { all.1 };
        (min, max)
    })
}

fn number(value: i64, data_type: &DataType, upper: bool) -> Option<Value> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(json!(value)),
        DataType::Date32 => {
            let date = DateTime::from_timestamp(value.checked_mul(86_400)?, 0)?;
            Some(json!(date.format("%Y-%m-%d").to_string()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            // Delta keeps milliseconds: the upper bound must not be cut below the truth.
            let millis = value.div_euclid(1_000) + i64::from(upper && value % 1_000 != 0);
            let at = DateTime::from_timestamp_millis(millis)?;
            Some(json!(at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
        }
        _ => None,
    }
}

fn text(value: &ByteArray, data_type: &DataType) -> Option<Value> {
    let is_text = match data_type {
        DataType::Dictionary(_, value) => value.is_string(),
        other => other.is_string(),
    };
    is_text.then(|| value.as_utf8().ok().map(|text| json!(text))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: i64, data_type: &DataType, expected: [&str; 2]) {
        let bounds = [false, true].map(|upper| number(value, data_type, upper));
        let bounds = bounds.map(|bound| bound.expect("a bound").to_string());
        assert_eq!(bounds, expected);
    }

    #[test]
    fn bounds_are_never_narrower_than_the_values() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = 1_431_857_103_000_000;
        let second = "\"2015-05-17T10:05:03.000Z\"";
        check(at, &micros, [second, second]);
        check(at + 1, &micros, [second, "\"2015-05-17T10:05:03.001Z\""]);
        check(-1, &micros, ["\"1969-12-31T23:59:59.999Z\"", "\"1970-01-01T00:00:00.000Z\""]);
        check(16_572, &DataType::Date32, ["\"2015-05-17\"", "\"2015-05-17\""]);
        check(-7, &DataType::Int16, ["-7", "-7"]);
    }
}
