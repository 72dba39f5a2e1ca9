"""Tags that store future data: after a run the table equals the source up to now and the horizon, whatever
was forecast anew, and however the horizon was changed meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import from_mapping
from config.durations import format_duration, parse_duration
from engine.datasets.recorded_values import Mode
from engine.model import Micros, Tag, Window
from engine.plan.future_data import future_tags
from engine.plan.planner import Plan
from engine.plan.run_scope import RunScope
from engine.plan.timeline import DAY, HOUR, SECOND
from engine.run import plans
from engine.run.plans import limits_of, plan_of, wanted_window, windows_to_digest
from tests.planning.imagined import Row, Table, between, digest, land
from writers import Digest, Watermark, WatermarkStore

NOW = 20_000 * DAY + 10 * HOUR
FORECAST, ORDINARY = Tag("F", "Load.Forecast", future=True), Tag("O", "Load")
TAGS = (FORECAST, ORDINARY)


def config_of(**extraction: Any) -> Any:
    given = {
        "start_date": f"{_text(NOW - 6 * HOUR)}",
        "lag": "30s",
        "max_count_per_tag": 4,
        "batch_size": 3,
        **extraction,
    }
    return from_mapping({"extraction": given, "performance": {"values_per_answer": 12}}).config


def _text(at: Micros) -> str:
    from engine.piweb.times import iso_text

    return iso_text(at)


def planned(tables: dict[str, Table], now: Micros, scope: RunScope = RunScope.ALL, **extraction: Any) -> Plan:
    config = config_of(**extraction)
    marks = WatermarkStore.of(table.mark for table in tables.values() if table.mark is not None)
    windows = windows_to_digest(config, TAGS, marks)
    sums = {name: Digest(1, digest(between(tables[name].rows, *window))) for name, window in windows.items()}
    return plan_of(config, TAGS, marks, sums, now=now, limits=limits_of(config, Mode.BATCH), scope=scope)


def fresh() -> dict[str, Table]:
    return {tag.web_id: Table() for tag in TAGS}


@dataclass
class Site:
    """What the archive holds of both tags, and its clock."""

    now: Micros = NOW

    def __post_init__(self) -> None:
        every = 50 * 60 * SECOND
        self.ordinary = [(at, 0) for at in range(NOW - 8 * HOUR, NOW + 5 * DAY, every)]
        self.forecast = [(at, 0) for at in range(NOW - 8 * HOUR, NOW + 2 * DAY, every)]

    def sources(self) -> dict[str, list[Row]]:
        return {"F": self.forecast, "O": between(self.ordinary, 0, self.now)}

    def renew(self, values: list[int], reach: Micros) -> None:
        """Forecast anew from now on: so far, with these values in turn, nothing where one is 0."""
        times = range(self.now // SECOND * SECOND, self.now + reach, 47 * 60 * SECOND)
        ahead = [(at, values[n % len(values)]) for n, at in enumerate(times) if values[n % len(values)]]
        self.forecast = [*between(self.forecast, 0, self.now), *ahead]


moments = st.sampled_from([0, SECOND, 5 * 60 * SECOND, 3 * HOUR, 26 * HOUR])
horizons = st.sampled_from([None, "0s", "1h", "10h", "2d"])
forecasts = st.tuples(
    st.lists(st.integers(0, 3), min_size=1, max_size=5), st.sampled_from([0, HOUR, 9 * HOUR, 3 * DAY])
)
steps = st.lists(
    st.tuples(
        moments, forecasts, moments, horizons, st.sampled_from(["0s", "2h"]), st.just(10_000) | st.integers(1, 60)
    ),
    min_size=1,
    max_size=6,
)


@given(steps)
@example([(0, ([1], DAY), 0, "2d", "0s", 10_000), (HOUR, ([2], DAY), HOUR, "1h", "0s", 10_000)])  # shorter
@example([(0, ([1], DAY), 0, "2d", "0s", 10_000), (HOUR, ([2], DAY), 30 * HOUR, None, "0s", 10_000)])  # off
def test_the_table_equals_the_source_for_every_forecast_and_horizon(found) -> None:
    site, tables = Site(), fresh()
    for before, (values, reach), after, horizon, lookback, chunks in found:
        site.now += before
        site.renew(values, reach)
        site.now += after
        known = tables["F"].mark
        chosen = {"lookback": lookback} | ({} if horizon is None else {"future_horizon": horizon})
        land(planned(tables, site.now, **chosen), tables, site.sources(), chunks=chunks)
        if chunks == 10_000:
            _assert_equal(tables, site, horizon, known)
        if known is not None:
            assert tables["F"].mark.high >= known.high
            assert tables["F"].mark.ahead_from >= known.ahead_from
    # Once it is right it stays so, and nothing is mended any more.
    assert land(planned(tables, site.now), tables, site.sources()) == 0 or found[-1][-1] < 10_000
    _assert_equal(tables, site, None, tables["F"].mark)
    assert land(planned(tables, site.now), tables, site.sources()) == 0


def _assert_equal(tables: dict[str, Table], site: Site, horizon: str | None, known: Watermark | None) -> None:
    present = site.now - 30 * SECOND
    far = parse_duration(horizon or "0s").total_seconds() * SECOND
    high = site.now + int(far) if far else present
    mark = tables["F"].mark
    assert mark.high == (high if known is None else max(high, known.high))
    assert mark.ahead_from == min(present, mark.high)
    assert tables["F"].rows == between(site.forecast, mark.low, mark.high)
    assert (tables["O"].mark.high, tables["O"].mark.ahead_from) == (present, None)
    assert tables["O"].rows == between(site.ordinary, mark.low, present)


def test_when_no_time_has_passed_forecasts_are_compared_all_the_same() -> None:
    site, tables = Site(), fresh()
    land(planned(tables, NOW, future_horizon="1d"), tables, site.sources())
    mark = tables["F"].mark
    assert land(planned(tables, NOW, future_horizon="1d"), tables, site.sources()) == 0
    assert tables["F"].mark == mark  # there is nothing to commit
    site.renew([1, 2], DAY)
    assert land(planned(tables, NOW, future_horizon="1d"), tables, site.sources()) > 0
    assert tables["F"].rows == between(site.forecast, mark.low, mark.high)


@pytest.mark.parametrize("lag", ["0s", "1001ms", "570ms", "290us"])
def test_without_a_horizon_nothing_is_ahead_however_the_lag_is_written(lag: str) -> None:
    site, tables = Site(), fresh()
    for _ in range(2):
        site.now += HOUR
        land(planned(tables, site.now, lag=lag), tables, site.sources())
        mark = tables["F"].mark
        assert (
            mark.high
            == mark.ahead_from
            == mark.present
            == site.now - int(parse_duration(lag) / timedelta(microseconds=1))
        )


def test_an_end_date_ends_what_is_read_ahead_and_takes_nothing_back() -> None:
    site, tables = Site(), fresh()
    land(planned(tables, NOW, future_horizon="1d", end_date="now+2h"), tables, site.sources())
    assert tables["F"].mark.high == NOW + 2 * HOUR
    land(planned(tables, NOW, future_horizon="1d", end_date="now-1h"), tables, site.sources())
    assert tables["F"].mark.high == NOW + 2 * HOUR
    assert tables["F"].rows == between(site.forecast, NOW - 6 * HOUR, NOW + 2 * HOUR)


def test_tags_that_were_never_read_begin_with_the_present_day_and_the_history_comes_behind() -> None:
    site, tables = Site(), fresh()
    full = {"mode": "full", "start_date": _text(NOW - 2 * DAY), "future_horizon": "1d"}
    site.forecast = [(at, 0) for at in range(NOW - 3 * DAY, NOW + 2 * DAY, HOUR)]
    land(planned(tables, NOW, RunScope.FORWARD, **full), tables, site.sources())
    assert (tables["F"].mark.low, tables["F"].mark.high) == (NOW // DAY * DAY, NOW + DAY)
    site.renew([3], DAY)
    land(planned(tables, NOW, RunScope.BACKFILL, **full), tables, site.sources())
    mark = tables["F"].mark
    assert (mark.low, mark.high, mark.ahead_from) == (NOW - 2 * DAY, NOW + DAY, NOW - 30 * SECOND)
    land(planned(tables, NOW, RunScope.FORWARD, **full), tables, site.sources())
    assert tables["F"].rows == between(site.forecast, NOW - 2 * DAY, NOW + DAY)


@pytest.mark.parametrize("horizon", ["1d", "2d"])
def test_watermarks_that_were_rebuilt_are_taken_to_be_those_of_a_run_like_this_one(horizon: str) -> None:
    site, tables = Site(), fresh()
    land(planned(tables, NOW, future_horizon="1d"), tables, site.sources())
    mark = tables["F"].mark
    last = tables["F"].rows[-1][0]
    tables["F"].mark = Watermark(mark.tag_webid, mark.low, last + 1, last, mark.rows_total)
    site.now += HOUR
    site.forecast = [*between(site.forecast, 0, NOW), *((at, 9) for at, _ in site.forecast if at >= NOW)]
    land(planned(tables, site.now, future_horizon=horizon), tables, site.sources())
    assert tables["F"].rows == between(site.forecast, mark.low, tables["F"].mark.high)


@pytest.mark.parametrize(
    ("high", "last", "start"),
    [(NOW - HOUR, NOW - 2 * HOUR, NOW - HOUR), (NOW + HOUR, NOW - 2 * HOUR, NOW - 2 * HOUR), (NOW + 2, NOW + 1, NOW)],
)
def test_a_point_that_continues_another_begins_no_later_than_now(high: Micros, last: Micros, start: Micros) -> None:
    marks = WatermarkStore.of([Watermark("old", NOW - 6 * HOUR, high, last)])
    config = config_of(recreated_tags="continue")
    assert plans._starts_of_recreated(config, marks, {"new": "old"}, NOW) == {"new": start}


def test_an_ordinary_tag_is_planned_as_if_there_were_no_horizon() -> None:
    marks = WatermarkStore.of([Watermark("O", NOW - DAY, NOW - HOUR, NOW - HOUR - 1, 100, last_event_digest=3)])
    plans = [
        plan_of(config, (ORDINARY,), marks, {}, now=NOW, limits=limits_of(config, Mode.BATCH))
        for config in (config_of(), config_of(future_horizon="7d"))
    ]
    chunks = [plan.take() for plan in plans]
    assert chunks[0] is not None
    assert chunks[0].asks == chunks[1].asks
    assert plans[0].take() is plans[1].take() is None


def test_a_forecast_says_what_comparing_ahead_costs() -> None:
    from engine.plan.run_estimate import estimate_run

    site, tables = Site(), fresh()
    land(planned(tables, NOW, future_horizon="1d"), tables, site.sources())
    ordinary = estimate_run(planned({"O": tables["O"], "F": Table(mark=None)}, NOW))
    assert ordinary.requests > 0
    plan = planned(tables, NOW, future_horizon="1d")
    assert plan.unfinished == {"F"}
    walked = estimate_run(plan)
    assert plan.done
    assert (walked.requests > 0, walked.values) == (True, 0)


def test_classes_have_horizons_of_their_own() -> None:
    config = config_of(
        future_horizon="7d",
        classes=[
            {"name": "prices", "tags": "PRICE*", "future_horizon": "2d"},
            {"name": "off", "tags": "X", "future_horizon": 0},
        ],
    )
    assert str(future_tags(config.extraction, [FORECAST, ORDINARY])) == "1 tag with future data, read up to 7d ahead"
    tags = [Tag(name, name, future=True) for name in ("price.1", "x", "Load")]
    plan = plan_of(config, tags, WatermarkStore(), {}, now=NOW, limits=limits_of(config, Mode.BATCH))
    ends = {}
    while (chunk := plan.take()) is not None:
        for ask in chunk.asks:
            ends[ask.tag.web_id] = max(ask.end, ends.get(ask.tag.web_id, 0))
    assert set(ends) == {"price.1", "x", "Load"}
    assert wanted_window(config, None, NOW, 2 * DAY).end == NOW + 2 * DAY
    assert ends["x"] == NOW - 30 * SECOND


@pytest.mark.parametrize(
    ("chosen", "tags", "words"),
    [
        ({}, [ORDINARY], ""),
        ({}, [FORECAST], "1 tag stores future data and is read up to now; what lies ahead is read with "),
        ({}, [FORECAST, FORECAST], "2 tags store future data and are read up to now; what lies ahead is read with "),
        ({"future_horizon": "0s"}, [FORECAST], "1 tag with future data, read up to now"),
        ({"future_horizon": "36h"}, [FORECAST, ORDINARY], "1 tag with future data, read up to 36h ahead"),
        ({"classes": [{"name": "a", "tags": "x", "future_horizon": "1d"}]}, [FORECAST], "1 tag stores future data"),
        ({"classes": [{"name": "a", "tags": "*", "future_horizon": "1d"}]}, [FORECAST], "read up to 1d ahead"),
    ],
)
def test_what_is_said_of_tags_that_store_future_data(chosen: dict, tags: list[Tag], words: str) -> None:
    said = str(future_tags(config_of(**chosen).extraction, tags))
    assert words in said
    assert bool(said) == bool(words)
    assert format_duration(parse_duration("36h")) == "36h"


def test_windows_to_sum_reach_from_the_present_of_the_last_run_to_the_end() -> None:
    mark = Watermark("F", NOW - DAY, NOW + DAY, NOW + HOUR, 10, last_event_digest=1, ahead_from=NOW - 30 * SECOND)
    marks = WatermarkStore.of([mark, msgspec.structs.replace(mark, tag_webid="O", high=NOW, ahead_from=None)])
    assert windows_to_digest(config_of(), TAGS, marks) == {"F": (NOW - 30 * SECOND, NOW + DAY)}
    looked_back = windows_to_digest(config_of(lookback="1h", future_horizon="3d"), TAGS, marks)
    assert looked_back["F"] == (NOW - HOUR - 30 * SECOND, NOW + DAY)
    assert looked_back["O"] == (NOW - HOUR, NOW)
    assert Window(*looked_back["F"]).end == mark.high


@pytest.mark.parametrize("lookback", ["0s", "5h"])
def test_a_run_that_dies_while_it_mends_a_forecast_leaves_the_rest_of_it_to_be_compared(lookback: str) -> None:
    """Wherever it dies: the present of the tag passes only what was mended."""
    chosen = {"future_horizon": "2d", "lookback": lookback}
    chunks, finished = 0, False
    while not finished:
        chunks += 1
        site, tables = Site(), fresh()
        land(planned(tables, NOW, **chosen), tables, site.sources())
        site.now += SECOND
        site.renew([3], 2 * DAY)
        site.now += 26 * HOUR
        plan = planned(tables, site.now, **chosen)
        before = tables["F"].mark
        land(plan, tables, site.sources(), chunks=chunks)
        finished = plan.done
        between_two = tables["F"].mark
        assert before.ahead_from <= between_two.ahead_from
        assert between(tables["F"].rows, before.ahead_from, between_two.present) == between(
            site.forecast, before.ahead_from, between_two.present
        )
        land(planned(tables, site.now, **chosen), tables, site.sources())
        assert tables["F"].rows == between(site.forecast, before.low, tables["F"].mark.high)
    assert chunks > 10
