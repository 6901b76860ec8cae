//! The blueprint's DAG, run by a real Airflow.

use std::path::Path;
use std::process::Command;

use testkit::services;

use crate::Desk;
use crate::blueprints::blueprint;

fn airflow(program: &str, desk: &Desk, arguments: &[&str]) -> String {
    let home = desk.path().join("airflow");
    let mut command = Command::new(program);
    command.args(["-m", "airflow"]).args(arguments).current_dir(desk.path());
    command.env("AIRFLOW_HOME", &home).env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
    command.env("AIRFLOW__CORE__DAGS_FOLDER", blueprint("airflow/dags"));
    // Left beside the DAG, its bytecode would be a change of the checkout.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("LOGMILL", env!("CARGO_BIN_EXE_logmill"));
    command.env("LOGMILL_PIPELINE", blueprint("pipeline.yaml"));
    command.env("LOGMILL_DATA", desk.path().join("logmill-data"));
    command.env("SAMPLE_LOG_PATH", desk.path().join("access.log"));
    let output = command.output().expect("Airflow starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said.into_owned()
}

fn rows(desk: &Desk) -> u64 {
    let sql = "SELECT count(*) AS rows FROM web_logs";
    desk.done(&["query", sql, "--format", "json"]).json()[0]["rows"].as_u64().expect("a count")
}

#[test]
fn a_batch_that_ran_twice_loads_nothing_twice() {
    let Some(program) = services::find("airflow") else { return };
    assert!(Path::new(&program).exists());
    let desk = Desk::new();
    let input = std::fs::read_to_string(blueprint("input/access.log")).expect("a log");
    desk.write("access.log", &input);
    airflow(&program, &desk, &["db", "migrate"]);
    let test = ["dags", "test", "batch_ingestion_dag", "2026-11-21T10:00:00"];
    airflow(&program, &desk, &test);
    let first = rows(&desk);
    let expected = std::fs::read_to_string(blueprint("expected/web_logs.ndjson")).expect("rows");
    assert_eq!(first, expected.lines().count() as u64);
    airflow(&program, &desk, &test);
    assert_eq!(rows(&desk), first, "the second run of an hour finds nothing new");
    desk.write("access.log", &(input.clone() + &input));
    airflow(&program, &desk, &["dags", "test", "batch_ingestion_dag", "2026-11-21T11:00:00"]);
    assert_eq!(rows(&desk), 2 * first, "the next hour loads what came");
}
