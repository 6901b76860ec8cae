//! What SQL can say that a pipeline cannot keep exact: why not, and where it can be had.

use contract::{Error, Result};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::explain;

/// A reason, and the way out.
type Refusal = (&'static str, &'static str);

const LATER: &str = "ask for it where the rows are read: `logmill query`";
const AGGREGATES: Refusal =
    ("aggregates and GROUP BY are not possible: the rows of a stream have no end", LATER);
const WINDOWS: Refusal =
    ("window functions are not possible: a row would depend on its neighbours", LATER);
const UNNEST: Refusal =
    ("UNNEST is not possible: several rows would share one origin", "keep the list as a column");

/// Refuses a plan that does more than project and filter.
///
/// # Errors
/// Config: the reason, and the way out.
pub fn check_plan(plan: &LogicalPlan) -> Result<()> {
    let mut checked = Ok(());
    let walked = plan.apply(|node| {
        checked = check_node(node);
        Ok(go_on(&checked))
    });
    walked.map_err(explain)?;
    checked
}

/// Refuses an expression whose value is not a function of its row and the epoch.
///
/// # Errors
/// Config: the reason, and the way out.
pub fn check_expression(expr: &Expr) -> Result<()> {
    let mut checked = Ok(());
    let walked = expr.apply(|part| {
        checked = check_part(part);
        Ok(go_on(&checked))
    });
    walked.map_err(explain)?;
    checked
}

fn go_on(checked: &Result<()>) -> TreeNodeRecursion {
    match checked {
        Ok(()) => TreeNodeRecursion::Continue,
        Err(_) => TreeNodeRecursion::Stop,
    }
}

fn refuse((reason, hint): Refusal) -> Result<()> {
    Err(Error::config(reason).hint(hint))
}

fn check_node(node: &LogicalPlan) -> Result<()> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::TableScan(_) => node.expressions().iter().try_for_each(check_expression),
        other => refuse(refusal(other)),
    }
}

fn refusal(plan: &LogicalPlan) -> Refusal {
    match plan {
        LogicalPlan::Aggregate(_) => AGGREGATES,
        LogicalPlan::Window(_) => WINDOWS,
        LogicalPlan::Unnest(_) => UNNEST,
        LogicalPlan::Distinct(_) => (
            "DISTINCT is not possible: it would have to remember every row",
            "a `dedupe` step drops repeated keys within a horizon",
        ),
        LogicalPlan::Sort(_) => {
            ("ORDER BY is not possible: the rows of a stream have no end", LATER)
        }
        LogicalPlan::Limit(_) => (
            "LIMIT is not possible: which rows come first is not the same twice",
            "leave rows out by a condition, or ask `logmill query`",
        ),
        LogicalPlan::Join(_) => (
            "joins are not possible: a row would wait for another",
            "read one input per query, and join where the rows are read: `logmill query`",
        ),
        LogicalPlan::Union(_) => (
            "UNION, INTERSECT and EXCEPT are not possible in a query",
            "a step or sink takes several inputs: `input: [a, b]`",
        ),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => (
            "a query without an input is not possible: its rows would have no origin",
            "add `FROM` and the name of a source or step",
        ),
        _ => ("only projections and filters are possible", LATER),
    }
}

fn check_part(part: &Expr) -> Result<()> {
    match part {
        Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Volatile => {
            let name = call.func.name();
            let message = format!("{name}() is not possible: a repeat would give another value");
            Err(Error::config(message)
                .hint("`hash(…)` of columns stays the same, `now()` is the epoch's time"))
        }
        Expr::AggregateFunction(_) | Expr::GroupingSet(_) => refuse(AGGREGATES),
        Expr::WindowFunction(_) => refuse(WINDOWS),
        Expr::Unnest(_) => refuse(UNNEST),
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::SetComparison(_)
        | Expr::ScalarSubquery(_)
        | Expr::OuterReferenceColumn(..) => refuse((
            "subqueries in expressions are not possible: a row would wait for others",
            "name the values: `status IN (500, 502)`",
        )),
        Expr::Placeholder(_) | Expr::ScalarVariable(..) => refuse((
            "SQL variables are not possible in a pipeline",
            "`${NAME}` is replaced before the query is read",
        )),
        _ => Ok(()),
    }
}
