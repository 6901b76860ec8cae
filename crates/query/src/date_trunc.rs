//! SQL's `date_trunc`, by arithmetic where times are in UTC.
//!
//! DataFusion's own goes through the calendar for any time with a zone, UTC too, which costs more
//! than reading the times from the lake. Without a zone it counts, with the same result.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The zone of all times in lake tables and logs.
const UTC: &str = "UTC";

/// The function that takes the place of DataFusion's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl DateTrunc {
    /// The function, which is called as DataFusion's is.
    pub fn udf() -> ScalarUDF {
        ScalarUDF::from(Self { inner: date_trunc() })
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let utc = arguments.args.get(1).and_then(times_in_utc);
        let Some(times) = utc else { return self.inner.invoke_with_args(arguments) };
        let times = with_zone(&times, None);
        let promised = arguments.return_field.as_ref().clone();
        arguments.return_field = Arc::new(promised.with_data_type(times.data_type().clone()));
        arguments.args[1] = ColumnarValue::Array(times);
        match self.inner.invoke_with_args(arguments)? {
            ColumnarValue::Array(cut) => {
                let cut = cut.as_primitive::<TimestampMicrosecondType>();
                Ok(ColumnarValue::Array(with_zone(cut, Some(UTC))))
            }
            scalar => Ok(scalar),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }
}

fn times_in_utc(value: &ColumnarValue) -> Option<PrimitiveArray<TimestampMicrosecondType>> {
    let ColumnarValue::Array(array) = value else { return None };
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if **zone == *UTC => {
            Some(array.as_primitive().clone())
        }
        _ => None,
    }
}

/// The same numbers, read in another zone.
fn with_zone(
    times: &PrimitiveArray<TimestampMicrosecondType>,
    zone: Option<&'static str>,
) -> ArrayRef {
    Arc::new(times.clone().with_timezone_opt(zone))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Times from before 1970 to 2100, at odd moments, and a null.
    fn times() -> RecordBatch {
        let odd = |number: i64| (number % 97 > 0).then_some(number * 7_919_000_003_331 - (1 << 50));
        let micros: Int64Array = (0..600).map(odd).collect();
        let micros = micros.reinterpret_cast::<TimestampMicrosecondType>().with_timezone(UTC);
        RecordBatch::try_from_iter([("ts", Arc::new(micros) as ArrayRef)]).unwrap()
    }

    async fn ask(context: &SessionContext, sql: &str) -> String {
        context.register_batch("times", times()).unwrap();
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    #[tokio::test]
    async fn it_answers_as_datafusion_does() {
        for unit in ["second", "minute", "HOUR", "day", "week", "month", "quarter", "year"] {
            let sql = format!(
                "SELECT date_trunc('{unit}', ts), arrow_typeof(date_trunc('{unit}', ts)), \
                 date_trunc('{unit}', TIMESTAMP '2025-01-06T10:20:30Z') FROM times"
            );
            let ours = SessionContext::new();
            ours.register_udf(DateTrunc::udf());
            assert_eq!(ask(&ours, &sql).await, ask(&SessionContext::new(), &sql).await, "{unit}");
        }
    }
}
