//! Which partition a row belongs to.
//!
//! A derived partition column (`ts_day`) stands beside the column it is made of; a plain one is
//! stored in the table's log alone. The path of a file is for people: its values are in the log.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{cast, partition, take_record_batch};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use chrono::DateTime;
use contract::error::Context;
use contract::{Error, Result, record};

/// What Hive and Delta call the partition of nulls.
const NULL_SEGMENT: &str = "__HIVE_DEFAULT_PARTITION__";
/// Longest value that is shown in a path, in bytes.
const SEGMENT_VALUE_MAX: usize = 100;
/// More runs of equal values than this in one batch are gathered, not sliced.
const RUNS_SLICED_MAX: usize = 8;

/// One partition column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionBy {
    source: String,
    grain: Grain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grain {
    Value,
    Hour,
    Day,
    Month,
}

/// The values of a file's partition columns, in their order.
pub type PartitionKey = Vec<Option<String>>;

impl PartitionBy {
    /// Reads `day(ts)` or a column's name.
    ///
    /// # Errors
    /// Config: neither of these.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let Some((function, rest)) = text.split_once('(') else {
            return Self::new(text, Grain::Value);
        };
        let source = rest.strip_suffix(')').ok_or_else(|| bad_expression(text))?.trim();
        let grain = match function.trim() {
            "hour" => Grain::Hour,
            "day" => Grain::Day,
            "month" => Grain::Month,
            _ => return Err(bad_expression(text)),
        };
        Self::new(source, grain)
    }

    fn new(source: &str, grain: Grain) -> Result<Self> {
        if source.is_empty() || record::is_origin(source) {
            return Err(bad_expression(source));
        }
        Ok(Self { source: source.to_owned(), grain })
    }

    /// The name of the partition column.
    pub fn column(&self) -> String {
        match self.grain {
            Grain::Value => self.source.clone(),
            Grain::Hour => format!("{}_hour", self.source),
            Grain::Day => format!("{}_day", self.source),
            Grain::Month => format!("{}_month", self.source),
        }
    }

    /// The column that the table has only because of the partition.
    pub fn derived(&self) -> Option<Field> {
        let data_type = match self.grain {
            Grain::Value => return None,
            Grain::Day => DataType::Date32,
            Grain::Hour | Grain::Month => DataType::Utf8,
        };
        Some(Field::new(self.column(), data_type, true))
    }

    /// Checks that the stored schema has a column that can be partitioned so.
    ///
    /// # Errors
    /// Config: it has not.
    pub fn check(&self, stored: &Schema) -> Result<()> {
        let field = stored.field_with_name(&self.source).map_err(|_| {
            let names = stored.fields().iter().map(|field| field.name().as_str());
            Error::config(format!("partition column {:?} does not exist", self.source))
                .hint(contract::Section::did_you_mean(&self.source, names))
        })?;
        if self.grain != Grain::Value && stored.field_with_name(&self.column()).is_ok() {
            let (column, source) = (self.column(), &self.source);
            return Err(Error::config(format!(
                "partitions by {source:?} make a column {column:?}, and the rows have one of that \
                 name"
            ))
            .hint(format!(
                "name the one of the rows otherwise: `rename: {{ {column}: other }}` in a `parse` \
                 step, `{column} AS other` in a `sql` step; or partition by it: `partition_by: \
                 {column}`"
            )));
        }
        let fits = match (self.grain, field.data_type()) {
            (Grain::Value, DataType::Dictionary(_, _)) => true,
            (Grain::Value, other) => {
                other.is_integer()
                    || other.is_string()
                    || matches!(other, DataType::Boolean | DataType::Date32)
            }
            (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(Error::config(format!(
            "a table cannot be partitioned by {:?} of type {}",
            self.column(),
            field.data_type()
        ))
        .hint("partition by text, whole numbers, booleans, dates, or day(…) of a timestamp"))
    }

    /// The partition's value of every row, as an array whose equal values are one partition.
    fn values(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let column = batch
            .column_by_name(&self.source)
            .ok_or_else(|| Error::bug(format!("a batch lost column {:?}", self.source)))?;
        let day = |column| cast(column, &DataType::Date32).bug("could not take a timestamp's day");
        match self.grain {
            Grain::Value if matches!(column.data_type(), DataType::Dictionary(_, _)) => {
                cast(column, &DataType::Utf8).bug("could not read a dictionary")
            }
            Grain::Value => Ok(column.clone()),
            Grain::Day => day(column),
            Grain::Month => Ok(Arc::new(months(&day(column)?))),
            Grain::Hour => Ok(Arc::new(hours(column))),
        }
    }
}

fn bad_expression(text: &str) -> Error {
    Error::config(format!("{text:?} is no partition"))
        .hint("write a column's name, day(column), hour(column) or month(column)")
}

/// `2015-05` for every date.
fn months(days: &ArrayRef) -> StringArray {
    let days = days.as_primitive::<Date32Type>();
    let month = |day| Date32Type::to_naive_date_opt(day).map(|date| date.format("%Y-%m"));
    days.iter().map(|day| day.and_then(month).map(|month| month.to_string())).collect()
}

/// `2015-05-17T10` for every timestamp.
fn hours(timestamps: &ArrayRef) -> StringArray {
    let timestamps = timestamps.as_primitive::<TimestampMicrosecondType>();
    let hour = |micros| DateTime::from_timestamp_micros(micros).map(|at| at.format("%Y-%m-%dT%H"));
    timestamps.iter().map(|at| at.and_then(hour).map(|hour| hour.to_string())).collect()
}

/// Parts a batch into one for each partition, keeping the order of rows in each.
///
/// # Errors
/// Bug: the batch lost a partition column.
pub fn split(
    batch: RecordBatch,
    partitions: &[PartitionBy],
) -> Result<Vec<(PartitionKey, RecordBatch)>> {
    if partitions.is_empty() {
        return Ok(vec![(Vec::new(), batch)]);
    }
    let values = partitions.iter().map(|by| by.values(&batch)).collect::<Result<Vec<_>>>()?;
    let runs = partition(&values).bug("could not compare partition values")?.ranges();
    let mut of_key: HashMap<PartitionKey, Vec<std::ops::Range<usize>>> = HashMap::new();
    let mut keys = Vec::new();
    for run in runs {
        let key = key_at(&values, run.start)?;
        let known = of_key.entry(key.clone()).or_default();
        if known.is_empty() {
            keys.push(key);
        }
        known.push(run);
    }
    let mut parts = Vec::with_capacity(keys.len());
    for key in keys {
        let runs = of_key.remove(&key).unwrap_or_default();
        for part in gather(&batch, &runs)? {
            parts.push((key.clone(), part));
        }
    }
    Ok(parts)
}

fn key_at(values: &[ArrayRef], row: usize) -> Result<PartitionKey> {
    let value = |array: &ArrayRef| {
        if array.is_null(row) {
            return Ok(None);
        }
        array_value_to_string(array, row).map(Some).bug("could not write a partition value")
    };
    values.iter().map(value).collect()
}

/// The rows of some ranges: slices where they are few, else one batch with copies of the rows.
fn gather(batch: &RecordBatch, runs: &[std::ops::Range<usize>]) -> Result<Vec<RecordBatch>> {
    if runs.len() <= RUNS_SLICED_MAX {
        return Ok(runs.iter().map(|run| batch.slice(run.start, run.len())).collect());
    }
    let rows: UInt64Array = runs.iter().flat_map(|run| run.start as u64..run.end as u64).collect();
    let taken = take_record_batch(batch, &rows).bug("could not gather a partition")?;
    Ok(vec![taken])
}

/// The folder of a partition, with a slash at the end; empty for a table without partitions.
pub fn folder(partitions: &[PartitionBy], key: &PartitionKey) -> String {
    let mut folder = String::new();
    for (by, value) in partitions.iter().zip(key) {
        folder.push_str(&segment(&by.column()));
        folder.push('=');
        folder.push_str(&value.as_deref().map_or(NULL_SEGMENT.to_owned(), segment));
        folder.push('/');
    }
    folder
}

/// A name that cannot leave its folder, whatever the value holds.
fn segment(value: &str) -> String {
    let mut shown = String::new();
    for byte in value.bytes().take(SEGMENT_VALUE_MAX) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                shown.push(char::from(byte));
            }
            _ => shown.push('~'),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, TimestampMicrosecondArray};

    use super::*;

    fn check(expression: &str, column: Option<&str>) {
        assert_eq!(PartitionBy::parse(expression).ok().map(|by| by.column()).as_deref(), column);
    }

    #[test]
    fn expressions_name_their_columns() {
        check("day(ts)", Some("ts_day"));
        check(" hour( ts ) ", Some("ts_hour"));
        check("month(at)", Some("at_month"));
        check("status", Some("status"));
        check("year(ts)", None);
        check("day(ts", None);
        check("_split", None);
        check("", None);
    }

    #[test]
    fn rows_keep_their_order_in_each_partition() {
        let day = 86_400_000_000_i64;
        let at: Vec<i64> = (0..40).map(|row| if row % 2 == 0 { row } else { day + row }).collect();
        let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
        let status = Int32Array::from_iter_values(0..40);
        let batch = RecordBatch::try_from_iter([
            ("ts", Arc::new(at) as ArrayRef),
            ("status", Arc::new(status) as ArrayRef),
        ])
        .expect("a batch");
        let parts = split(batch, &[PartitionBy::parse("day(ts)").expect("valid")]).expect("split");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].0, vec![Some("1970-01-01".to_owned())]);
        assert_eq!(parts[1].0, vec![Some("1970-01-02".to_owned())]);
        let odd = parts[1].1.column(1).as_primitive::<arrow::datatypes::Int32Type>();
        assert_eq!(odd.values().to_vec(), (0..20).map(|row| row * 2 + 1).collect::<Vec<_>>());
    }

    #[test]
    fn values_cannot_leave_their_folder() {
        let by = [PartitionBy::parse("host").expect("valid")];
        assert_eq!(folder(&by, &vec![Some("../../etc".to_owned())]), "host=..~..~etc/");
        assert_eq!(folder(&by, &vec![None]), format!("host={NULL_SEGMENT}/"));
    }
}
