"""Records with a key land as rows do: inserted, changed and deleted by key, together with the watermark of their source.

A source (a database of event frames) has one watermark, under its own name. Unchanged records cause no data commit.
Of a table with a column `deleted_at`, records that are gone are marked, and stay; `first_seen` of a record stays, too.
Invariant: the one of `Landing`. A run that dies between its two commits leaves everything needed to finish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corrections.by_key import FILE_ROWS, KeyedTable, StoredRows, index_of, key_codes
from ..corrections.correction import Correction
from ..corrections.windows import Bools, Int64s, micros
from ..ports import CommitReceipt, Lakehouse, OpenTable, StagedFile
from ..row_hash import row_hashes
from ..tables import OWN, TIMESTAMP, TableSpec
from ..watermarks.model import Move
from ..watermarks.store import WatermarkStore
from .landing import Landing
from .landing_run import LandingRun

# What is kept in memory of tables that have it.
_KEPT = ("first_seen", "deleted_at")


def _hashed(spec: TableSpec) -> tuple[str, ...]:
    """The columns that the source fills."""
    return spec.grain.truth or tuple(name for name in spec.schema.names if name not in OWN)


@dataclass(frozen=True, slots=True)
class KeyedReceipt:
    """What a commit did to the records. `data` is None where none of them was new, changed or deleted."""

    inserted: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    files_rewritten: int = 0
    data: CommitReceipt | None = None
    watermarks: CommitReceipt | None = None


class KeyedLanding:
    """Lands the records of one pipeline, dataset and shard. One commit at a time; not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        run: LandingRun,
        *,
        file_rows: int = FILE_ROWS,
    ) -> None:
        self._spec = spec
        self._landing = Landing(lakehouse, spec, run)
        self._run = run
        grain = spec.grain
        kept = [name for name in dict.fromkeys((*grain.key, grain.owner, grain.time)) if name]
        kept += [name for name in _KEPT if name in spec.schema.names]
        self._table = KeyedTable(spec, kept=kept, hashed=_hashed(spec), file_rows=file_rows)

    def __repr__(self) -> str:
        return f"KeyedLanding({self._landing!r})"

    def open(self) -> WatermarkStore:
        """As `Landing.open`: finish what dead runs left behind, and give the watermarks, one a source."""
        return self._landing.open()

    def begin(self) -> KeyedBatch:
        """Start a commit, of records of one source. Finish it before the next one begins."""
        return KeyedBatch(self._landing, self._spec, self._table, self._run.now())


