"""`POST /batch`: many questions in one, some made from the answers of others.

No I/O. A 207 says nothing about the parts; every part has its own status. A part whose parent failed
is a 409, one whose parameter selects nothing a 400, and both say so in a bare string, as the real
server does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .call import Call
from .dispatch import Dispatch
from .jsonpath import select
from .replies import JSON, Accident, Refusal, Reply, json_bytes, message, refused

__all__ = ["run"]


class _Template(msgspec.Struct):
    Resource: str


class _Part(msgspec.Struct):
    Method: str = "GET"
    Resource: str | None = None
    RequestTemplate: _Template | None = None
    Content: str | None = None
    Headers: dict[str, str] | None = None
    ParentIds: list[str] | None = None
    Parameters: list[str] | None = None


_decoder = msgspec.json.Decoder(dict[str, _Part])
_OK = f',"Headers":{{"Content-Type":"{JSON}"}},"Content":'.encode()
_LIMITED = {"Message": "Rate limit was reached."}


def run(dispatch: Dispatch, method: str, body: bytes, *, base: str, now: int, grant: Callable[[int], int]) -> Reply:
    """Answer a batch. `grant` says how many of so many parts the rate limit lets through."""
    site = dispatch.site
    site.requests.count("batch", "outer")
    site.signups.visit()
    try:
        if not site.switches.batch:
            raise message(404, "No HTTP resource was found that matches the request URI.")
        if method != "POST":
            raise message(405, f"The requested resource does not support http method '{method}'.")
        reply = _Run(dispatch, base, now).answer(_ordered(_decode(dispatch, body)), grant)
    except Refusal as refusal:
        reply = refusal.reply()
    return dispatch.struck(Call(method, "batch", ("batch",), "", base, "outer", now), reply)


def _decode(dispatch: Dispatch, body: bytes) -> dict[str, _Part]:
    try:
        parts = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Also where `Content` is an object: it must be a string that holds JSON.
        raise Refusal(400, {"Message": "The request is invalid.", "MessageDetail": str(error)}) from error
    most = dispatch.site.switches.batch_max_items
    if most is not None and len(parts) > most:
        raise refused(400, f"The number of batch items ({len(parts)}) is greater than the maximum allowed ({most}).")
    for name, part in parts.items():
        if (part.Resource is None) == (part.RequestTemplate is None):
            raise refused(400, f"The batch item '{name}' must have either a Resource or a RequestTemplate.")
        for parent in part.ParentIds or ():
            if parent not in parts:
                raise refused(400, f"The ParentId '{parent}' of batch item '{name}' does not exist.")
    return parts


def _ordered(parts: dict[str, _Part]) -> list[tuple[str, _Part]]:
    """Parents before children, otherwise as written. Raises a 400 when parts wait for each other."""
    if not any(part.ParentIds for part in parts.values()):
        return list(parts.items())
    ordered: dict[str, _Part] = {}
    waiting = dict(parts)
    while waiting:
        ready = [name for name, part in waiting.items() if all(parent in ordered for parent in part.ParentIds or ())]
        if not ready:
            raise refused(400, f"The batch items {', '.join(waiting)} depend on each other in a circle.")
        ordered |= {name: waiting.pop(name) for name in ready}
    return list(ordered.items())


class _Run:
    """One batch on its way: the chunks written so far and the answers children may refer to."""

    def __init__(self, dispatch: Dispatch, base: str, now: int) -> None:
        self._dispatch, self._base, self._now = dispatch, base, now
        self._answers: dict[str, Reply] = {}
        self._chunks: list[bytes] = [b"{"]
        self._values = 0
        self._accident: Accident | None = None
        self._delays: list[float] = []

    def answer(self, parts: list[tuple[str, _Part]], grant: Callable[[int], int]) -> Reply:
        granted = grant(len(parts))
        parents = {parent for _, part in parts for parent in part.ParentIds or ()}
        for number, (name, part) in enumerate(parts):
            if number < granted and name not in parents and self._express(name, part, first=not number):
                continue
            reply = self._part(part) if number < granted else Reply(429, [json_bytes(_LIMITED)])
            if name in parents:
                self._answers[name] = reply
            self._chunks.append((b"," if number else b"") + msgspec.json.encode(name) + b":")
            self._write(reply)
        self._chunks.append(b"}")
        if self._delays:
            self._accident = self._accident or Accident()
            self._accident.delay_secs = _makespan(self._delays, self._dispatch.site.switches.batch_parallel)
        return Reply(207, self._chunks, values=self._values, accident=self._accident)

    def _express(self, name: str, part: _Part, *, first: bool) -> bool:
        """Write the answer of a plain part the short way, where there is one."""
        if part.ParentIds or part.Parameters or part.Resource is None:
            return False
        found = self._dispatch.express(part.Method, part.Resource, self._now)
        if found is None:
            return False
        self._chunks += ((b"" if first else b",") + msgspec.json.encode(name) + b':{"Status":200' + _OK, found[0], b"}")
        self._values += found[1]
        return True

    def _part(self, part: _Part) -> Reply:
        if not (part.ParentIds or part.Parameters or part.RequestTemplate):
            return self._ask(part, part.Resource or "")
        failed = [parent for parent in part.ParentIds or () if self._answers[parent].status >= 400]
        if failed:
            return _text(409, f"The following ParentIds did not complete successfully: {', '.join(failed)}.")
        columns = []
        for path in part.Parameters or ():
            tokens = select(self._parents(part), path)
            if tokens is None:
                # Nothing found would be a lie: a server reads more of JSONPath than we do.
                self._dispatch.site.requests.unknown.append(f"JSONPath {path}")
                return message(501, f"The simulator does not know the JSONPath '{path}'.").reply()
            if not tokens:
                return _text(400, f"Some JSON paths did not select any tokens: {path}.")
            columns.append(tokens)
        if part.RequestTemplate is None:
            return self._ask(part, _filled(part.Resource or "", [column[0] for column in columns]))
        replies = [self._ask(part, _filled(part.RequestTemplate.Resource, row)) for row in zip(*columns, strict=False)]
        # A template without parameters asks nothing.
        wrapped = b",".join(_wrapped(reply) for reply in replies)
        return Reply(207, [b'{"Items":[', wrapped, b"]}"], "", values=sum(reply.values for reply in replies))

    def _parents(self, part: _Part) -> dict[str, Any]:
        return {name: _document(self._answers[name]) for name in part.ParentIds or ()}

    def _ask(self, part: _Part, resource: str) -> Reply:
        reply = self._dispatch.answer(part.Method.upper(), resource, self._base, "sub", self._now)
        if reply.accident is not None:
            self._note(reply.accident)
        return reply

    def _note(self, accident: Accident) -> None:
        """What goes wrong with a part on the wire goes wrong with the whole answer."""
        if accident.delay_secs:
            self._delays.append(accident.delay_secs)
        whole = self._accident = self._accident or Accident()
        whole.hang |= accident.hang
        whole.drop |= accident.drop
        if accident.cut_at is not None and whole.cut_at is None:
            whole.cut_at = sum(map(len, self._chunks)) + accident.cut_at

    def _write(self, reply: Reply) -> None:
        self._values += reply.values
        if reply.status == 200 and reply.content_type is JSON and not reply.headers:
            self._chunks += (b'{"Status":200' + _OK, *reply.chunks, b"}")
        else:
            self._chunks.append(_wrapped(reply))


def _wrapped(reply: Reply) -> bytes:
    """One part of the answer as JSON. What is no JSON becomes a string."""
    headers = ({"Content-Type": reply.content_type} if reply.content_type else {}) | reply.headers
    body = reply.body()
    content = body if reply.content_type in {JSON, ""} else json_bytes(body.decode(errors="replace"))
    return b'{"Status":%d,"Headers":%b,"Content":%b}' % (reply.status, json_bytes(headers), content or b"null")


def _text(status: int, text: str) -> Reply:
    """An answer whose content is a bare string and whose headers are empty."""
    return Reply(status, [json_bytes(text)], "")


def _document(reply: Reply) -> dict[str, Any]:
    is_json = reply.content_type in {JSON, ""} and reply.chunks
    return {"Status": reply.status, "Headers": reply.headers, "Content": json.loads(reply.body()) if is_json else None}


def _filled(resource: str, tokens: Iterable[Any]) -> str:
    values = [str(token) for token in tokens]

    def value(match: re.Match[str]) -> str:
        place = int(match[1])
        return values[place] if place < len(values) else match[0]

    return re.sub(r"\{(\d+)\}", value, resource)


def _makespan(delays: list[float], workers: int) -> float:
    """How long slow parts take when so many run side by side."""
    busy = [0.0] * min(workers, len(delays))
    for delay in delays:
        busy[busy.index(min(busy))] += delay
    return max(busy)
