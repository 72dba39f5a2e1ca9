"""Whole runs into a catalog, from the command line, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unity.server import serving
from tests.unity.stand_in import TOKEN, StandIn
from tests.variants import slowly
from writers import Names
from writers.unity import open_unity

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["stand-in", pytest.param("server", marks=pytest.mark.unity)])
def catalog(request, tmp_path) -> Iterator[tuple[str, str]]:
    """Host and token of a catalog `plant`."""
    if request.param == "stand-in":
        with StandIn(f"file://{tmp_path}/managed") as stand_in:
            yield stand_in.host, TOKEN
        return
    with serving(tmp_path / "server", {}) as server:
        server.create_catalog("plant", f"file://{tmp_path}/managed")
        yield server.host, server.token


def engine(path: Path, catalog: tuple[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DATABRICKS_HOST": catalog[0], "DATABRICKS_TOKEN": catalog[1], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "engine", *arguments, "-c", str(path)]
    return subprocess.run(command, cwd=path.parent, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["managed", *slowly("external")])
def test_a_run_creates_the_tables_and_the_next_one_goes_on(catalog, kind, tmp_path):
    config = tmp_path / "plant.yaml"
    where = {"table_type": kind} | ({"location": f"file://{tmp_path}/external"} if kind == "external" else {})
    config.write_text(
        json.dumps(
            {
                "development": {"simulator": {"tags": 50, "seed": 4}},
                "pi_web_api": {"auth_type": "anonymous"},
                "extraction": {"tag_name_filter": "*", "start_date": "now-2h", "end_date": "now-1h"},
                "unity_catalog": {"catalog": "plant", **where},
            }
        )
    )
    reports = []
    for _ in range(2):
        done = engine(config, catalog, "run", "--json")
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    assert [r["status"] for r in reports] == ["succeeded", "succeeded"]
    lakehouse = open_unity(host=catalog[0], token=catalog[1], names=Names(catalog="plant"), table_type=kind)
    from writers import PI_DIGITAL_STATES, PI_TIMESERIES

    rows = lakehouse.table(PI_TIMESERIES).open().read(["tag_webid", "timestamp", "sequence"]).read_all()
    keys = set(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    assert len(keys) == rows.num_rows == sum(r["records_written"] for r in reports) > 50 * 50
    states = lakehouse.table(PI_DIGITAL_STATES).open().read(["digital_set", "state_code", "name"]).read_all()
    assert {"digital_set": "SYSTEM", "state_code": 254, "name": "Shutdown"} in states.to_pylist()
    checked = engine(config, catalog, "check")
    assert checked.returncode == 0, checked.stdout
    assert "exist and fit, at plant.bronze" in checked.stdout
    assert engine(config, catalog, "status", "--json").returncode == 0


def test_without_credentials_for_the_catalog_the_run_says_so_before_it_asks_pi(tmp_path):
    config = tmp_path / "plant.yaml"
    config.write_text(json.dumps({"development": {"simulator": {"tags": 1}}, "extraction": {"tag_name_filter": "*"}}))
    env = {k: v for k, v in os.environ.items() if not k.startswith("DATABRICKS_")}
    env |= {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "engine", "run", "-c", str(config)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "DATABRICKS_HOST" in done.stderr
    assert "Traceback" not in done.stderr
