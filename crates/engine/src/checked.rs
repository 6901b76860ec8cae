//! Arithmetic of whole numbers that does not wrap: where a result has no place in its type, the
//! expression fails, and the row that it is computed of is refused.
//!
//! Operators are replaced while a plan still has all that was written, before anything is
//! simplified, so that constants and every kind of node are covered alike.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, downcast_integer_array};
use arrow::compute::kernels::numeric;
use arrow::compute::try_binary;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// Replaces sums, differences, products, shifts and signs that could wrap, all over a plan. Comes
/// after the rule that makes both sides of an operator one type.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(checked_node).data()
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }
}

fn checked_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    // A condition or an order within an aggregate is part of its name.
    let names = NamePreserver::new(&node);
    let changed = node.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(replaced(expr, &schema)?.update_data(|expr| name.restore(expr)))
    })?;
    match changed.transformed {
        true => changed.map_data(LogicalPlan::recompute_schema),
        false => Ok(changed),
    }
}

/// The same expression, failing where a sum, difference, product, shift or sign would wrap.
///
/// # Errors
/// The expression has no type over these columns.
pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    replaced(expr, schema).data()
}

fn replaced(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| match part {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let is_checked = match op {
                Operator::Plus | Operator::Minus | Operator::Multiply => {
                    wraps(&left.get_type(schema)?) && wraps(&right.get_type(schema)?)
                }
                Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight => {
                    left.get_type(schema)?.is_integer()
                }
                _ => false,
            };
            Ok(match is_checked {
                true => Transformed::yes(call(op, vec![*left, *right])),
                false => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            })
        }
        Expr::Negative(argument) => Ok(match argument.get_type(schema)?.is_signed_integer() {
            true => Transformed::yes(call(Operator::Minus, vec![*argument])),
            false => Transformed::no(Expr::Negative(argument)),
        }),
        part => Ok(Transformed::no(part)),
    })
}

/// Whether results of this type wrap where they are computed without a check. All others fail, are
/// rounded, or become infinite.
fn wraps(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

fn call(operator: Operator, sides: Vec<Expr>) -> Expr {
    let signature = Signature::any(sides.len(), Volatility::Immutable);
    let function = ScalarUDF::from(Checked { operator, signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(function.into(), sides))
}

/// An operator as a function, over two columns of one type, or a minus before one. It is called
/// what the operator is called, as other parts of a plan know it by that name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "checked_sum",
            Operator::Minus => "checked_difference",
            Operator::Multiply => "checked_product",
            Operator::BitwiseShiftLeft => "checked_shift_left",
            _ => "checked_shift_right",
        }
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        match arguments {
            [left, right] => {
                let (left, right) = (left.schema_name(), right.schema_name());
                Ok(format!("{left} {} {right}", self.operator))
            }
            [one] => Ok(format!("(- {})", one.schema_name())),
            _ => Err(no_side()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(no_side)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let fields = arguments.arg_fields;
        let first = fields.first().ok_or_else(no_side)?;
        let nullable = fields.iter().any(|field| field.is_nullable());
        Ok(Field::new(self.name(), first.data_type().clone(), nullable).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (left, right) = match &arguments.args[..] {
            [left, right] => (left, right),
            [one] => (&ColumnarValue::Scalar(ScalarValue::new_zero(&one.data_type())?), one),
            _ => return Err(no_side()),
        };
        match self.operator {
            Operator::Plus => apply(left, right, numeric::add),
            Operator::Minus => apply(left, right, numeric::sub),
            Operator::Multiply => apply(left, right, numeric::mul),
            operator => shifted(operator, &arguments.args),
        }
    }
}

fn shifted(operator: Operator, sides: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(sides)?;
    let [left, right] = &arrays[..] else { return Err(no_side()) };
    let (left, right) = (left.as_ref(), right.as_ref());
    let shifted: ArrayRef = downcast_integer_array!(
        (left, right) => Arc::new(shift(operator, left, right)?),
        _ => return Err(no_side())
    );
    match sides.iter().all(|side| matches!(side, ColumnarValue::Scalar(_))) {
        true => ScalarValue::try_from_array(&shifted, 0).map(ColumnarValue::Scalar),
        false => Ok(ColumnarValue::Array(shifted)),
    }
}

/// Whole numbers shifted by others of their type: one to the left is twice the number, or fails.
fn shift<T: ArrowPrimitiveType>(
    operator: Operator,
    left: &PrimitiveArray<T>,
    right: &PrimitiveArray<T>,
) -> std::result::Result<PrimitiveArray<T>, ArrowError>
where
    T::Native: Into<i128> + TryFrom<i128>,
{
    let bits = 8 * size_of::<T::Native>() as i128;
    try_binary(left, right, |value, by| {
        let (value, by): (i128, i128) = (value.into(), by.into());
        let overflow = || {
            ArrowError::ArithmeticOverflow(format!("Overflow happened on: {value} {operator} {by}"))
        };
        if !(0..bits).contains(&by) {
            return Err(overflow());
        }
        // Neither leaves 128 bits.
        let shifted = match operator {
            Operator::BitwiseShiftLeft => value << by,
            _ => value >> by,
        };
        T::Native::try_from(shifted).map_err(|_| overflow())
    })
}

fn no_side() -> DataFusionError {
    DataFusionError::Internal("an operator stands between two sides, or before one".to_owned())
}
