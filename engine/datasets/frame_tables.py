"""What the tables of event frames hold, and the ways to write to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from writers import Listing, Mirror, Move, sync_mirror
from writers.asset_tables import (
    FRAME_TABLES,
    PI_EVENT_FRAME_ANNOTATIONS,
    PI_EVENT_FRAME_ATTRIBUTES,
    PI_EVENT_FRAME_ELEMENTS,
    PI_EVENT_FRAMES,
)

from ..model import Micros
from ..piweb.assets import Named
from ..piweb.event_frames import Frame
from .dataset import SyncContext

_KNOWN = (
    *("event_frame_webid", "start_time", "end_time", "is_open", "values_captured", "database", "deleted_at"),
    "parent_webid",
)
_Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class FrameCounts:
    """What has come of the frames so far, and what could not be read."""

    added: int = 0
    changed: int = 0
    missing: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)


class FrameTables:
    """The tables: what they hold of frames when the run begins, and the ways to write to them. Blocks."""

    def __init__(self, context: SyncContext, result: FrameCounts) -> None:
        self._context = context
        self._result = result
        self.now = context.inventory.server_now
        self._landing = context.keyed_landing("event_frames", PI_EVENT_FRAMES)
        self.watermarks = self._landing.open()
        for spec in FRAME_TABLES:  # also where there is no frame yet
            context.lakehouse.table(spec).open()
        self.known = context.lakehouse.table(PI_EVENT_FRAMES).open().read(_KNOWN).read_all().combine_chunks()
        self._mirrors = {
            spec.name: (mirror, mirror.keyed())
            for spec, mirror in (
                (spec, Mirror(spec, things=spec.name.removeprefix("pi_")))
                for spec in (PI_EVENT_FRAME_ATTRIBUTES, PI_EVENT_FRAME_ELEMENTS, PI_EVENT_FRAME_ANNOTATIONS)
            )
        }

    def write_below(self, rows: Mapping[str, pa.Table], gone: Mapping[str, Collection[str]]) -> None:
        """Write what lies below frames. `gone`, by table: frames of which there is nothing but these rows."""
        for name, (mirror, keyed) in self._mirrors.items():
            listing = Listing(rows[name], self.now, gone=gone[name])
            sync_mirror(self._context.lakehouse, mirror, listing, on_step=self._context.on_step, keyed=keyed)

    def write_frames(self, rows: pa.Table | None, gone: Collection[str], move: Move) -> None:
        batch = self._landing.begin()
        if rows is not None:
            batch.upsert(rows)
        if gone:
            batch.delete(pa.table({"event_frame_webid": pa.array(sorted(gone), pa.string())}), now=self.now)
        receipt = batch.commit(move)
        self._result.added += receipt.inserted
        self._result.changed += receipt.changed
        self._result.missing += receipt.deleted


@dataclass(frozen=True, slots=True)
class KnownFrames:
    """The frames of one database that the table showed when the run began. `parents`: the frame above each."""

    web_ids: pa.Array
    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]  # of an open one: the last instant there is
    is_open: _Bools
    captured: pa.Array  # null: unknown, because the values could not be read yet
    lives: _Bools
    parents: pa.Array

    @classmethod
    def of(cls, rows: pa.Table, database: Named, names: Collection[str]) -> KnownFrames:
        """`names`: those that the database has, and had."""
        rows = rows.filter(pc.is_in(rows["database"], value_set=pa.array(list(names), pa.string())))
        rows = of_server(rows, database).combine_chunks()
        last = np.iinfo(np.int64).max

        def times(name: str, missing: int) -> npt.NDArray[np.int64]:
            found: npt.NDArray[np.int64] = pc.fill_null(rows[name].cast(pa.int64()), missing).to_numpy()
            return found

        return cls(
            _array(rows["event_frame_webid"].cast(pa.string())),
            times("start_time", 0),
            times("end_time", int(last)),
            pc.fill_null(rows["is_open"], True).to_numpy(),
            _array(rows["values_captured"]),
            pc.is_null(rows["deleted_at"]).to_numpy(),
            _array(rows["parent_webid"].cast(pa.string())),
        )

    def indices(self, frames: Sequence[Frame]) -> npt.NDArray[np.int64]:
        """Where each frame stands; -1: nowhere, or as deleted."""
        at = pc.index_in(pa.array([one.web_id for one in frames], pa.string()), value_set=self.web_ids)
        found: npt.NDArray[np.int64] = pc.fill_null(at, -1).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.where((found >= 0) & self.lives[found], found, -1) if len(self.lives) else found

    def unseen(self, mask: _Bools, seen: Collection[str]) -> list[str]:
        """Living frames of the mask that were not seen."""
        chosen = self.web_ids.filter(pa.array(mask & self.lives))
        return [one for one in chosen.to_pylist() if one not in seen]

    def active(self, low: Micros, high: Micros, *, begun: bool) -> _Bools:
        """Those that are active in a window; only those that `begun` in it."""
        found: _Bools = (self.start <= high) & ((self.start if begun else self.end) >= low)
        return found

    def parent_of(self) -> dict[str, str]:
        """By WebID, the frame above each of those that lie below one."""
        below = pc.is_valid(self.parents)
        return dict(zip(self.web_ids.filter(below).to_pylist(), self.parents.filter(below).to_pylist(), strict=True))

    @property
    def waiting(self) -> frozenset[str]:
        """Those whose values are still to be read."""
        return frozenset(self.web_ids.filter(pc.is_null(self.captured)).to_pylist())

    @property
    def unsettled(self) -> _Bools:
        """Those that are open, and those whose values are still to be read."""
        found: _Bools = self.is_open | pc.is_null(self.captured).to_numpy(zero_copy_only=False)
        return found


def newest_of_others(rows: pa.Table, database: Named, known: Collection[str], most: int) -> dict[str, list[str]]:
    """Of each database of this server that is not `known` by name: WebIDs of its newest frames, at most so many."""
    rows = rows.filter(pc.is_null(rows["deleted_at"]))
    rows = of_server(rows.filter(pc.invert(pc.is_in(rows["database"], value_set=pa.array(list(known))))), database)
    found: dict[str, list[str]] = {}
    for name in pc.unique(rows["database"]).to_pylist():
        mine = rows.filter(pc.equal(rows["database"], name)).sort_by([("start_time", "descending")])
        found[name] = mine["event_frame_webid"].slice(0, most).cast(pa.string()).to_pylist()
    return found


def of_server(rows: pa.Table, database: Named) -> pa.Table:
    """Rows of frames of the AF server of a database. Databases of two servers may have one name.

    A WebID holds the GUID of the server: in that of a database after I1RD, in that of a frame after I1Fm.
    """
    ours = pc.match_substring(rows["event_frame_webid"].cast(pa.string()), database.web_id[4:26])
    return rows.filter(ours) if pc.any(ours).as_py() else rows


def _array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
