//! Apache Airflow in a Python environment of its own: tests run the DAGs of the blueprints with it.

use std::path::PathBuf;

use super::cache::Cache;
use super::{Gives, Service, Variables, pip};

/// Every release pins its dependencies loosely.
const REQUIREMENTS: &str = include_str!("../../airflow-requirements.txt");

/// Apache Airflow, for tests to start.
pub const SERVICE: Service =
    Service { name: "airflow", installer: "pip", install, gives: Gives::Programs(programs) };

/// The interpreter that runs it, for tests: `PROGRAM -m airflow`.
fn programs(cache: &Cache) -> Result<Variables, String> {
    Ok(vec![("AIRFLOW", install(cache)?.display().to_string())])
}

/// The interpreter.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    pip::install(cache, "airflow", REQUIREMENTS)
}
