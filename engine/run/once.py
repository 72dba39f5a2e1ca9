"""A run that reads what is new, once; and one scope of it, with values or without."""

from __future__ import annotations

import asyncio

from ..clock import monotonic
from ..datasets.request_mode import choose_mode
from ..plan.run_scope import RunScope
from .context import RunContext
from .report import CycleResult
from .tag_reader import SeriesReaders


async def run_once(context: RunContext) -> CycleResult:
    return await read_scope(context, RunScope.ALL)


async def read_scope(context: RunContext, scope: RunScope) -> CycleResult:
    """Read one scope under its lease. Raises `FencedError` where another run has it."""
    if not context.datasets.series:
        return await _sync_scope(context, scope)

    async def work() -> CycleResult:
        began = monotonic()
        reader, inventory = await SeriesReaders.open(context, scope), context.inventory
        async with asyncio.TaskGroup() as beside:
            if scope is RunScope.BACKFILL:
                beside.create_task(reader.sync.behind(inventory), name="datasets")
            else:
                results = await context.sync_before_values(reader.sync, inventory)
                beside.create_task(reader.sync.beside_values(inventory, results), name="datasets")
            result = await reader.read(inventory.tags, inventory.server_now, since=began)
        await reader.optimize()
        return result

    return await context.leased(scope, work)


async def _sync_scope(context: RunContext, scope: RunScope) -> CycleResult:
    """Bring mirrors and keyed records up to date; what has a history, under the lease of the scope."""

    async def work() -> CycleResult:
        mode = await choose_mode(context.source.client, context.source.url, context.config.extraction.request_mode)
        sync = context.dataset_sync(mode, scope)
        if scope is RunScope.BACKFILL:
            await sync.behind(context.inventory)
        else:
            await context.sync_before_values(sync, context.inventory)
        return CycleResult(context.wanted.end)

    has_history = any(one.has_history for one in context.datasets.synced)
    return await (context.leased(scope, work) if has_history else context.with_tags(work))
