//! Apache Airflow in a Python environment of its own: tests run the DAGs of the blueprints with it.

use std::path::PathBuf;

use super::cache::Cache;
use super::pip;

/// Every release pins its dependencies loosely.
const REQUIREMENTS: &str = include_str!("../../airflow-requirements.txt");

/// The interpreter that runs it, for tests: `PROGRAM -m airflow`.
pub fn programs(cache: &Cache) -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![("AIRFLOW", install(cache)?.display().to_string())])
}

/// The interpreter.
pub fn install(cache: &Cache) -> Result<PathBuf, String> {
    pip::install(cache, "airflow", REQUIREMENTS)
}
