"""Watermarks only widen, in whatever order their rows are read."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.landing.widening import widen
from writers import Move, Watermark
from writers.watermarks.checkpoint_rows import _merged, decode, encode, merge, merge_stream

MOVES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans(), st.booleans()), max_size=12)


def history(steps) -> list[pa.RecordBatch]:
    """Rows as commits write them: forwards or backwards, sometimes only a failure is reported."""
    marks: dict[str, Watermark] = {}
    batches = []
    for number, (tag, length, backward, failed) in enumerate(steps, 1):
        before = marks.get(tag, Watermark(tag, 100, 100))
        low, high = (before.low - length, before.low) if backward else (before.high, before.high + length)
        move = Move(tag, low, high, high - 1 if length else None, length, *(("failed", "why") if failed else ()))
        marks[tag] = widen(marks.get(tag), move)
        batches.append(encode([marks[tag]], pipeline="p", dataset="d", sequence=number, updated_at=number))
    return batches


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


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 4), st.none() | st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row[1], row[3]),  # no two reach as high at the same moment
)


@given(ROWS, st.randoms(), st.integers(1, 4))
def test_rows_of_writers_that_know_nothing_of_each_other_merge_alike_in_any_order(rows, rng, pieces: int) -> None:
    batches = [
        encode(
            [Watermark("a", low, high, last, last_event_digest=None if last is None else 100 * high + at)],
            pipeline="p",
            dataset="d",
            sequence=sequence,
            updated_at=at,
        )
        for low, high, last, at, sequence in rows
    ]
    merged = merge_stream(batches)
    rng.shuffle(batches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("writers.watermarks.checkpoint_rows._MERGE_ROWS", pieces)
        assert merge_stream(batches).equals(merged)
        assert merge_stream([*merged.to_batches(), *batches, *batches]).equals(merged)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.none() | st.integers(0, 120), st.none() | st.just(7))),
    st.randoms(),
)
def test_what_moves_say_of_the_last_event_the_rows_say_too(steps, rng: random.Random) -> None:
    marks: dict[str, Watermark] = {}
    rows = []
    for number, (length, backward, last, digest) in enumerate(steps, 1):
        before = marks.get("a", Watermark("a", 100, 100))
        low, high = (before.low - length, before.low) if backward else (before.high, before.high + length)
        marks["a"] = widen(marks.get("a"), Move("a", low, high, last, last_event_digest=digest))
        rows.append(encode([marks["a"]], pipeline="p", dataset="d", sequence=number, updated_at=number))
    rng.shuffle(rows)
    assert decode(merge_stream(rows), "d") == marks


def test_the_newest_event_may_vanish_and_its_digest_belongs_to_it() -> None:
    mark = widen(None, Move("a", 0, 10, 8, 3, last_event_digest=11))
    assert (mark.last_event, mark.last_event_digest) == (8, 11)
    assert widen(mark, Move("a", 10, 20)) == Watermark("a", 0, 20, 8, 3, last_event_digest=11)
    gone = widen(mark, Move("a", 10, 10, 5, last_event_digest=12))
    assert (gone.high, gone.last_event, gone.last_event_digest) == (10, 5, 12)
    assert widen(mark, Move("a", 10, 20, 8, last_event_digest=13)).last_event_digest == 13
    assert widen(mark, Move("a", 10, 20, 9)).last_event_digest is None
    # What is filled in below says nothing about the newest event, unless none was known.
    assert widen(mark, Move("a", -5, 0, -3, last_event_digest=14)).last_event_digest == 11
    assert widen(Watermark("a", 0, 10), Move("a", -5, 0, -3, last_event_digest=14)).last_event == -3
    # A sum of hashes may come without a sign; it is kept as the column holds it.
    assert widen(None, Move("a", 0, 10, 8, last_event_digest=2**64 - 1)).last_event_digest == -1


def test_the_one_digest_that_has_no_place_in_a_column_counts_as_not_known() -> None:
    """Then the rows themselves are summed up before they are compared."""
    mark = widen(None, Move("a", 0, 10, 8, last_event_digest=2**63))
    assert (mark.last_event, mark.last_event_digest) == (8, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5))), st.randoms())
def test_live_runs_and_those_who_read_history_count_rows_once_each(commits, rng: random.Random) -> None:
    """Both move the same tags at once. Neither sees what the other does until it begins anew."""
    knows = {False: Watermark("a", 500, 500), True: Watermark("a", 500, 500)}
    rows: list[pa.RecordBatch] = []
    total = 0
    for number, (behind, begins_anew, landed) in enumerate(commits, 1):
        if begins_anew and rows:
            knows[behind] = decode(merge_stream(rng.sample(rows, len(rows))), "d")["a"]
        known = knows[behind]
        low, high = (known.low - 1, known.low) if behind else (known.high, known.high + 1)
        knows[behind] = widen(known, Move("a", low, high, rows=landed), behind=behind)
        rows.append(encode([knows[behind]], pipeline="p", dataset="d", sequence=number, updated_at=number))
        total += landed
        assert decode(merge_stream(rows), "d")["a"].rows_total == total


def test_an_event_below_what_was_done_is_not_the_last_even_if_the_move_reaches_up_too() -> None:
    """A backfill, and a reading ahead that found nothing new, in one commit."""
    done = Watermark("a", 100, 200, 150, 1, last_event_digest=0)
    found = widen(done, Move("a", 50, 300, 60, 7, last_event_digest=9))
    assert (found.low, found.high, found.last_event, found.last_event_digest) == (50, 300, 150, 0)
    never_seen = Watermark("a", 100, 200)
    assert widen(never_seen, Move("a", 50, 300, 60, 7, last_event_digest=9)).last_event == 60


def test_the_last_event_is_of_the_highest_row_that_knows_one() -> None:
    """History and live runs side by side: the one that reaches up found nothing there, the other found some below."""
    marks = Watermark("a", 0, 20), Watermark("a", -10, 10, -3, 7, last_event_digest=5)
    rows = [encode([mark], pipeline="p", dataset="d", sequence=n, updated_at=n) for n, mark in enumerate(marks)]
    for found in (merge_stream(rows), merge_stream(rows[::-1])):
        assert decode(found, "d") == {"a": Watermark("a", -10, 20, -3, 7, last_event_digest=5)}


def test_merging_in_pieces_is_the_same(monkeypatch) -> None:
    batches = history([("a", 1, False, False), ("b", 2, False, True), ("a", 3, True, False), ("b", 0, False, False)])
    whole = merge_stream(batches)
    monkeypatch.setattr("writers.watermarks.checkpoint_rows._MERGE_ROWS", 1)
    assert merge_stream(batches).sort_by("tag_webid").equals(whole.sort_by("tag_webid"))


def test_memory_follows_the_number_of_tags_and_not_of_rows(monkeypatch) -> None:
    together: list[int] = []

    def merged(rows: pa.Table) -> pa.Table:
        together.append(rows.num_rows)
        return _merged(rows)

    monkeypatch.setattr("writers.watermarks.checkpoint_rows._MERGE_ROWS", 50)
    monkeypatch.setattr("writers.watermarks.checkpoint_rows._merged", merged)
    commits = (
        encode([Watermark(tag, 0, n) for tag in "abcde"], pipeline="p", dataset="d", sequence=n, updated_at=n)
        for n in range(1, 101)
    )
    assert decode(merge_stream(commits), "d") == {tag: Watermark(tag, 0, 100) for tag in "abcde"}
    assert max(together) <= 50 + 5


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
