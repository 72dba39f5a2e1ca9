"""Following a server whose clock runs: exact, on its grid, past failures and outages, and at an end when told to."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.errors import FencedError, UnavailableError
from engine.datasets import stream_updates
from engine.plan import schedule
from engine.run import follow, run
from engine.run.connect import lakehouse_of
from engine.telemetry.events import Cleared, Committed, Cycled, DatasetSynced, Paused, Summed, TagFailed
from tests.crash.process import Process, command, until
from tests.exactness.expected import web_id_of
from tests.exactness.reading import marks_in, read_table, rows_in
from tests.follow.live import CRITICAL, Followed, LivePlant, name_of
from tests.patience import patiently
from writers import newest_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def plant_of(tmp_path: Path) -> Iterator[Callable[..., LivePlant]]:
    made: list[LivePlant] = []

    def make(**given: object) -> LivePlant:
        made.append(LivePlant(tmp_path, **given))
        made[-1].server.start()
        return made[-1]

    yield make
    for plant in made:
        plant.server.stop()


async def followed(plant: LivePlant, cycles: int, **sections: dict[str, object]) -> Followed:
    """A run that has been through so many cycles."""
    it = Followed(plant, plant.config(**sections))
    await it.until(lambda: len(it.cycles) >= cycles)
    return it


async def test_two_classes_are_exact_and_on_their_grid(plant_of, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "SUM_EVERY", 2_000_000)
    monkeypatch.setattr(follow, "METRICS_ROW_EVERY", 2_000_000)
    plant = plant_of(extraction={"discovery_interval": "2s"})
    it = await followed(plant, 8)
    report = await it.ended()
    assert (report.status, report.exit_code, report.error) == ("succeeded", 0, None)
    assert (report.tags_requested, report.tags_extracted, report.tags_failed) == (12, 12, ())
    windows = plant.assert_exact()
    assert report.records_written == sum(cycle.rows for cycle in it.cycles) > 100
    assert report.commits >= len(it.cycles)
    # The critical tags were read last, and further.
    assert len({high for n, (_, high) in windows.items() if n < CRITICAL}) == 1
    assert all(windows[0][1] >= high for _, high in windows.values())
    assert_on_the_grid(it)
    # Discovery has looked again, and found what was known: no tag twice, nothing changed.
    synced = [event for event in it.told(DatasetSynced) if event.dataset == "tags"]
    assert len(synced) > 2
    assert [(found.added, found.changed, found.missing) for found in synced[1:]] == [(0, 0, 0)] * (len(synced) - 1)
    assert Counter(read_table(plant.table("pi_tags"))["tag_webid"].to_pylist()).most_common(1)[0][1] == 1
    # A row now and then, and one at the end: together they tell what the report tells.
    rows = newest_runs(lakehouse_of(it.config), "default", limit=100)
    assert len(rows) >= 3
    assert {row["run_id"] for row in rows} == {report.run_id}
    assert sum(row["records_written"] for row in rows) == report.records_written
    assert sum(row["requests"] for row in rows) == report.requests
    assert sum(row["duration_seconds"] for row in rows) == pytest.approx(report.duration_seconds)
    assert 0 < rows[0]["freshness_p95_seconds"] < patiently(10)
    sums = it.told(Summed)
    assert sum(one.cycles for one in sums) <= len(it.cycles)
    assert 0 < sums[-1].fresh.p95 < patiently(10)


def assert_on_the_grid(it: Followed) -> None:
    """Ticks served and passed over are as many as there were: nothing has drifted, however slow this machine is."""
    first_at = it.events[[event for _, event in it.events].index(it.cycles[0])][0] - it.cycles[0].seconds
    last = it.cycles[-1]
    at, _ = next((at, event) for at, event in it.events if event is last)
    elapsed = at - last.seconds - first_at
    served = sum(len(cycle.classes) + cycle.skipped for cycle in it.cycles)
    assert served == pytest.approx(elapsed // 1 + 1 + elapsed // 3 + 1, abs=2)
    assert all(cycle.late_secs > -0.31 for cycle in it.cycles)


async def test_a_tag_that_fails_is_tried_again_on_its_schedule(plant_of):
    sick = 2  # of the critical tags
    name = name_of(sick)
    # The first is of the sample that finds out how the server is to be asked.
    refused = {
        "rules": [{"match": {"route": "*recorded*", "tag": name, "scope": "sub", "first": 3}, "do": {"status": 403}}]
    }
    plant = plant_of(faults=refused)
    it = await followed(plant, 1)
    await it.until(lambda: bool(it.told(TagFailed)))
    # The table says so with the commit of that cycle, and goes on saying it until the tag is tried again.
    await it.until(lambda: marks_in(plant.table("pi_watermarks"))[web_id_of(sick)].status == "failed")
    await it.until(lambda: bool(it.told(Cleared)))
    await it.until(lambda: it.cycles[-1].failing == 0)
    report = await it.ended()
    assert (report.status, report.tags_failed) == ("succeeded", ())
    plant.assert_exact()
    assert {event.tag for event in it.told(TagFailed)} == {name}
    # One cycle later, then two: of three tries the third was let through.
    assert tried(it) == expected_tries(it, 3)


def tried(it: Followed) -> list[int]:
    """The cycles of the critical class, by number, in which the tag failed or was read again."""
    found, at = [], 0
    for _, event in it.events:
        if isinstance(event, TagFailed | Cleared):
            found.append(at)
        at += isinstance(event, Cycled) and "critical" in event.classes
    return found


def expected_tries(it: Followed, tries: int) -> list[int]:
    """By the ticks that were served: 0, then one on, then two on, or the first thereafter."""
    critical = [cycle for cycle in it.cycles if "critical" in cycle.classes]
    began = [at - event.seconds for at, event in it.events if event in critical]
    ticks = [round(at - began[0]) for at in began]
    due, found = 0, []
    for wait in (1, 2, 4)[:tries]:
        n = next(n for n, tick in enumerate(ticks) if tick >= due)
        found.append(n)
        due = ticks[n] + wait
    return found


async def test_a_tag_that_still_fails_at_the_end_is_told_of(plant_of):
    name = name_of(0)
    plant = plant_of(faults={"tags": [{"tag": name, "forbidden": 403}]})
    it = await followed(plant, 3)
    report = await it.ended()
    assert (report.status, report.exit_code) == ("incomplete", 1)
    assert [tag for tag, _ in report.tags_failed] == [name]
    assert report.tags_extracted == 11


async def test_a_source_that_is_down_for_a_while(plant_of, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schedule, "_FIRST_PAUSE", 500_000)
    plant = plant_of()
    it = await followed(plant, 3)
    plant.server.stop()
    await it.until(lambda: len(it.told(Paused)) >= 2)
    before = len(it.cycles)
    plant.server.start()
    await it.until(lambda: len(it.cycles) >= before + 3)
    report = await it.ended()
    assert (report.status, report.exit_code) == ("succeeded", 0)
    plant.assert_exact()
    pauses = [event.seconds for event in it.told(Paused)]
    assert pauses == [0.5 * 2**n for n in range(len(pauses))]
    assert it.cycles[before].skipped > 0
    assert_on_the_grid(it)


async def test_told_to_stop_while_the_source_is_down(plant_of):
    plant = plant_of()
    it = await followed(plant, 2)
    plant.server.stop()
    await it.until(lambda: bool(it.told(Paused)))
    report = await it.ended(within_secs=3)
    assert report.status == "incomplete"
    assert isinstance(report.error, UnavailableError)
    assert report.exit_code == 1


async def test_the_lease_is_held_all_the_time(plant_of):
    plant = plant_of()
    it = await followed(plant, 2)
    with pytest.raises(FencedError) as refused:
        await run(plant.config())
    assert refused.value.exit_code == 4
    cycles = len(it.cycles)
    await it.until(lambda: len(it.cycles) > cycles)
    assert (await it.ended()).status == "succeeded"
    assert (await run(plant.config())).status == "succeeded"
    plant.assert_exact()


def started(plant: LivePlant, folder: Path) -> Process:
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(plant.document(monitoring={"log_format": "json"})))  # which is YAML, too
    return command(folder, "run", "-c", str(file), "--follow", "--json")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_between_two_cycles_ends_it_at_once(plant_of, tmp_path: Path, number: signal.Signals):
    plant = plant_of(extraction={"interval": "1h", "classes": []})
    process = started(plant, tmp_path / "run")
    await until(lambda: "cycle 1 " in process.output())
    before = time.monotonic()
    process.send(number)
    ended = await process.end()
    assert time.monotonic() - before < patiently(5)
    assert ended.code == 0, ended
    assert ended.report is not None
    assert (ended.report["status"], ended.report["tags_extracted"]) == ("succeeded", 12)
    plant.assert_exact()


async def test_a_signal_while_the_source_does_not_answer(plant_of, tmp_path: Path):
    """What hangs is abandoned; what was read before is in the tables."""
    plant = plant_of(faults={"rules": [{"match": {"route": "batch", "after": 4}, "do": {"hang": True}}]})
    process = started(plant, tmp_path / "run")
    await until(lambda: "cycle 2 " in process.output())
    await asyncio.sleep(1.5)  # into the cycle that hangs
    assert "cycle 3 " not in process.output()
    before = time.monotonic()
    process.send(signal.SIGTERM)
    ended = await process.end()
    assert time.monotonic() - before < patiently(10)
    assert ended.code == 0, ended
    assert ended.report is not None
    assert ended.report["tags_undone"] > 0
    plant.assert_exact()


async def test_a_late_event_far_behind_is_read_at_the_hint_of_the_server(plant_of, monkeypatch: pytest.MonkeyPatch):
    """No lookback would find it: only the server's updates say where to look again."""
    hinted = SimpleNamespace(open=partial(stream_updates.UpdatesWatch.open, interval_secs=0.5))
    monkeypatch.setattr(follow, "UpdatesWatch", hinted)
    plant = plant_of()
    it = await followed(plant, 4, extraction={"stream_updates": "auto"})
    mark = marks_in(plant.table("pi_watermarks"))[web_id_of(0)]
    late = (mark.low + mark.high) // 2 // 1000 * 1000 + 777
    at = f"{datetime.fromtimestamp(late / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    edit = [{"tag": name_of(0), "action": "insert", "at": at, "value": 4711.5}]
    request = urllib.request.Request(
        plant.server.url.removesuffix("/piwebapi") + "/simulator/changes",
        json.dumps(edit).encode(),
        {"Content-Type": "application/json"},
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())
    await it.until(lambda: any(committed.corrections.inserted for committed in it.told(Committed)))
    report = await it.ended()
    assert (report.status, report.corrections.inserted, report.corrections.deleted) == ("succeeded", 1, 0)
    found = [row for row in rows_in(plant.table("pi_timeseries")) if row[2] == late]
    assert len(found) == 1
