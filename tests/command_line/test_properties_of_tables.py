"""`unity_catalog.table_properties`, from the configuration to the table, and what `check` says of tables that were before."""

from __future__ import annotations

from pathlib import Path

from deltalake import DeltaTable

from tests.command_line.conftest import Called, written


def properties(root: Path, table: str) -> dict[str, str]:
    return dict(DeltaTable(root / "lakehouse" / "main" / table).metadata().configuration)


def test_tables_are_created_with_them_and_those_that_are_there_are_named(called: Called, here: Path, site: str) -> None:
    feed, owner = "unity_catalog.table_properties.timeseries", "unity_catalog.table_properties.all"
    with_feed = ("--set", f'{feed}={{"delta.enableChangeDataFeed": true}}')
    written(here, site)
    assert called("run", "-c", "plant.yaml", *with_feed).code == 0
    assert properties(here, "bronze/pi_timeseries") == {"delta.enableChangeDataFeed": "true"}
    assert properties(here, "checkpoints/pi_watermarks") == {}
    well = called("check", "-c", "plant.yaml", *with_feed)
    assert (well.code, "ALTER TABLE" in well.out) == (0, False)
    later = called("check", "-c", "plant.yaml", *with_feed, "--set", f'{owner}={{"owner": "Tom\'s team"}}')
    assert later.code == 0
    for table in ("bronze/pi_timeseries", "bronze/pi_tags", "checkpoints/pi_watermarks"):
        statement = f"ALTER TABLE delta.`{here}/lakehouse/main/{table}` SET TBLPROPERTIES ('owner' = 'Tom\\'s team')"
        assert statement in later.out


def test_what_cannot_be_honoured_is_refused_before_pi_is_asked_for_anything(
    called: Called, here: Path, site: str
) -> None:
    written(here, site)
    name = "unity_catalog.table_properties.timeseries"
    refused = called("run", "-c", "plant.yaml", "--set", f'{name}={{"delta.enableRowTracking": true}}')
    assert refused.code == 2
    assert "delta.enableRowTracking: found something else than false" in refused.err
    assert not (here / "lakehouse").exists()
