//! Functions that can make much of little, with a bound on what they make of one row.
//!
//! `repeat(text, 100000000)` is one short row and no memory holds it. Beyond the bound a row is
//! refused: alone in a pipeline, which tries a batch again in parts, else with its whole query.
//! Rows that may make too much together are worked on in parts, of which each is counted.
//!
//! `estimates` has the list of these functions, [`joined`] the operator `||` as one of them.

mod arguments;
mod estimates;
pub mod joined;

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use contract::transform::Means;
use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use arguments::Given;
use estimates::{BOUNDED, Estimate};

/// Bytes that a function may make of one row, or add to it.
const ROW_BYTES_MAX: u64 = 1 << 20;
/// Bytes that it may make of rows at once, by what is known before.
const PART_BYTES_MAX: u64 = 64 << 20;
/// Bytes that it may make of a batch in a pipeline, which tries again in parts, where there is
/// memory enough.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Bytes that it may make of a batch in a query.
pub const QUERY_BATCH_BYTES_MAX: u64 = 256 << 20;

/// The part of a pipeline's memory that a function may take for what it makes of a batch.
const MEMORY_SHARE: u64 = 4;
/// What it may make of a batch however little memory there is: two rows of the largest kind.
const BATCH_BYTES_MIN: u64 = 2 * ROW_BYTES_MAX;

/// What a function may make of a batch in a pipeline with these means.
pub fn made_of_batch_max(means: Means) -> u64 {
    (means.memory_bytes / MEMORY_SHARE).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX)
}

/// A function, with a bound if it needs one on what it makes of a row and of a batch. Of two bounds
/// the lower one holds.
pub fn bounded(function: Arc<ScalarUDF>, batch_bytes_max: u64) -> Arc<ScalarUDF> {
    let any: &dyn Any = function.inner().as_ref();
    let (inner, estimate) = match any.downcast_ref::<Bounded>() {
        Some(known) if known.batch_bytes_max <= batch_bytes_max => return function,
        Some(known) => (known.inner.clone(), known.estimate),
        None => match BOUNDED.iter().find(|(name, _)| *name == function.name()) {
            Some((_, estimate)) => (function, *estimate),
            None => return function,
        },
    };
    Arc::new(ScalarUDF::from(Bounded { inner, estimate, batch_bytes_max }))
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

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
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
        let arguments = call.args.iter().map(Given::of).collect::<Result<Vec<_>>>()?;
        let ends = self.parts(&arguments, rows)?;
        if TEXT_FIRST.contains(&self.name()) {
            tame(&arguments, rows, &mut call.args);
        }
        match ends.as_slice() {
            [] | [_] => self.inner.invoke_with_args(call),
            ends => self.in_parts(&call, ends),
        }
    }
}

impl Bounded {
    /// Where the parts end that can be worked on at once.
    fn parts(&self, arguments: &[Given], rows: usize) -> Result<Vec<usize>> {
        if matches!(self.estimate, Estimate::Joins(_)) && estimates::are_short(arguments, rows) {
            return Ok(vec![rows]);
        }
        let part_bytes_max = PART_BYTES_MAX.min(self.batch_bytes_max);
        let (mut ends, mut part) = (Vec::new(), 0_u64);
        for row in 0..rows {
            let made = match self.estimate {
                Estimate::Makes(estimate) => {
                    let made = estimate(arguments, row);
                    if made > ROW_BYTES_MAX {
                        return Err(self.too_much(ROW_BYTES_MAX, "one row"));
                    }
                    made
                }
                Estimate::Joins(estimate) => {
                    let made = estimate(arguments, row);
                    if made.saturating_sub(estimates::largest(arguments, row)) > ROW_BYTES_MAX {
                        return Err(
                            self.too_much(ROW_BYTES_MAX, "one row, beyond its largest part")
                        );
                    }
                    made
                }
            };
            part = part.saturating_add(made);
            if part > part_bytes_max && row > 0 {
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
fn tame(arguments: &[Given], rows: usize, given: &mut [ColumnarValue]) {
    let [texts, counts, ..] = arguments else { return };
    let Some(numbers) = counts.values.as_primitive_opt::<Int64Type>() else { return };
    let is_wild = |number: Option<i64>| number.is_none_or(|number| number < 0);
    if texts.values.null_count() == 0 && !numbers.iter().any(is_wild) {
        return;
    }
    let tamed = (0..rows).map(|row| match texts.is_null(row) {
        true => Some(0),
        false => counts.number(row).map(|number| number.max(0)),
    });
    given[1] = ColumnarValue::Array(Arc::new(tamed.collect::<Int64Array>()));
}
