//! Functions that can make much of little, with a bound on what they make of one row.
//!
//! `repeat(text, 100000000)` is one short row and no memory holds it. Beyond the bound a row is
//! refused: alone in a pipeline, which tries a batch again in parts, else with its whole query.
//! Rows that may make too much together are worked on in parts, of which each is counted.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
};
use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use regex::Regex;

/// Bytes that a function may make of one row.
const ROW_BYTES_MAX: u64 = 1 << 20;
/// Bytes that it may make of rows at once, by what is known before.
const PART_BYTES_MAX: u64 = 64 << 20;
/// Bytes that it may make of a batch in a pipeline, which tries again in parts.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Bytes that it may make of a batch in a query.
pub const QUERY_BATCH_BYTES_MAX: u64 = 256 << 20;
/// What an element of a list takes at least.
const ELEMENT_BYTES: u64 = 8;

/// Days of the shortest month.
const DAYS_OF_MONTH: i128 = 28;
/// Nanoseconds of a day.
const NANOS_OF_DAY: i128 = 86_400_000_000_000;
/// Nanoseconds of a millisecond.
const NANOS: u128 = 1_000_000;

/// Comparing so many pairs of letters costs as much as making a byte.
const COMPARED_PER_BYTE: u64 = 100;

/// How many bytes a function makes of a row, at most or nearly so.
type Estimate = fn(&[ArrayRef], usize) -> u64;

/// The functions with a bound.
const BOUNDED: &[(&str, Estimate)] = &[
    ("repeat", |arguments, row| times(text(arguments, 0, row).len(), count(arguments, 1, row))),
    ("lpad", padded),
    ("rpad", padded),
    ("replace", replaced),
    ("regexp_replace", replaced_by_pattern),
    ("levenshtein", |arguments, row| {
        let [one, other] = [0, 1].map(|index| text(arguments, index, row).len());
        times(one, other as u64) / COMPARED_PER_BYTE
    }),
    ("array_repeat", |arguments, row| times(size(arguments, 0, row), count(arguments, 1, row))),
    ("array_resize", |arguments, row| times(size(arguments, 2, row), count(arguments, 1, row))),
    ("range", series),
    ("generate_series", series),
];

/// A function, with a bound if it needs one on what it makes of a row and of a batch.
pub fn bounded(function: Arc<ScalarUDF>, batch_bytes_max: u64) -> Arc<ScalarUDF> {
    let known = BOUNDED.iter().find(|(name, _)| *name == function.name());
    match known {
        Some((_, estimate)) => {
            let estimate = *estimate;
            Arc::new(ScalarUDF::from(Bounded { inner: function, estimate, batch_bytes_max }))
        }
        None => function,
    }
}

/// Those of them that take a text and a count, and make null of a null text.
const TEXT_FIRST: &[&str] = &["repeat", "lpad", "rpad"];

#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    estimate: Estimate,
    batch_bytes_max: u64,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = call.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { call.number_rows };
        let arguments = call.args.iter().map(|arg| comparable(arg.clone().into_array(rows)?));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let ends = self.parts(&arguments, rows)?;
        if TEXT_FIRST.contains(&self.name()) {
            tame(&arguments, &mut call.args);
        }
        match ends.as_slice() {
            [] | [_] => self.inner.invoke_with_args(call),
            ends => self.in_parts(&call, ends),
        }
    }
}

impl Bounded {
    /// Where the parts end that can be worked on at once.
    fn parts(&self, arguments: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let (mut ends, mut part) = (Vec::new(), 0_u64);
        for row in 0..rows {
            let made = (self.estimate)(arguments, row);
            if made > ROW_BYTES_MAX {
                return Err(self.too_much(ROW_BYTES_MAX, "one row"));
            }
            part = part.saturating_add(made);
            if part > PART_BYTES_MAX {
                ends.push(row);
                part = made;
            }
        }
        ends.push(rows);
        Ok(ends)
    }

    fn in_parts(&self, call: &ScalarFunctionArgs, ends: &[usize]) -> Result<ColumnarValue> {
        let (mut from, mut all) = (0, 0_u64);
        let mut parts = Vec::with_capacity(ends.len());
        for end in ends {
            let rows = end - from;
            let of_part = |arg: &ColumnarValue| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                constant => constant.clone(),
            };
            let args = call.args.iter().map(of_part).collect();
            let part = ScalarFunctionArgs { args, number_rows: rows, ..call.clone() };
            let part = self.inner.invoke_with_args(part)?.into_array(rows)?;
            all = all.saturating_add(part.get_array_memory_size() as u64);
            if all > self.batch_bytes_max {
                return Err(self.too_much(self.batch_bytes_max, "one batch of rows"));
            }
            parts.push(part);
            from = *end;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part as _).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }

    fn too_much(&self, bytes: u64, of: &str) -> DataFusionError {
        let name = self.name();
        DataFusionError::Execution(format!("{name} would make more than {bytes} bytes of {of}"))
    }
}

