"""From the bytes of an answer to rows and outcomes: the hot path. Pure.

Streams are opened by `strict`, what is not strict is read by `tolerant`, `columns` puts all tags'
events together, and here is decided which of them stand. `reference` does the same the slow and
obvious way, and tests hold the two equal. Invariant: an ask whose part of the answer is missing, cut,
failed or out of order is never reported complete beyond what was proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.model import Answer, Ask, Micros, Outcome
from writers.tables import PI_TIMESERIES, TIMESTAMP

from .chunks import NO_TIME, Int64s, take_apart_plain
from .columns import Columns
from .problems import tag_error
from .streams import OUT_OF_ORDER, Part, complete_until, is_ambiguous, missing, undecodable
from .strict import Stream, open_answer, parsed
from .times import TICKS_PER_MICRO
from .tolerant import read_stream
from .wire import Shape

__all__ = ["ROWS_SCHEMA", "Decoder", "decode", "keys_of"]

_ENCODED = {"tag_webid", "tag_name", "value_kind", "units"}
# The table's columns in order; what repeats is dictionary-encoded in memory.
ROWS_SCHEMA = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in _ENCODED else field
    for field in PI_TIMESERIES.schema
)
_MICROS_PER_DAY = 86_400_000_000


class Decoder(Protocol):
    """The interface of the hot path: what an accelerator has to do."""

    def __call__(self, body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> Answer:
        """Decode the answer to `asks`.

        Raises `UnavailableError` for a body that is no complete JSON.
        """


def decode(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> Answer:
    """Decode an answer; the `Decoder` in use."""
    columns = Columns()
    contents = open_answer(body, shape, most_events=max((ask.max_count for ask in asks), default=0))
    parts = [_read(contents.get(key), ask, columns) for key, ask in zip(keys_of(asks, shape), asks, strict=True)]
    layout = _lay_out(asks, parts, columns.ticks())
    _refuse_disorder(layout)
    ambiguous = shape is Shape.STREAMSET and is_ambiguous(asks, parts, contents)
    untils = _untils(layout, ambiguous=ambiguous)
    kept = _kept(layout, untils)
    rows = _rows(layout, columns, ingested_at)
    if not kept.all():
        rows = rows.filter(pa.array(kept))
    return Answer(rows, _outcomes(layout, untils, kept, ambiguous=ambiguous), len(body))


def keys_of(asks: Sequence[Ask], shape: Shape) -> list[str]:
    """Under which key of an opened answer each ask's part is."""
    if shape is Shape.STREAMSET:
        return [ask.tag.web_id for ask in asks]
    return [str(number) for number in range(len(asks))]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which events belong to which ask: those of ask n are at `[firsts[n], ends[n])`."""

    asks: Sequence[Ask]
    parts: Sequence[Part]
    firsts: Int64s
    ends: Int64s
    ask_of: Int64s  # of each event
    ticks: Int64s
    micros: Int64s


def _lay_out(asks: Sequence[Ask], parts: Sequence[Part], ticks: Int64s) -> _Layout:
    counts = np.fromiter((part.count for part in parts), np.int64, len(parts))
    ends = np.cumsum(counts)
    return _Layout(
        asks,
        parts,
        firsts=ends - counts,
        ends=ends,
        ask_of=np.repeat(np.arange(len(parts)), counts),
        ticks=ticks,
        # Floor division cuts digits off, before 1970 too.
        micros=ticks // TICKS_PER_MICRO,
    )


def _read(sub: Any, ask: Ask, columns: Columns) -> Part:
    """Add the events of one ask to the columns."""
    if sub is None:
        return missing(ask)
    stream = sub.Content
    strict = isinstance(stream, Stream)
    if not 200 <= sub.Status < 300:
        said = stream.said() if strict else stream
        return Part(error=tag_error(sub.Status, said, ask.tag, parsed(sub.Headers)))
    if not strict:
        part, events = read_stream(stream, ask)
        columns.add_chunk(take_apart_plain(events))
        return part
    if stream.chunk is None:
        columns.add(stream.Items)
        size = len(stream.Items)
    else:
        columns.add_chunk(stream.chunk)
        size = len(stream.chunk)
    return Part(size, size, stream.UnitsAbbreviation or "")


def _refuse_disorder(layout: _Layout) -> None:
    """A tag whose times cannot be read, or go back, is not what `recorded` promises."""
    ticks, ask_of = layout.ticks, layout.ask_of
    backwards = (ticks[1:] < ticks[:-1]) & (ask_of[1:] == ask_of[:-1])
    for n in np.unique(ask_of[1:][backwards]).tolist():
        layout.parts[n].refuse(undecodable(layout.asks[n], OUT_OF_ORDER))
    for n in np.unique(ask_of[ticks == NO_TIME]).tolist():
        layout.parts[n].refuse(undecodable(layout.asks[n], "an event has no time that can be read"))


def _untils(layout: _Layout, *, ambiguous: bool) -> list[Micros]:
    """Up to where each ask is complete."""
    # Of an ask without events this is another's; it is not looked at.
    lasts = layout.micros[layout.ends - 1].tolist() if len(layout.micros) else [0] * len(layout.asks)
    return [
        complete_until(ask, part, last if part.count else None, ambiguous=ambiguous)
        for ask, part, last in zip(layout.asks, layout.parts, lasts, strict=True)
    ]


def _kept(layout: _Layout, untils: Sequence[Micros]) -> npt.NDArray[np.bool_]:
    """Which events lie in the part of their ask's window that is complete."""
    starts = np.fromiter((ask.start for ask in layout.asks), np.int64, len(layout.asks))
    kept: npt.NDArray[np.bool_] = layout.micros >= starts[layout.ask_of]
    kept &= layout.micros < np.array(untils, np.int64)[layout.ask_of]
    return kept


