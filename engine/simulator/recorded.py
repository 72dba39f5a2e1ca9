"""Routes of recorded values, single and in sets: the hot path of any extractor.

Both ends of a range are inclusive, and a range is cut at `maxCount` without a sign, as on the real
server. Parameters shared by a hundred parts of a batch are understood once. The sum of the work per
event is a few list slices in `render`; only tags with edits or faults are walked event by event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from .call import Call, Query
from .fields import Tree, below, wants
from .render import Layout, fast_items, slow_items
from .replies import Refusal, Reply, json_bytes, refused
from .sampling import value_at
from .site import Site
from .times import TimeText, parse_time
from .values import Event
from .webid import kind_of

__all__ = ["ROUTES", "no_filter", "tags_of_set"]

_TRIVIAL_FILTERS = {"", "1=1", "1 = 1", "true"}


@dataclass(frozen=True, slots=True)
class _Ask:
    """The parameters of a recorded question, understood."""

    start: TimeText
    end: TimeText
    boundary: str
    max_count: int
    layout: Layout
    opening: bytes
    closing: bytes
    items: bool


def _read(query_text: str, in_set: bool, max_items: int, nan: str, zone: str) -> _Ask:
    query = Query(query_text)
    no_filter(query)
    zone = query.one("timezone") or zone
    tree = query.fields()
    if in_set:
        tree = below(tree, "Items") if wants(tree, "Items") else {}
    items, units = wants(tree, "Items"), wants(tree, "UnitsAbbreviation")
    closing = b"]" * items + b',"UnitsAbbreviation":""' * units
    return _Ask(
        start=parse_time(query.one("starttime") or "*-1d", zone),
        end=parse_time(query.one("endtime"), zone),
        boundary=query.choice("boundarytype", ("Inside", "Outside", "Interpolated")),
        max_count=query.whole("maxcount", 1000, least=1, most=max_items),
        layout=Layout.of(below(tree, "Items") if items else {}, nan),
        opening=b'{"Items":[' if items else b"{",
        closing=(closing if items else closing[1:]) + b"}",
        items=items,
    )


_read_cached = lru_cache(maxsize=1024)(_read)


def _ask(site: Site, call: Call, *, in_set: bool = False) -> _Ask:
    # A query that names a hundred streams comes once; one shared by a hundred parts of a batch is short.
    read = _read_cached if len(call.query_text) < 1024 else _read
    return read(call.query_text, in_set, site.switches.max_items, site.switches.nan, site.options.time_zone)


def no_filter(query: Query) -> None:
    """Refuse what takes a filter engine. Raises a 409."""
    expression = query.one("filterexpression").strip()
    if expression.lower() not in _TRIVIAL_FILTERS:
        raise refused(409, f"The filter expression '{expression}' is not supported for this stream.")
    if units := query.one("desiredunits"):
        raise refused(409, f"The unit '{units}' is not compatible with this stream.")


def _items(site: Site, index: int, ask: _Ask, now: int, limit: int) -> tuple[list[bytes], int]:
    """Fragments of the events asked for, each event begun by a comma, and how many events they are."""
    start, end = ask.start.at(now), ask.end.at(now)
    first, last, backwards = (end, start, True) if end < start else (start, end, False)
    if ask.boundary == "Inside" and site.history.plain(index):
        found, number, to = site.history.numbers(index, first, last, now)
        if to - number > limit:
            number, to = (to - limit, to) if backwards else (number, number + limit)
        fragments = fast_items(found, number, to, ask.layout)
        count = max(0, to - number)
        return (_reversed(fragments, count) if backwards else fragments), count
    events = _bounded(site, index, ask.boundary, first=first, last=last, now=now)
    if backwards:
        events.reverse()
    del events[limit:]
    return slow_items(events, ask.layout), len(events)


def _reversed(fragments: list[bytes], count: int) -> list[bytes]:
    each = len(fragments) // count if count else 1
    turned = fragments[:]
    for place in range(each):
        turned[place::each] = fragments[place::each][::-1]
    return turned


def _bounded(site: Site, index: int, boundary: str, *, first: int, last: int, now: int) -> list[Event]:
    """Events of a closed range with what the boundary type adds at its ends."""
    history = site.history
    events = history.recorded(index, first, last, now)
    if boundary == "Outside":
        before, after = history.last(index, first - 1, now), history.after(index, last, now)
        events = [*([before] if before else []), *events, *([after] if after else [])]
    elif boundary == "Interpolated":
        if not events or events[0].ticks != first:
            events.insert(0, value_at(site, index, first, now))
        if events[-1].ticks != last:
            events.append(value_at(site, index, last, now))
    return events


def _stream(site: Site, call: Call) -> Reply:
    ask = _ask(site, call)
    index = site.tag(call, call.parts[1])
    if not ask.items:
        return Reply(200, [ask.opening + ask.closing])
    fragments, count = _items(site, index, ask, call.now, ask.max_count)
    if not fragments:
        return Reply(200, [ask.opening + ask.closing])
    fragments[0] = ask.opening + fragments[0][1:]
    fragments.append(ask.closing)
    return Reply(200, [b"".join(fragments)], values=count)


def tags_of_set(site: Site, call: Call) -> Iterator[tuple[str, int | Refusal]]:
    """The streams of an ad hoc set in the order asked, or by name where told to. Raises a 4xx for a bad one."""
    asked = call.query.many("webid")
    if not asked:
        raise refused(400, "The webId parameter is required.")
    found: list[tuple[str, int | Refusal]] = []
    for web_id in asked:
        try:
            found.append((web_id, site.tag(call, web_id)))
        except Refusal as refusal:
            mode = site.switches.bad_web_id
            if mode == "per_stream":
                found.append((web_id, refusal))
            else:
                raise Refusal(mode if refusal.status in {400, 404} else refusal.status, refusal.payload) from None
    if call.query.choice("sortfield", ("", "Name")) == "Name":
        down = call.query.choice("sortorder", ("Ascending", "Descending")) == "Descending"
        found.sort(key=lambda pair: "" if isinstance(pair[1], Refusal) else site.point(pair[1]).name, reverse=down)
    return iter(found)


def _set(site: Site, call: Call) -> Reply:
    ask = _ask(site, call, in_set=True)
    tree = call.query.fields()
    kind = kind_of(call.query.one("webidtype"))
    streams = list(tags_of_set(site, call))
    most = site.switches.max_items
    if site.switches.check_product and len(streams) * ask.max_count > most:
        raise refused(400, f"Parameter (maxCount) is greater than the maximum allowed ({most}).")
    if not wants(tree, "Items"):
        return Reply(200, [b'{"Links":{}}' if wants(tree, "Links") else b"{}"])
    heads = _heads(site, call, kind, streams)
    left = ask.max_count
    chunks, total = [b'{"Links":{},"Items":[' if wants(tree, "Links") else b'{"Items":['], 0
    for number, ((_, index), (head, tail)) in enumerate(zip(streams, heads, strict=True)):
        fragments, count = ([], 0) if isinstance(index, Refusal) else _items(site, index, ask, call.now, left)
        if fragments:
            fragments[0] = fragments[0][1:]
        # Head, `"Items":[..],"UnitsAbbreviation":""` and tail are joined by commas where not empty.
        body = ask.opening[1:] + (b"".join(fragments) if ask.items else b"") + ask.closing[:-1]
        inner = b",".join(part for part in (head, body, tail) if part)
        chunks.append((b",{" if number else b"{") + inner + b"}")
        total += count
        if site.switches.streamset_max_count == "total":
            left -= count
    chunks.append(b"]}")
    return Reply(200, chunks, values=total)


def _heads(
    site: Site, call: Call, kind: str, streams: list[tuple[str, int | Refusal]]
) -> Iterator[tuple[bytes, bytes]]:
    """What stands before and after the events of each stream."""
    tree = below(call.query.fields(), "Items")
    for asked, index in streams:
        if isinstance(index, Refusal):
            missing = {"WebId": asked, "Name": None, "Path": None}
            yield _members(missing, tree), _members({"Errors": index.payload["Errors"]}, tree)
        else:
            tag = site.point(index)
            web_id = site.web_id(kind, tag)
            known = {"WebId": web_id, "Name": tag.name, "Path": site.path(tag)}
            links = {"Links": {"Source": f"{call.base}/points/{web_id}"}}
            yield _members(known, tree), _members(links, tree)


def _members(members: Mapping[str, object], tree: Tree) -> bytes:
    """Wanted members as JSON, without the braces. `Errors` is never left out."""
    kept = {name: value for name, value in members.items() if name == "Errors" or wants(tree, name)}
    return json_bytes(kept)[1:-1]


ROUTES = {"streams/*/recorded": _stream, "streamsets/recorded": _set}
