"""What is compared again with the source: after a run the table equals it there, however the past was changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.model import AskOutcomes, Tag, Window
from engine.plan import planner
from engine.plan.chunk_result import RowDisposition, as_expected
from engine.plan.overlap import WatermarkState, final_until, overlap_of, reading_start, window_to_sum
from engine.plan.planner import Plan
from engine.plan.run_estimate import estimate_run
from engine.plan.tag_cursor import GapKind, RequestLimits, TagCursor, cursors_for
from tests.planning.imagined import Row, Table, answer, between, digest, land
from writers import Watermark

SMALL = RequestLimits(tags_per_request=4, values_per_answer=20, max_count_per_tag=5)
DAY = 86_400_000_000
END = 1_000_000_000  # about 17 minutes, in which any microsecond may hold events


def run(
    tables: dict[str, Table], sources: dict[str, list[Row]], end: int, lookback: int, *, chunks: int = 10_000
) -> int:
    """One run over all tags; gives the number of swaps. It dies after so many chunks."""
    cursors = []
    for name, table in tables.items():
        known = table.known()
        done = Window(known.low, known.high) if known else None
        overlap = None
        if known:
            window = window_to_sum(known, lookback)
            summed = digest(between(table.rows, window.start, window.end)) if window else 0
            overlap = overlap_of(known, lookback, summed)
        wanted = Window(done.end if done else 0, end)
        cursors += cursors_for(
            Tag(name, name), wanted, done, rows_done=len(table.rows), assumed_rate=1e-7, overlap=overlap
        )
    return land(Plan(cursors, SMALL), tables, sources, chunks=chunks)


rows = st.lists(st.tuples(st.integers(0, END - 1), st.integers(0, 3)), max_size=30, unique_by=lambda row: row[0]).map(
    sorted
)
# So many that what is compared takes several pages.
many_rows = st.lists(st.integers(0, 3), min_size=20, max_size=40).map(
    lambda values: [(n * END // len(values) + value, value) for n, value in enumerate(values)]
)
lookbacks = st.sampled_from([0, 0, 5_000_000, END // 4, END])


@given(rows, rows, st.integers(1, END), st.integers(1, END), lookbacks)
@example([(5, 0)], [], 10, 20, 0)  # the only event was dropped
def test_after_a_run_the_overlap_equals_the_source(before, after, first_end, second_end, lookback) -> None:
    first_end, second_end = sorted((first_end, second_end))
    tables = {"a": Table(), "b": Table()}
    run(tables, {"a": before, "b": before}, first_end, lookback)
    assert tables["a"].rows == between(before, 0, first_end)
    known = tables["a"].known()
    assert known is not None
    last = known.last_event
    run(tables, {"a": after, "b": before}, second_end, lookback)
    changed_from = max(0, min(first_end - lookback, first_end if last is None else last))
    if last is None:
        changed_from = 0  # nothing was ever seen: all of it is looked at again
    if second_end > first_end or lookback:
        assert between(tables["a"].rows, changed_from, END) == between(after, changed_from, second_end)
    assert tables["b"].rows == between(before, 0, second_end)
    # Once mended it stays so: nothing differs any more.
    run(tables, {"a": after, "b": before}, second_end + 1, lookback)
    assert run(tables, {"a": after, "b": before}, second_end + 2, lookback) == 0


@given(many_rows, many_rows, st.integers(1, END // 2), st.sampled_from([0, END // 4, END]), st.integers(1, 12))
def test_a_run_that_dies_passes_nothing_that_it_did_not_mend(before, after, first_end, lookback, chunks) -> None:
    second_end = first_end + END // 2
    tables = {"a": Table()}
    run(tables, {"a": before}, first_end, lookback)
    mark = tables["a"].mark
    assert mark is not None
    changed_from = 0 if mark.last_event is None else max(0, min(first_end - lookback, mark.last_event))
    run(tables, {"a": after}, second_end, lookback, chunks=chunks)
    if tables["a"].mark.high > first_end:
        high = tables["a"].mark.high
        assert between(tables["a"].rows, changed_from, END) == between(after, changed_from, high)
    # Whatever it left, the next run begins early enough.
    run(tables, {"a": after}, second_end + 1, lookback)
    assert between(tables["a"].rows, changed_from, END) == between(after, changed_from, second_end + 1)


@given(st.lists(st.tuples(rows, st.integers(1, END), st.integers(1, 12)), min_size=2, max_size=6), lookbacks)
def test_what_is_settled_is_never_touched_by_a_run_and_never_shrinks(steps, lookback) -> None:
    """However the past was changed between the runs, and wherever they died: it is all a repair's."""
    tables, final = {"a": Table()}, 0
    ends = sorted(end for _, end, _ in steps)
    for (source, _, chunks), end in zip(steps, ends, strict=True):
        before = between(tables["a"].rows, 0, final)
        run(tables, {"a": source}, end, lookback, chunks=chunks)
        assert between(tables["a"].rows, 0, final) == before
        known = tables["a"].known()
        assert known is None or final_until(known, lookback) >= final
        final = 0 if known is None else final_until(known, lookback)
        assert known is None or known.low <= final <= known.high


