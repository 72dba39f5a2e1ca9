"""Compares pi_sampled with its grid: what is done of a series holds one row at each point, and nothing else.

The grid is known, so the PI Web API is not asked. There may be no row in holes, at points before the first value of a
series, and where the server counts no event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.text import Text

from config import Config
from writers import PI_SAMPLED, Hole, WatermarkStore
from writers.corrections.day_counts import count_days
from writers.ports import CommitTable

from ...datasets.sampled import SAMPLED
from ...model import Micros, Tag, Window
from ...piweb.sampled import COUNT
from ...piweb.times import iso_text
from ...plan.grid import count_points
from ...plan.timeline import DAY
from ...run.connect import lakehouse_of, watermarks_of
from ...telemetry.formats import count, printable
from ..selection import known_tags
from ..status.sampled import current_series, name_of_series, sampling_of
from ..timeline_chart import span
from .compute import Scope, slices

_HINT = (
    "A run with a lookback that reaches over these days puts it right: "
    "`run --datasets sampled --set extraction.lookback=30d`, once."
)


@dataclass(frozen=True, slots=True)
class WrongDay:
    """A day of a series whose rows are not those of its grid."""

    series: Tag
    window: Window
    points: int
    rows: int


@dataclass(frozen=True, slots=True)
class SampledCheck:
    """What was compared, and the days that are wrong. `empty`: series that are done and have no row."""

    series: int
    points: int
    wrong: tuple[WrongDay, ...]
    empty: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return not self.wrong


def verify_sampled(config: Config, scope: Scope, now: Micros) -> SampledCheck:
    """Count the rows of each series and day. Blocks."""
    marks = watermarks_of(config, SAMPLED.name)
    within = scope.window(now)
    series: list[Tag] = []
    windows: list[Window] = []
    for one, tag in current_series(config, marks, known_tags(config)).items():
        mark = marks.get(one)
        if mark is None or within is None or not scope.takes(Tag(sampling_of(tag).web_id, tag.name)):
            continue
        window = Window(max(mark.low, within.start), min(mark.high, within.end))
        if window.start < window.end:
            series.append(tag)
            windows.append(window)
    starts = np.array([one.start for one in windows], np.int64)
    ends = np.array([one.end for one in windows], np.int64)
    ids = [one.web_id for one in series]
    table = lakehouse_of(config).table(PI_SAMPLED)
    wrong: list[WrongDay] = []
    points = 0
    begun: set[str] = set()
    begins: dict[int, list[WrongDay]] = {}
    for first_day, days in slices(windows):
        held = count_days(table, ids, starts=starts, ends=ends, first_day=first_day, days=days)
        for tag, window, rows in zip(series, windows, held.rows, strict=True):
            sampling, holes = sampling_of(tag), marks.holes.get(tag.web_id, ())
            for day, wanted in _of_days(window, first_day, days, sampling.interval, holes):
                there = int(rows[day - first_day])
                points += wanted
                if there > wanted or (there < wanted and sampling.kind != COUNT and tag.web_id in begun):
                    wrong.append(WrongDay(tag, _cut(window, day), wanted, there))
                elif 0 < there < wanted and sampling.kind != COUNT:
                    begins.setdefault(day, []).append(WrongDay(tag, _cut(window, day), wanted, there))
                if there:
                    begun.add(tag.web_id)
    for day, several in begins.items():
        wrong += _not_from_the_first(table, day, several, marks)
    never = tuple(name_of_series(one) for one in series if one.web_id not in begun and sampling_of(one).kind != COUNT)
    return SampledCheck(len(series), points, tuple(wrong), never)


def _not_from_the_first(
    table: CommitTable, day: int, several: Sequence[WrongDay], marks: WatermarkStore
) -> Iterator[WrongDay]:
    """Those that begin on a day, and lack rows after their first one."""
    where = {PI_SAMPLED.grain.date or "": iso_text(day * DAY)[:10]}
    rows = table.open().read(("series_id", "timestamp"), where=where).read_all()
    ids = pa.array([one.series.web_id for one in several], pa.string())
    rows = rows.filter(pc.is_in(rows["series_id"].cast(pa.string()), value_set=ids))
    firsts = rows.group_by("series_id").aggregate([("timestamp", "min")])
    at = dict(zip(firsts["series_id"].to_pylist(), firsts["timestamp_min"].cast(pa.int64()).to_pylist(), strict=True))
    for one in several:
        later = Window(max(one.window.start, at[one.series.web_id]), one.window.end)
        holes = marks.holes.get(one.series.web_id, ())
        [(_, wanted)] = _of_days(later, day, 1, sampling_of(one.series).interval, holes)
        if one.rows != wanted:
            yield replace(one, points=wanted)


def _of_days(
    window: Window, first_day: int, days: int, interval: Micros, holes: Sequence[Hole]
) -> Iterator[tuple[int, int]]:
    """Each day that a window touches, and how many points it has on it outside of holes."""
    for day in range(max(first_day, window.start // DAY), min(first_day + days, (window.end - 1) // DAY + 1)):
        inside = _cut(window, day)
        lost = (Window(max(one.start, inside.start), min(one.end, inside.end)) for one in holes)
        yield day, count_points(inside, interval) - sum(count_points(one, interval) for one in lost)


def _cut(window: Window, day: int) -> Window:
    return Window(max(window.start, day * DAY), min(window.end, (day + 1) * DAY))


def print_sampled(console: Console, found: SampledCheck, limit: int) -> None:
    """`limit`: the most days to print."""
    for name in found.empty[:limit]:
        console.print(Text(f"Sampled values: the server gave none of {printable(name)}."), soft_wrap=True)
    if found.agrees:
        points = f"{count(found.points, 'point')} of {count(found.series)} series"
        console.print(Text(f"Sampled values: the rows are those of the grid, {points}."), soft_wrap=True)
        return
    console.print(Text("Sampled values differ from their grid:", style="bold yellow"), soft_wrap=True)
    for one in found.wrong[:limit]:
        console.print(Text(f"  {printable(_day_text(one))}"), soft_wrap=True)
    if len(found.wrong) > limit:
        console.print(Text(f"  {count(len(found.wrong) - limit)} more days of series"), soft_wrap=True)
    console.print(_HINT, soft_wrap=True)


def _day_text(one: WrongDay) -> str:
    between = span(one.window.start, one.window.end)
    return f"{name_of_series(one.series)}: {between}, {count(one.points)} points, the table holds {count(one.rows)}"


def sampled_failure(found: SampledCheck | None) -> str | None:
    """One sentence on what differs; None where everything agrees."""
    if found is None or found.agrees:
        return None
    series = len({one.series.web_id for one in found.wrong})
    return f"verify: {count(len(found.wrong), 'day')} of {count(series)} sampled series differ from the grid"


def sampled_as_dict(found: SampledCheck) -> dict[str, Any]:
    """As JSON values."""
    return {
        "series": found.series,
        "points": found.points,
        "empty": list(found.empty),
        "wrong": [
            {
                "series_id": one.series.web_id,
                "name": one.series.name,
                "kind": sampling_of(one.series).kind,
                "start": iso_text(one.window.start),
                "end": iso_text(one.window.end),
                "points": one.points,
                "rows": one.rows,
            }
            for one in found.wrong
        ],
    }
