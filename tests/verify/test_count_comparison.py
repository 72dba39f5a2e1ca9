"""What agrees and what does not, whichever events a server counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.verify.render import day_text
from engine.model import Tag, Window
from engine.plan import count_comparison
from engine.plan.count_comparison import (
    NO_DATA,
    NOT_ASKED,
    NOT_COUNTED,
    CountComparison,
    CountRule,
    Disagreement,
    suspect_windows,
)
from engine.plan.timeline import DAY, HOUR

FIRST = 19_787
WHOLE = Window(FIRST * DAY, (FIRST + 400) * DAY)


def tag(name: str, kind: str = "Float32") -> Tag:
    return Tag(name, name, point_type=kind)


def compared(
    counted: list[list[int]],
    rows: list[list[int]],
    good: list[list[int]],
    tags: list[Tag] | None = None,
    window: Window = WHOLE,
):
    tags = tags or [tag(f"t{n}") for n in range(len(counted))]
    found = CountComparison(tags, [window] * len(tags))
    found.add(FIRST, *(np.array(each, np.int32).reshape(len(tags), -1) for each in (counted, rows, good)))
    return found


def wrong(found: CountComparison) -> list[tuple[str, int]]:
    return [(each.tag.name, each.start // DAY - FIRST) for each in found.disagreements()]


@pytest.mark.parametrize("rule", [CountRule.GOOD, CountRule.ALL])
def test_what_a_server_counts_is_learned_and_then_held_to(rule: CountRule):
    rows, good = [[100] * 20], [[98] * 20]
    counted = [(good if rule is CountRule.GOOD else rows)[0][:]]
    counted[0][7] = (rows if rule is CountRule.GOOD else good)[0][7]  # what the other rule would call right
    found = compared(counted, rows, good)
    assert found.rules() == {"Float32": rule}
    assert wrong(found) == [("t0", 7)]


def test_before_anything_is_learned_either_count_will_do():
    found = compared([[98, 100, 50]], [[100, 100, 50]], [[98, 99, 50]])
    assert found.rules() == {"Float32": CountRule.UNKNOWN}
    assert wrong(found) == []


def test_types_are_learned_apart():
    tags = [tag("number"), tag("state", "Digital")]
    found = compared([[9] * 8, [10] * 8], [[10] * 8] * 2, [[9] * 8] * 2, tags)
    assert found.rules() == {"Digital": CountRule.ALL, "Float32": CountRule.GOOD}
    assert wrong(found) == []


def test_a_type_that_has_told_little_goes_by_what_all_have_told_unless_it_tells_otherwise():
    kinds = ["Float32", "Int16", "Digital", "Blob"]
    tags = [tag(f"t{n}", kind) for n, kind in enumerate(kinds)]
    #        9 days of good ones;  one day each that only the other rule explains, or neither tells
    counted = [[9] * 9, [9] * 8 + [10], [10] + [5] * 8, [5] * 9]
    rows = [[10] * 9, [10] + [5] * 7 + [10], [10] + [5] * 8, [5] * 9]
    good = [[9] * 9, [9] + [5] * 7 + [9], [9] + [5] * 8, [5] * 9]
    counted[1][1:8] = [5] * 7
    found = compared(counted, rows, good, tags)
    assert found.rules() == {
        "Blob": CountRule.UNKNOWN, "Digital": CountRule.UNKNOWN, "Float32": CountRule.GOOD, "Int16": CountRule.UNKNOWN,
    }  # fmt: skip
    more = compared([*counted, [9] * 9], [*rows, [10] * 9], [*good, [9] * 9], [*tags, tag("t4")])
    assert more.rules() == {
        "Blob": CountRule.GOOD,
        "Digital": CountRule.UNKNOWN,
        "Float32": CountRule.GOOD,
        "Int16": CountRule.GOOD,
    }
    assert wrong(more) == [("t1", 8)]


def unknown(found: CountComparison) -> list[tuple[str, int, int]]:
    return [(each.tag.name, each.days, each.of_days) for each in found.uncompared()]


def test_without_a_count_nothing_is_compared_not_even_where_the_table_holds_nothing():
    table = ([[NOT_COUNTED, NOT_COUNTED], [NOT_COUNTED, 4]], [[0, 3], [5, 4]], [[0, 0], [5, 4]])
    found = compared(*table, window=Window(FIRST * DAY, (FIRST + 2) * DAY))
    assert wrong(found) == []
    assert found.days == 1
    assert unknown(found) == [("t0", 2, 2), ("t1", 1, 2)]


def test_no_data_agrees_with_nothing_good_and_tells_nothing_of_what_is_counted():
    found = compared([[NO_DATA] * 8], [[0, 3, 3, 3, 3, 3, 3, 5]], [[0] * 7 + [5]])
    assert found.rules() == {"Float32": CountRule.UNKNOWN}
    assert wrong(found) == [("t0", 7)]
    assert found.days == 8


def test_what_was_looked_at_more_closely_no_longer_disagrees_or_is_not_compared():
    found = compared([[6, 6, 6, 0]], [[5] * 4], [[5] * 4], window=Window(FIRST * DAY, (FIRST + 4) * DAY))
    first, second, third, last = found.disagreements()
    found.clear([first, second], compared=True)
    found.clear([last], compared=False)
    assert found.disagreements() == [third]
    assert (found.days, found.events) == (3, 15)
    assert unknown(found) == [("t0", 1, 4)]
    assert list(found.by_day()) == [(FIRST, 1, 0), (FIRST + 1, 1, 0), (FIRST + 2, 1, 1), (FIRST + 3, 0, 0)]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [(2.5, 2.5, [2]), (1.5, 3.5, [1, 2, 3]), (2.0, 3.0, [2]), (0.2, 0.3, []), (3.0, 3.0, [3])],
)
def test_days_that_disagree_and_touch_a_hole_are_told_apart(start: float, end: float, days: list[int]):
    tags = [tag("t0"), tag("t1")]
    hole = Window(FIRST * DAY + int(start * DAY), FIRST * DAY + int(end * DAY))
    found = CountComparison(tags, [WHOLE] * 2, {"t1": [hole], "stranger": [hole]})
    found.add(FIRST, *(np.array(each, np.int32) for each in ([[5, 4, 4, 4]] * 2, [[5] * 4] * 2, [[5] * 4] * 2)))
    assert [each.start // DAY - FIRST for each in found.holes()] == days
    assert {each.tag.name for each in found.holes()} <= {"t1"}
    assert wrong(found) == [("t0", 1), ("t0", 2), ("t0", 3), *(("t1", day) for day in (1, 2, 3) if day not in days)]
    assert [wrong_ones for _, _, wrong_ones in found.by_day()] == [0, *(2 - (day in days) for day in (1, 2, 3))]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_runs_are_the_days_that_are_marked(marked: list[list[bool]]):
    window = Window(FIRST * DAY + 5 * HOUR, (FIRST + 6) * DAY - HOUR)
    found = [
        (place, each)
        for place, each in count_comparison.consecutive_days(np.array(marked), [window] * len(marked), FIRST)
    ]
    days = [
        (place, day - FIRST) for place, each in found for day in range(each.start // DAY, (each.end - 1) // DAY + 1)
    ]
    assert days == [(place, day) for place, row in enumerate(marked) for day in range(6) if row[day]]
    assert all(window.start <= each.start < each.end <= window.end for _, each in found)
    ends = {(place, each.end) for place, each in found}
    assert not any((place, each.start) in ends for place, each in found), "what touches is one"


@pytest.mark.parametrize(
    ("counted", "rows", "good", "there", "may_be"),
    [
        (11, 10, 10, (1, 1), True), (12, 10, 10, (1, 1), False), (11, 10, 10, (0, 0), False), (9, 10, 10, (1, 1), False),
        (12, 10, 9, (3, 2), False), (11, 10, 9, (3, 2), True), (13, 10, 9, (3, 2), True), (11, 10, 10, (None, 0), True),
        (9, 10, 10, (None, 0), False),
    ],
)  # fmt: skip
def test_a_count_may_be_one_of_rounded_times(
    counted: int, rows: int, good: int, there: tuple[int | None, int], may_be: bool
):
    each = Disagreement(tag("a"), FIRST * DAY, (FIRST + 1) * DAY, counted, rows, good)
    assert count_comparison.explained_by_rounding(each, *there) is may_be
    between = Disagreement(tag("a"), FIRST * DAY, FIRST * DAY + HOUR + 1, counted, rows, good)
    assert count_comparison.explained_by_rounding(between, 0, 0)


def test_what_was_not_asked_is_not_compared():
    found = compared([[NOT_ASKED, 4]], [[3, 4]], [[3, 4]])
    assert (found.days, found.events, wrong(found)) == (1, 4, [])
    assert list(found.by_day()) == [(FIRST, 0, 0), (FIRST + 1, 1, 0)]


cells = st.tuples(st.integers(-3, 6), st.integers(0, 6), st.integers(0, 6)).map(
    lambda c: (c[0], max(c[1:]), min(c[1:]))
)


@given(st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1, max_size=6), st.integers(1, 4))
def test_what_is_compared_agrees_or_disagrees_in_portions_too(table, portion: int):
    tags = [tag(f"t{n}", "Float32" if n % 2 else "String") for n in range(len(table))]
    whole, pieces = (CountComparison(tags, [WHOLE] * len(tags)) for _ in range(2))
    values = np.array(table, np.int32)
    whole.add(FIRST, values[:, :, 0], values[:, :, 1], values[:, :, 2])
    for first in range(0, 4, portion):
        part = values[:, first : first + portion]
        pieces.add(FIRST + first, part[:, :, 0], part[:, :, 1], part[:, :, 2])
    assert pieces.disagreements() == whole.disagreements()
    assert list(pieces.by_day()) == list(whole.by_day())
    assert whole.rules() == pieces.rules()
    told = {(each.tag.name, each.start // DAY - FIRST) for each in whole.disagreements()}
    for place, row in enumerate(table):
        for day, (counted, rows, good) in enumerate(row):
            right = {CountRule.GOOD: {good}, CountRule.ALL: {rows}, CountRule.UNKNOWN: {good, rows}}[
                whole.rules()[tags[place].point_type]
            ]
            if counted in {NOT_ASKED, NOT_COUNTED}:
                agrees = True
            else:
                agrees = good == 0 if counted == NO_DATA else counted in right
            assert ((f"t{place}", day) in told) == (not agrees)
    assert whole.days == sum(total for _, total, _ in whole.by_day())
    assert len(told) == sum(differ for _, _, differ in whole.by_day())


def test_a_day_is_only_as_long_as_what_is_done_of_it():
    window = Window(FIRST * DAY + 5 * HOUR, (FIRST + 1) * DAY + HOUR)
    found = CountComparison([tag("a")], [window])
    found.add(FIRST, *(np.array([each], np.int32) for each in ([1, 1], [2, 2], [2, 2])))
    [first, last] = found.disagreements()
    assert first == Disagreement(tag("a"), window.start, (FIRST + 1) * DAY, 1, 2, 2)
    assert (last.start, last.end) == (first.end, window.end)
    assert suspect_windows([first, last]) == ((tag("a"), window),)


def test_suspects_of_days_that_do_not_touch_or_of_other_tags_stay_apart():
    def differs(name: str, day: int) -> Disagreement:
        return Disagreement(tag(name), day * DAY, (day + 1) * DAY, 0, 1, 1)

    found = suspect_windows([differs("a", 1), differs("a", 2), differs("a", 4), differs("b", 5)])
    assert [(each.name, window.start // DAY, window.end // DAY) for each, window in found] == [
        ("a", 1, 3), ("a", 4, 5), ("b", 5, 6),
    ]  # fmt: skip
    assert suspect_windows([]) == ()


def test_what_is_settled_is_not_kept_and_what_breaks_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(count_comparison, "_CONCLUSIVE", 50)
    found = CountComparison([tag("a")], [WHOLE])
    for day in range(0, 400, 10):
        found.add(FIRST + day, *(np.full((1, 10), number, np.int32) for number in (9, 10, 9)))
    found.add(FIRST + 400, *(np.array([[number]], np.int32) for number in (10, 10, 9)))
    assert sum(len(each) for each in found._explained[CountRule.GOOD]) <= 60
    assert [each.start // DAY - FIRST for each in found.disagreements()] == [400]


@pytest.mark.parametrize(
    ("rule", "counted", "rows", "good", "said"),
    [
        (CountRule.GOOD, 24, 24, 23, "PI 24 good, table 23 good and 1 bad"),
        (CountRule.GOOD, 24, 21, 21, "PI 24 good, table 21 good"),
        (CountRule.ALL, 24, 23, 22, "PI 24, table 22 good and 1 bad"),
        (CountRule.UNKNOWN, 24, 21, 21, "PI 24, table 21"),
    ],
)
def test_a_day_that_disagrees_says_what_was_counted_of_what(rule, counted, rows, good, said):
    each = Disagreement(tag("a"), FIRST * DAY, (FIRST + 1) * DAY, counted, rows, good)
    assert day_text(each, {each.tag.point_type: rule}).endswith(f", {said}")
