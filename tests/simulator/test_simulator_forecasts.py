"""Points that store future data: what they show is a closed form of when it is asked for."""

from __future__ import annotations

from itertools import pairwise

import aiohttp
import pytest

from engine.simulator import Simulator, SimulatorOptions, events, forecast_events
from engine.simulator.times import HOUR, MINUTE, SECOND, iso, ticks_of

BEGIN = ticks_of("2024-03-05T00:00:00Z")
NOON = BEGIN + 12 * HOUR
OPTIONS = SimulatorOptions(
    tags=6,
    future_tags=2,
    begin="2024-03-05T00:00:00Z",
    now=NOON / SECOND,
    interval_secs=600,
    future_renewed_secs=3600,
    future_reach_secs=6 * 3600,
)
FORECAST, ORDINARY = 5, 0
END = NOON + 6 * HOUR


async def get(url: str, path: str, **parameters: str) -> dict:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/{path}", params=parameters) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_points_say_whether_they_store_future_data() -> None:
    simulator = Simulator(OPTIONS)
    async with simulator.serve() as url:
        for index in range(6):
            point = await get(url, f"points/{simulator.web_id(index)}")
            assert point["Future"] is (index >= 4)


async def test_recorded_shows_the_newest_forecast_to_its_end_and_ordinary_points_end_now() -> None:
    simulator = Simulator(OPTIONS)
    window = {"startTime": iso(BEGIN), "endTime": iso(BEGIN + 48 * HOUR), "maxCount": "1000"}
    async with simulator.serve() as url:
        for now in (NOON, NOON + HOUR - 1, NOON + HOUR):
            simulator.set_clock(now)
            answer = await get(url, f"streams/{simulator.web_id(FORECAST)}/recorded", **window)
            expected = forecast_events(OPTIONS, FORECAST, BEGIN, BEGIN + 48 * HOUR, now)
            assert [item["Timestamp"] for item in answer["Items"]] == [iso(event.ticks) for event in expected]
            assert simulator.events(FORECAST, BEGIN, BEGIN + 48 * HOUR) == expected
            assert now < max(event.ticks for event in expected) < now - now % HOUR + 6 * HOUR
            ordinary = await get(url, f"streams/{simulator.web_id(ORDINARY)}/recorded", **window)
            assert [item["Timestamp"] for item in ordinary["Items"]] == [
                iso(event.ticks) for event in events(OPTIONS, ORDINARY, BEGIN, now + 1)
            ]


def test_a_renewal_inserts_changes_and_deletes_and_what_is_over_stays_as_it_was_forecast_last() -> None:
    before, after = (
        {event.ticks: event for event in forecast_events(OPTIONS, FORECAST, BEGIN, END, now)}
        for now in (NOON, NOON + HOUR)
    )
    ahead_before, ahead_after = ({t for t in found if t >= NOON + HOUR} for found in (before, after))
    assert ahead_after - ahead_before
    assert ahead_before - ahead_after
    assert any(before[t] != after[t] for t in ahead_before & ahead_after)
    assert {t: e for t, e in before.items() if t < NOON + HOUR} == {t: e for t, e in after.items() if t < NOON + HOUR}


def test_between_two_renewals_nothing_changes() -> None:
    shown = [forecast_events(OPTIONS, FORECAST, BEGIN, END, NOON + n * MINUTE) for n in range(60)]
    assert all(one == other for one, other in pairwise(shown))


async def test_values_now_and_at_the_end_and_counts_of_days_ahead() -> None:
    simulator = Simulator(OPTIONS)
    stream = f"streams/{simulator.web_id(FORECAST)}"
    expected = forecast_events(OPTIONS, FORECAST, BEGIN, END, NOON)
    async with simulator.serve() as url:
        assert (await get(url, f"{stream}/end"))["Timestamp"] == iso(expected[-1].ticks)
        now = await get(url, f"{stream}/value")
        assert now["Timestamp"] == iso(max(event.ticks for event in expected if event.ticks <= NOON))
        window = {"startTime": iso(NOON + 1), "endTime": iso(END), "summaryType": "Count"}
        counted = await get(url, f"{stream}/summary", calculationBasis="EventWeighted", **window)
    assert counted["Items"][0]["Value"]["Value"] == sum(e.good for e in expected if e.ticks > NOON)


async def test_stream_updates_tell_what_a_renewal_and_an_edit_changed_ahead() -> None:
    simulator = Simulator(OPTIONS)
    before = forecast_events(OPTIONS, FORECAST, NOON, END, NOON)
    stream = f"streams/{simulator.web_id(FORECAST)}"
    async with simulator.serve() as url, aiohttp.ClientSession() as session:
        async with session.post(f"{url}/{stream}/updates", headers={"X-Requested-With": "test"}) as response:
            marker = (await response.json())["LatestMarker"]
        simulator.delete(FORECAST, before[-1].ticks)
        told = await get(url, f"streams/updates/{marker}")
        assert [(one["Action"], one["Timestamp"]) for one in told["Events"]] == [("Delete", iso(before[-1].ticks))]
        simulator.set_clock(NOON + HOUR)
        told = await get(url, f"streams/updates/{told['LatestMarker']}")
    after = {event.ticks: event for event in simulator.events(FORECAST, NOON, END + HOUR)}
    old = {event.ticks: event for event in before[:-1]}
    changed = {ticks for ticks in old.keys() | after.keys() if old.get(ticks) != after.get(ticks)}
    assert {one["Timestamp"] for one in told["Events"]} == {iso(ticks) for ticks in changed}
    assert {one["Action"] for one in told["Events"]} == {"Insert", "Update", "Delete"}


async def test_edits_ahead_and_points_created_as_forecasts() -> None:
    simulator = Simulator(OPTIONS)
    made = {"tag": "Price", "action": "create_point", "at": iso(BEGIN), "interval": "1h", "future": True}
    [done] = simulator.change(made, {"tag": FORECAST, "action": "insert", "at": iso(END + HOUR), "value": 7.0})[:1]
    async with simulator.serve() as url:
        assert (await get(url, f"points/{done['WebId']}"))["Future"] is True
    assert [event.value for event in simulator.events(FORECAST, END, END + 2 * HOUR)] == [7.0]
    assert any(event.ticks > NOON for event in simulator.events("Price", BEGIN, END))


@pytest.mark.parametrize(
    "wrong",
    [{"future_tags": 7}, {"future_tags": -1}, {"future_renewed_secs": 0}, {"future_reach_secs": 10}],
)
def test_options_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(ValueError, match="future_"):
        SimulatorOptions(tags=6, **wrong)
