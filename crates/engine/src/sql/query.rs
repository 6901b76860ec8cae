//! One query as a chain of stages: a condition, then expressions over the rows that it keeps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use contract::record::{ORDINAL, POSITION, is_json, is_origin, with_json_mark};
use contract::{Error, Result};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result as EvalResult;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, cast};
use datafusion::physical_expr::PhysicalExpr;

use crate::columns::{fields, unique};
use crate::expressions::{Expressions, evaluate, keep, mask};
use crate::planner::{explain, query};

/// A checked query.
pub struct Query {
    stages: Vec<Stage>,
}

/// A condition, and what is computed of the rows for which it holds.
struct Stage {
    /// None or one.
    condition: Expressions,
    /// The columns that the outputs read, so that no other is copied by the condition.
    read: Vec<usize>,
    outputs: Vec<Output>,
    computed: Expressions,
    schema: SchemaRef,
}

/// Where an output column comes from.
enum Output {
    /// An expression, by its number among those computed.
    Computed(usize),
    /// A column of the origin, by its index among those read.
    Carried(usize),
}

/// A query compiled for an epoch.
pub struct Program {
    stages: Vec<CompiledStage>,
}

struct CompiledStage {
    condition: Option<Arc<dyn PhysicalExpr>>,
    read: Vec<usize>,
    outputs: Vec<CompiledOutput>,
    schema: SchemaRef,
}

enum CompiledOutput {
    Computed(Arc<dyn PhysicalExpr>),
    Carried(usize),
}

impl Query {
    /// Plans a query over its inputs.
    ///
    /// # Errors
    /// Config: what is wrong with it.
    pub fn plan(text: &str, inputs: &[(String, SchemaRef)]) -> Result<Self> {
        let mut builder = Builder::default();
        builder.visit(&query(text, inputs)?)?;
        let Some(last) = builder.stages.pop() else {
            return Err(Error::bug("a query without a projection"));
        };
        builder.stages.push(with_microseconds(last)?);
        Ok(Self { stages: builder.stages })
    }

    /// The columns of its rows.
    pub fn schema(&self) -> SchemaRef {
        self.stages.last().expect("a query has a projection").schema.clone()
    }

    /// Whether it must be compiled anew for each epoch.
    pub fn depends_on_now(&self) -> bool {
        self.stages
            .iter()
            .any(|stage| stage.condition.depends_on_now() || stage.computed.depends_on_now())
    }

    /// Compiles it as [`Expressions::compile`] does.
    ///
    /// # Errors
    /// Config: a constant part cannot be computed.
    pub fn compile(&self, now_us: i64, batch_bytes_max: u64) -> Result<Program> {
        let stages = self.stages.iter().map(|stage| stage.compile(now_us, batch_bytes_max));
        Ok(Program { stages: stages.collect::<Result<_>>()? })
    }
}

impl Stage {
    fn compile(&self, now_us: i64, batch_bytes_max: u64) -> Result<CompiledStage> {
        let computed = self.computed.compile(now_us, batch_bytes_max)?;
        let outputs = self.outputs.iter().map(|output| match output {
            Output::Computed(number) => CompiledOutput::Computed(computed[*number].clone()),
            Output::Carried(index) => CompiledOutput::Carried(*index),
        });
        Ok(CompiledStage {
            condition: self.condition.compile(now_us, batch_bytes_max)?.pop(),
            read: self.read.clone(),
            outputs: outputs.collect(),
            schema: self.schema.clone(),
        })
    }
}

impl Program {
    /// The rows that a batch gives.
    ///
    /// # Errors
    /// Some row cannot be computed.
    pub fn run(&self, batch: &RecordBatch) -> EvalResult<RecordBatch> {
        let mut rows = batch.clone();
        for stage in &self.stages {
            rows = stage.run(&rows)?;
        }
        Ok(rows)
    }
}

impl CompiledStage {
    fn run(&self, batch: &RecordBatch) -> EvalResult<RecordBatch> {
        let read = batch.project(&self.read)?;
        let rows = match &self.condition {
            Some(condition) => keep(&read, &mask(condition, batch)?)?,
            None => read,
        };
        if rows.num_rows() == 0 {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let columns = self.outputs.iter().map(|output| match output {
            CompiledOutput::Computed(expr) => evaluate(expr, &rows),
            CompiledOutput::Carried(index) => Ok(rows.column(*index).clone()),
        });
        let columns = columns.collect::<EvalResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Walks a plan from the input up and cuts it into stages.
#[derive(Default)]
struct Builder {
    stages: Vec<Stage>,
    /// The columns that the next stage gets; the origin's may stand behind those of the plan.
    fields: Vec<Field>,
    conditions: Vec<Expr>,
}

impl Builder {
    fn visit(&mut self, plan: &LogicalPlan) -> Result<()> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                self.fields = fields(&scan.source.schema());
                Ok(())
            }
            LogicalPlan::SubqueryAlias(alias) => self.visit(&alias.input),
            LogicalPlan::Filter(filter) => {
                self.visit(&filter.input)?;
                self.conditions.push(filter.predicate.clone());
                Ok(())
            }
            LogicalPlan::Projection(projection) => {
                self.visit(&projection.input)?;
                self.project(projection)
            }
            other => Err(Error::bug(format!("unchecked plan {}", other.display()))),
        }
    }

