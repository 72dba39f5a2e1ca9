"""What we ask PI Web API, as plain requests. Pure; headers and the base URL are the network's business.

Times go out as ISO 8601 with `Z`, for text without a zone is read in the server's own. `recorded`
includes both ends of its range and our windows do not include theirs, so the end sent is one tick
earlier. Invariant: every path is percent-encoded in full, so that no character of a tag's name can
change the meaning of a URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from config.errors import SplitError
from engine.model import Ask

from .http import Request
from .times import iso_text, last_tick_text
from .webid import form_of

# Windows' HTTP layer takes 16 KiB of request line and headers together, and a Kerberos ticket may
# fill much of that.
MAX_PATH_CHARS = 8_000
# MaxRequestContentLength as installed.
MAX_BATCH_BYTES = 4 * 1024 * 1024
# maxCount of a page of points as installed servers take it.
MAX_POINTS_PER_PAGE = 1_000

STREAMSET = "/streamsets/recorded"
MULTIPLE = "/points/multiple"
ATTRIBUTES_MULTIPLE = "/attributes/multiple"

# WebIDs are of these characters, which mean nothing in a URL.
_PLAIN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII).fullmatch
_EVENT_FIELDS = ("Timestamp", "Value", "Good", "Questionable", "Substituted", "Annotated", "Errors", "WebException")
_STREAM_FIELDS = (*(f"Items.{name}" for name in _EVENT_FIELDS), "UnitsAbbreviation", "Errors", "WebException")
_STREAMSET_FIELDS = ("Items.WebId", *(f"Items.{name}" for name in _STREAM_FIELDS), "WebException")
_POINT_FIELDS = (
    "WebId",
    "Name",
    "Path",
    "Descriptor",
    "PointClass",
    "PointType",
    "DigitalSetName",
    "EngineeringUnits",
    "Span",
    "Zero",
    "Step",
    "Future",
)
# The other summaries are not needed; those that can be made of values that are no numbers include the count.
_COUNT, _COUNT_OF_ANYTHING = "Count", "AllForNonNumeric"
_COUNT_FIELDS = ("Items.Type", "Items.Value.Timestamp", "Items.Value.Value", "Errors", "Message", "WebException")
_COUNTS_FIELDS = ("Items.WebId", *(f"Items.{name}" for name in _COUNT_FIELDS))
_DAY = 86_400_000_000
# Of the links, First is there on every page of a server that gives any: then one without Next is the last.
_PAGE_FIELDS = (
    "Links.First",
    "Links.Next",
    *(f"Items.{name}" for name in _POINT_FIELDS),
    "Items.Errors",
    "Items.WebException",
    "Errors",
    "WebException",
)
ATTRIBUTE_FIELDS = (
    *("WebId", "Name", "Path", "Description", "Type", "TypeQualifier", "DefaultUnitsName"),
    *("DefaultUnitsNameAbbreviation", "DataReferencePlugIn", "Span", "Zero", "Step", "Links.Point"),
)
_ATTRIBUTES_FIELDS = (
    "Items.Identifier",
    "Items.Exception",
    *(f"Items.Object.{name}" for name in ATTRIBUTE_FIELDS),
)
_MULTIPLE_FIELDS = ("Items.Identifier", "Items.Exception", *(f"Items.Object.{name}" for name in _POINT_FIELDS))


def batch(asks: Sequence[Ask], base_url: str) -> Request:
    """One POST that carries a GET for each ask, under the keys "0", "1", ...

    Raises `SplitError` if it would be longer than a server takes.
    """
    return _batch(asks, base_url, "recorded", _recorded)


def _batch(
    asks: Sequence[Ask], base_url: str, what: str, parameters: Callable[[Ask], list[tuple[str, str]]]
) -> Request:
    streams = _in_json(f"{base_url.rstrip('/')}/streams/")
    # Most asks of a batch share window and count, hence all of a query.
    tails: dict[tuple[int, int, int], str] = {}
    subs = []
    web_ids = [ask.tag.web_id for ask in asks]
    if not _PLAIN("".join(web_ids)):
        web_ids = [_encode_id(web_id) for web_id in web_ids]
    for n, (ask, web_id) in enumerate(zip(asks, web_ids, strict=True)):
        key = (ask.start, ask.end, ask.max_count)
        tail = tails.get(key)
        if tail is None:
            tail = tails[key] = _in_json(f"/{what}?{_query(*parameters(ask))}")
        # What is percent-encoded needs no escape.
        subs.append(f'"{n}":{{"Method":"GET","Resource":"{streams}{web_id}{tail}"}}')
    body = _fitting(f"{{{','.join(subs)}}}".encode(), len(asks))
    return Request("POST", "/batch", body, items=len(asks))


def _fitting(body: bytes, tags: int) -> bytes:
    """The body of a batch. Raises `SplitError` if it is longer than a server takes."""
    if len(body) > MAX_BATCH_BYTES:
        raise SplitError(
            f"a batch of {tags} tags is {len(body)} bytes long",
            hint="lower extraction.batch_size",
            too_much="request",
        )
    return body


def stream(ask: Ask) -> Request:
    """The recorded values of one tag."""
    return _get(_stream_path(ask, "recorded"), *_recorded(ask), items=1)


def streamset(asks: Sequence[Ask]) -> Request:
    """The recorded values of several tags, in one window and with one count.

    Raises `ValueError` if the asks cannot share a request; `streamset_capacity` says how many can.
    """
    if not asks or streamset_capacity(asks) < len(asks):
        msg = "these asks do not fit into one streamset"
        raise ValueError(msg)
    return _get(STREAMSET, *_streamset_head(asks[0]), *(("webId", ask.tag.web_id) for ask in asks), items=len(asks))


def batch_capacity(asks: Sequence[Ask], base_url: str, max_bytes: int) -> int:
    """How many of the first asks a batch of so many bytes can hold; one alone always goes."""
    if not asks:
        return 0
    streams = len(_in_json(f"{base_url.rstrip('/')}/streams/"))
    tails: dict[tuple[int, int, int], int] = {}
    room = max_bytes - len("{}")
    for n, ask in enumerate(asks):
        key = (ask.start, ask.end, ask.max_count)
        if key not in tails:
            tails[key] = len(_in_json(f"/recorded?{_query(*_recorded(ask))}"))
        room -= len(f'"{n}":{{"Method":"GET","Resource":""}},') + streams + len(_encode_id(ask.tag.web_id)) + tails[key]
        if room < 0 and n:
            return n
    return len(asks)


def streamset_capacity(asks: Sequence[Ask], max_chars: int = MAX_PATH_CHARS) -> int:
    """How many of the first asks one streamset can hold.

    They share window, count and the form of their WebIDs (by which the answer is matched), name no
    tag twice, and fit into a URL of `max_chars`.
    """
    if not asks:
        return 0
    first, seen = asks[0], set[str]()
    room = max_chars - len(_get(STREAMSET, *_streamset_head(first)).path)
    for ask in asks:
        web_id = ask.tag.web_id
        room -= len("&webId=") + len(_encode(web_id))
        shares = (ask.start, ask.end, ask.max_count) == (first.start, first.end, first.max_count)
        if not shares or form_of(web_id) != form_of(first.tag.web_id) or web_id in seen or room < 0:
            break
        seen.add(web_id)
    # A WebID too long for the budget is still worth trying alone.
    return max(1, len(seen))


def count(ask: Ask, *, of_anything: bool = False) -> Request:
    """How many events of a tag there are on each day of a window (`counts.decode_counts`).

    `of_anything`: ask as servers want it that count what is no number with other summaries only.
    """
    return _get(_stream_path(ask, "summary"), *_count(ask, of_anything), _fields(_COUNT_FIELDS), items=1)


def count_batch(asks: Sequence[Ask], base_url: str, *, of_anything: bool = False) -> Request:
    """One POST that carries a `count` for each ask. Raises `SplitError` as `batch` does."""
    return _batch(asks, base_url, "summary", lambda ask: [*_count(ask, of_anything), _fields(_COUNT_FIELDS)])


def count_streamset(asks: Sequence[Ask], *, of_anything: bool = False) -> Request:
    """The counts of several tags in one window: of as many as `streamset_capacity` says."""
    head = [*_count(asks[0], of_anything), _fields(_COUNTS_FIELDS), *_same_form(asks[0])]
    return _get("/streamsets/summary", *head, *(("webId", ask.tag.web_id) for ask in asks), items=len(asks))


def _count(ask: Ask, of_anything: bool) -> list[tuple[str, str]]:
    # The end is a tick early because servers count both ends of a range. A day is 24 hours to them only if it
    # is called so: `1d` follows the clocks of their time zone.
    several = ask.end - ask.start > _DAY
    return [
        ("startTime", iso_text(ask.start)),
        ("endTime", last_tick_text(ask.end)),
        ("summaryType", _COUNT_OF_ANYTHING if of_anything else _COUNT),
        ("calculationBasis", "EventWeighted"),
        ("timeType", "EarliestTime"),
        *([("summaryDuration", "24h")] if several else []),
    ]


class StreamCall(NamedTuple):
    """One call `/streams/{web_id}/{what}`, which a streamset or a batch can carry; `places` are those of the asks that it
    answers.
    """

    web_id: str
    what: str
    query: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def form(self) -> object:
        """What calls of one streamset share."""
        return self.what, self.query, form_of(self.web_id)

    @property
    def path(self) -> str:
        return f"/streams/{_encode_id(self.web_id)}/{self.what}?{_query(*self.query, _fields(self.fields))}"


def stream_call(call: StreamCall) -> Request:
    """The call by itself."""
    return Request("GET", call.path, items=1)


def stream_calls(calls: Sequence[StreamCall], base_url: str) -> Request:
    """One POST that carries these calls, under the keys "0", "1", ... Raises `SplitError` as `batch` does."""
    base = base_url.rstrip("/")
    subs = {str(n): {"Method": "GET", "Resource": f"{base}{call.path}"} for n, call in enumerate(calls)}
    return Request("POST", "/batch", _fitting(msgspec.json.encode(subs), len(calls)), items=len(calls))


def stream_calls_capacity(calls: Sequence[StreamCall], base_url: str, max_bytes: int) -> int:
    """How many of the first calls a batch of so many bytes can hold; one alone always goes."""
    streams = len(_in_json(base_url.rstrip("/")))
    room = max_bytes - len("{}")
    for n, call in enumerate(calls):
        room -= len(f'"{n}":{{"Method":"GET","Resource":""}},') + streams + len(_in_json(call.path))
        if room < 0 and n:
            return n
    return len(calls)


def streamset_call(calls: Sequence[StreamCall]) -> Request:
    """One GET for calls of one form and different tags: as many as `streamset_calls_capacity` says."""
    return _get(*_streamset_call_head(calls[0]), *(("webId", call.web_id) for call in calls), items=len(calls))


def streamset_calls_capacity(calls: Sequence[StreamCall], max_chars: int = MAX_PATH_CHARS) -> int:
    """How many of the first calls one streamset can hold; one alone always goes."""
    room, seen = max_chars - len(_get(*_streamset_call_head(calls[0])).path), set[str]()
    for call in calls:
        room -= len("&webId=") + len(_encode(call.web_id))
        if call.form != calls[0].form or call.web_id in seen or room < 0:
            break
        seen.add(call.web_id)
    return max(1, len(seen))


def _streamset_call_head(call: StreamCall) -> tuple[Any, ...]:
    fields = ("Items.WebId", *(f"Items.{name}" for name in call.fields), "WebException")
    form = form_of(call.web_id)
    same_form = [("webIdType", form)] if form else []
    return (f"/streamsets/{call.what}", *call.query, _fields(fields), *same_form)


def home() -> Request:
    """Reaches the server; every answer's Date header tells its clock."""
    return Request("GET", "/")


