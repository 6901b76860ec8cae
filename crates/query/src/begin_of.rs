//! `begin_of(time, 'a,b,…')`: the last of some moments that is not after a time.
//!
//! The moments are microseconds since 1970, ascending. So groups by days, weeks or months of any
//! zone need no calendar for each row: whoever asks knows where the steps of his range begin.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The zone of all times in lake tables.
const UTC: &str = "UTC";

/// The function, of a time and a text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct BeginOf {
    signature: Signature,
}

impl BeginOf {
    /// The function, as SQL calls it.
    pub fn udf() -> ScalarUDF {
        ScalarUDF::from(Self { signature: Signature::any(2, Volatility::Immutable) })
    }
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

impl ScalarUDFImpl for BeginOf {
    fn name(&self) -> &'static str {
        "begin_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(time_type())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, ColumnarValue::Scalar(moments)] = arguments.args.as_slice() else {
            return exec_err!("begin_of takes a time and a text");
        };
        let moments = read(moments)?;
        let times = cast(&times.to_array(arguments.number_rows)?, &time_type())?;
        let begins = begins(times.as_primitive(), &moments).with_timezone(UTC);
        Ok(ColumnarValue::Array(Arc::new(begins) as ArrayRef))
    }
}

fn read(moments: &ScalarValue) -> Result<Vec<i64>> {
    let text = moments.try_as_str().flatten().unwrap_or_default();
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse::<i64>);
    match numbers.collect() {
        Ok(numbers) => Ok(numbers),
        Err(error) => exec_err!("begin_of takes whole numbers: {error}"),
    }
}

fn begins(
    times: &PrimitiveArray<TimestampMicrosecondType>,
    moments: &[i64],
) -> PrimitiveArray<TimestampMicrosecondType> {
    // Rows of one time come together: most lie in the step of the row before.
    let (mut from, mut to) = (i64::MAX, i64::MIN);
    let begin = |time: Option<i64>| {
        let time = time?;
        if !(from..to).contains(&time) {
            let at = moments.partition_point(|moment| *moment <= time);
            from = *moments.get(at.checked_sub(1)?)?;
            to = moments.get(at).copied().unwrap_or(i64::MAX);
        }
        Some(from)
    };
    times.iter().map(begin).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_time_begins_where_its_step_does() {
        let times: Int64Array =
            vec![Some(10), Some(19), None, Some(20), Some(9), Some(35), Some(i64::MIN)].into();
        let times = times.reinterpret_cast::<TimestampMicrosecondType>().with_timezone(UTC);
        let rows = RecordBatch::try_from_iter([("ts", Arc::new(times) as ArrayRef)]).unwrap();
        let context = SessionContext::new();
        context.register_udf(BeginOf::udf());
        context.register_batch("rows", rows).unwrap();
        let sql = "SELECT CAST(begin_of(ts, '10,20,30') AS BIGINT) AS b FROM rows";
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let begins = batches[0].column(0).as_primitive::<Int64Type>().iter();
        let expect = [Some(10), Some(10), None, Some(20), None, Some(30), None];
        assert_eq!(begins.collect::<Vec<_>>(), expect);
    }
}