    fn project(&mut self, projection: &Projection) -> Result<()> {
        let input = projection.input.schema();
        let mut fields = Vec::new();
        let mut origins = self.origins();
        for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
            let source = plain_column(expr).and_then(|column| input.maybe_index_of_column(column));
            let name = output_name(expr)?;
            if is_origin(&name) {
                let own = origins.remove(name.as_str());
                if own.is_none() || own != source {
                    let message = format!("column {name:?} is the origin of a row");
                    return Err(
                        Error::config(message).hint("give what you compute another name with AS")
                    );
                }
            }
            let source = source.map(|index| &self.fields[index]);
            let nullable = source.is_none_or(Field::is_nullable);
            let made = Field::new(name, field.data_type().clone(), nullable);
            // What is computed of JSON is text, whatever it looks like.
            fields.push(match source.is_some_and(is_json) {
                true => with_json_mark(made),
                false => made,
            });
        }
        let mut carried: Vec<usize> = origins.into_values().collect();
        carried.sort_unstable();
        fields.extend(carried.iter().map(|index| self.fields[*index].clone()));
        let condition = conjunction(self.conditions.drain(..)).into_iter().collect();
        let (read, computed) = narrow(&projection.expr, input)?;
        let outputs = (0..projection.expr.len()).map(Output::Computed);
        let outputs = outputs.chain((read.len()..).map(Output::Carried).take(carried.len()));
        let schema = unique(fields.clone()).map_err(|error| {
            error.hint("`SELECT * REPLACE (upper(x) AS x)` or `* EXCEPT (x)` avoids that")
        })?;
        self.stages.push(Stage {
            condition: Expressions::new(condition, input.clone()),
            outputs: outputs.collect(),
            read: read.into_iter().chain(carried).collect(),
            computed,
            schema,
        });
        self.fields = fields;
        Ok(())
    }

    /// The columns that a query carries along without being asked, by name.
    fn origins(&self) -> HashMap<&'static str, usize> {
        let index = |name| self.fields.iter().position(|field| field.name() == name);
        [POSITION, ORDINAL].into_iter().filter_map(|name| Some((name, index(name)?))).collect()
    }
}

/// The columns that expressions read, and the expressions over a schema of just those.
fn narrow(exprs: &[Expr], schema: &DFSchemaRef) -> Result<(Vec<usize>, Expressions)> {
    let mut read = BTreeSet::new();
    for column in exprs.iter().flat_map(Expr::column_refs) {
        read.insert(schema.index_of_column(column).map_err(explain)?);
    }
    let fields = read.iter().map(|index| {
        let (qualifier, field) = schema.qualified_field(*index);
        (qualifier.cloned(), field.clone())
    });
    let narrow = DFSchema::new_with_metadata(fields.collect(), HashMap::new()).map_err(explain)?;
    Ok((read.into_iter().collect(), Expressions::new(exprs.to_vec(), Arc::new(narrow))))
}

/// The column that an expression is, if it computes nothing.
fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// The name of an output: its alias, else its text without the names of inputs.
fn output_name(expr: &Expr) -> Result<String> {
    if let Expr::Alias(alias) = expr {
        return Ok(alias.name.clone());
    }
    let bare = expr.clone().transform(|part| match part {
        Expr::Column(column) if column.relation.is_some() => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name))))
        }
        part => Ok(Transformed::no(part)),
    });
    Ok(bare.data().map_err(explain)?.schema_name().to_string())
}

/// Turns every point in time that leaves the query into UTC microseconds, the only form that all
/// sinks take.
fn with_microseconds(mut stage: Stage) -> Result<Stage> {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = fields(&stage.schema);
    stage.computed = stage.computed.map(|number, expr| {
        let field = &mut fields[number];
        match field.data_type() {
            DataType::Timestamp(..) if *field.data_type() != utc => {
                field.set_data_type(utc.clone());
                cast(expr, utc.clone())
            }
            _ => expr,
        }
    });
    stage.schema = unique(fields)?;
    Ok(stage)
}
