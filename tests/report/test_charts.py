"""Whatever a text holds, it stays text; bars are as long as their numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands.report.charts import Series, ceiling, columns, rows, strip, time_ceiling
from engine.commands.report.compute import DayVerdict, days_of, tag_days
from engine.commands.report.markup import Html, element, joined
from engine.commands.verify.compute import Cost, CountedDays, Uncounted, Verification
from engine.model import Tag, Window
from engine.plan.count_comparison import NO_DATA, NOT_ASKED, NOT_COUNTED, Disagreement
from engine.plan.timeline import DAY
from engine.telemetry.formats import one_line
from tests.report.sample import EVIL
from writers.corrections.day_counts import DayCounts

texts = st.text() | st.text(st.sampled_from(EVIL + "<>&'\"/"))
numbers = st.floats(0, 1e12) | st.integers(0, 10**9)


@given(texts, texts)
def test_text_and_attributes_come_back_as_they_show(content: str, value: str) -> None:
    found = ET.fromstring(element("p", content, element("b", content), title=value))
    assert (found.text or "") == (found.findtext("b") or "") == one_line(content)
    assert found.get("title") == one_line(value)
    assert len(found) == 1


def test_what_was_built_here_is_not_escaped_again_and_the_rest_is() -> None:
    assert joined([Html("<b/>"), "<b/>"]) == "<b/>&lt;b/&gt;"
    assert element("meta", name="x", content=None) == '<meta name="x"/>'
    assert element("line", stroke_width=1.5, class_="a") == '<line stroke-width="1.5" class="a"></line>'


@given(numbers)
def test_an_axis_ends_at_a_round_number_that_is_not_below_the_largest(most: float) -> None:
    for top in (ceiling(most), time_ceiling(most)):
        assert top > 0
        assert top >= most
        assert top <= max(1, 6 * most)


@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.booleans())
def test_columns_are_as_tall_as_their_numbers_and_stay_in_the_picture(
    pairs: list[tuple[float, float]], on_top: bool
) -> None:
    labels = [str(n) for n in range(len(pairs))]
    series = [Series("first", [one for one, _ in pairs]), Series("second", [other for _, other in pairs], "c2")]
    drawn = ET.fromstring(columns("A & B", labels, series, shown=str, stacked=on_top).replace(' xmlns="', ' data="'))
    bars = drawn.findall("rect")
    assert len(bars) == sum(value > 0 for pair in pairs for value in pair)
    top = ceiling(max((sum(pair) if on_top else max(pair) for pair in pairs), default=0))
    values = [value for pair in pairs for value in pair if value > 0]
    for bar, value in zip(bars, values, strict=True):
        height, y = float(bar.get("height") or 0), float(bar.get("y") or 0)
        assert height == pytest.approx(max(1, 124 * value / top), abs=0.01)
        assert -0.1 <= y <= 132
        assert 46 <= float(bar.get("x") or 0) <= 360


def test_labels_and_values_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 labels for 1 values"):
        columns("x", ["a", "b"], [Series("s", [1])], shown=str)


@given(st.lists(st.none() | st.floats(0, 1), max_size=48))
def test_a_stretch_of_time_is_full_only_if_all_of_it_is_done(shares: list[float | None]) -> None:
    names = [str(n) for n in range(len(shares))]
    drawn = ET.fromstring(strip("x", shares, ("a", "b"), names=names).replace(' xmlns="', ' data="'))
    filled = {
        bar.findtext("title"): (bar.get("class"), float(bar.get("height") or 0))
        for bar in drawn.iter("rect")
        if bar.get("class") != "bar rest"
    }
    for name, share in zip(names, shares, strict=True):
        if not share:
            assert name not in filled
        else:
            colour, height = filled[name]
            assert (colour == "bar good") == (share == 1) == (height == 44)


@given(st.lists(st.tuples(texts, st.integers(0, 10**6)), max_size=12))
def test_the_longest_row_is_that_of_the_largest_number(pairs: list[tuple[str, int]]) -> None:
    names, values = [one for one, _ in pairs], [other for _, other in pairs]
    drawn = ET.fromstring(rows("x", names, values, shown=str).replace(' xmlns="', ' data="'))
    widths = [float(bar.get("width") or 0) for bar in drawn.iter("rect")]
    assert len(widths) == sum(value > 0 for value in values)
    assert max(widths, default=228) == pytest.approx(228)


def row(day: int, **changes: object) -> dict[str, object]:
    numbers = (
        "records_written", "corrections_inserted", "corrections_changed", "corrections_deleted", "requests", "retries",
        "throttled", "bytes_fetched",
    )  # fmt: skip
    first = {"started_at": day * DAY + 5, "command": "run", "status": "succeeded", "freshness_max_seconds": None}
    return {**first, **dict.fromkeys(numbers, None), **changes}


def test_days_sum_up_runs_and_verifications_and_know_rows_of_earlier_versions() -> None:
    rows = [
        row(9, records_written=99),
        row(10, command=None, records_written=5, requests=2, freshness_max_seconds=7.0),
        row(10, command="verify", records_written=3, requests=1, corrections_changed=4, status="incomplete"),
        row(12, status="interrupted", retries=1, throttled=2, bytes_fetched=3, freshness_max_seconds=1.0),
    ]
    ten, eleven, twelve = days_of(rows, range(10, 13))
    assert (ten.runs, ten.not_well, ten.events, ten.requests, ten.changed, ten.worst_secs) == (2, 1, 5, 3, 4, 7.0)
    assert (eleven.day, eleven.runs, eleven.events) == (11, 0, 0)
    assert (twelve.not_well, twelve.retries, twelve.throttled, twelve.bytes_fetched) == (0, 1, 2, 3)


def test_each_day_of_a_tag_has_its_verdict() -> None:
    import numpy as np

    tag, days = Tag("W", "T"), ["asked", "none", "no data", "withheld", "all bad", "differs", "hole", "agrees"]
    counted = [NOT_ASKED, NOT_COUNTED, NO_DATA, 0, 0, 5, 2, 9]
    held, good = [1, 4, 0, 6, 3, 4, 4, 9], [1, 4, 0, 6, 0, 4, 4, 8]
    window = Window(DAY + 7, 8 * DAY)

    def whole(day: int) -> Disagreement:
        return Disagreement(tag, day * DAY, (day + 1) * DAY, counted[day], held[day], good[day])

    found = Verification(
        "p", (tag,), (window,), 0, 7, 30, (whole(5),), (), {}, (Uncounted(tag, "why", 2, 7),), Cost(1, 0, 0, 1, 1.0),
        holes=(whole(6),),
        counts=(CountedDays(0, np.array([counted], np.int32), DayCounts(np.array([held]), np.array([good]))),),
    )  # fmt: skip
    listed = {days[one.day]: (one.counted, one.rows, one.alike, one.verdict) for one in tag_days(found)}
    assert listed == {
        "none": (None, 4, 4, DayVerdict.NOT_COMPARED),
        "no data": (0, 0, 0, DayVerdict.AGREES),
        "withheld": (0, 6, 6, DayVerdict.NOT_COMPARED),
        "all bad": (0, 3, 0, DayVerdict.AGREES),
        "differs": (5, 4, 4, DayVerdict.DIFFERS),
        "hole": (2, 4, 4, DayVerdict.HOLE),
        "agrees": (9, 9, 9, DayVerdict.AGREES),
    }
