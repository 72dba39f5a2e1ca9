"""A run that reads windows again, and makes the table equal to the source there.

Other runs of the pipeline may be at work. The final windows, which no run compares again, come first; then, if no
other run holds the lease, the recent ones, which every run compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from config.errors import FencedError
from writers import RepairLanding

from ..clock import monotonic
from ..datasets.recorded_values import RECORDED
from ..model import Tag, Window
from ..plan.run_scope import RunScope
from .context import RunContext
from .plan_runner import PlanRunner
from .plans import repairs_of, split_final
from .report import CycleResult
from .tag_reader import landing_of

Suspects: TypeAlias = Sequence[tuple[Tag, Window]]
# How often windows are read again that other writers have corrected meanwhile.
_ROUNDS = 3


async def run_repair(context: RunContext, suspects: Suspects) -> CycleResult:
    final = await context.leased(RunScope.REPAIR, partial(_repair_final, context, suspects))
    _, recent = split_final(context.config, suspects, context.watermarks)
    if final.stopped or context.stop.asked or not recent:
        return final
    try:
        return final.then(await context.leased(RunScope.ALL, partial(_repair_recent, context, suspects)))
    except FencedError as busy:
        context.warn([f"{busy.message} What every run compares with the source itself is left to it."])
        return final


async def _repair_final(context: RunContext, suspects: Suspects) -> CycleResult:
    """Repair the final windows, and again those that other writers corrected meanwhile."""
    began = monotonic()
    landing = RepairLanding(context.lakehouse, RECORDED.table, context.landing_run(RunScope.REPAIR))
    context.watermarks = await context.blocking(landing.open)
    runner = await PlanRunner.open(context, RunScope.REPAIR, landing)
    suspects, _ = split_final(context.config, suspects, context.watermarks)
    result = CycleResult(context.wanted.end)
    for _ in range(_ROUNDS):
        windows = [(tag.web_id, window.start, window.end) for tag, window in suspects]
        await context.blocking(partial(landing.watch, windows))
        last = await _repair(context, runner, suspects, began)
        suspects = [(tag, window) for tag, window in suspects if tag.web_id in last.stale]
        still = {*last.unfinished, *(tag.web_id for tag, _ in suspects)}
        result = replace(result.then(last), unfinished=still)
        if not suspects or last.stopped or context.stop.asked:
            break
        context.watermarks = await context.blocking(landing.open)
    await context.optimize(result.partitions)
    return result


async def _repair_recent(context: RunContext, suspects: Suspects) -> CycleResult:
    """Repair the recent windows, while no other run is at work."""
    began = monotonic()
    landing = landing_of(context, RunScope.ALL)
    context.watermarks = await context.blocking(landing.open)
    runner = await PlanRunner.open(context, RunScope.ALL, landing)
    _, recent = split_final(context.config, suspects, context.watermarks)
    result = await _repair(context, runner, recent, began)
    await context.optimize(result.partitions)
    return result


async def _repair(context: RunContext, runner: PlanRunner, suspects: Suspects, since: float) -> CycleResult:
    plan = repairs_of(context.config, suspects, context.watermarks, runner.limits)
    inventory = context.inventory
    return await runner.run(plan, tags=len(inventory.tags), now=inventory.server_now, since=since)
