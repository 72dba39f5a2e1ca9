"""Makes sure that no two pipelines read a tag into the same table. Blocks.

`writers.landing.tag_owners` decides and commits. Invariant: a run reads no tag that another pipeline has.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from config import Config
from config.errors import ConfigurationError
from writers import Handover, Held, Lakehouse, Landing, LandingRun, TagOwners, WatermarkStore, refuse

from ..datasets.dataset import SeriesDataset
from ..datasets.recorded_values import RECORDED
from ..datasets.tags import Inventory
from ..model import Tag

LOG = logging.getLogger("osipi.run")
_SHOWN = 5


def refuse_held(config: Config, lakehouse: Lakehouse, tags: Sequence[Tag], series: SeriesDataset = RECORDED) -> None:
    """Raise `ConfigurationError` where another pipeline has brought any of these tags into the table; change nothing."""
    owners = TagOwners(lakehouse, series.table, LandingRun(pipeline=config.pipeline, dataset=series.name, run_id=""))
    _refuse(owners.held([tag.web_id for tag in tags]), tags, config.pipeline, owners.table)


class TagClaims:
    """The claims of one run. `take_over` names a pipeline whose selected tags pass to this one."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        run: LandingRun,
        *,
        series: SeriesDataset = RECORDED,
        take_over: str | None = None,
    ) -> None:
        self._run = run
        self._series = series
        self._lakehouse = lakehouse
        self._take_over = take_over
        self._owners = TagOwners(lakehouse, series.table, run)
        self._landing: Landing | None = None

    def take_over(self, tags: Sequence[Tag]) -> tuple[str, ...]:
        """Take over tags, as configured, before the watermarks are read. Give warnings."""
        source = self._take_over
        if source is None:
            return ()
        try:
            if not self._owners.check_source(source):
                return ()
        except ConfigurationError as error:
            if self._series is RECORDED or source == self._run.pipeline:
                raise
            return (error.message,)  # recorded values may be taken over from a pipeline that samples nothing
        giver = LandingRun(
            pipeline=source, dataset=self._run.dataset, run_id=self._run.run_id, on_step=self._run.on_step
        )
        handover = Handover(self._lakehouse, self._series.table, giver)
        found = handover.hand_over([tag.web_id for tag in tags], self._run.pipeline)
        if found.tags:
            LOG.info("%d tags were taken over from pipeline %s", found.tags, source)
        if not found.doubled:
            return ()
        names = [tag.name for tag in tags if tag.web_id in set(found.doubled)]
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        warning = (
            f"{source} and {self._run.pipeline} had both brought {', '.join(names[:_SHOWN])}{more}: events may be there "
            "twice, or missing between what the two had read. `verify --repair` finds both, and puts them right."
        )
        return (warning,)

    def claim(
        self, landing: Landing, watermarks: WatermarkStore, tags: Sequence[Tag], *, claims_new: bool = True
    ) -> None:
        """Make sure of the tags before they are read. Raises `ConfigurationError` naming those of others."""
        self._landing = landing
        web_ids = [tag.web_id for tag in tags]
        held = (
            self._owners.claim(web_ids, watermarks, landing.checkpoint)
            if claims_new
            else self._owners.held(web_ids, landing.checkpoint)
        )
        _refuse(held, tags, self._run.pipeline, self._owners.table)

    def leave_out_claimed(self, watermarks: WatermarkStore, found: Inventory) -> Inventory:
        """Claim tags that were found while the run goes on. Tags of other pipelines are left out, and listed as
        unresolved: they do not end the run.
        """
        if self._landing is None:
            return found
        web_ids = [tag.web_id for tag in found.tags]
        # By a fresh snapshot: that of the landing is as old as the last commit.
        held = self._owners.claim(web_ids, watermarks, self._landing.checkpoint, leave_out=True)
        owner = {web_id: one.pipeline for one in held for web_id in one.web_ids}
        if not owner:
            return found
        claimed = [(tag.name, _why_left_out(owner[tag.web_id])) for tag in found.tags if tag.web_id in owner]
        for name, why in claimed:
            LOG.warning("%s is not read: %s", name, why)
        # The rows stay: the points exist, and pi_tags says so.
        tags = tuple(tag for tag in found.tags if tag.web_id not in owner)
        return replace(found, tags=tags, unresolved=(*found.unresolved, *claimed))


def _why_left_out(pipeline: str) -> str:
    return f"pipeline {pipeline} brings it into this table already; leave it out, or take it over (run --take-over)"


def _refuse(held: Sequence[Held], tags: Sequence[Tag], pipeline: str, table: str) -> None:
    if held:
        names: Mapping[str, str] = {tag.web_id: tag.name for tag in tags}
        refuse(held, names=lambda web_id: names.get(web_id, web_id), of=len(tags), pipeline=pipeline, table=table)
