"""Routes of streams whose WebID is an attribute's, and of the attributes of an element or a frame as a set.

An attribute that refers to a PI point shows the events of that point, a formula twice each of its numbers. A lookup in a
table has a value, and a history where its row is there. All others have a value and no history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..assets.frames import PlantFrame
from ..assets.ids import decode, is_asset
from ..assets.plant import Attribute
from ..fields import Tree, below, pick, wants
from ..replies import Refusal, Reply, json_bytes, json_reply, refused
from ..request import IncomingRequest
from ..site import Site
from ..times import iso
from ..webid import kind_of
from ..wildcards import wildcard
from .asset_objects import Json, attribute_of, attribute_path, attribute_web_id, element_of, frame_of, kept_text

Route = Callable[[Site, IncomingRequest], Reply]
_ZERO = "1970-01-01T00:00:00Z"
_SINGLE = ("value", "end", "recordedattime")
_UNSCALED = {"Count", "PercentGood"}


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request for `what` of attributes, and the routes of the archive behind them."""

    archive: dict[str, Route]
    site: Site
    request: IncomingRequest
    what: str


def routes_over(archive: dict[str, Route]) -> dict[str, Route]:
    """The stream routes of the archive, which take WebIDs of attributes as well, and the sets of an element or frame."""
    found: dict[str, Route] = {"attributes/*/value": _attribute_value(archive)}
    for name, route in archive.items():
        room, _, what = name.partition("/")
        if room == "streams" and what.startswith("*/"):
            found[name] = _of_one(archive, what[2:], route)
        elif room == "streamsets" and f"streams/*/{what}" in archive:
            found[name] = _of_many(archive, what, route)
            found[f"streamsets/*/{what}"] = _of_owner(archive, what)
    return found


def _of_one(archive: dict[str, Route], what: str, route: Route) -> Route:
    def either(site: Site, request: IncomingRequest) -> Reply:
        if not is_asset(request.parts[1]):
            return route(site, request)
        body = _stream(_Ask(archive, site, request, what), *_asked(site, request, request.parts[1]))
        return request.answer(body)

    return either


def _attribute_value(archive: dict[str, Route]) -> Route:
    def route(site: Site, request: IncomingRequest) -> Reply:
        body = _stream(_Ask(archive, site, request, "value"), *_asked(site, request, request.parts[1]))
        return request.answer(body)

    return route


def _of_many(archive: dict[str, Route], what: str, route: Route) -> Route:
    def either(site: Site, request: IncomingRequest) -> Reply:
        asked = request.query.many("webid")
        if not any(map(is_asset, asked)):
            return route(site, request)
        tree = request.query.fields()
        inner = below(tree, "Items") if wants(tree, "Items") else {}
        ask = _Ask(archive, site, request, what)
        items: list[bytes] = []
        for web_id in asked:
            if is_asset(web_id):
                items.append(_set_item(ask, web_id, inner))
            else:
                index = site.tag(request, web_id)
                tag, kind = site.point(index), kind_of(request.query.one("webidtype"))
                shown = site.web_id(kind, tag)
                head = {"WebId": shown, "Name": tag.name, "Path": site.path(tag)}
                item = head | _inner(what, _ask_archive(ask, web_id))
                items.append(json_bytes(pick(item | {"Links": {"Source": f"{request.base}/points/{shown}"}}, inner)))
        if not wants(tree, "Items"):
            return json_reply(pick({"Links": {}}, tree))
        head_text = b'{"Links":{},' if wants(tree, "Links") else b"{"
        return Reply(200, [head_text, b'"Items":[', b",".join(items), b"]}"])

    return either


def _set_item(ask: _Ask, web_id: str, inner: Tree) -> bytes:
    """One stream of an ad hoc set. What never changes by itself is rendered once."""
    one, frame = _asked(ask.site, ask.request, web_id)

    def item() -> Json:
        picked: Json = pick(_item(ask, one, frame), inner)
        return picked

    if frame is None and ask.what == "value" and one.reference not in {"PI Point", "Formula"}:
        return kept_text(ask.site, ask.request, "values", (one.owner, one.place), item)
    return json_bytes(item())


def _of_owner(archive: dict[str, Route], what: str) -> Route:
    def route(site: Site, request: IncomingRequest) -> Reply:
        web_id = request.parts[1]
        marker = decode(web_id).marker
        frame = frame_of(site, request, web_id) if marker == "Fm" else None
        top: int | None = None
        if frame is not None:
            everything: Sequence[Attribute] = site.frames.attributes(frame)
        elif marker == "Em":
            everything = site.plant.attributes(element_of(site, web_id))
        else:
            above, frame = _asked(site, request, web_id)
            everything = () if frame is not None else site.plant.attributes(above.owner)
            top = above.place
        deep, name = request.query.flag("searchfullhierarchy"), wildcard(request.query.one("namefilter") or "*")
        chosen = {top}
        found: list[Attribute] = []
        for one in everything:
            if one.above in chosen:
                chosen |= {one.place} if deep else set()
                found.append(one)
        items = [
            _item(_Ask(archive, site, request, what), one, frame)
            for one in found
            if name(one.name)
            and (not one.hidden or request.query.flag("showhidden"))
            and (not one.excluded or request.query.flag("showexcluded"))
        ]
        return request.answer_list(items)

    return route


