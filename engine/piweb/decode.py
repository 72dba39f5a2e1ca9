"""From the bytes of an answer to rows and outcomes: the hot path. Pure.

Streams are opened by `strict`, what is not strict is read by `tolerant`, `columns` puts all tags'
events together, and here is decided which of them stand. `reference` does the same the slow and
obvious way, and tests hold the two equal. Invariant: an ask whose part of the answer is missing, cut,
failed or out of order is never reported complete beyond what was proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.model import Ask, AskError, AskOutcomes, DecodedAnswer, Int64s, Micros, Tag
from writers import NEVER
from writers.tables import PI_TIMESERIES, TIMESTAMP

from .columns import NO_TIME, Columns, take_apart_plain, ticks_of
from .problems import tag_error
from .streams import (
    OUT_OF_ORDER,
    ROUNDING,
    StreamPart,
    complete_until,
    is_ambiguous,
    missing,
    undecodable,
    wrong_window,
)
from .strict import Stream, open_answer, parsed
from .times import TICKS_PER_MICRO
from .tolerant import read_stream
from .wire import Shape, WireEvent

_ENCODED = {"tag_webid", "tag_name", "value_kind", "units"}
# The table's columns in order; what repeats is dictionary-encoded in memory.
ROWS_SCHEMA = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in _ENCODED else field
    for field in PI_TIMESERIES.schema
)
_MICROS_PER_DAY = 86_400_000_000


class Decoder(Protocol):
    """The interface of the hot path: what an accelerator has to do."""

    def __call__(self, body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> DecodedAnswer:
        """Decode the answer to `asks`.

        Raises `UnavailableError` for a body that is no complete JSON.
        """


def decode(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> DecodedAnswer:
    """Decode an answer; the `Decoder` in use."""
    contents, marked = open_answer(body, shape, most_events=max((ask.max_count for ask in asks), default=0))
    columns = Columns(marked=marked)
    keys = keys_of(asks, shape)
    found = _read(contents, keys, asks, columns)
    ambiguous = shape is Shape.STREAMSET and is_ambiguous(asks, found.answered, contents)
    subs = [contents.get(key) for key in keys]
    return judged(asks, found, columns, subs, recheck=ambiguous, ingested_at=ingested_at, body_bytes=len(body))


def judged(
    asks: Sequence[Ask],
    found: FoundEvents,
    columns: EventColumns,
    subs: Sequence[Any],
    *,
    recheck: bool,
    ingested_at: Micros,
    body_bytes: int,
) -> DecodedAnswer:
    """Decide which events stand, and how far each ask is complete. What all decoders share.

    `subs`: the opened part of each ask, where it is at hand. `recheck`: the answer may be cut without a sign.
    """
    layout = _lay_out(asks, found.counts, columns.ticks())
    _refuse_disorder(layout, found, subs)
    _refuse_other_windows(layout, found)
    untils = _untils(layout, found, ambiguous=recheck)
    kept = _kept(layout, untils)
    rows = _rows(layout, found.units, columns, ingested_at)
    if not kept.all():
        rows = rows.filter(pa.array(kept))
    return DecodedAnswer(rows, _outcomes(layout, untils, kept, found.errors, recheck=recheck), body_bytes)


class EventColumns(Protocol):
    """The events of an answer as columns, in the order of the asks."""

    def ticks(self) -> Int64s:
        """Times of all events, in 100 ns; `NO_TIME` for what is no time."""

    def flags(self) -> list[pa.Array]:
        """Good, questionable, substituted, annotated."""

    def values(self, tag_of: Int64s, point_types: Sequence[str]) -> list[pa.Array]:
        """Columns value, value_string, state_code and value_kind.

        `tag_of` says for each event which of `point_types` it is of.
        """


def keys_of(asks: Sequence[Ask], shape: Shape) -> list[str]:
    """Under which key of an opened answer each ask's part is."""
    if shape is Shape.STREAMSET:
        return [ask.tag.web_id for ask in asks]
    return [str(number) for number in range(len(asks))]


