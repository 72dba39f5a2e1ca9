"""Runs a plan: connects the source to the landing by a pipeline, and says what became of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from ..clock import monotonic, wall_micros
from ..datasets.dataset import SeriesSource
from ..datasets.request_mode import Mode
from ..flow.channel import Channel
from ..flow.committer import CommitStarter, Committer, Delivery
from ..flow.pipeline import Pipeline, PipelineResult
from ..model import Micros
from ..plan.planner import Plan
from ..plan.run_scope import RunScope
from ..plan.tag_cursor import RequestLimits
from ..telemetry.events import Planned
from .context import RunContext
from .plans import limits_of, sample_of, wanted_window
from .report import CycleResult


class PlanRunner:
    """Runs the plans of one scope. What one plan learns of the server's limits holds for the next one."""

    def __init__(self, context: RunContext, scope: RunScope, landing: CommitStarter, source: SeriesSource) -> None:
        self._context = context
        self._scope = scope
        self._landing = landing
        self._source = source

    @classmethod
    async def open(cls, context: RunContext, scope: RunScope, landing: CommitStarter) -> Self:
        """Find out how the server is to be asked. Raises what asking raises."""
        inventory = context.inventory
        source = await context.series.open(
            context.source.client,
            context.source.url,
            context.config.extraction.request_mode,
            context.decoding,
            now=wall_micros,
            sample=sample_of(context.config, inventory.tags, context.watermarks, inventory.server_now),
        )
        return cls(context, scope, landing, source)

    @property
    def mode(self) -> Mode:
        """How values are asked for now."""
        return self._source.mode

    @property
    def limits(self) -> RequestLimits:
        """How much a request may ask for: as configured, or less, as far as this server has taught the run."""
        configured, learnt = limits_of(self._context.config, self.mode), self._context.limits
        return configured if learnt is None else replace(learnt, one_window=configured.one_window)

    async def run(self, plan: Plan, *, tags: int, now: Micros, since: float) -> CycleResult:
        """Read up to the server's `now`, less the lag. Raises what the destination raises.

        Of `tags` the plan is about some; it was made since `since`.
        """
        context = self._context
        until = wanted_window(context.config, None, now).end
        context.stop.heed()
        context.emit(
            Planned(
                context.series.name,
                tags=plan.tags_unfinished,
                tags_done=tags - plan.tags_unfinished,
                expected_values=round(plan.expected_values),
                start=plan.earliest,
                until=until,
                seconds=monotonic() - since,
            )
        )
        result = await self._pipe(plan)
        context.limits = result.limits
        committed = result.committed
        return CycleResult(
            until,
            committed.rows,
            committed.partitions,
            result.failed,
            result.unfinished,
            result.stopped,
            committed.stale,
        )

    async def _pipe(self, plan: Plan) -> PipelineResult:
        context = self._context
        performance = context.config.performance
        backfill = self._scope is RunScope.BACKFILL
        age = performance.backfill_commit_seconds if backfill else performance.commit_seconds
        channel: Channel[Delivery] = Channel(performance.buffer_bytes)
        committer = Committer(
            self._landing,
            channel,
            dataset=context.series.name,
            commit_rows=performance.backfill_commit_rows if backfill else performance.commit_rows,
            commit_secs=age.total_seconds(),
            writer=context.writer,
            emit=context.emit,
        )
        pipeline = Pipeline(
            plan,
            self._source,
            channel,
            committer,
            dataset=context.series.name,
            fetchers=performance.fetchers or context.config.pi_web_api.max_in_flight,
            emit=context.emit,
            stop=context.stop,
            waited_secs=self._source.waited_secs,
        )
        return await pipeline.run()
