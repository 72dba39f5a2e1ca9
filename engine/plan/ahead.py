"""Tags that store future data: how far ahead they are read, and what of that is compared again. Pure.

What is forecast is written over until its time has come. So of such a tag a watermark also says where its
present was when it was read, and all that lay beyond is held against the source in every run, by the overlap
that serves a lookback. That is remembered, and not reckoned from the horizon, since the horizon may have been
another one then. Invariant: nothing passes from ahead of a tag's present to behind it uncompared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from config import Extraction
from config.durations import format_duration

from ..model import Micros, Tag
from .classes import TagClass, class_of

__all__ = ["FutureTags", "end_ahead", "future_tags", "lookback_ahead", "notes"]


def end_ahead(present: Micros, horizon_end: Micros | None, high: Micros | None) -> Micros:
    """Where reading a tag ends: at the end of its horizon, or at the present where it has none, and not before `high`,
    up to where it is done: what was read further ahead is compared until it is over.
    """
    end = present if horizon_end is None else horizon_end
    return end if high is None else max(end, high)


def lookback_ahead(of_class: TagClass, lag: Micros, high: Micros, ahead_from: Micros | None) -> Micros:
    """How far behind `high` a tag is compared: to where its present was, and by its lookback further."""
    if ahead_from is not None:
        ahead = high - ahead_from
    elif of_class.horizon_micros:  # watermarks that were rebuilt: as if they were those of a run like this one
        ahead = of_class.horizon_micros + lag
    else:
        ahead = 0
    return of_class.lookback_micros + max(0, ahead)


@dataclass(frozen=True, slots=True)
class FutureTags:
    """How many tags store future data, for how many of them nobody has said how far ahead to read, and how far
    ahead the others are read at most.
    """

    tags: int
    undecided: int
    furthest: Micros

    def __str__(self) -> str:
        if self.undecided:
            stores, are = ("stores", "is") if self.undecided == 1 else ("store", "are")
            return (
                f"{_tags(self.undecided)} {stores} future data and {are} read up to now; what lies ahead is read with "
                "extraction.future_horizon, for example 7d (0s: leave it)"
            )
        if self.furthest:
            horizon = format_duration(timedelta(microseconds=self.furthest))
            return f"{_tags(self.tags)} with future data, read up to {horizon} ahead"
        return f"{_tags(self.tags)} with future data, read up to now" if self.tags else ""


def future_tags(extraction: Extraction, tags: Iterable[Tag]) -> FutureTags:
    """Count those of these tags that store future data."""
    names = [tag.name for tag in tags if tag.future]
    kind_of = class_of(extraction) if names else None
    horizons = [] if kind_of is None else [kind_of(name).horizon_micros for name in names]
    return FutureTags(
        len(names),
        undecided=sum(horizon is None for horizon in horizons),
        furthest=max((horizon or 0 for horizon in horizons), default=0),
    )


def notes(extraction: Extraction, tags: Iterable[Tag]) -> tuple[str, ...]:
    """What to say of a run over these tags: that there is more, where nobody has said how far ahead to read."""
    found = future_tags(extraction, tags)
    return (str(found),) if found.undecided else ()


def _tags(number: int) -> str:
    return f"{number:,} tag{'' if number == 1 else 's'}"
