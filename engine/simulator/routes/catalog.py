"""Routes of the Data Archive's objects: servers, points and their attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from ..archive.point_registry import PointState
from ..archive.points import Point
from ..fields import Tree, below, pick, wants
from ..replies import Refusal, Reply, json_reply, message, refused
from ..request import IncomingRequest
from ..site import Site
from ..times import SECOND, iso
from ..webid import SERVER_ID, decode, kind_of
from ..wildcards import wildcard

_LAST = 253_402_300_799 * SECOND  # 9999-12-31T23:59:59Z
_POINT_LINKS = {
    "Attributes": "points/{w}/attributes",
    "InterpolatedData": "streams/{w}/interpolated",
    "RecordedData": "streams/{w}/recorded",
    "PlotData": "streams/{w}/plot",
    "SummaryData": "streams/{w}/summary",
    "Value": "streams/{w}/value",
    "EndValue": "streams/{w}/end",
}


def point_object(site: Site, request: IncomingRequest, tag: Point, kind: str, tree: Tree = None) -> dict[str, Any]:
    """A point as the API shows it, members not wanted left out."""
    web_id = site.web_id(kind, tag)
    whole: dict[str, Any] = {
        "WebId": web_id,
        "Id": tag.id,
        "Name": tag.name,
        "Path": site.path(tag),
        "Descriptor": _descriptor(tag),
        "PointClass": _class_of(tag),
        "PointType": tag.type,
        "DigitalSetName": tag.digital_set,
        "EngineeringUnits": tag.units,
        "Span": _span(tag),
        "Zero": 0.0,
        "Step": tag.step,
        "Future": tag.future,
        "DisplayDigits": -5,
    }
    if wants(tree, "Links"):
        links = {"Self": f"{request.base}/points/{web_id}"}
        links["DataServer"] = f"{request.base}/dataservers/{site.server_web_id(kind)}"
        whole["Links"] = links | {
            name: f"{request.base}/{path.format(w=web_id)}" for name, path in _POINT_LINKS.items()
        }
    picked: dict[str, Any] = pick(whole, tree)
    return picked


def _descriptor(tag: Point) -> str:
    return f"{(tag.name.split('.')[1:2] or [tag.name])[0]} of unit {tag.index // 50}"


def _span(tag: Point) -> float:
    return 100.0 if tag.type.startswith("Float") else 0.0


def page_links(here: str, request: IncomingRequest, start: int, size: int, total: int) -> dict[str, str]:
    """First, Previous, Next and Last where they apply; the other parameters stay as they were sent."""
    kept = [part for part in request.query_text.split("&") if part and part.partition("=")[0].lower() != "startindex"]
    if not any(part.partition("=")[0].lower() == "maxcount" for part in kept):
        kept.append(f"maxCount={size}")
    starts = {"First": 0}
    if start > 0:
        starts["Previous"] = max(0, start - size)
    if start + size < total:
        starts["Next"] = start + size
    if total > size:
        starts["Last"] = (total - 1) // size * size
    return {name: f"{here}?{'&'.join([*kept, f'startIndex={place}'])}" for name, place in starts.items()}


def _page(site: Site, request: IncomingRequest, here: str, found: Sequence[int], most: int) -> Reply:
    start = request.query.whole("startindex", 0)
    size = min(request.query.whole("maxcount", 1000, least=1, most=most), site.switches.page_cap or most)
    kind, tree = kind_of(request.query.one("webidtype")), request.query.fields()
    items_tree = below(tree, "Items") if wants(tree, "Items") else {}
    page = found[start : start + size]
    items = [point_object(site, request, site.point(index), kind, items_tree) for index in page]
    links = page_links(here, request, start, size, len(found))
    body: dict[str, Any] = pick({"Links": links, "Items": items}, tree)
    stripped = site.switches.page_links
    if stripped != "given":
        body.pop("Links", None)
        if stripped != "absent":
            body["Links"] = {} if stripped == "empty" else None
    return json_reply(body)


def _dataserver_object(site: Site, request: IncomingRequest) -> dict[str, Any]:
    web_id = site.server_web_id(kind_of(request.query.one("webidtype")))
    here = f"{request.base}/dataservers/{web_id}"
    return {
        "WebId": web_id,
        "Id": str(SERVER_ID),
        "Name": site.options.server,
        "Path": f"\\\\PIServers[{site.options.server}]",
        "IsConnected": True,
        "ServerVersion": "3.4.440.477",
        "ServerTime": iso(min(request.now + int(site.switches.archive_ahead_secs * SECOND), _LAST)),
        "Links": {"Self": here, "Points": f"{here}/points", "EnumerationSets": f"{here}/enumerationsets"},
    }


def _dataservers(site: Site, request: IncomingRequest) -> Reply:
    name, path, server = request.query.one("name"), request.query.one("path"), site.options.server
    if path:
        match = re.fullmatch(r"\\\\(?:PIServers\[(.+)\]|([^\\]+))", path, re.IGNORECASE)
        name = (match[1] or match[2]) if match else path
    body = _dataserver_object(site, request)
    if not name:
        return request.answer_list([body])
    if name.casefold() != server.casefold():
        raise refused(404, f"PI Data Archive not found '{name}'.")
    return request.answer(body)


def require_server(request: IncomingRequest) -> None:
    """The WebID in the path must be that of the only server there is. Raises a 400 or 404."""
    if decode(request.parts[1]).marker != "DS":
        raise refused(404, "PI Data Archive not found.")


def _dataserver(site: Site, request: IncomingRequest) -> Reply:
    require_server(request)
    return request.answer(_dataserver_object(site, request))


def _server_points(site: Site, request: IncomingRequest) -> Reply:
    require_server(request)
    found: Sequence[int] = site.registry.matching(request.query.one("namefilter") or "*")
    source = request.query.one("sourcefilter")
    if source and not wildcard(source)(_SOURCE):
        found = ()
    return _page(site, request, f"{request.base}/dataservers/{request.parts[1]}/points", found, site.switches.max_items)


def _point(site: Site, request: IncomingRequest) -> Reply:
    if len(request.parts) > 1:
        index = site.tag(request, request.parts[1])
    elif path := request.query.one("path"):
        index = site.tag_by_path(request, path)
    else:
        raise refused(400, "The path parameter is required.")
    kind = kind_of(request.query.one("webidtype"))
    return json_reply(point_object(site, request, site.point(index), kind, request.query.fields()))


def looked_up(identifiers: Iterable[str], kind: str, show: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """What each identifier names, or why it is not shown."""
    items: list[dict[str, Any]] = []
    for asked in identifiers:
        item: dict[str, Any] = {"Identifier": asked, "IdentifierType": kind}
        try:
            item |= {"Object": show(asked), "Exception": None}
        except Refusal as refusal:
            item |= {"Object": None, "Exception": {"Errors": refusal.payload["Errors"]}}
        items.append(item)
    return items


def _multiple(site: Site, request: IncomingRequest) -> Reply:
    mode = request.query.choice("includemode", ("All", "ItemsWithException", "ItemsWithoutException"))
    kind = kind_of(request.query.one("webidtype"))
    by_id, by_path = request.query.many("webid"), request.query.many("path")
    if bool(by_id) == bool(by_path):
        raise refused(400, "Either webId or path must be specified, but not both.")

    def show(asked: str) -> dict[str, Any]:
        index = site.tag(request, asked) if by_id else site.tag_by_path(request, asked)
        return point_object(site, request, site.point(index), kind)

    items = looked_up(by_id or by_path, "WebId" if by_id else "Path", show)
    failed = any(item["Exception"] for item in items)
    if mode != "All":
        items = [item for item in items if (item["Exception"] is not None) == (mode == "ItemsWithException")]
    return request.answer_list(items, 207 if failed else 200)


# A term of a search: AND, OR, or a condition on a field; a bare word is one on the name.
_TERM = re.compile(r"\s*(?:(AND|OR)(?=\s)|(?:(\w+):(=|<>)?)?(\"[^\"]*\"|'[^']*'|\S+))", re.IGNORECASE)
_FIELDS: dict[str, Callable[[Point], str]] = {
    **dict.fromkeys(("tag", "name"), lambda tag: tag.name),
    **dict.fromkeys(("pointtype", "datatype"), lambda tag: tag.type),
    **dict.fromkeys(("pointsource", "source"), lambda _: _SOURCE),
    **dict.fromkeys(("engineeringunits", "engunits", "units", "uom"), lambda tag: tag.units),
}
_Condition: TypeAlias = tuple[str, bool, str]  # field, whether it must hold, pattern


def _search(site: Site, request: IncomingRequest) -> Reply:
    """`Tag:=X* AND PointType:Float32 OR Units:<>bar`. `:` and `:=` are equal; terms side by side must all hold."""
    if not site.switches.points_search:
        raise message(404, "No HTTP resource was found that matches the request URI.")
    if (server := request.query.one("dataserverwebid")) and decode(server).marker != "DS":
        raise refused(404, "PI Data Archive not found.")
    groups = _groups(request)
    # Of one group, only points whose names fit are looked at.
    names = [pattern for field, holds, pattern in groups[0] if field in {"tag", "name"} and holds]
    found: Sequence[int] = site.registry.matching(names[0] if names and len(groups) == 1 else "*")

    def fits(tag: Point) -> bool:
        return any(
            all(wildcard(pattern)(_FIELDS[field](tag)) is holds for field, holds, pattern in conditions)
            for conditions in groups
        )

    if len(names) < len(groups[0]) or len(groups) > 1 or len(names) > 1:
        found = [index for index in found if fits(site.point(index))]
    return _page(site, request, f"{request.base}/points/search", found, 1000)


def _groups(request: IncomingRequest) -> list[list[_Condition]]:
    """The conditions of a search: one of the groups must hold, with all that is in it. Raises a 400."""
    groups: list[list[_Condition]] = [[]]
    for word, field, sign, text in _TERM.findall(request.query.one("query")):
        if word:
            groups += [[]] if word.upper() == "OR" else []
            continue
        pattern = text.strip(text[0]) if text[0] in "\"'" else text
        if not field:
            option = request.query.whole("searchoption", 1, least=1, most=4)
            groups[-1].append(("name", True, ("*{}*", "{}", "{}*", "*{}")[option - 1].format(pattern)))
        elif field.lower() in _FIELDS:
            groups[-1].append((field.lower(), sign != "<>", pattern))
        else:
            raise refused(400, f"The query term '{field}' is not supported.")
    return groups


_SOURCE = "R"


def _class_of(tag: Point) -> str:
    """Forecasts are of the class that has no attributes of an interface."""
    return "base" if tag.future else "classic"


def _attribute_values(state: PointState) -> dict[str, Any]:
    tag = state.point
    spread = _span(tag)
    found = {
        "archiving": 1, "changedate": iso(state.changed), "changer": "piadmin", "compdev": 0.1, "compmax": 28800,
        "compmin": 0, "compressing": 1, "creationdate": iso(state.created), "creator": "piadmin",
        "descriptor": _descriptor(tag), "digitalset": tag.digital_set, "displaydigits": -5, "engunits": tag.units,
        "excdev": 0.05, "excmax": 600, "excmin": 0, "exdesc": "", "future": int(tag.future), "pointid": tag.id,
        "pointsource": _SOURCE, "pointtype": tag.type, "ptclassname": _class_of(tag), "scan": 1, "shutdown": 0,
        "sourcetag": "", "span": spread, "step": int(tag.step), "tag": tag.name, "typicalvalue": spread / 2, "zero": 0.0,
    }  # fmt: skip
    if not tag.future:
        found |= {f"location{number}": tag.index % 10 if number == 4 else 0 for number in range(2, 6)}
        found |= {
            "convers": 1.0, "filtercode": 0, "instrumenttag": f"PLC{tag.index % 7}.{tag.name}", "location1": 1,
            "squareroot": 0, "totalcode": 0, "userint1": 0, "userint2": 0, "userreal1": 0.0, "userreal2": 0.0,
        }  # fmt: skip
    return found


def _attribute_object(request: IncomingRequest, name: str, value: Any) -> dict[str, Any]:
    point_link = f"{request.base}/points/{request.parts[1]}"
    return {
        "Name": name,
        "Value": value,
        "Links": {"Self": f"{point_link}/attributes/{quote(name)}", "Point": point_link},
    }


def _attributes(site: Site, request: IncomingRequest) -> Reply:
    known = _attribute_values(site.registry.state(site.tag(request, request.parts[1])))
    names = [name.lower() for name in request.query.many("name")]
    if missing := [name for name in names if name not in known]:
        raise refused(400, f"PI Point attribute not found '{missing[0]}'.")
    match = wildcard(request.query.one("namefilter") or "*")
    chosen = [name for name in names or known if match(name)]
    items = [_attribute_object(request, name, known[name]) for name in chosen]
    return request.answer_list(items)


def _attribute(site: Site, request: IncomingRequest) -> Reply:
    known = _attribute_values(site.registry.state(site.tag(request, request.parts[1])))
    name = request.parts[3].lower()
    if name not in known:
        raise refused(404, f"PI Point attribute not found '{name}'.")
    return request.answer(_attribute_object(request, name, known[name]))


ROUTES = {
    "dataservers": _dataservers,
    "dataservers/*": _dataserver,
    "dataservers/*/points": _server_points,
    "points": _point,
    "points/multiple": _multiple,
    "points/search": _search,
    "points/*": _point,
    "points/*/attributes": _attributes,
    "points/*/attributes/*": _attribute,
}
