"""Digital states: which sets the tags of a run use, and the states of these sets. The shell around `piweb.states`.

One request lists the sets of a data server; then one POST brings the states of many of them where the server
takes batches, else one GET those of each. Invariant: every set that is wanted comes back with all of its
states, or as unread with the reason; whatever the source does, nothing is raised and nobody waits for long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from config.errors import ExtractError, SplitError

from ..net.client import PIClient
from ..piweb.http import Request
from ..piweb.paging import may_go_on
from ..piweb.problems import error_for
from ..piweb.states import (
    SYSTEM,
    SetOfStates,
    States,
    decode_batch,
    decode_sets,
    decode_states,
    rows_of,
    sets_of,
    states_batch,
    states_of,
    together,
)
from .recorded import Mode

__all__ = ["StatesRead", "StatesSource", "WantedSets", "requests_for", "sets_at_once", "sets_wanted"]

# Recorded values are read meanwhile; what is not there by then is left for the next time.
PATIENCE_SECS = 30.0


@dataclass(frozen=True, slots=True)
class WantedSets:
    """Sets of one data server, by name: those that its tags use, and the one whose states any tag may hold."""

    server: str
    web_id: str  # empty where the PI Web API does not list the server
    names: frozenset[str]

    @property
    def used(self) -> frozenset[str]:
        """Those that tags use."""
        return self.names - {SYSTEM}

    def without(self, known: Iterable[tuple[str, str]]) -> WantedSets:
        """Those that are not among the known ones, (server, set)."""
        there = {name.casefold() for server, name in known if server == self.server}
        return replace(self, names=frozenset(name for name in self.names if name.casefold() not in there))


@dataclass(frozen=True, slots=True)
class StatesRead:
    """Rows of pi_digital_states of the sets that could be read, and the other sets, with the reason.

    `doubled` are sets of which a code stands for several states.
    """

    rows: pa.Table
    unread: tuple[tuple[str, str], ...] = ()
    doubled: tuple[str, ...] = ()


def sets_wanted(rows: pa.Table, servers: Mapping[str, str]) -> tuple[WantedSets, ...]:
    """What tags use, given as rows of pi_tags. `servers`: WebIDs by name, as the PI Web API lists them."""
    web_ids = {name.casefold(): web_id for name, web_id in servers.items()}
    pairs = rows.select(["data_server", "digital_set"]).group_by(["data_server", "digital_set"]).aggregate([])
    names: dict[str, set[str]] = {}
    for server, name in zip(pairs["data_server"].to_pylist(), pairs["digital_set"].to_pylist(), strict=True):
        if server:
            found = names.setdefault(server, {SYSTEM})
            if name and name.casefold() != SYSTEM.casefold():
                found.add(name)
    return tuple(
        WantedSets(server, web_ids.get(server.casefold(), ""), frozenset(found))
        for server, found in sorted(names.items())
    )


def sets_at_once(mode: Mode, batch_size: int) -> int:
    """Of how many sets one request brings the states."""
    return batch_size if mode is Mode.BATCH else 1


def requests_for(wanted: Iterable[WantedSets], at_once: int) -> int:
    """How many requests it takes to read these sets."""
    return sum(1 + -(-len(one.names) // at_once) for one in wanted)


class StatesSource:
    """Asks for digital states, many sets at a time where batches are taken."""

    def __init__(self, client: PIClient, base_url: str, mode: Mode, *, batch_size: int) -> None:
        self._client = client
        self._base_url = base_url
        self.sets_at_once = sets_at_once(mode, batch_size)

    async def read(self, wanted: Sequence[WantedSets]) -> StatesRead:
        """Read what can be read, for as long as there is patience."""
        found: list[States] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECS):
                for one in wanted:
                    await self._read(one, found)
        late = f"no answer within {PATIENCE_SECS:g} s"
        unread = {(one.server, name.casefold()): (name, late) for one in wanted for name in one.names}
        for states in found:
            key = (states.of.server, states.of.name.casefold())
            if states.problem:
                unread[key] = (states.of.name, states.problem)
            else:
                unread.pop(key, None)
        return StatesRead(
            rows_of([states for states in found if not states.problem]),
            tuple((f"{name} of {server}", why) for (server, _), (name, why) in unread.items()),
            tuple(f"{states.of.name} of {states.of.server}" for states in found if states.doubled),
        )

    async def _read(self, wanted: WantedSets, found: list[States]) -> None:
        listed, why = await self._list(wanted)
        sets: dict[SetOfStates, None] = {}
        for name in sorted(wanted.names):
            known = listed.get(name.casefold())
            if known is None:
                found.append(States(SetOfStates(wanted.server, name, ""), problem=why))
            else:
                sets[known] = None
        for first in range(0, len(sets), self.sets_at_once):
            found += await self._states(list(sets)[first : first + self.sets_at_once])

    async def _list(self, wanted: WantedSets) -> tuple[Mapping[str, SetOfStates], str]:
        """The sets of a data server by name, and why others are not among them."""
        if not wanted.web_id:
            return {}, "this PI Web API does not list the data server"
        listed: dict[str, SetOfStates] = {}
        shown, items, has_next, why = 0, 0, False, "the data server does not list it"
        try:
            while not shown or may_go_on(items, has_next=has_next):
                body = await self._ask(sets_of(wanted.web_id, shown), "listing the digital sets")
                page = decode_sets(body, wanted.server)
                if not page.items or page.sets.keys() <= listed.keys():
                    if has_next:
                        why = "the server shows only a part of its digital sets"
                    break  # a server that ignores startIndex shows the first ones again
                listed = {**page.sets, **listed}
                items, has_next = page.items, page.has_next
                shown += items
        except ExtractError as error:
            if not shown or has_next:
                why = error.message
        return listed, why

    async def _states(self, sets: Sequence[SetOfStates]) -> list[States]:
        try:
            if len(sets) == 1:
                found = [decode_states(sets[0], await self._client.send(states_of(sets[0])))]
            else:
                body = await self._ask(states_batch(sets, self._base_url), "asking for their states")
                found = decode_batch(sets, body)
        except ExtractError as error:
            if isinstance(error, SplitError) and len(sets) > 1:
                half = len(sets) // 2
                return await self._states(sets[:half]) + await self._states(sets[half:])
            return [States(one, problem=error.message) for one in sets]
        return [await self._whole(states) for states in found]

    async def _whole(self, first: States) -> States:
        """A set that a server gives in several pages: all of it, or why not."""
        last, shown = first, first.shown
        while last.shown and may_go_on(len(last.shown), has_next=last.has_next):
            try:
                answer = await self._client.send(states_of(first.of, len(shown)))
            except ExtractError as error:
                return replace(first, names={}, problem=error.message) if last.has_next else together(first.of, shown)
            page = decode_states(first.of, answer)
            fresh = [each for each in page.shown if each not in set(shown)]
            if not fresh:
                # Nothing more, or the first ones again: all there is, unless the server has said that there is more.
                return first if last.has_next else together(first.of, shown)
            last, shown = page, (*shown, *fresh)
        return first if last is first else together(first.of, shown)

    async def _ask(self, request: Request, what: str) -> bytes:
        response = await self._client.send(request)
        error = error_for(response, what)
        if error is not None:
            raise error
        return response.body