/// Takes counts away that nothing comes of: these functions make room for them all the same, also
/// for those that stand behind a null and for negative ones.
fn tame(arguments: &[ArrayRef], given: &mut [ColumnarValue]) {
    let numbers = arguments.get(1).and_then(|one| one.as_primitive_opt::<Int64Type>());
    let (Some(numbers), Some(given)) = (numbers, given.get_mut(1)) else { return };
    let is_wild = |number: Option<i64>| number.is_none_or(|number| number < 0);
    if arguments[0].null_count() == 0 && !numbers.iter().any(is_wild) {
        return;
    }
    let counts = numbers.iter().enumerate().map(|(row, number)| match arguments[0].is_null(row) {
        true => Some(0),
        false => number.map(|number| number.max(0)),
    });
    *given = ColumnarValue::Array(Arc::new(counts.collect::<Int64Array>()));
}

/// A column in one of the two forms that estimates read: text and whole numbers. Times are numbers
/// of milliseconds.
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

/// The text of an argument; empty where it is null or another type.
fn text(arguments: &[ArrayRef], index: usize, row: usize) -> &str {
    let texts = arguments.get(index).and_then(|argument| argument.as_string_view_opt());
    texts.filter(|texts| texts.is_valid(row)).map_or("", |texts| texts.value(row))
}

/// How many bytes a value takes in a list.
fn size(arguments: &[ArrayRef], index: usize, row: usize) -> usize {
    let Some(argument) = arguments.get(index) else { return ELEMENT_BYTES as usize };
    let taken = match argument.data_type() {
        DataType::Utf8View => text(arguments, index, row).len(),
        _ => argument.slice(row, 1).to_data().get_slice_memory_size().unwrap_or_default(),
    };
    taken.max(ELEMENT_BYTES as usize)
}

/// The whole number of an argument; none where it is missing, null or another type.
fn number(arguments: &[ArrayRef], index: usize, row: usize) -> Option<i64> {
    let numbers = arguments.get(index).and_then(|one| one.as_primitive_opt::<Int64Type>());
    numbers.filter(|numbers| numbers.is_valid(row)).map(|numbers| numbers.value(row))
}

/// The same as a count: 0 where it is negative.
fn count(arguments: &[ArrayRef], index: usize, row: usize) -> u64 {
    number(arguments, index, row).map_or(0, |number| u64::try_from(number).unwrap_or(0))
}

/// `lpad(text, characters[, fill])` of a text that is there.
fn padded(arguments: &[ArrayRef], row: usize) -> u64 {
    match arguments.iter().any(|argument| argument.is_null(row)) {
        true => 0,
        false => count(arguments, 1, row),
    }
}

fn times(bytes: usize, count: u64) -> u64 {
    (bytes as u64).saturating_mul(count)
}

/// `replace(text, from, to)`, counted only where it may grow beyond the bound.
fn replaced(arguments: &[ArrayRef], row: usize) -> u64 {
    let [whole, from, to] = [0, 1, 2].map(|index| text(arguments, index, row));
    let at_most = times(to.len(), whole.len() as u64 + 1).saturating_add(whole.len() as u64);
    if at_most <= ROW_BYTES_MAX {
        return at_most;
    }
    let found = match from.is_empty() {
        true => whole.chars().count() + 1,
        false => whole.matches(from).count(),
    };
    match found {
        0 => 0,
        found => times(to.len(), found as u64),
    }
}

/// `regexp_replace(text, pattern, replacement[, flags])`, counted only where it may grow beyond the
/// bound; `\\1` and `$1` in a replacement stand for what was found.
fn replaced_by_pattern(arguments: &[ArrayRef], row: usize) -> u64 {
    let [whole, pattern, to, flags] = [0, 1, 2, 3].map(|index| text(arguments, index, row));
    let groups = to.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as u64;
    let whole_bytes = whole.len() as u64;
    let at_most = times(to.len(), whole_bytes + 1).saturating_add((groups + 1) * whole_bytes);
    if at_most <= ROW_BYTES_MAX {
        return at_most;
    }
    let Ok(pattern) = Regex::new(pattern) else { return 0 };
    let found = pattern.find_iter(whole).take(if flags.contains('g') { usize::MAX } else { 1 });
    let of_one = |found: regex::Match<'_>| to.len() as u64 + groups * found.len() as u64;
    found.map(of_one).fold(whole_bytes, u64::saturating_add)
}

/// `range([start,] stop[, step])` over whole numbers, or over times with a span between them.
fn series(arguments: &[ArrayRef], row: usize) -> u64 {
    let number = |index| number(arguments, index, row).map(i128::from);
    let (start, stop) = match arguments.len() {
        1 => (Some(0), number(0)),
        _ => (number(0), number(1)),
    };
    let (Some(start), Some(stop)) = (start, stop) else { return 0 };
    let spans = arguments.get(2).and_then(|one| one.as_primitive_opt::<IntervalMonthDayNanoType>());
    let (distance, step) = match spans {
        Some(spans) if spans.is_null(row) => return 0,
        // Times are known to the millisecond.
        Some(spans) => (((stop - start).unsigned_abs() + 1) * NANOS, shortest(spans.value(row))),
        None => ((stop - start).unsigned_abs(), number(2).unwrap_or(1).unsigned_abs()),
    };
    let steps = u64::try_from(distance / step.max(1));
    steps.unwrap_or(u64::MAX).saturating_mul(ELEMENT_BYTES)
}

/// Nanoseconds that a span takes at least, in whatever months it falls.
fn shortest(span: IntervalMonthDayNano) -> u128 {
    let days = i128::from(span.months) * DAYS_OF_MONTH + i128::from(span.days);
    (days * NANOS_OF_DAY + i128::from(span.nanoseconds)).unsigned_abs()
}