class KeyedBatch:
    """The changes of one commit. Rows are held in memory: the caller counts them. Of one key the last call counts."""

    def __init__(self, landing: Landing, spec: TableSpec, table: KeyedTable, now: int) -> None:
        self._landing = landing
        self._changes = _KeyedChanges(spec, table, now)

    def upsert(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Say what records are now: rows of the table's schema, whether their keys are there already or not."""
        self._changes.add(rows, deleted=False)

    def delete(self, keys: pa.Table | pa.RecordBatch, *, now: int | None = None) -> None:
        """Say that records are gone: rows of the key's columns. Those that are not there are passed over.

        `now`: since when, where records are marked.
        """
        self._changes.now = self._changes.now if now is None else now
        self._changes.add(keys, deleted=True)

    def covers(self, low: int | None = None, high: int | None = None) -> None:
        """Say that of this source all records with a time in `[low, high)` are among those given: others are gone.

        Microseconds since 1970. Without an end the window is open there; without both every record is compared.
        """
        self._changes.windows.append((low, high))

    def commit(self, watermark: Move) -> KeyedReceipt:
        """Land the changes together with the watermark of their source, whose name is `watermark.tag_webid`.

        A watermark that moves nothing and records that are as they were commit nothing. Raises as
        `LandingBatch.commit`.
        """
        self._changes.source = watermark.tag_webid
        landed = self._landing.land(self._changes, [watermark])
        counts = landed.corrections
        return KeyedReceipt(
            *(counts.inserted, counts.changed - self._changes.marked),
            *(counts.deleted + self._changes.marked, self._changes.unchanged),
            files_rewritten=counts.files_rewritten,
            data=landed.data,
            watermarks=landed.watermarks,
        )


class _KeyedChanges:
    """Changes of stored records, computed on the snapshot that a commit is based on."""

    def __init__(self, spec: TableSpec, table: KeyedTable, now: int) -> None:
        self.source = ""
        self.windows: list[tuple[int | None, int | None]] = []
        self.unchanged = self.marked = 0
        self.now = now
        self._spec = spec
        self._table = table
        self._hashed = _hashed(spec)
        self._marks = "deleted_at" in spec.schema.names
        self._given: list[pa.Table] = []
        self._deleted: list[bool] = []

    def __bool__(self) -> bool:
        return bool(self._given or self.windows)

    def add(self, rows: pa.Table | pa.RecordBatch, *, deleted: bool) -> None:
        schema = self._spec.schema
        names = self._spec.grain.key if deleted else schema.names
        rows = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        columns = [
            rows[field.name].cast(field.type) if field.name in names else pa.nulls(len(rows), field.type)
            for field in schema
        ]
        self._given.append(pa.table(columns, pa.schema([field.with_nullable(True) for field in schema])))
        self._deleted += [deleted] * len(rows)

    def correct(self, table: OpenTable, appended: Callable[[], Sequence[StagedFile]] = tuple) -> Correction:
        """Compare the records with the snapshot, and stage what differs."""
        self.marked = 0
        stored = self._table.read(table)
        given, deleted = self._latest()
        of_stored, of_given = key_codes(self._spec.grain.key, stored.rows, given)
        at = index_of(of_stored, of_given)
        known, shown = at >= 0, np.zeros(len(at), np.bool_)
        shown[known] = ~deleted[at[known]]
        differs = np.zeros(len(at), np.bool_)
        differs[shown] = stored.hashes[shown] != self._hashes(given)[at[shown]]
        is_marked = self._is_marked(stored)
        differs |= shown & is_marked
        leaves = ((known & ~shown) | (self._covered(stored) & ~shown)) & ~is_marked
        gone = differs | leaves
        new = ~deleted & (index_of(of_given, of_stored) < 0)
        comes = new.copy()
        comes[at[differs]] = True
        self.unchanged = int((~deleted).sum() - comes.sum())
        if not (gone.any() or comes.any()):
            return Correction()
        come = self._dated(given, stored, at).filter(pa.array(comes)).cast(self._spec.schema)
        stays, new = differs[gone], new[comes]
        if self._marks:
            come = pa.concat_tables([come, self._marked(stored, leaves)])
            self.marked = int(leaves.sum())
            stays, new = np.ones(len(stays), np.bool_), np.pad(new, (0, self.marked))
        found = self._table.replace(stored, np.flatnonzero(gone), stays, come=come, new=new, appended=appended)
        # Records of a key may come from any pipeline: two that insert one at once must not both land.
        return replace(found, inserted={self.source: int(new.sum())}, conflicts_with="osipi/")

    def _is_marked(self, stored: StoredRows) -> Bools:
        """Records that are deleted already."""
        if not self._marks:
            return np.zeros(stored.rows.num_rows, np.bool_)
        found: Bools = pc.is_valid(stored.rows["deleted_at"]).to_numpy()
        return found

    def _marked(self, stored: StoredRows, leaves: Bools) -> pa.Table:
        """Records that are gone, as they are to be kept."""
        rows, now = self._table.fetch(stored, np.flatnonzero(leaves)), pa.scalar(self.now, pa.int64()).cast(TIMESTAMP)
        for name in ("deleted_at", "last_updated"):
            if name in rows.schema.names:
                at = rows.schema.get_field_index(name)
                rows = rows.set_column(at, rows.schema.field(at), pa.repeat(now, len(rows)))
        return rows.cast(self._spec.schema)

    def _dated(self, given: pa.Table, stored: StoredRows, at: Int64s) -> pa.Table:
        """What is given, with `first_seen` of those that are there already."""
        if "first_seen" not in given.schema.names:
            return given
        of = np.full(len(given), -1, np.int64)
        of[at[at >= 0]] = np.flatnonzero(at >= 0)
        known = stored.rows["first_seen"].take(pa.array(of, pa.int64(), mask=of < 0))
        place = given.schema.get_field_index("first_seen")
        return given.set_column(place, given.schema.field(place), pc.coalesce(known, given["first_seen"]))

    def _latest(self) -> tuple[pa.Table, Bools]:
        """What was said last of each key, and whether it was deleted."""
        schema = pa.schema([field.with_nullable(True) for field in self._spec.schema])
        given = pa.concat_tables([schema.empty_table(), *self._given]).combine_chunks()
        codes, _ = key_codes(self._spec.grain.key, given, given.slice(0, 0))
        backwards = np.unique(codes[::-1], return_index=True)[1]
        last = np.sort(len(codes) - 1 - backwards)
        return given.take(pa.array(last)), np.array(self._deleted, np.bool_)[last]

    def _hashes(self, given: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        parts = (row_hashes(batch, self._hashed) for batch in given.to_batches())
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def _covered(self, stored: StoredRows) -> Bools:
        """Stored records of the source that would have been given if they were still there."""
        found = np.zeros(stored.rows.num_rows, np.bool_)
        owner, at = self._spec.grain.owner, self._spec.grain.time
        for low, high in self.windows:
            inside = np.ones(len(found), np.bool_)
            if low is not None or high is not None:
                if at is None:
                    raise ValueError(f"{self._spec.name} has no time, so no window of it can be compared")
                times = stored.rows[at].combine_chunks()
                inside = pc.is_valid(times).to_numpy(zero_copy_only=False)
                when = micros(pc.fill_null(times.cast(pa.int64()), 0))
                inside = (
                    inside & (when >= low if low is not None else True) & (when < high if high is not None else True)
                )
            found |= inside
        if owner:
            found &= pc.fill_null(pc.equal(stored.rows[owner], self.source), False).to_numpy()
        return found
