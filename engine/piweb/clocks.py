"""Three clocks: the archive's, that of the PI Web API (the Date of its answers), and this machine's. Pure.

Windows follow the archive's clock, for it is the one that events are stamped by, and watermarks end there. So a clock
that is ahead once would have nothing read until real time has caught up. A clock that is behind only makes the rows
late. Invariant: no instant that lies further ahead of the other clocks than is tolerated is ever taken for now.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.errors import UnavailableError
from engine.model import Micros

from .times import iso_text

_SECOND: Micros = 1_000_000
_DAY: Micros = 86_400 * _SECOND
_SPANS = ((_DAY, "days"), (3600 * _SECOND, "h"), (60 * _SECOND, "min"))
# What two clocks may differ by without a word: a Date is of whole seconds, and an answer takes its time.
_UNSAID: Micros = 60 * _SECOND


@dataclass(frozen=True, slots=True)
class Clocks:
    """What each clock showed at about the same time; None where it is unknown."""

    archive: Micros | None
    web_api: Micros | None
    ours: Micros


@dataclass(frozen=True, slots=True)
class SourceTime:
    """The present of the source, and a warning if the clocks differ."""

    at: Micros
    warning: str = ""


def source_time(clocks: Clocks, tolerance: Micros) -> SourceTime:
    """The source's present: by the archive, else by the PI Web API.

    The two are held against each other; and the present against this machine's clock. If the two agree, the fault
    may be ours, so that only a difference of a day and more is refused then. Raises `UnavailableError`.
    """
    at = clocks.web_api if clocks.archive is None else clocks.archive
    if at is None:
        raise UnavailableError(
            "the server does not tell its time (no Date header)", hint="Check the proxy in front of the PI Web API."
        )
    readings = _readings(clocks)
    by_api = at - clocks.web_api if clocks.web_api is not None else 0
    by_us = at - clocks.ours
    if by_api > tolerance:
        raise _refused("the archive's clock (ServerTime) is ahead of the PI Web API's (Date)", by_api, readings)
    if by_us > (max(tolerance, _DAY) if clocks.web_api is not None else tolerance):
        raise _refused("the server's clock is ahead of this machine's", by_us, readings)
    if by_api > _UNSAID:
        return SourceTime(at, f"the archive's clock is {_span(by_api)} ahead of the PI Web API's: {readings}")
    if by_api < -_UNSAID:
        late = "rows come so much later"
        return SourceTime(
            at, f"the archive's clock is {_span(-by_api)} behind the PI Web API's, and {late}: {readings}"
        )
    if by_us > _UNSAID:
        return SourceTime(
            at, f"the server's clocks are {_span(by_us)} ahead of this machine's, and are believed: {readings}"
        )
    return SourceTime(at)


def _refused(what: str, by: Micros, readings: str) -> UnavailableError:
    return UnavailableError(
        f"{what} by {_span(by)}, and nothing is read by it: {readings}",
        hint="Set the clock that is wrong; or, if events really are stamped so, raise extraction.clock_tolerance.",
    )


def _readings(clocks: Clocks) -> str:
    named = (("archive", clocks.archive), ("PI Web API", clocks.web_api), ("this machine", clocks.ours))
    return ", ".join(f"{name} {iso_text(at)}" for name, at in named if at is not None)


def _span(by: Micros) -> str:
    """About how long that is."""
    size, unit = next(((size, unit) for size, unit in _SPANS if by >= 2 * size), (_SECOND, "s"))
    return f"{by // size:,} {unit}"
