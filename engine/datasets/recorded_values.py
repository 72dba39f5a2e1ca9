"""The dataset `recorded`: pi_timeseries, the recorded values of tags.

There are three ways to ask, the cheapest first: batch (one POST with many stream reads), streamset (one GET for tags
with the same window), single (one GET a tag). A request for one tag is always a single one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.errors import (
    ExtractError,
    RetryError,
    SplitError,
    TagError,
    WrongWindowError,
)
from writers import NEVER, PI_TIMESERIES
from writers.row_hash import row_hashes, sums

from ..clock import monotonic
from ..model import Ask, AskOutcomes, DecodedAnswer, Int64s, Micros, UInt64s, Window
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.decode import Decoder, decode
from ..piweb.guarded import guarded
from ..piweb.http import Request
from ..piweb.limits import kind_of_request
from ..piweb.problems import error_for
from ..piweb.wire import Shape
from ..plan.planner import Chunk
from .dataset import SeriesDataset
from .decoding import Decoding
from .request_mode import Mode, choose_mode

# Largest usual size of a recorded value as JSON with our selected fields. Long strings take more.
BYTES_PER_VALUE = 170
# An answer may be so many times larger than expected before it is refused and split.
SLACK = 4
MIN_BODY_BYTES = 4 << 20
# A shorter answer is taken to be whole without asking: no server gives so few events at once.
_SURELY_WHOLE = 99
# A body up to this size is decoded in the event loop, in a few milliseconds. Decoding holds the interpreter lock, so a
# thread would only cost the switch.
INLINE_BYTES = 1 << 20

_log = logging.getLogger("osipi.run")
_TRUTH = PI_TIMESERIES.grain.truth
_NO_OVERLAP = Window(NEVER, NEVER)
_MAX_BODY = requests.MAX_BATCH_BYTES
BATCHES = kind_of_request(Request("POST", "/batch"))
_STREAMSETS = kind_of_request(Request("GET", requests.STREAMSET))


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """A decoded answer and what it took."""

    answer: DecodedAnswer
    fetch_secs: float
    decode_secs: float


def split(
    chunk: Chunk,
    mode: Mode,
    *,
    base_url: str = "",
    max_url_chars: int = requests.MAX_PATH_CHARS,
    max_body_bytes: int | None = None,
) -> list[Chunk]:
    """Split a chunk into requests. A streamset has one window, one count, and as many tags as fit into a URL.

    `max_body_bytes`: what a batch may be long; None for any that is built.
    """
    if mode is Mode.BATCH:
        return [chunk] if max_body_bytes is None else _cut_batch(chunk, base_url, max_body_bytes)
    if mode is Mode.SINGLE:
        return [chunk.slice(i, i + 1) for i in range(len(chunk.asks))]
    parts: list[Chunk] = []
    at = 0
    for _, run in groupby(chunk.asks, key=lambda ask: (ask.start, ask.end, ask.max_count)):
        asks = list(run)
        while asks:
            size = max(1, requests.streamset_capacity(asks, max_url_chars))
            parts.append(chunk.slice(at, at + min(size, len(asks))))
            at += min(size, len(asks))
            asks = asks[size:]
    return parts


def _cut_batch(chunk: Chunk, base_url: str, max_bytes: int) -> list[Chunk]:
    parts: list[Chunk] = []
    at, asks = 0, chunk.asks
    while at < len(asks):
        size = requests.batch_capacity(asks[at:], base_url, max_bytes)
        parts.append(chunk.slice(at, at + size))
        at += size
    return parts


# The way of asking that each shape of answer belongs to.
_MODES = {Shape.BATCH: Mode.BATCH, Shape.STREAMSET: Mode.STREAMSET}


class RecordedSource:
    """Asks for recorded values and decodes them on a thread of its own."""

    def __init__(
        self,
        client: PIClient,
        base_url: str,
        mode: Mode,
        executor: Executor,
        *,
        now: Callable[[], Micros],
        decoder: Decoder = decode,
        may_change: bool = False,
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._executor = executor
        self._now = now
        self._decoder = guarded(decoder)
        self._may_change = may_change
        self._whole: dict[Shape, int] = {}  # how many events of a tag have come, and were all there are
        self._cap: int | None = None  # how many have come where there were more
        self.mode = mode

    @classmethod
    async def open(
        cls,
        client: PIClient,
        base_url: str,
        wanted: str,
        decoding: Decoding,
        *,
        now: Callable[[], Micros],
        sample: Sequence[Ask] = (),
    ) -> Self:
        mode = await choose_mode(client, base_url, wanted, cls._first_asks(sample))
        may_change = wanted == "auto"
        return cls(client, base_url, mode, decoding.executor, now=now, decoder=decoding.decode, may_change=may_change)

    @staticmethod
    def _first_asks(sample: Sequence[Ask]) -> Sequence[Ask]:
        """What finds out how the server is to be asked."""
        return sample

    def split(self, chunk: Chunk) -> list[Chunk]:
        """Split a chunk into requests that are short enough for this server."""
        limits = self._client.limits
        max_bytes = limits.max_body_bytes(BATCHES) if limits.learnt(BATCHES) or limits.max_body < _MAX_BODY else None
        if self.mode is Mode.BATCH and max_bytes is not None and len(chunk.asks) > 1:
            two = requests.batch_capacity(chunk.asks[:2], self._base_url, max_bytes)
            if two < 2 and self._may_change:
                self.mistrust_batches(f"no more than {max_bytes} bytes of them are let through")
        return split(
            chunk,
            self.mode,
            base_url=self._base_url,
            max_url_chars=limits.max_url_chars(_STREAMSETS),
            max_body_bytes=max_bytes,
        )

    def mistrust_batches(self, reason: str) -> bool:
        """Ask in the next simpler way from now on, if request_mode is `auto`.

        Returns whether there is a simpler way. The reason goes into the report.
        """
        simpler = {Mode.BATCH: Mode.STREAMSET, Mode.STREAMSET: Mode.SINGLE}.get(self.mode)
        if simpler is None or not self._may_change:
            return False
        remark = f"{self.mode.value} requests are not used any more: {reason}. Values are read as {simpler.value}"
        _log.warning("%s", remark)
        self._client.limits.remark(remark)
        self.mode = simpler
        return True

    def waited_secs(self) -> float:
        """How long requests have waited for their turn, all together."""
        return self._client.statistics().waited_secs

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        """The largest answer these asks can bring, as JSON."""
        return BYTES_PER_VALUE * sum(ask.max_count for ask in asks)

    async def is_alive(self) -> bool:
        """Whether the server answers at all. A refusal is an answer."""
        try:
            await self._client.send(replace(requests.system(), patient=False))
        except RetryError:
            return False
        except ExtractError:
            return True
        return True

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> TimedAnswer:
        """Ask and decode; not `patient`: once. Raises `ExtractError` when the request failed as a whole."""
        request, shape = self._request(asks)
        request = request if patient else replace(request, patient=False)
        began = monotonic()
        limit = max(MIN_BODY_BYTES, SLACK * self.expected_bytes(asks))
        if self._client.limits.forbids(request):  # learnt since the chunk was cut
            raise SplitError(
                f"reading {_named(asks)}: a shorter request was refused as too long",
                hint="ask for fewer tags at once",
                too_much="request",
            )
        response = await self._client.send(request, max_body_bytes=limit)
        # A batch answers for its tags one by one: when it fails as a whole, that is no tag's fault.
        error = error_for(response, f"reading {_named(asks)}", tags=0 if shape is Shape.BATCH else len(asks))
        if error is not None:
            raise error
        fetched = monotonic()
        decoding = partial(self._decode, response.body, asks, shape)
        if len(response.body) <= INLINE_BYTES:
            answer = decoding()
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._executor, decoding)
        if request.tells_of_parts:
            self._client.note_parts(response, answer.outcomes.errors.values())
        if answer.outcomes.errors and self.mode is _MODES.get(shape):
            self._look_for_other_windows(answer)
        decoded = monotonic()
        await self._insist_on_whole(answer.outcomes, shape)
        return TimedAnswer(answer, fetched - began, decoded - fetched)

    async def _insist_on_whole(self, outcomes: AskOutcomes, shape: Shape) -> None:
        """Ask what follows the last event of the longest answer to a tag, once there is one longer than all before it.

        Some servers and gateways give fewer events than they are asked for, and do not say so. Raises `SplitError` for
        such a one, and what asking raises; but the error of one tag says nothing of the answer, which stands.
        """
        asks, rows = outcomes.asks, outcomes.rows
        counts = np.fromiter((ask.max_count for ask in asks), np.int64, len(asks))
        ends = np.fromiter((ask.end for ask in asks), np.int64, len(asks))
        doubtful = (outcomes.untils == ends) & (rows < counts)
        size = int(rows.max(initial=0, where=doubtful))
        if size <= max(_SURELY_WHOLE, self._whole.get(shape, 0)):
            return
        n = int(np.flatnonzero(doubtful & (rows == size))[0])
        ask, last = asks[n], int(outcomes.last_events[n])
        try:
            if size != self._cap and not await self._holds_back(ask, size, last):
                self._whole[shape] = size
                return
        except (TagError, SplitError) as error:
            _log.info("what follows the longest answer could not be looked for: %s", error)
            return
        self._cap = size
        raise SplitError(
            f"tag {ask.tag.name}: the server was asked for {ask.max_count} events, gave {size}, and has more",
            hint="ask for fewer events at once",
            too_much="count",
        )

    async def _holds_back(self, ask: Ask, size: int, last: Micros) -> bool:
        """Whether the server has events after the last one of an answer, and gives no more than before if asked again: else
        they have just come. Raises what asking raises.
        """
        # Several events: a server that rounds where a range begins shows the one before it.
        after = Ask(ask.tag, last + 1, ask.end, _SURELY_WHOLE)
        if after.start >= after.end or not await self._rows_of(after):
            return False
        return await self._rows_of(ask) <= size

    async def _rows_of(self, ask: Ask) -> int:
        """How many events of a tag the server gives, asked for by themselves. Raises what asking raises."""
        response = await self._client.send(requests.stream(ask))
        if error := error_for(response, f"reading {_named([ask])}", tags=1):
            raise error
        found = self._decode(response.body, [ask], Shape.STREAM).outcomes[0]
        if found.error is not None:
            raise found.error
        return max(found.rows, 1) if found.until < ask.end else found.rows

    def _look_for_other_windows(self, answer: DecodedAnswer) -> None:
        """Change the way of asking if most answers are for another window. A single one is an error of that tag."""
        outcomes = answer.outcomes
        wrong = [error for error in outcomes.errors.values() if isinstance(error, WrongWindowError)]
        if wrong and 2 * len(wrong) > np.count_nonzero(outcomes.rows):
            self.mistrust_batches(wrong[0].message)

    def _decode(self, body: bytes, asks: Sequence[Ask], shape: Shape) -> DecodedAnswer:
        return with_digests(self._decoder(body, asks, shape, ingested_at=self._now()))

    def _request(self, asks: Sequence[Ask]) -> tuple[Request, Shape]:
        if len(asks) == 1:
            return requests.stream(asks[0]), Shape.STREAM
        # A chunk that was cut for a batch may have windows that no streamset can carry.
        if self.mode is Mode.BATCH or requests.streamset_capacity(asks) < len(asks):
            return replace(requests.batch(asks, self._base_url), tells_of_parts=True), Shape.BATCH
        return requests.streamset(asks), Shape.STREAMSET


def _named(asks: Sequence[Ask]) -> str:
    first = asks[0].tag.name
    return f"tag {first}" if len(asks) == 1 else f"{len(asks)} tags from {first}"


def with_digests(answer: DecodedAnswer, truth: Sequence[str] = _TRUTH) -> DecodedAnswer:
    """The same answer; each outcome has the digests of its last event and of its overlap, over the columns `truth`."""
    rows, outcomes = answer.rows, answer.outcomes
    size = len(outcomes)
    if not rows.num_rows:
        return answer
    owner = np.repeat(np.arange(size), outcomes.rows)
    micros = rows.column("timestamp").view(pa.int64()).to_numpy()
    is_last = micros == outcomes.last_events[owner]
    overlaps = [ask.overlap or _NO_OVERLAP for ask in outcomes.asks]
    if overlaps.count(_NO_OVERLAP) == size:  # nothing is compared, as when tags are read for the first time
        picked = np.flatnonzero(is_last)
        lasts = sums(_hashes_at(rows, picked, truth), owner[picked], size)[1]
        return replace(answer, outcomes=replace(outcomes, last_digests=lasts))
    starts = np.array([overlap.start for overlap in overlaps], np.int64)
    ends = np.array([overlap.end for overlap in overlaps], np.int64)
    not_fresh = micros < ends[owner]
    compared = not_fresh & (micros >= starts[owner])
    picked = np.flatnonzero(is_last | compared)
    hashes = _hashes_at(rows, picked, truth)
    digested = replace(
        outcomes,
        last_digests=_summed(hashes, owner[picked], is_last[picked], size),
        overlap_digests=_summed(hashes, owner[picked], compared[picked], size),
        overlap_rows=np.bincount(owner[not_fresh], minlength=size),
    )
    return replace(answer, outcomes=digested)


def _hashes_at(rows: pa.RecordBatch, picked: Int64s, truth: Sequence[str]) -> UInt64s:
    return row_hashes(rows.select(truth).take(pa.array(picked)), truth)


def _summed(hashes: UInt64s, owner: Int64s, chosen: npt.NDArray[np.bool_], size: int) -> UInt64s:
    return sums(hashes[chosen], owner[chosen], size)[1]


RECORDED = SeriesDataset(name="recorded", tables=(PI_TIMESERIES,), open=RecordedSource.open)
