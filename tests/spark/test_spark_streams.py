"""Streams over our table: each row comes once, over several runs, whichever way Spark follows the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.exactness.expected import assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.spark.session import Spark, table

pytestmark = pytest.mark.spark

NEXT = BEGIN + 2 * HOUR


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant.of(tmp_path, tags=9, bad=0.1)
    asyncio.run(plant.run(BEGIN + HOUR))
    return plant


def test_a_stream_sees_each_row_once_over_runs_and_upkeep(spark: Spark, plant: Plant, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    spark.stream(plant.timeseries, seen)
    assert_same_rows(spark.events(seen), plant.rows(range(9), BEGIN, BEGIN + HOUR))
    spark.stream(plant.timeseries, seen)
    asyncio.run(plant.run(NEXT))
    spark.sql(f"OPTIMIZE {table(plant.timeseries)}")
    spark.stream(plant.timeseries, seen)
    assert_same_rows(spark.events(seen), plant.rows(range(9), BEGIN, NEXT))


def test_the_feed_of_changes_tells_our_appends_as_inserts(spark: Spark, plant: Plant, tmp_path: Path) -> None:
    """The property may be set on a table that is there already; it holds from then on."""
    spark.sql(f"ALTER TABLE {table(plant.timeseries)} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    version = spark.history(plant.timeseries)[0]["version"]
    asyncio.run(plant.run(NEXT))
    kinds = spark.sql(
        f"SELECT _change_type, COUNT(*) FROM table_changes_by_path('{plant.timeseries}', {version}) GROUP BY ALL"
    )
    assert kinds == [("insert", len(plant.rows(range(9), BEGIN + HOUR, NEXT)))]
    seen = tmp_path / "seen"
    spark.stream(plant.timeseries, seen, readChangeFeed="true", startingVersion=str(version))
    assert_same_rows(spark.events(seen), plant.rows(range(9), BEGIN + HOUR, NEXT))
