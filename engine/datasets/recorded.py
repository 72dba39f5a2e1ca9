"""Recorded values: how a chunk of tags is asked for, and read. The shell around piweb and the client.

Three ways of asking, from the most to the least economical; `auto` tries them once, at the start:
batch (one POST of many stream reads), streamset (one GET for tags with the same window), single.
A request of one tag always goes as a single stream, so whatever is narrowed down ends there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import groupby
from typing import Self

import msgspec

from config.errors import ConfigurationError, ExtractError, RetryError

from ..clock import monotonic
from ..model import Answer, Ask, Micros
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.decode import Decoder, decode
from ..piweb.http import Request
from ..piweb.problems import error_for, is_batch_unsupported
from ..piweb.wire import Shape
from ..plan.planner import Chunk
from .digesting import with_digests

__all__ = ["Mode", "RecordedSource", "Timed", "choose_mode", "split"]

# A recorded value as JSON, with the trimmed fields, takes up to about this much; long strings more.
BYTES_PER_VALUE = 170
# An answer may be this much larger than that before it is refused and split.
SLACK = 4
MIN_BODY_BYTES = 4 << 20
# A body up to this size is decoded where it is, in a few milliseconds: decoding holds the interpreter
# lock, so that for small ones a thread of its own only costs the hand-over.
INLINE_BYTES = 1 << 20


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


def split(chunk: Chunk, mode: Mode) -> list[Chunk]:
    """The requests a chunk becomes. Streamsets carry one window and one count, and a URL's worth of tags."""
    if mode is Mode.BATCH:
        return [chunk]
    if mode is Mode.SINGLE:
        return [chunk.part(i, i + 1) for i in range(len(chunk.asks))]
    parts: list[Chunk] = []
    at = 0
    for _, run in groupby(chunk.asks, key=lambda ask: (ask.start, ask.end, ask.max_count)):
        asks = list(run)
        while asks:
            size = max(1, requests.streamset_capacity(asks))
            parts.append(chunk.part(at, at + min(size, len(asks))))
            at += min(size, len(asks))
            asks = asks[size:]
    return parts


async def choose_mode(client: PIClient, base_url: str, wanted: str) -> Mode:
    """The mode to use. `auto` asks the server once whether it takes batches.

    Raises `ConfigurationError` where batch is demanded and not to be had.
    """
    if wanted not in {"auto", Mode.BATCH.value}:
        return Mode(wanted)
    response = await client.send(_probe(base_url))
    if is_batch_unsupported(response):
        if wanted == "auto":
            return Mode.STREAMSET
        raise ConfigurationError(
            "$.extraction.request_mode: batch, but this PI Web API answers "
            f"{response.status} to POST /batch (it needs version 2017 R2 or newer, and the batch controller enabled)",
            hint="Use request_mode: auto, or streamset.",
        )
    error = error_for(response, "POST /batch")
    if error is not None:
        raise error
    return Mode.BATCH


def _probe(base_url: str) -> Request:
    """The smallest batch there is: one question that anybody may ask."""
    question = {"Method": "GET", "Resource": f"{base_url.rstrip('/')}/system?selectedFields=ProductVersion"}
    return Request("POST", "/batch", msgspec.json.encode({"0": question}))


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
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._executor = executor
        self._now = now
        self._decoder = decoder
        self.mode = mode

    @classmethod
    async def open(
        cls, client: PIClient, base_url: str, wanted: str, executor: Executor, *, now: Callable[[], Micros]
    ) -> Self:
        return cls(client, base_url, await choose_mode(client, base_url, wanted), executor, now=now)

    def split(self, chunk: Chunk) -> list[Chunk]:
        return split(chunk, self.mode)

    def expected_bytes(self, asks: Sequence[Ask]) -> int:
        """The largest answer these asks can bring, as JSON."""
        return BYTES_PER_VALUE * sum(ask.max_count for ask in asks)

    async def is_alive(self) -> bool:
        """Whether the server answers at all; a refusal is an answer, too."""
        try:
            await self._client.send(requests.system(), patient=False)
        except RetryError:
            return False
        except ExtractError:
            return True
        return True

    async def read(self, asks: Sequence[Ask], *, patient: bool = True) -> Timed:
        """Ask and decode; not `patient`: once. Raises `ExtractError` when the request failed as a whole."""
        request, shape = self._request(asks)
        began = monotonic()
        limit = max(MIN_BODY_BYTES, SLACK * self.expected_bytes(asks))
        response = await self._client.send(request, max_body_bytes=limit, patient=patient)
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
        return Timed(answer, fetched - began, monotonic() - fetched)

    def _decode(self, body: bytes, asks: Sequence[Ask], shape: Shape) -> Answer:
        return with_digests(self._decoder(body, asks, shape, ingested_at=self._now()))

    def _request(self, asks: Sequence[Ask]) -> tuple[Request, Shape]:
        if len(asks) == 1:
            return requests.stream(asks[0]), Shape.STREAM
        if self.mode is Mode.BATCH:
            return requests.batch(asks, self._base_url), Shape.BATCH
        return requests.streamset(asks), Shape.STREAMSET


def _named(asks: Sequence[Ask]) -> str:
    first = asks[0].tag.name
    return f"tag {first}" if len(asks) == 1 else f"{len(asks)} tags from {first}"
