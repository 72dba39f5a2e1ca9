"""A server in between that spoils what is said of one tag, or whole answers; everything else passes as it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

__all__ = ["Poison", "Rewrite", "of_tags", "poisoned_site"]

# What an answer becomes: the path asked for, the body that was sent, the answer.
Rewrite = Callable[[str, bytes, bytes], bytes]
# What is said of a tag, from what was said.
Poison = Callable[[bytes], bytes]


def of_tags(poisons: Mapping[str, Poison]) -> Rewrite:
    """Spoil the recorded values of some tags, by WebID, however they are asked for."""

    def rewrite(path: str, asked: bytes, answer: bytes) -> bytes:
        if "/streams/" in path and "recorded" in path:
            return poisons.get(unquote(path).split("/")[-2], bytes)(answer)
        document = json.loads(answer) if path.endswith(("/batch", "/streamsets/recorded")) else {}
        put: list[bytes] = []

        def instead(said: Any, poison: Poison, web_id: str = "") -> str:
            poisoned = poison(json.dumps(said).encode())
            put.append(_named(poisoned, web_id) if web_id else poisoned)
            return f"a place for poison {len(put) - 1}."

        if path.endswith("/batch"):
            for key, sub in json.loads(asked).items():
                web_id = unquote(sub["Resource"].partition("/recorded")[0]).rpartition("/")[2]
                if web_id in poisons and "/recorded" in sub["Resource"]:
                    document[key]["Content"] = instead(document[key]["Content"], poisons[web_id])
        elif document:
            document["Items"] = [
                instead(item, poisons[item["WebId"]], item["WebId"]) if item["WebId"] in poisons else item
                for item in document["Items"]
            ]
        text = json.dumps(document).encode() if put else answer
        for n, poisoned in enumerate(put):
            text = text.replace(f'"a place for poison {n}."'.encode(), poisoned)
        return text

    return rewrite


def _named(poison: bytes, web_id: str) -> bytes:
    """Where it is an object, it says whose it is, as streams in a set do."""
    if not poison.startswith(b"{") or b'"WebId"' in poison:
        return poison
    return b'{"WebId":"%s"%s' % (web_id.encode(), b"}" if poison[1:].strip() == b"}" else b"," + poison[1:])


@asynccontextmanager
async def poisoned_site(url: str, rewrite: Rewrite) -> AsyncIterator[str]:
    """A PI Web API that says what the one at `url` says, but for `rewrite`; gives its URL."""
    inner = url.removesuffix("/piwebapi")

    async def pass_on(request: web.Request) -> web.Response:
        asked = await request.read()
        outer = f"http://{request.host}"
        headers: Mapping[str, str] = {
            name: value for name, value in request.headers.items() if name in {"Content-Type", "X-Requested-With"}
        }
        sent = asked.replace(outer.encode(), inner.encode()) or None
        async with session.request(
            request.method, inner + request.raw_path, data=sent, headers=headers, skip_auto_headers=["Content-Type"]
        ) as answer:
            body = (await answer.read()).replace(inner.encode(), outer.encode())
            kind = answer.headers.get("Content-Type", "application/json")
            return web.Response(
                status=answer.status,
                body=rewrite(request.rel_url.path, asked, body),
                headers={"Content-Type": kind, "Date": answer.headers["Date"]},
            )

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", pass_on)
    async with (
        aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as session,
        TestServer(app, host="127.0.0.1") as server,
    ):
        yield f"http://127.0.0.1:{server.port}/piwebapi"
