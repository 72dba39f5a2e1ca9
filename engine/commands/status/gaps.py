"""Finds the gaps of a pipeline from its watermarks and its configuration. Does not ask the PI Web API.

A tag with a watermark is in the ledger unless pi_tags says that its point was deleted, or that it is not selected. A
window that no run could have read yet is not due, and no gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from config import Config
from writers import Hole, Holes, Watermark

from ...model import Micros, Window
from ...plan.gap_ledger import GapLedger, TagProgress, gap_ledger
from ...plan.shards import Shard
from ...plan.tag_classes import TagClass, class_of
from ...run.plans import wanted_window
from ..selection import KnownTag, Selection
from .pipeline_progress import LastRun, Shards

_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The ledger, the names of its tags, and how many tags with a watermark are left out: deleted or not selected.

    `not_due`: the window that is newer than what the last run could read, and how many tags have one. `sampled`: the same
    of the sampled series.
    """

    ledger: GapLedger
    names: Mapping[str, str]
    deleted: int = 0
    unselected: int = 0
    not_due: tuple[Micros, Micros, int] | None = None
    sampled: Gaps | None = None


def find_gaps(
    config: Config,
    watermarks: Mapping[str, Watermark],
    known: Iterable[KnownTag],
    now: Micros,
    *,
    runs: Sequence[LastRun] = (),
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    holes: Holes = MappingProxyType({}),
) -> Gaps:
    """The ledger of a pipeline. Pure. `now`: this machine's clock; `runs`: the newest ones."""
    points = {tag.web_id: tag for tag in known}
    selected = Selection(config, points)
    class_for = class_of(config.extraction)

    def class_of_tag(web_id: str) -> TagClass:
        return class_for(points[web_id].name if web_id in points else "")

    lag = config.extraction.lag // _MICRO
    read_at = ((one, mark.present + lag) for one, mark in watermarks.items() if mark.low < mark.high)
    due = DueTimes(read_at, class_of_tag, runs, shards)
    tag_progress: list[TagProgress] = []
    fresh: list[Micros] = []  # of tags with a window that is not due yet: up to where they are read
    deleted = unselected = 0
    end = wanted_window(config, None, now).end
    for web_id in dict.fromkeys((*watermarks, *points)):
        watermark, point = watermarks.get(web_id), points.get(web_id)
        chosen = selected.has(point)
        if chosen is False or (watermark is None and chosen is None):
            unselected += watermark is not None
            continue
        if point is not None and point.deleted:
            deleted += watermark is not None
            continue
        ahead = (class_of_tag(web_id).horizon_micros or 0) if point is not None and point.future else None
        due_end = due.of(web_id, now)
        wanted = wanted_window(config, watermark, due_end, ahead)
        tag = progress_of_tag(config, web_id, watermark, wanted, holes.get(web_id, ()))
        tag_progress.append(tag)
        if watermark is not None and due_end < now and tag.wanted.end <= watermark.high and watermark.present < end:
            fresh.append(watermark.present)
    names = {web_id: point.name for web_id, point in points.items()}
    not_due = (min(fresh), max(end, *fresh), len(fresh)) if fresh else None
    return Gaps(gap_ledger(tag_progress), names, deleted=deleted, unselected=unselected, not_due=not_due)


class DueTimes:
    """Up to when the last run of each shard could have read, by the server's clock.

    A run reads every tag up to the server's now less the lag. For a run that failed and read nothing, the metrics have
    its start. If no run is known, everything up to `now` is due.
    """

    def __init__(
        self,
        read_at: Iterable[tuple[str, Micros]],
        class_of_tag: Callable[[str], TagClass],
        runs: Sequence[LastRun],
        shards: Shards,
    ) -> None:
        """`read_at`: by the WebID of a tag, what the server's clock showed at least when it was read. `class_of_tag`: the
        class of a tag by its WebID.
        """
        self._class_of_tag = class_of_tag
        self._shards = [Shard(index, shards.count) for index in range(shards.count)]
        self._read: dict[int, Micros] = {}
        self._read_of_class: dict[tuple[int, str], Micros] = {}
        self._failed_at: dict[int, Micros] = {}
        for web_id, at in read_at:
            shard = self._shard(web_id)
            kind = shard, class_of_tag(web_id).name
            self._read[shard] = max(at, self._read.get(shard, at))
            self._read_of_class[kind] = max(at, self._read_of_class.get(kind, at))
        for run in runs:
            index, _, count = run.shard.rpartition(".")[2].partition("-of-")
            read_nothing = run.command == "run" and run.status in {"failed", "incomplete"} and not run.events
            if read_nothing and count == str(shards.count):
                began = run.ended_at - int((run.duration_seconds or 0) * 1e6)
                self._failed_at[int(index)] = max(began, self._failed_at.get(int(index), began))

    def of(self, web_id: str, now: Micros) -> Micros:
        """The server's now of the last run that had to read this tag; at most `now`.

        A class with a longer interval is due at its next turn.
        """
        shard, kind = self._shard(web_id), self._class_of_tag(web_id)
        last = self._read.get(shard)
        if last is None:
            return now
        own = self._read_of_class.get((shard, kind.name), last)
        if last < own + kind.interval_micros:
            last = own
        return min(max(last, self._failed_at.get(shard, last)), now)

    def _shard(self, web_id: str) -> int:
        return next(shard.index for shard in self._shards if shard.owns(web_id)) if len(self._shards) > 1 else 0


def progress_of_tag(
    config: Config, web_id: str, watermark: Watermark | None, wanted: Window, holes: Sequence[Hole]
) -> TagProgress:
    """What is done of a tag, or of a series, and what is wanted."""
    fixed = config.extraction.start_date.fixed
    if watermark is None:
        return TagProgress(web_id, None, wanted)
    done = Window(watermark.low, watermark.high)
    if fixed is not None and done.start < done.end:
        # Only a run in full mode would read it; it is missing all the same.
        wanted = Window(min(fixed, wanted.start), wanted.end)
    error = (watermark.last_error or f"{watermark.status}, no reason known") if watermark.status != "ok" else None
    lost = tuple(
        (hole.start, hole.end, hole.error) for hole in holes if watermark.low <= hole.start < hole.end <= watermark.high
    )
    return TagProgress(web_id, done, wanted, error, lost)
