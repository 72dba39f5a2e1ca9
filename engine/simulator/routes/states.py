"""Routes of digital state sets: the SYSTEM set (number 0) and the sets of the digital tags, as they stand now."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from ..replies import Reply, refused
from ..request import IncomingRequest
from ..site import Site
from ..webid import SERVER_ID, decode, encode, kind_of
from .catalog import require_server


def _guid(path: str) -> str:
    return str(uuid5(UUID(str(SERVER_ID)), path))


def _set_object(site: Site, request: IncomingRequest, number: int) -> dict[str, Any]:
    kind = kind_of(request.query.one("webidtype"))
    name = site.digital_sets.names[number]
    path = f"\\\\PIServers[{site.options.server}]\\EnumerationSets[{name}]"
    web_id = encode(kind, "MSD", (number,), path)
    here = f"{request.base}/enumerationsets/{web_id}"
    return {
        "WebId": web_id,
        "Id": _guid(path),
        "Name": name,
        "Description": "",
        "Path": path,
        "Links": {
            "Self": here,
            "DataServer": f"{request.base}/dataservers/{site.server_web_id(kind)}",
            "Values": f"{here}/enumerationvalues",
        },
    }


def _number(site: Site, request: IncomingRequest) -> int:
    """Which set is asked for, by WebID or path. Raises a 400 or 404."""
    path = request.query.one("path")
    if len(request.parts) > 1:
        found = decode(request.parts[1])
        if found.path is None and found.marker == "MSD" and 0 <= found.numbers[0] < len(site.digital_sets.names):
            return found.numbers[0]
        path = found.path or ""
    elif not path:
        raise refused(400, "The path parameter is required.")
    for number, name in enumerate(site.digital_sets.names):
        if path.casefold().endswith(f"enumerationsets[{name}]".casefold()):
            return number
    raise refused(404, "Enumeration set not found.")


def _sets(site: Site, request: IncomingRequest) -> Reply:
    require_server(request)
    items = [_set_object(site, request, number) for number in range(len(site.digital_sets.names))]
    return request.answer_list(items)


def _set(site: Site, request: IncomingRequest) -> Reply:
    return request.answer(_set_object(site, request, _number(site, request)))


def _values(site: Site, request: IncomingRequest) -> Reply:
    number = _number(site, request)
    kind = kind_of(request.query.one("webidtype"))
    owner = _set_object(site, request, number)
    if status := site.digital_sets.forbidden.get(owner["Name"]):
        raise refused(status, "Access to the requested resource is denied.")
    items = []
    for code, name in site.digital_sets.states(owner["Name"]).items():
        path = f"{owner['Path']}\\{name}"
        web_id = encode(kind, "MVD", (number, code), path)
        links = {"Self": f"{request.base}/enumerationvalues/{web_id}", "EnumerationSet": owner["Links"]["Self"]}
        items.append(
            {"WebId": web_id, "Id": _guid(path), "Name": name, "Description": "", "Value": code, "Path": path}
            | {"Parent": None, "Links": links}
        )
    return request.answer_list(items)


ROUTES = {
    "dataservers/*/enumerationsets": _sets,
    "enumerationsets": _set,
    "enumerationsets/*": _set,
    "enumerationsets/*/enumerationvalues": _values,
}
