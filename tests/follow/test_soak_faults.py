"""A short round of the soak through troubles; `make soak` goes on for ten minutes, through kills and all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.follow.soak_faults import soak
from tests.follow.unruly import Damaged, ErrorsAsValues, LongBody, Pile, TooLong, TooMany, Undecodable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_what_could_not_be_read_for_a_while_is_there_in_the_end(tmp_path: Path):
    kinds = (Pile, Damaged, ErrorsAsValues, Undecodable, TooMany, TooLong, LongBody)
    outcome = await soak(tmp_path, minutes=1.8, seed=1, tags=20, kinds=kinds, deaths=())
    assert outcome.missed == []
    assert outcome.most_open > 0
    assert len(outcome.struck) > 3
