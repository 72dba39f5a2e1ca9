"""The decoder with a native core: `osipi_native` reads the bytes, `decode.judged` decides. Pure.

The core holds no interpreter lock while it reads. It reads what is of the strict shapes of `wire`, which nearly
everything is. Other parts of an answer it hands back, and `strict` opens them; other answers are decoded by `decode` as a
whole. Invariant: what comes out equals what `decode` makes of the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from engine.model import Ask, DecodedAnswer, Int64s, Micros

from .columns import KIND_NAMES, Columns
from .decode import Decoder, EventColumns, FoundEvents, decode, judged, keys_of, read_odd
from .streams import is_ambiguous, missing
from .strict import SubResponse, open_part
from .values import TIME_POINT_TYPE, is_numeric
from .wire import Shape

_ABSENT, _ODD = -1, -2
_TEXT, _NUMERIC, _TIME = range(3)


def native_decoder(core: ModuleType) -> Decoder:
    """The decoder that uses this core (`osipi_native`)."""

    def decode_natively(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> DecodedAnswer:
        keys = keys_of(asks, shape)
        points = bytes([_kind_of_point(ask.tag.point_type) for ask in asks])
        read = core.read_answer(body, shape.value, keys, points)
        opened = None if read is None else _opened(read, body, asks, shape)
        if opened is None:
            return decode(body, asks, shape, ingested_at=ingested_at)
        found, columns, subs = opened
        streams = [key for key, count in zip(keys, read.counts, strict=True) if count != _ABSENT]
        ambiguous = shape is Shape.STREAMSET and is_ambiguous(asks, found.answered, streams)
        return judged(asks, found, columns, subs, recheck=ambiguous, ingested_at=ingested_at, body_bytes=len(body))

    return decode_natively


@cache
def _kind_of_point(point_type: str) -> int:
    return _TIME if point_type == TIME_POINT_TYPE else _NUMERIC if is_numeric(point_type) else _TEXT


def _opened(
    read: Any, body: bytes, asks: Sequence[Ask], shape: Shape
) -> tuple[FoundEvents, EventColumns, Sequence[SubResponse | None]] | None:
    """What was found of each ask, the events, and the parts that Python has read. None: Python is to read all."""
    counts = read.counts
    units = [unit or ask.tag.units for unit, ask in zip(read.units, asks, strict=True)]
    found = FoundEvents(counts, units, {})
    plain = _NativeColumns(read)
    if min(counts, default=0) >= 0:
        return found, plain, [None] * len(asks)
    subs: list[SubResponse | None] = [None] * len(asks)
    for n, first, end in read.odd:
        try:
            subs[n] = open_part(body[first:end], shape)
        except (ValueError, RecursionError):
            return None
    columns = Columns()
    native = np.array([count >= 0 for count in counts])
    for n in np.flatnonzero(~native).tolist():
        part = missing(asks[n]) if counts[n] == _ABSENT else read_odd(subs[n], asks[n], columns)
        counts[n], found.odd[n] = part.count, part
        units[n] = part.units or asks[n].tag.units
    if not len(columns.ticks()):
        return found, plain, subs
    return found, _JoinedColumns(plain, columns, np.repeat(native, counts)), subs


class _NativeColumns:
    """Columns of the buffers that the core has filled."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def ticks(self) -> Int64s:
        return np.frombuffer(self._read.ticks, np.int64)

    def flags(self) -> list[pa.Array]:
        return [_array(pa.bool_(), self._read.events, valid, bits) for bits, valid in self._read.flags]

    def values(self, _tag_of: Int64s, _point_types: Sequence[str]) -> list[pa.Array]:
        read, size = self._read, self._read.events
        kinds = pa.DictionaryArray.from_arrays(_array(pa.int32(), size, None, read.kinds), KIND_NAMES)
        return [
            _array(pa.float64(), size, read.values_valid, read.values),
            _array(pa.string(), size, read.text_valid, read.text_offsets, read.text),
            _array(pa.int32(), size, read.codes_valid, read.codes),
            kinds,
        ]


def _array(kind: pa.DataType, size: int, validity: bytes | None, *buffers: bytes) -> pa.Array:
    """An array over these bytes, without a copy."""
    valid = None if validity is None else pa.py_buffer(validity)
    return pa.Array.from_buffers(kind, size, [valid, *map(pa.py_buffer, buffers)])


class _JoinedColumns:
    """Events that the core has read, and events that Python has read, in the order of the asks."""

    def __init__(self, plain: _NativeColumns, odd: Columns, is_plain: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        self._plain = plain
        self._odd = odd
        self._is_plain = is_plain
        # Of each event, where it is in the plain events followed by the others.
        self._order = np.where(is_plain, np.cumsum(is_plain), is_plain.sum() + np.cumsum(~is_plain)) - 1

    def ticks(self) -> Int64s:
        joined: Int64s = np.concatenate([self._plain.ticks(), self._odd.ticks()])[self._order]
        return joined

    def flags(self) -> list[pa.Array]:
        return self._joined(self._plain.flags(), self._odd.flags())

    def values(self, tag_of: Int64s, point_types: Sequence[str]) -> list[pa.Array]:
        *plain, plain_kinds = self._plain.values(tag_of, point_types)
        *odd, odd_kinds = self._odd.values(tag_of[~self._is_plain], point_types)
        (codes,) = self._joined([plain_kinds.indices], [odd_kinds.indices])
        return [*self._joined(plain, odd), pa.DictionaryArray.from_arrays(codes, KIND_NAMES)]

    def _joined(self, plain: Sequence[pa.Array], odd: Sequence[pa.Array]) -> list[pa.Array]:
        order = pa.array(self._order)
        return [pa.concat_arrays(pair).take(order) for pair in zip(plain, odd, strict=True)]
