//! Checked expressions over batches: no execution plan, only arrays in and arrays out.
//!
//! A row on which an expression fails is refused alone. Whether it fails depends on that row only,
//! not on the rows that happen to share its batch: what fails together is tried apart.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use chrono::DateTime;
use contract::Result;
use contract::record::Numbers;
use contract::transform::Output;
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as EvalResult;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::checked::checked;
use crate::planner::{bounded, depends_on_now, explain, reason};

/// Expressions over the columns of one schema, ready to be compiled for an epoch.
#[derive(Clone, Debug)]
pub struct Expressions {
    exprs: Vec<Expr>,
    schema: DFSchemaRef,
    depends_on_now: bool,
}

impl Expressions {
    /// Takes typed expressions over `schema`.
    pub fn new(exprs: Vec<Expr>, schema: DFSchemaRef) -> Self {
        let depends_on_now = exprs.iter().any(depends_on_now);
        Self { exprs, schema, depends_on_now }
    }

    /// Whether they must be compiled anew for each epoch.
    pub fn depends_on_now(&self) -> bool {
        self.depends_on_now
    }

    /// The same expressions after a change to each, which must not read other columns.
    #[must_use]
    pub fn map(self, mut change: impl FnMut(usize, Expr) -> Expr) -> Self {
        let changed = self.exprs.into_iter().enumerate();
        Self { exprs: changed.map(|(number, expr)| change(number, expr)).collect(), ..self }
    }

    /// Compiles them for an epoch whose `now()` is given in microseconds since 1970, and for
    /// functions that may make so much of a batch before it is worked on in parts.
    ///
    /// # Errors
    /// Config: a constant part of an expression cannot be computed.
    pub fn compile(&self, now_us: i64, batch_bytes_max: u64) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let now = DateTime::from_timestamp_micros(now_us).unwrap_or_default();
        let context = SimplifyContext::builder()
            .with_schema(self.schema.clone())
            .with_query_execution_start_time(Some(now))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let properties = ExecutionProps::new().with_query_execution_start_time(now);
        let planning = PhysicalPlanningContext::default();
        let compile = |expr: &Expr| {
            // What is simplified may call others.
            let bound = |expr| within_bounds(expr, batch_bytes_max);
            let exact = checked(bound(expr.clone())?, &self.schema)?;
            let simple = bound(simplifier.simplify(exact)?)?;
            create_physical_expr(&simple, &self.schema, &properties, &planning)
        };
        self.exprs.iter().map(compile).collect::<EvalResult<_>>().map_err(explain)
    }
}

/// The same expression with a bound on functions that the planner put in place of operators and
/// brackets.
fn within_bounds(expr: Expr, batch_bytes_max: u64) -> EvalResult<Expr> {
    expr.transform_up(|part| {
        let Expr::ScalarFunction(mut call) = part else { return Ok(Transformed::no(part)) };
        call.func = bounded(call.func, batch_bytes_max);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    })
    .data()
}

/// The values of an expression for the rows of a batch.
///
/// # Errors
/// Some row cannot be computed.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> EvalResult<ArrayRef> {
    expr.evaluate(batch)?.into_array(batch.num_rows())
}

/// The rows for which a condition is true; null counts as false.
///
/// # Errors
/// Some row cannot be computed.
pub fn mask(condition: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> EvalResult<BooleanArray> {
    let values = evaluate(condition, batch)?;
    let values = values.as_boolean();
    Ok(match values.nulls() {
        Some(_) => prep_null_mask_filter(values),
        None => values.clone(),
    })
}

/// The rows of a batch that a mask keeps, without a copy where it keeps all.
///
/// # Errors
/// The mask is not as long as the batch.
pub fn keep(batch: &RecordBatch, mask: &BooleanArray) -> EvalResult<RecordBatch> {
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(filter_record_batch(batch, mask)?)
}

/// Runs `task` over a batch. Where it fails, runs it over ever smaller parts, until the rows that
/// make it fail stand alone and become rejects. Gives the parts with their results, in order.
///
/// # Errors
/// Bug: the batch does not say where its rows come from.
pub fn run_or_reject<T>(
    batch: &RecordBatch,
    out: &mut Output,
    task: &mut dyn FnMut(&RecordBatch) -> EvalResult<T>,
) -> Result<Vec<(RecordBatch, T)>> {
    let mut done = Vec::with_capacity(1);
    // The parts that are left, the first on top.
    let mut parts = vec![batch.clone()];
    parts.retain(|part| part.num_rows() > 0);
    while let Some(part) = parts.pop() {
        let rows = part.num_rows();
        match task(&part) {
            Ok(result) => done.push((part, result)),
            // Functions call values that they cannot take errors of their own too.
            Err(error) if rows == 1 => {
                out.rejects.push(Numbers::of(&part)?.refuse(0, reason(&error)));
            }
            Err(_) => {
                parts.push(part.slice(rows / 2, rows - rows / 2));
                parts.push(part.slice(0, rows / 2));
            }
        }
    }
    Ok(done)
}
