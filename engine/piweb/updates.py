"""Stream updates: signing up for tags, asking what happened to them since, and what is answered. Pure.

A server reports every event that is added, inserted, changed or deleted, from the sign-up on, as long as nothing goes
wrong. A marker says up to where we have heard. It is opaque, and valid until it is used. Only what happened and when is
asked for: the values are read where all values are read.

Invariant: every WebID and every marker asked for comes back, with its next marker or with the reason why there is none.
A status that is not known to be good is a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from config.errors import UnavailableError
from engine.model import Micros

from .columns import NO_TIME, ticks_of
from .http import Request, Response
from .problems import LENGTH_STATUSES, excerpt_of, is_batch_unsupported, sentence_of
from .requests import MAX_PATH_CHARS
from .times import TICKS_PER_MICRO
from .values import parse_json
from .webid import form_of

# The answer to a sign-up repeats all markers in its Location header, and headers have their limits, too.
MOST_PER_SET = 100

_PATH = "/streamsets/updates"
_REGISTER_FIELDS = "Items.Source;Items.LatestMarker;Items.Status;Items.Exception"
_RETRIEVE_FIELDS = (
    "Items.RequestedMarker;Items.LatestMarker;Items.Status;Items.Exception;Items.Events.Action;Items.Events.Timestamp"
)
# One is a misspelling in the vendor's own reference.
_REGISTERED = frozenset(("succeeded", "succeded", "alreadyregistered"))
_RETRIEVED = frozenset(("updated",))


class Registration(msgspec.Struct, frozen=True, gc=False):
    """What became of signing up for a tag: a marker, or the reason why there is none."""

    web_id: str
    marker: str = ""
    reason: str = ""


class Retrieval(msgspec.Struct, frozen=True):
    """What a marker brought: the next marker and what happened since (action, when), or why there is none."""

    asked: str
    marker: str = ""
    messages: tuple[tuple[str, Micros], ...] = ()
    reason: str = ""


class _Message(msgspec.Struct, gc=False):
    Timestamp: str
    Action: str | None = None


class _UpdateItem(msgspec.Struct):
    Source: str | None = None
    RequestedMarker: str | None = None
    LatestMarker: str | None = None
    Status: str | None = None
    Events: list[_Message] | None = None
    Exception: Any = None


class _UpdateSet(msgspec.Struct):
    Items: list[_UpdateItem]


_decoder = msgspec.json.Decoder(_UpdateSet)


def registrations(web_ids: Sequence[str], *, most: int = MOST_PER_SET) -> Iterator[tuple[Request, Sequence[str]]]:
    """Requests that sign up for tags, each with those it names. Signing up twice changes nothing."""
    for form, group in groupby(sorted(web_ids, key=_form), key=_form):
        # Answers are matched by WebID, which must therefore come back in the form it was sent in.
        head = [("selectedFields", _REGISTER_FIELDS), *([("webIdType", form)] if form else [])]
        for path, named in _sets(head, "webId", list(group), most):
            yield Request("POST", path, items=len(named)), named


def retrievals(markers: Sequence[str], *, most: int = MOST_PER_SET) -> Iterator[tuple[Request, Sequence[str]]]:
    """Requests for what happened since, each with the markers it names.

    They are not to be repeated: an answer that was lost on its way may have used the markers up.
    """
    for path, named in _sets([("selectedFields", _RETRIEVE_FIELDS)], "marker", markers, most):
        yield Request("GET", path, safe=False, items=len(named)), named


def decode_registrations(body: bytes, asked: Sequence[str]) -> list[Registration]:
    """Raises `UnavailableError` for a body that is no answer at all."""
    items = {item.Source: item for item in _items(body)}
    return [_registration(web_id, items.get(web_id)) for web_id in asked]


def decode_retrievals(body: bytes, asked: Sequence[str]) -> list[Retrieval]:
    """Raises `UnavailableError` for a body that is no answer at all."""
    items = {item.RequestedMarker: item for item in _items(body)}
    # All times at once: where tags are fast there are thousands.
    ticks = iter(ticks_of([event.Timestamp for item in items.values() for event in item.Events or ()]).tolist())
    times = {marker: list(islice(ticks, len(item.Events or ()))) for marker, item in items.items()}
    return [_retrieval(marker, items.get(marker), times.get(marker, [])) for marker in asked]


def is_unsupported(response: Response) -> bool:
    """Whether this server, or a proxy, knows of no stream updates, or refuses every subscription."""
    # A route that is not there is a 404 as a point is; but only PI itself speaks of errors.
    return is_batch_unsupported(response) and not (response.status == 404 and b'"Errors"' in response.body)


def is_too_long(response: Response) -> bool:
    """Whether the URL was too long: for Windows' HTTP layer, which answers in HTML, or for a proxy."""
    return response.status in LENGTH_STATUSES or (response.status == 400 and response.body.lstrip()[:1] == b"<")


