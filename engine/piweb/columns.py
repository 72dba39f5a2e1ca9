"""Events put into Arrow columns. Pure.

Events are taken apart some thousand at a time, while they are warm in the cache, and the chunks of a whole answer are
put together at once: building arrays tag by tag costs ten times the decoding when tags have few events. Invariant:
events come out in the order they were added; the nth entry of every column belongs to the nth event, and what is no
plain number is in `odd`, untouched, with its place in `odd_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.model import Int64s

from .times import parse_ticks
from .tolerant import PlainEvent
from .values import BARE_NUMBERS, KINDS, NOT_NUMBERS, TIME_POINT_TYPE, StoredValue, ValueKind, stored_value, text_kind
from .wire import WireEvent, WireState

Doubles = npt.NDArray[np.float64]

# Stands for a time that cannot be read; no event lies there, in the year -27258.
NO_TIME = int(np.iinfo(np.int64).min)

# A flag the server did not send.
NO_FLAG = 2

_NANOS = pa.timestamp("ns", tz="UTC")
_NANOS_PER_TICK = 100
# From here on a double may not hold a whole number.
_EXACT_BELOW = 2.0**53

_TAKE_APART_AT = 2048
KIND_NAMES = pa.array(KINDS, pa.string())
_STATE, _TEXT, _OTHER = range(3)
_NO_TEXT = -1
_GROUPS: dict[type, int] = {WireState: _STATE, str: _TEXT}
# Texts that may stand for a number, in any answer, and in one in which `strict` has marked numbers by quoting them.
_SPELLED = frozenset(NOT_NUMBERS)
_MARKED = _SPELLED | frozenset(BARE_NUMBERS)


@dataclass(slots=True)
class ColumnChunk:
    """Columns of some events."""

    ticks: Int64s
    numbers: Doubles
    odd_at: list[int]
    odd: list[Any]
    flags: tuple[bytes, ...]  # good, questionable, substituted, annotated: 0, 1, or NO_FLAG

    def __len__(self) -> int:
        return len(self.ticks)


def take_apart(events: Sequence[WireEvent]) -> ColumnChunk:
    return ColumnChunk(
        ticks_of([event.Timestamp for event in events]),
        *_split_values([event.Value for event in events]),
        (
            _flags([event.Good for event in events]),
            _flags([event.Questionable for event in events]),
            _flags([event.Substituted for event in events]),
            _flags([event.Annotated for event in events]),
        ),
    )


def take_apart_plain(events: Sequence[PlainEvent]) -> ColumnChunk:
    return ColumnChunk(
        np.fromiter((event.ticks for event in events), np.int64, len(events)),
        *_split_values([event.value for event in events]),
        (
            _flags([event.good for event in events]),
            _flags([event.questionable for event in events]),
            _flags([event.substituted for event in events]),
            _flags([event.annotated for event in events]),
        ),
    )


def ticks_of(texts: list[str]) -> Int64s:
    """Whole 100 ns ticks since the epoch; `NO_TIME` for what is no time."""
    try:
        nanos = pa.array(texts, pa.string()).cast(_NANOS)
    except pa.ArrowInvalid:
        # A year that 64 bits of nanoseconds do not reach, or no time at all.
        return np.fromiter(map(_ticks_or_none, texts), np.int64, len(texts))
    ticks: Int64s = nanos.view(pa.int64()).to_numpy() // _NANOS_PER_TICK
    return ticks


def _ticks_or_none(text: str) -> int:
    try:
        return parse_ticks(text)
    except ValueError:
        return NO_TIME


def _split_values(values: list[Any]) -> tuple[Doubles, list[int], list[Any]]:
    """Numbers as doubles; where the other values are, and what they are."""
    types = list(map(type, values))
    odd_at: list[int] = []
    if types.count(float) < len(types):
        odd_at = [i for i, kind in enumerate(types) if kind is not float and kind is not int]
    odd = [values[i] for i in odd_at]
    for i in odd_at:
        values[i] = 0.0
    try:
        numbers = np.fromiter(values, np.float64, len(values))
    except OverflowError:
        numbers = np.array([stored_value(value).value for value in values], np.float64)
    # What a double does not hold exactly keeps its text as well.
    for i in np.flatnonzero(np.abs(numbers) >= _EXACT_BELOW).tolist():
        if type(values[i]) is int:
            odd_at.append(i)
            odd.append(stored_value(values[i]))
    return numbers, odd_at, odd


def _flags(flags: list[bool | None]) -> bytes:
    # Mostly they are all alike, and then counting is ten times as fast as converting.
    first = flags[0] if flags else None
    if flags.count(first) == len(flags):
        return bytes((NO_FLAG if first is None else first,)) * len(flags)
    try:
        return bytes(flags)  # type: ignore[arg-type]  # a bool is a small int; None is none
    except TypeError:
        return bytes(NO_FLAG if flag is None else flag for flag in flags)


class Columns:
    """Collects the events of an answer. Events of small streams are buffered until there are enough of them."""

    __slots__ = ("_chunks", "_marked", "_waiting")

    def __init__(self, *, marked: bool = False) -> None:
        self._marked = marked
        self._chunks: list[ColumnChunk] = []
        self._waiting: list[WireEvent] = []

    def add(self, events: list[WireEvent]) -> None:
        self._waiting += events
        if len(self._waiting) >= _TAKE_APART_AT:
            self._flush()

    def add_chunk(self, chunk: ColumnChunk) -> None:
        self._flush()
        self._chunks.append(chunk)

    def ticks(self) -> Int64s:
        """Times of all events, in 100 ns."""
        self._flush()
        return np.concatenate([np.empty(0, np.int64), *(chunk.ticks for chunk in self._chunks)])

    def flags(self) -> list[pa.Array]:
        """Good, questionable, substituted, annotated."""
        self._flush()
        return [_flag_column(b"".join(chunk.flags[n] for chunk in self._chunks)) for n in range(4)]

    def values(self, tag_of: Int64s, point_types: Sequence[str]) -> list[pa.Array]:
        """Columns value, value_string, state_code and value_kind.

        `tag_of` says for each event which of `point_types` it is of.
        """
        self._flush()
        numbers = np.concatenate([np.empty(0, np.float64), *(chunk.numbers for chunk in self._chunks)])
        odd: list[Any] = []
        odd_at: list[int] = []
        first = 0
        for chunk in self._chunks:
            odd += chunk.odd
            odd_at += [first + i for i in chunk.odd_at]
            first += len(chunk)
        spelled = _MARKED if self._marked else _SPELLED
        return _value_columns(numbers, np.array(odd_at, np.int64), odd, tag_of, point_types, spelled=spelled)

    def _flush(self) -> None:
        if self._waiting:
            self._chunks.append(take_apart(self._waiting))
            self._waiting = []


def _flag_column(flags: bytes) -> pa.Array:
    codes = np.frombuffer(flags, np.uint8)
    if NO_FLAG in flags:
        return pa.array(codes == 1, mask=codes == NO_FLAG)
    return pa.array(codes.view(np.bool_))


def _value_columns(
    numbers: Doubles,
    odd_at: Int64s,
    odd: list[Any],
    tag_of: Int64s,
    point_types: Sequence[str],
    *,
    spelled: frozenset[str],
) -> list[pa.Array]:
    values = _Values(numbers)
    # States and texts are the bulk of what is odd and go in together; the rest goes one by one.
    groups = np.fromiter((_GROUPS.get(type(value), _OTHER) for value in odd), np.int8, len(odd))
    states, texts, others = (np.flatnonzero(groups == group) for group in (_STATE, _TEXT, _OTHER))
    if len(states):
        values.put_states(odd_at[states], [odd[i] for i in states.tolist()])
    if len(texts):
        values.put_texts(odd_at[texts], [odd[i] for i in texts.tolist()], tag_of, point_types, spelled=spelled)
    for i in others.tolist():
        at, value = int(odd_at[i]), odd[i]
        values.put(at, value if type(value) is StoredValue else stored_value(value, point_types[tag_of[at]]))
    return values.columns()


class _Values:
    """The value columns: numbers, until something else is put in their place."""

    __slots__ = ("_codes", "_kinds", "_no_code", "_no_number", "_numbers", "_text_at", "_texts")

    def __init__(self, numbers: Doubles) -> None:
        size = len(numbers)
        self._numbers = numbers
        self._no_number = np.zeros(size, np.bool_)
        self._texts: list[str] = []
        self._text_at = np.full(size, _NO_TEXT, np.int32)
        self._codes = np.zeros(size, np.int32)
        self._no_code = np.ones(size, np.bool_)
        self._kinds = np.full(size, ValueKind.NUMBER, np.int32)

    def put_states(self, where: Int64s, states: list[WireState]) -> None:
        self._codes[where] = [state.Value for state in states]
        self._no_code[where] = False
        self._kinds[where] = [ValueKind.SYSTEM if state.IsSystem else ValueKind.DIGITAL for state in states]
        self._put_texts(where, [state.Name for state in states])

    def put_texts(
        self, where: Int64s, texts: list[str], tag_of: Int64s, point_types: Sequence[str], *, spelled: frozenset[str]
    ) -> None:
        self._kinds[where] = ValueKind.STRING
        if TIME_POINT_TYPE in point_types:
            kinds = np.array([text_kind(point_type) for point_type in point_types], np.int32)
            self._kinds[where] = kinds[tag_of[where]]
        self._put_texts(where, texts)
        for n, text in enumerate(texts):
            if text in spelled:
                i = int(where[n])
                # Without its mark it is the number that was sent, for any type of point.
                self.put(i, stored_value(BARE_NUMBERS.get(text, text), point_types[tag_of[i]]))

    def put(self, i: int, landed: StoredValue) -> None:
        self._numbers[i] = 0.0 if landed.value is None else landed.value
        self._no_number[i] = landed.value is None
        self._text_at[i] = _NO_TEXT if landed.text is None else len(self._texts)
        if landed.text is not None:
            self._texts.append(landed.text)
        self._codes[i] = landed.code or 0
        self._no_code[i] = landed.code is None
        self._kinds[i] = landed.kind

    def columns(self) -> list[pa.Array]:
        kinds = pa.DictionaryArray.from_arrays(pa.array(self._kinds), KIND_NAMES)
        return [
            pa.array(self._numbers, mask=self._no_number),
            pa.array(self._texts, pa.string()).take(pa.array(self._text_at, mask=self._text_at == _NO_TEXT)),
            pa.array(self._codes, mask=self._no_code),
            kinds,
        ]

    def _put_texts(self, where: Int64s, texts: list[str]) -> None:
        self._no_number[where] = True
        self._text_at[where] = np.arange(len(texts), dtype=np.int32) + len(self._texts)
        self._texts += texts
