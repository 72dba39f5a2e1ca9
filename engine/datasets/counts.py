"""Counts of events at the source: how many each tag has on each day.

They are asked for like recorded values: many tags in a batch, else in a streamset, else one by one. If a request may
have been too large, it is halved: first the days, then the tags, then the hours of a day. What the server counts at
once is remembered. Invariant: every ask is answered, with its counts or with the error that says why there are none.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

import msgspec

from config.errors import (
    ExtractError,
    RetryError,
    SplitError,
    StopError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
)

from ..model import Ask, AskError, Micros, Tag, Window
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.counts import NO_DATA, NOT_COUNTED, EventTimes, StreamCounts, days_of, decode_counts, decode_times
from ..piweb.http import Request, Response
from ..piweb.problems import error_for, insist_on_object
from ..piweb.values import parse_json
from ..piweb.wire import Shape
from ..plan.tag_cursor import RequestLimits
from ..plan.timeline import DAY, HOUR, SECOND
from .request_mode import Mode

# After so many failed days a tag is given up. After so many failed tags in a row the source is taken not to count at
# all; the limit is lower while it has never counted.
_DAYS_IN_VAIN, _TAGS_IN_VAIN, _TAGS_IN_VAIN_AT_FIRST = 3, 20, 5
# After so many tags without success, asking in another way, or once more, is no longer tried.
_TRIALS = 20
# A server that rounds times may answer with events that lie so far outside of the window.
_ROUNDED: Micros = 60 * SECOND


def asks_for(tag: Tag, window: Window, limits: RequestLimits) -> Iterator[Ask]:
    """The asks that cover a window. They count UTC days; only the first and last day may be partial."""
    start = window.start
    while start < window.end:
        midnight = -(-start // DAY) * DAY
        end = midnight if start < midnight else start + limits.max_count_per_tag * DAY
        end = min(end, window.end)
        ask = Ask(tag, start, end, 0)
        yield msgspec.structs.replace(ask, max_count=days_of(ask))
        start = end


def packs(asks: Iterable[Ask], limits: RequestLimits, mode: Mode) -> Iterator[list[Ask]]:
    """The asks of each request: tags and counts within the limits; in a streamset all have the same window."""
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


def _piles(asks: Iterable[Ask], limits: RequestLimits) -> Iterator[list[Ask]]:
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
    """Asks for counts. Remembers how much the server counts at once, which tags are asked in another way, and which tags
    have no counts.
    """

    def __init__(self, client: PIClient, base_url: str, mode: Mode, limits: RequestLimits, *, workers: int) -> None:
        self._client = client
        self._base_url = base_url
        self._mode = mode
        self._limits = limits
        self._workers = workers
        self._other_way: set[str] = set()
        self._other_way_trials = _Trials()
        self._once_more_trials = _Trials()
        # The most days and tags that this server counts at once; None while it has not refused any.
        self._most_days: int | None = None
        self._most_tags: int | None = None
        self._counted: set[str] = set()
        self._days_in_vain: dict[str, int] = defaultdict(int)
        self._tags_in_vain: set[str] = set()
        # Tags without any counts, by WebID, with the reason. They are not asked again.
        self.refused: dict[str, ExtractError] = {}
        # Tags of which some days have no count, with the reason.
        self.reasons: dict[str, ExtractError] = {}

    async def counts(self, asks: Iterable[Ask]) -> AsyncIterator[StreamCounts]:
        """Ask for all, `workers` requests at a time. Yields each answer as it comes.

        Raises what ends a run: no login, no connection, a wrong setup. A tag that is refused comes back with
        its error.
        """
        waiting = packs((ask for ask in asks if ask.tag.web_id not in self.refused), self._limits, self._mode)
        at_work: set[asyncio.Task[list[StreamCounts]]] = set()
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

    async def once_more(self, ask: Ask) -> StreamCounts:
        """Ask again for the days that an answer has left out, for fewer days at once each time.

        Given up where that has never helped.
        """
        nothing = StreamCounts(ask, (NOT_COUNTED,) * days_of(ask))
        if ask.tag.web_id in self.refused or ask.tag.web_id in self.reasons or self._once_more_trials.in_vain:
            return nothing
        [found] = await self._ask([ask], of_anything=ask.tag.web_id in self._other_way)
        if found.error is not None:
            return nothing
        if not _says_nothing(found):
            self._once_more_trials.helped = True
            days = list(found.days)
            for first, last in _left_out(days):
                rest = Ask(ask.tag, ask.start + first * DAY, min(ask.start + last * DAY, ask.end), last - first)
                days[first:last] = (await self.once_more(rest)).days
            return StreamCounts(ask, tuple(days))
        if len(found.days) == 1:
            self._once_more_trials.made += 1
            return found
        halves = [await self.once_more(half) for half in _cut(ask, -(-days_of(ask) // 2))]
        return StreamCounts(ask, tuple(chain.from_iterable(half.days for half in halves)))

    async def times(self, asks: Sequence[Ask]) -> list[EventTimes]:
        """The times of the first `max_count` events of each ask; for many tags at once if the server takes batches.

        Events outside of what was asked for prove that it was not understood, but for the ends, which a server may
        round: events there are left out. Nothing is repeated; what fails comes back with its error.
        """
        pile = list(packs(asks, self._limits, self._mode if self._mode is Mode.BATCH else Mode.SINGLE))
        gate = asyncio.Semaphore(self._workers)

        async def one(pack: list[Ask]) -> list[EventTimes]:
            async with gate:
                return await self._read(pack)

        found = await asyncio.gather(*(one(pack) for pack in pile))
        by_place = {(each.ask.tag.web_id, each.ask.start): each for each in chain.from_iterable(found)}
        return [by_place[ask.tag.web_id, ask.start] for ask in asks]

    async def all_times(self, ask: Ask) -> EventTimes:
        """The times of all events of an ask. The window is halved if an answer cannot hold them."""
        [found] = await self.times([ask])
        if not found.full and not _too_much(found.error):
            return found
        middle = (ask.start + ask.end) // 2
        if middle == ask.start or (not found.full and ask.end - ask.start <= HOUR):
            return EventTimes(
                ask, error=found.error or UnavailableError(f"tag {ask.tag.name}: too many events at once")
            )
        parts = []
        for start, end in ((ask.start, middle), (middle, ask.end)):
            parts.append(await self.all_times(Ask(ask.tag, start, end, ask.max_count)))
            if (error := parts[-1].error) is not None:
                return EventTimes(ask, error=error)
        return EventTimes(ask, parts[0].at + parts[1].at, parts[0].good + parts[1].good)

    async def _read(self, asks: list[Ask]) -> list[EventTimes]:
        if len(asks) == 1:
            request, shape = requests.stream(asks[0]), Shape.STREAM
        else:
            request, shape = requests.batch(asks, self._base_url), Shape.BATCH
        try:
            response = await self._client.send(request, check=insist_on_object)
            error = error_for(response, f"reading {_named(asks)}", tags=0 if shape is Shape.BATCH else len(asks))
            if error is not None:
                raise error
            found = decode_times(response.body, asks, shape)
        except (SplitError, RetryError, TagError) as trouble:
            return [EventTimes(ask, error=trouble) for ask in asks]
        return [_inside(each) for each in found]

    async def _count(self, asks: list[Ask]) -> list[StreamCounts]:
        """The counts of these asks. Refused tags are asked once more, in the way for values that are not numbers."""
        plain = [ask for ask in asks if ask.tag.web_id not in self._other_way]
        found = await self._ask(plain, of_anything=False) if plain else []
        odd = [counted.ask for counted in found if self._may_be_asked_otherwise(counted)]
        self._other_way.update(ask.tag.web_id for ask in odd)
        others = [ask for ask in asks if ask.tag.web_id in self._other_way]
        answered = [counted for counted in found if counted.ask.tag.web_id not in self._other_way]
        otherwise = await self._ask(others, of_anything=True) if others else []
        self._other_way_trials.made += len(odd)
        self._other_way_trials.helped |= any(c.error is None and not _says_nothing(c) for c in otherwise)
        answered += otherwise
        self.refused.update({c.ask.tag.web_id: c.error for c in answered if c.error is not None})
        return answered

    def _may_be_asked_otherwise(self, counted: StreamCounts) -> bool:
        error = counted.error
        if _says_nothing(counted):
            return not self._other_way_trials.in_vain
        return isinstance(error, TagError) and not isinstance(error, TagGoneError | TagForbiddenError)

    async def _ask(self, asks: Sequence[Ask], *, of_anything: bool) -> list[StreamCounts]:
        """Ask for no more at once than the server counts. Returns an answer for each ask, in order."""
        open_asks = [ask for ask in asks if ask.tag.web_id not in self.refused]
        pieces = [piece for ask in open_asks for piece in _cut(ask, self._most_days or days_of(ask))]
        tags = min(self._limits.tags_per_request, self._most_tags or self._limits.tags_per_request)
        found: list[StreamCounts] = []
        for pack in packs(pieces, replace(self._limits, tags_per_request=tags), self._mode):
            found += await self._try(pack, of_anything=of_anything)
        of_tags: dict[str, list[StreamCounts]] = defaultdict(list)
        for counted in found:
            of_tags[counted.ask.tag.web_id].append(counted)
        return [self._joined(ask, of_tags[ask.tag.web_id]) for ask in asks]

    def _joined(self, ask: Ask, found: Sequence[StreamCounts]) -> StreamCounts:
        """Join the parts of one ask. Days without a count are marked as such."""
        mine = [c for c in found if ask.start <= c.ask.start < ask.end]
        errors = [c.error for c in mine if c.error is not None]
        if len(errors) == len(mine):
            refusal = errors[0] if errors else self.refused[ask.tag.web_id]
            return StreamCounts(ask, error=_of_a_tag(refusal))
        if errors:
            self.reasons[ask.tag.web_id] = errors[0]
        mine.sort(key=lambda c: c.ask.start)
        days = (c.days if c.error is None else (NOT_COUNTED,) * days_of(c.ask) for c in mine)
        return StreamCounts(ask, tuple(chain.from_iterable(days)))

    async def _try(self, asks: list[Ask], *, of_anything: bool) -> list[StreamCounts]:
        """Send one request. What it does not answer is asked for in smaller requests."""
        asks = [ask for ask in asks if ask.tag.web_id not in self.refused]
        if not asks:
            return []
        if self._is_more_than_counted(asks):
            return await self._ask(asks, of_anything=of_anything)
        answered = await self._answer(asks, of_anything=of_anything)
        if isinstance(answered, TagError) and len(asks) == 1:
            return [StreamCounts(asks[0], error=answered)]
        if isinstance(answered, ExtractError):
            return await self._smaller(asks, answered, of_anything=of_anything)
        found = [counted for counted in answered if not isinstance(counted.error, SplitError | RetryError)]
        self._took(found)
        busy = [c for c in answered if isinstance(c.error, ThrottledError)]
        failed = [c for c in answered if _too_much(c.error)]
        for counted in busy:
            found += [await self._alone(counted, of_anything=of_anything)]
        if failed and len(failed) == len(asks):
            error = failed[0].error
            assert error is not None  # noqa: S101 - it is what they failed by
            found += await self._smaller(asks, error, of_anything=of_anything)
        elif failed:
            for pack in packs([c.ask for c in failed], self._limits, self._mode):
                found += await self._try(pack, of_anything=of_anything)
        return found

    def _is_more_than_counted(self, asks: Sequence[Ask]) -> bool:
        """Whether the server has refused as much as this, since these asks were packed."""
        days, tags = self._most_days, self._most_tags
        return (days is not None and max(map(days_of, asks)) > days) or (tags is not None and len(asks) > tags)

    def _took(self, found: Sequence[StreamCounts]) -> None:
        counted = {c.ask.tag.web_id for c in found if c.error is None}
        if counted:
            self._counted |= counted
            self._tags_in_vain.clear()

    async def _alone(self, counted: StreamCounts, *, of_anything: bool) -> StreamCounts:
        """Ask for one tag alone, so that a whole batch need not wait for it."""
        try:
            answered = await self._answer([counted.ask], of_anything=of_anything)
        except RetryError:
            return counted
        if isinstance(answered, ExtractError):
            return counted
        self._took(answered)
        return answered[0]

    async def _answer(self, asks: list[Ask], *, of_anything: bool) -> list[StreamCounts] | ExtractError:
        """Send one request: an answer for each ask, or the error, if asking for less may help.

        Raises every other one, and that of a source that does not answer anything at all.
        """
        try:
            request, shape = self._request(asks, of_anything)
            response = await self._client.send(request, check=insist_on_object)
            # A batch answers for its tags one by one: when it fails as a whole, that is no tag's fault.
            error = error_for(response, _named(asks), tags=0 if shape is Shape.BATCH else len(asks))
            if error is None:
                return decode_counts(response.body, asks, shape)
        except ThrottledError:
            raise
        except SplitError as split:
            return split
        except RetryError as trouble:
            error = trouble
        if isinstance(error, RetryError):
            await self._insist_on_life(error)
            return error
        if _before_pi(response):
            return _BeforePIError(error)
        if isinstance(error, SplitError | TagError):
            return error
        raise error

    async def _insist_on_life(self, trouble: RetryError) -> None:
        """Raise if the source does not answer a small request either: then it is down, and the request was not too large."""
        if isinstance(trouble, ThrottledError):
            raise trouble
        try:
            await self._client.send(requests.system())
        except RetryError:
            raise trouble from None

    async def _smaller(self, asks: list[Ask], error: ExtractError, *, of_anything: bool) -> list[StreamCounts]:
        """Ask for half the days; if it is one day, for half the tags; if it is one tag, for parts of the day."""
        days = max(map(days_of, asks))
        if days > 1:
            half = -(-days // 2)
            parts = [list(_cut(ask, half)) for ask in asks]
            tags_before = self._most_tags
            first = await self._ask([part[0] for part in parts], of_anything=of_anything)
            rest = await self._ask([part[1] for part in parts if len(part) > 1], of_anything=of_anything)
            if self._most_tags == tags_before and _all_counted(first + rest):
                self._most_days = min(half, self._most_days or half)
            return first + rest
        if len(asks) > 1:
            half = -(-len(asks) // 2)
            first = await self._ask(asks[:half], of_anything=of_anything)
            rest = await self._ask(asks[half:], of_anything=of_anything)
            if _all_counted(first + rest):
                self._most_tags = min(half, self._most_tags or half)
            return first + rest
        [ask] = asks
        found = await self._by_hours(ask, error, of_anything=of_anything)
        if isinstance(found, int):
            counted = StreamCounts(ask, (found,))
            self._took([counted])
            return [counted]
        return [StreamCounts(ask, error=self._given_up(ask, found))]

    async def _by_hours(self, ask: Ask, error: ExtractError, *, of_anything: bool) -> int | ExtractError:
        """The count of a day as the sum of its parts, or the error of the first part that fails."""
        length = ask.end - ask.start
        if length <= HOUR:
            return error
        middle = ask.start + max(HOUR, length // 2 // HOUR * HOUR)
        total = 0
        for part in (Ask(ask.tag, ask.start, middle, 1), Ask(ask.tag, middle, ask.end, 1)):
            answered = await self._answer([part], of_anything=of_anything)
            trouble = answered if isinstance(answered, ExtractError) else answered[0].error
            if trouble is not None:
                found = await self._by_hours(part, trouble, of_anything=of_anything)
                if isinstance(found, ExtractError):
                    return found
            else:
                assert not isinstance(answered, ExtractError)  # noqa: S101 - that would be trouble
                found = 0 if answered[0].days[0] == NO_DATA else answered[0].days[0]
                if found == NOT_COUNTED:
                    return error
            total += found
        return total

    def _given_up(self, ask: Ask, error: ExtractError) -> AskError:
        """The error of a day without a count. Raises if the source does not count at all."""
        if isinstance(error, _BeforePIError):
            error = error.refusal
            if isinstance(error, StopError) and not self._counted:
                raise error
        web_id = ask.tag.web_id
        self._days_in_vain[web_id] += 1
        self._tags_in_vain.add(web_id)
        if len(self._tags_in_vain) >= (_TAGS_IN_VAIN if self._counted else _TAGS_IN_VAIN_AT_FIRST):
            raise error
        self.reasons[web_id] = error
        if web_id not in self._counted or self._days_in_vain[web_id] >= _DAYS_IN_VAIN:
            self.refused[web_id] = error
        return _of_a_tag(error)

    def _request(self, asks: list[Ask], of_anything: bool) -> tuple[Request, Shape]:
        if len(asks) == 1:
            return requests.count(asks[0], of_anything=of_anything), Shape.STREAM
        if self._mode is Mode.BATCH:
            return requests.count_batch(asks, self._base_url, of_anything=of_anything), Shape.BATCH
        return requests.count_streamset(asks, of_anything=of_anything), Shape.STREAMSET


@dataclass(slots=True)
class _Trials:
    """Something that helps with some servers: whether it ever helped, and how often it was tried."""

    made: int = 0
    helped: bool = False

    @property
    def in_vain(self) -> bool:
        return not self.helped and self.made >= _TRIALS


def _cut(ask: Ask, days: int) -> Iterator[Ask]:
    """Split an ask into parts of at most so many days."""
    for start in range(ask.start, ask.end, days * DAY):
        end = min(start + days * DAY, ask.end)
        yield Ask(ask.tag, start, end, -(-(end - start) // DAY))


class _BeforePIError(SplitError):
    """A refusal by something before PI Web API, which may be one of too much at once."""

    def __init__(self, refusal: ExtractError) -> None:
        super().__init__(refusal.message, hint=refusal.hint)
        self.refusal = refusal


def _left_out(days: Sequence[int]) -> list[tuple[int, int]]:
    """Start and end of each run of days without a count."""
    found: list[tuple[int, int]] = []
    for missing, run in groupby(enumerate(days), key=lambda each: each[1] == NOT_COUNTED):
        if missing:
            indices = [place for place, _ in run]
            found.append((indices[0], indices[-1] + 1))
    return found


def _all_counted(found: Sequence[StreamCounts]) -> bool:
    return all(c.error is None and NOT_COUNTED not in c.days for c in found)


def _says_nothing(counted: StreamCounts) -> bool:
    """Whether the server has answered, without a count of any day."""
    return counted.error is None and all(day == NOT_COUNTED for day in counted.days)


def _too_much(error: ExtractError | None) -> bool:
    """Whether the request may have been too large. An overloaded server answers with errors of its own."""
    return isinstance(error, SplitError | RetryError) and not isinstance(error, ThrottledError)


def _before_pi(response: Response) -> bool:
    """Whether a refusal may come from something before PI Web API, by its limits: it is not in the words of PI."""
    if response.status not in {400, 403, 404}:
        return False
    try:
        said = parse_json(response.body)
    except ValueError:
        return True
    return not (isinstance(said, dict) and ("Errors" in said or "Message" in said))


def _of_a_tag(error: ExtractError) -> AskError:
    if isinstance(error, TagError | SplitError | RetryError):
        return error
    return TagError(error.message, hint=error.hint)


def _inside(found: EventTimes) -> EventTimes:
    """Drop events outside of the window; an error if they are too far outside to be rounding."""
    ask = found.ask
    if any(not ask.start - _ROUNDED <= at <= ask.end + _ROUNDED for at in found.at):
        error = TagError(f"tag {ask.tag.name}: the server answered events outside of the time that was asked for")
        return EventTimes(ask, error=error)
    kept = [(at, good) for at, good in zip(found.at, found.good, strict=True) if ask.start <= at < ask.end]
    return EventTimes(ask, tuple(at for at, _ in kept), tuple(good for _, good in kept), len(found.at) >= ask.max_count)


def _named(asks: Sequence[Ask]) -> str:
    first = asks[0].tag.name
    return f"tag {first}" if len(asks) == 1 else f"counting the events of {len(asks)} tags from {first}"