@dataclass(slots=True)
class FoundEvents:
    """How many events there are of each ask, in which unit; and of the few that are not plainly read, what else to know."""

    counts: list[int]
    units: list[str]
    odd: dict[int, StreamPart]

    @property
    def answered(self) -> int:
        return sum(self.counts) + sum(part.answered - part.count for part in self.odd.values())

    @property
    def errors(self) -> dict[int, AskError]:
        return {n: part.error for n, part in self.odd.items() if part.error is not None}

    def refuse(self, n: int, error: AskError) -> None:
        """Reject all events of an ask."""
        count = self.counts[n]
        self.odd.setdefault(n, StreamPart(count, count)).refuse(error)


def _read(contents: Mapping[str, Any], keys: Sequence[str], asks: Sequence[Ask], columns: Columns) -> FoundEvents:
    """Add the events of all asks to the columns."""
    found = FoundEvents([], [], {})
    counts, units = found.counts, found.units
    for n, sub in enumerate(map(contents.get, keys)):
        if (
            sub is not None
            and type(stream := sub.Content) is Stream
            and (events := stream.Items) is not None
            and 200 <= sub.Status < 300
        ):
            columns.add(events)
            counts.append(len(events))
            units.append(stream.UnitsAbbreviation or asks[n].tag.units)
        else:
            part = read_odd(sub, asks[n], columns)
            counts.append(part.count)
            units.append(part.units or asks[n].tag.units)
            found.odd[n] = part
    return found


