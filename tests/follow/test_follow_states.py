"""Following: what an engineer does to digital states is seen with the next look for tags."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest

from engine.telemetry.events import DatasetSynced
from tests.exactness.reading import read_table
from tests.follow.live import Followed, LivePlant

pytestmark = pytest.mark.slow


def change(plant: LivePlant, **edit: object) -> None:
    request = urllib.request.Request(
        plant.server.url.removesuffix("/piwebapi") + "/simulator/changes",
        json.dumps([edit]).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()


def synced(it: Followed) -> list[DatasetSynced]:
    return [event for event in it.told(DatasetSynced) if event.dataset == "digital_states"]


async def test_states_are_kept_up_to_date_while_values_are_read(tmp_path: Path):
    plant = LivePlant(tmp_path, tags=25, extraction={"discovery_interval": "1s"})
    plant.server.start()
    try:
        it = Followed(plant, plant.config())
        await it.until(lambda: len(synced(it)) >= 3 and len(it.cycles) >= 2)
        first, *others = synced(it)
        assert first.added > 20
        assert set(others) == {DatasetSynced("digital_states", "pi_digital_states")}
        table = plant.table("pi_digital_states")
        [pump] = {row["digital_set"] for row in read_table(table).to_pylist()} - {"SYSTEM", "Valve"}
        await asyncio.to_thread(change, plant, action="rename_state", digital_set=pump, code=0, name="Aus")
        await it.until(lambda: DatasetSynced("digital_states", "pi_digital_states", changed=1) in synced(it))
        await asyncio.to_thread(change, plant, action="forbid_set", digital_set=pump)
        await it.until(lambda: bool(synced(it)[-1].unread))
        report = await it.ended()
    finally:
        plant.server.stop()
    assert (report.status, report.digital_states.changed) == ("succeeded", 1)
    assert [name for name, _ in report.digital_states.unread] == [f"{pump} of SIMDA"]
    names = {(row["digital_set"], row["state_code"]): row["name"] for row in read_table(table).to_pylist()}
    assert names[pump, 0] == "Aus"
