"""Tables of a catalog: Spark reads what maintenance has compacted, and past our checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.landing.lake import Lake, land
from tests.spark.session import Spark, table
from tests.unity.places import stand_in
from tests.unity.published import as_path_table, folder_of
from writers import PI_TIMESERIES, MaintenanceOptions, optimize_table
from writers.unity import managed

pytestmark = pytest.mark.spark

NAME = "main.bronze.pi_timeseries"
DAY = 86_400_000_000


def events(spark: Spark, path: Path) -> list[tuple[str, int]]:
    found = spark.sql(f"SELECT tag_webid, unix_micros(timestamp) FROM {table(path)}")
    return sorted((tag, int(at)) for tag, at in found)


def test_an_external_table_that_was_compacted_through_the_catalog(spark: Spark, tmp_path: Path) -> None:
    with stand_in("external", str(tmp_path), None) as (catalog, lakehouse):
        landing = Lake(lakehouse()).opened()
        for n in range(6):
            land(landing, "a", n * 10, n * 10 + 10)
        folder = folder_of(catalog.tables[NAME].location)
        rows, files = spark.scanned(f"SELECT tag_webid, value FROM {table(folder)}")
        assert (len(rows), files) == (60, 6)
        report = optimize_table(lakehouse().table(PI_TIMESERIES), MaintenanceOptions())
        assert (report.files_before, report.files_after) == (6, 1)
        rows, files = spark.scanned(f"SELECT tag_webid, value FROM {table(folder)}")
        assert (len(rows), files) == (60, 1)
        assert events(spark, folder) == Lake(lakehouse()).events()


def test_past_a_checkpoint_of_ours_and_skipping_by_its_statistics(
    spark: Spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed, "_CHECKPOINT_EVERY", 6)
    with stand_in("managed", str(tmp_path / "lake"), None) as (catalog, lakehouse):
        landing = Lake(lakehouse()).opened()
        for n in range(6):
            land(landing, f"tag{n}", n % 2 * DAY + n * 10, n % 2 * DAY + n * 10 + 10)
        copy = as_path_table(catalog.tables[NAME].location, tmp_path / "copy", begins_at=6)
        assert events(spark, copy) == Lake(lakehouse()).events()
        _, files = spark.scanned(f"SELECT value FROM {table(copy)} WHERE tag_webid = 'tag3'")
        assert files == 1
        _, files = spark.scanned(f"SELECT value FROM {table(copy)} WHERE partition_date = DATE'1970-01-02'")
        assert files == 3
