"""A request for recorded values: its parameters are parsed once and then used for many tags.

Pure, except for bounded caches. A batch asks for the same window and fields a hundred times, so all that does not
depend on the tag is computed once, in `recorded_query`. A tag then costs a few list slices and a join. Tags with edits
or faults, and requests with unusual boundaries, are rendered event by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..archive.sampling import value_at
from ..archive.values import Event
from ..fields import below, wants
from ..render import Layout, fast_items, slow_items
from ..replies import TooMuch, refused
from ..request import Query
from ..site import Site
from ..times import SECOND, TimeText, parse_time

_TRIVIAL_FILTERS = {"", "1=1", "1 = 1", "true"}


@dataclass(frozen=True, slots=True)
class RecordedParameters:
    """The parameters of a request, before relative times are resolved."""

    start: TimeText
    end: TimeText
    boundary: str
    max_count: int
    layout: Layout
    opening: bytes
    closing: bytes
    items: bool


def _read(query_text: str, in_set: bool, max_items: int, nan: str, zone: str) -> RecordedParameters:
    query = Query(query_text)
    refuse_filters(query, in_set=in_set)
    zone = query.one("timezone") or zone
    tree = query.fields()
    if in_set:
        tree = below(tree, "Items") if wants(tree, "Items") else {}
    items, units = wants(tree, "Items"), wants(tree, "UnitsAbbreviation")
    closing = b"]" * items + b',"UnitsAbbreviation":""' * units
    return RecordedParameters(
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


def refuse_filters(query: Query, *, in_set: bool) -> None:
    """Refuse what takes a filter engine, or another unit, for which sets have no parameter. Raises a 409."""
    expression = query.one("filterexpression").strip()
    if expression.lower() not in _TRIVIAL_FILTERS:
        raise refused(409, f"The filter expression '{expression}' is not supported for this stream.")
    if (units := query.one("desiredunits")) and not in_set:
        raise refused(409, f"The unit '{units}' is not compatible with this stream.")


@dataclass(frozen=True, slots=True)
class RecordedQuery:
    """A request at an instant: the closed range `[first, last]` and the layout of the answer."""

    site: Site
    parameters: RecordedParameters
    first: int
    last: int
    backwards: bool
    now: int

    def text(self, index: int) -> tuple[bytes, int]:
        """The whole answer about one tag, and how many events it holds."""
        parameters = self.parameters
        fragments, count = self.items(index, parameters.max_count) if parameters.items else ([], 0)
        if not fragments:
            return parameters.opening + parameters.closing, 0
        fragments[0] = parameters.opening + fragments[0][1:]
        fragments.append(parameters.closing)
        return b"".join(fragments), count

    def items(self, index: int, limit: int) -> tuple[list[bytes], int]:
        """Fragments of the events of one tag, each event begun by a comma, and how many events they are.

        Raises a 500 where it would take records that the archive cannot give, and `TooMuch`.
        """
        switches = self.site.switches
        if switches.window_max_secs is not None and self.last - self.first > switches.window_max_secs * SECOND:
            raise TooMuch(switches.too_much)
        history, first, last = self.site.history, self.first, self.last
        if history.is_damaged(index, first, last):
            seen = history.recorded(index, first, last, self.now)
            if len(seen) >= limit > 0:  # it does not read on
                first, last = (seen[-limit].ticks, last) if self.backwards else (first, seen[limit - 1].ticks)
            if history.is_damaged(index, first, last):
                raise refused(500, "[-11002] Record Header Data Mismatch")
        fragments, count = self._items(index, limit)
        if switches.values_max is not None and count > switches.values_max:
            raise TooMuch(switches.too_much)
        return fragments, count

    def _items(self, index: int, limit: int) -> tuple[list[bytes], int]:
        if self.parameters.boundary == "Inside" and self.site.history.plain(index):
            found, number, to = self.site.history.numbers(index, self.first, self.last, self.now)
            count = to - number
            if count > limit:
                count = limit
                number, to = (to - limit, to) if self.backwards else (number, number + limit)
            fragments = fast_items(found, number, to, self.parameters.layout)
            return (_reversed(fragments, count) if self.backwards else fragments), max(0, count)
        events = self._bounded(index)
        if self.backwards:
            events.reverse()
        del events[limit:]
        return slow_items(events, self.parameters.layout), len(events)

    def _bounded(self, index: int) -> list[Event]:
        """Events of the range with what the boundary type adds at its ends."""
        history, first, last, now = self.site.history, self.first, self.last, self.now
        events = history.recorded(index, first, last, now)
        if self.parameters.boundary == "Outside":
            before, after = history.last(index, first - 1, now), history.after(index, last, now)
            events = [*([before] if before else []), *events, *([after] if after else [])]
        elif self.parameters.boundary == "Interpolated":
            if not events or events[0].ticks != first:
                events.insert(0, value_at(self.site, index, first, now))
            if events[-1].ticks != last:
                events.append(value_at(self.site, index, last, now))
        return events


def recorded_query(site: Site, query_text: str, now: int, *, in_set: bool = False) -> RecordedQuery:
    """Parse a request for recorded values. Raises a 400 or 409."""
    # A query that names a hundred streams comes once; one shared by a hundred parts of a batch is short.
    read = _read_cached if len(query_text) < 1024 else _read
    parameters = read(query_text, in_set, site.switches.max_items, site.switches.nan, site.options.time_zone)
    start, end = parameters.start.at(now), parameters.end.at(now)
    return RecordedQuery(site, parameters, min(start, end), max(start, end), end < start, now)


def _reversed(fragments: list[bytes], count: int) -> list[bytes]:
    each = len(fragments) // count if count > 0 else 1
    turned = fragments[:]
    for place in range(each):
        turned[place::each] = fragments[place::each][::-1]
    return turned
