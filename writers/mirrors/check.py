"""Compares a table with what the source shows, as `mirror.sync` does, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corrections.by_key import KeyedTable, StoredRows, key_codes
from ..corrections.windows import Bools, Int64s
from ..ports import Lakehouse
from .mirror import Listing, Mirror, MirrorDifference, SyncReceipt, difference, to_compare
from .seen import SeenRows

# So many rows of each kind are named; all are counted.
_MOST_NAMED = 1000
_KINDS = ("missing", "different", "extra", "undecided", "doubled")
_NO_HASHES = np.empty(0, np.uint64)


@dataclass(slots=True)
class RowsFound:
    """Rows of one kind: how many, and the names of the first of them."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, count: int, names: Sequence[str]) -> None:
        self.count += count
        self.names += names[: _MOST_NAMED - len(self.names)]


@dataclass(slots=True)
class TableCheck:
    """How one table compares with the source, in rows. `table` is its name in `TableSpec`.

    source: rows that the source shows. held: rows of this source that the table shows as existing. missing: the table does
    not have them. different: the table shows something else, or shows them as deleted. extra: the source does not have
    them any more, and the table shows them as existing. undecided: a list of the source does not show them, and the source
    does not say that they are gone. doubled: keys that the table has more than once.
    """

    table: str
    source: int = 0
    held: int = 0
    missing: RowsFound = field(default_factory=RowsFound)
    different: RowsFound = field(default_factory=RowsFound)
    extra: RowsFound = field(default_factory=RowsFound)
    undecided: RowsFound = field(default_factory=RowsFound)
    doubled: RowsFound = field(default_factory=RowsFound)

    @property
    def kinds(self) -> Mapping[str, RowsFound]:
        """What is not as it should be, by name."""
        return {name: getattr(self, name) for name in _KINDS}

    @property
    def agrees(self) -> bool:
        return not any(one.count for one in self.kinds.values())

    def add(self, other: TableCheck) -> None:
        """Add what was compared of another source."""
        self.source += other.source
        self.held += other.held
        for name, found in other.kinds.items():
            self.kinds[name].add(found.count, found.names)


class MirrorCheck:
    """Compares in place of `mirror.sync`, and remembers what that would have changed. Call it from one thread."""

    def __init__(self) -> None:
        # Of each table: what was compared of each source, and the last comparison of all.
        self._parts: dict[str, list[TableCheck]] = {}
        self._last: dict[str, _Comparison] = {}

    @property
    def tables(self) -> Mapping[str, TableCheck]:
        """What was compared, by name of the table."""
        found = {name: TableCheck(name) for name in self._parts}
        for name, parts in self._parts.items():
            for one in parts:
                found[name].add(one)
        return found

    def sync(
        self,
        lakehouse: Lakehouse,
        mirror: Mirror,
        listing: Listing,
        *,
        on_step: Callable[[str], None],  # noqa: ARG002 - nothing is written
        keyed: KeyedTable | None = None,
    ) -> SyncReceipt:
        """Compare, and give the receipt that `mirror.sync` gives. Creates no table. Raises what reading raises.

        A call with the same `keyed` as the last one for the table shows all that it showed, and more: it takes its place.
        """
        name, keyed = mirror.spec.name, keyed or mirror.keyed()
        seen, rows, hashes = to_compare(mirror, listing.rows)
        table = lakehouse.table(mirror.spec)
        stored = keyed.read(table.open()) if table.exists() else None
        there = _no_rows(mirror) if stored is None else stored.rows
        held = _NO_HASHES if stored is None else stored.hashes
        found = difference(mirror, there, held, replace(listing, rows=rows), hashes)
        parts = self._parts.setdefault(name, [])
        if name in self._last and self._last[name].keyed is keyed:
            parts.pop()
        self._last[name] = last = _Comparison(mirror, keyed, stored, there, found)
        parts.append(_check_of(last, seen))
        return replace(found.receipt, before=there)

    def undecided(self, mirror: Mirror, keys: Collection[str]) -> None:
        """Note rows of the source that was compared last, by the first column of their key: the source neither shows nor
        denies them.
        """
        last = self._last[mirror.spec.name]
        among = pc.is_in(last.there[mirror.spec.grain.key[0]], value_set=pa.array(list(keys), pa.string()))
        shown, written = last.of_stored
        rows = np.flatnonzero(among.to_numpy() & last.there["deleted_at"].is_null().to_numpy() & ~shown & ~written)
        check = self._parts[mirror.spec.name][-1]
        check.held += len(rows)
        check.undecided.add(len(rows), last.names(rows))


class _Comparison(NamedTuple):
    """A comparison of a table with a source. `there`: the kept columns of its rows; `stored` is None where it is not there."""

    mirror: Mirror
    keyed: KeyedTable
    stored: StoredRows | None
    there: pa.Table
    found: MirrorDifference

    @property
    def of_stored(self) -> tuple[Bools, Bools]:
        """Of each row of the table: whether the source shows it, and whether it is to be written."""
        known = self.there.num_rows
        return self.found.seen_at[:known] >= 0, self.found.written[:known]

    def names(self, rows: Int64s) -> list[str]:
        """The names of the first of these rows of the table, in ascending order."""
        return [] if self.stored is None else _names(self.mirror, self.keyed.fetch(self.stored, rows[:_MOST_NAMED]))


def _check_of(last: _Comparison, seen: pa.Table | SeenRows) -> TableCheck:
    mirror, there, found = last.mirror, last.there, last.found
    shown, written = last.of_stored
    new = np.sort(found.seen_at[there.num_rows :])
    living = there["deleted_at"].is_null().to_numpy()
    check = TableCheck(mirror.spec.name)
    check.source = len(new) + len(np.unique(found.seen_at[: there.num_rows][shown]))
    check.held = int((living & shown).sum()) + found.receipt.missing
    check.missing.add(len(new), _names(mirror, _taken(seen, new[:_MOST_NAMED])))
    for kind, rows in (
        (check.different, np.flatnonzero(written & shown)),
        (check.extra, np.flatnonzero(written & ~shown)),
        (check.doubled, _again(mirror, there, shown)),
    ):
        kind.add(len(rows), last.names(rows))
    return check


def _taken(seen: pa.Table | SeenRows, indices: Int64s) -> pa.Table:
    return seen.take(indices) if isinstance(seen, SeenRows) else seen.take(pa.array(indices))


def _again(mirror: Mirror, rows: pa.Table, shown: Bools) -> Int64s:
    """Rows that were shown, and whose key another row has before them."""
    codes, _ = key_codes(mirror.spec.grain.key, rows, rows.slice(0, 0))
    again = np.ones(len(codes), np.bool_)
    again[np.unique(codes, return_index=True)[1]] = False
    found: Int64s = np.flatnonzero(again & shown)
    return found


def _no_rows(mirror: Mirror) -> pa.Table:
    return pa.schema([mirror.spec.schema.field(name) for name in mirror.kept_columns]).empty_table()


def _names(mirror: Mirror, rows: pa.Table) -> list[str]:
    """Each row by what people know it by, and its key."""
    key = mirror.spec.grain.key
    named = [", ".join(map(str, one.values())) for one in rows.select(list(mirror.named_by)).to_pylist()]
    keys = [", ".join(map(str, one.values())) for one in rows.select(list(key)).to_pylist()]
    return [f"{name} ({own})" for name, own in zip(named, keys, strict=True)] if mirror.named_by else keys
