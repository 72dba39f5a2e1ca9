"""Routes of stream updates: sign up for a stream, then ask with a marker what happened to it since.

A marker that is lost is a 404 and one that is none a 409 for a single stream; in a set each stream
says so for itself. Whatever goes wrong with a stream ends its sign-up, as on the real server.
"""

from __future__ import annotations

from typing import Any

from .call import Call
from .fields import pick
from .news import News, Overflow, news
from .render import event_object
from .replies import Refusal, Reply, json_reply, message, refused
from .signups import Signup
from .site import Site
from .webid import kind_of

__all__ = ["ROUTES", "WRITES"]

_CHANGED = "The signup was updated and any cached data could be invalid."
_REMOVED = "The signup was removed because it is no longer valid."
_LONGEST_LOCATION = 4096


def _require(site: Site) -> None:
    if not site.switches.updates:
        raise message(404, "No HTTP resource was found that matches the request URI.")


def _link(call: Call, marker: str) -> str:
    return f"{call.base}/streams/updates/{marker}"


def _source(site: Site, kind: str, index: int) -> dict[str, Any]:
    tag = site.point(index)
    return {"Source": site.web_id(kind, tag), "SourceName": tag.name, "SourcePath": site.path(tag)}


# --- signing up --------------------------------------------------------------


def _register(site: Site, call: Call, index: int, kind: str) -> dict[str, Any]:
    signup, fresh = site.signups.register(
        index, call.now, changes=len(site.history.changes(index)), version=site.roster.standing(index).version
    )
    return _source(site, kind, index) | {
        "LatestMarker": signup.marker,
        "Status": "Succeeded" if fresh else "AlreadyRegistered",
        "Exception": None,
        "Links": {"Updates": _link(call, signup.marker)},
    }


def _register_one(site: Site, call: Call) -> Reply:
    _require(site)
    kind = kind_of(call.query.one("webidtype"))
    body = _register(site, call, site.tag(call, call.parts[1]), kind)
    reply = json_reply(pick(body, call.query.fields()), site.switches.updates_register_status)
    reply.headers = {"Location": _link(call, body["LatestMarker"])}
    return reply


def _register_set(site: Site, call: Call) -> Reply:
    _require(site)
    asked, kind = call.query.many("webid"), kind_of(call.query.one("webidtype"))
    if not asked:
        raise refused(400, "The webId parameter is required.")
    items: list[dict[str, Any]] = []
    for web_id in asked:
        try:
            items.append(_register(site, call, site.tag(call, web_id), kind))
        except Refusal as refusal:
            if refusal.status == 400:
                raise
            items.append(
                {"Source": web_id, "SourceName": None, "SourcePath": None, "LatestMarker": "", "Status": "Failed"}
                | {"Exception": {"Errors": refusal.payload["Errors"]}, "Links": {}}
            )
    reply = json_reply(pick({"Links": {}, "Items": items}, call.query.fields()), site.switches.updates_register_status)
    markers = "&".join(f"marker={item['LatestMarker']}" for item in items if item["LatestMarker"])
    location = f"{call.base}/streamsets/updates?{markers}"
    if len(location) <= _LONGEST_LOCATION:
        reply.headers = {"Location": location}
    return reply


# --- asking ------------------------------------------------------------------


def _happened(site: Site, call: Call, signup: Signup) -> list[News]:
    """What a sign-up has not been told yet. Raises a 404 or what the tag says; then the sign-up is over."""
    standing, switches = site.roster.standing(signup.index), site.switches
    try:
        if standing.gone:
            raise refused(404, _REMOVED)
        site.checked(call, signup.index, "")
        if standing.version != signup.version:
            raise refused(404, _CHANGED)
        return news(
            site.history,
            signup.index,
            since=signup.since,
            known=signup.changes,
            now=call.now,
            most=switches.updates_buffer,
            refresh_over=switches.updates_refresh_over,
        )
    except Overflow:
        site.signups.drop(signup)
        raise refused(404, f"The cache for marker '{signup.marker}' was not found.") from None
    except Refusal:
        site.signups.drop(signup)
        raise


def _retrieve(site: Site, call: Call, marker: str, kind: str) -> dict[str, Any]:
    signup = site.signups.find(marker, call.now)
    found = _happened(site, call, signup)
    signup.since = max(signup.since, call.now)
    signup.changes = len(site.history.changes(signup.index))
    signup.told += len(found)
    return _source(site, kind, signup.index) | {
        "RequestedMarker": marker,
        "LatestMarker": signup.marker,
        "Status": "Updated",
        "Events": [_event(site, told) for told in found],
        "Exception": None,
        "Links": {"Next": _link(call, signup.marker)},
    }


def _event(site: Site, told: News) -> dict[str, Any]:
    head = {"Action": told.action, "PreviousEventAction": told.previous}
    return head | event_object(told.event, site.switches.nan)


def _retrieve_one(site: Site, call: Call) -> Reply:
    _require(site)
    body = _retrieve(site, call, call.parts[2], kind_of(call.query.one("webidtype")))
    reply = json_reply(pick(body, call.query.fields()))
    reply.headers = {"Location": _link(call, body["LatestMarker"])}
    reply.values = len(body["Events"])
    return reply


def _retrieve_set(site: Site, call: Call) -> Reply:
    _require(site)
    asked, kind = call.query.many("marker"), kind_of(call.query.one("webidtype"))
    if not asked:
        raise refused(400, "The marker parameter is required.")
    items: list[dict[str, Any]] = []
    for marker in asked:
        try:
            items.append(_retrieve(site, call, marker, kind))
        except Refusal as refusal:
            items.append(
                {"Source": None, "SourceName": None, "SourcePath": None, "RequestedMarker": marker, "LatestMarker": ""}
                | {"Status": "Failed", "Events": [], "Exception": {"Errors": refusal.payload["Errors"]}, "Links": {}}
            )
    reply = json_reply(pick({"Links": {}, "Items": items}, call.query.fields()))
    reply.values = sum(len(item["Events"]) for item in items)
    return reply


ROUTES = {"streams/updates/*": _retrieve_one, "streamsets/updates": _retrieve_set}
WRITES = {"streams/*/updates": _register_one, "streamsets/updates": _register_set}
