"""The dataset `sampled`: pi_sampled, values of tags on a fixed grid that the server computes.

Each interval and kind of a tag is a series of its own, with an id and a watermark of its own. So a changed interval, or
one kind more, is read from start_date on, and mixes with nothing. All else is as for recorded values: windows,
watermarks, holes and corrections are those of the planner and the landing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from config import Config
from config.errors import SplitError, TagError, TagUnsupportedError
from writers import NEVER, PI_SAMPLED

from ..model import Ask, AskOutcomes, DecodedAnswer, Micros, Sampling, Tag
from ..piweb import requests
from ..piweb.decode import decode
from ..piweb.guarded import guarded
from ..piweb.http import Request
from ..piweb.limits import LearnedLimits, kind_of_request
from ..piweb.problems import error_for
from ..piweb.requests import StreamCall
from ..piweb.sampled import (
    INTERPOLATED,
    NUMERIC_KINDS,
    ROWS_SCHEMA,
    calls_of,
    decode_sampled,
    may_be_of_whole_window,
    refused,
)
from ..piweb.wire import Shape
from ..plan.grid import first_point
from ..plan.planner import Chunk
from ..plan.tag_classes import classes_of, matcher
from .dataset import SeriesDataset
from .recorded_values import BATCHES, BYTES_PER_VALUE, RecordedSource, TimedAnswer, with_digests
from .request_mode import Mode
from .tags import Inventory

_MICROS_PER_SECOND = 1_000_000
# Points and attributes of these types are no numbers: servers give no summaries of them but counts.
_NO_NUMBERS = {"string", "digital", "blob", "timestamp", "datetime", "enumerationvalue", "boolean"}
_SHOWN = 3
# The native decoder does not read these answers.
_DECODER = guarded(decode)
_NO_ROWS = pa.RecordBatch.from_pylist([], schema=ROWS_SCHEMA)


def series_id(web_id: str, interval: Micros, kind: str) -> str:
    return f"{web_id}/{interval // _MICROS_PER_SECOND}/{kind}"


def series_of_tag(tag: Tag, interval: Micros, kind: str) -> Tag:
    """One series of a tag."""
    sampling = Sampling(tag.web_id, kind, interval, 0 if kind == INTERPOLATED else interval)
    return Tag(series_id(tag.web_id, interval, kind), tag.name, tag.units, tag.point_type, sampling=sampling)


def sampled_series(config: Config, inventory: Inventory) -> Inventory:
    """The series of the tags that `extraction.sampled` names, in place of the tags. Its warnings name tags that some kinds
    are left out for.
    """
    settings = config.extraction.sampled
    if settings is None:
        return replace(inventory, tags=(), warnings=())
    interval = round(settings.interval.total_seconds()) * _MICROS_PER_SECOND
    is_chosen = matcher(settings.tags)
    kinds = list(dict.fromkeys(settings.kinds))
    numeric = [kind for kind in kinds if kind in NUMERIC_KINDS]
    tags: list[Tag] = []
    left_out: list[str] = []
    for tag in inventory.tags:
        if not is_chosen(tag.name):
            continue
        is_number = tag.point_type.casefold() not in _NO_NUMBERS
        if numeric and not is_number:
            left_out.append(tag.name)
        tags += [series_of_tag(tag, interval, kind) for kind in kinds if is_number or kind not in NUMERIC_KINDS]
    return replace(inventory, tags=tuple(tags), unresolved=(), warnings=_warnings(left_out, numeric))


def unsettled_hint(config: Config) -> str:
    """What is risky about interpolated values as configured; empty if nothing is."""
    extraction = config.extraction
    if extraction.sampled is None or INTERPOLATED not in extraction.sampled.kinds:
        return ""
    if all(one.lookback_micros for one in classes_of(extraction)):
        return ""
    return (
        "interpolated values without extraction.lookback: where a tag is silent, its last value is held until the next "
        "event, and not corrected then; choose a lookback longer than tags are silent"
    )


def _warnings(left_out: Sequence[str], numeric: Sequence[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    more = f" and {len(left_out) - _SHOWN:,} more" if len(left_out) > _SHOWN else ""
    named = f"{', '.join(left_out[:_SHOWN])}{more}"
    return (f"pi_sampled has no {', '.join(numeric)} of {named}: their values are no numbers",)


def split_calls(chunk: Chunk, mode: Mode, base_url: str, limits: LearnedLimits) -> list[Chunk]:
    """Split a chunk into requests, each for interpolated values or for summaries alone. What one call answers stays
    together. Windows without a point of the grid cost no request, and travel with the first one.
    """
    calls = sorted(calls_of(chunk.asks), key=lambda call: call.what)  # stable: in the order of the asks
    packs: list[list[StreamCall]] = []
    if mode is Mode.SINGLE:
        packs = [[call] for call in calls]
    else:
        alike: dict[object, list[StreamCall]] = {}
        for call in calls:
            alike.setdefault(call.what if mode is Mode.BATCH else call.form, []).append(call)
        for waiting in alike.values():
            while waiting:
                size = _capacity(waiting, mode, base_url, limits)
                packs.append(waiting[:size])
                waiting = waiting[size:]  # noqa: PLW2901 - what is left of it
    called = {n for call in calls for n in call.places}
    idle = [n for n in range(len(chunk.asks)) if n not in called]
    places = [sorted(n for call in pack for n in call.places) for pack in packs] or [[]]
    places[0] = sorted((*places[0], *idle))
    return [
        replace(chunk, cursors=tuple(chunk.cursors[n] for n in chosen), asks=tuple(chunk.asks[n] for n in chosen))
        for chosen in places
    ]


def _capacity(calls: Sequence[StreamCall], mode: Mode, base_url: str, limits: LearnedLimits) -> int:
    """How many of the first calls one request can hold, as far as is known; at least one."""
    if mode is Mode.BATCH:
        return requests.stream_calls_capacity(calls, base_url, limits.max_body_bytes(BATCHES))
    kind = kind_of_request(Request("GET", f"/streamsets/{calls[0].what}"))
    return requests.streamset_calls_capacity(calls, limits.max_url_chars(kind))


class SampledSource(RecordedSource):
    """Asks for values on a grid. What is known of the server is the same as for recorded values."""

    @staticmethod
    def _first_asks(sample: Sequence[Ask]) -> Sequence[Ask]:
        tried = {
            ask.tag.sampling.web_id: Ask(Tag(ask.tag.sampling.web_id, ask.tag.name), ask.start, ask.end, ask.max_count)
            for ask in sample
            if ask.tag.sampling is not None
        }
        return list(tried.values())

    def split(self, chunk: Chunk) -> list[Chunk]:
        return split_calls(chunk, self.mode, self._base_url, self._client.limits)

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        # Summaries have their PercentGood beside them.
        return 2 * BYTES_PER_VALUE * sum(ask.max_count for ask in asks)

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> TimedAnswer:
        if not calls_of(asks):
            return TimedAnswer(_nothing(asks), 0.0, 0.0)
        try:
            return await super().read(asks, patient=patient)
        except TagError as error:
            raise (refused(error) if type(error) is TagError else error) from None

    async def _insist_on_whole(self, outcomes: AskOutcomes, shape: Shape) -> None:  # noqa: ARG002
        """Each point of the grid has its value: an answer that lacks one is an error, or a page. But a lone count may be that of
        a whole window, and what is empty beside others may have been cut off.

        Raises `TagUnsupportedError` or `SplitError` then, and what asking raises.
        """
        for n in np.flatnonzero(outcomes.rows == 1).tolist():
            ask = outcomes.asks[n]
            if may_be_of_whole_window(ask, 1, int(outcomes.last_events[n])):
                await self._insist_on_interval(ask, int(outcomes.last_digests[n]))
        empty = [ask for n, ask in enumerate(outcomes.asks) if not outcomes.rows[n] and n not in outcomes.errors]
        if (outcomes.rows.any() or outcomes.errors) and calls_of(empty):
            found = await self._again(empty)
            if found is not None and found.rows.any():
                tag = empty[int(np.flatnonzero(found.rows)[0])].tag.name
                raise SplitError(
                    f"tag {tag}: the server gave no value of it beside other tags, and has some",
                    hint="ask for fewer values at once",
                    too_much="count",
                )

    async def _insist_on_interval(self, ask: Ask, digest: int) -> None:
        start = int(first_point(ask.start, ask.tag.sampling.interval)) if ask.tag.sampling else ask.start
        alone = await self._again([Ask(ask.tag, start, start + 1, 1)])
        if alone is not None and int(alone.last_digests[0]) != digest:
            raise TagUnsupportedError(
                f"tag {ask.tag.name}: asked for its counts, the server sent one for the whole time",
                hint="something between us and the PI Web API may drop the query of requests; please report it with this message",
            )

    async def _again(self, asks: Sequence[Ask]) -> AskOutcomes | None:
        """What the server gives if it is asked for these alone. None where it refuses one of them now: that says nothing of the
        answer before. Raises what else asking raises.
        """
        request, shape = self._request(asks)
        response = await self._client.send(request)
        if error := error_for(response, f"reading tag {asks[0].tag.name}", tags=len(asks)):
            if isinstance(error, TagError):
                return None
            raise error
        found = self._decode(response.body, asks, shape).outcomes
        for wrong in found.errors.values():
            if not isinstance(wrong, TagError):
                raise wrong
        return None if found.errors else found

    def _decode(self, body: bytes, asks: Sequence[Ask], shape: Shape) -> DecodedAnswer:
        answer = decode_sampled(_DECODER, body, asks, shape, ingested_at=self._now())
        return with_digests(answer, PI_SAMPLED.grain.truth)

    def _request(self, asks: Sequence[Ask]) -> tuple[Request, Shape]:
        calls = calls_of(asks)
        if len(calls) == 1:
            return requests.stream_call(calls[0]), Shape.STREAM
        if self.mode is Mode.BATCH or requests.streamset_calls_capacity(calls) < len(calls):
            return requests.stream_calls(calls, self._base_url), Shape.BATCH
        return requests.streamset_call(calls), Shape.STREAMSET


def _nothing(asks: Sequence[Ask]) -> DecodedAnswer:
    """The answer for windows without a point of the grid."""
    size = len(asks)
    zeros, none = np.zeros(size, np.int64), np.zeros(size, np.uint64)
    ends = np.fromiter((ask.end for ask in asks), np.int64, size)
    outcomes = AskOutcomes(asks, zeros, ends, np.full(size, NEVER, np.int64), {}, False, none, none, zeros)
    return DecodedAnswer(_NO_ROWS, outcomes, 0)


SAMPLED = SeriesDataset(
    name="sampled",
    tables=(PI_SAMPLED,),
    open=SampledSource.open,
    series_of=sampled_series,
    is_wanted=lambda config: config.extraction.sampled is not None,
    wanted_by="extraction.sampled.interval",
)
