"""Following: with each cycle the grid is read up to now, and each point once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exactness.plant import SECOND
from tests.exactness.reading import is_table, read_table
from tests.follow.live import Followed, LivePlant
from tests.sampled.grid import settings

pytestmark = pytest.mark.slow


async def test_a_run_that_follows_samples_point_after_point(tmp_path: Path) -> None:
    plant = LivePlant(tmp_path, tags=5, extraction=settings("interpolated", "count", interval="1s"))
    plant.server.start()
    try:
        it = Followed(plant, plant.config())
        table = plant.table("pi_sampled")

        def points() -> set[int]:
            return set() if not is_table(table) else {at.value for at in read_table(table)["timestamp"]}

        await it.until(lambda: len(points()) >= 1)
        seen = len(points())
        await it.until(lambda: len(points()) >= seen + 3)
        report = await it.ended()
    finally:
        plant.server.stop()
    assert report.status == "succeeded", report
    rows = read_table(table)
    of_series: dict[str, list[int]] = {}
    for series, at in zip(rows["series_id"].to_pylist(), rows["timestamp"], strict=True):
        of_series.setdefault(series, []).append(at.value)
    assert of_series
    for times in of_series.values():
        assert sorted(times) == list(range(min(times), max(times) + 1, SECOND))
