"""What the tables say of points and states, beside their values: pi_tags and pi_digital_states of one run.

Invariant: pi_tags is up to date before values are read. pi_digital_states is no condition of theirs: whatever
happens to it is a warning, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeAlias, TypeVar

from config.errors import ExtractError
from writers import Lakehouse, sets_seen_today, sync_states, sync_tags

from .datasets.states import StatesSource, WantedSets, requests_for
from .datasets.tags import Inventory
from .flow.stop import Stop
from .model import Micros
from .plan.shards import Shard
from .telemetry.events import Emit, StatesSynced, TagsSynced

__all__ = ["Metadata", "reads_states", "sets_due"]

# Every run may ask so many requests for digital states; where they cost more, they are asked once a day.
AFFORDABLE = 10
R = TypeVar("R")
OnStep: TypeAlias = Callable[[str], None]


def reads_states(shard: Shard) -> bool:
    """Whether this shard is the one that reads digital states, for the tags of all: they share the same sets, so
    that every shard would ask for nearly all of them, and get in the way of the others when it writes.
    """
    return shard.index == 0


def sets_due(lakehouse: Lakehouse, sets: Sequence[WantedSets], at_once: int, *, now: Micros) -> list[WantedSets]:
    """The sets to be asked for: all, where tags use some and that is cheap; else those not read today. Blocks.

    `at_once`: of how many sets one request brings the states.
    """
    if not sets or (any(one.used for one in sets) and requests_for(sets, at_once) <= AFFORDABLE):
        return list(sets)
    known = sets_seen_today(lakehouse, now=now)
    return [left for one in sets if (left := one.without(known)).names]


class Metadata:
    """Keeps both tables of a lakehouse. `writer` is where its tables are touched, by one call at a time."""

    def __init__(
        self, lakehouse: Lakehouse, shard: Shard, states: StatesSource, writer: Executor, *, emit: Emit, stop: Stop
    ) -> None:
        self._lakehouse = lakehouse
        self._shard = shard
        self._states = states
        self._writer = writer
        self._emit = emit
        self._stop = stop

    async def sync_tags(self, inventory: Inventory, *, on_step: OnStep) -> None:
        """Bring pi_tags up to date. Raises what the destination raises."""
        receipt = await self._blocking(
            partial(
                sync_tags,
                self._lakehouse,
                inventory.rows,
                now=inventory.server_now,
                complete=inventory.complete and self._shard.count == 1,
                on_step=on_step,
            )
        )
        self._emit(TagsSynced(receipt.added, receipt.changed, receipt.missing))

    async def sync_states(self, inventory: Inventory, *, on_step: OnStep) -> None:
        """Bring pi_digital_states up to date, for the tags of all shards. Gives up when asked to stop.

        Raises nothing that source or destination raise.
        """
        if not reads_states(self._shard):
            return
        now = inventory.server_now
        try:
            due = partial(sets_due, self._lakehouse, inventory.sets, self._states.sets_at_once, now=now)
            wanted = await self._blocking(due)
            read = await self._stop.unless_asked(self._states.read(wanted)) if wanted else None
            if read is None:  # nothing is due, or we are to stop
                return
            receipt = await self._blocking(partial(sync_states, self._lakehouse, read.rows, now=now, on_step=on_step))
        except ExtractError as error:
            self._emit(StatesSynced(problem=str(error)))
        else:
            counts = (receipt.added, receipt.changed, receipt.missing)
            self._emit(StatesSynced(*counts, unread=read.unread, doubled=read.doubled))

    async def _blocking(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._writer, call)
