"""30,000 tags for an hour at one value a minute: every event of every tag, within a gigabyte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exactness.reading import read_table
from tests.scale.thirty import assert_all_is_marked, assert_exact, counts, run, simulator

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]


def test_thirty_thousand_tags_for_an_hour(tmp_path: Path) -> None:
    with simulator() as url:
        # In two runs, the second incremental, so that watermarks of all tags are read back once.
        first = run(tmp_path, url, "--end", "2024-03-05T00:40:00Z")
        second = run(tmp_path, url)
    assert first["records_written"] + second["records_written"] == sum(counts().values())
    assert_exact(read_table(tmp_path / "lake/main/bronze/pi_timeseries"))
    assert_all_is_marked(tmp_path / "lake/main/checkpoints/pi_watermarks")
