"""What a run does so that no tag is brought into a table by two pipelines. Blocks: for a thread.

What is decided, and committed, is `writers.tag_owners`' business. Invariant: nothing is read of a tag that another
pipeline has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from config import Config
from writers import PI_TIMESERIES, HandingOver, Held, Lakehouse, Landing, Marks, TagOwners, refuse

from .datasets.tags import Inventory
from .model import Tag
from .wiring import DATASET

__all__ = ["Owning", "refuse_held"]

LOG = logging.getLogger("osipi.run")
_SHOWN = 5


def refuse_held(config: Config, lakehouse: Lakehouse, tags: Sequence[Tag]) -> None:
    """Raise `ConfigurationError` where another pipeline has brought any of these tags into the table; change nothing."""
    owners = TagOwners(lakehouse, PI_TIMESERIES, pipeline=config.pipeline, dataset=DATASET, run_id="")
    _refuse(owners.held([tag.web_id for tag in tags]), tags, config.pipeline, owners.table)


class Owning:
    """The tags of one run. `take_over` names a pipeline whose tags, as far as they are selected, become ours."""

    def __init__(
        self,
        config: Config,
        lakehouse: Lakehouse,
        *,
        run_id: str,
        take_over: str | None = None,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._pipeline = config.pipeline
        self._lakehouse = lakehouse
        self._run_id = run_id
        self._take_over = take_over
        self._on_step = on_step
        self._owners = TagOwners(
            lakehouse, PI_TIMESERIES, pipeline=config.pipeline, dataset=DATASET, run_id=run_id, on_step=on_step
        )
        self._landing: Landing | None = None
        self.warnings: list[str] = []

    def taken(self, tags: Sequence[Tag]) -> None:
        """Take over what is to be taken over, before the watermarks are read."""
        source = self._take_over
        if source is None or not self._owners.check_source(source):
            return
        giver = HandingOver(
            self._lakehouse,
            PI_TIMESERIES,
            pipeline=source,
            dataset=DATASET,
            run_id=self._run_id,
            on_step=self._on_step,
        )
        found = giver.hand_over([tag.web_id for tag in tags], self._pipeline)
        if found.tags:
            LOG.info("%d tags were taken over from pipeline %s", found.tags, source)
        if found.doubled:
            names = [tag.name for tag in tags if tag.web_id in set(found.doubled)]
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            self.warnings.append(
                f"{source} and {self._pipeline} had both brought {', '.join(names[:_SHOWN])}{more}: events may be there "
                "twice, or missing between what the two had read. `verify --repair` finds both, and puts them right."
            )
            LOG.warning(self.warnings[-1])

    def begin(self, landing: Landing, marks: Marks, tags: Sequence[Tag], *, claim: bool) -> None:
        """Make sure of the tags before they are read. Raises `ConfigurationError` naming those of others."""
        self._landing = landing
        web_ids = [tag.web_id for tag in tags]
        held = (
            self._owners.claim(web_ids, marks, landing.checkpoint)
            if claim
            else self._owners.held(web_ids, landing.checkpoint)
        )
        _refuse(held, tags, self._pipeline, self._owners.table)

    def without_theirs(self, marks: Marks, found: Inventory) -> Inventory:
        """Make sure of tags that were found while the run goes on. It does not end for those of others: they are
        left out, as what cannot be found is, and named.
        """
        if self._landing is None:
            return found
        web_ids = [tag.web_id for tag in found.tags]
        # By a fresh snapshot: that of the landing is as old as the last commit.
        held = self._owners.claim(web_ids, marks, self._landing.checkpoint, leave_out=True)
        owner = {web_id: one.pipeline for one in held for web_id in one.web_ids}
        if not owner:
            return found
        theirs = [(tag.name, _left_out(owner[tag.web_id])) for tag in found.tags if tag.web_id in owner]
        for name, why in theirs:
            LOG.warning("%s is not read: %s", name, why)
        # The rows stay: the points exist, and pi_tags says so.
        tags = tuple(tag for tag in found.tags if tag.web_id not in owner)
        return replace(found, tags=tags, unresolved=(*found.unresolved, *theirs))


def _left_out(pipeline: str) -> str:
    return f"pipeline {pipeline} brings it into this table already; leave it out, or take it over (run --take-over)"


def _refuse(held: Sequence[Held], tags: Sequence[Tag], pipeline: str, table: str) -> None:
    if held:
        names: Mapping[str, str] = {tag.web_id: tag.name for tag in tags}
        refuse(held, names=lambda web_id: names.get(web_id, web_id), of=len(tags), pipeline=pipeline, table=table)
