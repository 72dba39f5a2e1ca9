"""Hashes of rows, 64 bits each, and digests: sums of them for each owner. Pure.

Invariant: a hash depends on what the source says of a row (`Grain.truth`) and on nothing else: not on our tag name,
date or time of reading, nor on encoding, order, batches or process. Digests are stored (in the checkpoint table), so
the numbers may never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .tables import TIMESTAMP

Hashes = npt.NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_NULL = 0x1D8E4E27C47D124F  # stands for null; no number of ours, no text that anybody knows
_NAN = 0x7FF8000000000000


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows, and the sum of their hashes modulo 2^64: the same for every order of the rows."""

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, hashes: Hashes) -> Self:
        return cls(len(hashes), int(hashes.sum(dtype=np.uint64)))

    def __add__(self, other: Digest) -> Digest:
        return Digest(self.rows + other.rows, (self.total + other.total) & _MASK)

    @property
    def signed(self) -> int:
        """The total as a column of 64 bits with a sign holds it (two's complement)."""
        return signed(self.total)


def signed(total: int) -> int:
    """Fold into the range of a signed number of 64 bits; what is in it already stays as it is."""
    return ((total + (1 << 63)) & _MASK) - (1 << 63)


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """Hash these columns of each row, strings encoded or plain. The place of a column is part of the hash."""
    hashes = np.zeros(batch.num_rows, np.uint64)
    constant = 0
    for place, name in enumerate(columns, 1):
        part = _mixed(batch.column(name), place * _GOLDEN)
        if isinstance(part, int):
            constant += part
        else:
            hashes += part
    hashes += np.uint64(constant & _MASK)
    return _mix(hashes)


def sums(hashes: Hashes, codes: npt.NDArray[np.integer], owners: int) -> tuple[npt.NDArray[np.int64], Hashes]:
    """Give the number of rows and the sum of hashes of each owner; `codes` says whose a row is (0 .. owners - 1)."""
    totals = np.zeros(owners, np.uint64)
    np.add.at(totals, codes, hashes)
    return np.bincount(codes, minlength=owners), totals


def _mixed(column: pa.Array, salt: int) -> Hashes | int:
    """Mix a column by itself. Most columns of most batches hold one value throughout, which costs nothing."""
    if not len(column) or column.null_count == len(column):
        return _mix_one(_NULL + salt)
    kind = column.type
    if pa.types.is_nested(kind):  # the order of a map is no difference
        texts = [None if value is None else repr(sorted(value)) for value in column.to_pylist()]
        return _mixed(pa.array(texts, pa.string()), salt)
    if pa.types.is_boolean(kind):
        if not column.null_count:
            return _of_two(column, _mix_one(salt), _mix_one(1 + salt))
        return _looked_up(pc.cast(column, pa.int8()), np.arange(2, dtype=np.uint64), salt)
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = _encoded(column)
        return _looked_up(encoded.indices, _texts(encoded.dictionary), salt)
    words = _words(column)
    if (words == words[0]).all():
        return _mix_one(int(words[0]) + salt)
    return _mix(words + np.uint64(salt & _MASK))


def _looked_up(indices: pa.Array, words: Hashes, salt: int) -> Hashes | int:
    """Mix the few values that there are, then look up the value of each row."""
    codes = pc.fill_null(indices, len(words)) if indices.null_count else indices
    places = codes.to_numpy(zero_copy_only=False)
    words = np.append(words, np.uint64(_NULL))
    if (places == places[0]).all():
        return _mix_one(int(words[places[0]]) + salt)
    rows: Hashes = _mix(words + np.uint64(salt & _MASK))[places]
    return rows


def _of_two(column: pa.BooleanArray, if_false: int, if_true: int) -> Hashes | int:
    """What stands for each row of a column without nulls."""
    true = column.true_count
    if true in (0, len(column)):
        return if_true if true else if_false
    chosen: Hashes = np.where(column.to_numpy(zero_copy_only=False), np.uint64(if_true), np.uint64(if_false))
    return chosen


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    # A dictionary may be shared by many batches of which this one is a small part, and may hold a null.
    if len(column.dictionary) > len(column) or column.dictionary.null_count:
        return column.dictionary_decode().dictionary_encode()
    return column


def _texts(dictionary: pa.Array) -> Hashes:
    content = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in dictionary.to_pylist())
    return np.frombuffer(content, "<u8").astype(np.uint64)


def _words(column: pa.Array) -> Hashes:
    """Give the bits of numbers and times. A new array only where it must be one."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(TIMESTAMP).view(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.view(pa.int32())
    floating = pa.types.is_floating(column.type)
    # A double that is null comes as NaN, so only whole numbers need something in its place.
    plain = (pc.fill_null(column, 0) if column.null_count and not floating else column).to_numpy(zero_copy_only=False)
    if floating:
        words: Hashes = (plain + 0.0).view(np.uint64)  # the sum: -0.0 is 0.0
        words[np.isnan(plain)] = _NAN
    else:
        words = plain.astype(np.int64, copy=column.null_count > 0).view(np.uint64)
    if column.null_count:
        words[pc.is_null(column).to_numpy(zero_copy_only=False)] = _NULL
    return words


def _mix(words: Hashes) -> Hashes:
    """Mix each word in its place (the finalizer of splitmix64)."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _mix_one(word: int) -> int:
    """The same of one word, which an array would take ten times as long for."""
    word &= _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31
