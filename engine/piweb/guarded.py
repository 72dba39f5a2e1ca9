"""Decoding for production: any error of a decoder is the error of one tag, and the others land. Pure.

A decoder raises only what its interface says. Tests and the fuzzer call it without this guard, so that a mistake shows
there. In production an answer that a decoder fails on is read once more, slowly, tag by tag. A tag that fails again is
set aside, with the exception's name in its message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from engine.model import Ask, DecodedAnswer, Micros

from .decode import ROWS_SCHEMA, Decoder
from .reference_decoder import decode_with, read_part, rows_of
from .streams import StreamPart, undecodable
from .strict import SubResponse
from .tolerant import PlainEvent
from .values import well_formed
from .wire import Shape

_log = logging.getLogger("osipi.decode")

# What data can make code raise that did not foresee it. Not `Exception`: our own errors pass, and so does what no data
# can bring about.
UNFORESEEN: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    pa.ArrowException,
)


def guarded(decoder: Decoder) -> Decoder:
    """The same decoder, as it is asked in production."""

    def decode(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> DecodedAnswer:
        try:
            return decoder(body, asks, shape, ingested_at=ingested_at)
        except UNFORESEEN as error:
            _log.warning("an answer for %d tags from %s is read tag by tag: %s", len(asks), _first(asks), _said(error))
        try:
            return decode_with(_read_or_set_aside, body, asks, shape, ingested_at=ingested_at)
        except UNFORESEEN as error:
            # One error for all of them: they are asked for again by halves, until the tag that it is about is alone.
            raise undecodable(asks[0], f"the answer for {len(asks)} tags cannot be decoded: {_said(error)}") from error

    return decode


def _read_or_set_aside(sub: SubResponse | None, ask: Ask) -> tuple[StreamPart, list[PlainEvent]]:
    try:
        part, events = read_part(sub, ask)
        pa.RecordBatch.from_pylist(list(rows_of(ask, part, events, 0)), schema=ROWS_SCHEMA)  # it can be stored
    except UNFORESEEN as error:
        return StreamPart(error=undecodable(ask, f"its part of the answer cannot be decoded: {_said(error)}")), []
    return part, events


def _first(asks: Sequence[Ask]) -> str:
    return asks[0].tag.name if asks else "none"


def _said(error: Exception) -> str:
    """An exception by its class and the beginning of what it says, on one line."""
    text = "".join(letter if letter.isprintable() else " " for letter in well_formed(str(error)[:200]))
    return f"{type(error).__name__}: {text}"
