"""Moving many tags at once gives what moving them one by one does; and nobody sees it before it has landed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.examples import examples
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.landing.widening import moves_in, widen
from tests.memory_lakehouse import MemoryLakehouse
from writers import PI_WATERMARKS, Move, Moves, Watermark, WatermarkStore
from writers.row_hash import signed
from writers.watermarks.checkpoint_rows import decode, encode
from writers.watermarks.pending import PendingWatermarks

TAGS = "abc"
MICROS = st.integers(0, 7)
DIGESTS = st.sampled_from([0, 1, 2**63 - 1, 2**63 + 1, 2**64 - 1])
TROUBLES = st.sampled_from([("ok", None), ("ok", None), ("failed", "why"), ("failed", None), ("stuck", "long")])
MOVES = st.builds(
    lambda tag, low, length, last, rows, digest, ahead: Move(
        *(tag, low, low + length, last, rows), last_event_digest=None if last is None else digest, ahead_from=ahead
    ),
    st.sampled_from(TAGS),
    MICROS,
    st.sampled_from([0, *range(6), -1]),  # the last is refused, nearly always
    *(st.none() | MICROS, st.integers(0, 3), DIGESTS, st.none() | MICROS),
)
FAILURES = st.builds(
    lambda tag, at, trouble: Move(tag, at, at, status=trouble[0], last_error=trouble[1]),
    *(st.sampled_from(TAGS), MICROS, TROUBLES),
)


@st.composite
def _watermarks(draw: st.DrawFn) -> dict[str, Watermark]:
    """Of some tags, what was committed before; digests of the last event are not always known."""
    marks = {}
    for tag in draw(st.sets(st.sampled_from(TAGS))):
        low, length, last = draw(MICROS), draw(st.integers(0, 4)), draw(st.none() | MICROS)
        digest = None if last is None else draw(st.none() | DIGESTS.map(signed))
        marks[tag] = Watermark(
            *(tag, low, low + length, last, draw(st.integers(0, 9)), *draw(TROUBLES)),
            last_event_digest=digest,
            ahead_from=draw(st.none() | MICROS),
        )
    return marks


# A commit: failures one by one, and blocks of other moves.
COMMITS = st.lists(st.lists(FAILURES | st.lists(MOVES, max_size=6), max_size=5), max_size=4)


class OneByOne:
    """What moves come to by the definition alone."""

    def __init__(self, before: dict[str, Watermark], *, behind: bool = False) -> None:
        self.before = before
        self.behind = behind
        self.after: dict[str, Watermark] = {}
        self.moved: set[str] = set()

    def move(self, move: Move) -> None:
        known = self.after.get(move.tag_webid) or self.before.get(move.tag_webid)
        mark = widen(known, move, behind=self.behind)
        if mark != known:
            self.after[move.tag_webid] = mark
        if move.low < move.high:
            self.moved.add(move.tag_webid)


def refusal_of(apply: Callable[[Any], None], given: Any) -> str | None:
    try:
        apply(given)
    except ValueError as error:
        return str(error)
    return None


@examples(1000)
@given(_watermarks(), COMMITS, st.booleans())
# A backfill and a reading ahead that found nothing new: its last event lies below what was done.
@example({"a": Watermark("a", 100, 200, 150, 1)}, [[[Move("a", 50, 300, 60, 7, last_event_digest=9)]]], False)
def test_moving_many_at_once_is_moving_them_one_by_one(
    before: dict[str, Watermark], commits: list, behind: bool
) -> None:
    marks = WatermarkStore.of(before.values())
    for steps in commits:
        draft, expected = PendingWatermarks(marks, behind=behind), OneByOne(before, behind=behind)
        for step in steps:
            moves = [step] if isinstance(step, Move) else step
            # A refusal ends a commit, so of several that a block holds any may be named.
            refusals = {refusal_of(expected.move, move) for move in moves} - {None}
            refused = refusal_of(draft.move, Moves.of(moves))
            assert (refused in refusals) if refusals else refused is None
            assert marks == before
            if refused:
                return
        assert {mark.tag_webid: mark for mark in draft.changed({})} == expected.after
        assert (draft.has_changes, draft.tags) == (bool(expected.after), len(expected.moved))
        before = before | expected.after
        draft.apply({}, {})
        assert marks == before


@given(st.lists(MOVES))
def test_a_block_is_its_moves(moves: list[Move]) -> None:
    assert moves_in(Moves.of(moves)) == moves
    parts = [moves_in(part) for part in Moves.of(moves).without_repeats()]
    for tag in TAGS:
        assert [m for part in parts for m in part if m.tag_webid == tag] == [m for m in moves if m.tag_webid == tag]
    assert all(len({move.tag_webid for move in part}) == len(part) for part in parts)


@given(
    _watermarks(), st.dictionaries(st.sampled_from(TAGS), st.integers(0, 3)), st.lists(MOVES, max_size=3), st.booleans()
)
def test_rows_that_a_correction_inserts_are_counted_once(
    before: dict[str, Watermark], inserted: dict[str, int], moves: list[Move], behind: bool
) -> None:
    marks, expected = WatermarkStore.of(before.values()), OneByOne(before, behind=behind)
    draft = PendingWatermarks(marks, behind=behind)
    for move in moves:
        if refusal_of(expected.move, move) is None:
            draft.move(Moves.of([move]))
    after = before | expected.after
    inserted = {tag: rows for tag, rows in inserted.items() if tag in after}
    rows_of = {tag: mark.rows_total + inserted.get(tag, 0) for tag, mark in after.items()}
    for _ in range(2):  # worked out anew on what others have left
        said = {mark.tag_webid: mark.rows_total for mark in draft.changed(inserted)}
        assert said == {tag: rows_of[tag] for tag in expected.after.keys() | inserted.keys()}
    assert marks == before
    draft.apply(inserted, {})
    assert {tag: mark.rows_total for tag, mark in marks.items()} == rows_of
    more = {tag: rows - (before[tag].rows_total if tag in before else 0) for tag, rows in rows_of.items()}
    assert {tag: mark.rows_behind for tag, mark in marks.items()} == {tag: behind * more[tag] for tag in rows_of}
    assert len(marks) == len(after)


def test_marks_are_a_mapping_like_any_other() -> None:
    known = {tag: Watermark(tag, n, n + 1) for n, tag in enumerate(TAGS)}
    marks = WatermarkStore.of(known.values())
    assert marks == known
    assert dict(marks) == known
    assert list(marks) == list(TAGS)
    assert (marks["b"], marks.get("b"), marks.get("x"), "x" in marks) == (known["b"], known["b"], None, False)
    assert marks.get("x", known["a"]) is known["a"]
    assert repr(marks) == "WatermarkStore(3 tags)"
    with pytest.raises(KeyError, match="x"):
        marks["x"]
    assert WatermarkStore() == {}


@given(_watermarks(), st.lists(st.sampled_from([*TAGS, "x"])))
def test_many_are_looked_up_at_once_like_one_after_the_other(before, asked: list[str]) -> None:
    marks, expected = WatermarkStore.of(before.values()), [before.get(tag) for tag in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("writers.watermarks.store._MANY", 3)
        assert list(marks.each(asked)) == expected
    found = marks.chosen(asked)
    assert list(found) == [mark for mark in expected if mark]
    assert found.low.tolist() == [mark.low for mark in found]
    assert found.high.tolist() == [mark.high for mark in found]
    assert found.present.tolist() == [mark.present for mark in found]


@given(_watermarks())
def test_rows_of_the_checkpoint_table_keep_all_there_is_of_a_watermark(before: dict[str, Watermark]) -> None:
    rows = encode(before.values(), pipeline="p", dataset="d", sequence=1, updated_at=1)
    assert rows.schema == PI_WATERMARKS.schema
    assert decode(pa.Table.from_batches([rows]), "d") == before
    again = encode(WatermarkStore.of(before.values()).columns, pipeline="p", dataset="d", sequence=1, updated_at=1)
    assert again.equals(rows)


def test_new_tags_keep_their_places_over_many_commits() -> None:
    marks, expected, numbers = WatermarkStore(), {}, count()
    for size in (1, 3, 200, 2, 1000):
        draft = PendingWatermarks(marks)
        for part in (size, 1):
            moves = [Move(f"tag {n}", n, n + 5, n, 1, last_event_digest=n) for n in islice(numbers, part)]
            draft.move(Moves.of(moves))
            expected |= {move.tag_webid: widen(None, move) for move in moves}
        draft.apply({}, {})
        assert marks == expected


def test_a_block_lands_with_its_rows_and_not_before() -> None:
    lake = Lake(MemoryLakehouse())
    landing = lake.landing()
    marks = landing.open()
    land(landing, "a", 0, 3)
    batch = landing.begin()
    batch.write(event_rows("a", [3, 4]))
    batch.write(event_rows("b", [7]))
    batch.move_all(Moves.of([Move("a", 3, 6, 4, 2, last_event_digest=9), Move("b", 5, 8, 7, 1, last_event_digest=8)]))
    assert (batch.tags, marks) == (2, {"a": Watermark("a", 0, 3, 2, 3)})
    receipt = batch.commit()
    assert (receipt.rows, batch.tags) == (3, 2)
    assert marks == {
        "a": Watermark("a", 0, 6, 4, 5, last_event_digest=9),
        "b": Watermark("b", 5, 8, 7, 1, last_event_digest=8),
    }
    assert lake.opened().open() == marks


def test_what_a_block_says_of_a_commit_that_came_to_nothing_is_forgotten() -> None:
    lake = Lake(MemoryLakehouse())
    landing = lake.landing()
    marks = landing.open()
    land(landing, "a", 0, 3)
    before = dict(marks)
    aborted = landing.begin()
    aborted.move_all(Moves.of([Move("a", 3, 6), Move("b", 0, 1)]))
    aborted.abort()
    refused = landing.begin()
    with pytest.raises(ValueError, match=r"the window \[4, 6\) of a does not touch"):
        refused.move_all(Moves.of([Move("b", 0, 1), Move("a", 4, 6)]))
    refused.abort()
    landing.on_step = kill_at("after_staging")
    killed = landing.begin()
    killed.move_all(Moves.of([Move("a", 3, 6), Move("c", 0, 1)]))
    with pytest.raises(Killed):
        killed.commit()
    assert marks == before
    assert lake.opened().open() == before
    land(lake.opened(), "a", 3, 6)
    assert landing.open()["a"].high == 6
    assert marks["a"].high == 6


def test_what_was_only_looked_at_again_makes_no_commit_and_what_is_well_again_does() -> None:
    landing = Lake(MemoryLakehouse()).landing()
    marks = landing.open()
    land(landing, "a", 0, 3)
    failed, well = Move("a", 3, 3, status="failed", last_error="why"), Moves.of([Move("a", 3, 3)])
    for moves, single, moved in ((well, (), False), (None, (failed,), True), (None, (failed,), False)):
        batch = landing.begin()
        if moves:
            batch.move_all(moves)
        assert (batch.commit(single).watermarks is not None) == moved
    assert (marks["a"].status, marks["a"].last_error) == ("failed", "why")
    batch = landing.begin()
    batch.move_all(well)
    assert batch.commit().watermarks is not None
    assert marks == {"a": Watermark("a", 0, 3, 2, 3)}


def test_a_commit_that_another_one_overtook_is_refused() -> None:
    lake = Lake(MemoryLakehouse())
    landing = lake.opened()
    slow = landing.begin()
    slow.move_all(Moves.of([Move("a", 0, 3)]))
    land(landing, "b", 0, 3)
    with pytest.raises(RuntimeError, match="another commit has landed"):
        slow.commit()
    assert list(lake.opened().open()) == ["b"]
