"""Reads what is new of tags, series by series, in one scope of a run, as often as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from writers import Digest, Landing, WatermarkStore, window_digests

from ..clock import wall_micros
from ..datasets.recorded_values import RECORDED
from ..datasets.sync import DatasetSync
from ..model import Micros, Tag, Window
from ..plan.run_scope import RunScope
from ..plan.timeline import HOUR
from .context import RunContext
from .plan_runner import PlanRunner
from .plans import plan_of, windows_to_digest
from .report import CycleResult
from .tag_claims import TagClaims

# Later than any hole is due.
_ANY_TIME = 1 << 62


def landing_of(context: RunContext, scope: RunScope) -> Landing:
    """Where the rows of a scope go."""
    return Landing(context.lakehouse, context.series.table, context.landing_run(scope))


@dataclass(frozen=True, slots=True)
class TagReader:
    """The reader of one series in one scope, whose lease is held."""

    context: RunContext
    scope: RunScope
    landing: Landing
    claims: TagClaims
    runner: PlanRunner

    @classmethod
    async def open(cls, context: RunContext, scope: RunScope) -> Self:
        """Open the tables, make sure that no tag is another pipeline's, and find out how the server is to be asked.

        Raises `ConfigurationError` for tags of other pipelines, and what tables and source raise.
        """
        landing = landing_of(context, scope)
        claims = TagClaims(
            context.lakehouse,
            context.landing_run(scope),
            series=context.series,
            take_over=None if scope is RunScope.BACKFILL else context.take_over,
        )
        context.watermarks = await context.blocking(partial(_open, context, scope, landing, claims))
        runner = await PlanRunner.open(context, scope, landing)
        return cls(context, scope, landing, claims, runner)

    async def read(
        self, tags: Sequence[Tag], now: Micros, *, since: float, suspects: Sequence[tuple[Tag, Window]] = ()
    ) -> CycleResult:
        """Read these tags up to the server's `now`, less the lag, and `suspects` again; land what came.

        Planning is timed from `since` on. Raises what the destination raises.
        """
        context = self.context
        plan = plan_of(
            context.config,
            tags,
            context.watermarks,
            {} if self.scope is RunScope.BACKFILL else await self._digests(tags),
            now=now,
            scope=self.scope,
            suspects=suspects,
            replaces=context.replaces,
            holes_due_at=_ANY_TIME if context.retry_holes else wall_micros(),
            keeps_holes=self.landing.keeps_holes,
            limits=self.runner.limits,
        )
        return await self.runner.run(plan, tags=len(tags), now=now, since=since)

    async def _digests(self, tags: Sequence[Tag]) -> Mapping[str, Digest]:
        """Digests of what the table holds where it is to be compared with the source."""
        windows = windows_to_digest(self.context.config, tags, self.context.watermarks)
        if not windows:
            return {}
        table = self.context.lakehouse.table(self.context.series.table)
        return await self.context.blocking(lambda: window_digests(table.open(), windows))


@dataclass(frozen=True, slots=True)
class SeriesReaders:
    """The readers of all series of a run in one scope, and what keeps its other datasets up to date.

    In results tags stand for their series. A series that the server refuses is held back for a while, by its id: until
    when.
    """

    readers: tuple[TagReader, ...]
    sync: DatasetSync
    _held: dict[str, Micros] = field(default_factory=dict)
    _partitions: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    async def open(cls, context: RunContext, scope: RunScope) -> Self:
        """Open the readers, one after the other. Raises as `TagReader.open`."""
        readers = [await TagReader.open(one, scope) for one in context.each_series()]
        return cls(tuple(readers), context.dataset_sync(readers[0].runner.mode, scope))

    @property
    def claims(self) -> Mapping[str, TagClaims]:
        """By name of the series."""
        return {one.context.series.name: one.claims for one in self.readers}

    async def read(
        self, tags: Sequence[Tag], now: Micros, *, since: float, suspects: Sequence[tuple[Tag, Window]] = ()
    ) -> CycleResult:
        """Read these tags in all series, as `TagReader.read`. `suspects` are of recorded values."""
        web_ids = {tag.web_id for tag in tags}
        result: CycleResult | None = None
        for reader in self.readers:
            context = reader.context
            if result is not None and (result.stopped is not None or context.stop.asked):
                break
            own = [
                tag
                for tag in context.inventory.tags
                if point_of(tag) in web_ids and self._held.get(tag.web_id, now) <= now
            ]
            suspected = suspects if context.series is RECORDED else ()
            found = await reader.read(own, now, since=since, suspects=suspected)
            name = context.series.name
            self._partitions[name] = self._partitions.get(name, frozenset()) | found.partitions
            if context.series is not RECORDED:
                found = self._of_points(found, own, now)
            result = found if result is None else result.then(found)
        assert result is not None  # noqa: S101 - a run without series has no readers
        return result

    def _of_points(self, found: CycleResult, own: Sequence[Tag], now: Micros) -> CycleResult:
        """The same result in terms of tags. Tags whose series fail are not held back for it: they have values to read."""
        self._held.update((web_id, now + HOUR) for web_id in found.failed)
        if not found.unfinished:
            return replace(found, failed={})
        unfinished = {point_of(tag) for tag in own if tag.web_id in found.unfinished}
        failed = {point_of(tag) for tag in own if tag.web_id in found.failed}
        return replace(found, failed={}, unfinished=unfinished - failed)

    async def optimize(self) -> None:
        """Compact what was written, as configured."""
        for reader in self.readers:
            await reader.context.optimize(self._partitions.get(reader.context.series.name, frozenset()))


def point_of(tag: Tag) -> str:
    """The WebID of the tag itself, where `tag` may be a sampled series of it."""
    return tag.web_id if tag.sampling is None else tag.sampling.web_id


def _open(context: RunContext, scope: RunScope, landing: Landing, claims: TagClaims) -> WatermarkStore:
    """Open a landing whose tags are ours. A backfill reads no tag that is new. Blocks."""
    tags = context.inventory.tags
    context.warn(claims.take_over(tags))
    watermarks = landing.open()
    claims.claim(landing, watermarks, tags, claims_new=scope is not RunScope.BACKFILL)
    return watermarks
