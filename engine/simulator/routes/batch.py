"""`POST /batch`: many requests in one. Some of them are made from the answers of others.

No I/O. The status of a batch is always 207; each part has a status of its own. A part whose parent failed gets a
409. A part whose parameter selects nothing gets a 400. Both answers are bare strings, as on the real server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..dispatch import Dispatch
from ..replies import JSON, Refusal, Reply, WireFault, json_bytes, message, refused
from ..request import IncomingRequest


class _Template(msgspec.Struct):
    Resource: str


class _BatchPart(msgspec.Struct):
    Method: str = "GET"
    Resource: str | None = None
    RequestTemplate: _Template | None = None
    Content: str | None = None
    Headers: dict[str, str] | None = None
    ParentIds: list[str] | None = None
    Parameters: list[str] | None = None


_decoder = msgspec.json.Decoder(dict[str, _BatchPart])
_OK = f',"Headers":{{"Content-Type":"{JSON}"}},"Content":'.encode()
# A step of a JSONPath.
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?:'(?P<quoted>[^']*)'|(?P<place>-?\d+)|(?P<star>\*))\]")
_LIMITED = {"Message": "Rate limit was reached."}


def run(dispatch: Dispatch, method: str, body: bytes, *, base: str, now: int, grant: Callable[[int], int]) -> Reply:
    """Answer a batch. `grant(n)` returns how many of `n` parts the rate limit lets through."""
    site = dispatch.site
    site.requests.count("batch", "outer")
    site.subscriptions.visit()
    try:
        if not site.switches.batch:
            raise message(404, "No HTTP resource was found that matches the request URI.")
        if method != "POST":
            raise message(405, f"The requested resource does not support http method '{method}'.")
        reply = _BatchRun(dispatch, base, now).answer(_ordered(_decode(dispatch, body)), grant)
    except Refusal as refusal:
        reply = refusal.reply()
    return dispatch.with_faults(IncomingRequest(method, "batch", ("batch",), "", base, "outer", now), reply)


def _decode(dispatch: Dispatch, body: bytes) -> dict[str, _BatchPart]:
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


def _ordered(parts: dict[str, _BatchPart]) -> list[tuple[str, _BatchPart]]:
    """Parents before children, otherwise as written. Raises a 400 when parts wait for each other."""
    if not any(part.ParentIds for part in parts.values()):
        return list(parts.items())
    ordered: dict[str, _BatchPart] = {}
    waiting = dict(parts)
    while waiting:
        ready = [name for name, part in waiting.items() if all(parent in ordered for parent in part.ParentIds or ())]
        if not ready:
            raise refused(400, f"The batch items {', '.join(waiting)} depend on each other in a circle.")
        ordered |= {name: waiting.pop(name) for name in ready}
    return list(ordered.items())


class _BatchRun:
    """A batch that is being answered: the chunks written so far, and the answers that later parts refer to."""

    def __init__(self, dispatch: Dispatch, base: str, now: int) -> None:
        self._dispatch, self._base, self._now = dispatch, base, now
        self._answers: dict[str, Reply] = {}
        self._chunks: list[bytes] = [b"{"]
        self._values = 0
        self._wire_fault: WireFault | None = None
        self._delays: list[float] = []

    def answer(self, parts: list[tuple[str, _BatchPart]], grant: Callable[[int], int]) -> Reply:
        granted = grant(len(parts))
        parents = {parent for _, part in parts for parent in part.ParentIds or ()}
        for number, (name, part) in enumerate(parts):
            if number < granted and name not in parents and self._answer_fast(name, part, first=not number):
                continue
            reply = self._part(part) if number < granted else Reply(429, [json_bytes(_LIMITED)])
            if name in parents:
                self._answers[name] = reply
            self._chunks.append((b"," if number else b"") + msgspec.json.encode(name) + b":")
            self._write(reply)
        self._chunks.append(b"}")
        if self._delays:
            self._wire_fault = self._wire_fault or WireFault()
            self._wire_fault.delay_secs = _makespan(self._delays, self._dispatch.site.switches.batch_parallel)
        return Reply(207, self._chunks, values=self._values, wire_fault=self._wire_fault)

    def _answer_fast(self, name: str, part: _BatchPart, *, first: bool) -> bool:
        """Write the answer of a part by the fast path. Returns False where the fast path does not apply."""
        if part.ParentIds or part.Parameters or part.Resource is None:
            return False
        found = self._dispatch.answer_fast(part.Method, part.Resource, self._now)
        if found is None:
            return False
        self._chunks += ((b"" if first else b",") + msgspec.json.encode(name) + b':{"Status":200' + _OK, found[0], b"}")
        self._values += found[1]
        return True

    def _part(self, part: _BatchPart) -> Reply:
        if not (part.ParentIds or part.Parameters or part.RequestTemplate):
            return self._ask(part, part.Resource or "")
        failed = [parent for parent in part.ParentIds or () if self._answers[parent].status >= 400]
        if failed:
            return _text(409, f"The following ParentIds did not complete successfully: {', '.join(failed)}.")
        columns = []
        for path in part.Parameters or ():
            tokens = _select(self._parents(part), path)
            if tokens is None:
                # A real server may know this path, so "nothing selected" could be wrong.
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

    def _parents(self, part: _BatchPart) -> dict[str, Any]:
        return {name: _document(self._answers[name]) for name in part.ParentIds or ()}

    def _ask(self, part: _BatchPart, resource: str) -> Reply:
        reply = self._dispatch.answer(part.Method.upper(), resource, self._base, "sub", self._now)
        if reply.wire_fault is not None:
            self._add_wire_fault(reply.wire_fault)
        return reply

    def _add_wire_fault(self, wire_fault: WireFault) -> None:
        """Apply the wire fault of a part to the whole answer."""
        if wire_fault.delay_secs:
            self._delays.append(wire_fault.delay_secs)
        whole = self._wire_fault = self._wire_fault or WireFault()
        whole.hang |= wire_fault.hang
        whole.drop |= wire_fault.drop
        if wire_fault.cut_at is not None and whole.cut_at is None:
            whole.cut_at = sum(map(len, self._chunks)) + wire_fault.cut_at

    def _write(self, reply: Reply) -> None:
        self._values += reply.values
        if reply.status == 200 and reply.content_type is JSON and not reply.headers:
            self._chunks += (b'{"Status":200' + _OK, *reply.chunks, b"}")
        else:
            self._chunks.append(_wrapped(reply))


def _wrapped(reply: Reply) -> bytes:
    """One part of the answer as JSON. What is no JSON is put in as a string."""
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
    """How long the delayed parts take when `workers` of them run at the same time."""
    busy = [0.0] * min(workers, len(delays))
    for delay in delays:
        busy[busy.index(min(busy))] += delay
    return max(busy)


def _select(document: Any, path: str) -> list[Any] | None:
    """What a JSONPath selects, in document order; `None` for a path that is not supported.

    Supported are steps as in `$.pts.Content.Items[*].WebId` and `$['a b'].Content.Items[0].WebId`. A star on an object
    selects all members.
    """
    if not path.startswith("$"):
        return None
    found, at = [document], 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        name = step["quoted"] if step["quoted"] is not None else step["name"]
        if step["star"] or name == "*":
            found = [child for value in found for child in _children(value)]
        elif step["place"] is not None:
            place = int(step["place"])
            found = [value[place] for value in found if isinstance(value, list) and -len(value) <= place < len(value)]
        else:
            found = [value[name] for value in found if isinstance(value, dict) and name in value]
    return found


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
