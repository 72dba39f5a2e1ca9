"""What a task of the Spark source does, without Spark: it reads its windows exactly, or says what it cannot read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from config import from_mapping
from config.errors import ConfigurationError, TagError, UnavailableError
from engine.model import Tag
from engine.piweb.times import iso_text
from engine.plan.shards import Shard
from engine.simulator import Simulator, point
from engine.spark.micro_batches import TagWindow, shares
from engine.spark.source_state import LeftOut
from engine.spark.window_reader import read_windows
from tests.exactness.expected import COLUMNS, Row, assert_same_rows, exact_double, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, settings, text_of
from tests.spark.served import served

TAGS = 7
END = BEGIN + 3 * HOUR


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant.of(tmp_path, tags=TAGS, bad=0.1)


@pytest.fixture
def simulator(plant: Plant) -> Simulator:
    return plant.simulator(END)


@pytest.fixture
def url(simulator: Simulator) -> Iterator[str]:
    with served(simulator) as url:
        yield url


def windows(plant: Plant, *indexes: int, start: int = BEGIN, end: int = END) -> list[TagWindow]:
    tags = [point(plant.options, index) for index in indexes or range(TAGS)]
    return [TagWindow(Tag(web_id_of(one.index), one.name, one.units, one.type), start, end, start) for one in tags]


def rows_in(batches: Iterator[pa.RecordBatch]) -> list[Row]:
    place = COLUMNS.index("value")
    rows = []
    for batch in batches:
        plain = batch.select(COLUMNS).set_column(2, "timestamp", batch["timestamp"].cast(pa.int64()))
        plain = plain.set_column(13, "partition_date", plain["partition_date"].cast(pa.int32()))
        for row in zip(*(column.to_pylist() for column in plain.columns), strict=True):
            rows.append((*row[:place], exact_double(row[place]), *row[place + 1 :]))
    return rows


def read(
    url: str, wanted: Sequence[TagWindow], left_out: list[LeftOut] | None = None, **sections: Any
) -> Iterator[pa.RecordBatch]:
    config = from_mapping(settings(Path("unused"), url, **sections)).config
    return read_windows(config, wanted, Shard(), None if left_out is None else left_out.extend)


@pytest.mark.parametrize("mode", ["batch", "streamset", "single"])
def test_shares_together_give_each_event_once(plant: Plant, url: str, mode: str) -> None:
    found: list[Row] = []
    for share in shares(windows(plant), 3):
        found += rows_in(read(url, share, extraction={"request_mode": mode, "max_count_per_tag": 40}))
    assert_same_rows(found, plant.rows(range(TAGS), BEGIN, END))


def test_an_instant_that_cannot_be_read_fails_the_task_and_names_the_tag(
    plant: Plant, simulator: Simulator, url: str
) -> None:
    at = plant.rows([2], BEGIN, END)[3][2]
    simulator.change({"action": "damage", "tag": 2, "at": text_of(at)})
    with pytest.raises(TagError, match=rf"1 window cannot be read: {plant.name(2)} from.*Mismatch") as refused:
        rows_in(read(url, windows(plant)))
    assert "failOnTagError" in str(refused.value)


def test_what_is_left_out_is_as_narrow_as_it_gets_and_all_else_is_there(
    plant: Plant, simulator: Simulator, url: str
) -> None:
    at = plant.rows([2], BEGIN, END)[3][2]
    simulator.change({"action": "damage", "tag": 2, "at": text_of(at)}, {"action": "forbid", "tag": 4, "status": 403})
    left_out: list[LeftOut] = []
    found = rows_in(read(url, windows(plant), left_out))
    hole, forbidden = sorted(left_out, key=lambda each: each.tag_name != plant.name(2))
    assert (hole.tag_webid, forbidden.tag_webid) == (web_id_of(2), web_id_of(4))
    assert (hole.start, hole.end) == (iso_text(at), iso_text(at + 1))
    assert (forbidden.start, forbidden.end) == (iso_text(BEGIN), iso_text(END))
    assert hole.error
    assert forbidden.error
    whole = [row for row in plant.rows(range(TAGS), BEGIN, END) if row[0] != web_id_of(4)]
    assert_same_rows(found, [row for row in whole if (row[0], row[2]) != (web_id_of(2), at)])


def test_a_source_that_is_down_ends_the_task_by_its_error(plant: Plant) -> None:
    with pytest.raises(UnavailableError):
        rows_in(read("http://127.0.0.1:9/piwebapi", windows(plant)))


def test_a_reader_that_is_left_early_stops_asking(plant: Plant, simulator: Simulator, url: str) -> None:
    asked = read(url, windows(plant), extraction={"max_count_per_tag": 1, "request_mode": "single"})
    next(asked)
    asked.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name == "osipi-source"]
    before = simulator.stats["values"]
    assert before < len(plant.rows(range(TAGS), BEGIN, END))


def test_credentials_are_looked_up_in_the_task(plant: Plant, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = settings(Path("unused"), url, pi_web_api={"auth_type": "bearer", "token": "${env:PI_TOKEN}"})
    config = from_mapping(document, secrets=False).config
    wanted = windows(plant, 1, end=BEGIN + 20 * MINUTE)
    with pytest.raises(ConfigurationError, match="PI_TOKEN"):
        rows_in(read_windows(config, wanted, Shard(), None))
    monkeypatch.setenv("PI_TOKEN", "secret")
    assert_same_rows(rows_in(read_windows(config, wanted, Shard(), None)), plant.rows([1], BEGIN, BEGIN + 20 * MINUTE))
