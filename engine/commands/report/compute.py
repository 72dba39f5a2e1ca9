"""Reads what the report shows: the status and its gaps, the days of the metrics table, how many rows the tables have,
and, of one tag, the counts of each day in PI and in the table. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from config import Config, Instant
from config.errors import ConfigurationError
from writers import PI_TIMESERIES, Lakehouse, TableSpec, Watermark, newest_runs
from writers.corrections.day_counts import count_days

from ...datasets.registry import DATASETS
from ...model import Micros
from ...plan.count_comparison import NO_DATA, CountRule
from ...plan.gap_ledger import OpenGap
from ...plan.timeline import DAY
from ...run.connect import lakehouse_of, names_of, target_of, watermarks_of
from ...run.job import wait_for
from ..selection import KnownTag, Selection, known_tags
from ..status.compute import Status, read_status
from ..status.gaps import Gaps
from ..verify.compute import Scope, Uncounted, Verification, verify
from ..verify.repair import beside_runs

_MOST_RUNS = 20
_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class DayFigures:
    """What the runs of one UTC day did, by when they began. `day`: days since 1970. `worst_secs`: how far the tag that
    was furthest behind was behind at the end of a run, at most.
    """

    day: int
    runs: int = 0
    not_well: int = 0
    events: int = 0
    inserted: int = 0
    changed: int = 0
    deleted: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes_fetched: int = 0
    worst_secs: float = 0.0


@dataclass(frozen=True, slots=True)
class TableRows:
    """How many rows a table has that the source still has, and how many it has no more."""

    name: str
    existing: int
    deleted: int


class DayVerdict(Enum):
    """What the counts of a tag's day say."""

    AGREES = "agrees"
    DIFFERS = "differs"
    HOLE = "a hole"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class TagDay:
    """A day of a tag, or the part of it that is done: events that PI counts (None: no count), rows of the table, and
    those of them that are good.
    """

    day: int
    counted: int | None
    rows: int
    good: int
    verdict: DayVerdict

    @property
    def alike(self) -> int:
        """The rows that PI's count is compared with: servers count good events alone, or all of them."""
        return self.rows if self.counted == self.rows else self.good


