"""Points and data servers, out of the answers of inventory requests. Pure.

Invariant: every identifier asked for comes back either as a tag or as a failure with its reason, and so does every
item of a page: one that cannot be read, or is an error, costs no other one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from config.errors import TagGoneError, UnavailableError
from engine.model import Tag
from writers.tables import PI_TAGS

from .paging import PageLinks
from .problems import excerpt_of, sentence_of, tag_error
from .values import parse_json, well_formed
from .webid import split_path, tag_path
from .wire import DataServer, DataServers, PointResults, PointsPage, WirePoint

# What a list of points says of each; the mirror adds when we saw it, and what it replaces.
_NOT_OF_POINTS = {"first_seen", "last_seen", "deleted_at", "replaces", "attributes"}
TAGS_SCHEMA = pa.schema(field for field in PI_TAGS.schema if field.name not in _NOT_OF_POINTS)
_T = TypeVar("_T")
# Columns of pi_tags that are fields of a point.
_FIELDS = {
    "tag_webid": "WebId",
    "name": "Name",
    "path": "Path",
    "descriptor": "Descriptor",
    "point_type": "PointType",
    "point_class": "PointClass",
    "engineering_units": "EngineeringUnits",
    "digital_set": "DigitalSetName",
    "span": "Span",
    "zero": "Zero",
    "step": "Step",
    "future": "Future",
}
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0", ""})


@dataclass(frozen=True, slots=True)
class Points:
    """Points found: as tags, as rows of pi_tags in the same order, and what was not found, with why.

    Of a page, `count` is how many things are on it, `keys` are the WebIDs of all that have one, and `links` what its
    links say. `gone` are the identifiers of a lookup of which the server says that there is
    no such point.
    """

    tags: tuple[Tag, ...]
    rows: pa.RecordBatch
    failures: tuple[tuple[str, str], ...] = ()
    count: int = 0
    keys: tuple[str, ...] = ()
    links: PageLinks = PageLinks.ABSENT
    gone: frozenset[str] = frozenset()


@dataclass(slots=True)
class _SortedItems:
    """Items of a list: the points, and why others are none."""

    points: list[WirePoint] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)


def decode_page(body: bytes, *, start: int = 0) -> Points:
    """Points of one page of `/dataservers/{webId}/points`, which begins at `start`. Raises `UnavailableError` for a
    body that is broken, or that the server broke off by its own account. Whether the list ends there says `paging`.
    """
    page = _decoded(body, PointsPage)
    if page is not None and (wrong := page.WebException or page.Errors):
        raise _broken_off("points", wrong)
    if page is not None and all(point.WebId and point.Name for point in page.Items):
        found = _SortedItems(page.Items, keys=[point.WebId for point in page.Items])
        links = page.Links
        said = PageLinks.of(links.First, links.Next) if links is not None else PageLinks.ABSENT
        return _points(found, len(page.Items), said)
    content = _content(body)
    if wrong := content.get("WebException") or content.get("Errors"):
        raise _broken_off("points", wrong)
    items = _items(content, body)
    named = content.get("Links")
    said = PageLinks.of(named.get("First"), named.get("Next")) if isinstance(named, dict) else PageLinks.ABSENT
    return _points(_sorted(items, start), len(items), said)


def unreadable_point(number: int, before: str, why: str) -> Points:
    """What stands for a point that the server cannot give: by its number in the list from 0 on, and the name of the one
    before it, so that an administrator can find it.
    """
    label = _label(None, number + 1) + (f", after {before}" if before else "")
    return _points(_SortedItems(failures={label: why}), 1)


def decode_multiple(body: bytes, asked: Sequence[str]) -> Points:
    """Points of `/points/multiple`, whether all were found (200) or not (207)."""
    decoded = _decoded(body, PointResults)
    return points_of(_items(_content(body), body) if decoded is None else decoded.Items, asked)


def points_of(results: Sequence[Any], asked: Sequence[str]) -> Points:
    """Points of the results of a lookup: objects with an Identifier, and an Object or an Exception."""
    found = _SortedItems()
    gone: set[str] = set()
    answered: set[str] = set()
    for result in results:
        identifier, point, wrong = _result(result)
        answered.add(identifier.casefold())
        if isinstance(point, WirePoint):
            found.points.append(point)
        elif point is not None and not wrong:
            one = _sorted([point], 0)
            found.points += one.points
            found.failures |= dict.fromkeys([identifier] if one.failures else [], *one.failures.values())
        else:
            found.failures[identifier] = sentence_of(wrong) or "the server does not say why"
            if _is_gone(wrong, identifier):
                gone.add(identifier.casefold())
    # Paths may come back in the server's own spelling.
    if len(results) < len(asked):
        found.failures |= dict.fromkeys(
            (one for one in asked if one.casefold() not in answered), "the answer holds nothing for it"
        )
    return _points(found, gone=frozenset(one for one in asked if one.casefold() in gone))


def decode_point(body: bytes) -> Points:
    """The point of `/points?path=` or `/points/{webId}`."""
    point = _decoded(body, WirePoint)
    return _points(_sorted([_content(body)], 0) if point is None else _SortedItems([point]))


def data_servers(body: bytes) -> tuple[DataServer, ...]:
    """The servers of `/dataservers`. Raises `UnavailableError` as `listed_servers` does."""
    return listed_servers(body)[0]


def listed_servers(body: bytes) -> tuple[tuple[DataServer, ...], bool]:
    """The servers of `/dataservers`, and whether that is all of the list: an item that cannot be read is left out.

    Raises `UnavailableError` for a body that is no such list, that the server broke off, or that holds nothing but items that
    cannot be read.
    """
    servers = _decoded(body, DataServers)
    if servers is not None and (wrong := servers.WebException or servers.Errors):
        raise _broken_off("data servers", wrong)
    if servers is not None:
        return _once(servers.Items), True
    found: list[DataServer] = []
    trouble: msgspec.ValidationError | None = None
    content = _content(body)
    if wrong := content.get("WebException") or content.get("Errors"):
        raise _broken_off("data servers", wrong)
    for item in _items(content, body):
        try:  # once more in patience
            found.append(msgspec.convert(item, DataServer, strict=False))
        except msgspec.ValidationError as error:
            trouble = error
    if trouble is not None and not found:
        raise _unreadable(trouble, body) from trouble
    return _once(found), trouble is None


def _once(servers: Sequence[DataServer]) -> tuple[DataServer, ...]:
    """Without those that are shown again."""
    return tuple({(one.WebId, one.Name, one.Path): one for one in servers}.values())


def _decoded(body: bytes, kind: type[_T]) -> _T | None:
    """The answer as it should be; None: it is to be read item by item, with patience."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return None