@given(rows, st.lists(st.integers(1, END), min_size=2, max_size=5), lookbacks)
def test_a_source_that_does_not_change_is_never_corrected(source, ends, lookback) -> None:
    tables = {"a": Table()}
    for end in sorted(ends):
        assert run(tables, {"a": source}, end, lookback) == 0
        assert tables["a"].rows == between(source, 0, end)


@given(rows.filter(len), st.integers(1, 20))
def test_a_newest_event_that_is_dropped_later_is_dropped_here_too(source, runs) -> None:
    """As compression does it: each newest event goes when the next one comes."""
    tables = {"a": Table()}
    for n, (time, _) in enumerate(source[:runs]):
        run(tables, {"a": [source[n]]}, time + 1, 0)
        assert tables["a"].rows == [source[n]]


@given(rows.filter(lambda found: len(found) > 1), lookbacks)
def test_an_event_that_was_kept_back_is_found_later(source, lookback) -> None:
    """A server may show the newest event only when there is a newer one, however much later."""
    tables = {"a": Table()}
    for n, ((time, _), (newer, _)) in enumerate(pairwise([*source, (END, 0)])):
        run(tables, {"a": source[:n]}, time + 1, lookback)
        run(tables, {"a": source[:n]}, newer, lookback)
    run(tables, {"a": source}, END + 1, lookback)
    assert tables["a"].rows == source


@given(rows, rows, st.integers(1, END), st.integers(1, END))
def test_a_table_from_before_digests_were_kept_is_compared_all_the_same(before, after, first_end, second_end) -> None:
    first_end, second_end = sorted((first_end, second_end))
    tables = {"a": Table()}
    run(tables, {"a": before}, first_end, 0)
    mark = tables["a"].mark
    assert mark is not None
    tables["a"].mark = Watermark(mark.tag_webid, mark.low, mark.high, mark.last_event, mark.rows_total)
    run(tables, {"a": after}, second_end + 1, 0)
    since = 0 if mark.last_event is None else mark.last_event
    assert between(tables["a"].rows, since, END) == between(after, since, second_end + 1)


def _one_by_one(cursors: Sequence[TagCursor], _outcomes: AskOutcomes) -> npt.NDArray[np.bool_]:
    return np.zeros(len(cursors), np.bool_)


@given(rows | many_rows, rows | many_rows, st.lists(st.integers(1, END), min_size=1, max_size=3), lookbacks)
# What changed before the lookback, and is read again in vain, means nothing.
@example([(94_999_999, 0)], [(94_999_990, 1)], [100_000_000, 101_000_000], 5_000_000)
def test_settling_many_together_says_what_settling_them_one_by_one_says(before, after, ends, lookback) -> None:
    told = []
    for which in (as_expected, _one_by_one):
        tables = {"a": Table(), "b": Table(), "c": Table()}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(planner, "as_expected", which)
            for n, end in enumerate(sorted(ends)):
                run(tables, {"a": after if n else before, "b": before, "c": []}, end, lookback)
        told.append(tables)
    assert told[0] == told[1]