@dataclass(frozen=True, slots=True)
class TagReport:
    """One tag. `days` end at `compared_to`; the table has `newer` events behind that, which every run compares itself."""

    tag: KnownTag
    watermark: Watermark | None
    days: tuple[TagDay, ...]
    compared_to: Micros | None
    newer: int
    rules: tuple[CountRule, ...] = ()
    uncounted: Uncounted | None = None
    gaps: tuple[OpenGap, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What the report shows. `days`: the last ones, each of them, the oldest first. `target`: where the tables are."""

    status: Status
    gaps: Gaps
    target: str
    days: tuple[DayFigures, ...]
    tables: tuple[TableRows, ...] = ()
    tag: TagReport | None = None


def read_report(config: Config, now: Micros, *, days: int, tag: str | None = None) -> Report:
    """Read the tables. For a `tag`, given by name, path or WebID, PI is asked for its counts.

    Raises `ConfigurationError` if pi_tags has no such tag, and what the destination and the source raise.
    """
    known = _find_tag(config, known_tags(config), tag) if tag is not None else None
    status, gaps = read_status(config, now, gaps=True, most_runs=_MOST_RUNS)
    assert gaps is not None  # noqa: S101 - they were wanted
    lakehouse = lakehouse_of(config)
    first = now // DAY - days + 1
    rows = newest_runs(lakehouse, config.pipeline, limit=_ALL)
    specs = [spec for spec in DATASETS.tables if "deleted_at" in spec.schema.names]
    return Report(
        status,
        gaps,
        target_of(config),
        days_of(rows, range(first, first + days)),
        tuple(
            _rows_of(lakehouse, spec, names_of(config).parts(spec)[2])
            for spec in specs
            if lakehouse.table(spec).exists()
        ),
        None if known is None else _read_tag(config, known, gaps, first),
    )


def days_of(rows: Iterable[Mapping[str, Any]], days: range) -> tuple[DayFigures, ...]:
    """Sum up rows of the metrics table by day. Pure. Events are those of runs; a verification adds corrections and cost."""
    found = {day: DayFigures(day) for day in days}
    for row in rows:
        day = row["started_at"] // DAY
        if day not in found:
            continue
        one, runs = found[day], (row["command"] or "run") == "run"
        found[day] = replace(
            one,
            runs=one.runs + 1,
            not_well=one.not_well + (row["status"] in {"failed", "incomplete"}),
            events=one.events + (row["records_written"] or 0) * runs,
            inserted=one.inserted + (row["corrections_inserted"] or 0),
            changed=one.changed + (row["corrections_changed"] or 0),
            deleted=one.deleted + (row["corrections_deleted"] or 0),
            requests=one.requests + (row["requests"] or 0),
            retries=one.retries + (row["retries"] or 0),
            throttled=one.throttled + (row["throttled"] or 0),
            bytes_fetched=one.bytes_fetched + (row["bytes_fetched"] or 0),
            worst_secs=max(one.worst_secs, row["freshness_max_seconds"] or 0.0),
        )
    return tuple(found.values())


def _rows_of(lakehouse: Lakehouse, spec: TableSpec, name: str) -> TableRows:
    existing = deleted = 0
    for batch in lakehouse.table(spec).open().read(["deleted_at"]):
        gone = batch.num_rows - batch["deleted_at"].null_count
        existing, deleted = existing + batch.num_rows - gone, deleted + gone
    return TableRows(name, existing, deleted)


def _find_tag(config: Config, known: Sequence[KnownTag], text: str) -> KnownTag:
    wanted = text.casefold()
    found = [tag for tag in known if tag.web_id == text or wanted in {tag.name.casefold(), tag.path.casefold()}]
    existing = [tag for tag in found if not tag.deleted] or found
    if not existing:
        raise ConfigurationError(
            f"--tag {text}: pi_tags has no such tag",
            hint="`tags` lists the names. A new tag is there after its first run.",
        )
    if len(existing) > 1:
        paths = ", ".join(tag.path for tag in existing[:3])
        raise ConfigurationError(f"--tag {text}: {len(existing)} tags have this name", hint=f"Give the path: {paths}.")
    if Selection(config, {tag.web_id: tag for tag in known}).has(existing[0]) is False:
        raise ConfigurationError(
            f"--tag {text}: the configuration does not select this tag", hint="Its rows stay in the table as they are."
        )
    return existing[0]


def _read_tag(config: Config, tag: KnownTag, gaps: Gaps, first_day: int) -> TagReport:
    """The report of a tag. Asks PI for the counts of its days, unless its point was deleted."""
    watermarks = watermarks_of(config)
    watermark = watermarks.get(tag.web_id)
    start = Instant("the first day", fixed=first_day * DAY)
    done = watermark is not None and watermark.low < watermark.high
    found = None
    if done and not tag.deleted:
        scope = Scope(start, None, (tag.web_id,))
        found = wait_for(lambda: verify(beside_runs(config), scope, keep_counts=True))
    end = found.windows[0].end if found is not None and found.windows else None
    newer = 0
    if watermark is not None and done:
        since = max(watermark.low, first_day * DAY, end or 0)
        newer = _count(config, tag.web_id, since, watermark.high)
    return TagReport(
        tag,
        watermark,
        () if found is None else tag_days(found),
        end,
        newer,
        () if found is None else tuple(found.rules.values()),
        next(iter(found.uncounted), None) if found is not None else None,
        tuple(gap for gap in gaps.ledger.gaps if gap.web_id == tag.web_id),
    )


def _count(config: Config, web_id: str, start: Micros, end: Micros) -> int:
    """The events that the table has of a tag in a window."""
    if start >= end:
        return 0
    ends = {"starts": np.array([start], np.int64), "ends": np.array([end], np.int64)}
    days = (end - 1) // DAY - start // DAY + 1
    held = count_days(lakehouse_of(config).table(PI_TIMESERIES), [web_id], **ends, first_day=start // DAY, days=days)
    return int(held.rows.sum())


def tag_days(found: Verification) -> tuple[TagDay, ...]:
    """The days of the only tag of a verification, with what became of each. Pure."""
    if not found.windows:
        return ()
    window = found.windows[0]
    differ = {each.start // DAY for each in found.disagreements}
    holes = {each.start // DAY for each in found.holes}
    days = range(window.start // DAY, (window.end - 1) // DAY + 1)
    listed: list[TagDay] = []
    for part in found.counts:
        counted, rows, good = part.counted[0].tolist(), part.held.rows[0].tolist(), part.held.good[0].tolist()
        for n, (said, has, fine) in enumerate(zip(counted, rows, good, strict=True)):
            day = part.first_day + n
            if day not in days:
                continue
            number = 0 if said == NO_DATA else None if said < 0 else said
            verdict = (
                DayVerdict.DIFFERS if day in differ
                else DayVerdict.HOLE if day in holes
                # A server that counts none where it has events gives no count.
                else DayVerdict.NOT_COMPARED if number is None or number == 0 < fine
                else DayVerdict.AGREES
            )  # fmt: skip
            listed.append(TagDay(day, number, has, fine, verdict))
    return tuple(listed)
