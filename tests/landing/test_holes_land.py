"""Holes land with the watermark that passes over them, and nothing but the source closes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.table import TableAlterer
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.landing.lake import Killed, Lake, event_rows, kill_at
from tests.memory_lakehouse import MemoryLakehouse
from tests.unity.places import stand_in_lakehouse
from tests.variants import slowly
from writers import (
    PI_TIMESERIES,
    PI_WATERMARKS,
    Commit,
    CommitKey,
    Handover,
    Landing,
    LandingRun,
    Move,
    open_lakehouse,
    rebuild_watermarks,
)
from writers.delta.schema import schema_of
from writers.watermarks.checkpoint_rows import decode, merge, merge_stream
from writers.watermarks.holes import HoleChange

WHY = "[-11002] Record Header Data Mismatch"
OLD = PI_WATERMARKS.without(PI_WATERMARKS.later_columns)
HOLE_COLUMNS = ("hole_end", "hole_since", "hole_attempts", "hole_ask_at")
Stretch = tuple[int, int]


@pytest.fixture(params=["memory", "folder", *slowly("managed", "external")])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "memory":
        yield Lake(MemoryLakehouse())
    elif request.param == "folder":
        yield Lake(open_lakehouse(tmp_path))
    else:
        with stand_in_lakehouse(request.param, str(tmp_path), None) as opened:
            yield Lake(opened())


def land(
    landing: Landing, tag: str, low: int, high: int, lost: Stretch | None = None, *, closed: Stretch | None = None
) -> None:
    """All events of a tag in [low, high), one each microsecond, but for those in a hole."""
    at = [t for t in range(low, high) if lost is None or not lost[0] <= t < lost[1]]
    batch = landing.begin()
    if at:
        batch.write(event_rows(tag, at))
        batch.move([Move(tag, low, high, at[-1], len(at))])
    if lost is not None:
        batch.note_holes([HoleChange(tag, *lost, WHY)])
    if closed is not None:
        batch.note_holes([HoleChange(tag, *closed)])
    batch.commit()


def holes(landing: Landing) -> dict[str, list[Stretch]]:
    """What a run that opens now is told."""
    return {tag: [(hole.start, hole.end) for hole in found] for tag, found in landing.open().holes.items()}


def test_a_hole_is_known_to_all_who_open_later_and_is_closed_for_all(lake: Lake) -> None:
    first = lake.opened(now=lambda: 1_000)
    land(first, "a", 0, 10, (4, 5))
    [hole] = first.open().holes["a"]
    assert (hole.start, hole.end, hole.error, hole.since, hole.attempts) == (4, 5, WHY, 1_000, 1)
    assert hole.ask_at == 1_000 + 60_000_000
    marks = lake.landing().open()
    assert marks.holes["a"] == (hole,)
    assert (marks["a"].low, marks["a"].high, marks["a"].rows_total) == (0, 10, 9)

    land(lake.opened(now=lambda: 2_000), "a", 10, 12, (4, 5))  # asked again, in vain
    [again] = lake.landing().open().holes["a"]
    assert (again.since, again.attempts, again.ask_at) == (1_000, 2, 2_000 + 2 * 60_000_000)
    closing = lake.opened(now=lambda: 3_000)
    land(closing, "a", 12, 12, closed=(4, 5))
    assert closing.open().holes == lake.landing().open().holes == {}
    assert lake.landing().open()["a"].high == 12


def test_the_newest_word_on_a_hole_counts_also_if_clocks_of_machines_differ(lake: Lake) -> None:
    """A machine whose clock is a day ahead closes a hole; one whose clock is right opens it again."""
    land(lake.opened(now=lambda: 1_000), "a", 0, 10, (4, 5))
    land(lake.opened(now=lambda: 86_400_000_000), "a", 10, 10, closed=(4, 5))
    assert holes(lake.landing()) == {}
    land(lake.opened(now=lambda: 2_000), "a", 10, 12, (4, 5))
    [again] = lake.landing().open().holes["a"]
    assert (again.start, again.end, again.ask_at) == (4, 5, 2_000 + 60_000_000)
    land(lake.opened(now=lambda: 3_000), "a", 12, 12, closed=(4, 5))
    assert holes(lake.landing()) == {}


@pytest.mark.parametrize(
    ("step", "landed"),
    [
        ("before_staging", False),
        ("after_staging", False),
        ("after_data_commit", True),
        ("after_watermark_commit", True),
    ],
)
def test_a_run_that_dies_leaves_the_hole_and_the_watermark_or_neither(lake: Lake, step: str, landed: bool) -> None:
    land(lake.opened(), "a", 0, 4, (1, 2))
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at(step)), "a", 4, 10, (6, 8))
    marks = lake.landing().open()
    assert marks["a"].high == (10 if landed else 4)
    assert holes(lake.landing()) == {"a": [(1, 2), (6, 8)] if landed else [(1, 2)]}
    assert [t for _, t in lake.events()] == ([0, 2, 3, 4, 5, 8, 9] if landed else [0, 2, 3])


@pytest.mark.parametrize("step", ["after_staging", "after_watermark_commit"])
def test_a_hole_that_is_noted_without_rows_lands_or_does_not(lake: Lake, step: str) -> None:
    """Asked again in vain: no data, the watermarks alone."""
    land(lake.opened(now=lambda: 1), "a", 0, 4, (1, 2))
    with pytest.raises(Killed):
        land(lake.opened(on_step=kill_at(step), now=lambda: 2), "a", 4, 4, (1, 2))
    [hole] = lake.landing().open().holes["a"]
    assert hole.attempts == (2 if step == "after_watermark_commit" else 1)


def test_compaction_keeps_open_holes_as_they_are_and_drops_closed_ones(lake: Lake) -> None:
    clock = count(1_000)
    landing = lake.opened(now=lambda: next(clock))
    for n in range(8):
        low = 10 * (n // 3)
        land(landing, f"t{n % 3}", low, low + 10, (low + 2, low + 4))
    land(landing, "t0", 30, 30, closed=(2, 4))
    land(landing, "t1", 30, 30, closed=(2, 3))
    before = dict(landing.open().holes)
    assert holes(landing) == {"t0": [(12, 14), (22, 24)], "t1": [(3, 4), (12, 14), (22, 24)], "t2": [(2, 4), (12, 14)]}
    lake.options["many_files"] = 3
    assert dict(lake.landing().open().holes) == before
    table = lake.lakehouse.table(PI_WATERMARKS).open()
    assert table.file_count(where={"pipeline": "p"}) < 10
    rows = table.read(["dataset", "status"]).read_all()
    of_holes = rows.filter(pc.equal(rows["dataset"].cast(pa.string()), "recorded.holes"))
    assert of_holes["status"].to_pylist() == ["open"] * 7
    assert dict(lake.landing().open().holes) == before


@pytest.mark.parametrize("shards", [("0-of-2", "1-of-2"), ("0-of-1", "backfill.0-of-1")])
def test_who_works_beside_another_keeps_its_holes(lake: Lake, shards: tuple[str, str]) -> None:
    """Neither knows what the other has landed since it was opened, and both put the rows together."""
    lake.options["many_files"] = 2
    one, other = lake.opened(shards[0]), lake.opened(shards[1])
    for n in range(3):
        land(one, "a", 100 + 10 * n, 110 + 10 * n, (103 + 10 * n, 104 + 10 * n))
        land(other, "b", 200 + 10 * n, 210 + 10 * n, (203 + 10 * n, 204 + 10 * n))
    land(one, "a", 130, 130, closed=(113, 114))
    land(other, "b", 230, 230, closed=(203, 204))
    expected = {"a": [(103, 104), (123, 124)], "b": [(213, 214), (223, 224)]}
    assert holes(lake.landing(shards[0])) == holes(lake.landing(shards[1])) == expected


def test_holes_of_other_pipelines_are_theirs(lake: Lake) -> None:
    land(lake.opened(), "a", 0, 10, (4, 5))
    other = Landing(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="q", dataset="recorded", run_id="q-1"))
    other.open()
    land(other, "b", 0, 10, (6, 7))
    assert holes(lake.landing()) == {"a": [(4, 5)]}
    assert holes(other) == {"b": [(6, 7)]}
    land(other, "b", 10, 10, closed=(6, 7))
    assert holes(lake.landing()) == {"a": [(4, 5)]}


def test_holes_go_over_with_their_tags(lake: Lake) -> None:
    landing = lake.opened()
    land(landing, "a", 0, 10, (4, 5))
    land(landing, "a", 10, 20, (14, 18))
    land(landing, "a", 20, 20, closed=(15, 16))
    land(landing, "b", 0, 10, (6, 7))
    before = landing.open().holes["a"]
    giver = Handover(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="q-1"))
    assert giver.hand_over(["a"], "q").tags == 1
    taker = Landing(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="q", dataset="recorded", run_id="q-2"))
    assert taker.open().holes == {"a": before}
    assert holes(lake.landing()) == {"b": [(6, 7)]}
    land(taker, "a", 20, 20, closed=(4, 20))
    assert holes(taker) == {}
    assert holes(lake.landing()) == {"b": [(6, 7)]}


def rebuild(lake: Lake) -> None:
    rebuild_watermarks(
        *(lake.lakehouse, PI_TIMESERIES),
        LandingRun(pipeline="p", dataset="recorded", run_id="r", now=lambda: 5_000),
    )


def test_a_rebuild_forgets_holes_and_says_so_also_to_who_takes_the_tags_over(lake: Lake) -> None:
    land(lake.opened(), "a", 0, 10, (4, 5))
    assert lake.landing().open().holes_unknown_before is None
    rebuild(lake)
    marks = lake.landing().open()
    assert (dict(marks.holes), marks.holes_unknown_before, marks["a"].high) == ({}, 5_000, 10)
    land(lake.opened(), "a", 10, 20, (14, 15))
    lake.options["many_files"] = 1
    for _ in range(2):  # the second time from what was put together
        marks = lake.landing().open()
        assert holes(lake.landing()) == {"a": [(14, 15)]}
        assert marks.holes_unknown_before == 5_000
    giver = Handover(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="q-1"))
    giver.hand_over(["a"], "q")
    taker = Landing(lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="q", dataset="recorded", run_id="q-2"))
    assert (holes(taker), taker.open().holes_unknown_before) == ({"a": [(14, 15)]}, 5_000)
    assert lake.landing().open().holes_unknown_before == 5_000


# --- tables and engines of earlier versions ------------------------------------


def test_a_table_at_a_path_gets_the_columns_and_keeps_what_it_holds(tmp_path: Path) -> None:
    place = tmp_path / "main" / "checkpoints" / "pi_watermarks"
    DeltaTable.create(place, schema_of(PI_WATERMARKS.without(HOLE_COLUMNS)), partition_by=["pipeline"])
    lake = Lake(open_lakehouse(tmp_path))
    landing = lake.opened()
    assert landing.keeps_holes
    land(landing, "a", 0, 10, (4, 5))
    assert holes(lake.landing()) == {"a": [(4, 5)]}


def test_who_cannot_add_the_columns_says_that_holes_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise DeltaError("a change of the schema is not for you")

    monkeypatch.setattr(TableAlterer, "add_columns", refused)
    place = tmp_path / "main" / "checkpoints" / "pi_watermarks"
    DeltaTable.create(place, schema_of(OLD), partition_by=["pipeline"])
    lake = Lake(open_lakehouse(tmp_path))
    assert not lake.opened().keeps_holes
    land(lake.opened(), "a", 0, 3)
    assert lake.opened().open()["a"].high == 3


def test_a_managed_table_without_the_columns_keeps_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in_lakehouse("managed", str(tmp_path), None) as opened:
        with monkeypatch.context() as patch:
            patch.setattr("writers.landing.landing.PI_WATERMARKS", OLD)
            patch.setattr("writers.unity.lakehouse.PI_WATERMARKS", OLD)
            opened().table(OLD).open()
        lake = Lake(opened())
        assert not lake.opened().keeps_holes
        land(lake.opened(), "a", 0, 3)
        rebuild(lake)
        marks = lake.opened().open()
        assert (marks["a"].high, marks.holes_unknown_before) == (3, 5_000)


def test_what_is_done_is_the_same_to_who_knows_nothing_of_holes(lake: Lake) -> None:
    """Rows of holes have an empty window, and a dataset of their own."""
    landing = lake.opened()
    land(landing, "a", 0, 10, (4, 5))
    land(landing, "b", 0, 10)
    rows = lake.lakehouse.table(PI_WATERMARKS).open().read().read_all()
    of_holes = pc.equal(rows["dataset"].cast(pa.string()), "recorded.holes")
    assert pc.all(pc.equal(rows.filter(of_holes)["low"], rows.filter(of_holes)["high"])).as_py()
    without = decode(merge(rows.filter(pc.invert(of_holes))), "recorded")
    assert without == decode(merge(rows), "recorded")
    assert {tag: mark.high for tag, mark in without.items()} == {"a": 10, "b": 10}


def test_holes_that_an_earlier_version_has_put_together_are_not_known_any_more(tmp_path: Path) -> None:
    """It knows no end of a hole, and leaves that column empty: this is no reason to stop, and none to forget."""
    lake = Lake(open_lakehouse(tmp_path))
    land(lake.opened(now=lambda: 7_000), "a", 0, 10, (4, 5))
    table = lake.lakehouse.table(PI_WATERMARKS).open()
    rows = table.read().read_all()
    for name in HOLE_COLUMNS:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.nulls(rows.num_rows, rows.schema.field(at).type))
    stage = table.stage()
    for batch in rows.to_batches():
        stage.write(batch)
    table.commit(Commit(CommitKey("of-earlier", 1), stage.close(), replace_where={"pipeline": "p"}))
    marks = lake.landing().open()
    assert (dict(marks.holes), marks.holes_unknown_before, marks["a"].high) == ({}, 7_000, 10)
    land(lake.opened(now=lambda: 8_000), "a", 10, 20, (14, 15))
    assert holes(lake.landing()) == {"a": [(14, 15)]}
    assert lake.landing().open().holes_unknown_before == 7_000


# --- any order -----------------------------------------------------------------

CHANGES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 8), st.booleans()), min_size=1, max_size=15
)


@examples(60)
@given(CHANGES, st.integers(1, 4), st.integers(0, 3))
def test_the_ledger_is_what_was_said_last_of_each_instant(
    changes: list[tuple[str, int, int, bool]], together: int, compacted_after: int
) -> None:
    """Several changes a commit, put together at any time, told by memory and by the table."""
    lake, clock = Lake(MemoryLakehouse()), count(1_000)
    landing = lake.opened(now=lambda: next(clock))
    batch = landing.begin()
    batch.commit([Move("a", 0, 40), Move("b", 0, 40)])
    expected: Mapping[str, dict[int, bool]] = {"a": {}, "b": {}}
    for first in range(0, len(changes), together):
        batch = landing.begin()
        for tag, start, length, is_open in changes[first : first + together]:
            batch.note_holes([HoleChange(tag, start, start + length, WHY if is_open else None)])
            expected[tag].update(dict.fromkeys(range(start, start + length), is_open))
        batch.commit()
        if first // together == compacted_after:
            landing._compact(landing._merged())
    for marks in (landing._watermarks, lake.landing().open()):
        told: dict[str, Any] = {
            tag: {t for hole in marks.holes.get(tag, ()) for t in range(hole.start, hole.end)} for tag in "ab"
        }
        assert told == {tag: {t for t, is_open in of_tag.items() if is_open} for tag, of_tag in expected.items()}


def test_rows_may_come_in_any_order_and_twice(lake: Lake) -> None:
    clock = count(1_000)
    landing = lake.opened(now=lambda: next(clock))
    land(landing, "a", 0, 10, (4, 8))
    land(landing, "a", 10, 12, closed=(5, 6))
    land(landing, "a", 12, 14, (5, 7))
    rows = lake.lakehouse.table(PI_WATERMARKS).open().read().read_all()
    expected = decode(merge(rows), "recorded").holes
    assert [(hole.start, hole.end, hole.attempts) for hole in expected["a"]] == [(4, 5, 1), (5, 7, 2), (7, 8, 1)]
    backwards = pa.concat_tables([rows.slice(n, 1) for n in reversed(range(rows.num_rows))])
    for other in (backwards, pa.concat_tables([rows, backwards])):
        assert decode(merge(other), "recorded").holes == expected
        assert decode(merge_stream(other.to_batches()), "recorded").holes == expected
