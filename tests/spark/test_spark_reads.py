"""Spark reads what a run wrote: every row as the simulator's closed form has it, opening no more files than it must."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.exactness.expected import COLUMNS, Row, assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, Plant, text_of
from tests.exactness.reading import read_table
from tests.spark.session import Spark, table
from writers import PI_TAGS, Commit, CommitKey, open_lakehouse

pytestmark = pytest.mark.spark

PIPELINE = "unit-1.b"
END = BEGIN + 54 * HOUR + 7
TAGS = 36
TYPES = tuple((name, 1.0) for name in (
    "Float32", "Float64", "Float16", "Int32", "Int16", "Digital", "String", "Timestamp", "Blob"
))  # fmt: skip
SHAPES = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
AT, VALUE, KIND = (COLUMNS.index(name) for name in ("timestamp", "value", "value_kind"))


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Three dates, brought in by two runs, a little at a time."""
    plant = Plant.of(
        tmp_path_factory.mktemp("plant"),
        tags=TAGS,
        types=TYPES,
        shapes=SHAPES,
        bad=0.1,
        interval_secs=400,
        sections={"pipeline": PIPELINE, "performance": {"commit_rows": 5000, "values_per_answer": 2000}},
    )
    for now in (BEGIN + 20 * HOUR, END):
        report = asyncio.run(plant.run(now))
        assert report.status == "succeeded"
    return plant


@pytest.fixture(scope="module")
def expected(plant: Plant) -> list[Row]:
    rows = plant.rows(range(TAGS), BEGIN, END)
    assert {row[KIND] for row in rows} == {"number", "string", "digital", "system", "timestamp", "blob", "null"}
    assert any(row[VALUE] == "nan" for row in rows)
    assert any("Überdruck" in (row[5] or "") for row in rows)
    return rows


@pytest.mark.parametrize("vectorised", ["true", "false"])
def test_every_row_is_there_and_nothing_else(spark: Spark, plant: Plant, expected: list[Row], vectorised: str) -> None:
    found = spark.events(plant.timeseries, spark__sql__parquet__enableVectorizedReader=vectorised)
    assert_same_rows(found, expected)


@pytest.mark.parametrize("from_statistics", ["true", "false"])
def test_figures_that_spark_may_take_from_the_log_are_right(
    spark: Spark, plant: Plant, expected: list[Row], from_statistics: str
) -> None:
    """Counts and extremes are answered from our file statistics where that is allowed."""
    [found] = spark.sql(
        "SELECT COUNT(*), MIN(partition_date), MAX(partition_date), MIN(sequence), MAX(sequence), "
        f"MIN(timestamp), MAX(timestamp) FROM {table(plant.timeseries)}",
        spark__databricks__delta__optimizeMetadataQuery__enabled=from_statistics,
    )
    columns = list(zip(*expected, strict=True))
    dates, sequences, times = columns[-1], columns[3], columns[AT]
    ends = (f(column) for column in (dates, sequences, times) for f in (min, max))
    assert found == (len(expected), *ends)
    [(keys, low, high, not_numbers)] = spark.sql(
        "SELECT COUNT(DISTINCT tag_webid, timestamp, sequence), MIN(value), MAX(value), COUNT_IF(isnan(value)) "
        f"FROM {table(plant.timeseries)}",
        spark__databricks__delta__optimizeMetadataQuery__enabled=from_statistics,
    )
    values = [row[VALUE] for row in expected if row[VALUE] is not None]
    assert keys == len({row[:1] + row[2:4] for row in expected}) == len(expected)
    assert low == min(float.fromhex(value) for value in values if value != "nan")
    assert high != high  # Spark takes NaN for the greatest number of all
    assert not_numbers == values.count("nan")


