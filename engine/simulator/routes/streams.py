"""Routes of values that are worked out: snapshots, values at times, interpolated series and plots, of one stream and of a set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..archive.history import FOREVER
from ..archive.sampling import no_data, plot, value_at
from ..archive.values import Event
from ..faults.plan import Switches
from ..render import event_object
from ..replies import Refusal, Reply, refused
from ..request import IncomingRequest, Query
from ..site import Site
from ..times import parse_span, parse_time
from ..webid import kind_of
from .recorded import tags_of_set
from .recorded_query import refuse_filters

# Computes the answer of one stream: one value as a dictionary, or a list of them.
StreamAnswer: TypeAlias = Callable[[Site, IncomingRequest, int], Any]
_MODES = ("Auto", "AtOrBefore", "Before", "AtOrAfter", "After", "Exact")


def _object(site: Site, event: Event) -> dict[str, Any]:
    return event_object(event, site.switches.nan)


def _instant(site: Site, request: IncomingRequest, name: str, default: str) -> int:
    return instant(request.query, name, default, site.options.time_zone, request.now)


def instant(query: Query, name: str, default: str, zone: str, now: int) -> int:
    """The instant a parameter names. Raises a 400."""
    return parse_time(query.one(name) or default, query.one("timezone") or zone).at(now)


def _range(site: Site, request: IncomingRequest) -> tuple[int, int]:
    return _instant(site, request, "starttime", "*-1d"), _instant(site, request, "endtime", "*")


def _value(site: Site, request: IncomingRequest, index: int) -> Any:
    if request.query.one("time"):
        return _object(site, value_at(site, index, _instant(site, request, "time", "*"), request.now))
    return _object(site, site.history.last(index, request.now, request.now) or no_data(request.now))


def _end(site: Site, request: IncomingRequest, index: int) -> Any:
    return _object(site, site.history.last(index, FOREVER, request.now) or no_data(request.now))


def _at_time(site: Site, request: IncomingRequest, index: int, text: str) -> Event:
    mode = request.query.choice("retrievalmode", _MODES)
    zone = request.query.one("timezone") or site.options.time_zone
    ticks, history, now = parse_time(text, zone).at(request.now), site.history, request.now
    found = {
        "Auto": lambda: history.last(index, ticks, now) or history.after(index, ticks, now),
        "AtOrBefore": lambda: history.last(index, ticks, now),
        "Before": lambda: history.last(index, ticks - 1, now),
        "AtOrAfter": lambda: history.after(index, ticks - 1, now),
        "After": lambda: history.after(index, ticks, now),
        "Exact": lambda: next(iter(history.window(index, ticks, ticks, now)), None),
    }[mode]()
    return found or no_data(ticks)


def _recorded_at_time(site: Site, request: IncomingRequest, index: int) -> Any:
    if not request.query.one("time"):
        raise refused(400, "The time parameter is required.")
    return _object(site, _at_time(site, request, index, request.query.one("time")))


def _recorded_at_times(site: Site, request: IncomingRequest, index: int) -> Any:
    times = request.query.many("time")
    if not times:
        raise refused(400, "The time parameter is required.")
    return [_object(site, _at_time(site, request, index, text)) for text in times]


def _interpolated(site: Site, request: IncomingRequest, index: int) -> Any:
    refuse_filters(request.query, in_set=request.parts[0].lower() == "streamsets")
    start, end = _range(site, request)
    step = parse_span(request.query.one("interval") or "1h")
    refuse_too_many(site.switches, abs(end - start) // step + 1)
    instants = range(start, end + 1, step) if end >= start else range(start, end - 1, -step)
    return [_object(site, value_at(site, index, ticks, request.now)) for ticks in instants]


def _interpolated_at_times(site: Site, request: IncomingRequest, index: int) -> Any:
    refuse_filters(request.query, in_set=request.parts[0].lower() == "streamsets")
    return [_object(site, value_at(site, index, ticks, request.now)) for ticks in instants_asked(site, request)]


def instants_asked(site: Site, request: IncomingRequest) -> list[int]:
    """The instants that `time` names, once or often, in the order of `sortOrder`. Raises a 400."""
    query, zone = request.query, request.query.one("timezone") or site.options.time_zone
    times = [parse_time(text, zone).at(request.now) for text in query.many("time")]
    if not times:
        raise refused(400, "The time parameter is required.")
    refuse_too_many(site.switches, len(times))
    return sorted(times, reverse=query.choice("sortorder", ("Ascending", "Descending")) == "Descending")


def _plot(site: Site, request: IncomingRequest, index: int) -> Any:
    start, end = _range(site, request)
    parts = request.query.whole("intervals", 24, least=1)
    refuse_too_many(site.switches, 5 * parts)
    found = plot(site, index, min(start, end), max(start, end), parts=parts, now=request.now)
    return [_object(site, event) for event in (found if start <= end else reversed(found))]


def refuse_too_many(switches: Switches, count: int) -> None:
    """Refuse an answer of too many items. Raises a 400."""
    if count > switches.max_items:
        raise refused(400, f"Parameter (maxCount) is greater than the maximum allowed ({switches.max_items}).")


def _body(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Many values of one stream: summaries, or events and their unit."""
    return {"Items": found} | ({} if found and "Type" in found[0] else {"UnitsAbbreviation": ""})


def stream_route(answer_of: StreamAnswer) -> Callable[[Site, IncomingRequest], Reply]:
    """The route of one stream."""

    def route(site: Site, request: IncomingRequest) -> Reply:
        found = answer_of(site, request, site.tag(request, request.parts[1]))
        if isinstance(found, list):
            found = _body(found)
            if "UnitsAbbreviation" not in found:
                found = {"Links": {}} | found
        return request.answer(found)

    return route


def set_route(answer_of: StreamAnswer) -> Callable[[Site, IncomingRequest], Reply]:
    """The route of an ad hoc set of streams."""

    def route(site: Site, request: IncomingRequest) -> Reply:
        kind = kind_of(request.query.one("webidtype"))
        items: list[dict[str, Any]] = []
        for asked, index in tags_of_set(site, request):
            if isinstance(index, Refusal):
                items.append({"WebId": asked, "Name": None, "Path": None, "Errors": index.payload["Errors"]})
                continue
            tag = site.point(index)
            web_id = site.web_id(kind, tag)
            item: dict[str, Any] = {"WebId": web_id, "Name": tag.name, "Path": site.path(tag)}
            found = answer_of(site, request, index)
            item |= _body(found) if isinstance(found, list) else {"Value": found}
            items.append(item | {"Links": {"Source": f"{request.base}/points/{web_id}"}})
        return request.answer_list(items)

    return route


_ANSWERS: dict[str, StreamAnswer] = {
    "value": _value,
    "end": _end,
    "recordedattime": _recorded_at_time,
    "recordedattimes": _recorded_at_times,
    "interpolated": _interpolated,
    "interpolatedattimes": _interpolated_at_times,
    "plot": _plot,
}
ROUTES = {f"streams/*/{name}": stream_route(answer_of) for name, answer_of in _ANSWERS.items()} | {
    f"streamsets/{name}": set_route(answer_of) for name, answer_of in _ANSWERS.items()
}
