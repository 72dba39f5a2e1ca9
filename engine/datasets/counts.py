"""Counts of events at the source: how many there are of each tag on each day. The shell around `piweb.counts`.

Asked for as recorded values are: many tags in a batch, else a streamset, else alone. Invariant: every ask
comes back whole, with its counts or the error that says why there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from config.errors import ExtractError, RetryError, SplitError, TagError, TagForbiddenError, TagGoneError

from ..model import Ask, Micros, Tag, Window
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.counts import Counted, days_of, decode_counts
from ..piweb.http import Request
from ..piweb.problems import error_for
from ..piweb.wire import Shape
from ..plan.lanes import Limits
from ..plan.timeline import DAY
from .recorded import Mode

__all__ = ["CountSource", "asks_for", "packs"]


def asks_for(tag: Tag, window: Window, limits: Limits) -> Iterator[Ask]:
    """The asks that cover a window so that every day counted is one of UTC, but for its two ends."""
    start = window.start
    while start < window.end:
        midnight = -(-start // DAY) * DAY
        end = midnight if start < midnight else start + limits.max_count_per_tag * DAY
        end = min(end, window.end)
        ask = Ask(tag, start, end, 0)
        yield msgspec.structs.replace(ask, max_count=days_of(ask))
        start = end


def packs(asks: Iterable[Ask], limits: Limits, mode: Mode) -> Iterator[list[Ask]]:
    """Asks that go in one request together: tags and counts within the limits, and of one window in a streamset."""
    if mode is Mode.SINGLE:
        yield from ([ask] for ask in asks)
    elif mode is Mode.BATCH:
        yield from _piles(asks, limits)
    else:
        ordered = sorted(asks, key=lambda ask: (ask.start, ask.end, ask.tag.web_id))
        for _, alike in groupby(ordered, key=lambda ask: (ask.start, ask.end)):
            for pile in _piles(alike, limits):
                first = 0
                while first < len(pile):
                    last = first + requests.streamset_capacity(pile[first:])
                    yield pile[first:last]
                    first = last


def _piles(asks: Iterable[Ask], limits: Limits) -> Iterator[list[Ask]]:
    pile: list[Ask] = []
    counts = 0
    for ask in asks:
        if pile and (len(pile) >= limits.tags_per_request or counts + ask.max_count > limits.values_per_answer):
            yield pile
            pile, counts = [], 0
        pile.append(ask)
        counts += ask.max_count
    if pile:
        yield pile


class CountSource:
    """Asks for counts. Remembers which tags have to be asked otherwise, and which in vain."""

    def __init__(self, client: PIClient, base_url: str, mode: Mode, limits: Limits, *, workers: int) -> None:
        self._client = client
        self._base_url = base_url
        self._mode = mode
        self._limits = limits
        self._workers = workers
        self._other_way: set[str] = set()
        # WebIDs of tags of which no counts are to be had, and why; they are not asked again.
        self.refused: dict[str, ExtractError] = {}

    async def counts(self, asks: Iterable[Ask]) -> AsyncIterator[Counted]:
        """Ask for all of it, `workers` requests at a time, and hand on each answer as it comes.

        Raises what ends a run: no login, no connection, a wrong setup. A tag that is refused comes back with
        its error.
        """
        waiting = packs((ask for ask in asks if ask.tag.web_id not in self.refused), self._limits, self._mode)
        at_work: set[asyncio.Task[list[Counted]]] = set()
        try:
            while True:
                for pack in waiting:
                    at_work.add(asyncio.create_task(self._count(pack)))
                    if len(at_work) >= self._workers:
                        break
                if not at_work:
                    return
                done, at_work = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    for counted in task.result():
                        yield counted
        finally:
            for task in at_work:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)

    async def _count(self, asks: list[Ask]) -> list[Counted]:
        """The counts of these asks. What is refused is asked once more, as servers want it of other values."""
        plain = [ask for ask in asks if ask.tag.web_id not in self._other_way]
        found = await self._ask(plain, of_anything=False) if plain else []
        odd = [counted.ask for counted in found if _may_be_asked_otherwise(counted)]
        self._other_way.update(ask.tag.web_id for ask in odd)
        others = [ask for ask in asks if ask.tag.web_id in self._other_way]
        answered = [counted for counted in found if counted.ask.tag.web_id not in self._other_way]
        answered += await self._ask(others, of_anything=True) if others else []
        self.refused.update({c.ask.tag.web_id: c.error for c in answered if c.error is not None})
        return answered

    async def _ask(self, asks: list[Ask], *, of_anything: bool) -> list[Counted]:
        """Ask, in smaller and smaller portions where it has to be; what remains wrong is a tag's own."""
        request, shape = self._request(asks, of_anything)
        try:
            response = await self._client.send(request)
            # A batch answers for its tags one by one: when it fails as a whole, that is no tag's fault.
            error = error_for(response, _named(asks), tags=0 if shape is Shape.BATCH else len(asks))
            if error is not None:
                raise error
        except SplitError as split:
            return await self._divided(asks, split, of_anything=of_anything)
        except TagError as refusal:
            return [Counted(asks[0], error=refusal)]
        answered = decode_counts(response.body, asks, shape)
        return [each for one in answered for each in await self._again(one, of_anything=of_anything)]

    async def _again(self, counted: Counted, *, of_anything: bool) -> list[Counted]:
        """Ask for one tag by itself where a whole batch cannot wait for it."""
        match counted.error:
            case SplitError() as split:
                return await self._divided([counted.ask], split, of_anything=of_anything)
            case RetryError() as error if self._mode is not Mode.SINGLE:
                try:
                    return await self._ask([counted.ask], of_anything=of_anything)
                except RetryError:
                    return [Counted(counted.ask, error=error)]
            case _:
                return [counted]

    async def _divided(self, asks: list[Ask], split: SplitError, *, of_anything: bool) -> list[Counted]:
        if len(asks) > 1:
            halves = [asks[: len(asks) // 2], asks[len(asks) // 2 :]]
            return [counted for half in halves for counted in await self._ask(half, of_anything=of_anything)]
        [ask] = asks
        days = days_of(ask)
        if days == 1:
            return [Counted(ask, error=split)]
        middle: Micros = ask.start + days // 2 * DAY
        before = Ask(ask.tag, ask.start, middle, days // 2)
        after = Ask(ask.tag, middle, ask.end, days - days // 2)
        parts = [c for part in (before, after) for c in await self._ask([part], of_anything=of_anything)]
        error = next((part.error for part in parts if part.error is not None), None)
        return [Counted(ask, () if error else tuple(day for part in parts for day in part.days), error)]

    def _request(self, asks: list[Ask], of_anything: bool) -> tuple[Request, Shape]:
        if len(asks) == 1:
            return requests.count(asks[0], of_anything=of_anything), Shape.STREAM
        if self._mode is Mode.BATCH:
            return requests.count_batch(asks, self._base_url, of_anything=of_anything), Shape.BATCH
        return requests.count_streamset(asks, of_anything=of_anything), Shape.STREAMSET


def _may_be_asked_otherwise(counted: Counted) -> bool:
    error = counted.error
    return isinstance(error, TagError) and not isinstance(error, TagGoneError | TagForbiddenError)


def _named(asks: Sequence[Ask]) -> str:
    first = asks[0].tag.name
    return f"tag {first}" if len(asks) == 1 else f"counting the events of {len(asks)} tags from {first}"
