"""A few rounds of random histories, the same ones always; `make test-histories` plays others for as long as told."""

from __future__ import annotations

import pytest

from tests.histories.play import play
from tests.histories.script import script_of


@pytest.mark.slow
@pytest.mark.parametrize("number", [5, 6, 7, 9, 10, 12, 13, 18])
def test_the_table_equals_the_source_after_random_changes_of_either(number: int) -> None:
    told = play(script_of(1, number, processes=False))
    assert told.ends.count("succeeded") + told.ends.count("incomplete") >= 2


@pytest.mark.slow
def test_processes_that_are_killed_leave_nothing_half_done() -> None:
    assert "died" in play(script_of(1, 10, processes=True)).ends
