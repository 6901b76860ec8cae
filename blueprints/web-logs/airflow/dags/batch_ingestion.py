"""Loads the access logs every hour, to the end that they have then.

`logmill` goes on where its last run ended, so a run that is repeated loads nothing twice, and one
that is missed is made up for by the next. `schedule:` in the pipeline file with `logmill serve`
does the same without Airflow; use one of them.

The task's environment is the worker's: `LOGMILL` (the program), `LOGMILL_PIPELINE` (the file),
`LOGMILL_DATA` (where checkpoints and the lake live) and the settings of the blueprint.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="batch_ingestion_dag",
    description="Access logs into the lake and the sinks that are turned on",
    schedule="@hourly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    # The next run reads what those before it missed.
    catchup=False,
    # A second run would find the pipeline owned, and fail with exit code 4.
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5)},
    tags=["logmill"],
) as dag:
    BashOperator(
        task_id="ingest",
        bash_command=(
            '"${LOGMILL:-logmill}" run "${LOGMILL_PIPELINE:?the pipeline file}"'
            " --until-end --format json"
        ),
        append_env=True,
    )
