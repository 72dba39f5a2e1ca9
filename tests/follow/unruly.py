"""A simulated server whose troubles come and go while it serves: kinds that people report of PI Web API, and of what
stands before it.

A trouble refuses what arrives (`before`), or spoils what the simulator answers (`after`). What the archive holds stays
as it is, so that `truth` is what a table has to hold once the troubles are over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, NamedTuple

from aiohttp import web

from engine.simulator import Simulator, SimulatorOptions
from engine.simulator.dispatch import Dispatch
from engine.simulator.replies import HTML, Reply, WireFault, html, json_reply
from engine.simulator.request import IncomingRequest
from engine.simulator.times import SECOND, iso, parse_time, ticks_of

__all__ = ["KINDS", "Arrival", "Trouble", "Unruly"]

_RECORDED = frozenset({"streams/*/recorded", "streamsets/recorded"})
_PAGES = "dataservers/*/points"
_GATEWAY = {"Server": "Microsoft-Azure-Application-Gateway/v2"}
_IIS = {"Server": "Microsoft-IIS/10.0"}


class Arrival(NamedTuple):
    """What has come over the network: with the length of its URL, and of its body."""

    method: str
    path: str
    url_chars: int
    body_bytes: int


@dataclass
class Trouble:
    """One trouble while it lasts. `tags`: those it is about; `[start, end)`: which of their events, in ticks."""

    kind: ClassVar[str] = ""
    broad: ClassVar[bool] = False  # it hits most of what is asked, whatever tags it is about
    of_all: ClassVar[bool] = False  # it is about all tags
    of_one_instant: ClassVar[bool] = False  # it is about one event of one tag
    dice: Random
    tags: Collection[int] = ()
    start: int = 0
    end: int = 0
    struck: int = 0

    def begin(self, server: Unruly) -> None:
        """Prepare what it needs at the source."""

    def before(self, asked: Arrival) -> Reply | None:
        """Refuse, or let through."""
        del asked

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        """The answer in place of a good one, or None to leave it."""
        del server, request, reply


class Unruly(Simulator):
    """A simulator with troubles: `begin` and `end` them while it serves.

    `watched` is the host name by which the client is known whose requests are timed.
    """

    def __init__(self, options: SimulatorOptions, *, watched: str) -> None:
        super().__init__(options)
        self._dispatch = _Spoiled(self)
        self._site.watch_tags = True
        self._watched = watched
        self._number_of = {self.web_id(n): n for n in range(options.tags)}
        self.troubles: list[Trouble] = []
        self.struck: Counter[str] = Counter()
        self.arrivals: list[float] = []
        self.clock: Callable[[], float] = lambda: 0.0

    @property
    def site(self) -> Any:
        return self._site

    def begin(self, trouble: Trouble) -> None:
        trouble.begin(self)
        self.troubles.append(trouble)

    def end(self, trouble: Trouble) -> None:
        self.troubles.remove(trouble)

    def note(self, trouble: Trouble) -> None:
        trouble.struck += 1
        self.struck[trouble.kind] += 1

    def number_of(self, web_id: str) -> int | None:
        return self._number_of.get(web_id)

    def spoiled(self, request: IncomingRequest, reply: Reply) -> Reply:
        for trouble in self.troubles:
            if reply.status == 200 and (other := trouble.after(self, request, reply)) is not None:
                self.note(trouble)
                reply = other
        return reply

    async def _answer(self, request: web.BaseRequest, now: int) -> Reply:
        if request.host.startswith(self._watched):
            self.arrivals.append(self.clock())
        path = request.raw_path.partition("?")[0]
        asked = Arrival(request.method, path, len(request.raw_path), request.content_length or 0)
        for trouble in self.troubles:
            if (refusal := trouble.before(asked)) is not None:
                self.note(trouble)
                return refusal
        return await super()._answer(request, now)


class _Spoiled(Dispatch):
    """Every answer, and every part of a batch, passes the troubles."""

    def __init__(self, server: Unruly) -> None:
        super().__init__(server.site)
        self._server = server

    def answer_fast(self, method: str, target: str, now: int) -> None:
        """No part of a batch goes the short way."""

    def with_faults(self, request: IncomingRequest, reply: Reply) -> Reply:
        return self._server.spoiled(request, super().with_faults(request, reply))


# --- what stands before PI Web API ----------------------------------------------


@dataclass
class Chance(Trouble):
    """A share of all requests is refused in the same way."""

    share: float = 1.0
    replies: Sequence[Callable[[], Reply]] = ()

    def __post_init__(self) -> None:
        self.reply = self.dice.choice(self.replies)

    def before(self, asked: Arrival) -> Reply | None:
        del asked
        return self.reply() if self.dice.random() < self.share else None


@dataclass
class Gateway(Chance):
    kind = "502, 503 and 504"
    broad = True
    share: float = 0.3
    replies: Sequence[Callable[[], Reply]] = (
        lambda: html(502, "502 Bad Gateway", "The server is down."),
        lambda: html(503, "503 Service Unavailable", "The service is unavailable."),
        lambda: html(504, "504 Gateway Time-out", "The server did not answer in time."),
        lambda: html(408, "408 Request Timeout", "The request took too long."),
    )


@dataclass
class Broken(Chance):
    kind = "500 of everything"
    broad = True
    share: float = 0.4
    replies: Sequence[Callable[[], Reply]] = (lambda: json_reply({"Errors": ["An internal error occurred."]}, 500),)


@dataclass
class Drops(Chance):
    kind = "dropped connections"
    broad = True
    share: float = 0.3
    replies: Sequence[Callable[[], Reply]] = (lambda: Reply(200, [], wire_fault=WireFault(drop=True)),)


@dataclass
class Silence(Chance):
    kind = "silence"
    broad = True
    replies: Sequence[Callable[[], Reply]] = (lambda: Reply(200, [], wire_fault=WireFault(hang=True)),)


@dataclass
class Throttling(Chance):
    kind = "429"
    broad = True
    share: float = 0.5
    replies: Sequence[Callable[[], Reply]] = (
        lambda: json_reply({"Message": "Rate limit was reached."}, 429),
        lambda: Reply(429, [b'{"Message":"Rate limit was reached."}'], headers={"Retry-After": "1"}),
        lambda: Reply(503, [b""], HTML, {"Retry-After": "1"}),
    )


@dataclass
class LoginFails(Chance):
    kind = "401 that passes"
    broad = True
    replies: Sequence[Callable[[], Reply]] = (
        lambda: Reply(401, [], HTML, {"WWW-Authenticate": 'Basic realm="PI Web API"'}),
        lambda: json_reply({"Message": "Authorization has been denied for this request."}, 401),
    )


@dataclass
class PostRefused(Chance):
    kind = "pages in place of POST"
    broad = True
    replies: Sequence[Callable[[], Reply]] = (
        lambda: _page(403, "403 Forbidden", _GATEWAY),
        lambda: _page(404, "404 - File or directory not found.", _IIS),
    )

    def before(self, asked: Arrival) -> Reply | None:
        return self.reply() if asked.method == "POST" else None


@dataclass
class LongUrl(Trouble):
    kind = "URLs too long"
    most: int = 0
    refusal: Callable[[], Reply] = field(init=False)

    def __post_init__(self) -> None:
        self.most = self.dice.randint(230, 600)
        self.refusal = self.dice.choice(
            (
                lambda: _page(404, "404.15 - Query string too long", _IIS),
                lambda: _page(400, "Bad Request - Request Too Long", {"Server": "Microsoft-HTTPAPI/2.0"}),
                lambda: _page(403, "403 Forbidden", _GATEWAY),
                lambda: _page(414, "414 Request-URI Too Large", {"Server": "nginx"}),
                lambda: _page(431, "431 Request Header Fields Too Large", {"Server": "nginx"}),
            )
        )

    def before(self, asked: Arrival) -> Reply | None:
        return self.refusal() if asked.url_chars > self.most else None


@dataclass
class LongBody(Trouble):
    kind = "bodies too long"
    most: int = 0
    refusal: Callable[[], Reply] = field(init=False)

    def __post_init__(self) -> None:
        self.most = self.dice.randint(1_200, 9_000)
        self.refusal = self.dice.choice(
            (
                lambda: _page(404, "404.13 - Content length too large", _IIS),
                lambda: _page(413, "413 Request Entity Too Large", {"Server": "nginx"}),
                lambda: Reply(200, [], wire_fault=WireFault(drop=True)),
            )
        )

    def before(self, asked: Arrival) -> Reply | None:
        return self.refusal() if asked.body_bytes > self.most else None


# --- lists, clocks, counts ---------------------------------------------------------


@dataclass
class NoLinks(Trouble):
    kind = "pages without links"

    def __post_init__(self) -> None:
        self.way = self.dice.choice(("empty", "null", "absent"))

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route != _PAGES:
            return None
        body = _body(reply)
        body.pop("Links", None)
        return _spoilt(reply, body if self.way == "absent" else {"Links": {} if self.way == "empty" else None, **body})


@dataclass
class ItemIsAnError(Trouble):
    kind = "an item of a page is an error"

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route != _PAGES:
            return None
        body = _body(reply)
        error = {"Errors": ["Security read access denied."], "StatusCode": 403}
        items = [
            {"WebId": item["WebId"], "WebException": error} if server.number_of(item["WebId"]) in self.tags else item
            for item in body["Items"]
        ]
        return None if items == body["Items"] else _spoilt(reply, {**body, "Items": items})


@dataclass
class Vanished(Trouble):
    """Tags are not in lists; half the time they cannot be asked for, either."""

    kind = "tags that vanish"

    def __post_init__(self) -> None:
        self.wholly = self.dice.random() < 0.5

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route == _PAGES:
            body = _body(reply)
            items = [item for item in body["Items"] if server.number_of(item["WebId"]) not in self.tags]
            return None if len(items) == len(body["Items"]) else _spoilt(reply, {**body, "Items": items})
        if self.wholly and not set(request.touched).isdisjoint(self.tags):
            return json_reply({"Errors": ["PI Point not found."]}, 404)
        return None


@dataclass
class ClockAhead(Trouble):
    kind = "a clock ahead"

    def __post_init__(self) -> None:
        self.ahead_secs = self.dice.choice((60, 73 * 3600, 1 << 40))

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route != "dataservers":
            return None
        body = _body(reply)
        last = ticks_of("9999-12-31T23:59:59Z")
        for one in body.get("Items", [body]):
            one["ServerTime"] = iso(min(request.now + self.ahead_secs * SECOND, last))
        return _spoilt(reply, body)


@dataclass
class WrongCounts(Trouble):
    kind = "wrong counts"

    def __post_init__(self) -> None:
        self.withheld = self.dice.random() < 0.5

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route not in {"streams/*/summary", "streamsets/summary"}:
            return None
        body = _body(reply)
        for stream in body["Items"] if request.route.startswith("streamsets") else [body]:
            if self.withheld:
                stream["Items"] = []
            for one in stream["Items"]:
                one["Value"]["Value"] += 1
        return _spoilt(reply, body)


# --- recorded values ---------------------------------------------------------------


@dataclass
class OfValues(Trouble):
    """Concerns answers of recorded values; looks at them stream by stream."""

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        if request.route not in _RECORDED or set(request.touched).isdisjoint(self.tags):
            return None
        body, changed = _body(reply), False
        for number, stream in _streams(server, request, body):
            if number in self.tags:
                found = self.look(server, _Read.of(request, stream), stream)
                if isinstance(found, Reply):
                    return found  # a set fails as a whole
                changed |= found
        return _spoilt(reply, body) if changed else None

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        """Change a stream and say whether, or give the refusal in its place."""
        raise NotImplementedError


class _Read(NamedTuple):
    """How far a reading went, `[start, end]` in ticks."""

    start: int
    end: int
    asked_end: int
    max_count: int
    events: int

    @classmethod
    def of(cls, request: IncomingRequest, stream: Mapping[str, Any]) -> _Read:
        start, end = (parse_time(request.query.one(name), "UTC").at(request.now) for name in ("starttime", "endtime"))
        most, items = request.query.whole("maxcount", 1000), stream["Items"]
        reached = ticks_of(items[-1]["Timestamp"]) if len(items) >= most else end
        return cls(start, reached, end, most, len(items))


@dataclass
class Damaged(OfValues):
    """What touches these instants is refused: a record that the archive cannot give."""

    kind = "damaged records"

    def __post_init__(self) -> None:
        self.status, self.text = self.dice.choice(
            (
                (500, "[-11002] Record Header Data Mismatch"),
                (500, "[-11059] Data Archive is corrupt"),
                (502, "The archive subsystem did not answer."),
            )
        )

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        if read.start < self.end and self.start <= read.end:
            return json_reply({"Errors": [self.text]}, self.status)
        return False


@dataclass
class Undecodable(OfValues):
    """Events that cannot be placed."""

    kind = "undecodable events"

    def __post_init__(self) -> None:
        self.way = self.dice.choice(("text", "absent", "year", "no event"))

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        items = stream["Items"]
        found = [n for n, item in enumerate(items) if self.start <= ticks_of(item["Timestamp"]) < self.end]
        for n in found:
            match self.way:
                case "text":
                    items[n]["Timestamp"] = "not a time"
                case "absent":
                    del items[n]["Timestamp"]
                case "year":
                    items[n]["Timestamp"] = "20240-01-01T00:00:00Z"
                case _:
                    items[n] = 7
        return bool(found)


@dataclass
class ErrorsAsValues(OfValues):
    """Errors in place of values."""

    kind = "errors in place of values"

    def __post_init__(self) -> None:
        self.error: Any = self.dice.choice(
            (["Calculation failed."], "Calculation failed.", [{"FieldName": "Value", "Message": ["No data."]}])
        )

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        found = [item for item in stream["Items"] if self.start <= ticks_of(item["Timestamp"]) < self.end]
        for item in found:
            item |= {"Value": {"Errors": self.error}, "Good": False}
        return bool(found)


@dataclass
class Pile(OfValues):
    """More events at one instant than one answer holds; `start` is the instant."""

    kind = "more at one instant than an answer holds"
    of_one_instant = True
    most: ClassVar[int] = 40

    def begin(self, server: Unruly) -> None:
        for tag in self.tags:
            [event, *_] = server.events(tag, self.start, self.end)
            for _ in range(self.most + 5):
                server.insert(tag, event)

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        if read.max_count > self.most:
            return json_reply(
                {"Errors": [f"Parameter (maxCount) is greater than the maximum allowed ({self.most})."]}, 400
            )
        return False


@dataclass
class TooLong(OfValues):
    """Windows longer than this are not answered."""

    kind = "windows too long"
    of_all = True

    def __post_init__(self) -> None:
        self.most = self.dice.choice((1, 3, 10, 60)) * SECOND
        self.refusal = self.dice.choice(
            (
                lambda: html(408, "408 Request Timeout", "The request took too long."),
                lambda: html(504, "504 Gateway Time-out", "The server did not answer in time."),
                lambda: html(503, "503 Service Unavailable", "The service is unavailable."),
                lambda: json_reply({"Errors": ["[-10722] PINET: Timeout on PI RPC or System Call"]}, 500),
                lambda: Reply(200, [], wire_fault=WireFault(drop=True)),
            )
        )

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        return self.refusal() if read.asked_end - read.start > self.most else False


@dataclass
class TooMany(OfValues):
    """Answers of more events than this are not given."""

    kind = "too many events (-11091)"
    of_all = True

    def __post_init__(self) -> None:
        self.most = self.dice.choice((2, 5, 20))

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        if read.events > self.most:
            return json_reply({"Errors": ["[-11091] Event collection exceeded the maximum allowed"]}, 500)
        return False


@dataclass
class HalfASurrogate(OfValues):
    """Half a surrogate pair in the units."""

    kind = "half a surrogate in units"

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        stream["UnitsAbbreviation"] = "\ud800"
        return True


@dataclass
class Forbidden(OfValues):
    """Tags that may not be read for a while."""

    kind = "tags that fail now and then"

    def __post_init__(self) -> None:
        self.status = self.dice.choice((401, 403, 409))

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        return json_reply({"Errors": ["The point cannot be read now."]}, self.status)


@dataclass
class OtherQuestion(OfValues):
    """Parts of a batch are answered without their query: one event of another time."""

    kind = "answers of another window"
    of_all = True

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        return super().after(server, request, reply) if request.scope == "sub" else None

    def look(self, server: Unruly, read: _Read, stream: dict[str, Any]) -> bool | Reply:
        stream["Items"] = [{"Timestamp": "2031-01-01T00:00:00Z", "Value": 1.0, "Good": True}]
        return True


@dataclass
class Cut(Trouble):
    kind = "answers cut midway"
    broad = True

    def after(self, server: Unruly, request: IncomingRequest, reply: Reply) -> Reply | None:
        size = sum(map(len, reply.chunks))
        if request.scope == "sub" or size < 100 or self.dice.random() < 0.6:
            return None
        reply.wire_fault = WireFault(cut_at=size // 2)
        return reply


# What there is, and between how many and how many seconds it lasts.
KINDS: Mapping[type[Trouble], tuple[float, float]] = {
    Gateway: (5, 20),
    Broken: (5, 15),
    Drops: (5, 20),
    Silence: (30, 30),
    Throttling: (5, 15),
    LoginFails: (1, 4),
    PostRefused: (5, 20),
    LongUrl: (15, 40),
    LongBody: (15, 40),
    NoLinks: (20, 40),
    ItemIsAnError: (20, 40),
    Vanished: (20, 45),
    ClockAhead: (5, 12),
    WrongCounts: (20, 40),
    Damaged: (15, 45),
    Undecodable: (15, 45),
    ErrorsAsValues: (15, 45),
    Pile: (15, 45),
    TooLong: (10, 30),
    TooMany: (10, 30),
    HalfASurrogate: (15, 40),
    Forbidden: (10, 40),
    OtherQuestion: (8, 15),
    Cut: (5, 15),
}


def _page(status: int, title: str, headers: Mapping[str, str]) -> Reply:
    reply = html(status, title, title)
    reply.headers |= headers
    return reply


def _body(reply: Reply) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(reply.body())
    return body


def _spoilt(reply: Reply, body: Mapping[str, Any]) -> Reply:
    # Half a surrogate pair goes out as its escape, as JSON has it.
    escaped = json.dumps(body, separators=(",", ":")).encode()
    return Reply(reply.status, [escaped], reply.content_type, reply.headers, reply.values, reply.wire_fault)


def _streams(
    server: Unruly, request: IncomingRequest, body: dict[str, Any]
) -> Iterator[tuple[int | None, dict[str, Any]]]:
    if request.route == "streams/*/recorded":
        yield (request.touched[0] if request.touched else None), body
        return
    for stream in body["Items"]:
        yield server.number_of(stream["WebId"]), stream
