"""Counts of rows: how many events of each tag a table holds on each day.

Reads one partition after the other, and of it a few columns, batch by batch: memory follows the number of
tags and days asked about, not that of rows. Invariant: a row is counted if it is in its tag's window, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..ports import CommitTable

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

_EPOCH = date(1970, 1, 1)
_DAY = 86_400_000_000
# Rows looked at together: tags are looked up in a table of hashes that is built each time.
_LOOK_UP_ROWS = 1 << 19


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Rows of each tag (first axis) on each day (second), and those of them that are good."""

    rows: Int32s
    good: Int32s


def count_days(
    table: CommitTable, web_ids: Sequence[str], *, starts: Int64s, ends: Int64s, first_day: int, days: int
) -> DayCounts:
    """Count the rows of tag n in `[starts[n], ends[n])`, in microseconds since 1970, on `days` days from the
    `first_day` since then. Takes a fresh snapshot. A table that does not exist holds nothing.
    """
    found = DayCounts(np.zeros((len(web_ids), days), np.int32), np.zeros((len(web_ids), days), np.int32))
    if not table.exists():
        return found
    opened = table.open()
    tags, grain = pa.array(web_ids, pa.string()), table.spec.grain
    for day in range(days):
        where = {grain.date or "": (_EPOCH + timedelta(days=first_day + day)).isoformat()}
        for rows in _pieces(opened.read([grain.owner, grain.time or "", "good"], where=where)):
            _count(
                rows.rename_columns(["owner", "time", "good"]),
                tags,
                (starts, ends),
                found.rows[:, day],
                found.good[:, day],
            )
    return found


def count_at(table: CommitTable, instants: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """Rows of tags at single microseconds, and how many of them are good, for each pair of a WebID and an instant."""
    found = [(0, 0)] * len(instants)
    # A tag has one window a count: those of a day are counted together, the second of a tag by the next one.
    passes: dict[tuple[int, int], list[int]] = {}
    turns: dict[tuple[str, int], int] = {}
    for place, (web_id, at) in enumerate(instants):
        day = at // _DAY
        turn = turns[web_id, day] = turns.get((web_id, day), -1) + 1
        passes.setdefault((day, turn), []).append(place)
    for (day, _), indices in passes.items():
        starts = np.array([instants[place][1] for place in indices], np.int64)
        web_ids = [instants[place][0] for place in indices]
        held = count_days(table, web_ids, starts=starts, ends=starts + 1, first_day=day, days=1)
        for place, rows, good in zip(indices, held.rows[:, 0].tolist(), held.good[:, 0].tolist(), strict=True):
            found[place] = rows, good
    return found


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Put small batches together."""
    pile: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        pile.append(batch)
        rows += batch.num_rows
        if rows >= _LOOK_UP_ROWS:
            yield pa.Table.from_batches(pile)
            pile, rows = [], 0
    if pile:
        yield pa.Table.from_batches(pile)


def _count(rows: pa.Table, tags: pa.Array, windows: tuple[Int64s, Int64s], into: Int32s, good_into: Int32s) -> None:
    indices = pc.fill_null(pc.index_in(rows["owner"], value_set=tags), -1).to_numpy()
    known = indices >= 0
    indices = indices[known]
    at = rows["time"].cast(pa.int64()).to_numpy()[known]
    # A source that does not say whether a value is good has not called it bad.
    good = pc.fill_null(rows["good"], True).to_numpy(zero_copy_only=False)[known]
    starts, ends = windows
    inside = (at >= starts[indices]) & (at < ends[indices])
    into += np.bincount(indices[inside], minlength=len(into)).astype(np.int32)
    good_into += np.bincount(indices[inside & good], minlength=len(into)).astype(np.int32)
