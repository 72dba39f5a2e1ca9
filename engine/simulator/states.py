"""Routes of digital state sets: the SYSTEM set (number 0) and the sets of the digital tags, as they stand now."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from .call import Call
from .catalog import require_server
from .fields import pick
from .replies import Reply, json_reply, refused
from .site import Site
from .webid import SERVER_ID, decode, encode, kind_of

__all__ = ["ROUTES"]


def _guid(path: str) -> str:
    return str(uuid5(UUID(str(SERVER_ID)), path))


def _set_object(site: Site, call: Call, number: int) -> dict[str, Any]:
    kind = kind_of(call.query.one("webidtype"))
    name = site.sets.names[number]
    path = f"\\\\PIServers[{site.options.server}]\\EnumerationSets[{name}]"
    web_id = encode(kind, "MSD", (number,), path)
    here = f"{call.base}/enumerationsets/{web_id}"
    return {
        "WebId": web_id,
        "Id": _guid(path),
        "Name": name,
        "Description": "",
        "Path": path,
        "Links": {
            "Self": here,
            "DataServer": f"{call.base}/dataservers/{site.server_web_id(kind)}",
            "Values": f"{here}/enumerationvalues",
        },
    }


def _number(site: Site, call: Call) -> int:
    """Which set is asked for, by WebID or path. Raises a 400 or 404."""
    path = call.query.one("path")
    if len(call.parts) > 1:
        found = decode(call.parts[1])
        if found.path is None and found.marker == "MSD" and 0 <= found.numbers[0] < len(site.sets.names):
            return found.numbers[0]
        path = found.path or ""
    elif not path:
        raise refused(400, "The path parameter is required.")
    for number, name in enumerate(site.sets.names):
        if path.casefold().endswith(f"enumerationsets[{name}]".casefold()):
            return number
    raise refused(404, "Enumeration set not found.")


def _sets(site: Site, call: Call) -> Reply:
    require_server(call)
    items = [_set_object(site, call, number) for number in range(len(site.sets.names))]
    return json_reply(pick({"Links": {}, "Items": items}, call.query.fields()))


def _set(site: Site, call: Call) -> Reply:
    return json_reply(pick(_set_object(site, call, _number(site, call)), call.query.fields()))


def _values(site: Site, call: Call) -> Reply:
    number = _number(site, call)
    kind = kind_of(call.query.one("webidtype"))
    owner = _set_object(site, call, number)
    if status := site.sets.forbidden.get(owner["Name"]):
        raise refused(status, "Access to the requested resource is denied.")
    items = []
    for code, name in site.sets.states(owner["Name"]).items():
        path = f"{owner['Path']}\\{name}"
        web_id = encode(kind, "MVD", (number, code), path)
        links = {"Self": f"{call.base}/enumerationvalues/{web_id}", "EnumerationSet": owner["Links"]["Self"]}
        items.append(
            {"WebId": web_id, "Id": _guid(path), "Name": name, "Description": "", "Value": code, "Path": path}
            | {"Parent": None, "Links": links}
        )
    return json_reply(pick({"Links": {}, "Items": items}, call.query.fields()))


ROUTES = {
    "dataservers/*/enumerationsets": _sets,
    "enumerationsets": _set,
    "enumerationsets/*": _set,
    "enumerationsets/*/enumerationvalues": _values,
}
