"""Checkpoints of managed tables hold statistics as values, as the catalog asks for them, and other readers take them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from hypothesis import given
from hypothesis import strategies as st

from tests.landing.lake import Lake, land
from tests.unity.published import as_path_table, folder_of
from tests.unity.stand_in import StandIn
from writers import PI_TIMESERIES, Lakehouse
from writers.log.checkpoint_table import file_actions_table
from writers.storage.location import TableLocation
from writers.storage.log_checkpoints import checkpointed, find_checkpoint
from writers.unity import managed

NAME = "main.bronze.pi_timeseries"
DAY = 86_400_000_000
Opened = Callable[..., Lakehouse]


@pytest.fixture
def log(catalog: StandIn, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a table with a checkpoint of version 4, of four files in two dates."""
    monkeypatch.setattr(managed, "_CHECKPOINT_EVERY", 4)
    landing = Lake(opened()).opened()
    for n in range(4):
        land(landing, f"tag{n}", n % 2 * DAY + n, n % 2 * DAY + n + 3)
    return folder_of(catalog.tables[NAME].location) / "_delta_log"


def test_what_the_statistics_say_stands_there_as_values(log: Path) -> None:
    [head] = log.glob(f"{4:020}.checkpoint.*.json")
    actions = [json.loads(line) for line in head.read_text().splitlines()]
    assert not any("add" in action for action in actions)
    [sidecar] = [action["sidecar"] for action in actions if "sidecar" in action]
    file = log / "_sidecars" / sidecar["path"]
    assert file.stat().st_size == sidecar["sizeInBytes"]
    adds = pq.read_table(file)["add"].to_pylist()
    assert len(adds) == 4
    for add in adds:
        said, parsed = json.loads(add["stats"]), add["stats_parsed"]
        assert parsed["numRecords"] == said["numRecords"] == 3
        assert parsed["minValues"]["tag_webid"] == said["minValues"]["tag_webid"]
        assert parsed["minValues"]["value"] == said["minValues"]["value"]
        assert parsed["maxValues"]["timestamp"] == datetime.fromisoformat(said["maxValues"]["timestamp"])
        assert {k: v for k, v in parsed["nullCount"].items() if v is not None} == said["nullCount"]
        day = add["partitionValues_parsed"]["partition_date"]
        assert dict(add["partitionValues"]) == {"partition_date": day.isoformat()}
        assert parsed["minValues"]["timestamp"].date() == day


def test_delta_rs_reads_past_the_checkpoint_and_skips_by_it(
    log: Path, catalog: StandIn, opened: Opened, tmp_path: Path
) -> None:
    before = Lake(opened()).events()
    copy = as_path_table(catalog.tables[NAME].location, tmp_path / "copy", begins_at=4)
    table = DeltaTable(copy)
    assert len(table.file_uris()) == 4
    found = QueryBuilder().register("t", table).execute("select tag_webid from t where timestamp >= '1970-01-02'")
    assert sorted(pa.table(found.read_all())["tag_webid"].to_pylist()) == ["tag1"] * 3 + ["tag3"] * 3
    assert Lake(opened()).events() == before


def test_ours_reads_back_what_it_wrote(log: Path, catalog: StandIn) -> None:
    place = TableLocation.parse(catalog.tables[NAME].location)
    found = find_checkpoint([path.name for path in log.iterdir()], 4)
    assert found is not None
    adds = {action["add"]["path"]: action["add"] for action in checkpointed(place, found) if "add" in action}
    logged = [json.loads(line) for n in range(1, 5) for line in (log / f"{n:020}.json").read_text().splitlines()]
    for add in (action["add"] for action in logged if "add" in action):
        read = {key: value for key, value in adds[add["path"]].items() if not key.endswith("_parsed")}
        assert read == {**add, "dataChange": False}


def test_the_time_of_a_staged_file_is_taken_when_it_is_written(catalog: StandIn, opened: Opened) -> None:
    ticks = count(1_000)
    catalog.forbidden.add("set-latest-backfilled-version")
    land(Lake(opened(clock=lambda: float(next(ticks)))).opened(), "a", 0, 3)
    [commit] = catalog.tables[NAME].commits.values()
    assert commit["file-modification-timestamp"] > commit["timestamp"]


SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("number", pa.int32()),
        ("real", pa.float64()),
        ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("list", pa.list_(pa.string())),
        ("flag", pa.bool_()),
        ("part", pa.date32()),
    ]
)
VALUES = {
    "text": st.text(min_size=1),
    "number": st.integers(-(2**31), 2**31 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "at": st.datetimes(timezones=st.just(UTC)),
    "day": st.dates(),
}
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False), st.lists)


def said(value: object) -> object:
    return value.isoformat() if isinstance(value, date | datetime) else value


def only_add(stats: str | None, day: str = "2024-02-03") -> dict:
    add = {"path": "a", "partitionValues": {"part": day}, "size": 1, "modificationTime": 1, "dataChange": False}
    table = file_actions_table([{"add": {**add, "stats": stats}}], SCHEMA, ["part"], parsed=True)
    [row] = table["add"].to_pylist()
    return row


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_bounds_are_those_of_the_json(bounds: dict[str, object]) -> None:
    text = json.dumps({"numRecords": 5, "minValues": {k: said(v) for k, v in bounds.items()}})
    row = only_add(text)
    assert {k: v for k, v in row["stats_parsed"]["minValues"].items() if v is not None} == bounds
    assert row["stats"] == text
    assert row["partitionValues_parsed"] == {"part": date(2024, 2, 3)}


@given(st.dictionaries(st.sampled_from(SCHEMA.names), JSON), JSON)
def test_bounds_of_another_type_are_absent_and_never_wrong(bounds: dict[str, object], counts: object) -> None:
    row = only_add(json.dumps({"maxValues": bounds, "nullCount": counts, "tightBounds": bounds}))
    for name, value in row["stats_parsed"]["maxValues"].items():
        if isinstance(value, datetime | date):
            assert value == type(value).fromisoformat(str(bounds[name]))
        elif isinstance(value, str):
            assert value == bounds[name]
        elif value is not None:
            assert value == float(bounds[name])  # type: ignore[arg-type]


@pytest.mark.parametrize("stats", [None, "", "null", "[]", "{", '"x"', "3"])
def test_no_statistics_are_none(stats: str | None) -> None:
    assert only_add(stats)["stats_parsed"] is None
    assert only_add(stats)["path"] == "a"


def test_a_table_that_does_not_ask_for_them_gets_none() -> None:
    table = file_actions_table([], SCHEMA, ["part"], parsed=False)
    names = {table.schema.field("add").type.field(i).name for i in range(table.schema.field("add").type.num_fields)}
    assert not names & {"stats_parsed", "partitionValues_parsed"}


def test_the_schema_of_our_table_is_all_readable() -> None:
    """Every column that has bounds in JSON has a place for them."""
    from writers.unity.creation import struct_of

    kinds = {field["name"] for field in struct_of(PI_TIMESERIES)["fields"]}
    table = file_actions_table([], PI_TIMESERIES.schema, PI_TIMESERIES.partition_by, parsed=True)
    bounds = table.schema.field("add").type.field("stats_parsed").type.field("minValues").type
    assert kinds - {bounds.field(i).name for i in range(bounds.num_fields)} == {
        "good", "questionable", "substituted", "annotated", "partition_date",
    }  # fmt: skip
