"""What `status --gaps` tells: the gaps of a pipeline, from its watermarks and its configuration alone.

Asks no PI. Invariant: a tag of which there is a watermark is told of, unless pi_tags says that its point
is gone; what is not selected (any more) is told of only if it is not known whether it is. What no run could have
read yet is no gap, but not due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from config import Config
from writers import Hole, Holes, Watermark

from ..model import Micros, Window
from ..piweb.times import iso_text
from ..plan.classes import TagClass, class_of
from ..plan.gap_ledger import Account, GapLedger, gap_ledger, grouped
from ..plan.shards import Shard
from ..wiring import wanted_window
from .selection import KnownTag, Selection
from .standing import LastRun, Shards

__all__ = ["Gaps", "as_dict", "find_gaps"]

_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The ledger, names of tags, and how many tags with a watermark are left out, and why.

    `not_due`: what is newer than what the last run could read, and of how many tags it is.
    """

    ledger: GapLedger
    names: Mapping[str, str]
    gone: int = 0
    unselected: int = 0
    not_due: tuple[Micros, Micros, int] | None = None


def find_gaps(
    config: Config,
    marks: Mapping[str, Watermark],
    known: Iterable[KnownTag],
    now: Micros,
    *,
    runs: Sequence[LastRun] = (),
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    holes: Holes = MappingProxyType({}),
) -> Gaps:
    """Draw up the ledger of a pipeline. Pure. `now` is this machine's clock, `runs` are its newest."""
    points = {tag.web_id: tag for tag in known}
    selected = Selection(config.extraction, points)
    of_name = class_of(config.extraction)

    def kind_of(web_id: str) -> TagClass:
        return of_name(points[web_id].name if web_id in points else "")

    due = _Due(config, marks, kind_of, runs, shards)
    accounts: list[Account] = []
    fresh: list[Micros] = []  # where tags stand of which something is not due yet
    gone = unselected = 0
    end = wanted_window(config, None, now).end
    for web_id in dict.fromkeys((*marks, *points)):
        mark, point = marks.get(web_id), points.get(web_id)
        chosen = selected.has(point)
        if chosen is False or (mark is None and chosen is None):
            unselected += mark is not None
            continue
        if point is not None and point.gone:
            gone += mark is not None
            continue
        ahead = (kind_of(web_id).horizon_micros or 0) if point is not None and point.future else None
        upto = due.of(web_id, now)
        account = _account(config, web_id, mark, now=upto, horizon=ahead, holes=holes.get(web_id, ()))
        accounts.append(account)
        if mark is not None and upto < now and account.wanted.end <= mark.high and mark.present < end:
            fresh.append(mark.present)
    names = {web_id: point.name for web_id, point in points.items()}
    not_due = (min(fresh), max(end, *fresh), len(fresh)) if fresh else None
    return Gaps(gap_ledger(accounts), names, gone=gone, unselected=unselected, not_due=not_due)


class _Due:
    """Up to which server's now the last run of each shard could have read.

    The watermarks tell: a run leaves every tag that it reads up to the server's now less the lag. Of a run that
    failed and read nothing the metrics tell when it began. Where no run is known, all up to `now` is due.
    """

    def __init__(
        self,
        config: Config,
        marks: Mapping[str, Watermark],
        kind_of: Callable[[str], TagClass],
        runs: Sequence[LastRun],
        shards: Shards,
    ) -> None:
        """`kind_of`: the class of a tag by its WebID."""
        self._kind_of = kind_of
        self._shards = [Shard(index, shards.count) for index in range(shards.count)]
        self._read: dict[int, Micros] = {}
        self._read_of_class: dict[tuple[int, str], Micros] = {}
        self._in_vain: dict[int, Micros] = {}
        lag = config.extraction.lag // _MICRO
        for web_id, mark in marks.items():
            if mark.low < mark.high:
                shard, at = self._shard(web_id), mark.present + lag
                kind = shard, kind_of(web_id).name
                self._read[shard] = max(at, self._read.get(shard, at))
                self._read_of_class[kind] = max(at, self._read_of_class.get(kind, at))
        for run in runs:
            index, _, count = run.shard.rpartition(".")[2].partition("-of-")
            in_vain = run.command == "run" and run.status in {"failed", "incomplete"} and not run.events
            if in_vain and count == str(shards.count):
                began = run.ended_at - int((run.duration_seconds or 0) * 1e6)
                self._in_vain[int(index)] = max(began, self._in_vain.get(int(index), began))

    def of(self, web_id: str, now: Micros) -> Micros:
        """The server's now of the last run that was to read this tag, at most ours.

        A class that is read more seldom than others is due with its next turn.
        """
        shard, kind = self._shard(web_id), self._kind_of(web_id)
        last = self._read.get(shard)
        if last is None:
            return now
        own = self._read_of_class.get((shard, kind.name), last)
        if last < own + kind.interval_micros:
            last = own
        return min(max(last, self._in_vain.get(shard, last)), now)

    def _shard(self, web_id: str) -> int:
        return next(shard.index for shard in self._shards if shard.owns(web_id)) if len(self._shards) > 1 else 0


def _account(
    config: Config, web_id: str, mark: Watermark | None, *, now: Micros, horizon: Micros | None, holes: Sequence[Hole]
) -> Account:
    wanted = wanted_window(config, mark, now, horizon)
    fixed = config.extraction.start_date.fixed
    if mark is None:
        return Account(web_id, None, wanted)
    done = Window(mark.low, mark.high)
    if fixed is not None and done.start < done.end:
        # Only a run in full mode would read it; it is missing all the same.
        wanted = Window(min(fixed, wanted.start), wanted.end)
    error = (mark.last_error or f"{mark.status}, no reason known") if mark.status != "ok" else None
    lost = tuple((hole.start, hole.end, hole.error) for hole in holes if mark.low <= hole.start < hole.end <= mark.high)
    return Account(web_id, done, wanted, error, lost)


def as_dict(found: Gaps) -> dict[str, Any]:
    """All of it, for scripts: every window with the tags that miss it."""
    ledger = found.ledger
    errors = {(gap.web_id, gap.start): gap.error for gap in ledger.gaps if gap.error is not None}
    bar = ledger.coverage
    return {
        "tags": ledger.tags,
        "tags_complete": ledger.complete,
        "tags_gone": found.gone,
        "tags_not_selected": found.unselected,
        "not_due": None
        if found.not_due is None
        else {"start": iso_text(found.not_due[0]), "end": iso_text(found.not_due[1]), "tags": found.not_due[2]},
        "tag_hours_missing": ledger.missing / 3.6e9,
        "windows": [
            {
                "reason": group.why.value,
                "start": iso_text(group.start),
                "end": iso_text(group.end),
                "tags": len(group.web_ids),
                "tag_webids": list(group.web_ids),
                "errors": {w: errors[w, group.start] for w in group.web_ids if (w, group.start) in errors},
            }
            for group in grouped(ledger.gaps)
        ],
        "coverage": None
        if bar is None
        else {"start": iso_text(bar.start), "step_seconds": bar.step / 1e6, "shares": list(bar.shares)},
    }
