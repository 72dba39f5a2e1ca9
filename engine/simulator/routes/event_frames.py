"""Routes of event frames: lists in every search mode, single ones, their attributes, elements and annotations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..assets.frames import NO_END, PlantFrame
from ..assets.ids import guid
from ..assets.plant import Attribute
from ..replies import Reply, json_reply, refused
from ..request import IncomingRequest
from ..site import Site
from ..times import iso, parse_time
from ..wildcards import wildcard
from .asset_objects import (
    Json,
    element_of,
    frame_of,
    frame_path,
    page,
    require_database,
    show_attribute,
    show_element,
    show_frame,
)
from .assets import derived, fits_all, multiple, sorted_by, terms

_WALK = re.compile(r"(backward|forward)(fromstarttime|fromendtime|inprogress)")
_SEVERITIES = ("none", "information", "warning", "minor", "major", "critical")
_Chosen = Callable[[int, int, bool], bool]


def _when(site: Site, request: IncomingRequest, name: str, default: str) -> int:
    return parse_time(request.query.one(name) or default, request.query.one("timezone") or site.options.time_zone).at(
        request.now
    )


def _mode(site: Site, request: IncomingRequest) -> tuple[int, int, _Chosen, re.Match[str] | None]:
    """The range that frames are looked for in, and the test of start, end and being open. Raises a 400."""
    mode = request.query.one("searchmode").lower() or "overlapped"
    a = _when(site, request, "starttime", "*-8h")
    walk = _WALK.fullmatch(mode)
    if walk and any(request.query.one(name) for name in ("endtime", "sortfield", "sortorder")):
        raise refused(
            400, "The endTime, sortField and sortOrder parameters may not be specified with this search mode."
        )
    b = _when(site, request, "endtime", "*")
    if not walk and a > b:
        raise refused(400, "The startTime must be less than or equal to the endTime.")
    tests: dict[str, tuple[int, int, _Chosen]] = {
        "overlapped": (a, b, lambda s, e, _: s <= b and e >= a),
        "startinclusive": (a, b, lambda s, _e, _o: a <= s <= b),
        "endinclusive": (a, b, lambda _s, e, _o: a <= e <= b),
        "inclusive": (a, b, lambda s, e, _: a <= s and e <= b),
        "inprogress": (a, b, lambda s, _, is_open: is_open and a <= s <= b),
        "backwardfromstarttime": (0, a, lambda s, _e, _o: s <= a),
        "forwardfromstarttime": (a, NO_END, lambda s, _e, _o: s >= a),
        "backwardfromendtime": (0, a, lambda _s, e, _o: e <= a),
        "forwardfromendtime": (a, NO_END, lambda _s, e, _o: e >= a),
        "backwardinprogress": (0, a, lambda s, _, is_open: is_open and s <= a),
        "forwardinprogress": (a, NO_END, lambda s, _, is_open: is_open and s >= a),
    }
    if mode not in tests:
        raise refused(400, f"The value '{request.query.one('searchmode')}' is not valid for parameter 'searchMode'.")
    return (*tests[mode], walk)


def _fitting(site: Site, request: IncomingRequest, pool: Iterable[PlantFrame]) -> list[PlantFrame]:
    """Frames that all filters let through. Raises a 400 for an unknown template or severity."""
    query = request.query
    template = query.one("templatename")
    templates = derived(site, template, "EventFrame") if template else None
    severities = {one.lower() for one in query.many("severity")}
    if not severities <= set(_SEVERITIES):
        raise refused(400, f"The value '{query.one('severity')}' is not valid for parameter 'severity'.")
    of_template = query.one("referencedelementtemplatename") or query.one("referencedelementtemplate")
    element_templates = derived(site, of_template, "Element") if of_template else None
    name, element_name = wildcard(query.one("namefilter") or "*"), query.one("referencedelementnamefilter")
    category, acknowledged = query.one("categoryname").lower(), query.one("isacknowledged").lower()

    def fits(frame: PlantFrame) -> bool:
        there = [site.plant.element(one) for one in frame.elements if site.plant.exists(one)]
        return (
            name(frame.name)
            and (templates is None or frame.template.lower() in templates)
            and (not severities or frame.severity.lower() in severities)
            and (not category or category in {one.lower() for one in frame.categories})
            and (not acknowledged or (frame.acknowledged is not None) == (acknowledged == "true"))
            and (not element_name or any(wildcard(element_name)(one.name) for one in there))
            and (element_templates is None or any(one.template.lower() in element_templates for one in there))
        )

    return [frame for frame in pool if fits(frame)]


def _in_order(request: IncomingRequest, found: list[PlantFrame], walk: re.Match[str] | None) -> list[PlantFrame]:
    def end(frame: PlantFrame) -> int:
        return NO_END if frame.end is None else frame.end

    if walk:
        by_end = walk[2] == "fromendtime"
        return sorted(
            found,
            key=lambda frame: (end(frame) if by_end else frame.start, frame.number),
            reverse=walk[1] == "backward",
        )
    keys: dict[str, Callable[[PlantFrame], Any]] = {
        "name": lambda frame: frame.name.casefold(),
        "id": lambda frame: str(guid("frame", frame.number)),
        "type": lambda _: 0,
        "starttime": lambda frame: frame.start,
        "endtime": end,
    }
    # Equal ones in an order that cannot be guessed.
    return sorted_by(request, found, keys, lambda frame: frame.number * 2_654_435_761 % (1 << 32))


def _under(site: Site, request: IncomingRequest, top: PlantFrame) -> list[PlantFrame]:
    found: list[PlantFrame] = []
    waiting = site.frames.children(top.number, request.now)
    while waiting:
        found += waiting
        deep = request.query.flag("searchfullhierarchy")
        waiting = [child for one in waiting for child in site.frames.children(one.number, request.now)] if deep else []
    return found


def _chosen(site: Site, request: IncomingRequest) -> tuple[list[PlantFrame], re.Match[str] | None]:
    start, end, fits, walk = _mode(site, request)
    room = request.parts[0].lower()
    if room == "eventframes":
        pool: Iterable[PlantFrame] = _under(site, request, frame_of(site, request, request.parts[1]))
    else:
        pool = site.frames.overlapping(start, end, request.now)
        if room == "elements":
            number = element_of(site, request.parts[1])
            pool = (frame for frame in pool if number in frame.elements)
        else:
            require_database(site, request)
            if not request.query.flag("searchfullhierarchy"):
                pool = (frame for frame in pool if frame.parent is None)
    found = [f for f in pool if fits(f.start, NO_END if f.end is None else f.end, f.end is None)]
    return _fitting(site, request, found), walk


def _frames(site: Site, request: IncomingRequest) -> Reply:
    found, walk = _chosen(site, request)
    return page(site, request, _in_order(request, found, walk), partial(show_frame, site, request))


def _frame(site: Site, request: IncomingRequest) -> Reply:
    if len(request.parts) > 1:
        return request.answer(show_frame(site, request, frame_of(site, request, request.parts[1])))
    path = request.query.one("path")
    for frame in site.frames.overlapping(0, NO_END, request.now):
        if path and frame_path(site, frame, request.now).casefold() == path.casefold():
            return request.answer(show_frame(site, request, frame))
    raise refused(
        404 if path else 400, f"Event frame not found '{path}'." if path else "The path parameter is required."
    )


def _multiple(site: Site, request: IncomingRequest) -> Reply:
    def never(path: str) -> dict[str, Any]:
        raise refused(404, f"Event frame not found '{path}'.")

    return multiple(request, lambda one: show_frame(site, request, frame_of(site, request, one)), never)


def _search(site: Site, request: IncomingRequest) -> Reply:
    require_database(site, request, request.query.one("databasewebid"))

    conditions = terms(request.query.one("query"))

    def compares(at: int, sign: str, value: str) -> bool:
        mark = parse_time(value, site.options.time_zone).at(request.now)
        compared = {"=": at == mark, "<": at < mark, ">": at > mark, "<=": at <= mark, ">=": at >= mark}
        return compared.get(sign, at == mark)

    def fits(frame: PlantFrame) -> bool:
        end = NO_END if frame.end is None else frame.end
        tests = {
            "name": lambda _, value: wildcard(value)(frame.name),
            "template": lambda _, value: frame.template.lower() in derived(site, value, "EventFrame"),
            "category": lambda _, value: value.lower() in {one.lower() for one in frame.categories},
            "start": lambda sign, value: compares(frame.start, sign, value),
            "end": lambda sign, value: compares(end, sign, value),
            "inprogress": lambda _, value: (frame.end is None) == (value.lower() == "true"),
        }
        return fits_all(conditions, tests)

    found = [frame for frame in site.frames.overlapping(0, NO_END, request.now) if fits(frame)]
    return page(site, request, _in_order(request, found, None), partial(show_frame, site, request))


def _attributes(site: Site, request: IncomingRequest) -> Reply:
    frame = frame_of(site, request, request.parts[1])
    name = wildcard(request.query.one("namefilter") or "*")
    found = [one for one in site.frames.attributes(frame) if name(one.name)]
    keys = {"name": lambda one: one.name.casefold(), "id": lambda one: one.place, "type": lambda one: one.type}
    return page(
        site,
        request,
        sorted_by(request, found, keys, lambda one: one.place),
        lambda one: show_attribute(site, request, one, frame),
    )


def _frame_attributes(site: Site, request: IncomingRequest) -> Reply:
    """Attributes of many frames at once: of all that the filters and the search mode choose."""
    frames, _ = _chosen(site, request)
    if request.parts[0].lower() == "eventframes":
        frames = [frame_of(site, request, request.parts[1]), *frames]
    of_frame = wildcard(request.query.one("eventframenamefilter") or "*")
    name = wildcard(request.query.one("attributenamefilter") or "*")
    found: list[tuple[PlantFrame, Attribute]] = [
        (frame, one)
        for frame in sorted(frames, key=lambda frame: frame.number)
        if of_frame(frame.name)
        for one in site.frames.attributes(frame)
        if name(one.name)
    ]
    found.sort(key=lambda pair: pair[1].name.casefold())
    return page(site, request, found, lambda pair: show_attribute(site, request, pair[1], pair[0]))


def _referenced(site: Site, request: IncomingRequest) -> Reply:
    frame = frame_of(site, request, request.parts[1])
    return page(
        site, request, [one for one in frame.elements if site.plant.exists(one)], partial(show_element, site, request)
    )


def _annotations(site: Site, request: IncomingRequest) -> Reply:
    frame = frame_of(site, request, request.parts[1])
    items: list[Json] = [
        {
            "Id": str(guid(f"note {place}", frame.number % (1 << 31))),
            "Name": note.name,
            "Description": "",
            "Value": note.name,
            "Creator": note.by,
            "CreationDate": iso(note.at),
            "Modifier": note.by,
            "ModifyDate": iso(note.at),
            "Errors": None,
            "Links": {},
        }
        for place, note in enumerate(frame.notes)
    ]
    return request.answer_list(items)


def _categories(site: Site, request: IncomingRequest) -> Reply:
    frame_of(site, request, request.parts[1])
    return json_reply({"Links": {}, "Items": []})


ROUTES: dict[str, Callable[[Site, IncomingRequest], Reply]] = {
    "assetdatabases/*/eventframes": _frames,
    "elements/*/eventframes": _frames,
    "eventframes/*/eventframes": _frames,
    "eventframes": _frame,
    "eventframes/*": _frame,
    "eventframes/search": _search,
    "eventframes/multiple": _multiple,
    "eventframes/*/attributes": _attributes,
    "eventframes/*/eventframeattributes": _frame_attributes,
    "assetdatabases/*/eventframeattributes": _frame_attributes,
    "eventframes/*/referencedelements": _referenced,
    "eventframes/*/annotations": _annotations,
    "eventframes/*/categories": _categories,
}
