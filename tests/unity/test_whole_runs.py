"""Whole runs into a catalog, from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from engine.cli import main
from tests.unity.stand_in import SINS, TOKEN, StandIn
from tests.variants import slowly
from writers import Names
from writers.unity import open_unity


@pytest.fixture(params=["stand-in", *slowly(*SINS), pytest.param("server", marks=pytest.mark.unity)])
def catalog(request, tmp_path) -> Iterator[tuple[str, str, str]]:
    """Host, token and name of a catalog."""
    if request.param == "server":
        server = request.getfixturevalue("server")
        name = server.create_catalog(f"c{uuid4().hex[:8]}", f"file://{tmp_path}/managed")
        yield server.host, server.token, name
        return
    with StandIn(f"file://{tmp_path}/managed", **SINS.get(request.param, {})) as stand_in:
        yield stand_in.host, TOKEN, "main"


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls a command in `tmp_path`; gives its exit code and what it says."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*arguments, "-c", "plant.yaml"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.parametrize("kind", ["managed", *slowly("external")])
def test_a_run_creates_the_tables_and_the_next_one_goes_on(catalog, kind, tmp_path, engine, monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", catalog[0])
    monkeypatch.setenv("DATABRICKS_TOKEN", catalog[1])
    config = tmp_path / "plant.yaml"
    where = {"table_type": kind} | ({"location": f"file://{tmp_path}/external"} if kind == "external" else {})
    config.write_text(
        json.dumps(
            {
                "development": {"simulator": {"tags": 50, "seed": 4}},
                "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
                "extraction": {"tag_name_filter": "*", "start_date": "now-2h", "end_date": "now-1h"},
                "unity_catalog": {"catalog": catalog[2], **where},
            }
        )
    )
    reports = []
    for _ in range(2):
        code, out, err = engine("run", "--json")
        assert code == 0, err
        reports.append(json.loads(out))
    assert [r["status"] for r in reports] == ["succeeded", "succeeded"]
    lakehouse = open_unity(host=catalog[0], token=catalog[1], names=Names(catalog=catalog[2]), table_type=kind)
    from writers import PI_DIGITAL_STATES, PI_TIMESERIES

    rows = lakehouse.table(PI_TIMESERIES).open().read(["tag_webid", "timestamp", "sequence"]).read_all()
    keys = set(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    assert len(keys) == rows.num_rows == sum(r["records_written"] for r in reports) > 50 * 50
    states = lakehouse.table(PI_DIGITAL_STATES).open().read(["digital_set", "state_code", "name"]).read_all()
    assert {"digital_set": "SYSTEM", "state_code": 254, "name": "Shutdown"} in states.to_pylist()
    code, out, _ = engine("check")
    assert code == 0, out
    [tables] = [line for line in out.splitlines() if " tables  " in line]
    assert "exist and fit" in tables
    assert f"at {catalog[2]}.bronze" in tables
    assert engine("status", "--json")[0] == 0


def test_without_credentials_for_the_catalog_the_run_says_so_before_it_asks_pi(tmp_path, engine, monkeypatch):
    config = tmp_path / "plant.yaml"
    config.write_text(json.dumps({"development": {"simulator": {"tags": 1}}, "extraction": {"tag_name_filter": "*"}}))
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = engine("run")
    assert code == 3, err
    assert "DATABRICKS_HOST" in err
    assert "Traceback" not in err
