"""Routes of summaries, alone and in sets.

Counts of events per interval are what a client holds its own figures against, for many tags in the
same words: the text around the figures is made once, and a tag then costs the figures alone.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from .call import Call, Query
from .faults import Switches
from .fields import pick
from .lane import no_filter
from .render import event_object
from .replies import Reply, json_bytes, refused
from .sampling import BASES, SUMMARY_TYPES, Stretch, counts, no_data, stretches, summary
from .site import Site
from .streams import alone, in_set, instant, limit
from .times import SECOND, parse_span
from .values import Event

__all__ = ["ROUTES"]

# Stands where a figure goes while the rest of an answer is written.
_BLANK = 8_877_665_544_332_211


class _Ask(NamedTuple):
    """The parameters of a summary, understood."""

    kinds: list[str]
    basis: str
    stretches: list[Stretch]


class _Form(NamedTuple):
    """Intervals to count in, and the text of the answer around the figures."""

    stretches: list[Stretch]
    texts: list[bytes]


def _ask(query: Query, now: int, zone: str, switches: Switches) -> _Ask:
    no_filter(query, in_set=True)  # there is no unit to ask for here, either
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
    limit(switches, (end - start) // span * len(kinds))
    return _Ask(kinds, basis, stretches(start, end, span, basis, switches.count_includes_end))


def _rounded(ticks: int, secs: int) -> int:
    step = secs * SECOND
    return ticks if not step else (ticks + step // 2) // step * step


@lru_cache(maxsize=64)
def _form(query_text: str, now: int, zone: str, switches: Switches) -> _Form | None:
    """The form of an answer that holds counts of events and nothing else; none for other summaries."""
    query = Query(query_text)
    asked = _ask(query, now, zone, switches)
    if asked.kinds != ["Count"] or not asked.basis.startswith("EventWeighted") or switches.count_of_nothing != "zero":
        return None
    items = [
        {"Type": "Count", "Value": event_object(Event(stretch.start, _BLANK), switches.nan)}
        for stretch in asked.stretches
    ]
    text = json_bytes(pick({"Links": {}, "Items": items}, query.fields()))
    return _Form(asked.stretches, text.split(b"%d" % _BLANK))


def _summary(site: Site, call: Call, index: int) -> Any:
    asked = _ask(call.query, call.now, site.options.time_zone, site.switches)
    items = []
    for stretch in asked.stretches:
        found = summary(site, index, asked.kinds, stretch, basis=asked.basis, now=call.now)
        if site.switches.count_of_nothing != "zero" and any(
            kind == "Count" and not event.value for kind, event in found
        ):
            left_out = site.switches.count_of_nothing == "left_out"
            found = [] if left_out else [(kind, no_data(stretch.start)) for kind, _ in found]
        items += [{"Type": kind, "Value": event_object(event, site.switches.nan)} for kind, event in found]
    return items


_alone = alone(_summary)


def _stream(site: Site, call: Call) -> Reply:
    form = _form(call.query_text, call.now, site.options.time_zone, site.switches)
    if form is None:
        return _alone(site, call)
    index = site.tag(call, call.parts[1])
    if len(form.texts) == 1:  # the figures were not among the fields asked for
        return Reply(200, form.texts[:])
    figures = [b"%d" % number for number in counts(site, index, form.stretches, call.now)]
    return Reply(200, [b"".join(chain.from_iterable(zip(form.texts, [*figures, b""], strict=True)))])


ROUTES = {"streams/*/summary": _stream, "streamsets/summary": in_set(_summary)}
