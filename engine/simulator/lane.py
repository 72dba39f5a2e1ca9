"""One recorded question, understood once, for as many tags as it is asked about.

Pure but for bounded caches. A batch asks the same window with the same fields a hundred times, so
everything that does not depend on the tag is worked out in the lane; a tag then costs a few list
slices and a join. Tags with edits or faults, and unusual boundaries, are walked event by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .call import Query
from .fields import below, wants
from .render import Layout, fast_items, slow_items
from .replies import TooMuch, refused
from .sampling import value_at
from .site import Site
from .times import SECOND, TimeText, parse_time
from .values import Event

__all__ = ["Lane", "lane", "no_filter"]

_TRIVIAL_FILTERS = {"", "1=1", "1 = 1", "true"}


@dataclass(frozen=True, slots=True)
class _Ask:
    """The parameters of a recorded question, before the clock is read."""

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
    no_filter(query, in_set=in_set)
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


def no_filter(query: Query, *, in_set: bool) -> None:
    """Refuse what takes a filter engine, or another unit, for which sets have no parameter. Raises a 409."""
    expression = query.one("filterexpression").strip()
    if expression.lower() not in _TRIVIAL_FILTERS:
        raise refused(409, f"The filter expression '{expression}' is not supported for this stream.")
    if (units := query.one("desiredunits")) and not in_set:
        raise refused(409, f"The unit '{units}' is not compatible with this stream.")


@dataclass(frozen=True, slots=True)
class Lane:
    """A recorded question at an instant: the closed range `[first, last]` and how it is written."""

    site: Site
    ask: _Ask
    first: int
    last: int
    backwards: bool
    now: int

    def text(self, index: int) -> tuple[bytes, int]:
        """The whole answer about one tag, and how many events it holds."""
        ask = self.ask
        fragments, count = self.items(index, ask.max_count) if ask.items else ([], 0)
        if not fragments:
            return ask.opening + ask.closing, 0
        fragments[0] = ask.opening + fragments[0][1:]
        fragments.append(ask.closing)
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
        if self.ask.boundary == "Inside" and self.site.history.plain(index):
            found, number, to = self.site.history.numbers(index, self.first, self.last, self.now)
            count = to - number
            if count > limit:
                count = limit
                number, to = (to - limit, to) if self.backwards else (number, number + limit)
            fragments = fast_items(found, number, to, self.ask.layout)
            return (_reversed(fragments, count) if self.backwards else fragments), max(0, count)
        events = self._bounded(index)
        if self.backwards:
            events.reverse()
        del events[limit:]
        return slow_items(events, self.ask.layout), len(events)

    def _bounded(self, index: int) -> list[Event]:
        """Events of the range with what the boundary type adds at its ends."""
        history, first, last, now = self.site.history, self.first, self.last, self.now
        events = history.recorded(index, first, last, now)
        if self.ask.boundary == "Outside":
            before, after = history.last(index, first - 1, now), history.after(index, last, now)
            events = [*([before] if before else []), *events, *([after] if after else [])]
        elif self.ask.boundary == "Interpolated":
            if not events or events[0].ticks != first:
                events.insert(0, value_at(self.site, index, first, now))
            if events[-1].ticks != last:
                events.append(value_at(self.site, index, last, now))
        return events


def lane(site: Site, query_text: str, now: int, *, in_set: bool = False) -> Lane:
    """Understand a question. Raises a 400 or 409."""
    # A query that names a hundred streams comes once; one shared by a hundred parts of a batch is short.
    read = _read_cached if len(query_text) < 1024 else _read
    ask = read(query_text, in_set, site.switches.max_items, site.switches.nan, site.options.time_zone)
    start, end = ask.start.at(now), ask.end.at(now)
    return Lane(site, ask, min(start, end), max(start, end), end < start, now)


def _reversed(fragments: list[bytes], count: int) -> list[bytes]:
    each = len(fragments) // count if count > 0 else 1
    turned = fragments[:]
    for place in range(each):
        turned[place::each] = fragments[place::each][::-1]
    return turned
