"""What the tables say of points and states, beside their values: pi_tags and pi_digital_states of one run.

Invariant: pi_tags is up to date before values are read, and calls a point gone only if the source has said so of it. pi_digital_states is no condition of theirs: whatever
happens to it is a warning, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

import pyarrow as pa

from config import Extraction
from config.errors import ExtractError
from writers import (
    Lakehouse,
    Replaced,
    SyncReceipt,
    missing_tags,
    newly_replaced,
    replaced_tags,
    sets_seen_today,
    sync_states,
    sync_tags,
)

from .datasets.missing import look_for, to_look_for
from .datasets.states import StatesSource, WantedSets, requests_for
from .datasets.tags import Inventory
from .flow.stop import Stop
from .model import Micros
from .net.client import PIClient
from .plan.shards import Shard
from .telemetry.events import Emit, StatesSynced, TagsSynced

__all__ = ["Metadata", "TagsKept", "reads_states", "sets_due"]

# Every run may ask so many requests for digital states; where they cost more, they are asked once a day.
AFFORDABLE = 10
_REPLACED_NAMED = 20
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


@dataclass(frozen=True, slots=True)
class TagsKept:
    """What pi_tags says after it was brought up to date: which points replace which other ones, by WebID; which ones
    a list has left out that are there; and what is to be said of it.
    """

    replaces: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()
    warnings: tuple[str, ...] = ()


def _words(replaced: Sequence[Replaced], skipped: int) -> Iterator[str]:
    for one in replaced[:_REPLACED_NAMED]:
        yield (
            f"tag {one.name} was created anew: {one.web_id} replaces {one.replaces}, whose rows stay; "
            "extraction.recreated_tags says where the new one begins"
        )
    if len(replaced) > _REPLACED_NAMED:
        yield f"{len(replaced) - _REPLACED_NAMED:,} more tags were created anew: pi_tags.replaces names them"
    if skipped:
        were = "1 tag was" if skipped == 1 else f"{skipped:,} tags were"
        yield (
            f"{were} not in the server's list, and are there when asked for alone: the next run reads them, and one that "
            "follows them reads on"
        )


class Metadata:
    """Keeps both tables of a lakehouse. `writer` is where its tables are touched, by one call at a time."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        shard: Shard,
        states: StatesSource,
        writer: Executor,
        *,
        client: PIClient,
        extraction: Extraction,
        emit: Emit,
        stop: Stop,
    ) -> None:
        self._lakehouse = lakehouse
        self._client = client
        self._extraction = extraction
        self._shard = shard
        self._states = states
        self._writer = writer
        self._emit = emit
        self._stop = stop

    async def sync_tags(self, inventory: Inventory, *, on_step: OnStep) -> TagsKept:
        """Bring pi_tags up to date. Raises what the destination raises.

        Points that are missing are asked for alone before it is said of them that they are gone.
        """
        first = await self._blocking(partial(self._sync_tags, inventory, inventory.rows, (), on_step))
        last, told = first, newly_replaced(first)
        missing = missing_tags(first, inventory.rows)
        wanted = to_look_for(missing, self._extraction, inventory, self._shard)
        left_out: Collection[str] = ()
        if wanted:
            looked = await look_for(self._client, wanted, inventory.tags[0].web_id if inventory.tags else None)
            if looked.gone or looked.rows.num_rows:
                last = await self._blocking(partial(self._sync_tags, inventory, looked.rows, looked.gone, on_step))
                told += newly_replaced(last)
                left_out = to_look_for(looked.rows, self._extraction, inventory, self._shard)
        changed = first.changed + (last.changed if last is not first else 0)
        self._emit(TagsSynced(first.added, changed, last.missing))
        return TagsKept(replaced_tags(last), frozenset(left_out), tuple(_words(told, len(left_out))))

    def _sync_tags(self, inventory: Inventory, rows: pa.Table, gone: Collection[str], on_step: OnStep) -> SyncReceipt:
        return sync_tags(self._lakehouse, rows, now=inventory.server_now, gone=gone, on_step=on_step)

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
