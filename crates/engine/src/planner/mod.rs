//! SQL text to checked, typed plans and expressions, without a session and without I/O.
//!
//! Everything that a pipeline cannot keep exact is refused here, with the reason and the way out:
//! after this module a plan holds projections, filters and pure expressions only.

mod bounded;
mod refusal;
mod vocabulary;
mod wording;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use contract::{Error, Result};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchemaRef, DataFusionError, SchemaError, TableReference};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable, LogicalPlan, Volatility};
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::parser::ParserError;

pub use bounded::joined::TextJoins;
pub use bounded::{BATCH_BYTES_MAX, QUERY_BATCH_BYTES_MAX, bounded, made_of_batch_max};
pub use wording::{Worded, missing_column, reworded};

use refusal::{check_expression, check_plan};
use vocabulary::{Tables, VOCABULARY};

/// Plans a query over named inputs.
///
/// # Errors
/// Config: what is wrong with the query, or what a pipeline does not do.
pub fn query(text: &str, inputs: &[(String, SchemaRef)]) -> Result<LogicalPlan> {
    let statement = one_query(text)?;
    let tables = Tables { inputs };
    let plan = SqlToRel::new(&tables).statement_to_plan(statement).map_err(explain)?;
    check_plan(&plan)?;
    let options = &VOCABULARY.options;
    Analyzer::new().execute_and_check(plan, options, |_, _| {}).map_err(explain)
}

/// Plans an expression over the columns of a schema.
///
/// # Errors
/// Config: what is wrong with the expression, or what a pipeline does not do.
pub fn expression(text: &str, schema: &DFSchemaRef) -> Result<Expr> {
    match named_expression(text, schema)? {
        (None, expr) => Ok(expr),
        (Some(name), _) => {
            Err(Error::config(format!("an expression cannot be named {name:?} here")))
        }
    }
}

/// Plans an expression that may have a name: `status / 100 AS class`.
///
/// # Errors
/// As for [`expression`].
pub fn named_expression(text: &str, schema: &DFSchemaRef) -> Result<(Option<String>, Expr)> {
    let (name, expr) = parsed(text, schema)?;
    check_expression(&expr)?;
    Ok((name, coerced(expr, schema)?))
}

/// One call of an aggregate function.
pub struct Call {
    /// The function.
    pub function: Arc<AggregateUDF>,
    /// What it is given of each row.
    pub arguments: Vec<Expr>,
    /// Whether equal values count once.
    pub is_distinct: bool,
    /// Which rows count; all if there is none.
    pub condition: Option<Expr>,
}

/// Plans a call of an aggregate function over the columns of a schema.
///
/// # Errors
/// Config: the text is something else, or what a pipeline does not do.
pub fn aggregate(text: &str, schema: &DFSchemaRef) -> Result<Call> {
    let (name, expr) = parsed(text, schema)?;
    // The planner keeps what was written as a name.
    let expr = match coerced(expr, schema)? {
        Expr::Alias(alias) => *alias.expr,
        expr => expr,
    };
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
        return Err(Error::config(format!("{text:?} is not one call of an aggregate function"))
            .hint("`sum(bytes)` is one; a `sql` step below can compute with what comes out"));
    };
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
    if name.is_some() {
        return Err(Error::config("the name of the column stands before the colon"));
    }
    if !order_by.is_empty() || null_treatment.is_some() {
        return Err(Error::config("an order is not possible in a window: rows come in any")
            .hint("leave out ORDER BY and the treatment of nulls"));
    }
    let condition = filter.map(|filter| *filter);
    args.iter().chain(&condition).try_for_each(check_expression)?;
    Ok(Call { function: func, arguments: args, is_distinct: distinct, condition })
}

/// A text as an expression, with the name that it gives it.
fn parsed(text: &str, schema: &DFSchemaRef) -> Result<(Option<String>, Expr)> {
    let parsed = DFParser::parse_sql_into_expr(text).map_err(explain)?;
    let tables = Tables { inputs: &[] };
    let expr = SqlToRel::new(&tables)
        .sql_to_expr(parsed.expr, schema, &mut PlannerContext::new())
        .map_err(explain)?;
    Ok((parsed.alias.map(|alias| alias.value), expr))
}

