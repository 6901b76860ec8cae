//! `fingerprint(a, b, …)`: a number of 128 bits by which equal values are told from all others.
//!
//! Groups of several texts cost a copy and a comparison of each text for every row; groups of one
//! number cost next to nothing. Among a billion distinct rows, the chance that any two have one
//! fingerprint is below 10⁻²⁰, as far as the hash is as good as chance. It is none of cryptography:
//! whoever writes the rows and wants two to be counted as one may find such. Fingerprints hold
//! within a process: their seeds are drawn at its start.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The seeds of the two halves.
static SEEDS: LazyLock<[QualityRandomState; 2]> = LazyLock::new(|| {
    let drawn = RandomState::new();
    [0_u8, 1].map(|half| QualityRandomState::with_seed(drawn.hash_one(half)))
});

/// The function, with any number of arguments of any type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    signature: Signature,
}

impl Fingerprint {
    /// The function, as SQL calls it.
    pub fn udf() -> ScalarUDF {
        ScalarUDF::from(Self { signature: Signature::variadic_any(Volatility::Stable) })
    }
}

impl ScalarUDFImpl for Fingerprint {
    fn name(&self) -> &'static str {
        "fingerprint"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The widest number that groups are made of as fast as of a short one.
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|value| value.to_array(rows));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let (mut high, mut low) = (vec![0; rows], vec![0; rows]);
        create_hashes(&columns, &SEEDS[0], &mut high)?;
        create_hashes(&columns, &SEEDS[1], &mut low)?;
        let both = high.iter().zip(&low);
        let prints = both.map(|(high, low)| i128::from(*high) << 64 | i128::from(*low));
        let prints: Decimal128Array = prints.collect::<Vec<_>>().into();
        let prints = prints.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?;
        Ok(ColumnarValue::Array(Arc::new(prints)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
    use arrow::datatypes::{Decimal128Type, Int64Type};
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn ask(columns: [(&str, ArrayRef); 2], sql: &str) -> Vec<RecordBatch> {
        let context = SessionContext::new();
        context.register_udf(Fingerprint::udf());
        context.register_batch("rows", RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        context.sql(sql).await.unwrap().collect().await.unwrap()
    }

    fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<StringViewArray>())
    }

    #[tokio::test]
    async fn only_equal_rows_have_one_fingerprint() {
        let values = [None, Some(""), Some("a"), Some("b"), Some("ab"), Some("a text of 26 bytes")];
        let pairs = values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b)));
        // Each pair twice.
        let pairs = || pairs.clone().chain(pairs.clone());
        let columns =
            [("a", texts(pairs().map(|(a, _)| a))), ("b", texts(pairs().map(|(_, b)| b)))];
        let batches = ask(columns, "SELECT fingerprint(a, b) FROM rows").await;
        let column = batches[0].column(0).as_primitive::<Decimal128Type>();
        let prints = column.values();
        assert_eq!(column.null_count(), 0);
        assert_eq!(prints.iter().collect::<HashSet<_>>().len(), values.len() * values.len());
        assert_eq!(prints[..prints.len() / 2], prints[prints.len() / 2..]);
    }

    #[tokio::test]
    async fn groups_of_fingerprints_are_the_groups_of_the_values() {
        let numbers: Vec<_> = (0..20_000).map(|number| format!("{}", number % 7_919)).collect();
        let others: Vec<_> = (0..20_000).map(|number| format!("{}", number % 3)).collect();
        let of = |values: &[String]| texts(values.iter().map(|value| Some(value.as_str())));
        let sql = "SELECT (SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY fingerprint(a, b))) AS \
                   ours, (SELECT count(*) FROM (SELECT 1 FROM rows GROUP BY a, b)) AS theirs";
        let batches = ask([("a", of(&numbers)), ("b", of(&others))], sql).await;
        let counts = [0, 1].map(|at| batches[0].column(at).as_primitive::<Int64Type>().value(0));
        assert_eq!(counts, [20_000; 2]);
    }
}
