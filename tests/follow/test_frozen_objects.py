"""While a run follows, what lives long is frozen: collections of garbage leave it out."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from engine.gc_tuning import live_objects_frozen


@pytest.fixture
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.freeze()


def test_what_a_run_froze_is_thawed_at_its_end(thawed: None) -> None:
    with live_objects_frozen():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_the_program_around_us_froze_stays_frozen(thawed: None) -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    with live_objects_frozen():
        pass
    assert gc.get_freeze_count() >= before
