//! Sums, differences and products of whole numbers that do not wrap, in questions as in pipelines.
//!
//! What is computed of a row fails where it has no place in its type, and the query with it. Sums
//! over rows are in `sums`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

/// The rules by which plans are made better, after the one that keeps them right.
pub fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(Checked)];
    rules.extend(PhysicalOptimizer::new().rules);
    rules
}

#[derive(Debug)]
struct Checked;

impl PhysicalOptimizerRule for Checked {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(checked).data()
    }

    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn checked(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let input = projection.input();
        let exprs = projection.expr().iter().map(|one| {
            let expr = engine::checked(one.expr.clone(), &input.schema())?;
            Ok(ProjectionExpr { expr, alias: one.alias.clone() })
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let schema = node.schema();
        let made =
            ProjectionExec::try_new_with_schema_metadata(exprs, input.clone(), schema.as_ref())?;
        return Ok(Transformed::yes(Arc::new(made)));
    }
    let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(node)) };
    let schema = filter.input().schema();
    let predicate = engine::checked(filter.predicate().clone(), &schema)?;
    let made = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
    Ok(Transformed::yes(Arc::new(made)))
}
