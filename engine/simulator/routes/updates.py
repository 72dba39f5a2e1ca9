"""Routes of stream updates: subscribe to a stream, then ask with a marker for the updates since.

For a single stream a lost marker is a 404, and a malformed one a 409; in a set each stream has its own error. Any
error of a stream ends its subscription, as on the real server.
"""

from __future__ import annotations

from typing import Any

from ..archive.subscriptions import Subscription
from ..archive.update_messages import Overflow, UpdateMessage, update_messages
from ..render import event_object
from ..replies import Refusal, Reply, message, refused
from ..request import IncomingRequest
from ..site import Site
from ..webid import kind_of

_CHANGED = "The signup was updated and any cached data could be invalid."
_REMOVED = "The signup was removed because it is no longer valid."
_LONGEST_LOCATION = 4096


def _require(site: Site) -> None:
    if not site.switches.updates:
        raise message(404, "No HTTP resource was found that matches the request URI.")


def _link(request: IncomingRequest, marker: str) -> str:
    return f"{request.base}/streams/updates/{marker}"


def _source(site: Site, kind: str, index: int) -> dict[str, Any]:
    tag = site.point(index)
    return {"Source": site.web_id(kind, tag), "SourceName": tag.name, "SourcePath": site.path(tag)}


# --- subscribing -------------------------------------------------------------


def _register(site: Site, request: IncomingRequest, index: int, kind: str) -> dict[str, Any]:
    subscription, fresh = site.subscriptions.register(
        index, request.now, changes=len(site.history.changes(index)), version=site.registry.state(index).version
    )
    return _source(site, kind, index) | {
        "LatestMarker": subscription.marker,
        "Status": "Succeeded" if fresh else "AlreadyRegistered",
        "Exception": None,
        "Links": {"Updates": _link(request, subscription.marker)},
    }


def _register_one(site: Site, request: IncomingRequest) -> Reply:
    _require(site)
    kind = kind_of(request.query.one("webidtype"))
    body = _register(site, request, site.tag(request, request.parts[1]), kind)
    reply = request.answer(body, site.switches.updates_register_status)
    reply.headers = {"Location": _link(request, body["LatestMarker"])}
    return reply


def _register_set(site: Site, request: IncomingRequest) -> Reply:
    _require(site)
    asked, kind = request.query.many("webid"), kind_of(request.query.one("webidtype"))
    if not asked:
        raise refused(400, "The webId parameter is required.")
    items: list[dict[str, Any]] = []
    for web_id in asked:
        try:
            items.append(_register(site, request, site.tag(request, web_id), kind))
        except Refusal as refusal:
            if refusal.status == 400:
                raise
            items.append(
                {"Source": web_id, "SourceName": None, "SourcePath": None, "LatestMarker": "", "Status": "Failed"}
                | {"Exception": {"Errors": refusal.payload["Errors"]}, "Links": {}}
            )
    reply = request.answer_list(items, site.switches.updates_register_status)
    markers = "&".join(f"marker={item['LatestMarker']}" for item in items if item["LatestMarker"])
    location = f"{request.base}/streamsets/updates?{markers}"
    if len(location) <= _LONGEST_LOCATION:
        reply.headers = {"Location": location}
    return reply


# --- asking ------------------------------------------------------------------


def _new_messages(site: Site, request: IncomingRequest, subscription: Subscription) -> list[UpdateMessage]:
    """The messages that a subscription has not had yet. Raises a 404, or the refusal of the tag, and ends it then."""
    state, switches = site.registry.state(subscription.index), site.switches
    try:
        if state.gone:
            raise refused(404, _REMOVED)
        site.require_readable(request, subscription.index, "")
        if state.version != subscription.version:
            raise refused(404, _CHANGED)
        return update_messages(
            site.history,
            subscription.index,
            since=subscription.since,
            known=subscription.changes,
            now=request.now,
            most=switches.updates_buffer,
            refresh_over=switches.updates_refresh_over,
        )
    except Overflow:
        site.subscriptions.drop(subscription)
        raise refused(404, f"The cache for marker '{subscription.marker}' was not found.") from None
    except Refusal:
        site.subscriptions.drop(subscription)
        raise


def _retrieve(site: Site, request: IncomingRequest, marker: str, kind: str) -> dict[str, Any]:
    subscription = site.subscriptions.find(marker, request.now)
    found = _new_messages(site, request, subscription)
    subscription.since = max(subscription.since, request.now)
    subscription.changes = len(site.history.changes(subscription.index))
    subscription.sent += len(found)
    return _source(site, kind, subscription.index) | {
        "RequestedMarker": marker,
        "LatestMarker": subscription.marker,
        "Status": "Updated",
        "Events": [_event(site, message) for message in found],
        "Exception": None,
        "Links": {"Next": _link(request, subscription.marker)},
    }


def _event(site: Site, message: UpdateMessage) -> dict[str, Any]:
    head = {"Action": message.action, "PreviousEventAction": message.previous}
    return head | event_object(message.event, site.switches.nan)


def _retrieve_one(site: Site, request: IncomingRequest) -> Reply:
    _require(site)
    body = _retrieve(site, request, request.parts[2], kind_of(request.query.one("webidtype")))
    reply = request.answer(body)
    reply.headers = {"Location": _link(request, body["LatestMarker"])}
    reply.values = len(body["Events"])
    return reply


def _retrieve_set(site: Site, request: IncomingRequest) -> Reply:
    _require(site)
    asked, kind = request.query.many("marker"), kind_of(request.query.one("webidtype"))
    if not asked:
        raise refused(400, "The marker parameter is required.")
    items: list[dict[str, Any]] = []
    for marker in asked:
        try:
            items.append(_retrieve(site, request, marker, kind))
        except Refusal as refusal:
            items.append(
                {"Source": None, "SourceName": None, "SourcePath": None, "RequestedMarker": marker, "LatestMarker": ""}
                | {"Status": "Failed", "Events": [], "Exception": {"Errors": refusal.payload["Errors"]}, "Links": {}}
            )
    reply = request.answer_list(items)
    reply.values = sum(len(item["Events"]) for item in items)
    return reply


ROUTES = {"streams/updates/*": _retrieve_one, "streamsets/updates": _retrieve_set}
WRITES = {"streams/*/updates": _register_one, "streamsets/updates": _register_set}
