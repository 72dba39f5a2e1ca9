"""Routes of the Data Archive's objects: servers, points and their attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from .call import Call
from .fields import Tree, below, pick, wants
from .points import Point
from .replies import Refusal, Reply, json_reply, message, refused
from .roster import Standing
from .site import Site
from .times import SECOND, iso
from .webid import SERVER_ID, decode, kind_of
from .wildcards import wildcard

__all__ = ["ROUTES", "page_links"]

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


def point_object(site: Site, call: Call, tag: Point, kind: str, tree: Tree = None) -> dict[str, Any]:
    """A point as the API shows it, members not wanted left out."""
    web_id = site.web_id(kind, tag)
    spread = 100.0 if tag.type.startswith("Float") else 0.0
    whole: dict[str, Any] = {
        "WebId": web_id,
        "Id": tag.id,
        "Name": tag.name,
        "Path": site.path(tag),
        "Descriptor": f"{(tag.name.split('.')[1:2] or [tag.name])[0]} of unit {tag.index // 50}",
        "PointClass": "classic",
        "PointType": tag.type,
        "DigitalSetName": tag.digital_set,
        "EngineeringUnits": tag.units,
        "Span": spread,
        "Zero": 0.0,
        "Step": tag.step,
        "Future": tag.future,
        "DisplayDigits": -5,
    }
    if wants(tree, "Links"):
        links = {"Self": f"{call.base}/points/{web_id}"}
        links["DataServer"] = f"{call.base}/dataservers/{site.server_web_id(kind)}"
        whole["Links"] = links | {name: f"{call.base}/{path.format(w=web_id)}" for name, path in _POINT_LINKS.items()}
    picked: dict[str, Any] = pick(whole, tree)
    return picked


def page_links(here: str, call: Call, start: int, size: int, total: int) -> dict[str, str]:
    """First, Previous, Next and Last where they apply; the other parameters stay as they were sent."""
    kept = [part for part in call.query_text.split("&") if part and part.partition("=")[0].lower() != "startindex"]
    if not any(part.partition("=")[0].lower() == "maxcount" for part in kept):
        kept.append(f"maxCount={size}")
    places = {"First": 0}
    if start > 0:
        places["Previous"] = max(0, start - size)
    if start + size < total:
        places["Next"] = start + size
    if total > size:
        places["Last"] = (total - 1) // size * size
    return {name: f"{here}?{'&'.join([*kept, f'startIndex={place}'])}" for name, place in places.items()}


def _page(site: Site, call: Call, here: str, found: Sequence[int], most: int) -> Reply:
    start = call.query.whole("startindex", 0)
    size = min(call.query.whole("maxcount", 1000, least=1, most=most), site.switches.page_cap or most)
    kind, tree = kind_of(call.query.one("webidtype")), call.query.fields()
    items_tree = below(tree, "Items") if wants(tree, "Items") else {}
    page = found[start : start + size]
    items = [point_object(site, call, site.point(index), kind, items_tree) for index in page]
    links = page_links(here, call, start, size, len(found))
    body: dict[str, Any] = pick({"Links": links, "Items": items}, tree)
    stripped = site.switches.page_links
    if stripped != "given":
        body.pop("Links", None)
        if stripped != "absent":
            body["Links"] = {} if stripped == "empty" else None
    return json_reply(body)


def _dataserver_object(site: Site, call: Call) -> dict[str, Any]:
    web_id = site.server_web_id(kind_of(call.query.one("webidtype")))
    here = f"{call.base}/dataservers/{web_id}"
    return {
        "WebId": web_id,
        "Id": str(SERVER_ID),
        "Name": site.options.server,
        "Path": f"\\\\PIServers[{site.options.server}]",
        "IsConnected": True,
        "ServerVersion": "3.4.440.477",
        "ServerTime": iso(min(call.now + int(site.switches.archive_ahead_secs * SECOND), _LAST)),
        "Links": {"Self": here, "Points": f"{here}/points", "EnumerationSets": f"{here}/enumerationsets"},
    }


def _dataservers(site: Site, call: Call) -> Reply:
    name, path, server = call.query.one("name"), call.query.one("path"), site.options.server
    if path:
        match = re.fullmatch(r"\\\\(?:PIServers\[(.+)\]|([^\\]+))", path, re.IGNORECASE)
        name = (match[1] or match[2]) if match else path
    body = _dataserver_object(site, call)
    if not name:
        return json_reply(pick({"Links": {}, "Items": [body]}, call.query.fields()))
    if name.casefold() != server.casefold():
        raise refused(404, f"PI Data Archive not found '{name}'.")
    return json_reply(pick(body, call.query.fields()))


def require_server(call: Call) -> None:
    """The WebID in the path must be that of the only server there is. Raises a 400 or 404."""
    if decode(call.parts[1]).marker != "DS":
        raise refused(404, "PI Data Archive not found.")


def _dataserver(site: Site, call: Call) -> Reply:
    require_server(call)
    return json_reply(pick(_dataserver_object(site, call), call.query.fields()))


def _server_points(site: Site, call: Call) -> Reply:
    require_server(call)
    found: Sequence[int] = site.roster.matching(call.query.one("namefilter") or "*")
    source = call.query.one("sourcefilter")
    if source and not wildcard(source)(_SOURCE):
        found = ()
    return _page(site, call, f"{call.base}/dataservers/{call.parts[1]}/points", found, site.switches.max_items)


def _point(site: Site, call: Call) -> Reply:
    if len(call.parts) > 1:
        index = site.tag(call, call.parts[1])
    elif path := call.query.one("path"):
        index = site.tag_by_path(call, path)
    else:
        raise refused(400, "The path parameter is required.")
    kind = kind_of(call.query.one("webidtype"))
    return json_reply(point_object(site, call, site.point(index), kind, call.query.fields()))


def _multiple(site: Site, call: Call) -> Reply:
    mode = call.query.choice("includemode", ("All", "ItemsWithException", "ItemsWithoutException"))
    kind, tree = kind_of(call.query.one("webidtype")), call.query.fields()
    by_id, by_path = call.query.many("webid"), call.query.many("path")
    if bool(by_id) == bool(by_path):
        raise refused(400, "Either webId or path must be specified, but not both.")
    items: list[dict[str, Any]] = []
    for asked in by_id or by_path:
        item: dict[str, Any] = {"Identifier": asked, "IdentifierType": "WebId" if by_id else "Path"}
        try:
            index = site.tag(call, asked) if by_id else site.tag_by_path(call, asked)
            item |= {"Object": point_object(site, call, site.point(index), kind), "Exception": None}
        except Refusal as refusal:
            item |= {"Object": None, "Exception": {"Errors": refusal.payload["Errors"]}}
        items.append(item)
    failed = any(item["Exception"] for item in items)
    if mode != "All":
        items = [item for item in items if (item["Exception"] is not None) == (mode == "ItemsWithException")]
    return json_reply(pick({"Links": {}, "Items": items}, tree), 207 if failed else 200)


def _search(site: Site, call: Call) -> Reply:
    """`Tag:=X* PointType:=Float32`, all terms must hold; a bare word is looked for anywhere in the name."""
    if not site.switches.points_search:
        raise message(404, "No HTTP resource was found that matches the request URI.")
    if (server := call.query.one("dataserverwebid")) and decode(server).marker != "DS":
        raise refused(404, "PI Data Archive not found.")
    pattern, types, sources = "*", [], []
    for field, word in re.findall(r"(?:(\w+):=)?(\"[^\"]*\"|'[^']*'|\S+)", call.query.one("query")):
        text = word.strip(word[0]) if word[0] in "\"'" else word
        if field.lower() in {"tag", "name"}:
            pattern = text
        elif field.lower() == "pointtype":
            types.append(text.lower())
        elif field.lower() == "pointsource":
            sources.append(text)
        elif field:
            raise refused(400, f"The query term '{field}' is not supported.")
        else:
            option = call.query.whole("searchoption", 1, least=1, most=4)
            pattern = ("*{}*", "{}", "{}*", "*{}")[option - 1].format(text)
    found: Sequence[int] = site.roster.matching(pattern)
    if not all(wildcard(source)(_SOURCE) for source in sources):
        found = ()
    if types:
        found = [index for index in found if site.point(index).type.lower() in types]
    return _page(site, call, f"{call.base}/points/search", found, 1000)


_SOURCE = "R"


def _attribute_values(standing: Standing) -> dict[str, Any]:
    tag = standing.point
    return {
        "archiving": 1, "changedate": iso(standing.changed), "changer": "piadmin", "compdev": 0.1, "compmax": 28800,
        "compmin": 0, "compressing": 1, "creationdate": iso(standing.created), "digitalset": tag.digital_set,
        "excdev": 0.05, "excmax": 600,
        "location1": 1, "pointsource": _SOURCE, "pointtype": tag.type, "scan": 1, "step": int(tag.step),
    }  # fmt: skip


def _attribute_object(call: Call, name: str, value: Any) -> dict[str, Any]:
    point_link = f"{call.base}/points/{call.parts[1]}"
    return {
        "Name": name,
        "Value": value,
        "Links": {"Self": f"{point_link}/attributes/{quote(name)}", "Point": point_link},
    }


def _attributes(site: Site, call: Call) -> Reply:
    known = _attribute_values(site.roster.standing(site.tag(call, call.parts[1])))
    names = [name.lower() for name in call.query.many("name")]
    if missing := [name for name in names if name not in known]:
        raise refused(400, f"PI Point attribute not found '{missing[0]}'.")
    match = wildcard(call.query.one("namefilter") or "*")
    chosen = [name for name in names or known if match(name)]
    items = [_attribute_object(call, name, known[name]) for name in chosen]
    return json_reply(pick({"Links": {}, "Items": items}, call.query.fields()))


def _attribute(site: Site, call: Call) -> Reply:
    known = _attribute_values(site.roster.standing(site.tag(call, call.parts[1])))
    name = call.parts[3].lower()
    if name not in known:
        raise refused(404, f"PI Point attribute not found '{name}'.")
    return json_reply(pick(_attribute_object(call, name, known[name]), call.query.fields()))


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
