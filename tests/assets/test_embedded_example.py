"""Without a configuration a run brings a small tree, too; the first query of the deployment guide runs on it as written."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from engine.cli import main

GUIDE = "SELECT element_name, element_path FROM main.bronze.pi_asset_hierarchy LIMIT 10"


def test_the_query_of_the_guide_runs_on_the_embedded_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--set", "development.simulator.tags=5"]) == 0
    capsys.readouterr()
    table = DeltaTable(tmp_path / "lakehouse/main/bronze/pi_asset_hierarchy").to_pyarrow_table()
    database = duckdb.connect()
    database.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.bronze")
    database.register("arriving", table)
    database.execute("CREATE TABLE lake.bronze.pi_asset_hierarchy AS SELECT * FROM arriving")
    # duckdb has a schema `main` of its own in every catalog.
    found = database.execute(GUIDE.replace("main.", "lake.")).fetchall()
    assert len(found) == 10
    assert all(path.endswith("\\" + name) for name, path in found)
    assert table.num_rows == 120
