"""Following a source with damaged records: a hole is no failing tag, holds up nobody, and is asked for on its schedule."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.flow.stop import Stop
from engine.run import run, tag_reader
from engine.telemetry.events import Cleared, Cycled, HoleNoted, RunEvent, TagFailed
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, SECOND, Plant, text_of
from tests.exactness.reading import rows_in
from tests.patience import HANGS_AFTER_SECS
from writers.landing import landing_run

SICK = 1
AT = BEGIN + 20 * MINUTE + 7
LATER = 1_800_000_000 * SECOND


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """This machine's clock: holes are due by it."""
    clock = [LATER]
    monkeypatch.setattr(tag_reader, "wall_micros", lambda: clock[0])
    monkeypatch.setattr(landing_run, "time", SimpleNamespace(time_ns=lambda: clock[0] * 1000))
    return clock


def plant_of(root: Path) -> Plant:
    return Plant.of(root, tags=4, interval_secs=60, types=(("Float32", 1.0),))


async def test_a_hole_is_asked_for_after_1_2_4_minutes_and_between_others_go_on(
    tmp_path: Path, wall: list[int]
) -> None:
    plant = plant_of(tmp_path)
    damaged = {"damaged": [{"tag": plant.name(SICK), "start": text_of(AT), "end": text_of(AT + 1)}]}
    asked = []
    for minute in (0, 1, 2, 3, 5, 7, 14, 15):
        wall[0] = LATER + minute * MINUTE
        before = len(plant.events)
        report = await plant.run(BEGIN + HOUR + minute * MINUTE, faults=damaged)
        assert (report.exit_code, report.tags_failed, len(report.holes)) == (1, (), 1)
        if any(isinstance(event, HoleNoted) for event in plant.events[before:]):
            asked.append(minute)
        assert {mark.high for mark in plant.marks().values()} == {BEGIN + HOUR + minute * MINUTE}
    assert asked == [0, 1, 3, 7, 15]
    wall[0] += 15 * MINUTE
    assert (await plant.run(BEGIN + 2 * HOUR)).exit_code == 1  # not due yet
    wall[0] += MINUTE
    assert (await plant.run(BEGIN + 2 * HOUR)).exit_code == 0
    plant.assert_exact(BEGIN, BEGIN + 2 * HOUR)


async def test_in_a_cycle_a_hole_is_no_failing_tag_and_is_closed_when_it_heals(tmp_path: Path, wall: list[int]) -> None:
    plant = plant_of(tmp_path)
    started = time.monotonic()
    simulator = plant.simulator(0, clock=lambda: BEGIN / SECOND + 3600 + time.monotonic() - started)
    simulator.change({"tag": SICK, "action": "damage", "at": text_of(AT), "until": text_of(AT + MINUTE)})
    stop, told = Stop(), list[RunEvent]()

    def take(event: RunEvent) -> None:
        told.append(event)
        cycles = sum(isinstance(each, Cycled) for each in told)
        if isinstance(event, Cycled):
            wall[0] += 30 * MINUTE  # by then it is due
            if cycles == 3:
                simulator.change({"tag": SICK, "action": "heal", "at": text_of(AT), "until": text_of(AT + MINUTE)})
            if cycles == 5:
                stop.ask("enough")

    async with simulator.serve() as url:
        config = plant.config(url, extraction={"interval": "1s"})
        report = await asyncio.wait_for(run(config, follow=True, stop=stop, emit=take), HANGS_AFTER_SECS)
    cycles = [event for event in told if isinstance(event, Cycled)]
    assert len(cycles) >= 5
    assert [cycle.failing for cycle in cycles] == [0] * len(cycles)
    assert not [event for event in told if isinstance(event, TagFailed | Cleared)]
    notes = [event.change for event in told if isinstance(event, HoleNoted)]
    assert [note.error is None for note in notes] == [False, False, False, True]
    assert {(note.tag_webid, note.start, note.end) for note in notes} == {(web_id_of(SICK), AT, AT + MINUTE)}
    assert (report.tags_failed, report.holes, report.error) == ((), (), None)
    assert plant.holes() == {}
    ends = {index: plant.mark(index).high for index in range(4)}
    assert min(ends.values()) > BEGIN + HOUR
    assert_same_rows(
        rows_in(plant.timeseries), [row for index, end in ends.items() for row in plant.rows([index], BEGIN, end)]
    )
