"""Deletion vectors: which rows of a file have been deleted.

The form is Delta's: Roaring bitmaps of 32 bits, one for each upper half of the row numbers, inline in the log or in a
file. Invariant: bytes that are not what they should be raise ValueError; a row is never guessed to be alive.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

_MAGIC = 1681511377
_NO_RUNS, _WITH_RUNS = 12346, 12347
_ARRAY_MOST = 4096  # more rows than that are a bitset
_OFFSETS_FROM = 4  # containers, from which on a bitmap with runs has an offset header
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}

Rows = npt.NDArray[np.int64]
# What is raised by reading beyond the end.
_CUT = (struct.error, OverflowError, IndexError)


def inline_or_path(vector: Mapping[str, Any]) -> bytes | str:
    """Give the bytes of an inline vector, else the path of its file, relative to the table."""
    text: str = vector["pathOrInlineDv"]
    match vector["storageType"]:
        case "i":
            return decode_base85(text)[: vector["sizeInBytes"]]
        case "u":
            folder = f"{text[:-20]}/" if len(text) > 20 else ""
            return f"{folder}deletion_vector_{UUID(bytes=decode_base85(text[-20:]))}.bin"
        case "p":
            return text
    raise ValueError(f"a deletion vector of the unknown kind {vector['storageType']}")


def slice_of_file(content: bytes, vector: Mapping[str, Any]) -> bytes:
    """Cut a vector out of a file that may hold many: size, bytes, checksum."""
    start = int(vector.get("offset") or 0)
    try:
        (size,) = struct.unpack_from(">i", content, start)
        found = content[start + 4 : start + 4 + size]
        (checksum,) = struct.unpack_from(">I", content, start + 4 + size)
    except _CUT as error:
        raise ValueError("a deletion vector is cut") from error
    if size != vector["sizeInBytes"] or zlib.crc32(found) != checksum:
        raise ValueError("a deletion vector is damaged")
    return found


def deleted_rows(content: bytes, vector: Mapping[str, Any]) -> Rows:
    """Give the numbers of the rows that are gone, rising."""
    try:
        found = _rows(content)
    except _CUT as error:
        raise ValueError("a deletion vector is cut") from error
    if len(found) != vector["cardinality"]:
        raise ValueError("a deletion vector does not hold as many rows as it says")
    return found


def _rows(content: bytes) -> Rows:
    magic, many = struct.unpack_from("<Iq", content)
    if magic != _MAGIC:
        raise ValueError("a deletion vector of an unknown form")
    parts: list[Rows] = []
    at = 12
    for _ in range(many):
        (high,) = struct.unpack_from("<I", content, at)
        rows, at = _bitmap(content, at + 4)
        parts.append(rows + (high << 32))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _bitmap(content: bytes, at: int) -> tuple[Rows, int]:
    """Decode one bitmap of 32 bits; give its rows and where it ends."""
    (cookie,) = struct.unpack_from("<I", content, at)
    at += 4
    runs = b""
    if cookie & 0xFFFF == _WITH_RUNS:
        many = (cookie >> 16) + 1
        runs = content[at : at + (many + 7) // 8]
        at += len(runs)
    elif cookie == _NO_RUNS:
        (many,) = struct.unpack_from("<I", content, at)
        at += 4
    else:
        raise ValueError("a bitmap of an unknown form")
    heads = np.frombuffer(content, "<u2", 2 * many, at).astype(np.int64).reshape(-1, 2)
    at += 4 * many
    if not runs or many >= _OFFSETS_FROM:
        at += 4 * many
    parts: list[Rows] = []
    for i, (key, less_one) in enumerate(heads.tolist()):
        has_runs = bool(runs) and bool(runs[i // 8] >> (i % 8) & 1)
        rows, at = _container(content, at, less_one + 1, has_runs=has_runs)
        parts.append(rows + (key << 16))
    return (np.concatenate(parts) if parts else np.empty(0, np.int64)), at


def _container(content: bytes, at: int, many: int, *, has_runs: bool) -> tuple[Rows, int]:
    if has_runs:
        (count,) = struct.unpack_from("<H", content, at)
        pairs = np.frombuffer(content, "<u2", 2 * count, at + 2).astype(np.int64).reshape(-1, 2)
        ranges = [np.arange(start, start + length + 1) for start, length in pairs.tolist()]
        return np.concatenate(ranges), at + 2 + 4 * count
    if many <= _ARRAY_MOST:
        return np.frombuffer(content, "<u2", many, at).astype(np.int64), at + 2 * many
    bits = np.unpackbits(np.frombuffer(content, np.uint8, 8192, at), bitorder="little")
    return np.flatnonzero(bits).astype(np.int64), at + 8192


def decode_base85(text: str) -> bytes:
    """Decode Z85: five characters for four bytes."""
    if len(text) % 5 or not set(text) <= _DIGITS.keys():
        raise ValueError("a deletion vector is not spelled in base 85")
    words = []
    for start in range(0, len(text), 5):
        value = 0
        for character in text[start : start + 5]:
            value = value * 85 + _DIGITS[character]
        if value >= 1 << 32:
            raise ValueError("a deletion vector is not spelled in base 85")
        words.append(struct.pack(">I", value))
    return b"".join(words)
