"""Spark changes our tables between two runs, and the next run goes on exactly: nothing doubles, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from config.errors import CommitConflictError, SchemaDriftError
from tests.exactness.expected import COLUMNS, Row, assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant
from tests.exactness.reading import rows_in
from tests.landing.lake import Lake, land
from tests.spark.session import Spark, table
from writers import PI_TIMESERIES, open_lakehouse

pytestmark = pytest.mark.spark

TAGS = 8
AT = COLUMNS.index("timestamp")
FIRST, SECOND_END = BEGIN + HOUR, BEGIN + 2 * HOUR
EVERY = {"delta.checkpointInterval": "1"}
PARTS = {"spark__databricks__delta__checkpoint__partSize": "4"}
# What makes Spark write each kind: properties and settings; and what its files are called.
CHECKPOINTS = {
    "classic": (EVERY, {}, "parquet"),
    "in parts": (EVERY, PARTS, "*.0000000002.parquet"),
    "v2": (EVERY | {"delta.checkpointPolicy": "v2"}, {}, "*-*.json"),
}
# What turns a feature on; and whether Delta leaves another one behind unless the history goes as well.
FEATURES = {
    "inCommitTimestamp": ({"delta.enableInCommitTimestamps": "true"}, ""),
    "typeWidening": ({"delta.enableTypeWidening": "true"}, "TRUNCATE HISTORY"),
}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """An hour is in, by several commits."""
    plant = Plant.of(
        tmp_path,
        tags=TAGS,
        interval_secs=120,
        sections={"performance": {"commit_rows": 60, "values_per_answer": 60}},
    )
    go_on(plant, FIRST)
    assert len(list(plant.timeseries.glob("_delta_log/*.json"))) > 2
    return plant


def go_on(plant: Plant, now: int) -> None:
    report = asyncio.run(plant.run(now))
    assert report.status == "succeeded"


def rest(plant: Plant, keeps: Callable[[Row], bool] = lambda _row: True) -> list[Row]:
    """The rows of both hours, those of the first hour as Spark left them."""
    return [row for row in plant.rows(range(TAGS), BEGIN, SECOND_END) if row[AT] >= FIRST or keeps(row)]


def assert_goes_on(spark: Spark, plant: Plant, expected: Sequence[Row]) -> None:
    """The next run reads what is new, the one after it nothing; Spark and delta-kernel see the same."""
    for _ in range(2):
        go_on(plant, SECOND_END)
        plant.assert_marks(range(TAGS), BEGIN, SECOND_END)
    assert_same_rows(spark.events(plant.timeseries), expected)
    assert_same_rows(rows_in(plant.timeseries), expected)


def properties(spark: Spark, path: Path, **known: str) -> None:
    told = ", ".join(f"'{name}' = '{value}'" for name, value in known.items())
    spark.sql(f"ALTER TABLE {table(path)} SET TBLPROPERTIES ({told})")


def test_optimize_and_vacuum(spark: Spark, plant: Plant) -> None:
    for path, clustering in ((plant.timeseries, "ZORDER BY (tag_webid, `timestamp`)"), (plant.watermarks, "")):
        spark.sql(f"OPTIMIZE {table(path)} {clustering}")
        spark.sql(f"VACUUM {table(path)} RETAIN 0 HOURS")
        assert len(list(path.glob("*=*/*.parquet"))) == 1
    assert list(plant.watermarks.glob("_osipi/*"))  # the lease is no business of vacuum
    assert_goes_on(spark, plant, rest(plant))


def test_deleted_rows_stay_deleted(spark: Spark, plant: Plant) -> None:
    tag, until = web_id_of(1), BEGIN + 30 * MINUTE
    where = f"tag_webid = '{tag}' AND timestamp < timestamp_micros({until})"
    spark.sql(f"DELETE FROM {table(plant.timeseries)} WHERE {where}")
    assert_goes_on(spark, plant, rest(plant, lambda row: row[0] != tag or row[AT] >= until))


def test_rows_deleted_by_vectors_stay_deleted_too(spark: Spark, plant: Plant) -> None:
    properties(spark, plant.timeseries, **{"delta.enableDeletionVectors": "true"})
    tag, until = web_id_of(1), BEGIN + 30 * MINUTE
    where = f"tag_webid = '{tag}' AND timestamp < timestamp_micros({until})"
    spark.sql(f"DELETE FROM {table(plant.timeseries)} WHERE {where}")
    assert list(plant.timeseries.rglob("deletion_vector_*.bin"))
    assert_goes_on(spark, plant, rest(plant, lambda row: row[0] != tag or row[AT] >= until))


def test_columns_and_comments_of_the_user_stay(spark: Spark, plant: Plant) -> None:
    name = table(plant.timeseries)
    spark.sql(f"ALTER TABLE {name} ADD COLUMN (site STRING COMMENT 'ours')")
    spark.sql(f"ALTER TABLE {name} ALTER COLUMN value COMMENT 'as we see it'")
    properties(spark, plant.timeseries, **{"delta.dataSkippingNumIndexedCols": "5", "our.own": "x"})
    spark.sql(f"UPDATE {name} SET site = 'north' WHERE tag_webid = '{web_id_of(0)}'")
    assert_goes_on(spark, plant, rest(plant))
    sites = spark.sql(f"SELECT site, COUNT(*) FROM {name} WHERE site IS NOT NULL GROUP BY site")
    assert sites == [("north", len(plant.rows([0], BEGIN, FIRST)))]
    about = {row[0]: row[1:] for row in spark.sql(f"DESCRIBE TABLE {name}")}
    assert about["site"] == ("string", "ours")
    assert about["value"] == ("double", "as we see it")
    assert ("our.own", "x") in spark.sql(f"SHOW TBLPROPERTIES {name}")


def test_rows_of_others_are_left_alone(spark: Spark, plant: Plant) -> None:
    spark.sql(
        f"INSERT INTO {table(plant.timeseries)} SELECT CONCAT('theirs', tag_webid) AS tag_webid, * EXCEPT (tag_webid) "
        f"FROM {table(plant.timeseries)} WHERE tag_webid = '{web_id_of(2)}'"
    )
    theirs = [(f"theirs{row[0]}", *row[1:]) for row in plant.rows([2], BEGIN, FIRST)]
    assert_goes_on(spark, plant, rest(plant) + theirs)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_app_transactions_survive_sparks_checkpoints(spark: Spark, plant: Plant, kind: str) -> None:
    """The log has been cleaned up: a checkpoint of Spark's is all that is left of our commits."""
    settings, conf, files = CHECKPOINTS[kind]
    for path in (plant.timeseries, plant.watermarks):
        properties(spark, path, **settings)
        spark.sql(f"OPTIMIZE {table(path)}", **conf)
        log = path / "_delta_log"
        last = json.loads((log / "_last_checkpoint").read_text())["version"]
        assert spark.history(path)[0]["version"] == last
        assert len(list(log.glob(f"{last:020}.checkpoint.{files}"))) == (2 if "0000000002." in files else 1)
        for entry in log.glob("*.json"):
            if entry.stem.isdigit() and int(entry.stem) < last:
                entry.unlink()
    assert_goes_on(spark, plant, rest(plant))


