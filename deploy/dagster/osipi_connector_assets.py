"""Assets for Dagster: the tables of a pipeline, brought up to date every 15 minutes.

The connector is in an environment of its own, so that its packages and those of Dagster need not agree. `OSIPI_PROGRAM`
and `OSIPI_CONFIG` say where it and the configuration are.
"""

import json
import os
import subprocess

import dagster

PROGRAM = os.environ.get("OSIPI_PROGRAM", "/opt/osipi/bin/osipi-connector")
CONFIG = os.environ.get("OSIPI_CONFIG", "/etc/osipi/plant.yaml")


@dagster.asset(group_name="pi")
def pi_timeseries(context: dagster.AssetExecutionContext) -> dagster.MaterializeResult:
    """Recorded values of the PI System, and what the configuration reads beside them."""
    command = [PROGRAM, "run", "-c", CONFIG, "--run-id", context.run_id, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # the log goes to that of Dagster
    report = json.loads(done.stdout)
    if done.returncode != 0:
        error = report.get("error") or {}
        raise dagster.Failure(error.get("message") or f"the run ended with {report['status']}", allow_retries=True)
    return dagster.MaterializeResult(
        metadata={
            "rows_written": report["records_written"],
            "tags": report["tags_extracted"],
            "read_until": report["until"] or "",
        }
    )


definitions = dagster.Definitions(
    assets=[pi_timeseries],
    schedules=[
        dagster.ScheduleDefinition(
            name="every_15_minutes", target=dagster.AssetSelection.assets(pi_timeseries), cron_schedule="*/15 * * * *"
        )
    ],
)
