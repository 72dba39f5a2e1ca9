"""A run over the whole configured window: first forward, for what is new, then backfill, for the history before it.

Each has a lease of its own, so that live runs of the pipeline go on beside a long backfill.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from config.errors import FencedError

from ..plan.run_scope import RunScope
from .context import RunContext
from .once import read_scope
from .report import CycleResult
from .tag_reader import point_of

LOG = logging.getLogger("osipi.run")


async def run_full(context: RunContext) -> CycleResult:
    try:
        forward = await read_scope(context, RunScope.FORWARD)
    except FencedError as busy:
        if any(one.watermarks for one in context.each_series()) or context.take_over:
            raise  # another run came in between, or must not be at work
        LOG.warning("%s Only the history before what is done is read beside it.", busy.message)
        forward = CycleResult(context.wanted.end)
    if forward.stopped or context.stop.asked:
        return forward
    result = forward.then(await read_scope(context, RunScope.BACKFILL))
    if context.wanted.start >= context.wanted.end or not context.datasets.series:
        return result
    # A backfill starts at a watermark: a tag that was never read waits for a forward run.
    never_read = {
        point_of(tag) for one in context.each_series() for tag in one.inventory.tags if tag.web_id not in one.watermarks
    }
    return replace(result, unfinished={*result.unfinished, *never_read})
