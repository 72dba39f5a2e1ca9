"""The HTTP server of the simulated PI System, and the methods by which tests control it.

The only module with I/O. Answers are written chunk by chunk as the client reads them, so a large answer is never in
memory twice. Every wait ends when the client disconnects or the server closes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web
from isal.isal_zlib import compressobj

from .archive.edits import Edit
from .archive.history import NEVER, Change
from .archive.points import Point
from .archive.values import Event, Value
from .dispatch import ROOT, Dispatch
from .limits import RateLimit, refuse_missing_csrf_header, refuse_unauthorized, refuse_url, too_many
from .options import SimulatorOptions
from .replies import JSON, Reply, WireFault, html, json_reply
from .routes import batch, control
from .site import RequestLog, Site
from .times import SECOND

_WRITE_BYTES = 256 * 1024
_GZIP_LEAST_BYTES = 1024
_MOST_CONTROL_BYTES = 64 * 1024 * 1024
_TURNS_TO_ACCEPT = 5


class Simulator:
    """A PI Web API on loopback, with a history that may be edited while it runs."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self._site = Site(self.options)
        self._dispatch = Dispatch(self._site)
        self._limit = RateLimit(self._site.switches)
        self._closing = asyncio.Event()
        self._values = self._body_bytes = self._sent_bytes = self._in_flight = self._most_in_flight = 0

    def __repr__(self) -> str:
        return f"Simulator(tags={self.options.tags}, {self.requests!r})"

    # --- state ---------------------------------------------------------------

    @property
    def requests(self) -> RequestLog:
        """Counts of the requests so far, by route."""
        return self._site.requests

    @property
    def stats(self) -> dict[str, Any]:
        """Counters since the start."""
        return {
            "requests": sum(self.requests.routes.values()),
            "sub_requests": sum(self.requests.sub_routes.values()),
            "statuses": dict(self.requests.statuses),
            "values": self._values,
            "body_bytes": self._body_bytes,
            "sent_bytes": self._sent_bytes,
            "most_in_flight": self._most_in_flight,
            "changes_failed": list(self._site.failed),
            "subscriptions": len(self._site.subscriptions),
            "rules_applied": list(self._dispatch.fault_injector.applied),
        }

    def now(self) -> int:
        """The server's clock, in ticks."""
        return self._site.now()

    def events(self, tag: str | int, start_ticks: int, end_ticks: int) -> list[Event]:
        """What the archive shows now for a tag in `[start_ticks, end_ticks)`."""
        history = self._site.history
        return history.recorded(history.index(tag), start_ticks, end_ticks - 1, self.now())

    def web_id(self, tag: str | int, kind: str = "I") -> str:
        """WebID of a tag, IDOnly by default."""
        return self._site.web_id(kind, self._site.point(self._site.history.index(tag)))

    def truth(self, tag: str | int, start_ticks: int, end_ticks: int) -> list[Event]:
        """All visible events of a tag in `[start_ticks, end_ticks)`, also a snapshot that `events` leaves out."""
        history = self._site.history
        return history.window(history.index(tag), start_ticks, end_ticks - 1, self.now())

    def point(self, tag: str | int) -> Point:
        """A tag as it stands now, by its present name or its index."""
        self.now()
        return self._site.point(self._site.history.index(tag))

    # --- changes ---------------------------------------------------------------

    def change(self, *edits: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Change history or points. Edits are written as in a fault plan. Returns what was done for each.

        Raises:
            ValueError: an edit that is none, or that the state of its point does not allow.
            KeyError: there is no such point.
        """
        self.now()
        return [control.applied(self._site, msgspec.convert(edit, Edit)) for edit in edits]

    def set_clock(self, ticks: int) -> None:
        """Put a clock that stands still at a later instant."""
        self._site.set_clock(ticks)

    def forget_updates(self) -> None:
        """Restart the instances: every marker of stream updates is lost."""
        self._site.subscriptions.forget()

    # --- edits of history ----------------------------------------------------

    def insert(self, tag: str | int, event: Event, *, visible_at: int = NEVER) -> None:
        """Add an event, after those already at its timestamp. Late, if it shows only from `visible_at`."""
        self._site.history.change(tag, Change("insert", event.ticks, event.ticks + 1, visible_at, event))

    def replace(self, tag: str | int, ticks: int, value: Value, *, good: bool = True, visible_at: int = NEVER) -> None:
        """Put one event, marked as substituted, in place of all at an instant."""
        event = Event(ticks, value, good=good, substituted=True)
        self._site.history.change(tag, Change("replace", ticks, ticks + 1, visible_at, event))

    def delete(self, tag: str | int, start_ticks: int, end_ticks: int | None = None) -> None:
        """Remove the events in `[start_ticks, end_ticks)`, or those at one instant."""
        end = start_ticks + 1 if end_ticks is None else end_ticks
        self._site.history.change(tag, Change("delete", start_ticks, end))

    def hide(self, tag: str | int, start_ticks: int, end_ticks: int, *, until: int) -> None:
        """Let the events of a range arrive late: they show from the instant `until` on."""
        self._site.history.change(tag, Change("hide", start_ticks, end_ticks, until))

    # --- HTTP ----------------------------------------------------------------

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Serve while the context is open; gives the base URL. Port 0 takes a free one."""
        self._closing = asyncio.Event()
        # Our own limit on URLs is the tighter one, and answers in the shape of the real server.
        server = web.Server(
            self._handle, access_log=None, max_line_size=1 << 20, max_field_size=1 << 16, handler_cancellation=True
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, backlog=512)
            await site.start()
            bound = runner.addresses[0]
            yield f"http://{host}:{bound[1]}{ROOT}"
        finally:
            self._closing.set()
            # Connections that wait to be accepted are: asyncio forgets to close one whose server closes meanwhile.
            for _ in range(_TURNS_TO_ACCEPT):
                await asyncio.sleep(0)
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            now = self.now()
            reply = await self._answer(request, now)
            self.requests.statuses[reply.status] += 1
            self._values += reply.values
            return await self._send(request, reply, now)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.BaseRequest, now: int) -> Reply:
        target, switches = request.raw_path, self._site.switches
        if target.startswith(control.PREFIX):
            unknown = refuse_unauthorized(request.headers, self.options)
            if unknown is not None:
                return unknown
            body = await _read(request, _MOST_CONTROL_BYTES) or b""
            return control.answer(self._site, request.method, target.removeprefix(control.PREFIX), body)
        path = target.partition("?")[0]
        self.requests.arrived(time.monotonic(), path)
        early = (
            refuse_url(target, switches)
            or refuse_unauthorized(request.headers, self.options)
            or (None if self._limit.take(1, time.monotonic()) else too_many(switches))
            or refuse_missing_csrf_header(request.method, request.headers, switches)
        )
        if early is not None:
            return early
        if path[: len(ROOT)].lower() != ROOT:
            return html(404, "Not Found", "The requested resource is not found.")
        base = f"{request.scheme}://{request.host}{ROOT}"
        if path[len(ROOT) :].strip("/").lower() == "batch":
            return await self._batch(request, base, now)
        return self._dispatch.answer(request.method, target, base, "outer", now)

    async def _batch(self, request: web.BaseRequest, base: str, now: int) -> Reply:
        body = await _read(request, self._site.switches.max_body_bytes)
        if body is None:
            return json_reply({"Message": "The request content is too large."}, 413)
        return batch.run(self._dispatch, request.method, body, base=base, now=now, grant=self._grant)

    def _grant(self, parts: int) -> int:
        return self._limit.take(parts, time.monotonic()) if self._site.switches.batch_items_counted else parts

    async def _send(self, request: web.BaseRequest, reply: Reply, now: int) -> web.StreamResponse:
        wire_fault = reply.wire_fault or WireFault()
        if wire_fault.delay_secs or wire_fault.hang:
            await self._wait(None if wire_fault.hang else wire_fault.delay_secs)
        if wire_fault.drop or wire_fault.hang:
            return _reset(request)
        headers = {
            "Date": format_datetime(datetime.fromtimestamp(now // SECOND, UTC), usegmt=True),
            "Server": "Microsoft-HTTPAPI/2.0",
            **reply.headers,
        }
        if reply.status != 204:
            headers["Content-Type"] = reply.content_type or "application/json; charset=utf-8"
        chunks: list[bytes] = reply.chunks
        size = sum(map(len, chunks))
        self._body_bytes += size
        asked = "gzip" in request.headers.get("Accept-Encoding", "")
        # An answer to be cut stays plain, so that the place is where the plan says.
        if asked and size >= _GZIP_LEAST_BYTES and self._site.switches.gzip and wire_fault.cut_at is None:
            chunks = list(_gzipped(chunks))
            size = sum(map(len, chunks))
            headers["Content-Encoding"] = "gzip"
        self._sent_bytes += size
        # The real application streams its answers, so they have no Content-Length; those of the layers below have one.
        chunked = reply.content_type == JSON and size > 0 and request.version >= HttpVersion11
        if wire_fault.cut_at is None and size <= _WRITE_BYTES:
            whole = web.Response(status=reply.status, body=b"".join(chunks), headers=headers)
            if chunked:
                whole.enable_chunked_encoding()
            return whole
        response = web.StreamResponse(status=reply.status, headers=headers)
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = size
        await response.prepare(request)
        left = size if wire_fault.cut_at is None else min(size - 1, wire_fault.cut_at)
        for block in _blocks(chunks):
            await response.write(block[:left])
            left -= len(block)
            if left <= 0:
                break
        if wire_fault.cut_at is not None:
            return _reset(request, response)
        return response

    async def _wait(self, secs: float | None) -> None:
        """Wait for a time, or without end where it is None; at most until the server closes."""
        try:
            async with asyncio.timeout(secs):
                await self._closing.wait()
        except TimeoutError:
            return


async def _read(request: web.BaseRequest, most: int) -> bytes | None:
    """The body, or nothing if it is larger than allowed."""
    if (request.content_length or 0) > most:
        return None
    body = bytearray()
    async for block in request.content.iter_any():
        body += block
        if len(body) > most:
            return None
    return bytes(body)


def _reset(request: web.BaseRequest, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Abort the connection. What was written may or may not arrive."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None and response is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.close() if response else request.transport.abort()
    return response or web.Response()


def _blocks(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """The same bytes in larger pieces, to save system calls."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size >= _WRITE_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _gzipped(chunks: Iterable[bytes]) -> Iterable[bytes]:
    # Level 1 of isal costs about half of what writing the plain bytes costs.
    packer = compressobj(1, zlib.DEFLATED, 31)
    for block in _blocks(chunks):
        yield packer.compress(block)
    yield packer.flush()