def _content(body: bytes) -> dict[str, Any]:
    """The answer, however odd: NaN in a span, bare or as a string, half a character in a description."""
    try:
        content = parse_json(body)
    except ValueError as error:
        raise _unreadable(error, body) from error
    if not isinstance(content, dict):
        raise _unreadable("it is no object", body)
    return content


def _items(content: dict[str, Any], body: bytes) -> list[Any]:
    """The items of a list. One without any is no empty list."""
    items = content.get("Items")
    if not isinstance(items, list):
        raise _unreadable("it has no Items", body)
    return items


def _unreadable(why: Exception | str, body: bytes) -> UnavailableError:
    return UnavailableError(
        f"the server's list of points cannot be read ({well_formed(str(why))}): {excerpt_of(body)}",
        hint="try again; if it stays so, please report it",
        status=500,
    )


def _broken_off(of: str, said: Any) -> UnavailableError:
    why = sentence_of(said) or "it does not say why"
    return UnavailableError(f"the server's list of {of} broke off: {why}", hint="try again", status=500)


def _sorted(items: Sequence[Any], start: int) -> _SortedItems:
    """Items read one by one, from number `start` on."""
    found = _SortedItems()
    for place, item in enumerate(items, start + 1):
        web_id = _web_id(item)
        if web_id is not None:
            found.keys.append(web_id)
        why = _why_not(item)
        if why:
            found.failures[_label(item, place)] = why
        elif web_id is not None:
            found.points.append(_tolerant(item, web_id))
    return found


def _why_not(item: Any) -> str:
    """Why an item of a list is no point; empty if it is one."""
    if not isinstance(item, dict):
        return "the server's list holds no point in its place"
    if _web_id(item) is None or not _text(item.get("Name")):
        for key in ("WebException", "Exception", "Errors"):
            if wrong := item.get(key):
                status = _status(wrong)
                said = f"the server's list has an error in its place{f' ({status})' if status else ''}"
                words = sentence_of(wrong)
                return f"{said}: {words}" if words else said
        return f"the server's list gives it no {'WebID' if _web_id(item) is None else 'name'} that can be used"
    return ""