def _rows(layout: _Layout, columns: Columns, ingested_at: Micros) -> pa.RecordBatch:
    """All events in the order of the asks, those that will not be kept included."""
    ask_of, micros = layout.ask_of, layout.micros
    tags = [ask.tag for ask in layout.asks]
    units = [part.units or tag.units for part, tag in zip(layout.parts, tags, strict=True)]
    days = (micros // _MICROS_PER_DAY).astype(np.int32)
    return pa.RecordBatch.from_arrays(
        [
            _encoded([tag.web_id for tag in tags], ask_of),
            _encoded([tag.name for tag in tags], ask_of),
            _times(micros),
            pa.array(_sequence(micros, ask_of)),
            *columns.values(ask_of, [tag.point_type for tag in tags]),
            *columns.flags(),
            _encoded(units, ask_of),
            _times(np.full(len(micros), ingested_at, np.int64)),
            pa.array(days).view(pa.date32()),
        ],
        schema=ROWS_SCHEMA,
    )


def _sequence(micros: Int64s, ask_of: Int64s) -> npt.NDArray[np.int32]:
    """Ordinals of events that share tag and microsecond, in the order they came."""
    repeats = np.zeros(len(micros), np.bool_)
    repeats[1:] = (micros[1:] == micros[:-1]) & (ask_of[1:] == ask_of[:-1])
    if not repeats.any():
        return np.zeros(len(micros), np.int32)
    positions = np.arange(len(micros), dtype=np.int32)
    return positions - np.maximum.accumulate(np.where(repeats, np.int32(0), positions))


def _times(micros: Int64s) -> pa.Array:
    """Microseconds as a timestamp column, without a copy."""
    return pa.Array.from_buffers(TIMESTAMP, len(micros), [None, pa.py_buffer(micros)])


def _encoded(texts: Sequence[str], ask_of: Int64s) -> pa.Array:
    """A column with one text an ask, as dictionary<int32, string>."""
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    if len(codes) == len(texts):
        code_of_event = ask_of.astype(np.int32)
    else:
        code_of_event = np.fromiter(map(codes.__getitem__, texts), np.int32, len(texts))[ask_of]
    return pa.DictionaryArray.from_arrays(pa.array(code_of_event), pa.array(list(codes), pa.string()))


def _outcomes(
    layout: _Layout, untils: Sequence[Micros], kept: npt.NDArray[np.bool_], *, ambiguous: bool
) -> tuple[Outcome, ...]:
    kept_before = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=kept_before[1:])
    rows_before, rows_after = kept_before[layout.firsts], kept_before[layout.ends]
    kept_micros = layout.micros[kept]
    lasts = kept_micros[rows_after - 1] if len(kept_micros) else rows_after
    return tuple(
        Outcome(ask, rows, until, last if rows else None, part.error, recheck=ambiguous and part.error is None)
        for ask, part, until, rows, last in zip(
            layout.asks, layout.parts, untils, (rows_after - rows_before).tolist(), lasts.tolist(), strict=True
        )
    )