# A condition; which rows it means, given the newest instant of all; and what share of the files it may open.
CONDITIONS: dict[str, tuple[Callable[[Row, int], bool], float]] = {
    "partition_date = DATE '2024-03-06'": (lambda row, _: text_of(row[AT])[:10] == "2024-03-06", 0.6),
    "timestamp >= TIMESTAMP '2024-03-07T03:00:00.000001Z'": (lambda row, _: row[AT] >= BEGIN + 51 * HOUR + 1, 0.4),
    "timestamp < TIMESTAMP '2024-03-05T01:00:00Z'": (lambda row, _: row[AT] < BEGIN + HOUR, 0.4),
    "timestamp < TIMESTAMP '2024-03-05T00:00:00Z'": (lambda _row, _: False, 0.0),
    "timestamp = (SELECT MAX(timestamp) FROM {table})": (lambda row, last: row[AT] == last, 1.0),
    "isnan(value)": (lambda row, _: row[VALUE] == "nan", 1.0),
    "value > 1e300": (lambda row, _: row[VALUE] == "nan", 1.0),
    "value IS NULL": (lambda row, _: row[VALUE] is None, 1.0),
    "sequence = 2": (lambda row, _: row[3] == 2, 1.0),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_files_are_skipped_and_no_row_is_lost(spark: Spark, plant: Plant, expected: list[Row], condition: str) -> None:
    keeps, share = CONDITIONS[condition]
    last = max(row[AT] for row in expected)
    where = condition.format(table=table(plant.timeseries))
    found, opened = spark.scanned(f"SELECT tag_webid, timestamp, sequence FROM {table(plant.timeseries)} WHERE {where}")
    assert Counter(found) == Counter((row[0], row[2], row[3]) for row in expected if keeps(row, last))
    assert opened <= share * len(list(plant.timeseries.glob("partition_date=*/*.parquet")))


def test_the_tags(spark: Spark, plant: Plant) -> None:
    assert_same_table(spark, plant.tags)
    plant.assert_tags()


@pytest.mark.parametrize("vectorised", ["true", "false"])
def test_maps_of_attributes(spark: Spark, tmp_path: Path, vectorised: str) -> None:
    """No run fills them yet."""
    known = {
        "tag_webid": pa.array(["a", "b", "c"]),
        "attributes": pa.array([[("unit", "°C"), ("none", None)], [], None], pa.map_(pa.string(), pa.string())),
    }
    tags = open_lakehouse(tmp_path).table(PI_TAGS).open()
    columns = [known.get(f.name, pa.nulls(3, f.type)) for f in PI_TAGS.schema]
    stage = tags.stage()
    stage.write(pa.RecordBatch.from_arrays(columns, names=PI_TAGS.schema.names))
    tags.commit(Commit(CommitKey("me", 1), stage.close()))
    found = spark.sql(
        f"SELECT tag_webid, attributes FROM {table(Path(tags.uri))} ORDER BY tag_webid",
        spark__sql__parquet__enableNestedColumnVectorizedReader=vectorised,
    )
    assert found == [("a", {"unit": "°C", "none": None}), ("b", {}), ("c", None)]


def test_the_watermarks(spark: Spark, plant: Plant) -> None:
    assert_same_table(spark, plant.watermarks)
    found = spark.sql(
        f"SELECT tag_webid, MIN(low), MAX(high), MAX(rows_total) FROM {table(plant.watermarks)} "
        f"WHERE pipeline = '{PIPELINE}' AND low < high GROUP BY tag_webid"
    )
    marks = plant.marks(PIPELINE)
    assert set(found) == {(tag, mark.low, mark.high, mark.rows_total) for tag, mark in marks.items()}
    assert {(low, high) for _, low, high, _ in found} == {(BEGIN, END)}


def test_a_row_a_run_in_the_metrics(spark: Spark, plant: Plant, expected: list[Row]) -> None:
    metrics = plant.root / "main" / "monitoring" / "pi_connector_metrics"
    assert_same_table(spark, metrics)
    [figures] = spark.sql(
        f"SELECT COUNT(*), COUNT_IF(status = 'succeeded'), SUM(records_written) FROM {table(metrics)}"
    )
    assert figures == (2, 2, len(expected))


def test_comments_and_types_are_told(spark: Spark, plant: Plant) -> None:
    [about] = spark.records(f"DESCRIBE DETAIL {table(plant.timeseries)}")
    assert about["description"] == "One recorded event of a PI tag; key (tag_webid, timestamp, sequence)."
    columns = {row[0]: row[1:] for row in spark.sql(f"DESCRIBE TABLE {table(plant.timeseries)}")}
    assert columns["timestamp"] == ("timestamp", "When the event was recorded, UTC, truncated to microseconds")
    assert columns["sequence"][0] == "int"


def assert_same_table(spark: Spark, path: Path) -> None:
    """Spark reads the rows that delta-kernel reads."""
    read = read_table(path)
    for place, column in enumerate(read.schema):
        if pa.types.is_timestamp(column.type):
            read = read.set_column(place, column.name, read[column.name].cast(pa.int64()))
    rows = [{k: dict(v) if isinstance(v, list) else v for k, v in row.items()} for row in read.to_pylist()]
    found = spark.records(f"SELECT * FROM {table(path)}")
    assert sorted(found, key=repr) == sorted(rows, key=repr)
    assert found
