"""What is done is mended while a run of the same pipeline is at work: no key is ever there twice, and in the end
the table is the source's equal, whoever corrected what, and whoever was killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from config import from_mapping
from config.errors import CommitConflictError
from engine.datasets import stream_updates
from engine.flow.run_with_lease import run_with_lease
from engine.flow.stop import Stop
from engine.model import Tag, Window
from engine.run import follow, run
from engine.run.connect import lakehouse_of
from engine.simulator import Simulator
from engine.simulator.times import iso
from tests.crash.process import Process, command, run_of, served, until
from tests.exactness.expected import assert_same_rows, rows_of, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, SECOND, Plant
from tests.exactness.reading import rows_in
from writers import PI_TIMESERIES, MaintenanceOptions, open_lakehouse

TOP = BEGIN + 4 * HOUR
# So much faster goes the plant's clock.
PACE = 60
TAGS = 8
LIVE = {"extraction": {"interval": "1s", "lag": "0s", "lookback": "5m", "discovery_interval": "1h"}}
SMALL = {"performance": {"commit_rows": 400, "values_per_answer": 100}}


@dataclass
class Site:
    """A plant whose clock runs and whose past changes, and the lake it is read into."""

    plant: Plant
    simulator: Simulator
    document: Callable[..., dict[str, Any]]
    dice: Random = field(default_factory=lambda: Random(7))
    edits: Counter[str] = field(default_factory=Counter)

    def file(self, **sections: Any) -> str:
        path = self.plant.root.parent / "plant.yaml"
        path.write_text(json.dumps(self.document(**{**LIVE, **SMALL, **sections})))  # which is YAML, too
        return str(path)

    def edit(self) -> None:
        """One change somewhere in the past, be it last night's or a minute old."""
        index, now = self.dice.randrange(TAGS), self.simulator.now()
        first = BEGIN * 10 if self.dice.random() < 0.7 else now - 6 * MINUTE * 10
        at = self.dice.randrange(first, now - SECOND * 10) // 10 * 10
        there = self.simulator.events(index, at, now)
        action = self.dice.choice(["insert", "replace", "delete"]) if there else "insert"
        edit: dict[str, Any] = {"tag": index, "action": action, "at": iso(there[0].ticks if there else at)}
        if action == "insert":
            edit["at"] = iso(at)
        if action != "delete":
            edit["value"] = self.dice.randint(0, 9)
        self.simulator.change(edit)
        self.edits[action] += 1

    async def keys(self) -> None:
        """Whoever looks sees every key once."""
        rows = await asyncio.to_thread(rows_in, self.plant.timeseries)
        twice = [key for key, times in Counter((row[0], row[2], row[3]) for row in rows).items() if times > 1]
        assert not twice

    async def disturbed(self, process: Process, *, tidy: bool = False) -> None:
        """Change history for as long as a process works; with `tidy` the files are put together meanwhile."""
        table = open_lakehouse(self.plant.root).table(PI_TIMESERIES).open()
        last = time.monotonic()
        while process.alive:
            self.edit()
            await asyncio.sleep(0.02)
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                await self.keys()
                if tidy:
                    await asyncio.to_thread(_compact, table)

    def assert_equal(self) -> None:
        """As far as each tag is done, the table holds what the archive shows."""
        marks = self.plant.marks()
        expected = []
        for index in range(TAGS):
            found = self.simulator.events(index, BEGIN * 10, marks[web_id_of(index)].high * 10)
            expected += rows_of(self.simulator.point(index), found)
        assert_same_rows(rows_in(self.plant.timeseries), expected)


def _compact(table: Any) -> None:
    try:
        table.optimize_table(MaintenanceOptions())
    except CommitConflictError:
        return


@asynccontextmanager
async def site_at(tmp_path: Path) -> AsyncIterator[Site]:
    """With a first night read, while nobody followed yet."""
    plant = Plant.of(tmp_path / "lake", tags=TAGS, interval_secs=60, sections=SMALL)
    await plant.run(TOP)
    began = time.monotonic()
    async with served(plant, lambda: TOP / SECOND + (time.monotonic() - began) * PACE) as document:
        yield Site(plant, plant.requests[-1], document)


@asynccontextmanager
async def following(site: Site, folder: Path) -> AsyncIterator[Process]:
    """A live run, until the end."""
    process = command(folder, "run", "-c", site.file(), "--follow", "--json")
    await until(lambda: "cycle 2 " in process.output() or not process.alive)
    yield process
    process.send(signal.SIGTERM)
    ended = await process.end()
    assert ended.code == 0, ended
    assert ended.report is not None
    assert ended.report["corrections"]["inserted"] > 0, "it has corrected nothing: there was no race"


