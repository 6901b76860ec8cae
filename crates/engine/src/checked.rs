//! Arithmetic of whole numbers that does not wrap: a row whose result has no place is refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};

/// The same expression, failing where a sum, a difference, a product or a sign would wrap.
///
/// # Errors
/// The expression has no type over these columns.
pub fn checked(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|part| {
        if let Some(binary) = part.downcast_ref::<BinaryExpr>() {
            return Ok(match binary.op() {
                Operator::Plus | Operator::Minus | Operator::Multiply => {
                    Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as _)
                }
                _ => Transformed::no(part),
            });
        }
        let Some(negative) = part.downcast_ref::<NegativeExpr>() else {
            return Ok(Transformed::no(part));
        };
        let argument = negative.arg().clone();
        let data_type = argument.data_type(schema)?;
        match data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                let zero = Arc::new(Literal::new(ScalarValue::new_zero(&data_type)?));
                let difference = BinaryExpr::new(zero, Operator::Minus, argument);
                Ok(Transformed::yes(Arc::new(difference.with_fail_on_overflow(true)) as _))
            }
            _ => Ok(Transformed::no(part)),
        }
    })
    .data()
}