def _label(item: Any, place: int) -> str:
    """What to call an item that is no point."""
    if isinstance(item, dict):
        for key in ("Name", "WebId", "Path"):
            if isinstance(text := item.get(key), str) and text:
                return well_formed(text)[:200]
    return f"item {place:,} of the list of points"


def _web_id(item: Any) -> str | None:
    """A WebID that can be asked for: it ends up in a URL, so half a character, which reading has replaced, makes it none."""
    web_id = item.get("WebId") if isinstance(item, dict) else None
    return web_id if isinstance(web_id, str) and web_id and "\ufffd" not in web_id else None


def _tolerant(item: dict[str, Any], web_id: str) -> WirePoint:
    """A point some of whose fields may be of any type; what cannot be understood is left out."""
    return WirePoint(
        web_id,
        _text(item.get("Name")) or "",
        _text(item.get("Path")),
        _text(item.get("Descriptor")),
        _text(item.get("PointClass")),
        _text(item.get("PointType")),
        _text(item.get("DigitalSetName")),
        _text(item.get("EngineeringUnits")),
        Span=_number(item.get("Span")),
        Zero=_number(item.get("Zero")),
        Step=_truth(item.get("Step")),
        Future=_truth(item.get("Future")),
    )


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # a whole number that no double holds
        return math.inf if int(value) > 0 else -math.inf


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool | int | float):
        return bool(value)
    word = value.strip().casefold() if isinstance(value, str) else None
    return True if word in _TRUE else False if word in _FALSE else None


def _status(wrong: Any) -> int:
    """The status an error names; 0 for none."""
    status = wrong.get("StatusCode") if isinstance(wrong, dict) else None
    return status if isinstance(status, int) and not isinstance(status, bool) and 100 <= status < 600 else 0


def _result(result: Any) -> tuple[str, Any, Any]:
    """Identifier, point and error of an item of points/multiple."""
    if not isinstance(result, dict):
        identifier, point, wrong = (getattr(result, name, None) for name in ("Identifier", "Object", "Exception"))
    else:
        identifier, point = result.get("Identifier"), result.get("Object")
        wrong = result.get("Exception") or result.get("WebException") or result.get("Errors")
    return identifier if isinstance(identifier, str) else "", point, None if point is not None else wrong


def _is_gone(wrong: Any, identifier: str) -> bool:
    """Whether an error says that there is no such point. One that may not be read, or for now, is there."""
    if not wrong:
        return False
    return isinstance(tag_error(_status(wrong) or 200, wrong, Tag("", identifier)), TagGoneError)


def _points(
    found: _SortedItems, count: int = 0, links: PageLinks = PageLinks.ABSENT, *, gone: frozenset[str] = frozenset()
) -> Points:
    # All text is well-formed: msgspec reads no other, and `parse_json` makes it so. A million points come by here, so each
    # field becomes a column at once.
    fields = tuple(zip(*map(msgspec.structs.astuple, found.points), strict=True)) or ((),) * len(
        WirePoint.__struct_fields__
    )
    points = dict(zip(WirePoint.__struct_fields__, fields, strict=True))
    tags = map(
        Tag,
        points["WebId"],
        points["Name"],
        (units or "" for units in points["EngineeringUnits"]),
        (kind or "" for kind in points["PointType"]),
        map(bool, points["Future"]),
    )
    failures = tuple((well_formed(name), why) for name, why in found.failures.items())
    return Points(tuple(tags), _rows(points), failures, count, tuple(found.keys), links, gone)


def _rows(points: Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
    columns = {name: points[field] for name, field in _FIELDS.items()} | {"data_server": _servers(points["Path"])}
    return pa.RecordBatch.from_pydict(columns, schema=TAGS_SCHEMA)


def _servers(paths: Sequence[str | None]) -> list[str | None]:
    """The data server of each path; mostly that of the path before."""
    server, prefix = None, "\0"
    servers: list[str | None] = []
    for path in paths:
        if path is None or not path.startswith(prefix) or len(path) == len(prefix):
            server = _server(path)
            prefix = "\0" if server is None else tag_path(server, "")
        servers.append(server)
    return servers


def _server(path: str | None) -> str | None:
    try:
        return split_path(path or "")[0]
    except ValueError:
        return None
