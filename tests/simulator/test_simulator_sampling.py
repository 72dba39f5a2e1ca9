"""Values that the server works out: at given times, on plots, by expressions, and which summaries it refuses."""

from engine.simulator import Event
from engine.simulator.archive.sampling import value_at
from engine.simulator.times import HOUR, MINUTE, iso, ticks_of
from tests.simulator.test_simulator_recorded import read, same

NOW = ticks_of("2024-03-05T12:00:00Z")
START = NOW - 3 * HOUR
AT = [START + 7 * MINUTE, START + HOUR, START + 2 * HOUR + 1]


def shown(client, index: int, times: list[int]) -> list[Event]:
    return [value_at(client.simulator._site, index, ticks, NOW) for ticks in times]


async def test_values_are_interpolated_at_the_times_that_are_named(serve):
    async with serve(tags=3) as client:
        ids = [client.simulator.web_id(index) for index in range(2)]
        times = [iso(ticks) for ticks in reversed(AT)]
        found = await client.get(f"streams/{ids[0]}/interpolatedattimes", time=times)
        assert same([read(item) for item in found["Items"]], shown(client, 0, AT))
        newest = await client.get(f"streams/{ids[0]}/interpolatedattimes", time=times, sortOrder="Descending")
        assert newest["Items"] == found["Items"][::-1]
        together = await client.get("streamsets/interpolatedattimes", webId=ids, time=times, webIdType="IDOnly")
        assert [item["WebId"] for item in together["Items"]] == ids
        assert together["Items"][0]["Items"] == found["Items"]
        await client.get(f"streams/{ids[0]}/interpolatedattimes", expect=400)


async def test_a_plot_shows_first_last_lowest_highest_and_odd_events_of_each_part(serve):
    async with serve(tags=3, types=(("Float32", 1.0),), interval_secs=60) as client:
        web_id = client.simulator.web_id(0)
        window = {"startTime": iso(START), "endTime": iso(NOW)}
        found = await client.get(f"streams/{web_id}/plot", intervals=6, **window)
        plotted = [read(item) for item in found["Items"]]
        assert [event.ticks for event in plotted] == sorted({event.ticks for event in plotted})
        assert (plotted[0].ticks, plotted[-1].ticks) == (START, NOW)
        assert len(plotted) <= 5 * 6 + 2
        events = client.simulator.events(0, START, NOW)
        for part in range(6):
            first = START + (NOW - START) * part // 6
            inside = [event for event in events if first <= event.ticks < first + (NOW - START) // 6]
            good = [event for event in inside if event.good]
            chosen = [inside[0], inside[-1], min(good, key=lambda e: e.value), max(good, key=lambda e: e.value)]
            assert {event.ticks for event in chosen} <= {event.ticks for event in plotted}
        backwards = await client.get(
            f"streams/{web_id}/plot", intervals=6, startTime=window["endTime"], endTime=window["startTime"]
        )
        assert backwards["Items"] == found["Items"][::-1]
        together = await client.get("streamsets/plot", webId=[web_id], intervals=6, **window)
        assert together["Items"][0]["Items"] == found["Items"]


async def test_expressions_are_worked_out_at_given_times(serve):
    async with serve(tags=3, types=(("Float32", 1.0),)) as client:
        name = client.simulator._site.point(0).name
        times = [iso(ticks) for ticks in AT]
        plain = await client.get("calculation/times", expression=f"'{name}'", time=times)
        assert same([read(item) for item in plain["Items"]], shown(client, 0, AT))
        twice = await client.get("calculation/times", expression=f"2 * ('{name}' + 1)", time=times)
        assert [item["Value"] for item in twice["Items"]] == [2 * (event.value + 1) for event in shown(client, 0, AT)]
        failed = await client.get("calculation/times", expression=f"'{name}' / 0", time=times[:1])
        assert failed["Items"][0]["Value"]["Name"] == "Calc Failed"
        for wrong in ("'no such tag'", "2 *", "open(1)"):
            refusal = await client.get("calculation/times", expression=wrong, time=times, expect=400)
            assert refusal["Errors"]


async def test_there_are_only_counts_of_what_is_no_number(serve):
    async with serve(tags=2, types=(("String", 1.0),)) as client:
        path = f"streams/{client.simulator.web_id(0)}/summary"
        window = {"startTime": iso(START), "endTime": iso(NOW)}
        refusal = await client.get(path, summaryType=["Average", "Count"], **window, expect=409)
        assert "non-numeric" in refusal["Errors"][0]
        found = await client.get(path, summaryType="Count", calculationBasis="EventWeighted", **window)
        assert found["Items"][0]["Value"]["Value"] > 0


async def test_a_total_takes_times_without_a_number_for_average_ones(serve):
    async with serve(tags=1, types=(("Float32", 1.0),), interval_secs=600) as client:
        path = f"streams/{client.simulator.web_id(0)}/summary"
        types = ["Total", "Average", "PercentGood"]
        found = await client.get(
            path, summaryType=types, startTime="2024-03-03T00:00:00Z", endTime="2024-03-05T00:00:00Z"
        )
        total, average, share = (item["Value"]["Value"] for item in found["Items"])
        assert 0 < share < 100
        assert abs(total - 2 * average) < 1e-9 * abs(total)
