"""A run takes its lease while it looks for its tags: not before the source lets it in, and what it says stays the same."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from config import Config
from config.errors import AuthenticationError, ConfigurationError, ExtractError, FencedError, UnavailableError
from engine.run import run
from tests.crash.process import until
from tests.exactness.plant import BEGIN, HOUR, Plant
from writers.storage.lease import FileLease
from writers.storage.location import TableLocation

END = BEGIN + HOUR
LISTING = "dataservers/*/points"
LEASE = {"lease-default-0-of-1.json", "0000000001.json"}  # beats, and the term


def fault(route: str, **do: Any) -> dict[str, Any]:
    return {"rules": [{"match": {"route": route}, "do": do}]}


def plant_of(tmp_path: Path, **extraction: Any) -> Plant:
    return Plant.of(tmp_path / "lake", tags=3, sections={"monitoring": {"metrics": False}, "extraction": extraction})


def files_of(plant: Plant) -> set[str]:
    return {path.name for path in plant.root.rglob("*") if path.is_file()}


def lease_file(plant: Plant) -> Path:
    return plant.watermarks / "_osipi" / "lease-default-0-of-1.json"


def record(plant: Plant) -> dict[str, Any]:
    return json.loads(lease_file(plant).read_text())


def is_held(plant: Plant) -> bool:
    return lease_file(plant).exists() and not record(plant)["released"]


async def test_the_lease_is_taken_while_tags_are_listed_and_given_back_when_the_run_is_cancelled(tmp_path: Path):
    plant = plant_of(tmp_path)
    async with plant.simulator(END, fault(LISTING, hang=True)).serve() as url:
        running = asyncio.create_task(run(plant.config(url)))
        await until(lambda: is_held(plant))
        beat = record(plant)["beat"]
        await until(lambda: record(plant)["beat"] > beat)  # the lease is kept while a long list comes
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not is_held(plant)
    assert files_of(plant) == LEASE, "no table is made before the tags are known"


@pytest.mark.parametrize(
    ("faults", "extraction", "error"),
    [
        (fault("*", status=401), {}, AuthenticationError),
        (fault("dataservers", status=503), {}, UnavailableError),
        ({}, {"data_server": "ELSEWHERE"}, ConfigurationError),
    ],
)
async def test_a_run_that_is_not_let_in_leaves_no_trace(tmp_path: Path, faults, extraction, error):
    plant = plant_of(tmp_path, **extraction)
    with pytest.raises(error):
        await failing(plant, faults)
    assert files_of(plant) == set()


async def test_a_run_that_finds_no_tag_gives_its_lease_back(tmp_path: Path):
    plant = plant_of(tmp_path, tag_name_filter="NO.SUCH.*")
    with pytest.raises(ConfigurationError, match="no tag at all"):
        await failing(plant, {})
    assert not is_held(plant)
    assert files_of(plant) <= LEASE


@pytest.mark.parametrize(
    ("faults", "error"), [({}, FencedError), (fault(LISTING, status=503, delay_secs=0.2), UnavailableError)]
)
async def test_beside_another_run_what_is_wrong_with_the_source_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults, error
):
    plant = plant_of(tmp_path)
    rival = FileLease(lambda: TableLocation(str(plant.watermarks)), "default", "0-of-1", "rival")
    rival.acquire()
    monkeypatch.setattr(FileLease, "_watch", lambda lease, _, found: (_ for _ in ()).throw(lease._fenced(found[0])))
    with pytest.raises(error):
        await failing(plant, faults)
    assert is_held(plant), "it is the rival's"
    assert record(plant)["run_id"] == "rival"


async def failing(plant: Plant, faults: dict[str, Any]) -> None:
    """Run, and raise what the run raises itself: no group of errors."""
    async with plant.simulator(END, faults).serve() as url:
        settled: Config = plant.config(url)
        try:
            await run(settled)
        except ExtractError:
            assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"discovery", "lease", "work"})
            raise
