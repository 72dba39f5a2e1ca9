"""Corrections: what has to change in a table so that a window of an owner (a tag) holds what the source holds.

`diff` decides, `correct` reads and stages; the commit is the caller's.
Invariant: rows outside the windows, and rows that do not differ, stay as they are to the last bit, and a
file that loses no row is not touched.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..ports import ROW, LiveFile, OpenTable, StagedFile
from ..row_hash import Hashes, row_hashes
from ..storage.parquet_stage import column_as, held_schema
from ..tables import Grain, TableSpec
from .rewrite import rewrite
from .windows import Bools, Int64s, Windows, columns_read, micros, rows_inside


@dataclass(frozen=True, slots=True)
class Replacement:
    """In `[low, high)` the source holds, of this owner, exactly the rows that come along; microseconds, UTC."""

    owner: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class CorrectionCounts:
    """What corrections did to the table. Changed: the key was there, with another event behind it."""

    inserted: int = 0
    changed: int = 0
    deleted: int = 0
    files_rewritten: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.changed or self.deleted or self.files_rewritten)

    def __add__(self, other: CorrectionCounts) -> CorrectionCounts:
        return CorrectionCounts(
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.deleted + other.deleted,
            self.files_rewritten + other.files_rewritten,
        )


UNCHANGED = CorrectionCounts()


@dataclass(frozen=True, slots=True)
class Events:
    """Keys and hashes of rows: owner (by code), time, ordinal, hash of the truth."""

    codes: Int64s
    times: Int64s
    ordinals: Int64s
    hashes: Hashes

    @classmethod
    def of(cls, grain: Grain, parts: Iterable[tuple[Int64s, pa.RecordBatch]]) -> Events:
        """Take the codes and rows of batches, one after the other."""
        found = [
            (
                codes,
                micros(batch.column(grain.time)),
                np.zeros(len(codes), np.int64) if grain.ordinal is None else micros(batch.column(grain.ordinal)),
                row_hashes(batch, grain.truth),
            )
            for codes, batch in parts
        ]
        none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64)
        return cls(*(np.concatenate(column) for column in zip(none, *found, strict=True)))


@dataclass(frozen=True, slots=True)
class Difference:
    """Indices of stored rows that go, and whether their key stays; of source rows that come, and whether theirs is new.

    Both are in ascending order.
    """

    gone: Int64s
    stays: Bools
    come: Int64s
    new: Bools

    @property
    def counts(self) -> CorrectionCounts:
        inserted = int(self.new.sum())
        changed = len(self.come) - inserted
        return CorrectionCounts(inserted, changed, len(self.gone) - changed)


def diff(stored: Events, source: Events) -> Difference:
    """Compare by key. Of rows of the source with one key the last counts; in the table one of them may stay."""
    many = len(stored.codes)
    times = np.concatenate([stored.times, source.times])
    # Owner and ordinal in one number: rows need to be grouped, not put into any particular order.
    owners = np.concatenate([(e.codes << 32) | e.ordinals for e in (stored, source)])
    order = np.lexsort([owners, times])  # stable: in each group the rows of the source are the last ones
    if not len(order):
        none = order.astype(np.bool_)
        return Difference(order, none, order, none)
    ends = np.ones(len(order), np.bool_)
    ends[:-1] = (np.diff(times[order]) != 0) | (np.diff(owners[order]) != 0)
    group: Int64s = np.cumsum(ends) - ends
    last = order[ends]  # of each group
    in_source = last >= many
    hashes = np.concatenate([stored.hashes, source.hashes])
    is_stored = order < many
    alike = np.flatnonzero(is_stored & in_source[group] & (hashes[order] == hashes[last][group]))
    settled: Int64s
    settled, first = np.unique(group[alike], return_index=True)
    goes = is_stored.copy()
    goes[alike[first]] = False
    comes = in_source.copy()
    comes[settled] = False
    there = np.bincount(group[is_stored], minlength=len(last)) > 0
    gone, stays = _rising(order[goes], in_source[group[goes]])
    come, new = _rising(last[comes] - many, ~there[comes])
    return Difference(gone, stays, come, new)


def _rising(indices: Int64s, flags: Bools) -> tuple[Int64s, Bools]:
    order = np.argsort(indices)
    return indices[order], flags[order]


class Changes(Protocol):
    """What a commit makes of rows that are stored already."""

    def __bool__(self) -> bool: ...

    def correct(self, table: OpenTable, appended: Callable[[], Sequence[StagedFile]]) -> Correction:
        """Compare with the snapshot, and stage what differs. `appended` gives the files the same commit will add."""


class Replacements:
    """The windows that one commit replaces, and their rows. Rows are held in memory: the caller bounds them."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._schema = held_schema(spec, spec.schema.names)
        self._calls: list[tuple[Windows, pa.RecordBatch]] = []
        self._reach: dict[str, tuple[int, int]] = {}  # from the first to the last window of each owner
        self._repeats = False

    def __bool__(self) -> bool:
        return bool(self._reach)

    @property
    def owners(self) -> Collection[str]:
        return self._reach.keys()

    def add(self, replacements: Sequence[Replacement], rows: pa.RecordBatch) -> None:
        """Raises ValueError for rows that lie in none of the windows."""
        windows, grain = Windows.of((r.owner, r.low, r.high) for r in replacements), self._spec.grain
        if not windows.inside(windows.codes(rows.column(grain.owner)), micros(rows.column(grain.time))).all():
            raise ValueError("a row that replaces others lies in none of the windows that are to be replaced")
        for r in replacements:
            low, high = self._reach.get(r.owner, (r.low, r.low))
            self._repeats = self._repeats or (r.low < high and low < r.high)
            self._reach[r.owner] = min(low, r.low), max(high, r.high)
        columns = [column_as(rows.column(f.name), f.type) for f in self._schema]
        self._calls.append((windows, pa.RecordBatch.from_arrays(columns, schema=self._schema)))

    def correct(self, table: OpenTable, appended: Callable[[], Sequence[StagedFile]]) -> Correction:
        return correct(table, self, appended)

    def windows(self) -> Windows:
        return Windows.of(window for windows, _ in self._calls for window in windows)

    def without(self, owners: Collection[str]) -> Replacements:
        """The same, but for some owners."""
        left = Replacements(self._spec)
        for windows, rows in self._calls:
            rest = [Replacement(*window) for window in windows if window[0] not in owners]
            names = pa.array(sorted({r.owner for r in rest}), pa.string())
            if rest:
                left.add(rest, rows.filter(pc.is_in(rows.column(self._spec.grain.owner).cast(pa.string()), names)))
        return left

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give the rows, as they came. Where a window was replaced twice, the later call counts."""
        latest = _latest(windows for windows, _ in self._calls) if self._repeats else {}
        for place, (windows, rows) in enumerate(self._calls):
            if latest.keys().isdisjoint(windows.owners):
                yield rows
                continue
            grain = self._spec.grain
            codes, times = windows.codes(rows.column(grain.owner)), micros(rows.column(grain.time))
            kept = np.ones(len(codes), np.bool_)
            for code in np.unique(codes).tolist():
                if found := latest.get(windows.owners[code]):
                    mine = codes == code
                    kept[mine] = found.calls[np.searchsorted(found.since, times[mine], "right") - 1] == place
            yield rows if kept.all() else rows.filter(pa.array(kept))


class _Latest(NamedTuple):
    """Which call was the last one about an owner: from each instant of `since` on, the one beside it."""

    since: Int64s
    calls: Int64s

    @classmethod
    def of(cls, windows: Sequence[tuple[int, int, int]]) -> _Latest:
        """Take (low, high, call). Once through all ends in order of time, however many calls there are."""
        waiting = sorted(windows, reverse=True)
        since = sorted({end for low, high, _ in windows for end in (low, high)})
        reaching: list[tuple[int, int]] = []  # the last call first, with the end of its window
        calls: list[int] = []
        for at in since:
            while waiting and waiting[-1][0] <= at:
                _, high, call = waiting.pop()
                heapq.heappush(reaching, (-call, high))
            while reaching and reaching[0][1] <= at:
                heapq.heappop(reaching)
            calls.append(-reaching[0][0] if reaching else -1)
        return cls(np.array(since, np.int64), np.array(calls, np.int64))


def _latest(calls: Iterable[Windows]) -> Mapping[str, _Latest]:
    """The last calls about each owner that has several windows."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for call, windows in enumerate(calls):
        for owner, low, high in windows:
            found.setdefault(owner, []).append((low, high, call))
    return {owner: _Latest.of(each) for owner, each in found.items() if len(each) > 1}


