"""A DAG for Apache Airflow: checks, reads what is new, and says how fresh the tables are.

The connector is in an environment of its own, so that its packages and those of Airflow need not agree. `OSIPI_PROGRAM`
and `OSIPI_CONFIG` say where it and the configuration are, in the environment of the workers.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator

PROGRAM = os.environ.get("OSIPI_PROGRAM", "/opt/osipi/bin/osipi-connector")
CONFIG = os.environ.get("OSIPI_CONFIG", "/etc/osipi/plant.yaml")

with DAG(
    dag_id="osipi_connector",
    schedule=timedelta(minutes=15),
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it as UTC
    catchup=False,  # a run reads on where the last one ended, however long ago
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=2)},
) as dag:
    # The operator fails with any exit code but 0; the log of the task says why.
    environment = {"PROGRAM": PROGRAM, "CONFIG": CONFIG}
    check = BashOperator(
        task_id="check", bash_command='"$PROGRAM" check -c "$CONFIG"', env=environment, append_env=True
    )
    run = BashOperator(
        task_id="run",
        bash_command='exec "$PROGRAM" run -c "$CONFIG" --run-id "$RUN"',
        env={**environment, "RUN": "{{ run_id }}"},
        append_env=True,
    )
    status = BashOperator(
        task_id="status", bash_command='"$PROGRAM" status -c "$CONFIG" --max-age 1h', env=environment, append_env=True
    )
    check >> run >> status
