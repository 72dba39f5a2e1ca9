"""Rows that a source shows, more of them than should be held as they are: compressed, with what comparing needs beside.

Memory for a row is its key and what else is kept of it, 8 bytes of hash, and its compressed text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..corrections.by_key import key_codes
from ..corrections.windows import Int64s
from ..row_hash import Hashes, row_hashes

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class HeldRows:
    """Rows of one schema, compressed part by part as they came."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._parts: list[tuple[pa.Buffer, int]] = []

    @property
    def num_rows(self) -> int:
        return sum(rows for _, rows in self._parts)

    @property
    def size_bytes(self) -> int:
        return sum(part.size for part, _ in self._parts)

    def add(self, rows: pa.Table) -> None:
        """Take rows in, in the columns of the schema. Raises `pa.ArrowInvalid` for values that do not fit."""
        rows = rows.select(self.schema.names).cast(self.schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.schema, options=_OPTIONS) as stream:
            stream.write_table(rows.combine_chunks())
        self._parts.append((sink.getvalue(), rows.num_rows))

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows as they came; all columns, or some."""
        wanted = [i for i, name in enumerate(self.schema.names) if columns is None or name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        for part, _ in self._parts:
            yield pa.ipc.open_stream(part, options=options).read_all()

    def take(self, indices: Int64s) -> pa.Table:
        """The rows at these places, in ascending order of them. Goes through the parts that hold one."""
        indices = np.sort(indices)
        found = [self.schema.empty_table()]
        first = 0
        for part, count in self._parts:
            start, end = np.searchsorted(indices, [first, first + count])
            if start < end:
                rows = pa.ipc.open_stream(part).read_all()
                found.append(rows.take(pa.array(indices[start:end] - first)))
            first += count
        return pa.concat_tables(found)


class SeenRows:
    """What was seen of a mirror's source, in any number of pieces. A key that was seen again counts as it was last.

    `key`: the columns of the key. `kept`: those that are at hand for each row.
    """

    def __init__(self, schema: pa.Schema, *, key: Sequence[str], kept: Sequence[str]) -> None:
        self._key = tuple(key)
        self._all = HeldRows(schema)
        self._kept: list[pa.Table] = [schema.empty_table().select(list(kept))]
        self._hashes: list[Hashes] = [np.empty(0, np.uint64)]
        self._last: Int64s | None = None

    @property
    def size_bytes(self) -> int:
        return self._all.size_bytes

    def add(self, rows: pa.Table) -> None:
        """Take rows in, in the columns of the source. Raises `pa.ArrowInvalid` for values that do not fit."""
        if not rows.num_rows:
            return
        schema = self._all.schema
        rows = rows.select(schema.names).cast(schema).combine_chunks()
        self._all.add(rows)
        self._kept.append(rows.select(self._kept[0].schema.names))
        self._hashes += [row_hashes(batch, schema.names) for batch in rows.to_batches()]
        self._last = None

    @property
    def rows(self) -> pa.Table:
        """The kept columns of each thing, once."""
        whole = pa.concat_tables(self._kept)
        last = self._places()
        return whole if len(last) == whole.num_rows else whole.take(pa.array(last))

    @property
    def hashes(self) -> Hashes:
        """The hash of each of `rows`."""
        found: Hashes = np.concatenate(self._hashes)[self._places()]
        return found

    def take(self, indices: Int64s) -> pa.Table:
        """All columns of the rows at these indices of `rows`, in ascending order of them."""
        return self._all.take(self._places()[indices])

    def parts(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all that was added, as it came."""
        return self._all.parts(columns)

    def _places(self) -> Int64s:
        """Where each thing was seen last."""
        if self._last is None:
            whole = pa.concat_tables(self._kept)
            codes, _ = key_codes(self._key, whole, whole.slice(0, 0))
            last = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
            last[codes] = np.arange(len(codes))
            self._last = np.sort(last[last >= 0])
        return self._last