@dataclass(frozen=True, slots=True)
class Correction:
    """What a commit adds and removes to correct, and what that means for the owners it concerns."""

    files: tuple[StagedFile, ...] = ()
    remove: tuple[LiveFile, ...] = ()
    counts: CorrectionCounts = UNCHANGED
    inserted: Mapping[str, int] = field(default_factory=dict)  # rows with a new key, of each owner that changed
    changes: tuple[StagedFile, ...] = ()  # for the feed of changes
    replaces_all: bool = False  # `files` take the place of every file of the table
    conflicts_with: str | None = None  # app_ids that begin so must not have corrected meanwhile; None: repairs

    @property
    def staged(self) -> tuple[StagedFile, ...]:
        return *self.files, *self.changes


def correct(table: OpenTable, wanted: Replacements, appended: Callable[[], Sequence[StagedFile]] = tuple) -> Correction:
    """Compare the snapshot with what is wanted, and stage what differs. Stages nothing where nothing does.

    `appended` gives the files that the same commit will add. It is called where the table keeps a change data feed and
    files of it are replaced: then the feed must name them, too.

    Raises what reading and staging raise; then nothing stays staged.
    """
    windows, batches, grain = wanted.windows(), list(wanted.batches()), table.spec.grain
    files, stored, rows = _stored(table, windows)
    source = Events.of(grain, ((windows.codes(batch.column(grain.owner)), batch) for batch in batches))
    found = diff(stored, source)
    if not found.counts:
        return Correction()
    losing = by_file(rows[0][found.gone], rows[1][found.gone], found.stays)
    staged, changes = rewrite(
        table,
        [(files[number], gone) for number, gone in losing.items()],
        _rows_at(batches, found.come, found.new),
        appended=appended,
    )
    counts = found.counts + CorrectionCounts(files_rewritten=len(losing))
    new = np.bincount(source.codes[found.come[found.new]], minlength=len(windows.owners))
    touched = np.unique(np.concatenate([stored.codes[found.gone], source.codes[found.come]])).tolist()
    inserted = {windows.owners[code]: int(new[code]) for code in touched}
    return Correction(staged, tuple(files[n] for n in losing), counts, inserted, changes)


