"""Recorded values: how a chunk of tags is asked for, and read. The shell around piweb and the client.

Three ways of asking, from the most to the least economical; `auto` tries them once, at the start:
batch (one POST of many stream reads), streamset (one GET for tags with the same window), single.
A request of one tag always goes as a single stream, so whatever is narrowed down ends there.
What is tried is what the run will ask: a few values of a few of its tags.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import groupby
from typing import Self

import msgspec
import numpy as np

from config.errors import (
    AuthenticationError,
    ConfigurationError,
    ExtractError,
    RetryError,
    SplitError,
    ThrottledError,
    UnavailableError,
    WrongWindowError,
)

from ..clock import monotonic
from ..model import Answer, Ask, Micros
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.decode import Decoder, decode
from ..piweb.guarded import guarded
from ..piweb.http import Request, Response
from ..piweb.limits import kind_of_request
from ..piweb.probing import batch_trouble, may_be_too_much, streamset_trouble
from ..piweb.problems import error_for, excerpt_of, is_batch_unsupported
from ..piweb.wire import Shape
from ..plan.planner import Chunk
from ..plan.timeline import SECOND
from .digesting import with_digests

__all__ = ["SAMPLE_TAGS", "SAMPLE_VALUES", "Mode", "RecordedSource", "Timed", "choose_mode", "split"]

# A recorded value as JSON, with the trimmed fields, takes up to about this much; long strings more.
BYTES_PER_VALUE = 170
# An answer may be this much larger than that before it is refused and split.
SLACK = 4
MIN_BODY_BYTES = 4 << 20
# A body up to this size is decoded where it is, in a few milliseconds: decoding holds the interpreter
# lock, so that for small ones a thread of its own only costs the hand-over.
INLINE_BYTES = 1 << 20
# So many tags, and so many values of each, are asked for to find out how a server is to be asked.
SAMPLE_TAGS = 3
SAMPLE_VALUES = 10

_log = logging.getLogger("osipi.run")
_SERVER_ERROR = 500
_MAX_BODY = requests.MAX_BATCH_BYTES
_BATCHES = kind_of_request(Request("POST", "/batch"))
_STREAMSETS = kind_of_request(Request("GET", requests.STREAMSET))


class Mode(Enum):
    """How recorded values are asked for."""

    BATCH = "batch"
    STREAMSET = "streamset"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Timed:
    """A decoded answer and what it took."""

    answer: Answer
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
    """The requests a chunk becomes. Streamsets carry one window and one count, and a URL's worth of tags.

    `max_body_bytes`: what a batch may be long; None for any that is built.
    """
    if mode is Mode.BATCH:
        return [chunk] if max_body_bytes is None else _cut_batch(chunk, base_url, max_body_bytes)
    if mode is Mode.SINGLE:
        return [chunk.part(i, i + 1) for i in range(len(chunk.asks))]
    parts: list[Chunk] = []
    at = 0
    for _, run in groupby(chunk.asks, key=lambda ask: (ask.start, ask.end, ask.max_count)):
        asks = list(run)
        while asks:
            size = max(1, requests.streamset_capacity(asks, max_url_chars))
            parts.append(chunk.part(at, at + min(size, len(asks))))
            at += min(size, len(asks))
            asks = asks[size:]
    return parts


def _cut_batch(chunk: Chunk, base_url: str, max_bytes: int) -> list[Chunk]:
    parts: list[Chunk] = []
    at, asks = 0, chunk.asks
    while at < len(asks):
        size = requests.batch_capacity(asks[at:], base_url, max_bytes)
        parts.append(chunk.part(at, at + size))
        at += size
    return parts


async def choose_mode(client: PIClient, base_url: str, wanted: str, sample: Sequence[Ask] = ()) -> Mode:
    """The mode to use. `auto` asks the server once whether it takes batches, and if it does not, streamsets.

    `sample`: what the run is to ask for, a few values of up to three tags in one window; without it, what anybody
    may ask. Raises `ConfigurationError` where batch is demanded and not to be had.
    """
    if wanted not in {"auto", Mode.BATCH.value}:
        return Mode(wanted)
    trouble = await _trouble_with_batches(client, base_url, sample, patient=wanted != "auto")
    if not trouble:
        return Mode.BATCH
    if wanted != "auto":
        raise ConfigurationError(
            f"$.extraction.request_mode: batch, but {trouble}",
            hint="Use request_mode: auto, or streamset. Batches need PI Web API 2017 R2 or newer with the batch "
            "controller enabled; behind a gateway, pi_web_api.url must be an address that the PI Web API itself "
            "can reach under the same path; a firewall must let POST /batch through.",
        )
    mode, told = Mode.STREAMSET, ""
    if len(sample) > 1 and (told := await _trouble_with_streamsets(client, sample)):
        mode = Mode.SINGLE
    remark = f"batches are not used: {trouble}" + (f"; nor are streamsets: {told}" if told else "")
    _log.info("%s", remark)
    client.limits.remark(f"{remark}. Values are read as {mode.value}")
    return mode


async def _trouble_with_batches(client: PIClient, base_url: str, sample: Sequence[Ask], *, patient: bool) -> str:
    """What keeps batches from being understood; empty for nothing.

    Raises what has nothing to do with batches, and, if `patient`, what may be over in a while.
    """
    if sample:
        request, keys = _probe(base_url, sample)
        # A tag may be in trouble of its own, or the whole be too much at once: then it is asked once only, and the
        # question that names no tag decides.
        with suppress(RetryError, SplitError):
            response = await client.send(replace(request, safe=False))
            trouble = _judged(response, keys, sample)
            if not (trouble and may_be_too_much(response, keys)):
                return trouble
            sample = [msgspec.structs.replace(ask, start=max(ask.start, ask.end - SECOND)) for ask in sample]
            request, keys = _probe(base_url, sample)
            return _judged(await client.send(replace(request, safe=False)), keys, sample)
    request, keys = _probe(base_url, ())
    try:
        return _judged(await client.send(request), keys, ())
    except ThrottledError:
        raise
    except RetryError as error:
        # Where a GET is answered meanwhile, it is not the server that is down.
        if patient or (await client.send(requests.home())).status >= _SERVER_ERROR:
            raise
        return error.message


def _judged(response: Response, keys: Sequence[str], sample: Sequence[Ask]) -> str:
    if is_batch_unsupported(response):
        who = excerpt_of(response.body)
        return f"this PI Web API answers {response.status} to POST /batch" + (f": {who}" if who else "")
    refusal = error_for(response, "POST /batch")
    if refusal is None:
        return batch_trouble(response, keys, sample)
    if isinstance(refusal, AuthenticationError | RetryError):
        raise refusal
    return refusal.message


async def _trouble_with_streamsets(client: PIClient, sample: Sequence[Ask]) -> str:
    asks = sample[: max(1, min(2, requests.streamset_capacity(sample)))]
    if len(asks) < 2:
        return ""
    try:
        return streamset_trouble(await client.send(requests.streamset(asks)), asks)
    except (SplitError, UnavailableError) as error:
        return error.message


def _probe(base_url: str, sample: Sequence[Ask]) -> tuple[Request, list[str]]:
    """A small batch in the shape of the run's, and its keys; without a sample, of a question that anybody may ask."""
    if sample:
        asks = sample[:SAMPLE_TAGS]
        return requests.batch(asks, base_url), [str(n) for n in range(len(asks))]
    question = {"Method": "GET", "Resource": f"{base_url.rstrip('/')}{requests.data_servers().path}"}
    return Request("POST", "/batch", msgspec.json.encode({"0": question})), ["0"]


