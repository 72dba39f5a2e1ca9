"""Following a server that refuses to give many events at once: what one cycle learns of it holds in the next ones."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from engine.flow.stop import Stop
from engine.run import run
from engine.telemetry.events import Cycled, RequestFailed, RunEvent
from tests.exactness.expected import assert_same_rows
from tests.exactness.plant import BEGIN, HOUR, SECOND, Plant
from tests.exactness.reading import rows_in
from tests.patience import HANGS_AFTER_SECS


async def test_what_a_server_refuses_is_asked_for_in_the_first_cycle_only(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=4, interval_secs=30, types=(("Float32", 1.0),))
    started = time.monotonic()
    simulator = plant.simulator(
        0,
        {"switches": {"max_items": 50}},
        clock=lambda: (BEGIN + HOUR) / SECOND + 60 * (time.monotonic() - started),
    )
    stop, cycles, refused = Stop(), list[Cycled](), list[int]()

    def take(event: RunEvent) -> None:
        if isinstance(event, RequestFailed):
            refused.append(len(cycles))
        elif isinstance(event, Cycled):
            cycles.append(event)
            if len(cycles) == 3:
                stop.ask("enough")

    async with simulator.serve() as url:
        config = plant.config(url, extraction={"interval": "1s", "request_mode": "single"})
        report = await asyncio.wait_for(run(config, follow=True, stop=stop, emit=take), HANGS_AFTER_SECS)
    assert refused
    assert set(refused) == {0}
    assert all(cycle.rows for cycle in cycles)
    assert report.exit_code == 0
    assert "set extraction.max_count_per_tag: " in " ".join(report.warnings)
    ends = {index: plant.mark(index).high for index in range(4)}
    assert_same_rows(
        rows_in(plant.timeseries), [row for index, end in ends.items() for row in plant.rows([index], BEGIN, end)]
    )
