"""Work goes on for as long as the lease is ours: not longer, and not shorter for a beat that was missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.errors import FencedError
from engine.flow import leased
from engine.flow.leased import under
from writers.lease import FOLDER, FileLease
from writers.storage import Place


class Quick(FileLease):
    """Beats as fast as it can, and never waits to see whether another does."""

    renew_secs = 0.0


def lease_of(folder: Path, run_id: str) -> Quick:
    lease = Quick(Place(str(folder)), "p", "0-of-1", run_id, sleep=lambda _: None)
    lease.acquire()
    return lease


def out_of_reach(folder: Path) -> None:
    """A file comes where the folder of the leases was."""
    (folder / FOLDER).rename(folder / "away")
    (folder / FOLDER).touch()


async def test_whoever_has_lost_the_lease_does_not_go_on(tmp_path: Path) -> None:
    ours = lease_of(tmp_path, "ours")
    lease_of(tmp_path, "rival")
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async with asyncio.timeout(10):
        with pytest.raises(FencedError, match="run rival"):
            await under(ours, work())
    assert ended == ["work"]


async def test_a_storage_that_does_not_take_a_beat_ends_nothing(tmp_path: Path, monkeypatch) -> None:
    ours = lease_of(tmp_path, "ours")
    out_of_reach(tmp_path)
    missed = asyncio.Event()
    monkeypatch.setattr(leased.LOG, "warning", lambda *_: missed.set())
    async with asyncio.timeout(10):
        assert await under(ours, missed.wait())
