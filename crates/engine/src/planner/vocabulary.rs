//! What SQL may name: the inputs of a step, and all functions.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, SchemaRef};
use contract::Section;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::error::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::bounded::joined::TextJoins;
use super::bounded::{BATCH_BYTES_MAX, bounded};

/// All that SQL may call, collected on first use.
pub struct Vocabulary {
    pub options: ConfigOptions,
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

pub static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let mut scalars = HashMap::new();
    let ours = crate::functions().into_iter().map(Arc::new);
    for function in SessionStateDefaults::default_scalar_functions().into_iter().chain(ours) {
        let function = bounded(function, BATCH_BYTES_MAX);
        for alias in function.aliases() {
            scalars.insert(alias.clone(), function.clone());
        }
        scalars.insert(function.name().to_owned(), function.clone());
    }
    let aggregates = SessionStateDefaults::default_aggregate_functions().into_iter();
    let windows = SessionStateDefaults::default_window_functions().into_iter();
    let mut planners = SessionStateDefaults::default_expr_planners();
    planners.push(Arc::new(TextJoins::InPipelines));
    Vocabulary {
        options: ConfigOptions::default(),
        scalars,
        // They are known only so that the planner gets far enough for a good refusal.
        aggregates: aggregates.map(|function| (function.name().to_owned(), function)).collect(),
        windows: windows.map(|function| (function.name().to_owned(), function)).collect(),
        planners,
    }
});

/// The inputs of a step as the planner sees them.
pub struct Tables<'a> {
    pub inputs: &'a [(String, SchemaRef)],
}

impl ContextProvider for Tables<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let wanted = name.to_string();
        let found = self.inputs.iter().find(|(input, _)| *input == wanted);
        let (_, schema) = found.ok_or_else(|| {
            let names = self.inputs.iter().map(|(input, _)| input.as_str());
            let hint = Section::did_you_mean(&wanted, names);
            DataFusionError::Plan(format!("unknown input {wanted:?}. {hint}"))
        })?;
        Ok(Arc::new(LogicalTableSource::new(schema.clone())))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &VOCABULARY.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        VOCABULARY.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        VOCABULARY.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        VOCABULARY.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &VOCABULARY.options
    }

    fn udf_names(&self) -> Vec<String> {
        VOCABULARY.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        VOCABULARY.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        VOCABULARY.windows.keys().cloned().collect()
    }
}
