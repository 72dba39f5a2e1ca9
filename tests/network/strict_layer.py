"""A PI Web API behind a layer that takes requests up to a length only, and says so in one of many ways.

Sources of the ways: IIS request filtering answers 404.15 for a long query and 404.13 for a long body, as a page
(improve.dk; blog.jonschneider.com); ASP.NET a page with 400; web application firewalls 403 (blog.genicot.eu);
proxies 413, 414, 431, JSON of their own, or a closed connection.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from engine.model import Tag

__all__ = ["BODIES", "Layer", "serving"]

BODIES = ("<html><title>Refused</title></html>", '{"message": "refused"}', "")
CLOSED = 0
_BASE = "/piwebapi"


@dataclass
class Layer:
    """`limit`: longest path with query, below the base, or longest body where `of_body`. `status` 0: the connection
    is closed. `refuses`: what else is refused, as words in a request.
    """

    tags: list[Tag]
    limit: int = 1 << 20
    of_body: bool = False
    status: int = 404
    body: str = BODIES[0]
    refuses: str = ""
    refusals: int = 0
    requests: int = 0
    longest: int = 0
    sent: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests += 1
        path = request.raw_path.removeprefix(_BASE)
        self.sent.append(path if not body else body.decode())
        length = len(body) if self.of_body else len(path)
        if length > self.limit or (self.refuses and self.refuses in self.sent[-1]):
            self.refusals += 1
            if self.status == CLOSED:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return web.Response(status=self.status, text=self.body, headers={"Server": "layer/1"})
        self.longest = max(self.longest, length)
        if request.method == "POST":
            asked = json.loads(body)
            subs = {key: self._sub(sub["Resource"]) for key, sub in asked.items()}
            return web.json_response(subs, status=207)
        status, content = self._get(path)
        return web.json_response(content, status=status)

    def _sub(self, resource: str) -> Mapping[str, Any]:
        url = urlsplit(resource)
        status, content = self._get(f"{url.path.removeprefix(_BASE)}?{url.query}")
        return {"Status": status, "Headers": {}, "Content": content}

    def _get(self, path: str) -> tuple[int, Any]:
        url = urlsplit(path)
        query = parse_qsl(url.query)
        ids = [value for name, value in query if name in {"webId", "path"}]
        values = dict(query)
        match url.path.strip("/").split("/"):
            case ["dataservers"]:
                now = "2024-03-05T00:00:00Z"
                return 200, {"Items": [{"WebId": "F1DS", "Name": "DA", "ServerTime": now}]}
            case ["points", "multiple"]:
                return 200, {"Items": [{"Identifier": i, "Object": _point(i)} for i in ids]}
            case ["streams", _, "recorded"]:
                return 200, self._stream(values)
            case ["streamsets", "recorded"]:
                return 200, {"Items": [{"WebId": i, **self._stream(values)} for i in ids]}
            case [""]:
                return 200, {"Links": {}}
        return 404, {"Message": f"No HTTP resource was found that matches the request URI '{url.path}'."}

    @staticmethod
    def _stream(query: Mapping[str, str]) -> Mapping[str, Any]:
        # Of what comes after an event it is asked by the microsecond: there is nothing.
        event = {"Timestamp": query["startTime"], "Value": 1.0, "Good": True}
        return {"Items": [event] if "." not in query["startTime"] else [], "UnitsAbbreviation": ""}


def _point(identifier: str) -> Mapping[str, Any]:
    name = identifier.rpartition("\\")[2]
    return {"WebId": name, "Name": name}


@asynccontextmanager
async def serving(layer: Layer) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{tail:.*}", layer.handle)
    runner = web.AppRunner(app, max_line_size=1 << 20, max_field_size=1 << 20, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    try:
        yield f"http://127.0.0.1:{address[1]}{_BASE}"
    finally:
        await runner.cleanup()
