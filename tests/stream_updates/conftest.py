"""A simulated plant, a client of ours that asks it over loopback, and a watch on its tags."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from engine.datasets.stream_updates import ReportedChanges, UpdatesWatch
from engine.model import Tag
from engine.net.client import ClientSettings, PIClient
from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.times import MINUTE
from tests.servers import free_port

NOW = 1_709_640_000.0  # 2024-03-05T12:00:00Z


@dataclass(slots=True)
class Watched:
    """All of them, and a clock that goes as the test says."""

    simulator: Simulator
    url: str
    client: PIClient
    session: aiohttp.ClientSession
    at: float = 0.0
    watch: UpdatesWatch = field(init=False)

    def tag(self, index: int) -> Tag:
        return Tag(self.simulator.web_id(index), self.simulator.point(index).name)

    def tags(self, indices: Iterable[int]) -> list[Tag]:
        return [self.tag(index) for index in indices]

    def ids(self, *indices: int) -> set[str]:
        return {self.simulator.web_id(index) for index in indices}

    async def open(self, tags: Iterable[Tag]) -> UpdatesWatch:
        self.watch = await UpdatesWatch.open(self.client, tags, interval_secs=60.0, clock=lambda: self.at)
        return self.watch

    async def poll(self) -> ReportedChanges:
        """A poll when it is time for one."""
        self.at += 3600.0
        return await self.watch.poll()

    def pass_time(self, minutes: float = 1.0) -> None:
        self.simulator.set_clock(self.simulator.now() + round(minutes * MINUTE))

    async def control(self, path: str, body: Any) -> None:
        async with self.session.post(URL(self.url).with_path(f"/simulator/{path}"), json=body) as answer:
            assert answer.status < 300, await answer.text()


def client_of(url: str, rate: float = 10_000.0) -> PIClient:
    """A client that does not wait between its two attempts, and has patience with a busy machine: the simulator
    takes a second to tell the changes of a day, and many where others are at work. No test waits for a time-out.
    """
    return PIClient(
        ClientSettings(
            url, max_requests_per_second=rate, retry_attempts=2, retry_initial_wait_secs=0.0, timeout_secs=100.0
        )
    )


def plant_of(tags: int, *, rules: Iterable[Any] = (), **switches: Any) -> Simulator:
    faults = FaultPlan.from_dict({"rules": list(rules), "switches": switches})
    return Simulator(SimulatorOptions(tags=tags, now=NOW, shapes=(("steady", 1.0),), faults=faults))


Watching = Callable[..., AbstractAsyncContextManager[Watched]]


@pytest.fixture
def watching() -> Watching:
    """Serve a plant with these faults."""

    @asynccontextmanager
    async def serving(tags: int = 5, *, rate: float = 10_000.0, **faults: Any) -> AsyncIterator[Watched]:
        simulator = plant_of(tags, **faults)
        async with (
            simulator.serve() as url,
            aiohttp.ClientSession() as session,
            client_of(url, rate) as client,
        ):
            yield Watched(simulator, url, client, session)

    return serving


@pytest.fixture
def restarting() -> Callable[..., AbstractAsyncContextManager[Watched]]:
    """The same for a plant that is down at first, and goes up by `serve(port=...)`, as often as one likes."""

    @asynccontextmanager
    async def down(tags: int) -> AsyncIterator[tuple[Watched, int]]:
        port = free_port()
        url = f"http://127.0.0.1:{port}/piwebapi"
        async with aiohttp.ClientSession() as session, client_of(url) as client:
            yield Watched(plant_of(tags), url, client, session), port

    return down


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the watch says aloud."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear, logger = Ear(logging.WARNING), logging.getLogger("osipi.updates")
    logger.addHandler(ear)
    yield heard
    logger.removeHandler(ear)
