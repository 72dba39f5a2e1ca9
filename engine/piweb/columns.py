"""The chunks of a whole answer, put together into Arrow columns at once. Pure.

The work is done over all tags together, because building arrays tag by tag costs ten times the
decoding when tags have few events. Invariant: events come out in the order they were added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.model import Int64s

from .chunks import NO_FLAG, Chunk, Doubles, take_apart
from .values import BARE_NUMBERS, KINDS, NOT_NUMBERS, TIME_POINT_TYPE, Kind, Landed, land, text_kind
from .wire import Event, State

__all__ = ["Columns"]

_TAKE_APART_AT = 2048
_KIND_NAMES = pa.array(KINDS, pa.string())
_STATE, _TEXT, _OTHER = range(3)
_NO_TEXT = -1
_GROUPS: dict[type, int] = {State: _STATE, str: _TEXT}
# Texts that may stand for a number, in any answer, and in one in which `strict` has marked numbers by quoting them.
_SPELLED = frozenset(NOT_NUMBERS)
_MARKED = _SPELLED | frozenset(BARE_NUMBERS)


class Columns:
    """Gathers the events of an answer. Events of small streams wait until there are enough of them."""

    __slots__ = ("_chunks", "_marked", "_waiting")

    def __init__(self, *, marked: bool = False) -> None:
        self._marked = marked
        self._chunks: list[Chunk] = []
        self._waiting: list[Event] = []

    def add(self, events: list[Event]) -> None:
        self._waiting += events
        if len(self._waiting) >= _TAKE_APART_AT:
            self._settle()

    def add_chunk(self, chunk: Chunk) -> None:
        self._settle()
        self._chunks.append(chunk)

    def ticks(self) -> Int64s:
        """Times of all events, in 100 ns."""
        self._settle()
        return np.concatenate([np.empty(0, np.int64), *(chunk.ticks for chunk in self._chunks)])

    def flags(self) -> list[pa.Array]:
        """Good, questionable, substituted, annotated."""
        self._settle()
        return [_flag_column(b"".join(chunk.flags[n] for chunk in self._chunks)) for n in range(4)]

    def values(self, tag_of: Int64s, point_types: Sequence[str]) -> list[pa.Array]:
        """Columns value, value_string, state_code and value_kind.

        `tag_of` says for each event which of `point_types` it is of.
        """
        self._settle()
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

    def _settle(self) -> None:
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
        values.put(at, value if type(value) is Landed else land(value, point_types[tag_of[at]]))
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
        self._kinds = np.full(size, Kind.NUMBER, np.int32)

    def put_states(self, where: Int64s, states: list[State]) -> None:
        self._codes[where] = [state.Value for state in states]
        self._no_code[where] = False
        self._kinds[where] = [Kind.SYSTEM if state.IsSystem else Kind.DIGITAL for state in states]
        self._put_texts(where, [state.Name for state in states])

    def put_texts(
        self, where: Int64s, texts: list[str], tag_of: Int64s, point_types: Sequence[str], *, spelled: frozenset[str]
    ) -> None:
        self._kinds[where] = Kind.STRING
        if TIME_POINT_TYPE in point_types:
            kinds = np.array([text_kind(point_type) for point_type in point_types], np.int32)
            self._kinds[where] = kinds[tag_of[where]]
        self._put_texts(where, texts)
        for n, text in enumerate(texts):
            if text in spelled:
                i = int(where[n])
                # Without its mark it is the number that was sent, whatever the type of the point.
                self.put(i, land(BARE_NUMBERS.get(text, text), point_types[tag_of[i]]))

    def put(self, i: int, landed: Landed) -> None:
        self._numbers[i] = 0.0 if landed.value is None else landed.value
        self._no_number[i] = landed.value is None
        self._text_at[i] = _NO_TEXT if landed.text is None else len(self._texts)
        if landed.text is not None:
            self._texts.append(landed.text)
        self._codes[i] = landed.code or 0
        self._no_code[i] = landed.code is None
        self._kinds[i] = landed.kind

    def columns(self) -> list[pa.Array]:
        kinds = pa.DictionaryArray.from_arrays(pa.array(self._kinds), _KIND_NAMES)
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
