"""The way from the source into a table, for one part of a run: a plan goes in, and what became of it comes out.

Knows when rows are committed, not which ones are read. Invariant: a plan is told of before anything is asked.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Executor
from dataclasses import dataclass

from config import Config

from .clock import monotonic
from .datasets.recorded import RecordedSource
from .flow.channel import Channel
from .flow.committer import Committer, Delivery, Lands
from .flow.pipeline import Pipeline
from .flow.stop import Stop
from .follow import Cycle
from .model import Micros
from .plan.parts import Part
from .plan.planner import Plan
from .telemetry.events import Committed, Emit, Event, Planned, TagFailed
from .wiring import wanted_window

__all__ = ["Way"]


@dataclass(frozen=True, slots=True)
class Way:
    """What carrying out plans takes. `writer` is the one thread that touches the tables."""

    config: Config
    part: Part
    recorded: RecordedSource
    landing: Lands
    writer: Executor
    emit: Emit
    stop: Stop

    async def carry_out(self, plan: Plan, *, tags: int, now: Micros, since: float) -> tuple[Cycle, Collection[str]]:
        """Read up to the server's `now`, less the lag. Gives also the tags that a repair has to read once more.

        Of `tags` the plan is about some; it was made since `since`. Raises what the destination raises.
        """
        until = wanted_window(self.config, None, now).end
        self.emit(
            Planned(
                tags=plan.tags_unfinished,
                tags_done=tags - plan.tags_unfinished,
                expected_values=round(plan.expected_values),
                start=plan.earliest,
                until=until,
                seconds=monotonic() - since,
            )
        )
        failed: dict[str, str] = {}
        rows = 0

        def emit(event: Event) -> None:
            nonlocal rows
            if isinstance(event, TagFailed):
                failed[event.web_id] = event.tag
            elif isinstance(event, Committed):
                rows += event.rows
            self.emit(event)

        committer = await self._pump(plan, emit)
        return Cycle(until, rows, failed, plan.tags_unfinished, plan.stopped), committer.stale

    async def _pump(self, plan: Plan, emit: Emit) -> Committer:
        performance = self.config.performance
        back = self.part is Part.BACK
        age = performance.backfill_commit_seconds if back else performance.commit_seconds
        channel: Channel[Delivery] = Channel(performance.buffer_bytes)
        committer = Committer(
            self.landing,
            channel,
            commit_rows=performance.backfill_commit_rows if back else performance.commit_rows,
            commit_secs=age.total_seconds(),
            writer=self.writer,
            emit=emit,
        )
        fetchers = performance.fetchers or self.config.pi_web_api.max_in_flight
        pipeline = Pipeline(
            plan,
            self.recorded,
            channel,
            committer,
            fetchers=fetchers,
            emit=emit,
            stop=self.stop,
            waited_secs=self.recorded.waited_secs,
        )
        await pipeline.run()
        return committer
