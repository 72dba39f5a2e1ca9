"""Corrections are commits that we write into the log ourselves: Spark reads them right, and both go on from each other's files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from config.errors import SchemaDriftError
from tests.corrections.events import DAY, Event, batch_of
from tests.landing.lake import Lake
from tests.spark.session import Spark, SparkError, table
from writers import (
    PI_TIMESERIES,
    CorrectionCounts,
    LandingReceipt,
    Move,
    Replacement,
    open_lakehouse,
)

pytestmark = pytest.mark.spark

COLUMNS = "tag_webid, timestamp, sequence, value, value_string, state_code"
DAY_ONE = [Event(tag, at) for tag in "abc" for at in range(5)]
DAY_TWO = [Event(tag, DAY + at) for tag in "abc" for at in range(5)]
# Of tag a one event is inserted, one changed and one deleted.
WINDOW = Replacement("a", 1, 4)
TRUTH = [Event("a", 1), Event("a", 1, sequence=1), Event("a", 2, value=None, text="Bad", code=-307, kind="system")]
CORRECTED = [e for e in DAY_ONE + DAY_TWO if e.tag != "a" or not 1 <= e.at < 4] + TRUTH
INSERT = (
    "INSERT INTO {table} (tag_webid, timestamp, sequence, value, partition_date) "
    "VALUES ('theirs', timestamp_micros(7), 0, 1.0, DATE '1970-01-01')"
)
COUNTS = CorrectionCounts(inserted=1, changed=1, deleted=1, files_rewritten=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(open_lakehouse(tmp_path / "lake"))
    for events in (DAY_ONE, DAY_TWO):
        land(lake, events)
    return lake


def land(lake: Lake, events: Sequence[Event]) -> None:
    batch = lake.opened().begin()
    batch.write(batch_of(events))
    batch.commit([Move(tag, 0, 3 * DAY, None, sum(e.tag == tag for e in events)) for tag in "abc"])


def correct(lake: Lake, on_step: Callable[[str], None] = lambda _step: None) -> LandingReceipt:
    batch = lake.opened(on_step=on_step).begin()
    batch.replace([WINDOW], batch_of(TRUTH))
    return batch.commit([])


def path_of(lake: Lake) -> Path:
    return Path(lake.lakehouse.table(PI_TIMESERIES).uri)


def rows(events: Sequence[Event]) -> list[tuple[object, ...]]:
    return sorted((e[:6] for e in events), key=repr)


def found(spark: Spark, path: Path, version: str = "") -> list[tuple[object, ...]]:
    return sorted(spark.sql(f"SELECT {COLUMNS} FROM {table(path)} {version}"), key=repr)


def test_a_corrected_table_is_read_right_and_its_history_says_what_was_done(spark: Spark, lake: Lake) -> None:
    path = path_of(lake)
    assert correct(lake).corrections == COUNTS
    assert found(spark, path) == rows(CORRECTED)
    done, before, *_ = spark.history(path)
    assert done["version"] == before["version"] + 1
    assert done["timestamp"] >= before["timestamp"]
    assert (done["operation"], before["operation"]) == ("MERGE", "WRITE")
    assert done["readVersion"] == before["version"]
    assert done["isBlindAppend"] is False
    assert found(spark, path, f"VERSION AS OF {before['version']}") == rows(DAY_ONE + DAY_TWO)


def test_files_that_spark_wrote_are_corrected_and_compacted_again(spark: Spark, lake: Lake) -> None:
    path = path_of(lake)
    land(lake, [Event("b", 100)])
    spark.sql(f"ALTER TABLE {table(path)} ADD COLUMN (site STRING)")
    spark.sql(f"UPDATE {table(path)} SET site = CONCAT('at ', tag_webid)")
    spark.sql(f"OPTIMIZE {table(path)}")
    assert correct(lake).corrections == COUNTS
    assert correct(lake).data is None
    spark.sql(f"OPTIMIZE {table(path)}")
    expected = [*CORRECTED, Event("b", 100)]
    assert found(spark, path) == rows(expected)
    sites = dict(spark.sql(f"SELECT COALESCE(site, 'none'), COUNT(*) FROM {table(path)} GROUP BY ALL"))
    # What was carried over kept its site; what is new from the source has none.
    assert sites == {"at a": 8, "at b": 11, "at c": 10, "none": 2}


@pytest.mark.parametrize(
    ("statement", "tries", "gone", "come"),
    [
        ("OPTIMIZE {table}", 2, set(), []),
        ("DELETE FROM {table} WHERE tag_webid = 'c' AND timestamp = timestamp_micros(4)", 2, {("c", 4)}, []),
        (
            INSERT,
            1,
            set(),
            [Event("theirs", 7)],
        ),
    ],
    ids=["optimize", "delete", "insert"],
)
def test_what_spark_does_between_our_look_and_our_commit(
    spark: Spark, lake: Lake, statement: str, tries: int, gone: set[tuple[str, int]], come: list[Event]
) -> None:
    """Where Spark has replaced a file that we correct we look again; where it has not, nothing is repeated."""
    path = path_of(lake)
    land(lake, [Event("b", 100)])
    staged = []

    def meanwhile(step: str) -> None:
        if step == "after_staging":
            staged.append(step)
            if len(staged) == 1:
                spark.sql(statement.format(table=table(path)))

    assert correct(lake, meanwhile).corrections == COUNTS
    assert len(staged) == tries
    expected = [e for e in (*CORRECTED, Event("b", 100), *come) if e[:2] not in gone]
    assert found(spark, path) == rows(expected)


@pytest.mark.parametrize(
    ("change", "remedy", "named"),
    [
        (
            "DELETE FROM {table} WHERE tag_webid = 'b' AND timestamp = timestamp_micros(0)",
            "REORG TABLE {table} APPLY (PURGE)",
            r"deletion vectors.*\(PURGE\)",
        ),
        (
            "ALTER TABLE {table} SET TBLPROPERTIES (delta.appendOnly = true)",
            "ALTER TABLE {table} SET TBLPROPERTIES (delta.appendOnly = false)",
            r"append-only.*delta\.appendOnly",
        ),
    ],
    ids=["deletion vectors", "append-only"],
)
def test_what_corrections_refuse_has_a_remedy_that_works(
    spark: Spark, lake: Lake, change: str, remedy: str, named: str
) -> None:
    path = path_of(lake)
    spark.sql(f"ALTER TABLE {table(path)} SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    spark.sql(change.format(table=table(path)))
    before = found(spark, path)
    with pytest.raises(SchemaDriftError) as refusal:
        correct(lake)
    assert re.search(named, f"{refusal.value} {refusal.value.hint}")
    assert found(spark, path) == before
    spark.sql(remedy.format(table=table(path)))
    assert correct(lake).corrections == COUNTS
    assert found(spark, path) == [row for row in rows(CORRECTED) if row in before or row[0] == "a"]


def test_a_stream_must_be_told_what_to_do_about_corrections(spark: Spark, lake: Lake, tmp_path: Path) -> None:
    """With `ignoreChanges` rewritten files come again: each row at least once. `skipChangeCommits` would leave
    out what was appended by the commit that corrects.
    """
    path = path_of(lake)
    seen = {name: tmp_path / name for name in ("ignoreChanges", "skipChangeCommits", "neither")}
    for name, target in seen.items():
        spark.stream(path, target, **options(name))
    batch = lake.opened().begin()
    batch.write(batch_of([Event("c", 2 * DAY)]))
    batch.replace([WINDOW], batch_of(TRUTH))
    batch.commit([Move("c", 2 * DAY, 3 * DAY, 2 * DAY, 1)])
    with pytest.raises(SparkError, match="DELTA_SOURCE_TABLE_IGNORE_CHANGES"):
        spark.stream(path, seen["neither"])
    for name in ("ignoreChanges", "skipChangeCommits"):
        spark.stream(path, seen[name], **options(name))
    assert found(spark, seen["skipChangeCommits"]) == rows(DAY_ONE + DAY_TWO)
    every = found(spark, seen["ignoreChanges"])
    assert set(every) == set(rows([*DAY_ONE, *DAY_TWO, *TRUTH, Event("c", 2 * DAY)]))


def options(name: str) -> dict[str, str]:
    return {} if name == "neither" else {name: "true"}
