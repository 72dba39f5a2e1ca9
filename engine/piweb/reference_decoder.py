"""The decoder that is slow and obviously correct: the standard library's JSON, one event at a time. Pure.

It reads what `decode` fails on (`guarded`), and it says what `decode` must produce: tests compare the two. Invariant:
no arrays, no tricks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa

from engine.model import Ask, AskOutcome, AskOutcomes, DecodedAnswer, Micros

from .decode import ROWS_SCHEMA, keys_of
from .problems import tag_error
from .streams import OUT_OF_ORDER, ROUNDING, StreamPart, missing, undecodable, wrong_window
from .strict import SubResponse, open_loosely
from .times import TICKS_PER_MICRO
from .tolerant import PlainEvent, read_stream
from .values import KINDS
from .wire import Shape

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros) -> DecodedAnswer:
    """Decode an answer; a `Decoder`."""
    return decode_with(read_part, body, asks, shape, ingested_at=ingested_at)


def decode_with(
    read_one: Callable[[SubResponse | None, Ask], tuple[StreamPart, list[PlainEvent]]],
    body: bytes,
    asks: Sequence[Ask],
    shape: Shape,
    *,
    ingested_at: Micros,
) -> DecodedAnswer:
    """Decode an answer, by a way to read what it holds for one ask."""
    answered = open_loosely(body, shape)
    read = [read_one(answered.get(key), ask) for key, ask in zip(keys_of(asks, shape), asks, strict=True)]
    ambiguous = (
        shape is Shape.STREAMSET
        and len(asks) > 1
        and (
            any(web_id not in {ask.tag.web_id for ask in asks} for web_id in answered)
            or sum(part.answered for part, _ in read) == asks[0].max_count
        )
    )
    rows: list[dict[str, Any]] = []
    outcomes: list[AskOutcome] = []
    for ask, (part, events) in zip(asks, read, strict=True):
        until = _until(ask, part, events, ambiguous=ambiguous)
        kept = [event for event in events if ask.start <= _micros(event) < until]
        rows += rows_of(ask, part, kept, ingested_at)
        last = _micros(kept[-1]) if kept else None
        outcomes.append(AskOutcome(ask, len(kept), until, last, part.error, recheck=ambiguous and part.error is None))
    return DecodedAnswer(pa.RecordBatch.from_pylist(rows, schema=ROWS_SCHEMA), AskOutcomes.of(outcomes), len(body))


def read_part(sub: SubResponse | None, ask: Ask) -> tuple[StreamPart, list[PlainEvent]]:
    if sub is None:
        return missing(ask), []
    if not 200 <= sub.Status < 300:
        return StreamPart(error=tag_error(sub.Status, sub.Content, ask.tag, sub.Headers)), []
    part, events = read_stream(sub.Content, ask)
    if any(later.ticks < earlier.ticks for earlier, later in pairwise(events)):
        part.refuse(undecodable(ask, OUT_OF_ORDER))
    strange = [e for e in events if not ask.start - ROUNDING <= _micros(e) <= ask.end + ROUNDING]
    if strange and part.error is None:
        part.refuse(wrong_window(ask, _micros(strange[0])))
    return part, events


def _until(ask: Ask, part: StreamPart, events: list[PlainEvent], *, ambiguous: bool) -> Micros:
    until = ask.end
    if part.error is not None:
        until = ask.start if part.stop is None else part.stop
    elif part.answered >= ask.max_count or ambiguous:
        until = _micros(events[-1]) if events else ask.start
    if until < ask.start:
        return ask.start
    return min(until, ask.end)


def rows_of(ask: Ask, part: StreamPart, events: list[PlainEvent], ingested_at: Micros) -> Iterator[dict[str, Any]]:
    for micros, sharing in groupby(events, _micros):
        when = _EPOCH + timedelta(microseconds=micros)
        for sequence, event in enumerate(sharing):
            yield {
                "tag_webid": ask.tag.web_id,
                "tag_name": ask.tag.name,
                "timestamp": when,
                "sequence": sequence,
                "value": event.value.value,
                "value_string": event.value.text,
                "state_code": event.value.code,
                "value_kind": KINDS[event.value.kind],
                "good": event.good,
                "questionable": event.questionable,
                "substituted": event.substituted,
                "annotated": event.annotated,
                "units": part.units or ask.tag.units,
                "ingestion_timestamp": _EPOCH + timedelta(microseconds=ingested_at),
                "partition_date": when.date(),
            }


def _micros(event: PlainEvent) -> Micros:
    return event.ticks // TICKS_PER_MICRO
