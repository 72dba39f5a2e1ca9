"""The dataset `digital_states`: pi_digital_states, the states of the digital sets that the tags use.

One request lists the sets of a data server. Then one POST reads the states of many sets if the server takes batches,
else one GET reads each set. Invariant: every wanted set comes back with all of its states, or as unread with the
reason. An error of the source is never raised here, and reading takes half a minute at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from config.errors import ExtractError, SplitError
from writers import PI_DIGITAL_STATES, Lakehouse, note_sets_read, sets_seen_today, sync_states

from ..model import Micros
from ..net.client import PIClient
from ..piweb.paging import may_go_on
from ..piweb.problems import insist_on_object
from ..piweb.states import (
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
from ..plan.shards import Shard
from .dataset import SyncContext, SyncedDataset, SyncResult
from .halving import ask, ask_by_halves
from .request_mode import Mode
from .tags import WantedSets

_log = logging.getLogger("osipi.run")
# Longest time for reading states. What has not come by then is left for the next run.
PATIENCE_SECS = 30.0
# Every run may ask so many requests for digital states; where they cost more, they are asked once a day.
AFFORDABLE = 10


@dataclass(frozen=True, slots=True)
class StatesResult:
    """Rows of pi_digital_states of the sets that could be read, and the other sets, with the reason.

    `doubled` are sets of which a code stands for several states.
    """

    rows: pa.Table
    unread: tuple[tuple[str, str], ...] = ()
    doubled: tuple[str, ...] = ()


def sets_at_once(mode: Mode, batch_size: int) -> int:
    """How many sets one request reads."""
    return batch_size if mode is Mode.BATCH else 1


def requests_for(wanted: Iterable[WantedSets], at_once: int) -> int:
    """How many requests it takes to read these sets."""
    return sum(1 + -(-len(one.names) // at_once) for one in wanted)


def reads_states(shard: Shard) -> bool:
    """Whether this shard is the one that reads digital states, for the tags of all: they share the same sets, so
    that every shard would ask for nearly all of them, and get in the way of the others when it writes.
    """
    return shard.index == 0


def asked_once_a_day(sets: Sequence[WantedSets], at_once: int) -> bool:
    """Whether a set is asked for once a day: where no tag uses any, or all of them take many requests."""
    return bool(sets) and not (any(one.used for one in sets) and requests_for(sets, at_once) <= AFFORDABLE)


def sets_due(
    lakehouse: Lakehouse, sets: Sequence[WantedSets], at_once: int, *, pipeline: str, now: Micros
) -> list[WantedSets]:
    """The sets to be asked for: all, or, where they are asked for once a day, those not read today. Blocks.

    `at_once`: of how many sets one request brings the states.
    """
    if not asked_once_a_day(sets, at_once):
        return list(sets)
    known = sets_seen_today(lakehouse, pipeline=pipeline, now=now)
    return [left for one in sets if (left := one.without(known)).names]


class StatesSource:
    """Asks for digital states, many sets at a time where batches are taken."""

    def __init__(self, client: PIClient, base_url: str, mode: Mode, *, batch_size: int) -> None:
        self._client = client
        self._base_url = base_url
        self.sets_at_once = sets_at_once(mode, batch_size)

    async def read(self, wanted: Sequence[WantedSets]) -> StatesResult:
        """Read these sets, within the time limit."""
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
        return StatesResult(
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
            for states in await ask_by_halves(list(sets)[first : first + self.sets_at_once], self._states):
                found += states

    async def _list(self, wanted: WantedSets) -> tuple[Mapping[str, SetOfStates], str]:
        """The sets of a data server by name, and the reason why other sets are not among them."""
        if not wanted.web_id:
            return {}, "this PI Web API does not list the data server"
        listed: dict[str, SetOfStates] = {}
        shown, items, has_next, why = 0, 0, False, "the data server does not list it"
        try:
            while not shown or may_go_on(items, has_next=has_next):
                page = await ask(
                    self._client,
                    sets_of(wanted.web_id, shown),
                    "listing the digital sets",
                    lambda answer: decode_sets(answer.body, wanted.server),
                )
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
        """The states of these sets. Raises `SplitError` where several are too much at once."""
        try:
            if len(sets) == 1:
                found = [decode_states(sets[0], await self._client.send(states_of(sets[0]), check=insist_on_object))]
            else:
                found = await ask(
                    self._client,
                    states_batch(sets, self._base_url),
                    "asking for their states",
                    lambda answer: decode_batch(sets, answer.body),
                )
        except ExtractError as error:
            if isinstance(error, SplitError) and len(sets) > 1:
                raise
            return [States(one, problem=error.message) for one in sets]
        whole: list[States] = []
        for states in found:
            if states.weak and len(found) > 1:  # a part of a batch that is missing, or came too late
                whole += await self._states([states.of])
            else:
                whole.append(await self._whole(states))
        return whole

    async def _whole(self, first: States) -> States:
        """All pages of a set, or the reason why they cannot be read."""
        last, shown = first, first.shown
        while last.shown and may_go_on(len(last.shown), has_next=last.has_next):
            try:
                answer = await self._client.send(states_of(first.of, len(shown)), check=insist_on_object)
            except ExtractError as error:
                return replace(first, names={}, problem=error.message) if last.has_next else together(first.of, shown)
            page = decode_states(first.of, answer)
            fresh = [each for each in page.shown if each not in set(shown)]
            if not fresh:
                # Nothing more, or the first ones again: all there is, unless the server has said that there is more.
                return first if last.has_next else together(first.of, shown)
            last, shown = page, (*shown, *fresh)
        return first if last is first else together(first.of, shown)


async def _sync(context: SyncContext) -> SyncResult | None:
    """Bring pi_digital_states up to date, for the tags of all shards. None where nothing is due, or the run stops."""
    if not reads_states(context.shard):
        return None
    now, source = (
        context.inventory.server_now,
        StatesSource(context.client, context.base_url, context.mode, batch_size=context.extraction.batch_size),
    )
    pipeline, at_once = context.config.pipeline, source.sets_at_once
    due = partial(sets_due, context.lakehouse, context.inventory.sets, at_once, pipeline=pipeline, now=now)
    wanted = await context.blocking(due)
    read = await context.stop.unless_asked(source.read(wanted)) if wanted else None
    if read is None:
        return None
    write = partial(sync_states, context.lakehouse, read.rows, now=now, on_step=context.on_step)
    receipt = await context.blocking(write)
    if asked_once_a_day(context.inventory.sets, at_once):
        columns = (read.rows[name].to_pylist() for name in ("data_server", "digital_set"))
        sets = set(zip(*columns, strict=True))
        note = partial(note_sets_read, context.lakehouse, sets, pipeline=pipeline, run_id=context.run_id, now=now)
        await context.blocking(note)
    if read.doubled:
        _log.warning(
            "digital sets have several states of one code, of which the first by name is taken: %s",
            ", ".join(read.doubled),
        )
    return SyncResult(added=receipt.added, changed=receipt.changed, missing=receipt.missing, unread=read.unread)


DIGITAL_STATES = SyncedDataset(name="digital_states", tables=(PI_DIGITAL_STATES,), sync=_sync, beside_values=True)