def repair(site: Site, folder: Path, *more: str) -> Process:
    return command(folder, "verify", "-c", site.file(), "--repair", "--deep", "--json", *more)


async def cycles(live: Process, number: int) -> None:
    """Let a live run go round."""
    before = live.output().count("cycle ")
    await until(lambda: live.output().count("cycle ") >= before + number)


@pytest.mark.parametrize("tidy", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_a_past_that_changes_is_mended_while_a_run_follows(tmp_path: Path, tidy: bool) -> None:
    mended = Counter[str]()
    async with site_at(tmp_path) as site:
        async with following(site, tmp_path / "live") as live:
            for number in range(3):
                process = repair(site, tmp_path / f"repair-{number}")
                await site.disturbed(process, tidy=tidy)
                ended = await process.end()
                assert ended.code in {0, 1}, ended  # 1: what changed after it was read disagrees
                assert ended.report is not None
                mended.update(ended.report["repair"]["run"]["corrections"])
            await cycles(live, 2)
            last = await repair(site, tmp_path / "last").end()
            assert last.code == 0, last
            await cycles(live, 1)
        site.assert_equal()
        await site.keys()
    assert all(mended[name] for name in ("inserted", "changed", "deleted")), mended
    assert site.edits.total() > 50


@pytest.mark.parametrize(
    "step",
    ["after_staging", *(pytest.param(s, marks=pytest.mark.slow) for s in ("before_correction", "after_data_commit"))],
)
async def test_a_repair_that_is_killed_beside_a_run_that_follows(tmp_path: Path, step: str) -> None:
    async with site_at(tmp_path) as site:
        async with following(site, tmp_path / "live") as live:
            for _ in range(30):
                site.edit()
            killed = run_of(tmp_path / "killed", site.document(**LIVE, **SMALL), repair=True, at=(step, 1))
            await site.disturbed(killed)
            assert (await killed.end()).code == -signal.SIGKILL
            await site.keys()
            await cycles(live, 2)
            assert (await repair(site, tmp_path / "again").end()).code == 0
            await cycles(live, 1)
        site.assert_equal()


async def test_a_run_that_is_killed_beside_a_repair(tmp_path: Path) -> None:
    async with site_at(tmp_path) as site:
        for _ in range(40):
            site.edit()
        killed = run_of(tmp_path / "run", site.document(**LIVE, **SMALL), at=("after_data_commit", 1))
        mending = repair(site, tmp_path / "repair")
        assert (await killed.end()).code == -signal.SIGKILL
        assert (await mending.end()).code == 0
        assert (await run_of(tmp_path / "next", site.document(**LIVE, **SMALL)).end()).code == 0
        assert (await repair(site, tmp_path / "again").end()).code == 0
        site.assert_equal()


@pytest.mark.slow
async def test_runs_come_and_go_while_it_is_mended(tmp_path: Path) -> None:
    """As a schedule starts them. One that meets a repair in the newest part has to come again."""
    async with site_at(tmp_path) as site:
        mending = repair(site, tmp_path / "repair", "--set", "pi_web_api.max_requests_per_second=20")
        codes = []
        while mending.alive:
            process = run_of(tmp_path / f"run-{len(codes)}", site.document(**LIVE, **SMALL))
            await site.disturbed(process)
            codes.append((await process.end()).code)
        assert (await mending.end()).code in {0, 1}
        assert 0 in codes
        assert set(codes) <= {0, 4}
        assert (await run_of(tmp_path / "next", site.document(**LIVE, **SMALL)).end()).code == 0
        assert (await repair(site, tmp_path / "last").end()).code == 0
        site.assert_equal()


@pytest.mark.slow
async def test_a_run_that_follows_hints_and_a_repair_look_at_the_same_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint leads the run to where the repair is; what the run has read later must not be undone."""
    hinted = SimpleNamespace(open=partial(stream_updates.UpdatesWatch.open, interval_secs=0.3))
    monkeypatch.setattr(follow, "UpdatesWatch", hinted)
    async with site_at(tmp_path) as site:
        sections = {**LIVE, "extraction": {**LIVE["extraction"], "stream_updates": "auto", "interval": "1s"}}
        stop, seen = Stop(), []
        config = from_mapping(site.document(**sections, **SMALL)).config
        live = asyncio.ensure_future(run(config, follow=True, stop=stop, emit=seen.append))
        await until(lambda: len(seen) > 8)
        for number in range(2):
            process = repair(site, tmp_path / f"repair-{number}")
            await site.disturbed(process)
            assert (await process.end()).code in {0, 1}
        assert (await repair(site, tmp_path / "last").end()).code == 0
        await asyncio.sleep(2.5)  # hints, and a cycle, after the last change
        stop.ask("test")
        report = await live
        assert report.status == "succeeded"
        site.assert_equal()
        await site.keys()


@pytest.mark.slow
async def test_what_every_run_compares_is_left_to_the_run_at_work_or_else_mended(tmp_path: Path) -> None:
    async with site_at(tmp_path) as site:
        async with following(site, tmp_path / "live") as live:
            for _ in range(20):
                site.edit()
            await cycles(live, 1)
            beside = await repair(site, tmp_path / "beside").end()
            assert beside.code == 0, beside
            assert beside.report is not None
            [told] = beside.report["repair"]["run"]["warnings"]
            assert "is at work on pipeline default, shard 0-of-1" in told
            assert "is left to it" in told
        high = site.plant.mark(0).high
        site.simulator.change({"tag": 0, "action": "insert", "at": iso(high * 10 - 20 * SECOND), "value": 5})
        alone = await repair(site, tmp_path / "alone").end()
        assert alone.code == 0, alone
        assert alone.report is not None
        assert alone.report["repair"]["run"]["warnings"] == []
        assert alone.report["repair"]["run"]["corrections"]["inserted"] >= 1
        site.assert_equal()


async def test_a_repair_leaves_what_every_run_compares_to_the_run_that_holds_the_lease(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path / "lake", tags=2, interval_secs=60, sections={"extraction": {"lookback": "5m"}})
    await plant.run(TOP)
    late = TOP - HOUR + SECOND, TOP - MINUTE + SECOND
    edits = [{"tag": 0, "action": "insert", "at": iso(at * 10), "value": 5} for at in late]
    suspects = [(Tag(web_id_of(0), plant.name(0)), Window(BEGIN, TOP))]
    async with plant.simulator(TOP, {"edits": edits}).serve() as url:
        config = plant.config(url)
        lease = lakehouse_of(config).lease("default", "0-of-1", "live")
        lease.acquire()
        beside = await run_with_lease(lease, run(config, suspects=suspects))
        lease.release()
        alone = await run(config, suspects=suspects)
    assert (beside.status, beside.corrections.inserted) == ("succeeded", 1)
    assert any("is left to it" in warning for warning in beside.warnings)
    assert (alone.status, alone.corrections.inserted, alone.warnings) == ("succeeded", 1, ())


async def test_two_repairs_at_once_are_one_too_many(tmp_path: Path) -> None:
    async with site_at(tmp_path) as site:
        slow = ("--set", "pi_web_api.max_requests_per_second=5")
        first = repair(site, tmp_path / "first", *slow)
        await until(lambda: any(site.plant.watermarks.rglob("lease-default-repair.0-of-1.json")))
        second = await repair(site, tmp_path / "second").end()
        assert second.code == 4
        assert "is at work on pipeline default, shard repair.0-of-1" in second.output
        assert (await first.end()).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("at_work", [True, False])
async def test_a_pipeline_that_runs_in_shards_is_mended_as_a_whole(tmp_path: Path, at_work: bool) -> None:
    plant = Plant.of(tmp_path / "lake", tags=TAGS, interval_secs=60, sections=SMALL)
    async with served(plant, lambda: TOP / SECOND) as document:
        site = Site(plant, plant.requests[-1], document)
        for index in range(2):
            assert (await run_of(tmp_path / f"shard-{index}", document(), shard=(index, 2)).end()).code == 0
        for index in range(TAGS):
            site.simulator.change(
                {"tag": index, "action": "insert", "at": iso((BEGIN + HOUR + 1) * 10), "value": 5},
            )
        leases = [open_lakehouse(plant.root).lease("default", f"{index}-of-2", "live") for index in range(2)]
        keepers = []
        if at_work:
            for lease in leases:
                lease.acquire()
                keepers.append(asyncio.ensure_future(_kept(lease)))
        ended = await repair(site, tmp_path / "repair").end()
        for keeper in keepers:
            keeper.cancel()
        assert ended.code == 0, ended
        assert ended.report is not None
        done = ended.report["repair"]["run"]
        assert done["corrections"]["inserted"] == TAGS
        assert len(done["warnings"]) == at_work
        site.assert_equal()
        for index in range(2):
            if at_work:
                leases[index].release()
            assert (await run_of(tmp_path / f"again-{index}", document(), shard=(index, 2)).end()).code == 0
        site.assert_equal()


async def _kept(lease: Any) -> None:
    while True:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(lease.renew)