def read_odd(sub: Any, ask: Ask, columns: Columns) -> StreamPart:
    """Add the events of an ask whose stream is long, loose, failed or not there."""
    if sub is None:
        return missing(ask)
    stream = sub.Content
    strict = isinstance(stream, Stream)
    if not 200 <= sub.Status < 300:
        said = stream.said() if strict else stream
        return StreamPart(error=tag_error(sub.Status, said, ask.tag, parsed(sub.Headers)))
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
    return StreamPart(size, size, stream.UnitsAbbreviation or "")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which events belong to which ask: those of ask n are at `[firsts[n], ends[n])`."""

    asks: Sequence[Ask]
    tags: Sequence[Tag]
    windows: tuple[Int64s, Int64s]  # start and end that were asked for
    max_counts: Int64s
    counts: Int64s
    firsts: Int64s
    ends: Int64s
    ask_of: Int64s  # of each event
    ticks: Int64s
    micros: Int64s


def _lay_out(asks: Sequence[Ask], counts_: Sequence[int], ticks: Int64s) -> _Layout:
    counts = np.array(counts_, np.int64)
    ends = np.cumsum(counts)
    # All fields of all asks at once: asking each for each of them took as long as reading its events.
    fields = tuple(zip(*map(msgspec.structs.astuple, asks), strict=True)) or ((),) * len(Ask.__struct_fields__)
    tags, window_starts, window_ends, max_counts, *_ = fields
    return _Layout(
        asks,
        tags,
        (np.array(window_starts, np.int64), np.array(window_ends, np.int64)),
        np.array(max_counts, np.int64),
        counts,
        firsts=ends - counts,
        ends=ends,
        ask_of=np.repeat(np.arange(len(counts)), counts),
        ticks=ticks,
        # Floor division cuts digits off, before 1970 too.
        micros=ticks // TICKS_PER_MICRO,
    )


def _refuse_disorder(layout: _Layout, found: FoundEvents, subs: Sequence[Any]) -> None:
    """A tag whose times cannot be read, or go back, is not what `recorded` promises."""
    ticks, ask_of = layout.ticks, layout.ask_of
    backwards = (ticks[1:] < ticks[:-1]) & (ask_of[1:] == ask_of[:-1])
    for n in sorted(set(ask_of[1:][backwards].tolist())):
        found.refuse(n, undecodable(layout.asks[n], OUT_OF_ORDER))
    for n in sorted(set(ask_of[ticks == NO_TIME].tolist())):
        why = "an event has no time that can be read"
        found.refuse(n, undecodable(layout.asks[n], why, excerpt=_first_without_time(subs[n])))


def _first_without_time(sub: Any) -> Any:
    """The event to show, if it is at hand: those of a long answer are not, but it is asked for by less and less."""
    items = getattr(getattr(sub, "Content", None), "Items", None) or ()
    unread = (event for event in items if isinstance(event, WireEvent) and ticks_of([event.Timestamp])[0] == NO_TIME)
    return next(map(msgspec.to_builtins, unread), None)


def _refuse_other_windows(layout: _Layout, found: FoundEvents) -> None:
    """An event outside of the window that was asked proves that the question was not understood."""
    if not len(layout.micros):
        return
    starts, ends = layout.windows
    outside = layout.micros < (starts - ROUNDING)[layout.ask_of]
    outside |= layout.micros > (ends + ROUNDING)[layout.ask_of]
    outside &= layout.ticks != NO_TIME
    rows = np.flatnonzero(outside)
    wrong, first = np.unique(layout.ask_of[rows], return_index=True)
    known = found.errors
    for n, at in zip(wrong.tolist(), rows[first].tolist(), strict=True):
        if n not in known:
            found.refuse(n, wrong_window(layout.asks[n], int(layout.micros[at])))


def _untils(layout: _Layout, found: FoundEvents, *, ambiguous: bool) -> Int64s:
    """Up to where each ask is complete."""
    size = len(layout.asks)
    answered = layout.counts.copy()
    stops = np.full(size, NEVER, np.int64)
    failed = np.zeros(size, np.bool_)
    for n, part in found.odd.items():
        answered[n], failed[n] = part.answered, part.error is not None
        if part.stop is not None:
            stops[n] = part.stop
    return complete_until(
        *layout.windows,
        _lasts(layout.micros, layout.ends, layout.counts),
        full=(answered >= layout.max_counts) | ambiguous,
        failed=failed,
        stops=stops,
    )


def _lasts(micros: Int64s, ends: Int64s, counts: Int64s) -> Int64s:
    """The time of the last event of each ask; `NEVER` where it has none."""
    if not len(micros):
        return np.full(len(ends), NEVER, np.int64)
    return np.where(counts > 0, micros[ends - 1], NEVER)


def _kept(layout: _Layout, untils: Int64s) -> npt.NDArray[np.bool_]:
    """Which events lie in the part of their ask's window that is complete."""
    kept: npt.NDArray[np.bool_] = layout.micros >= layout.windows[0][layout.ask_of]
    kept &= layout.micros < untils[layout.ask_of]
    return kept


def _rows(layout: _Layout, units: Sequence[str], columns: EventColumns, ingested_at: Micros) -> pa.RecordBatch:
    """All events in the order of the asks, those that will not be kept included."""
    ask_of, micros = layout.ask_of, layout.micros
    tags = layout.tags
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
    distinct = list(dict.fromkeys(texts))
    code_of_event = ask_of.astype(np.int32)
    if len(distinct) < len(texts):
        codes = {text: code for code, text in enumerate(distinct)}
        code_of_event = np.fromiter(map(codes.__getitem__, texts), np.int32, len(texts))[ask_of]
    return pa.DictionaryArray.from_arrays(pa.array(code_of_event), pa.array(distinct, pa.string()))


def _outcomes(
    layout: _Layout, untils: Int64s, kept: npt.NDArray[np.bool_], errors: Mapping[int, AskError], *, recheck: bool
) -> AskOutcomes:
    kept_before = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=kept_before[1:])
    ends = kept_before[layout.ends]
    rows = ends - kept_before[layout.firsts]
    unknown = np.zeros(len(rows), np.uint64)  # digests are summed up later
    lasts = _lasts(layout.micros[kept], ends, rows)
    return AskOutcomes(layout.asks, rows, untils, lasts, errors, recheck, unknown, unknown, np.zeros_like(rows))
