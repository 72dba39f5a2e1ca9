"""A client for the simulated server, and a small plant in which every type and rhythm occurs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from yarl import URL

from engine.simulator import Simulator, SimulatorOptions

NOW = 1_709_640_000.0  # 2024-03-05T12:00:00Z
TYPES = ("Float32", "Float64", "Float16", "Int32", "Int16", "Digital", "String", "Timestamp", "Blob")
SHAPES = ("steady", "jittered", "doubled", "crowded")


def plant(**changes: Any) -> SimulatorOptions:
    even = {
        "types": tuple((name, 1.0) for name in TYPES),
        "shapes": tuple((name, 1.0) for name in SHAPES),
    }
    return SimulatorOptions(**({"tags": 60, "now": NOW, **even} | changes))


class Client:
    """Asks the simulated server over a real socket."""

    def __init__(self, simulator: Simulator, url: str, session: aiohttp.ClientSession) -> None:
        self.simulator, self.url, self.session = simulator, url, session

    async def get(self, path: str, /, *, expect: int = 200, **parameters: Any) -> Any:
        query = urlencode(parameters, doseq=True)
        target = URL(f"{self.url}/{path}" + (f"?{query}" if query else ""), encoded=True)
        async with self.session.get(target) as answer:
            body = await answer.read()
            assert answer.status == expect, body[:500]
            return json.loads(body) if body else None

    async def post(self, path: str, /, *, expect: int = 200, **parameters: Any) -> Any:
        """Post to the API, without a body."""
        query = urlencode(parameters, doseq=True)
        async with self.session.post(URL(f"{self.url}/{path}?{query}", encoded=True)) as answer:
            body = await answer.read()
            assert answer.status == expect, body[:500]
            return json.loads(body)

    async def control(self, path: str, body: Any = None, /, *, expect: int = 200, **parameters: Any) -> Any:
        """Ask a control route, or post a body to it."""
        target = URL(self.url).with_path(f"/simulator/{path}").with_query(parameters)
        method = "GET" if body is None else "POST"
        async with self.session.request(method, target, json=body) as answer:
            text = await answer.read()
            assert answer.status == expect, text[:500]
            return json.loads(text) if text else None

    async def batch(self, parts: dict[str, Any], *, expect: int = 207) -> Any:
        async with self.session.post(f"{self.url}/batch", json=parts) as answer:
            body = await answer.read()
            assert answer.status == expect, body[:500]
            return json.loads(body)


Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def serving(options: SimulatorOptions | None = None, **changes: Any) -> AsyncIterator[Client]:
        simulator = Simulator(options or plant(**changes))
        async with (
            simulator.serve() as url,
            aiohttp.ClientSession(headers={"X-Requested-With": "test"}) as session,
        ):
            yield Client(simulator, url, session)

    return serving


@pytest.fixture
def make_plant() -> Callable[..., SimulatorOptions]:
    return plant
