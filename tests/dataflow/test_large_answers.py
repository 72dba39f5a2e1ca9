"""Answers that are larger than the buffer allows are refused, and asked for in parts: nothing is lost, and memory stays
bounded. A single value that is too large is a hole of its tag.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.net.client
import engine.run.connect
from config import from_mapping
from engine.net.body import Body, read_body
from engine.run import run
from engine.run.connect import largest_answer
from engine.simulator import Simulator
from engine.simulator.archive.values import Event
from engine.simulator.times import ticks_of
from tests.exactness.expected import assert_same_rows, rows_of
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, Plant, settings
from tests.exactness.reading import rows_in

MIB = 1 << 20
FLOOR = 8 * MIB
LEAST = MIB // 4  # in runs of these tests, which are faster so
MINUTE_TICKS = 60 * 10_000_000
START = ticks_of(BEGIN_TEXT)


@given(st.integers(1, 1 << 40), st.integers(1, 1000))
def test_what_is_in_flight_fits_into_the_buffer_twice(buffer_bytes: int, in_flight: int) -> None:
    most = largest_answer(buffer_bytes, in_flight)
    assert FLOOR <= most <= 64 * MIB
    assert most == FLOOR or 2 * in_flight * most <= buffer_bytes


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.run.connect, "_LEAST_ANSWER_BYTES", LEAST)


def of_texts(root: Path, tags: int) -> tuple[Plant, Simulator]:
    plant = Plant.of(root / "lake", tags=tags, types=(("String", 1.0),), interval_secs=600.0, odd_names=False)
    return plant, plant.simulator(BEGIN + HOUR)


def document(plant: Plant, url: str) -> dict[str, Any]:
    few = {"buffer_bytes": "1MiB", "values_per_answer": 150_000}  # what is expected would be let in whole
    return settings(plant.root, url, performance=few, pi_web_api={"timeout": "60s"})


async def test_six_tags_of_long_texts_are_read_in_parts_and_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    largest = refused = 0

    async def noted(content: aiohttp.StreamReader, *, encoding: str, max_bytes: int) -> Body:
        nonlocal largest, refused
        body = await read_body(content, encoding=encoding, max_bytes=max_bytes)
        largest, refused = max(largest, len(body.data)), refused + (not body.complete)
        return body

    monkeypatch.setattr(engine.net.client, "read_body", noted)
    plant, simulator = of_texts(tmp_path, tags=6)
    for tag in range(6):
        for n in range(12):
            simulator.insert(tag, Event(START + n * MINUTE_TICKS + 70, f"{tag}.{n} " + "x" * (LEAST // 5)))
    async with simulator.serve() as url:
        report = await run(from_mapping(document(plant, url)).config)
    assert report.exit_code == 0
    assert not report.holes
    assert refused
    assert largest <= LEAST
    truth = (rows_of(simulator.point(tag), simulator.truth(tag, START, START + 60 * MINUTE_TICKS)) for tag in range(6))
    assert_same_rows(rows_in(plant.timeseries), [row for rows in truth for row in rows])


async def test_a_single_value_that_is_too_large_is_a_hole_of_its_tag(tmp_path: Path, small: None) -> None:
    plant, simulator = of_texts(tmp_path, tags=2)
    at = START + 7 * MINUTE_TICKS + 70
    simulator.insert(1, Event(at, "x" * (LEAST + 1)))
    async with simulator.serve() as url:
        report = await run(from_mapping(document(plant, url)).config)
    assert report.exit_code == 1
    assert not report.tags_failed
    [hole] = report.holes
    assert hole.tag == plant.name(1)
    assert (hole.hole.start, hole.hole.end) == (at // 10, at // 10 + 1)
    assert f"sends more than {LEAST} bytes in one answer" in hole.hole.error
    truth = [
        row
        for tag in range(2)
        for row in rows_of(
            simulator.point(tag),
            [event for event in simulator.truth(tag, START, START + 60 * MINUTE_TICKS) if event.ticks != at],
        )
    ]
    assert_same_rows(rows_in(plant.timeseries), truth)
