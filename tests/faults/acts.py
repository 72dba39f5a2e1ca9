"""What can be done to an answer, as functions on requests and the connection of the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.faults.chaos import Act, Answer, Link, Request, gzipped

__all__ = [
    "LOGIN_PAGE", "Act", "Answer", "answered", "called", "changed", "clock_moved", "closed", "cut_short", "encoded", "gzipped", "half_missing", "item_errors", "parts_refused",
    "raw", "refused", "refused_with", "reset_at", "reset_in_head", "silent", "slow", "stalled", "web_exception",
]  # fmt: skip

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please log in.</body></html>"
_FAILED = {"Errors": ["An internal error occurred."]}
_PIECE_SECS, _PIECES = 0.01, 4


def refused(secs: float | None) -> Act:
    """No connection is taken any more; after so many seconds, they are again."""

    async def act(_request: Request, link: Link) -> None:
        if secs is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(secs, lambda: loop.create_task(link.proxy.listen()))
        await link.proxy.refuse()
        link.reset()

    return act


def reset_at(share: float) -> Act:
    """The connection is reset after this share of the body: 0 right after the head, 1 before its last byte."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        whole = answer.wire()
        await link.send(whole[: len(whole) - len(answer.body) + int(share * max(0, len(answer.body) - 1))])
        link.reset()

    return act


def reset_in_head(after: int) -> Act:
    """The connection is reset after so many bytes of the head."""

    async def act(request: Request, link: Link) -> None:
        if after:
            await link.send((await link.behind(request)).wire()[:after])
        link.reset()

    return act


async def closed(_request: Request, link: Link) -> None:
    """The connection is closed in place of an answer."""
    link.writer.close()


async def silent(_request: Request, link: Link) -> None:
    """No answer ever comes."""
    await link.proxy.hang()


async def stalled(request: Request, link: Link) -> None:
    """Half of the answer comes, and nothing after it."""
    whole = (await link.behind(request)).wire()
    await link.send(whole[: len(whole) // 2])
    await link.proxy.hang()


async def slow(request: Request, link: Link) -> None:
    """The answer comes in pieces, with pauses between them, and is whole in time."""
    whole = (await link.behind(request)).wire(more=b"Connection: close\r\n")
    size = -(-len(whole) // _PIECES)
    for first in range(0, len(whole), size):
        await link.send(whole[first : first + size])
        await asyncio.sleep(_PIECE_SECS)


async def cut_short(request: Request, link: Link) -> None:
    """The body ends in the middle, and its length says so: nothing but the JSON is broken."""
    answer = await link.behind(request)
    await link.send(replace(answer, body=answer.body[: len(answer.body) // 2]).wire(more=b"Connection: close\r\n"))


def encoded(pack: Callable[[bytes], bytes], coding: str = "gzip") -> Act:
    """The body is packed, or what is in its place is called so."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        more = f"Content-Encoding: {coding}\r\nConnection: close\r\n".encode()
        await link.send(replace(answer, body=pack(answer.body)).wire(more=more))

    return act


def called(content_type: str) -> Act:
    """The answer as it is, under another content type."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        wire = Answer.of(answer.status, answer.body, content_type).wire(more=b"Connection: close\r\n")
        await link.send(wire)

    return act


def refused_with(status: int, *, body: Any = None, page: bool = False, headers: str = "") -> Act:
    """Another status in place of the answer; with `page` a web page, as from a layer before PI Web API."""
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if page else "application/json; charset=utf-8"
    answer = Answer.of(status, text, kind)
    return raw(replace(answer, headers=answer.headers + headers.encode()).wire(more=b"Connection: close\r\n"))


def answered(body: bytes, kind: str = "application/json; charset=utf-8") -> Act:
    """This in place of every good answer."""
    return raw(Answer.of(200, body, kind).wire(more=b"Connection: close\r\n"))


def raw(data: bytes) -> Act:
    """These bytes in place of an answer."""

    async def act(_request: Request, link: Link) -> None:
        await link.send(data)

    return act


def changed(change: Callable[[Any], Any]) -> Act:
    """Another content in the answer, or in each part of a batch that succeeded."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        found = json.loads(answer.body)
        if _is_batch(request):
            for part in found.values():
                if part["Status"] == 200:
                    part["Content"] = change(part["Content"])
        elif answer.status == 200:
            found = change(found)
        await _send(answer, found, link)

    return act


def parts_refused(status: int) -> Act:
    """Each part of a batch is refused, and each request that is no batch."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        if not _is_batch(request):
            await link.send(Answer.of(status, json.dumps(_FAILED).encode()).wire(more=b"Connection: close\r\n"))
            return
        found = json.loads(answer.body)
        for part in found.values():
            part |= {"Status": status, "Content": _FAILED}
        await _send(answer, found, link)

    return act


async def half_missing(request: Request, link: Link) -> None:
    """Every other part of a batch is not there, and every other item of another answer is an error of the server."""
    answer = await link.behind(request)
    found = json.loads(answer.body)
    if _is_batch(request):
        found = {name: part for place, (name, part) in enumerate(found.items()) if place % 2}
    await _send(answer, found, link)


def web_exception(content: Any) -> Any:
    """An answer that breaks off in the middle and says so."""
    if isinstance(content, dict):
        items = content.get("Items")
        kept = {"Items": items[: len(items) // 2]} if isinstance(items, list) else {}
        return {**content, **kept, "WebException": {"Errors": ["Error occurred."], "StatusCode": 500}}
    return content


def item_errors(content: Any) -> Any:
    """Every other item is an error in its place."""
    if isinstance(content, dict) and isinstance(content.get("Items"), list):
        errors = {"Errors": ["Security read access denied."], "StatusCode": 403}
        items = [
            {**({"WebId": one["WebId"]} if "WebId" in one else {}), "WebException": errors} if place % 2 == 0 else one
            for place, one in enumerate(content["Items"])
        ]
        return {**content, "Items": items}
    return content


async def _send(answer: Answer, content: Any, link: Link) -> None:
    body = json.dumps(content).encode()
    await link.send(replace(answer, body=body).wire(more=b"Connection: close\r\n"))


def _is_batch(request: Request) -> bool:
    return request.text.startswith("POST ") and "/batch" in request.text[:60]


def clock_moved(text: bytes) -> Act:
    """The archive's clock shows another time."""

    async def act(request: Request, link: Link) -> None:
        answer = await link.behind(request)
        found = json.loads(answer.body)
        for one in found.get("Items", [found]):
            one["ServerTime"] = text.decode()
        await _send(answer, found, link)

    return act