def _form(web_id: str) -> str:
    return form_of(web_id) or ""


def _sets(
    head: Sequence[tuple[str, str]], by: str, texts: Sequence[str], most: int
) -> Iterator[tuple[str, Sequence[str]]]:
    """Paths that name as many of the texts as a URL can hold, and `most` of them at the most."""
    start = f"{_PATH}?{urlencode(head, quote_via=quote)}"
    first, used = 0, len(start)
    for n, text in enumerate(texts):
        cost = len(f"&{by}={quote(text, safe='')}")
        if n > first and (n - first >= most or used + cost > MAX_PATH_CHARS):
            yield _path(start, by, texts[first:n]), texts[first:n]
            first, used = n, len(start)
        used += cost
    if first < len(texts):
        yield _path(start, by, texts[first:]), texts[first:]


def _path(start: str, by: str, texts: Sequence[str]) -> str:
    return f"{start}&{urlencode([(by, text) for text in texts], quote_via=quote, safe='')}"


def _items(body: bytes) -> list[_UpdateItem]:
    try:
        return _decoder.decode(body).Items
    except (ValueError, RecursionError):
        pass
    # Once more, item by item: one that cannot be read leaves the others as they are.
    try:
        content = parse_json(body)
    except ValueError:
        content = None
    items = content.get("Items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise UnavailableError(f"the answer to stream updates cannot be read: {excerpt_of(body)}")
    return [item for item in map(_patient, items) if item is not None]


def _patient(item: Any) -> _UpdateItem | None:
    try:
        return msgspec.convert(item, _UpdateItem)
    except msgspec.ValidationError:
        return None


def _registration(web_id: str, item: _UpdateItem | None) -> Registration:
    reason = _failure(item, _REGISTERED)
    return (
        Registration(web_id, reason=reason) if reason or item is None else Registration(web_id, item.LatestMarker or "")
    )


def _retrieval(asked: str, item: _UpdateItem | None, ticks: Sequence[int]) -> Retrieval:
    reason = _failure(item, _RETRIEVED)
    if reason or item is None:
        return Retrieval(asked, reason=reason)
    if NO_TIME in ticks:
        return Retrieval(asked, reason="a message has no time that can be read")
    happened = zip(item.Events or (), ticks, strict=True)
    return Retrieval(
        asked, item.LatestMarker or "", tuple((event.Action or "", at // TICKS_PER_MICRO) for event, at in happened)
    )


def _failure(item: _UpdateItem | None, good: frozenset[str]) -> str:
    """Why an item is none to go on with; empty if it is one."""
    if item is None:
        return "the answer holds nothing for it"
    if (item.Status or "").casefold() not in good:
        return sentence_of(item.Exception) or f"the server says {str(item.Status)[:40]!r} and not why"
    if item.Exception is not None and (said := sentence_of(item.Exception)):
        return said
    return "" if item.LatestMarker else "the server gives no marker"
