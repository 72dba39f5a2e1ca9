"""Any plan of faults, any limits: what is called done is exact, and a run without faults completes it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.errors import ExtractError
from tests.exactness.expected import COLUMNS, Row, assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, Plant, run_sync
from tests.exactness.reading import holes_in, is_table, rows_in
from tests.examples import examples

TAGS = 7
END = BEGIN + HOUR
SHAPES = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
NAMES = [Plant.of(Path(), tags=TAGS, shapes=SHAPES).name(index) for index in range(TAGS)]

DO = st.one_of(
    st.sampled_from([400, 401, 403, 404, 409, 410, 413, 429, 500, 502, 503, 504]).map(
        lambda status: {"status": status}
    ),
    st.integers(0, 4000).map(lambda size: {"truncate_bytes": size}),
    st.integers(0, 30).map(lambda place: {"value_error": place}),
    st.sampled_from(
        [{"fail_midway": True}, {"web_exception": True}, {"drop_connection": True}, {"body": "{}"}, {"body": "[1]"}]
    ),
)
WHEN = st.one_of(
    st.just({}),
    st.integers(1, 6).map(lambda n: {"nth": n}),
    st.integers(1, 6).map(lambda n: {"first": n}),
    st.integers(1, 6).map(lambda n: {"after": n}),
    st.integers(2, 4).map(lambda n: {"every": n}),
    st.floats(0.05, 0.6).map(lambda share: {"probability": share}),
)
RULE = st.builds(
    lambda do, when, route, tag: {"do": do, "match": {**when, "route": route, **({"tag": tag} if tag else {})}},
    DO,
    WHEN,
    st.sampled_from(["*recorded", "batch", "streams/*/recorded"]),
    st.none() | st.sampled_from(NAMES),
)
SWITCHES = st.fixed_dictionaries(
    {},
    optional={
        "streamset_max_count": st.sampled_from(["per_stream", "total"]),
        "bad_web_id": st.sampled_from([400, 404, "per_stream"]),
        "max_items": st.sampled_from([5, 50, 150_000]),
        "mid_stream_failure": st.sampled_from(["truncate", "web_exception"]),
        "batch_max_items": st.integers(1, 4),
    },
)
PLAN = st.fixed_dictionaries({"rules": st.lists(RULE, max_size=4), "switches": SWITCHES})
LIMITS = st.fixed_dictionaries(
    {
        "request_mode": st.sampled_from(["auto", "batch", "streamset", "single"]),
        "max_count_per_tag": st.sampled_from([3, 20, 10_000]),
        "batch_size": st.integers(1, 8),
    }
)


@pytest.mark.timeout(900)  # a hostile plan costs thousands of requests
@settings(examples(15), derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(faults=PLAN, limits=LIMITS, values_per_answer=st.sampled_from([10, 100, 25_000]), backwards=st.booleans())
def test_any_faults(faults: dict[str, Any], limits: dict[str, Any], values_per_answer: int, backwards: bool) -> None:
    performance = {"values_per_answer": values_per_answer, "commit_rows": 150}
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant.of(Path(folder), tags=TAGS, shapes=SHAPES, interval_secs=60)
        limits = {**limits, "mode": "full"}
        if backwards:
            start = {"start_date": "2024-03-05T00:40:00Z", "end_date": "2024-03-05T00:45:00Z"}
            run_sync(plant, END, extraction={**limits, **start}, performance=performance)
        try:
            report = run_sync(plant, END, faults=faults, extraction=limits, performance=performance)
        except ExtractError:
            pass  # nothing to report; what is in the tables must be right all the same
        else:
            assert (report.status == "succeeded") == (report.exit_code == 0)
            assert all(reason for _, reason in report.tags_failed)
            assert bool(report.holes) == bool(holes(plant))
            if report.status == "succeeded":
                assert_right(plant, faults)
        if is_table(plant.timeseries):
            assert_done(plant)
        limits = {**limits, "lookback": "2h"}  # so that errors in place of values turn into values
        for again in ({**limits, "mode": "incremental"}, limits):
            report = run_sync(plant, END, extraction=again, performance=performance, retry_holes=True)
        assert (report.status, holes(plant)) == ("succeeded", {})
        plant.assert_exact(BEGIN, END)


def assert_right(plant: Plant, faults: dict[str, Any]) -> None:
    marks = plant.marks()
    assert {(marks[web_id_of(index)].low, marks[web_id_of(index)].high) for index in range(TAGS)} == {(BEGIN, END)}, (
        faults
    )


def holes(plant: Plant) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for web_id, start, end in holes_in(plant.watermarks) if is_table(plant.watermarks) else ():
        found.setdefault(web_id, []).append((start, end))
    return found


def assert_done(plant: Plant) -> None:
    """The table holds what the watermarks say is there, outside of holes; an error stands in place of its value."""
    lost = holes(plant)
    expected = {row[:4]: row for row in done(plant) if not _in(lost, row)}
    found = [row for row in rows_in(plant.timeseries) if not _in(lost, row)]
    kind = COLUMNS.index("value_kind")
    assert_same_rows([expected.get(row[:4], row) if row[kind] == "error" else row for row in found], expected.values())


def _in(lost: dict[str, list[tuple[int, int]]], row: Row) -> bool:
    return any(start <= row[2] < end for start, end in lost.get(row[0], ()))


def done(plant: Plant) -> Iterable[Row]:
    """The rows that the watermarks say are there."""
    for index in range(TAGS):
        if mark := plant.marks().get(web_id_of(index)):
            yield from plant.rows([index], mark.low, mark.high)