def _asked(site: Site, request: IncomingRequest, web_id: str) -> tuple[Attribute, PlantFrame | None]:
    one = attribute_of(site, request, web_id)
    frame = site.frames.frame(one.owner, request.now) if decode(web_id).marker == "AbF" else None
    return one, frame


def _item(ask: _Ask, one: Attribute, frame: PlantFrame | None) -> Json:
    """One stream of a set. What it cannot show is said in its place."""
    site, request, what = ask.site, ask.request, ask.what
    web_id = attribute_web_id(site, kind_of(request.query.one("webidtype")), one, frame, request.now)
    head: Json = {"WebId": web_id, "Name": one.name, "Path": attribute_path(site, one, frame, request.now)}
    try:
        body = _inner(what, _stream(ask, one, frame))
    except Refusal as refusal:
        errors = refusal.payload.get("Errors") or [refusal.payload.get("Message")]
        body = {"Value": _timed(_ZERO, {"Errors": errors}, "", good=False)}
        if what not in _SINGLE:
            body = {"Items": [], "UnitsAbbreviation": "", "Errors": errors}
    return head | body | {"Links": {"Source": f"{request.base}/attributes/{web_id}"}}


def _inner(what: str, body: Json) -> Json:
    if what in _SINGLE:
        return {"Value": body}
    return {name: body[name] for name in ("Items", "UnitsAbbreviation") if name in body}


def _stream(ask: _Ask, one: Attribute, frame: PlantFrame | None) -> Json:
    """What the stream of one attribute answers. Raises a 404 or 409."""
    site, what = ask.site, ask.what
    if frame is None and one.reference in {"PI Point", "Formula"}:
        if one.tag is None or not 0 <= one.tag < site.registry.size:
            if what in _SINGLE:
                return _timed(_ZERO, {"Errors": [f"PI Point not found '{one.config}'."]}, one.units[1], good=False)
            raise refused(404, f"PI Point not found '{one.config}'.")
        body = _ask_archive(ask, site.web_id("I", site.point(one.tag)))
        return _scaled(body, 2 if one.reference == "Formula" else 1, one.units[1])
    if frame is None and one.reference == "Table Lookup" and what not in _SINGLE and one.good and one.tag is not None:
        return _scaled(_ask_archive(ask, site.web_id("I", site.point(one.tag))), 1, one.units[1])
    if what not in {"value", "end"}:
        raise refused(409, "The operation is not supported by the data reference of the attribute.")
    value, stamp = one.value, _ZERO
    if frame is not None:
        stamp = iso(frame.start if frame.end is None else frame.end)
        if not frame.captured and isinstance(value, float):
            value += ask.request.now % 1000 / 8  # it was never captured: it is calculated anew
    return _timed(stamp, value, one.units[1], good=one.good)


def _timed(at: str, value: Any, units: str, *, good: bool) -> Json:
    return {
        "Timestamp": at,
        "Value": value,
        "UnitsAbbreviation": units,
        "Good": good,
        "Questionable": False,
        "Substituted": False,
        "Annotated": False,
    }


def _ask_archive(ask: _Ask, web_id: str) -> Json:
    """The answer of the archive about one point, with the parameters of the request."""
    kept = "&".join(
        part
        for part in ask.request.query_text.split("&")
        if part.partition("=")[0].lower() not in {"webid", "selectedfields"}
    )
    route = f"streams/*/{ask.what}"
    alone = replace(ask.request, route=route, parts=("streams", web_id, ask.what), query_text=kept, _query=None)
    found: Json = json.loads(ask.archive[route](ask.site, alone).body())
    return found


def _scaled(body: Json, factor: int, units: str) -> Json:
    if "Items" in body:
        items = [
            {**item, "Value": _scaled(item["Value"], 1 if item["Type"] in _UNSCALED else factor, units)}
            if "Type" in item
            else _scaled(item, factor, units)
            for item in body["Items"]
        ]
        return {**body, "Items": items} | ({"UnitsAbbreviation": units} if "UnitsAbbreviation" in body else {})
    value = body.get("Value")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value *= factor
    return {**body, "Value": value, "UnitsAbbreviation": units}
