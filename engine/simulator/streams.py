"""Routes of single values: snapshots, values at times and interpolated series, alone and in sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .call import Call, Query
from .faults import Switches
from .fields import pick
from .history import FOREVER
from .lane import no_filter
from .recorded import tags_of_set
from .render import event_object
from .replies import Refusal, Reply, json_reply, refused
from .sampling import no_data, value_at
from .site import Site
from .times import parse_span, parse_time
from .values import Event
from .webid import kind_of

__all__ = ["ROUTES", "One", "alone", "in_set", "instant", "limit"]

# What one stream answers: the members of its answer, `Value` or `Items` among them in a set.
One: TypeAlias = Callable[[Site, Call, int], Any]
_MODES = ("Auto", "AtOrBefore", "Before", "AtOrAfter", "After", "Exact")


def _object(site: Site, event: Event) -> dict[str, Any]:
    return event_object(event, site.switches.nan)


def _instant(site: Site, call: Call, name: str, default: str) -> int:
    return instant(call.query, name, default, site.options.time_zone, call.now)


def instant(query: Query, name: str, default: str, zone: str, now: int) -> int:
    """The instant a parameter names. Raises a 400."""
    return parse_time(query.one(name) or default, query.one("timezone") or zone).at(now)


def _range(site: Site, call: Call) -> tuple[int, int]:
    return _instant(site, call, "starttime", "*-1d"), _instant(site, call, "endtime", "*")


def _value(site: Site, call: Call, index: int) -> Any:
    if call.query.one("time"):
        return _object(site, value_at(site, index, _instant(site, call, "time", "*"), call.now))
    return _object(site, site.history.last(index, call.now, call.now) or no_data(call.now))


def _end(site: Site, call: Call, index: int) -> Any:
    return _object(site, site.history.last(index, FOREVER, call.now) or no_data(call.now))


def _at_time(site: Site, call: Call, index: int, text: str) -> Event:
    mode = call.query.choice("retrievalmode", _MODES)
    zone = call.query.one("timezone") or site.options.time_zone
    ticks, history, now = parse_time(text, zone).at(call.now), site.history, call.now
    found = {
        "Auto": lambda: history.last(index, ticks, now) or history.after(index, ticks, now),
        "AtOrBefore": lambda: history.last(index, ticks, now),
        "Before": lambda: history.last(index, ticks - 1, now),
        "AtOrAfter": lambda: history.after(index, ticks - 1, now),
        "After": lambda: history.after(index, ticks, now),
        "Exact": lambda: next(iter(history.window(index, ticks, ticks, now)), None),
    }[mode]()
    return found or no_data(ticks)


def _recorded_at_time(site: Site, call: Call, index: int) -> Any:
    if not call.query.one("time"):
        raise refused(400, "The time parameter is required.")
    return _object(site, _at_time(site, call, index, call.query.one("time")))


def _recorded_at_times(site: Site, call: Call, index: int) -> Any:
    times = call.query.many("time")
    if not times:
        raise refused(400, "The time parameter is required.")
    return [_object(site, _at_time(site, call, index, text)) for text in times]


def _interpolated(site: Site, call: Call, index: int) -> Any:
    no_filter(call.query, in_set=call.parts[0].lower() == "streamsets")
    start, end = _range(site, call)
    step = parse_span(call.query.one("interval") or "1h")
    limit(site.switches, abs(end - start) // step + 1)
    instants = range(start, end + 1, step) if end >= start else range(start, end - 1, -step)
    return [_object(site, value_at(site, index, ticks, call.now)) for ticks in instants]


def limit(switches: Switches, count: int) -> None:
    """Refuse an answer of too many items. Raises a 400."""
    if count > switches.max_items:
        raise refused(400, f"Parameter (maxCount) is greater than the maximum allowed ({switches.max_items}).")


def _body(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Many values of one stream: summaries, or events and their unit."""
    return {"Items": found} | ({} if found and "Type" in found[0] else {"UnitsAbbreviation": ""})


def alone(one: One) -> Callable[[Site, Call], Reply]:
    """The route of one stream."""

    def route(site: Site, call: Call) -> Reply:
        found = one(site, call, site.tag(call, call.parts[1]))
        if isinstance(found, list):
            found = _body(found)
            if "UnitsAbbreviation" not in found:
                found = {"Links": {}} | found
        return json_reply(pick(found, call.query.fields()))

    return route


def in_set(one: One) -> Callable[[Site, Call], Reply]:
    """The route of an ad hoc set of streams."""

    def route(site: Site, call: Call) -> Reply:
        kind = kind_of(call.query.one("webidtype"))
        items: list[dict[str, Any]] = []
        for asked, index in tags_of_set(site, call):
            if isinstance(index, Refusal):
                items.append({"WebId": asked, "Name": None, "Path": None, "Errors": index.payload["Errors"]})
                continue
            tag = site.point(index)
            web_id = site.web_id(kind, tag)
            item: dict[str, Any] = {"WebId": web_id, "Name": tag.name, "Path": site.path(tag)}
            found = one(site, call, index)
            item |= _body(found) if isinstance(found, list) else {"Value": found}
            items.append(item | {"Links": {"Source": f"{call.base}/points/{web_id}"}})
        return json_reply(pick({"Links": {}, "Items": items}, call.query.fields()))

    return route


_ONE: dict[str, One] = {
    "value": _value,
    "end": _end,
    "recordedattime": _recorded_at_time,
    "recordedattimes": _recorded_at_times,
    "interpolated": _interpolated,
}
ROUTES = {f"streams/*/{name}": alone(one) for name, one in _ONE.items()} | {
    f"streamsets/{name}": in_set(one) for name, one in _ONE.items()
}
