"""Counts of events: what a summary says is what the recorded range holds."""

import pytest

from engine.simulator import Event, FaultPlan
from engine.simulator.times import DAY, HOUR, MINUTE, iso, parse_time, ticks_of
from tests.variants import slowly

NOW = ticks_of("2024-03-05T12:00:00Z")
START = ticks_of("2024-02-25T00:00:00Z")
ASKED = {"summaryType": "Count", "calculationBasis": "EventWeighted", "summaryDuration": "1d"}


def plan(**switches):
    return FaultPlan.from_dict({"switches": switches})


def expected(client, index, *, bad):
    """Good or all events of each day up to now, the end left out."""
    seen = client.simulator.events(index, START, NOW)
    days = range(START, NOW, DAY)
    return [sum(day <= event.ticks < day + DAY and (bad or event.good) for event in seen) for day in days]


def figures(answer):
    assert {item["Type"] for item in answer["Items"]} == {"Count"}
    assert [parse_time(item["Value"]["Timestamp"]).at(0) for item in answer["Items"]] == list(range(START, NOW, DAY))
    assert all(item["Value"]["Good"] for item in answer["Items"])
    return [item["Value"]["Value"] for item in answer["Items"]]


@pytest.mark.parametrize(("bad", "shown"), [(False, True), (True, False), *slowly((False, False), (True, True))])
async def test_counts_agree_with_recorded_after_all_changes(serve, bad, shown):
    window = {"startTime": iso(START), "endTime": iso(NOW)}
    faults = plan(count_includes_bad=bad, recorded_shows_snapshot=shown)
    async with serve(tags=12, faults=faults) as client:
        simulator = client.simulator
        simulator.insert(0, Event(START + 5, 1.0))
        simulator.delete(1, START + HOUR, START + 30 * HOUR)
        simulator.replace(2, START + 1, None, good=False)
        simulator.hide(3, START + DAY, START + 2 * DAY, until=NOW + 1)
        simulator.change({"tag": 4, "action": "retype", "type": "String", "at": iso(START + DAY)})
        ids = [simulator.web_id(index) for index in range(12)]
        wanted = [expected(client, index, bad=bad) for index in range(12)]
        alone = [figures(await client.get(f"streams/{web_id}/summary", **ASKED, **window)) for web_id in ids]
        assert alone == wanted
        together = await client.get("streamsets/summary", webId=ids, **ASKED, **window)
        assert [figures(item) for item in together["Items"]] == wanted
        query = "&".join(f"{name}={value}" for name, value in {**ASKED, **window}.items())
        parts = {web_id: {"Method": "GET", "Resource": f"streams/{web_id}/summary?{query}"} for web_id in ids}
        answers = await client.batch(parts)
        assert [figures(answers[web_id]["Content"]) for web_id in ids] == wanted


@pytest.mark.parametrize(
    ("switch", "basis", "lone", "several"),
    [
        ("single", "EventWeighted", 3, [1, 1]),
        ("always", "EventWeighted", 3, [1, 2]),
        ("never", "EventWeighted", 2, [1, 1]),
        ("always", "EventWeightedExcludeMostRecentEvent", 2, [1, 1]),
        ("never", "EventWeightedExcludeEarliestEvent", 2, [1, 1]),
        ("never", "EventWeightedIncludeBothEnds", 3, [2, 2]),
    ],
)
async def test_who_counts_at_the_ends_of_a_range(serve, switch, basis, lone, several):
    async with serve(faults=plan(count_includes_end=switch, count_includes_bad=True), tags=1) as client:
        client.simulator.delete(0, START, START + DAY)
        for minutes in (0, 10, 20):
            client.simulator.insert(0, Event(START + minutes * MINUTE, 1.0))
        path = f"streams/{client.simulator.web_id(0)}/summary"
        window = {"startTime": iso(START), "endTime": iso(START + 20 * MINUTE), "calculationBasis": basis}
        found = await client.get(path, summaryType="Count", **window)
        assert [item["Value"]["Value"] for item in found["Items"]] == [lone]
        found = await client.get(path, summaryType="Count", summaryDuration="10m", **window)
        assert [item["Value"]["Value"] for item in found["Items"]] == several
        # With another summary beside it a count is made the long way.
        found = await client.get(path, summaryType=["Count", "PercentGood"], summaryDuration="10m", **window)
        assert [item["Value"]["Value"] for item in found["Items"] if item["Type"] == "Count"] == several


async def test_fields_of_counts_may_be_chosen(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/summary"
        window = {"startTime": iso(NOW - 2 * DAY), "endTime": iso(NOW - DAY)}
        slim = await client.get(path, **ASKED, **window, selectedFields="Items.Value.Value")
        assert list(slim["Items"][0]["Value"]) == ["Value"]
        assert await client.get(path, **ASKED, **window, selectedFields="Items.Type") == {"Items": [{"Type": "Count"}]}
        await client.get(path, **{**ASKED, "summaryType": "Sum"}, expect=400)


async def test_nothing_there_counts_nothing(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/summary"
        for year in ("2019", "2030"):
            window = {"startTime": f"{year}-01-01T00:00:00Z", "endTime": f"{year}-01-03T00:00:00Z"}
            found = await client.get(path, **ASKED, **window)
            assert [item["Value"]["Value"] for item in found["Items"]] == [0, 0]