def system() -> Request:
    """Product and version; needs a login, so it tells whether ours is good."""
    return _get("/system", ("selectedFields", "ProductTitle;ProductVersion"))


def data_servers() -> Request:
    fields = "Items.WebId;Items.Name;Items.IsConnected;Items.ServerVersion;Items.ServerTime;Items.Path"
    return _get("/dataservers", ("selectedFields", fields), ("webIdType", "IDOnly"))


def point_attributes(web_id: str, names: Sequence[str]) -> str:
    """The path that asks for attributes of a point by name; for all of them without names."""
    named = [("name", name) for name in names]
    return _get(
        f"/points/{_encode_id(web_id)}/attributes", *named, _fields(("Items.Name", "Items.Value", "Items.Errors"))
    ).path


def points_page(
    server_web_id: str, *, name_filter: str = "*", start_index: int = 0, max_count: int = MAX_POINTS_PER_PAGE
) -> Request:
    """One page of a server's points whose names match a filter with `*` and `?`."""
    return _get(
        f"/dataservers/{_encode(server_web_id)}/points",
        ("nameFilter", name_filter),
        ("startIndex", str(start_index)),
        ("maxCount", str(max_count)),
        ("selectedFields", ";".join(_PAGE_FIELDS)),
        ("webIdType", "IDOnly"),
    )


