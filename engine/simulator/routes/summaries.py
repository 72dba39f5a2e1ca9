"""Routes of summaries, of one stream and of a set.

Clients compare their own figures with counts of events per interval, and ask for many tags with the same parameters.
So the text around the figures is rendered once, and a tag costs the figures alone.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from ..archive.sampling import BASES, SUMMARY_TYPES, Interval, counts, intervals, no_data, summary
from ..archive.values import Event
from ..faults.plan import Switches
from ..fields import pick
from ..render import event_object
from ..replies import Reply, json_bytes, refused
from ..request import IncomingRequest, Query
from ..site import Site
from ..times import SECOND, parse_span
from .recorded_query import refuse_filters
from .streams import instant, refuse_too_many, set_route, stream_route

_NO_NUMBERS = {"String", "Digital", "Blob", "Timestamp"}
# What there is of streams that are no numbers, as well.
_OF_ANYTHING = {"Count", "PercentGood"}
# A placeholder for the figures in the text of an answer.
_BLANK = 8_877_665_544_332_211


class _SummaryParameters(NamedTuple):
    """The parsed parameters of a summary."""

    kinds: list[str]
    basis: str
    intervals: list[Interval]


class _Form(NamedTuple):
    """Intervals to count in, and the text of the answer around the figures."""

    intervals: list[Interval]
    texts: list[bytes]


def _parse(query: Query, now: int, zone: str, switches: Switches) -> _SummaryParameters:
    refuse_filters(query, in_set=True)  # there is no unit to ask for here, either
    known = {name.lower(): name for name in (*SUMMARY_TYPES, "All", "AllForNonNumeric")}
    kinds: list[str] = []
    for asked in query.many("summarytype") or ["Total"]:
        if asked.lower() not in known:
            raise refused(400, f"The value '{asked}' is not valid for parameter 'summaryType'.")
        name = known[asked.lower()]
        kinds += {"All": SUMMARY_TYPES, "AllForNonNumeric": ("Count", "PercentGood")}.get(name, (name,))
    basis = query.choice("calculationbasis", BASES)
    ends = (instant(query, "starttime", "*-1d", zone, now), instant(query, "endtime", "*", zone, now))
    start, end = sorted(_rounded(ticks, switches.count_rounds_secs) for ticks in ends)
    span = parse_span(query.one("summaryduration")) if query.one("summaryduration") else max(1, end - start)
    refuse_too_many(switches, (end - start) // span * len(kinds))
    return _SummaryParameters(kinds, basis, intervals(start, end, span, basis, switches.count_includes_end))


def _rounded(ticks: int, secs: int) -> int:
    step = secs * SECOND
    return ticks if not step else (ticks + step // 2) // step * step


@lru_cache(maxsize=64)
def _form(query_text: str, now: int, zone: str, switches: Switches) -> _Form | None:
    """The form of an answer that holds counts of events and nothing else; none for other summaries."""
    query = Query(query_text)
    asked = _parse(query, now, zone, switches)
    if asked.kinds != ["Count"] or not asked.basis.startswith("EventWeighted") or switches.count_of_nothing != "zero":
        return None
    items = [
        {"Type": "Count", "Value": event_object(Event(interval.start, _BLANK), switches.nan)}
        for interval in asked.intervals
    ]
    text = json_bytes(pick({"Links": {}, "Items": items}, query.fields()))
    return _Form(asked.intervals, text.split(b"%d" % _BLANK))


def _summary(site: Site, request: IncomingRequest, index: int) -> Any:
    asked = _parse(request.query, request.now, site.options.time_zone, site.switches)
    if site.point(index).type in _NO_NUMBERS and not set(asked.kinds) <= _OF_ANYTHING:
        raise refused(409, "The requested summary type is not supported for non-numeric streams.")
    items = []
    for interval in asked.intervals:
        found = summary(site, index, asked.kinds, interval, basis=asked.basis, now=request.now)
        if site.switches.count_of_nothing != "zero" and any(
            kind == "Count" and not event.value for kind, event in found
        ):
            left_out = site.switches.count_of_nothing == "left_out"
            found = [] if left_out else [(kind, no_data(interval.start)) for kind, _ in found]
        items += [{"Type": kind, "Value": event_object(event, site.switches.nan)} for kind, event in found]
    return items


_summary_route = stream_route(_summary)


def _stream(site: Site, request: IncomingRequest) -> Reply:
    form = _form(request.query_text, request.now, site.options.time_zone, site.switches)
    if form is None:
        return _summary_route(site, request)
    index = site.tag(request, request.parts[1])
    if len(form.texts) == 1:  # the figures were not among the fields asked for
        return Reply(200, form.texts[:])
    figures = [b"%d" % number for number in counts(site, index, form.intervals, request.now)]
    return Reply(200, [b"".join(chain.from_iterable(zip(form.texts, [*figures, b""], strict=True)))])


ROUTES = {"streams/*/summary": _stream, "streamsets/summary": set_route(_summary)}
