//! One aggregate of a window: what it reads of a row, and who adds it up.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use contract::{Error, Result, Section};
use datafusion::common::DFSchemaRef;
use datafusion::error::Result as EvalResult;
use datafusion::logical_expr::{Expr, ExprSchemable, GroupsAccumulator, cast};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::plain;
use crate::expressions::Expressions;
use crate::planner::{Call, aggregate, explain};

/// What a window can make of the rows of a group: whatever way the rows come in parts, the result
/// is the same, and what is kept of a group does not grow with its rows, but for distinct values.
const POSSIBLE: [&str; 8] =
    ["count", "sum", "min", "max", "avg", "approx_distinct", "bool_and", "bool_or"];

/// The type in which integers are added up: no sum of 64-bit numbers of one epoch leaves it.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// An aggregate that was planned.
pub struct Aggregate {
    /// The column that comes out.
    pub field: Field,
    /// What is read of each row: the arguments, then the condition, if there is one.
    pub read: Expressions,
    /// The columns in which it is kept before it is whole.
    pub state: Vec<FieldRef>,
    /// As it was written, with the types that it reads.
    pub text: String,
    has_condition: bool,
    function: Arc<AggregateFunctionExpr>,
}

impl Aggregate {
    /// Plans a call over the columns of a schema.
    ///
    /// # Errors
    /// Config: what is wrong with the call, or what a window does not do.
    pub fn plan(name: &str, text: &str, columns: &DFSchemaRef) -> Result<Self> {
        let Call { function, arguments, is_distinct, condition } = aggregate(text, columns)?;
        if !POSSIBLE.contains(&function.name()) {
            let possible = Section::did_you_mean(function.name(), POSSIBLE);
            let message = format!("{}() is not possible in a window", function.name());
            return Err(Error::config(message).hint(possible));
        }
        if is_distinct && function.name() != "count" {
            return Err(Error::config(format!(
                "DISTINCT is possible in count() alone, not in {}()",
                function.name()
            )));
        }
        let type_of = |expr: &Expr| expr.get_type(columns.as_ref()).map_err(explain);
        let arguments = arguments.into_iter().map(|one| {
            // Not every function knows dictionaries.
            let data_type = plain(&type_of(&one)?);
            one.cast_to(&data_type, columns.as_ref()).map_err(explain)
        });
        let mut arguments = arguments.collect::<Result<Vec<_>>>()?;
        let types = arguments.iter().map(type_of).collect::<Result<Vec<_>>>()?;
        let narrow = types.first().filter(|one| function.name() == "sum" && one.is_integer());
        let narrow = narrow.cloned();
        if narrow.is_some() {
            arguments = arguments.into_iter().map(|one| cast(one, WIDE)).collect();
        }
        let types = arguments.iter().map(type_of).collect::<Result<Vec<_>>>()?;
        let fields = types.iter().enumerate().map(|(number, data_type)| {
            Field::new(format!("argument_{number}"), data_type.clone(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let read = (0..arguments.len()).map(|number| {
            Arc::new(Column::new(&format!("argument_{number}"), number)) as Arc<dyn PhysicalExpr>
        });
        let function = AggregateExprBuilder::new(function, read.collect())
            .schema(schema)
            .alias(name)
            .with_distinct(is_distinct)
            .build()
            .map_err(explain)?;
        // What it cannot do with these types is said now rather than in the first epoch.
        function.create_accumulator().map_err(explain)?;
        let made = function.field();
        let data_type = match narrow {
            Some(one) if one.is_unsigned_integer() => DataType::UInt64,
            Some(_) => DataType::Int64,
            None => made.data_type().clone(),
        };
        let field = Field::new(name, data_type, made.is_nullable());
        let has_condition = condition.is_some();
        let read =
            Expressions::new(arguments.into_iter().chain(condition).collect(), columns.clone());
        let state = function.state_fields().map_err(explain)?;
        let types: Vec<_> = types.iter().map(ToString::to_string).collect();
        let text = format!("{text} of {}", types.join(", "));
        Ok(Self { field, read, state, text, has_condition, function: Arc::new(function) })
    }

    /// Who adds it up, group by group.
    ///
    /// # Errors
    /// The function cannot be made for these types.
    pub fn accumulator(&self) -> EvalResult<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }

    /// The arguments of rows, and which rows count.
    pub fn divide<'a>(&self, read: &'a [ArrayRef]) -> (&'a [ArrayRef], Option<&'a BooleanArray>) {
        match read.split_last() {
            Some((condition, arguments)) if self.has_condition => {
                (arguments, condition.as_boolean_opt())
            }
            _ => (read, None),
        }
    }

    /// The values of groups as they come out. What does not fit its type is null.
    ///
    /// # Errors
    /// They cannot have that type.
    pub fn finished(&self, values: &ArrayRef) -> EvalResult<ArrayRef> {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        Ok(cast_with_options(values, self.field.data_type(), &options)?)
    }
}
