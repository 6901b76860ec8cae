//! The operator `||` of texts as a function, so that it has the bound of one.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{BATCH_BYTES_MAX, QUERY_BATCH_BYTES_MAX, bounded};

static IN_PIPELINES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| of_batches(BATCH_BYTES_MAX));
static IN_QUERIES: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| of_batches(QUERY_BATCH_BYTES_MAX));

fn of_batches(bytes_max: u64) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    bounded(Arc::new(ScalarUDF::from(Joined { signature })), bytes_max)
}

/// Plans `||` where a text stands on one side; lists and bytes are left to others.
#[derive(Clone, Copy, Debug)]
pub enum TextJoins {
    /// As pipelines have it.
    InPipelines,
    /// As queries have it.
    InQueries,
}

impl ExprPlanner for TextJoins {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = [&raw.left, &raw.right].map(|side| side.get_type(schema));
        let [Ok(left), Ok(right)] = types else { return Ok(PlannerResult::Original(raw)) };
        let fits = is_text(&left) && can_be_text(&right) || can_be_text(&left) && is_text(&right);
        if raw.op != BinaryOperator::StringConcat || !fits {
            return Ok(PlannerResult::Original(raw));
        }
        let function = match self {
            Self::InPipelines => &*IN_PIPELINES,
            Self::InQueries => &*IN_QUERIES,
        };
        let call = ScalarFunction::new_udf(function.clone(), vec![raw.left, raw.right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => other.is_string(),
    }
}

fn can_be_text(data_type: &DataType) -> bool {
    is_text(data_type)
        || data_type.is_primitive()
        || matches!(data_type, DataType::Null | DataType::Boolean)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<_> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [left, right] if can_be_text(left) && can_be_text(right) => {
                Ok(vec![DataType::Utf8View; 2])
            }
            _ => plan_err!("|| does not take {given:?}"),
        }
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = call.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { call.number_rows };
        let sides = call.args.iter().map(|side| side.to_array(rows));
        let sides = sides.collect::<Result<Vec<_>>>()?;
        let [left, right] = &sides[..] else { return plan_err!("|| has two sides") };
        let (left, right) = (left.as_string_view(), right.as_string_view());
        let (mut made, mut joined) = (StringViewBuilder::with_capacity(rows), String::new());
        for row in 0..rows {
            if left.is_null(row) || right.is_null(row) {
                made.append_null();
                continue;
            }
            joined.clear();
            joined.push_str(left.value(row));
            joined.push_str(right.value(row));
            made.append_value(&joined);
        }
        let made = made.finish();
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(Arc::new(made)),
        })
    }
}
