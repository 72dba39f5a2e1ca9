"""Values on a grid, computed by the server: how PI Web API is asked for them, and what its answers say. Pure.

Interpolated values are asked for one series at a time. The summaries of one tag and window share a call, as far as their
calculation is the same; its answer is taken apart by kind. All answers are then decoded as recorded values are. Time-weighted
summaries end exactly where the next interval begins; counts end one tick earlier, since servers count both ends.

Invariant: of a window, each point of the grid has one value, or the answer is an error of that series. One that ends early is
a page: what follows it is asked for again. An answer without any value says that there are none, unless it has values of
other kinds. A count may be left out where there is nothing to count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.errors import ExtractError, SplitError, TagError, TagUnsupportedError
from engine.model import Ask, AskError, AskOutcomes, DecodedAnswer, Int64s, Micros, Sampling, Tag, Window
from engine.plan.grid import first_point, points_within
from writers import NEVER, PI_SAMPLED

from .decode import Decoder
from .requests import StreamCall
from .strict import SubResponse, open_loosely
from .times import iso_text, last_tick_text, parse_micros
from .wire import Shape

INTERPOLATED, COUNT, PERCENT_GOOD = "interpolated", "count", "percent_good"
# Summaries of numbers. Servers give no other than Count of tags that are no numbers.
NUMERIC_KINDS = {
    "average": "Average",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "range": "Range",
    "total": "Total",
    "stddev": "StdDev",
    "population_stddev": "PopulationStdDev",
}
_PERCENT_GOOD = "PercentGood"
_TYPES = {**NUMERIC_KINDS, PERCENT_GOOD: _PERCENT_GOOD, COUNT: "Count"}
_OTHER_UNITS = {"total", PERCENT_GOOD, COUNT}
# More values than any server gives: an answer is never taken for a page.
_ANY_COUNT = 1 << 20
# Half of so many points are several.
_DIVISIBLE = 4
_ENCODED = {"series_id", "tag_webid", "tag_name", "kind", "value_kind", "units"}
ROWS_SCHEMA = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in _ENCODED else field
    for field in PI_SAMPLED.schema
)
_AS_DECODED = tuple(
    name
    for name in PI_SAMPLED.schema.names
    if name not in {"series_id", "tag_webid", "tag_name", "kind", "interval_seconds", "percent_good"}
)
_EVENT_FIELDS = ("Timestamp", "Value", "Good", "Questionable", "Substituted", "Errors", "WebException")
_STREAM_FIELDS = ("UnitsAbbreviation", "Errors", "Message", "WebException")
_FIELDS = {
    "interpolated": (*(f"Items.{name}" for name in _EVENT_FIELDS), *_STREAM_FIELDS),
    "summary": (
        "Items.Type",
        *(f"Items.Value.{name}" for name in (*_EVENT_FIELDS, "UnitsAbbreviation")),
        *_STREAM_FIELDS,
    ),
}


class _Beside(NamedTuple):
    """What an answer says beside the values of a kind: PercentGood by point, and, of one without any such value, its kinds."""

    share: dict[Micros, float] = {}  # noqa: RUF012 - never written to
    others: str = ""


class _Part(NamedTuple):
    """What of an ask one request brings: the window from its start on with `points` points of the grid."""

    window: Window
    points: int
    first: Micros


def _part_of(ask: Ask) -> _Part:
    interval = _sampling(ask).interval
    window, points = points_within(Window(ask.start, ask.end), interval, ask.max_count)
    return _Part(window, points, first_point(ask.start, interval))


def _sampling(ask: Ask) -> Sampling:
    assert ask.tag.sampling is not None  # noqa: S101 - sampled series have one
    return ask.tag.sampling


def may_be_of_whole_window(ask: Ask, rows: int, last: Micros) -> bool:
    """Whether these rows may be one count of all that was asked for, at its first point, for want of the interval."""
    part = _part_of(ask)
    return _sampling(ask).kind == COUNT and part.points > 1 and rows == 1 and last == part.first


def calls_of(asks: Sequence[Ask]) -> list[StreamCall]:
    """The calls that answer these asks, in the order of the asks. A window without points needs none."""
    calls: dict[tuple[object, ...], StreamCall] = {}
    for n, ask in enumerate(asks):
        part, sampling = _part_of(ask), _sampling(ask)
        if not part.points:
            continue
        family = _family(sampling.kind)
        key = (sampling.web_id, family, sampling.interval, part.first, part.points, n if family == INTERPOLATED else 0)
        known = calls.get(key)
        if known is None:
            what = "interpolated" if family == INTERPOLATED else "summary"
            query = _interpolated(part, sampling.interval) if family == INTERPOLATED else ()
            calls[key] = StreamCall(sampling.web_id, what, query, _FIELDS[what], (n,))
        else:
            calls[key] = known._replace(places=(*known.places, n))
    return [call if call.query else call._replace(query=_summary(call, asks)) for call in calls.values()]


def _family(kind: str) -> str:
    """Kinds of one family share a call. PercentGood has one of its own: servers may give it where they give no numbers."""
    return "numbers" if kind in NUMERIC_KINDS else kind


def _interpolated(part: _Part, interval: Micros) -> tuple[tuple[str, str], ...]:
    # A range without length may be refused, and one that ends between two points is answered with the first.
    last = part.first + (part.points - 1) * interval if part.points > 1 else part.first + interval // 2
    return (
        ("startTime", iso_text(part.first)),
        ("endTime", iso_text(last)),
        ("interval", _span(interval)),
    )


def _summary(call: StreamCall, asks: Sequence[Ask]) -> tuple[tuple[str, str], ...]:
    ask = asks[call.places[0]]
    part, interval = _part_of(ask), _sampling(ask).interval
    kinds = [_sampling(asks[n]).kind for n in call.places]
    types = sorted({_TYPES[kind] for kind in kinds} | (set() if kinds == [COUNT] else {_PERCENT_GOOD}))
    counts, end = kinds[0] == COUNT, part.first + part.points * interval
    return (
        ("startTime", iso_text(part.first)),
        ("endTime", last_tick_text(end) if counts else iso_text(end)),
        *(("summaryType", one) for one in types),
        ("calculationBasis", "EventWeighted" if counts else "TimeWeighted"),
        ("timeType", "EarliestTime"),
        ("summaryDuration", _span(interval)),
    )


def _span(interval: Micros) -> str:
    """Seconds, of which a day has always the same number: days and longer follow the clocks of a time zone."""
    return f"{interval // 1_000_000}s"


def refused(error: TagError) -> TagUnsupportedError:
    """What a refusal of one series means: it would be refused for any window."""
    hint = error.hint or "leave the tag out of extraction.sampled.tags, or the kind out of extraction.sampled.kinds"
    return TagUnsupportedError(error.message, hint=hint)


def decode_sampled(
    decoder: Decoder, body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: Micros
) -> DecodedAnswer:
    """Decode the answer to the calls of these asks, all interpolated or all summaries.

    Raises `UnavailableError` for a body that is no complete JSON.
    """
    calls = calls_of(asks)
    asked = [n for call in calls for n in call.places]
    inner = [_inner(asks[n]) for n in asked]
    beside = [_Beside()] * len(inner)
    if calls and calls[0].what == "summary":
        body_by_kind, beside = _by_kind(body, calls, asks, shape)
        found = decoder(body_by_kind, inner, Shape.BATCH, ingested_at=ingested_at)
    else:
        found = decoder(body, inner, shape, ingested_at=ingested_at)
    return replace(_on_grid(found, asks, asked, beside), body_bytes=len(body))


def _inner(ask: Ask) -> Ask:
    """The ask as it is decoded: of the tag itself, with a window that holds all that was asked for."""
    tag, part, sampling = ask.tag, _part_of(ask), _sampling(ask)
    units = "" if sampling.kind in _OTHER_UNITS else tag.units
    label = f"{tag.name} ({sampling.kind} every {_span(sampling.interval)})"
    end = part.first + part.points * sampling.interval + 1
    return Ask(Tag(sampling.web_id, label, units, tag.point_type), part.first, end, _ANY_COUNT)


def _by_kind(
    body: bytes, calls: Sequence[StreamCall], asks: Sequence[Ask], shape: Shape
) -> tuple[bytes, list[_Beside]]:
    """An answer with summaries of several kinds as one with a stream for each ask; and what it says beside each."""
    contents = open_loosely(body, shape)
    subs: list[str] = []
    beside: list[_Beside] = []
    for number, call in enumerate(calls):
        sub = contents.get(call.web_id if shape is Shape.STREAMSET else str(number))
        share = _percent_good(sub) if _sampling(asks[call.places[0]]).kind != COUNT else {}
        for n in call.places:
            kind, others = _TYPES[_sampling(asks[n]).kind], ""
            if sub is not None:
                subs.append(f'"{len(beside)}":{_as_json(sub, kind)}')
                others = "" if _items(sub.Content, kind) else _kinds_in(sub.Content)
            beside.append(_Beside(share, others))
    return f"{{{','.join(subs)}}}".encode(), beside


def _as_json(sub: SubResponse, kind: str) -> str:
    """The part of one kind. What is nested deeper than can be written was read with more room, and is an error of its tag."""
    part = {"Status": sub.Status, "Headers": sub.Headers, "Content": _of_kind(sub.Content, kind)}
    try:
        return json.dumps(part, default=msgspec.to_builtins)
    except RecursionError:
        return '{"Status":200,"Content":{"Errors":["JSON nested too deep"]}}'


def _items(content: Any, kind: str) -> list[Any] | None:
    """The values of one kind; None where the answer is none of summaries."""
    items = content.get("Items") if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) and "Type" in item for item in items):
        return None
    return [item.get("Value") for item in items if str(item["Type"]).strip().casefold() == kind.casefold()]


def _kinds_in(content: Any) -> str:
    """The kinds of summaries that an answer of summaries holds, for people."""
    items = content["Items"] if _items(content, "") is not None else ()
    return ", ".join(dict.fromkeys(repr(item["Type"])[:40] for item in items[:9]))


def _of_kind(content: Any, kind: str) -> Any:
    values = _items(content, kind)
    if values is None:
        return content
    units = next((value.get("UnitsAbbreviation") for value in values if isinstance(value, dict)), None)
    kept = [
        {name: said for name, said in value.items() if name != "UnitsAbbreviation"}
        if isinstance(value, dict)
        else value
        for value in values
    ]
    return {**content, "Items": kept, **({"UnitsAbbreviation": units} if isinstance(units, str) else {})}


def _percent_good(sub: SubResponse | None) -> dict[Micros, float]:
    """By point of the grid, the share of good values."""
    found: dict[Micros, float] = {}
    for value in (_items(sub.Content, _PERCENT_GOOD) if sub is not None else None) or ():
        number = value.get("Value") if isinstance(value, dict) else None
        if isinstance(number, int | float | str) and not isinstance(number, bool):
            try:
                found[parse_micros(str(value.get("Timestamp")))] = float(number)
            except (ValueError, OverflowError):
                continue
    return found


def _on_grid(
    found: DecodedAnswer, asks: Sequence[Ask], asked: Sequence[int], beside: Sequence[_Beside]
) -> DecodedAnswer:
    """Keep the values at points of the grid, in the order of the asks, and say how far each ask is complete."""
    inner, size = found.outcomes, len(asks)
    parts = [_part_of(ask) for ask in asks]
    untils = np.fromiter((part.window.end for part in parts), np.int64, size)
    starts = np.fromiter((ask.start for ask in asks), np.int64, size)
    intervals = np.fromiter((_sampling(ask).interval for ask in asks), np.int64, size)
    errors: dict[int, AskError] = {}
    for m, n in enumerate(asked):
        if inner.untils[m] != inner.asks[m].end:
            untils[n] = max(asks[n].start, min(int(inner.untils[m]), int(untils[n])))
        if (error := inner.errors.get(m)) is not None:
            errors[n] = refused(error) if type(error) is TagError else error
    owner = np.repeat(np.array(asked, np.int64), inner.rows)
    micros = found.rows.column("timestamp").view(pa.int64()).to_numpy()
    on_grid = (micros % intervals[owner] == 0) & (micros >= starts[owner]) & (micros < untils[owner])
    given = np.bincount(owner, minlength=size)
    kept = np.bincount(owner[on_grid], minlength=size)
    points = np.bincount(np.unique(np.stack([owner, micros])[:, on_grid], axis=1)[0], minlength=size)
    lasts = np.full(size, NEVER, np.int64)
    np.maximum.at(lasts, owner[on_grid], micros[on_grid])
    others = {n: beside[m].others for m, n in enumerate(asked)}
    for n, ask in enumerate(asks):
        if n in errors:
            continue
        sent = _Sent(int(given[n]), int(kept[n]), int(points[n]), int(lasts[n]), others.get(n, ""))
        if (error := _off_grid(ask, parts[n], sent)) is not None:
            errors[n], untils[n] = error, ask.start
            on_grid &= owner != n
        elif sent.given and sent.last < _last(ask):  # a page
            untils[n] = min(sent.last + int(intervals[n]), int(untils[n]))
    share = _share_column([one.share for one in beside], np.repeat(np.arange(len(asked)), inner.rows), micros)
    order = np.flatnonzero(on_grid)
    order = order[np.argsort(owner[order], kind="stable")]
    rows = _rows(found.rows.take(pa.array(order)), asks, owner[order], share[order])
    counts = np.bincount(owner[order], minlength=size)
    zeros = np.zeros(size, np.uint64)
    outcomes = AskOutcomes(
        asks, counts, untils, _lasts(micros[order], counts), errors, False, zeros, zeros, np.zeros(size, np.int64)
    )
    return DecodedAnswer(rows, outcomes, found.body_bytes)


class _Sent(NamedTuple):
    """What came for an ask: values, those kept of them, at how many points, the last one, and kinds that were not asked for."""

    given: int
    kept: int
    points: int
    last: Micros
    others: str


def _last(ask: Ask) -> Micros:
    """The last point that an ask asks for."""
    part = _part_of(ask)
    return part.first + (part.points - 1) * _sampling(ask).interval


def _off_grid(ask: Ask, part: _Part, sent: _Sent) -> ExtractError | None:
    """The error of an answer that has not one value for each point, up to where it ends.

    A single value in place of several is no page: it is one of the whole window, if something drops the interval.
    """
    if sent.others:
        return TagUnsupportedError(
            f"tag {ask.tag.name}: {_sampling(ask).kind} was asked for, and the server sent summaries of {sent.others}",
            hint="leave the kind out of extraction.sampled.kinds",
        )
    is_count, interval = _sampling(ask).kind == COUNT, _sampling(ask).interval
    whole = sent.points == part.points
    page = sent.given == sent.kept and (
        is_count or (sent.points > 1 and sent.last == part.first + (sent.points - 1) * interval)
    )
    cut = sent.given == 1 and sent.last == part.first
    if part.points >= _DIVISIBLE and not is_count and (cut or (page and sent.points == part.points - 1)):
        # What ends after the first point may be a page after others; what lacks the last one would lack that of the rest.
        return SplitError(
            f"tag {ask.tag.name}: {part.points} values of {_sampling(ask).kind} were asked for, and the server sent {sent.points}",
            hint="ask for fewer values at once",
            too_much="count",
        )
    if not sent.given or (sent.kept == sent.points and (whole or page)):
        return None
    return TagUnsupportedError(
        f"tag {ask.tag.name}: {part.points} values of {_sampling(ask).kind} were asked for, one every "
        f"{_span(interval)}, and the server sent {sent.kept} at {sent.points} of these times",
        hint="something between us and the PI Web API may drop the query of requests; please report it with this message",
    )


def _share_column(
    shares: Sequence[dict[Micros, float]], owner: npt.NDArray[np.integer], micros: Int64s
) -> npt.NDArray[np.float64]:
    """PercentGood of each row; NaN where it is not known."""
    nan = math.nan
    if not any(shares):
        return np.full(len(micros), nan)
    each = zip(owner.tolist(), micros.tolist(), strict=True)
    return np.fromiter((shares[m].get(at, nan) for m, at in each), np.float64, len(micros))


def _lasts(micros: Int64s, counts: npt.NDArray[np.integer]) -> Int64s:
    if not len(micros):
        return np.full(len(counts), NEVER, np.int64)
    return np.where(counts > 0, micros[np.cumsum(counts) - 1], NEVER)


def _rows(
    decoded: pa.RecordBatch, asks: Sequence[Ask], owner: Int64s, share: npt.NDArray[np.float64]
) -> pa.RecordBatch:
    codes = pa.array(owner.astype(np.int32))
    samplings = [_sampling(ask) for ask in asks]
    seconds = np.fromiter((one.interval // 1_000_000 for one in samplings), np.int64, len(asks))
    columns: dict[str, pa.Array] = {
        "series_id": _named([ask.tag.web_id for ask in asks], codes),
        "tag_webid": _named([one.web_id for one in samplings], codes),
        "tag_name": _named([ask.tag.name for ask in asks], codes),
        "kind": _named([one.kind for one in samplings], codes),
        "interval_seconds": pa.array(seconds[owner]),
        "percent_good": pa.array(share, mask=np.isnan(share)),
        **{name: decoded.column(name) for name in _AS_DECODED},
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in ROWS_SCHEMA.names], schema=ROWS_SCHEMA)


def _named(texts: Sequence[str], codes: pa.Array) -> pa.Array:
    """A column with one text for each ask. Texts that repeat have one code, as dictionaries must."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < len(texts):
        place = {text: code for code, text in enumerate(distinct)}
        codes = pa.array(np.fromiter((place[text] for text in texts), np.int32, len(texts))[codes.to_numpy()])
    return pa.DictionaryArray.from_arrays(codes, pa.array(distinct, pa.string()))