def point_by_web_id(web_id: str) -> Request:
    """One point, for servers that have no points/multiple."""
    return _get(f"/points/{_encode(web_id)}", ("selectedFields", ";".join(_POINT_FIELDS)), ("webIdType", "IDOnly"))


def _multiple(
    route: str,
    fields: Sequence[str],
    by: str,
    identifiers: Sequence[str],
    max_chars: Callable[[], int] = lambda: MAX_PATH_CHARS,
) -> Iterator[tuple[Request, Sequence[str]]]:
    """Requests for many things, each with the identifiers that it asks for.

    `max_chars` is asked before each: what the server takes is learnt while it is asked.
    """
    head = (
        ("includeMode", "All"),
        ("selectedFields", ";".join(fields)),
        ("webIdType", "IDOnly"),
    )
    bare = len(_get(route, *head).path)
    first = 0
    while first < len(identifiers):
        chunk = _within(max_chars() - bare, identifiers[first:], overhead=len(f"&{by}="))
        yield _get(route, *head, *((by, each) for each in chunk), items=len(chunk)), chunk
        first += len(chunk)


# Points at `\\SERVER\TAG`, attributes at `\\SERVER\Database\Element|Attribute`; WebIDs may have any form.
points_by_path = partial(_multiple, MULTIPLE, _MULTIPLE_FIELDS, "path")
points_by_web_id = partial(_multiple, MULTIPLE, _MULTIPLE_FIELDS, "webId")
attributes_by_path = partial(_multiple, ATTRIBUTES_MULTIPLE, _ATTRIBUTES_FIELDS, "path")
attributes_by_web_id = partial(_multiple, ATTRIBUTES_MULTIPLE, _ATTRIBUTES_FIELDS, "webId")