@given(st.integers(0, END), st.integers(0, END), st.integers(0, END), st.sampled_from([0.0, 1e-7, 1e-3]))
def test_reading_begins_early_enough_and_not_much_earlier(low, start, high, rate: float) -> None:
    low, start, high = sorted((low, start, high))
    found = reading_start(low, high, start, rate)
    assert low <= found <= start
    assert high - found <= max(2 * (high - start), 1 << 22)
    assert rate * (start - found) <= 32


@pytest.mark.parametrize("last_event", [None, 40 * DAY, 300 * DAY])
@pytest.mark.parametrize("lookback", [0, 7 * DAY])
def test_years_of_silence_are_asked_for_at_once(last_event: int | None, lookback: int) -> None:
    """Also of a tag that was busy before: what is older than its last event is not read again."""
    known = WatermarkState(0, 3650 * DAY, last_event, None if last_event is None else 5)
    rows_done = 0 if last_event is None else last_event // 1_000_000
    cursors = cursors_for(
        Tag("a", "a"),
        Window(known.high, known.high + 300_000_000),
        Window(known.low, known.high),
        rows_done=rows_done,
        assumed_rate=1e-7,
        overlap=overlap_of(known, lookback, 0),
    )
    plan = Plan(cursors, RequestLimits())
    [ask] = plan.take().asks
    assert ask.end == known.high + 300_000_000
    assert ask.start == (last_event or 0)


def test_after_years_of_silence_the_new_is_read_in_slices_as_ever() -> None:
    known = WatermarkState(0, 3650 * DAY, 40 * DAY, 5)
    cursors = cursors_for(
        Tag("a", "a"),
        Window(known.high, known.high + 90 * DAY),
        Window(known.low, known.high),
        rows_done=1_000,
        assumed_rate=1e-7,
        overlap=overlap_of(known, 0, 0),
    )
    [ask] = Plan(cursors, RequestLimits()).take().asks
    assert known.high < ask.end <= known.high + 31 * DAY


def test_a_window_within_what_is_done_is_read_again_and_put_in_its_place() -> None:
    tag, source = Tag("a", "a"), [(n, n) for n in range(0, 100, 3)]
    cursor = TagCursor(tag, 10, 60, GapKind.REPAIR, rate=0.3, low=0, high=100)
    plan = Plan([cursor], SMALL)
    windows = []
    while (chunk := plan.take()) is not None:
        [(outcome, found)] = [answer(ask, source) for ask in chunk.asks]
        result = plan.record_answer(chunk, AskOutcomes.of([outcome]))
        [swap] = result.replaced
        assert result.dispositions.tolist() == [RowDisposition.REPLACE]
        assert result.moves == ()
        assert found == between(source, swap.start, swap.end)
        windows.append((swap.start, swap.end))
        plan.give_back(chunk)
    assert windows[0][0] == 10
    assert windows[-1][1] == 60
    assert all(before[1] == after[0] for before, after in pairwise(windows))


@pytest.mark.parametrize("lookback", [0, END])
def test_a_forecast_takes_the_source_to_be_what_the_table_holds(lookback: int) -> None:
    known = WatermarkState(0, END // 2, END // 2 - 5, 123)
    overlap = overlap_of(known, lookback, 77)
    done = Window(known.low, known.high)
    wanted = Window(known.high, END)
    tag = Tag("a", "a")
    found = cursors_for(tag, wanted, done, rows_done=10, assumed_rate=1e-7, overlap=overlap)
    plan = Plan(found, SMALL)
    estimate_run(plan)
    assert plan.done
    assert plan.fraction_done == 1.0
