"""A bound may be loose or absent, never wrong: readers skip files by it."""

from __future__ import annotations

import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from writers.log.statistics import MAX_TEXT, FloatStatistics, file_statistics, lower_text, upper_text
from writers.tables import TIMESTAMP


def stats(column: pa.Array, *, row_group_size: int = 100) -> dict:
    sink = io.BytesIO()
    table = pa.table({"c": column})
    floats = {"c": FloatStatistics()} if pa.types.is_floating(column.type) else {}
    pq.write_table(table, sink, row_group_size=row_group_size, write_statistics=not floats)
    for each in floats.values():
        for start in range(0, len(column), row_group_size):
            each.take(table["c"].slice(start, row_group_size))
    return json.loads(file_statistics(pq.read_metadata(sink), [pa.field("c", column.type)], floats))


LONG = st.text(alphabet=st.sampled_from("a\ud7ff\ue000\U0010ffff"), min_size=MAX_TEXT - 2, max_size=MAX_TEXT + 3)


@given(LONG | st.text(max_size=2 * MAX_TEXT))
def test_cut_texts_enclose_the_whole(text: str) -> None:
    upper = upper_text(text)
    assert lower_text(text) <= text
    assert upper is None or (upper >= text and len(upper) <= MAX_TEXT)
    assert upper is None or upper.encode("utf-8") >= text.encode("utf-8")
    assert (upper is None) == (len(text) > MAX_TEXT and set(text[:MAX_TEXT]) == {"\U0010ffff"})


@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.none(), min_size=1), st.integers(1, 5))
def test_whole_numbers_are_exact_over_row_groups(values: list[int | None], row_group_size: int) -> None:
    found = stats(pa.array(values, pa.int32()), row_group_size=row_group_size)
    known = [v for v in values if v is not None]
    assert found["numRecords"] == len(values)
    assert found["nullCount"] == {"c": values.count(None)}
    assert found["minValues"] == ({"c": min(known)} if known else {})
    assert found["maxValues"] == ({"c": max(known)} if known else {})


@given(st.lists(st.floats(allow_nan=False) | st.none(), min_size=1))
def test_numbers_are_enclosed_and_infinities_not_written(values: list[float | None]) -> None:
    found = stats(pa.array(values, pa.float64()), row_group_size=3)
    known = [v for v in values if v is not None]
    for key, ends in (("minValues", min), ("maxValues", max)):
        expected = ends(known, default=math.inf)
        assert found[key] == ({"c": expected} if math.isfinite(expected) else {})


@pytest.mark.parametrize("place", range(3))
def test_a_column_with_a_nan_has_no_bounds_and_keeps_its_nulls(place: int) -> None:
    values = [1.0, None, 2.0]
    values.insert(place, math.nan)
    found = stats(pa.array(values), row_group_size=1)
    assert (found["minValues"], found["maxValues"], found["nullCount"]) == ({}, {}, {"c": 1})


def test_bounds_at_zero_hold_both_zeros() -> None:
    found = stats(pa.array([0.0, -0.0, 0.0]))
    assert (str(found["minValues"]["c"]), str(found["maxValues"]["c"])) == ("-0.0", "0.0")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_793_664_000_000_001, "2026-11-03T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_timestamps_keep_their_microseconds(micros: int, text: str) -> None:
    found = stats(pa.array([micros, None], pa.int64()).cast(TIMESTAMP))
    assert found["minValues"] == found["maxValues"] == {"c": text}


def test_texts_with_quotes_and_umlauts_survive() -> None:
    found = stats(pa.array(['a"b', "Zürich \\ 東京"]))
    assert (found["minValues"], found["maxValues"]) == ({"c": "Zürich \\ 東京"}, {"c": 'a"b'})