def _within(budget: int, texts: Sequence[str], *, overhead: int) -> Sequence[str]:
    """The first texts that are, encoded, no longer than the budget; one alone always goes."""
    used = 0
    for n, text in enumerate(texts):
        used += overhead + len(_encode(text))
        if n and used > budget:
            return texts[:n]
    return texts


def _streamset_head(ask: Ask) -> list[tuple[str, str]]:
    return [*_window(ask), _fields(_STREAMSET_FIELDS), *_same_form(ask)]


def _same_form(ask: Ask) -> list[tuple[str, str]]:
    """The answer repeats WebIDs in this form, and must be matched by them."""
    form = form_of(ask.tag.web_id)
    return [("webIdType", form)] if form else []


def _fields(names: Sequence[str]) -> tuple[str, str]:
    return ("selectedFields", ";".join(names))


def _stream_path(ask: Ask, what: str) -> str:
    return f"/streams/{_encode_id(ask.tag.web_id)}/{what}"


def _in_json(text: str) -> str:
    """As it stands between the quotes of a JSON string."""
    return msgspec.json.encode(text).decode()[1:-1]


def _encode_id(web_id: str) -> str:
    return web_id if _PLAIN(web_id) else _encode(web_id)


def _recorded(ask: Ask) -> list[tuple[str, str]]:
    return [*_window(ask), _fields(_STREAM_FIELDS)]


def _window(ask: Ask) -> list[tuple[str, str]]:
    return [
        ("startTime", iso_text(ask.start)),
        ("endTime", last_tick_text(ask.end)),
        ("boundaryType", "Inside"),
        ("maxCount", str(ask.max_count)),
    ]


def _get(path: str, *query: tuple[str, str], items: int = 0) -> Request:
    return Request("GET", f"{path}?{_query(*query)}", items=items)


def without_fields(request: Request) -> Request:
    """The same without `selectedFields`, which is most of a short URL; the same object where there is none."""
    path, _, query = request.path.partition("?")
    kept = [part for part in query.split("&") if not part.startswith("selectedFields=")]
    if request.method != "GET" or len(kept) == query.count("&") + 1:
        return request
    return replace(request, path=f"{path}?{'&'.join(kept)}" if kept else path)


def _query(*query: tuple[str, str]) -> str:
    return "&".join(f"{name}={_encode(value)}" for name, value in query)


def _encode(text: str) -> str:
    # Colons and commas mean nothing in a query, and times are easier to read with them.
    return quote(text, safe=":,*")