@pytest.mark.parametrize("feature", ["inCommitTimestamp", "typeWidening"])
def test_a_feature_that_we_cannot_write_is_named_and_can_be_dropped(spark: Spark, plant: Plant, feature: str) -> None:
    settings, history = FEATURES[feature]
    properties(spark, plant.timeseries, **settings)
    with pytest.raises(SchemaDriftError, match=f"cannot be written: it uses the table feature {feature}\\.") as refusal:
        go_on(plant, SECOND_END)
    assert "DROP FEATURE <the feature>, with TRUNCATE HISTORY" in str(refusal.value.hint)
    properties(spark, plant.timeseries, **{"delta.dropFeatureTruncateHistory.retentionDuration": "interval 0 hours"})
    spark.sql(f"ALTER TABLE {table(plant.timeseries)} DROP FEATURE {feature} {history}")
    assert_goes_on(spark, plant, rest(plant))


def test_of_features_that_come_together_all_are_named(spark: Spark, plant: Plant) -> None:
    properties(spark, plant.timeseries, **{"delta.enableRowTracking": "true"})
    with pytest.raises(SchemaDriftError, match="the table feature domainMetadata and rowTracking"):
        go_on(plant, SECOND_END)
    assert_same_rows(spark.events(plant.timeseries), plant.rows(range(TAGS), BEGIN, FIRST))


def test_what_spark_does_meanwhile_costs_no_row(spark: Spark, tmp_path: Path) -> None:
    """Between our look at the table and our commit: a rewriting of files, rows, and then another shape."""
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    name = table(Path(lake.lakehouse.table(PI_TIMESERIES).uri))
    for n in range(3):
        land(landing, "a", n * 10, n * 10 + 10)
    spark.sql(f"OPTIMIZE {name}")
    land(landing, "a", 30, 40)
    spark.sql(f"DELETE FROM {name} WHERE timestamp < timestamp_micros(5)")
    spark.sql(
        f"INSERT INTO {name} (tag_webid, timestamp, partition_date) VALUES ('b', timestamp_micros(1), DATE '1970-01-01')"
    )
    land(landing, "a", 40, 50)
    spark.sql(f"ALTER TABLE {name} ADD COLUMN (site STRING)")
    with pytest.raises(CommitConflictError, match="Another writer has changed"):
        land(landing, "a", 50, 60)
    land(lake.opened(), "a", 50, 60)
    expected = [*(("a", n) for n in range(5, 60)), ("b", 1)]
    assert lake.events() == expected
    assert sorted(spark.sql(f"SELECT tag_webid, timestamp FROM {name}")) == expected
