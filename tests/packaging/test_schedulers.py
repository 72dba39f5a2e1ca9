"""The examples for Airflow and Dagster, run by the real ones, each in an environment of its own from the package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable

ROOT = Path(__file__).parents[2]

MATERIALIZE = """
import json
import dagster, osipi_connector_assets as ours
assert ours.definitions.get_repository_def().has_schedule_def("every_15_minutes")
for _ in range(2):
    result = dagster.materialize([ours.pi_timeseries])
    [event] = result.asset_materializations_for_node("pi_timeseries")
    print(json.dumps({name: one.value for name, one in event.metadata.items() if name in ("rows_written", "tags")}))
"""
REFUSED = """
import dagster, osipi_connector_assets as ours
result = dagster.materialize([ours.pi_timeseries], raise_on_error=False)
print(result.success, result.failure_data_for_node("pi_timeseries").user_failure_data.description)
"""


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The environment of the workers: where program and configuration are."""
    program = tmp_path / "osipi-connector"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m engine "$@"\n')
    program.chmod(0o755)
    document = {
        "pipeline": "plant",
        "development": {"simulator": {"tags": 7, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
        "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
        "storage": {"root": str(tmp_path / "lake")},
    }
    (tmp_path / "plant.yaml").write_text(yaml.safe_dump(document))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "OSIPI_PROGRAM": str(program), "OSIPI_CONFIG": str(tmp_path / "plant.yaml")}


def rows(folder: Path) -> int:
    return len(DeltaTable(str(folder / "lake/main/bronze/pi_timeseries")).to_pyarrow_table(columns=["tag_webid"]))


def environment_with(package: str, folder: Path) -> Path:
    """The programs of a new environment; skips the test where the package is not to be had."""
    home = folder / "env"
    uv = (sys.executable, "-m", "uv")
    for command in (
        (*uv, "venv", "-q", "--no-project", str(home)),
        (*uv, "pip", "install", "-q", "--python", str(home), package),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{package} cannot be installed here: {done.stderr[-300:]}")
    return home / "bin"


@pytest.mark.runtimes
@pytest.mark.timeout(900)
def test_dagster_brings_the_tables_up_to_date_and_shows_the_figures(place, tmp_path):
    programs = environment_with("dagster", tmp_path)
    given = {**place, "PYTHONPATH": str(ROOT / "deploy/dagster"), "DAGSTER_HOME": str(tmp_path)}
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([str(programs / "python"), "-c", MATERIALIZE], check=False, env=given, **run)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"'))
    assert first["tags"] == second["tags"] == 7
    assert first["rows_written"] + second["rows_written"] == rows(tmp_path) > 50
    refused = subprocess.run(
        [str(programs / "python"), "-c", REFUSED], check=False, env={**given, "OSIPI_CONFIG": "nowhere.yaml"}, **run
    )
    assert "False nowhere.yaml: cannot be read" in refused.stdout


@pytest.mark.runtimes
@pytest.mark.timeout(900)
def test_airflow_checks_reads_and_looks_how_fresh_it_is(place, tmp_path):
    programs = environment_with("apache-airflow", tmp_path)
    given = {
        **place,
        "PATH": f"{programs}{os.pathsep}{place['PATH']}",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "deploy/airflow"),
    }

    def airflow(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [str(programs / "airflow"), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**given, **changes}, capture_output=True, text=True, check=False
        )

    assert airflow("db", "migrate").returncode == 0
    done = airflow("dags", "test", "osipi_connector")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert rows(tmp_path) > 50
    refused = airflow("dags", "test", "osipi_connector", OSIPI_CONFIG="nowhere.yaml")
    assert "nowhere.yaml: cannot be read" in refused.stdout + refused.stderr