fn coerced(expr: Expr, schema: &DFSchemaRef) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::clone(schema)).build();
    ExprSimplifier::new(context).coerce(expr, schema).map_err(explain)
}

/// Plans a condition over the columns of a schema.
///
/// # Errors
/// As for [`expression`], and if it is neither true nor false.
pub fn condition(text: &str, schema: &DFSchemaRef) -> Result<Expr> {
    let expr = expression(text, schema)?;
    match expr.get_type(schema.as_ref()).map_err(explain)? {
        DataType::Boolean => Ok(expr),
        other => Err(Error::config(format!("condition {text:?} is {other}, expected a Boolean"))
            .hint("compare it with something, as in `status >= 500`")),
    }
}

/// The tables that a query reads, as written, each once.
///
/// # Errors
/// Config: the text is no query.
pub fn tables(text: &str) -> Result<Vec<String>> {
    let (tables, _) = resolve_table_references(&one_query(text)?, true).map_err(explain)?;
    Ok(tables.iter().map(TableReference::to_string).collect())
}

/// Whether an expression depends on when it runs: it must be compiled anew for each epoch.
pub fn depends_on_now(expr: &Expr) -> bool {
    let found = expr.exists(|part| {
        Ok(matches!(part, Expr::ScalarFunction(call)
            if call.func.signature().volatility == Volatility::Stable))
    });
    found.expect("the search itself never fails")
}

fn one_query(text: &str) -> Result<Statement> {
    let mut statements = DFParser::parse_sql(text).map_err(explain)?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(Statement::Statement(statement)), true)
            if matches!(*statement, SqlStatement::Query(_)) =>
        {
            Ok(Statement::Statement(statement))
        }
        (Some(_), false) => Err(Error::config("expected one query, found several")
            .hint("`queries: { name: \"SELECT …\" }` takes several")),
        _ => Err(Error::config("expected a query")
            .hint("only `SELECT … FROM input WHERE …` can stand in a pipeline")),
    }
}

/// An error of the planner in our words.
pub fn explain(error: DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => explain_schema(schema_error),
        root => {
            let Worded { message, hint } = reworded(&raw_message(root));
            let message = sentence(&message);
            if let Some(hint) = hint {
                return Error::config(message).hint(hint);
            }
            match message.split_once(". did you mean ") {
                Some((what, meant)) => Error::config(what).hint(format!("did you mean {meant}")),
                None if message.contains("found: -") => Error::config(message)
                    .hint("a name with a hyphen stands in quotes: `FROM \"web-logs\"`"),
                None => Error::config(message),
            }
        }
    }
}

fn explain_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().map(|column| column.name.as_str());
            Error::config(format!("unknown column {:?}", field.name))
                .hint(missing_column(&field.name, names))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::config(format!("column {:?} would stand twice", field.name))
                .hint("`SELECT * REPLACE (upper(x) AS x)` or `* EXCEPT (x)` avoids that")
        }
        other => Error::config(sentence(&other.to_string())),
    }
}

/// Why something cannot be planned or computed, without the names of the layers that the error
/// came through.
pub fn reason(error: &DataFusionError) -> String {
    sentence(&reworded(&raw_message(error.find_root())).message)
}

fn raw_message(root: &DataFusionError) -> String {
    match root {
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::CastError(message)
            | ArrowError::ComputeError(message)
            | ArrowError::ParseError(message)
            | ArrowError::ArithmeticOverflow(message)
            | ArrowError::InvalidArgumentError(message) => message.clone(),
            ArrowError::DivideByZero => "division by zero".to_owned(),
            other => other.to_string(),
        },
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                message.clone()
            }
            ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
        },
        other => other.message().into_owned(),
    }
}

/// One line that begins in lower case and has no full stop.
fn sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.').replace(". Did you mean", ". did you mean");
    let mut characters = line.chars();
    match characters.next() {
        // An abbreviation such as SQL stays as it is.
        Some(first) if !characters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => line,
    }
}
