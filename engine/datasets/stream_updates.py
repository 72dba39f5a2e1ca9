"""Stream updates: the server reports changes of tags behind their watermarks.

A reported change is a hint, never the truth: it says where to read again, sooner than the lookback would, and further
back. The server keeps subscriptions in memory and loses them easily, so nothing here is an error. Lost subscriptions are
renewed, and their tags are named. A server that cannot keep them is not asked again, with one warning.

Invariant: if a poll reports no change of a tag, there was none, or the tag is named as lost by this poll or a later one,
or the watch is off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias, TypeVar

from config.errors import ExtractError, RetryError, SplitError, ThrottledError, UnavailableError

from ..clock import monotonic
from ..model import Tag, Window
from ..net.client import PIClient
from ..piweb import updates
from ..piweb.http import Request, Response
from ..piweb.problems import excerpt_of, insist_on_object
from ..plan.update_subscriptions import UpdateSubscriptions
from ..plan.update_windows import windows_of

# A little less than a minute, so that cycles of one minute always poll.
SHORTEST_INTERVAL_SECS = 50.0
# Requests in flight for updates. Most of the limit is for reading values.
_IN_FLIGHT = 2
_MAX_BODY_BYTES = 16 << 20
# Larger bodies are decoded in a thread.
_INLINE_BYTES = 1 << 18
# If one WebID spoils a whole set, the set is halved, at most so often a round.
_SPLITS_PER_ROUND = 24
_LONGEST_INTERVAL_SECS = 3600.0

_log = logging.getLogger("osipi.updates")
_T = TypeVar("_T")
_Sets: TypeAlias = Iterator[tuple[Request, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class ReportedChanges:
    """What a poll reported, by WebID.

    `touched`: windows in which the source changed; the caller clips them to what is done. `lost`: tags of which a change
    may not have been reported; they are compared as without hints.
    """

    touched: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WatchStats:
    """Counts since the watch was opened. `off` is the reason why it is off; empty while it is on."""

    tags: int
    watched: int
    polls: int
    lost: int
    interval_secs: float
    off: str


@dataclass(slots=True)
class _Round:
    splits: int = _SPLITS_PER_ROUND
    stopped: bool = False  # the server asks for peace, or cannot be reached: the rest waits for the next round
    failed: str = ""  # the last reason of a tag


class UpdatesWatch:
    """The subscriptions of a process. Polls and syncs take turns. No error of the server is raised."""

    def __init__(
        self, client: PIClient, *, interval_secs: float = SHORTEST_INTERVAL_SECS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._shortest_secs = self._interval_secs = interval_secs
        self._next_at = clock()
        self._list = UpdateSubscriptions()
        self._most = updates.MOST_PER_SET
        self._turn = asyncio.Lock()
        self._off = ""
        self._polls = self._lost = 0

    def __repr__(self) -> str:
        return f"UpdatesWatch({self._off or self._list!r})"

    @classmethod
    async def open(
        cls,
        client: PIClient,
        tags: Iterable[Tag],
        *,
        interval_secs: float = SHORTEST_INTERVAL_SECS,
        clock: Callable[[], float] = monotonic,
    ) -> Self:
        """Subscribe to these tags. Changes from now on are reported, so read their past afterwards.

        `interval_secs` is the shortest time between two requests of polls. It grows if the server is overloaded.
        """
        watch = cls(client, interval_secs=interval_secs, clock=clock)
        await watch.sync(tags)
        return watch

    @property
    def watching(self) -> bool:
        """Whether polls may report something. Once this is false, it stays false."""
        return not self._off

    def statistics(self) -> WatchStats:
        return WatchStats(
            tags=len(self._list),
            watched=self._list.watched,
            polls=self._polls,
            lost=self._lost,
            interval_secs=self._interval_secs,
            off=self._off,
        )

    async def sync(self, tags: Iterable[Tag]) -> None:
        """Watch these tags and no others. Read the past of those that are new afterwards."""
        async with self._turn:
            new = [] if self._off else self._list.replace(tag.web_id for tag in tags)
            if not new:
                return
            current = _Round()
            await self._register(new, current)
            self._end(current)
            self._list.forget_loss(new)
            if unwatched := len(self._list) - self._list.watched:
                _log.warning(
                    "stream updates: %d of %d tags are not watched so far: %s",
                    unwatched,
                    len(self._list),
                    current.failed,
                )

    async def poll(self) -> ReportedChanges:
        """Changes of the tags since the last poll; nothing if it is too early to ask.

        If it is cancelled, the next poll reports its changes.
        """
        async with self._turn:
            began = self._clock()
            if not self._off and began >= self._next_at:
                self._polls += 1
                self._next_at = began + self._interval_secs
                current = _Round()
                await self._retrieve(current)
                await self._register(self._list.due(), current)
                self._end(current)
            changes = ReportedChanges(*self._list.take_changes())
            self._lost += len(changes.lost)
            if changes.lost and not self._off:
                _log.info("stream updates: %d tags were lost for a while, and are watched again", len(changes.lost))
            return changes

    # --- subscribing ---------------------------------------------------------

    async def _register(self, web_ids: Sequence[str], current: _Round) -> None:
        async def ask(request: Request, named: Sequence[str]) -> _Sets:
            answer = await self._send(request, current)
            if isinstance(answer, ExtractError):  # these tags may be at fault, or have to wait for the next round
                return self._divide(named, answer.message, current) if _is_theirs(answer) else iter(())
            if not self._list.signed_up and updates.is_unsupported(answer):
                current.stopped = True
                self._turn_off(f"this PI Web API does not offer them ({_said(answer)})")
            elif updates.is_too_long(answer) and len(named) > 1:
                return self._shorter(updates.registrations, named)
            elif not 200 <= answer.status < 300:
                return self._divide(named, _said(answer), current)
            else:
                await self._take_registrations(answer, named, current)
            return iter(())

        await _each(updates.registrations(web_ids, most=self._most), ask, current)

    async def _take_registrations(self, answer: Response, named: Sequence[str], current: _Round) -> None:
        try:
            found = await _decoded(updates.decode_registrations, answer, named)
        except UnavailableError as error:
            found = [updates.Registration(web_id, reason=error.message) for web_id in named]
        for one in found:
            if one.marker:
                self._list.registered(one.web_id, one.marker)
            else:
                current.failed = one.reason
                self._list.refused(one.web_id)

    def _divide(self, named: Sequence[str], reason: str, current: _Round) -> _Sets:
        """One WebID spoils the whole set: halve it, as long as the round allows."""
        current.failed = reason
        if len(named) == 1:
            self._list.refused(named[0])
        elif current.splits:
            current.splits -= 1
            return updates.registrations(named, most=-(-len(named) // 2))
        else:
            self._list.unanswered(len(named))
            current.stopped = current.stopped or not self._list.signed_up
        return iter(())

    # --- asking --------------------------------------------------------------

    async def _retrieve(self, current: _Round) -> None:
        web_ids = self._list.markers()

        async def ask(request: Request, markers: Sequence[str]) -> _Sets:
            for marker in markers:
                self._list.use_marker(web_ids[marker])
            answer = await self._send(request, current)
            unread = isinstance(answer, ThrottledError)
            too_long = isinstance(answer, Response) and updates.is_too_long(answer) and len(markers) > 1
            if unread or too_long:
                for marker in markers:
                    self._list.restore_marker(web_ids[marker], marker)
                return self._shorter(updates.retrievals, markers) if too_long else iter(())
            if isinstance(answer, Response):
                await self._take_retrievals(answer, markers, web_ids, current)
            elif _is_theirs(answer):
                self._list.unanswered(len(markers))
            return iter(())

        await _each(updates.retrievals(tuple(web_ids), most=self._most), ask, current)

    async def _take_retrievals(
        self, answer: Response, markers: Sequence[str], web_ids: Mapping[str, str], current: _Round
    ) -> None:
        try:
            found = await _decoded(updates.decode_retrievals, answer, markers)
        except UnavailableError as error:
            current.failed = error.message
            self._list.unanswered(len(markers))
            return
        for one in found:
            if one.marker:
                self._list.received(web_ids[one.asked], one.marker, windows_of(one.messages))
            else:
                current.failed = one.reason
                self._list.unanswered(1)

    # --- both ----------------------------------------------------------------

    async def _send(self, request: Request, current: _Round) -> Response | ExtractError:
        """The answer with any status, or the error."""
        try:
            return await self._client.send(request, max_body_bytes=_MAX_BODY_BYTES, check=insist_on_object)
        except ExtractError as error:
            current.stopped = current.stopped or not _is_theirs(error)
            current.failed = error.message
            return error

    def _shorter(self, build: Callable[..., _Sets], named: Sequence[str]) -> _Sets:
        self._most = min(self._most, -(-len(named) // 2))
        return build(named, most=self._most)

    def _end(self, current: _Round) -> None:
        """End a round: decide when to ask again, if at all."""
        self._list.end_round()
        factor = 2.0 if current.stopped else 0.5
        self._interval_secs = min(max(self._interval_secs * factor, self._shortest_secs), _LONGEST_INTERVAL_SECS)
        if current.stopped:
            self._next_at = self._clock() + self._interval_secs
        if self._list.hopeless and not self._off:
            self._turn_off(
                "most registrations fail, or are lost as soon as they are made (is there a load balancer without "
                f"affinity, or do they expire within {self._interval_secs:.0f} s?); the last reason: {current.failed}"
            )
        if self._off:
            self._list.unwatch_all()

    def _turn_off(self, why: str) -> None:
        if not self._off:
            _log.warning("stream updates are not used any more, the lookback alone finds what changed: %s", why)
        self._off = why


async def _each(sets: _Sets, ask: Callable[[Request, Sequence[str]], Awaitable[_Sets]], current: _Round) -> None:
    """Ask set by set, few at a time. Halves of earlier sets come first, the smallest before all."""
    again: list[tuple[Request, Sequence[str]]] = []

    async def walk() -> None:
        while not current.stopped:
            one = again.pop() if again else next(sets, None)
            if one is None:
                return
            again.extend(await ask(*one))

    async with asyncio.TaskGroup() as group:
        for n in range(_IN_FLIGHT):
            group.create_task(walk(), name=f"updates-{n}")


async def _decoded(
    decode: Callable[[bytes, Sequence[str]], list[_T]], answer: Response, named: Sequence[str]
) -> list[_T]:
    if len(answer.body) <= _INLINE_BYTES:
        return decode(answer.body, named)
    return await asyncio.to_thread(decode, answer.body, named)


def _is_theirs(error: ExtractError) -> bool:
    """Whether an error may be due to the tags of one set. Other errors would meet every set."""
    return isinstance(error, SplitError) or (isinstance(error, RetryError) and error.status == 500)


def _said(answer: Response) -> str:
    words = excerpt_of(answer.body)
    return f"{answer.status}: {words}" if words else str(answer.status)
