"""Spark follows the feed of changes of our tables: through corrections, each change once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.corrections.events import DAY, Event, batch_of
from tests.documents.test_guides import OTHERS
from tests.landing.lake import Lake
from tests.spark.session import Spark, table
from tests.unity.published import as_path_table, folder_of
from tests.unity.stand_in import TOKEN, StandIn
from writers import PI_TIMESERIES, Move, Replacement, open_lakehouse
from writers.unity import open_unity

pytestmark = pytest.mark.spark

COLUMNS = "tag_webid, timestamp, sequence, value"
DAY_ONE = [Event(tag, at) for tag in "abc" for at in range(5)]
EDITED, LATE, CAME = Event("a", 2, value=9.0), Event("a", 2, sequence=1), Event("c", DAY)
CHANGES = [
    ("insert", CAME),
    ("insert", LATE),
    ("update_preimage", Event("a", 2)),
    ("update_postimage", EDITED),
    ("delete", Event("a", 3)),
]
AFTER = [e for e in DAY_ONE if e[:2] not in {("a", 2), ("a", 3)}] + [EDITED, LATE, CAME]
FEED = {"delta.enableChangeDataFeed": "true", "delta.logRetentionDuration": "interval 60 days", "our.own": "x"}
FOLLOW = {"readChangeFeed": "true", "startingVersion": "1"}


def rows(events: Sequence[Event]) -> list[tuple[object, ...]]:
    return sorted(event[:4] for event in events)


def land(lake: Lake) -> None:
    batch = lake.opened().begin()
    batch.write(batch_of(DAY_ONE))
    batch.commit([Move(tag, 0, DAY, None, 5) for tag in "abc"])


def correct(lake: Lake) -> None:
    """An edit, an event that came late, one that was deleted, and one that is new, in one commit."""
    batch = lake.opened().begin()
    batch.write(batch_of([CAME]))
    batch.replace([Replacement("a", 1, 4)], batch_of([Event("a", 1), EDITED, LATE]))
    batch.commit([Move("c", DAY, DAY + 1, DAY, 1)])


@pytest.fixture
def at_a_path(tmp_path: Path) -> tuple[Lake, Path]:
    lake = Lake(open_lakehouse(tmp_path / "lake", properties={"pi_timeseries": FEED}))
    return lake, Path(lake.lakehouse.table(PI_TIMESERIES).open().uri)


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[tuple[Lake, StandIn]]:
    with StandIn(f"file://{tmp_path}/managed") as catalog:
        yield Lake(open_unity(host=catalog.host, token=TOKEN, properties={"pi_timeseries": FEED})), catalog


def told(spark: Spark, path: Path, version: int) -> list[tuple[object, ...]]:
    return sorted(
        spark.sql(f"SELECT _change_type, {COLUMNS} FROM table_changes_by_path('{path}', {version}, {version})")
    )


def test_a_correction_is_told_row_by_row_and_a_stream_goes_on(
    spark: Spark, at_a_path: tuple[Lake, Path], tmp_path: Path
) -> None:
    lake, path = at_a_path
    land(lake)
    seen = tmp_path / "seen"
    spark.stream(path, seen, **FOLLOW)
    correct(lake)
    spark.sql(f"OPTIMIZE {table(path)}")
    spark.stream(path, seen, **FOLLOW)
    assert told(spark, path, 2) == sorted((kind, *event[:4]) for kind, event in CHANGES)
    streamed = spark.sql(f"SELECT _change_type, {COLUMNS} FROM {table(seen)}")
    expected = [("insert", event) for event in DAY_ONE] + CHANGES
    assert sorted(streamed) == sorted((kind, *event[:4]) for kind, event in expected)
    assert sorted(spark.sql(f"SELECT {COLUMNS} FROM {table(path)}")) == rows(AFTER)


def test_a_copy_that_is_kept_as_the_guide_says_becomes_the_table(
    spark: Spark, at_a_path: tuple[Lake, Path], tmp_path: Path
) -> None:
    lake, path = at_a_path
    land(lake)
    copy = table(tmp_path / "copy")
    spark.sql(f"CREATE TABLE {copy} USING delta AS SELECT * FROM {table(path)}")
    correct(lake)
    spark.sql(f"DELETE FROM {table(path)} WHERE tag_webid = 'b'")
    [merge] = [statement for statement in OTHERS if statement.startswith("MERGE")]
    spark.sql(f"CREATE OR REPLACE TEMP VIEW changes AS SELECT * FROM table_changes_by_path('{path}', 2)")
    for _ in range(2):  # a batch may be repeated
        spark.sql(merge.replace("main.silver.pi_timeseries", copy))
    assert sorted(spark.sql(f"SELECT {COLUMNS} FROM {copy}")) == rows([e for e in AFTER if e.tag != "b"])


def test_the_published_log_of_a_managed_table_tells_the_same(
    spark: Spark, managed: tuple[Lake, StandIn], tmp_path: Path
) -> None:
    lake, catalog = managed
    land(lake)
    correct(lake)
    location = catalog.tables["main.bronze.pi_timeseries"].location
    assert list(folder_of(location).glob("_change_data/**/*.parquet"))
    path = as_path_table(location, tmp_path / "copy")
    assert told(spark, path, 1) == sorted(("insert", *event[:4]) for event in DAY_ONE)
    assert told(spark, path, 2) == sorted((kind, *event[:4]) for kind, event in CHANGES)
    assert sorted(spark.sql(f"SELECT {COLUMNS} FROM {table(path)}")) == rows(AFTER)
