"""Following: the tree and event frames have intervals of their own."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import from_mapping
from engine.clock import ServerClock
from engine.datasets.event_frames import EVENT_FRAMES
from engine.datasets.tags import Inventory
from engine.run.follow import _sync_periodically
from engine.telemetry.events import DatasetSynced
from tests.exactness.plant import settings
from tests.exactness.reading import read_table
from tests.follow.live import Followed, LivePlant


async def test_a_dataset_is_done_in_its_interval_and_never_twice_at_a_time() -> None:
    """By the server's clock as it is then."""
    document = settings(Path("unused"), "http://127.0.0.1:9", event_frames={"enabled": True, "interval": "50ms"})
    begun: list[int] = []
    at_work = 0
    enough = asyncio.Event()

    async def beside(_one: Any, inventory: Inventory, _results: Any) -> None:
        nonlocal at_work
        at_work += 1
        begun.append(inventory.server_now)
        assert at_work == 1
        await asyncio.sleep(0.07 if len(begun) == 1 else 0)
        at_work -= 1
        if len(begun) == 4:
            enough.set()

    context = SimpleNamespace(
        config=from_mapping(document).config,
        clock=ServerClock(1_000_000),
        inventory=Inventory((), None, (), complete=False, server_now=0),  # type: ignore[arg-type]
    )
    patient = SimpleNamespace(sync=SimpleNamespace(beside=beside))
    task = asyncio.ensure_future(_sync_periodically(context, patient, EVENT_FRAMES, {}))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        await enough.wait()
    task.cancel()
    assert begun == sorted(begun)
    assert begun[0] >= 1_000_000
    assert begun[1] - begun[0] >= 70_000
    assert begun[3] - begun[0] >= 120_000


@pytest.mark.slow
async def test_a_new_frame_and_a_renamed_element_are_seen_while_values_are_read(tmp_path: Path) -> None:
    more = ("--elements", "30", "--frames-per-day", "100")
    plant = LivePlant(tmp_path, more=more)
    plant.server.start()

    def change(**edit: object) -> None:
        request = urllib.request.Request(
            plant.server.url.removesuffix("/piwebapi") + "/simulator/assets",
            json.dumps([edit]).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()

    try:
        config = plant.config(
            asset_framework={"enabled": True, "interval": "1s"}, event_frames={"enabled": True, "interval": "500ms"}
        )
        it = Followed(plant, config)

        def synced(name: str) -> list[DatasetSynced]:
            return [event for event in it.told(DatasetSynced) if event.dataset == name]

        await it.until(lambda: len(synced("event_frames")) >= 3 and len(synced("assets")) >= 2 and len(it.cycles) >= 2)
        await asyncio.to_thread(change, action="edit_element", element="Site 01", name="Renamed")
        await asyncio.to_thread(change, action="edit_frame", frame=0, description="edited", end="open")
        # A crawl that was at work when this changed may have passed the element: the next one sees it.
        done = len(synced("assets"))
        await it.until(lambda: len(synced("assets")) >= done + 2)
        await it.until(lambda: any(one.added or one.changed for one in synced("event_frames")[1:]))
        report = await it.ended()
    finally:
        plant.server.stop()
    assert report.status == "succeeded"
    names = {row["element_name"] for row in read_table(plant.table("pi_asset_hierarchy")).to_pylist()}
    assert "Renamed" in names
    plant.assert_exact()
