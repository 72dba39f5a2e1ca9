"""The ledger of gaps: what is done and what is missing add up, minute by minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from engine.commands.status.gaps import Gaps
from engine.commands.status.render import gaps_as_dict, print_gaps
from engine.model import Window
from engine.plan.gap_ledger import GapReason, OpenGap, TagProgress, coverage, gap_ledger, grouped
from engine.plan.timeline import DAY, HOUR, SECOND

MINUTE = 60 * SECOND
EPOCH = 1_709_596_800_000_000  # 2024-03-05T00:00:00Z


def at(hours: float) -> int:
    return EPOCH + int(hours * HOUR)


def window(start: float, end: float) -> Window:
    return Window(at(start), at(end))


def only(account: TagProgress) -> list[tuple[GapReason, int, int]]:
    return [(gap.reason, gap.start, gap.end) for gap in gap_ledger([account]).gaps]


def test_every_reason_there_is():
    wanted = window(0, 10)
    assert only(TagProgress("a", None, wanted)) == [(GapReason.NEVER_READ, at(0), at(10))]
    assert only(TagProgress("a", window(3, 3), window(3, 10))) == [(GapReason.NEVER_READ, at(3), at(10))]
    assert only(TagProgress("a", window(0, 9), wanted)) == [(GapReason.BEHIND, at(9), at(10))]
    assert only(TagProgress("a", window(2, 10), wanted)) == [(GapReason.HISTORY, at(0), at(2))]
    assert only(TagProgress("a", window(0, 10), wanted)) == []
    assert only(TagProgress("a", window(1, 9), wanted, "gone")) == [
        (GapReason.FAILED, at(9), at(10)),
        (GapReason.HISTORY, at(0), at(1)),
    ]
    assert only(TagProgress("a", None, wanted, "gone")) == [(GapReason.FAILED, at(0), at(10))]


hours = st.integers(0, 200)
windows = st.builds(lambda a, b: window(min(a, b), max(a, b)), hours, hours)
accounts = st.lists(st.builds(TagProgress, st.just("t"), st.none() | windows, windows, st.none() | st.just("why")))


def hours_of(found: Window | OpenGap) -> set[int]:
    return set(range((found.start - EPOCH) // HOUR, (found.end - EPOCH) // HOUR))


@given(accounts)
def test_done_and_missing_add_up_to_what_is_wanted_and_never_overlap(every: list[TagProgress]):
    complete = missing = 0
    for account in every:
        ledger = gap_ledger([account])
        done = hours_of(account.done) if account.done else set()
        gaps = [hours_of(gap) for gap in ledger.gaps]
        assert sum(map(len, gaps)) == len(set().union(*gaps)), "gaps of a tag do not overlap"
        assert not done & set().union(*gaps)
        assert hours_of(account.wanted) <= done | set().union(*gaps)
        assert ledger.complete == (not ledger.gaps)
        complete += ledger.complete
        missing += ledger.missing
    together = gap_ledger(every)
    assert (together.tags, together.complete, together.missing) == (len(every), complete, missing)


@given(accounts)
def test_the_picture_shows_the_share_of_each_stretch_that_is_done(every: list[TagProgress]):
    ledger = gap_ledger(every)
    done = [a.done for a in every if a.done is not None and a.done.start < a.done.end]
    if not done and not ledger.gaps:
        assert ledger.coverage is None
        return
    picture = ledger.coverage
    assert picture is not None
    assert len(picture.shares) <= 49
    assert picture.start % picture.step == 0
    for column, share in enumerate(picture.shares):
        begin = picture.start + column * picture.step
        have = sum(overlap(w, begin, begin + picture.step) for w in done)
        lack = sum(overlap(g, begin, begin + picture.step) for g in ledger.gaps)
        assert share == (have / (have + lack) if have + lack else None)
    ends = [w.start for w in done] + [g.start for g in ledger.gaps]
    assert picture.start <= min(ends) < picture.start + picture.step
    last = max([w.end for w in done] + [g.end for g in ledger.gaps])
    assert picture.end - picture.step < last <= picture.end


def overlap(found: Window | OpenGap, start: int, end: int) -> int:
    return max(0, min(found.end, end) - max(found.start, start))


def test_one_microsecond_in_a_century_of_many_tags_keeps_a_column_from_being_whole():
    years = [Window(0, 30 * 365 * DAY)] * 20_000
    picture = coverage(years, [Window(0, 1)])
    assert picture is not None
    assert 0.999999 < picture.shares[0] < 1
    assert set(picture.shares[1:]) == {1.0}


def gap(tag: str, start: int, end: int, why: GapReason = GapReason.BEHIND) -> OpenGap:
    return OpenGap(tag, start, end, why)


def test_tags_that_miss_the_same_window_are_one_group_and_large_groups_come_first():
    found = [
        gap("x", 0, 5 * SECOND),
        gap("a", 0, 9 * SECOND),
        gap("b", 7, 9 * SECOND + 3),
        gap("c", 0, 9, GapReason.HISTORY),
    ]
    assert [g.web_ids for g in grouped(found, to=SECOND)] == [("a", "b"), ("c",), ("x",)]
    assert len(grouped(found)) == 4
    [first, *_] = grouped(found, to=SECOND)
    assert (first.start, first.end) == (0, 9 * SECOND + 3)


@pytest.mark.parametrize(
    ("length", "step"),
    [(HOUR, 5 * MINUTE), (40 * MINUTE, MINUTE), (2 * DAY, HOUR), (9 * DAY, 6 * HOUR), (3650 * DAY, 90 * DAY)],
)
def test_columns_are_of_lengths_that_people_count_in(length: int, step: int):
    picture = coverage([Window(EPOCH, EPOCH + length)], [])
    assert picture is not None
    assert picture.step == step


@pytest.mark.parametrize("year_9999", [253_402_300_799_000_000, 253_402_300_799_999_999, 2**62])
def test_a_window_that_ends_with_the_last_year_there_is_can_be_told(year_9999: int):
    """A clock that was ahead once has left it so."""
    every = [TagProgress(f"t{n}", Window(at(0), year_9999), window(0, 1)) for n in range(3)]
    every.append(TagProgress("behind", window(0, 1), Window(at(0), year_9999), "why"))
    found = Gaps(gap_ledger(every), {})
    told = gaps_as_dict(found)
    assert told["coverage"]["start"].endswith("Z")
    assert [one["end"][:4] for one in told["windows"]] == ["9999"]
    console = Console(record=True, width=120)
    print_gaps(console, found, 10)
    assert "9999-12-31" in console.export_text()