# How answers look that tell whether a way of asking is understood.
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
        self.mode = mode

    @classmethod
    async def open(
        cls,
        client: PIClient,
        base_url: str,
        wanted: str,
        executor: Executor,
        *,
        now: Callable[[], Micros],
        sample: Sequence[Ask] = (),
    ) -> Self:
        mode = await choose_mode(client, base_url, wanted, sample)
        return cls(client, base_url, mode, executor, now=now, may_change=wanted == "auto")

    def split(self, chunk: Chunk) -> list[Chunk]:
        """The requests a chunk becomes, each as long as this server takes them."""
        limits = self._client.limits
        max_bytes = limits.max_body_bytes(_BATCHES) if limits.learnt(_BATCHES) or limits.max_body < _MAX_BODY else None
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
        """Ask in the next simpler way from now on, where the configuration leaves it open (`auto`).

        Says whether there is one. For what shows only during a run; the reason is kept for the report.
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
        """Whether the server answers at all; a refusal is an answer, too."""
        try:
            await self._client.send(replace(requests.system(), patient=False))
        except RetryError:
            return False
        except ExtractError:
            return True
        return True

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> Timed:
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
        if answer.outcomes.errors and self.mode is _MODES.get(shape):
            self._look_for_other_windows(answer)
        return Timed(answer, fetched - began, monotonic() - fetched)

    def _look_for_other_windows(self, answer: Answer) -> None:
        """Most answers to another question: then it is the way of asking. One of many: then it is that tag."""
        outcomes = answer.outcomes
        wrong = [error for error in outcomes.errors.values() if isinstance(error, WrongWindowError)]
        if wrong and 2 * len(wrong) > np.count_nonzero(outcomes.rows):
            self.mistrust_batches(wrong[0].message)

    def _decode(self, body: bytes, asks: Sequence[Ask], shape: Shape) -> Answer:
        return with_digests(self._decoder(body, asks, shape, ingested_at=self._now()))

    def _request(self, asks: Sequence[Ask]) -> tuple[Request, Shape]:
        if len(asks) == 1:
            return requests.stream(asks[0]), Shape.STREAM
        # A chunk that was cut for a batch may have windows that no streamset can carry.
        if self.mode is Mode.BATCH or requests.streamset_capacity(asks) < len(asks):
            return requests.batch(asks, self._base_url), Shape.BATCH
        return requests.streamset(asks), Shape.STREAMSET


def _named(asks: Sequence[Ask]) -> str:
    first = asks[0].tag.name
    return f"tag {first}" if len(asks) == 1 else f"{len(asks)} tags from {first}"
