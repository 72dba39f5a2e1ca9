"""Watermarks only widen, in whatever order their rows are read."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writers import Move, Watermark
from writers.checkpoint import decode, encode, merge, merge_stream, moved, widen

MOVES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans(), st.booleans()), max_size=12)


def history(steps) -> list[pa.RecordBatch]:
    """Rows as commits write them: forwards or backwards, sometimes only a failure is reported."""
    marks: dict[str, Watermark] = {}
    batches = []
    for number, (tag, length, backward, failed) in enumerate(steps, 1):
        before = marks.get(tag, Watermark(tag, 100, 100))
        low, high = (before.low - length, before.low) if backward else (before.high, before.high + length)
        move = Move(tag, low, high, high - 1 if length else None, length, *(("failed", "why") if failed else ()))
        marks |= moved(marks, [move])
        batches.append(encode([marks[tag]], pipeline="p", dataset="d", sequence=number, updated_at=number))
    return batches


@settings(deadline=None)  # the first example imports much
@given(MOVES, st.randoms())
def test_rows_in_any_order_and_twice_give_the_last_state(steps, rng: random.Random) -> None:
    batches = history(steps)
    expected: dict[str, Watermark] = {}
    for batch in batches:
        expected |= decode(pa.Table.from_batches([batch]), "d")
    rows = batches * 2
    rng.shuffle(rows)
    assert decode(merge_stream(rows), "d") == expected
    # Merging what was merged changes nothing, nor does merging in two goes.
    half = len(rows) // 2
    once = merge_stream(rows[:half]).to_batches()
    assert decode(merge_stream([*once, *rows[half:]]), "d") == expected


def test_merging_in_pieces_is_the_same(monkeypatch) -> None:
    batches = history([("a", 1, False, False), ("b", 2, False, True), ("a", 3, True, False), ("b", 0, False, False)])
    whole = merge_stream(batches)
    monkeypatch.setattr("writers.checkpoint._MERGE_ROWS", 1)
    assert merge_stream(batches).sort_by("tag_webid").equals(whole.sort_by("tag_webid"))


def test_datasets_and_pipelines_are_kept_apart() -> None:
    rows = [
        encode([Watermark("a", low, 9)], pipeline=pipeline, dataset=dataset, sequence=1, updated_at=1)
        for low, pipeline, dataset in ((1, "p", "d"), (2, "p", "e"))
    ]
    merged = merge(pa.Table.from_batches(rows))
    assert decode(merged, "d") == {"a": Watermark("a", 1, 9)}
    assert decode(merged, "e") == {"a": Watermark("a", 2, 9)}
    assert decode(merged, "none") == {}


@pytest.mark.parametrize(("low", "high"), [(21, 25), (1, 9)])
def test_a_window_that_leaves_a_gap_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="does not touch"):
        widen(Watermark("a", 10, 20), Move("a", low, high))


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        widen(None, Move("a", 5, 4))


def test_a_tag_that_only_failed_begins_where_its_first_window_does() -> None:
    failed = widen(None, Move("a", 7, 7, status="failed", last_error="gone"))
    assert (failed.low, failed.high) == (7, 7)
    assert widen(failed, Move("a", 3, 9, 8, 2)) == Watermark("a", 3, 9, 8, 2)
