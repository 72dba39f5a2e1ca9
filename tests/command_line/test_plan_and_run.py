"""What `plan` says a run would ask, and read, is what the run does then, to a tenth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.commands.plan.main import forecast_run
from engine.plan.shards import Shard
from engine.run import run
from engine.telemetry.events import Answered, RunEvent
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.variants import crossed

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # what the plant is like; what was read before, up to three hours; what is planned, up to six
    "never read": ({"interval_secs": 60}, {}, {}),
    "dense": ({"interval_secs": 5}, {}, {"max_count_per_tag": 400}),
    "mixed": ({"profile": "mixed"}, {}, {}),
    "mixed, compared": ({"profile": "mixed"}, {}, {"lookback": "2h"}),
    "mixed, backwards": (
        {"profile": "mixed"},
        {"start_date": "2024-03-05T02:30:00Z"},
        {"mode": "full", "max_count_per_tag": 200},
    ),
}


@pytest.mark.parametrize(("mode", "shape"), crossed(["batch", "streamset"], SHAPES.keys()))
async def test_a_plan_comes_true(tmp_path: Path, shape: str, mode: str) -> None:
    options, before, planned = SHAPES[shape]
    plant = Plant.of(tmp_path, tags=40, **options)
    limits = {"request_mode": mode, "assumed_interval": f"{options.get('interval_secs', 60)}s"}
    if shape != "never read":
        await plant.run(BEGIN + 3 * HOUR, extraction={**limits, **before})
    events: list[RunEvent] = []
    async with plant.simulator(BEGIN + 6 * HOUR).serve() as url:
        config = plant.config(url, extraction={**limits, **planned})
        plan = await forecast_run(config, Shard())
        report = await run(config, emit=events.append)
    asked = sum(1 for event in events if isinstance(event, Answered))
    assert report.status == "succeeded"
    assert plan.reading_requests == pytest.approx(asked, rel=0.1)
    assert plan.values == pytest.approx(report.records_written, rel=0.1)


async def test_a_tag_that_only_ever_failed_was_not_measured(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=3)
    faults = {"tags": [{"tag": plant.name(1), "forbidden": 403}]}
    assert (await plant.run(BEGIN + HOUR, faults=faults)).status == "incomplete"
    async with plant.simulator(BEGIN + 2 * HOUR).serve() as url:
        plan = await forecast_run(plant.config(url), Shard())
    assert (plan.tags_measured, plan.tags_assumed) == (2, 1)
