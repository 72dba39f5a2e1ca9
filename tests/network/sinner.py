"""A PI Web API that commits, on request, every sin a server or a proxy can commit."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

Sin = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Arrival:
    at: float
    method: str
    raw_path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Sinner:
    """Commits its sins in order; the last one again and again."""

    sins: list[Sin]
    tls: ssl.SSLContext | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._server = TestServer(app, host="127.0.0.1")
        await self._server.start_server(ssl=self.tls) if self.tls else await self._server.start_server()
        assert self._server.port is not None
        self.port = self._server.port
        return self

    async def __aexit__(self, *_: object) -> None:
        self.done.set()
        await self._server.close()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/piwebapi"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        at = asyncio.get_running_loop().time()
        body = await request.read()
        sin = self.sins[min(len(self.arrivals), len(self.sins) - 1)]
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrivals.append(Arrival(at, request.method, request.raw_path, headers, body))
        self.arrived.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await sin(request)
        finally:
            self.in_flight -= 1

    async def hang(self, _request: web.Request) -> web.StreamResponse:
        await self.done.wait()
        return web.Response()

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """A byte now and then, for ever: no read ever times out, only the whole can."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        while not self.done.is_set():
            try:
                await answer.write(b" ")
            except ConnectionError:
                break
            await asyncio.sleep(0.02)
        return answer


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> Sin:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def sin(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=named)

    return sin


def gzipped(body: bytes, *, keep: float = 1.0) -> Sin:
    packed = gzip.compress(body)
    return answer(packed[: int(len(packed) * keep)], Content_Encoding="gzip")


async def reset_before_answer(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def reset_in_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"Items":[' + b"1," * 1000)
    assert request.transport is not None
    request.transport.abort()
    return response


async def too_short_for_its_length(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{}")
    assert request.transport is not None
    request.transport.close()
    return response
