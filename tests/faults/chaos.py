"""A proxy before the simulator, or before an object store, that does to answers what networks and layers do.

It speaks HTTP/1.1 on raw sockets, so that it can send anything: a head cut in the middle, garbage, nothing. What it
does is an `Act`, done to the requests that `hits` names, as long as `left` allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http.client import responses

__all__ = ["Act", "Answer", "ChaosProxy", "Link", "Request"]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding:\s*chunked")
_DROPPED = re.compile(
    rb"(?i)\r\n(?:content-length|content-encoding|transfer-encoding|connection|accept-encoding):[^\r]*"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: the line and headers, and the body. `number`: which of those that are hit, from 1."""

    head: bytes
    body: bytes
    number: int = 0

    @property
    def text(self) -> str:
        """Method, path and body, by which requests are told apart."""
        return (self.head.partition(b" HTTP/")[0] + b" " + self.body).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the server behind: a plain body, without the headers that say how it came."""

    status: int
    headers: bytes
    body: bytes

    @classmethod
    def of(cls, status: int, body: bytes, content_type: str = "application/json; charset=utf-8") -> Answer:
        return cls(status, f"Content-Type: {content_type}\r\n".encode(), body)

    def wire(self, *, length: int | None = None, more: bytes = b"") -> bytes:
        """As bytes. `length`: what Content-Length says in place of the truth."""
        said = len(self.body) if length is None else length
        line = f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}\r\n".encode()
        return line + self.headers + more + f"Content-Length: {said}\r\n\r\n".encode() + self.body


@dataclass(slots=True)
class Link:
    """A connection of the client, and the way to the server behind."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    proxy: ChaosProxy

    async def behind(self, request: Request) -> Answer:
        return await self.proxy.ask(request)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection at once, as a host that is gone does."""
        connection = self.writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Act = Callable[[Request, Link], Awaitable[None]]


@dataclass
class ChaosProxy:
    """`behind` is the port of the real server. `left`: how many more requests are hit, None: all of them.

    `closes`: the connection is closed after each answer. `on_request` is called with each request that comes.
    """

    behind: int
    tls: ssl.SSLContext | None = None
    closes: bool = False
    act: Act | None = None
    hits: Callable[[Request], bool] = lambda _request: True
    left: int | None = None
    struck: int = 0
    seen: int = 0
    on_request: Callable[[Request], None] = lambda _request: None
    port: int = 0
    _server: asyncio.Server | None = None
    _links: set[asyncio.Task[None]] = field(default_factory=set)
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[ChaosProxy]:
        await self.listen()
        try:
            yield self
        finally:
            self._done.set()
            await self.refuse()

    async def listen(self) -> None:
        """Take connections, after `refuse` on the same port again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Take no connection any more, and end those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        mine = asyncio.current_task()
        others = [task for task in self._links if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def trouble(self, act: Act | None, hits: Callable[[Request], bool], left: int | None) -> None:
        """From now on this happens to those requests, so many times."""
        self.act, self.hits, self.left, self.struck = act, hits, left, 0

    async def hang(self) -> None:
        """Wait until the proxy closes."""
        await self._done.wait()

    async def ask(self, request: Request) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.behind)
        try:
            line, _, headers = request.head.partition(b"\r\n")
            kept = _DROPPED.sub(b"", b"\r\n" + headers.rstrip(b"\r\n"))
            length = b"\r\nContent-Length: %d" % len(request.body)
            writer.write(line + kept + b"\r\nConnection: close" + length + b"\r\n\r\n" + request.body)
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            rest = b"" if line.startswith(b"HEAD ") else await _body(head, reader)
        finally:
            writer.close()
        status_line, _, headers = head.partition(b"\r\n")
        # An answer to HEAD keeps its length, which is that of the object.
        if not line.startswith(b"HEAD "):
            headers = _DROPPED.sub(b"", b"\r\n" + headers).removeprefix(b"\r\n")
        return Answer(int(status_line.split()[1]), headers.rstrip(b"\r\n") + b"\r\n", rest)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        link = Link(reader, writer, self)
        try:
            while await self._one(link):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client, or the server behind, is gone
        except asyncio.CancelledError:
            link.reset()
        finally:
            self._links.discard(task)
            writer.close()

    async def _one(self, link: Link) -> bool:
        """Take one request. Gives whether the connection stays."""
        head = await link.reader.readuntil(b"\r\n\r\n")
        if b"100-continue" in head.lower():
            await link.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Request(head, await _body(head, link.reader, of_request=True))
        self.seen += 1
        self.on_request(request)
        if self.act is not None and self.left != 0 and self.hits(request):
            self.struck += 1
            self.left = None if self.left is None else self.left - 1
            await self.act(Request(head, request.body, self.struck), link)
            return False
        answer = await self.ask(request)
        more = b"Connection: close\r\n" if self.closes else b""
        if head.startswith(b"HEAD "):
            line = f"HTTP/1.1 {answer.status} {responses.get(answer.status, 'Unknown')}\r\n".encode()
            await link.send(line + answer.headers + more + b"\r\n")
        else:
            await link.send(answer.wire(more=more))
        return not self.closes


async def _body(head: bytes, reader: asyncio.StreamReader, *, of_request: bool = False) -> bytes:
    if _CHUNKED.search(head):
        body = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return bytes(body)
    if (length := _LENGTH.search(head)) is not None:
        return await reader.readexactly(int(length[1]))
    return b"" if of_request else await reader.read()


def gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
