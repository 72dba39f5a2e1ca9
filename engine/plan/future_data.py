"""Tags that store future data: how far ahead they are read, and what of that is compared again. Pure.

A forecast may be replaced until its time has come. So the watermark of such a tag also says where the present was when
it was read, and every run compares all that lay beyond with the source. The watermark keeps this instant, because the
configured horizon may have been another one then. Invariant: nothing that lay ahead of the present counts as past before
it was compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from config import ExtractionConfig
from config.durations import format_duration

from ..model import Micros, Tag
from .tag_classes import TagClass, class_of


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
    """How many tags store future data, how many of them have no horizon configured, and how far ahead the others are
    read at most.
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


def future_tags(extraction: ExtractionConfig, tags: Iterable[Tag]) -> FutureTags:
    """Count those of these tags that store future data."""
    names = [tag.name for tag in tags if tag.future]
    kind_of = class_of(extraction) if names else None
    horizons = [] if kind_of is None else [kind_of(name).horizon_micros for name in names]
    return FutureTags(
        len(names),
        undecided=sum(horizon is None for horizon in horizons),
        furthest=max((horizon or 0 for horizon in horizons), default=0),
    )


def notes(extraction: ExtractionConfig, tags: Iterable[Tag]) -> tuple[str, ...]:
    """The notes on a run over these tags: some store future data, and no horizon is configured."""
    found = future_tags(extraction, tags)
    return (str(found),) if found.undecided else ()


def _tags(number: int) -> str:
    return f"{number:,} tag{'' if number == 1 else 's'}"
