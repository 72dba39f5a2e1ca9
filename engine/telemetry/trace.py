"""The times of a run as spans: one for the run with its phases in it, or one for each cycle of a run that follows. Pure.

It knows a run by its events, and by the row of the metrics table, so that it cannot disagree with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..model import Micros
from .events import Cycled, Finished, Planned, RunEvent, TagsFound
from .openmetrics import COUNTERS, GAUGES, QUANTILES, STATUSES

# Cycles that could not be sent are kept up to this number; then the oldest are dropped.
_MOST_CYCLES: Final = 100
_COUNTED: Final = ("records_written", "requests", "retries", "throttled", "tags_requested", "tags_failed", "commits")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimedSpan:
    """A time that something took. `children` lie within it."""

    name: str
    start: Micros
    end: Micros
    labels: Mapping[str, str | int | float] = field(default_factory=dict)
    failure: str | None = None
    children: tuple[TimedSpan, ...] = ()


class RunTrace:
    """The spans of one run, which begins at `began`."""

    def __init__(self, began: Micros) -> None:
        self._began = began
        self._starts: list[tuple[str, Micros]] = [("find tags", began)]
        self._cycles: list[TimedSpan] = []
        self.over = False

    def note(self, event: RunEvent, at: Micros) -> None:
        """Learn from an event of the run."""
        match event:
            case TagsFound() if len(self._starts) == 1:
                self._starts.append(("plan", at))
            case Planned() if len(self._starts) == 2:
                self._starts.append(("read and write", at))
            case Cycled():
                labels = {"rows": event.rows, "tags": event.tags, "failing": event.failing, "cycle": event.number}
                start = at - round(event.seconds * 1e6)
                self._cycles = [*self._cycles, TimedSpan("cycle", start, at, labels)][-_MOST_CYCLES:]
            case Finished():
                self.over = True

    def take(self, row: Mapping[str, Any], at: Micros, *, over: bool) -> tuple[TimedSpan, ...]:
        """What is to be sent now: the cycles since the last call, and the run if it is over."""
        labels = {"run_id": row["run_id"], "pipeline": row["pipeline"], "shard": row["shard"]}
        cycles = [TimedSpan(one.name, one.start, one.end, {**one.labels, **labels}) for one in self._cycles]
        self._cycles = []
        if not over:
            return tuple(cycles)
        counted = {name: row[name] for name in _COUNTED}
        ends = [start for _, start in self._starts[1:]] + [at]
        phases = tuple(TimedSpan(name, start, end) for (name, start), end in zip(self._starts, ends, strict=True))
        failure = row["error"] if row["status"] in {"failed", "incomplete"} else None
        run = TimedSpan("run", self._began, at, {**labels, "status": row["status"], **counted}, failure, phases)
        return (*cycles, run)


def samples_of(row: Mapping[str, Any], holes: int | None) -> list[Sample]:
    """The metrics of a row. Counters count from the start of the run."""
    labels = {"pipeline": row["pipeline"], "shard": row["shard"]}
    found = [Sample(f"osipi.{name}", "counter", meaning, row[column], labels) for name, column, meaning in COUNTERS]
    found += [Sample(f"osipi.{name}", "gauge", meaning, row[column], labels) for name, column, meaning in GAUGES]
    if holes is not None:
        found.append(Sample("osipi.holes", "gauge", "Windows of tags that the source could not give", holes, labels))
    found += [
        Sample(
            "osipi.freshness_seconds", "gauge", "How far tags are behind", row[column], {**labels, "quantile": share}
        )
        for share, column in QUANTILES
        if row[column] is not None
    ]
    found += [
        Sample(
            "osipi.run_status",
            "gauge",
            "1 for how the run stands",
            int(row["status"] == one),
            {**labels, "status": one},
        )
        for one in STATUSES
    ]
    return found