def _stored(table: OpenTable, windows: Windows) -> tuple[list[LiveFile], Events, tuple[Int64s, Int64s]]:
    """Read keys and hashes of the rows in the windows; give also the file of each row and its index in it."""
    files: list[LiveFile] = []
    indices: list[tuple[Int64s, Int64s]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]

    def parts() -> Iterator[tuple[Int64s, pa.RecordBatch]]:
        for file, batch, codes in rows_inside(table, windows, [*columns_read(table.spec.grain), ROW]):
            if not files or files[-1] is not file:
                files.append(file)
            indices.append((np.full(len(codes), len(files) - 1), micros(batch.column(ROW))))
            yield codes, batch

    events = Events.of(table.spec.grain, parts())
    of_file, in_file = (np.concatenate(column) for column in zip(*indices, strict=True))
    return files, events, (of_file, in_file)


def by_file(of_file: Int64s, in_file: Int64s, stays: Bools) -> dict[int, tuple[Int64s, Bools]]:
    """Give the indices (ascending) of rows in their files, and their flags, file by file."""
    if not len(of_file):
        return {}
    order = np.lexsort((in_file, of_file))
    numbers, starts = np.unique(of_file[order], return_index=True)
    cut = (np.split(column[order], starts[1:]) for column in (in_file, stays))
    return dict(zip(numbers.tolist(), zip(*cut, strict=True), strict=True))


def _rows_at(
    batches: Iterable[pa.RecordBatch], indices: Int64s, flags: Bools
) -> Iterator[tuple[pa.RecordBatch, Bools]]:
    """Give the rows at these indices (ascending) of a sequence of batches, and their flags."""
    first = 0
    for batch in batches:
        start, end = np.searchsorted(indices, [first, first + batch.num_rows])
        if start < end:
            yield batch.take(pa.array(indices[start:end] - first)), flags[start:end]
        first += batch.num_rows
