//! Apache Airflow in a Python environment of its own: tests run the DAGs of the blueprints with it.

use std::path::PathBuf;
use std::process::Command;

use super::cache::Cache;
use super::guard;

/// What `pip` resolved once; every release pins its dependencies loosely.
const REQUIREMENTS: &str = include_str!("../../airflow-requirements.txt");

/// The interpreter that runs it, for tests: `PROGRAM -m airflow`.
pub fn programs(cache: &Cache) -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![("AIRFLOW", install(cache)?.join("bin/python").display().to_string())])
}

/// The folder of the environment.
pub fn install(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("airflow", &[REQUIREMENTS], |folder| {
        let wanted = folder.join("requirements.txt");
        std::fs::write(&wanted, REQUIREMENTS)
            .map_err(|error| format!("could not write {}: {error}", wanted.display()))?;
        let script =
            r#"python3 -m venv "$0" && "$0/bin/python" -m pip install --quiet --no-deps -r "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(folder).arg(&wanted);
        guard::run(&command, &folder.join("log"))
    })
}
