"""Whose rows land: a run, and the dataset and shard of its pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .commit_ids import app_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingRun:
    """The run that lands rows of one pipeline, dataset and shard.

    `on_step` gets the name of each step of a commit as it is reached. `now`: microseconds since 1970.
    """

    pipeline: str
    dataset: str
    run_id: str
    shard: str = "0-of-1"
    on_step: Callable[[str], None] = lambda _step: None
    now: Callable[[], int] = lambda: time.time_ns() // 1000

    def app_id_of(self, shard: str) -> str:
        """Under which a shard of this pipeline and dataset commits; what comes before all of them if it is empty."""
        return app_id(self.pipeline, self.dataset, shard)
