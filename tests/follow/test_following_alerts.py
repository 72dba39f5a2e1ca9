"""A source that comes and goes for days: what lasts is told once, and what does not last is not told at all."""

from __future__ import annotations

import itertools
import random

import pytest

from config.errors import UnavailableError
from engine.telemetry.alerts import Facts, Policy, alerts_of, told_of
from tests.follow.test_following import DAY, MINUTE, Site
from tests.variants import first_of

HOLDS = 5 * MINUTE
LOOK = 15.0


def outages(seed: int) -> list[tuple[float, float]]:
    """When the source is away, for a day: often for a moment, sometimes for half an hour."""
    rand, at, found = random.Random(seed), 0.0, []
    while at < DAY:
        at += rand.choice([30.0, 100.0, 1000.0, 3000.0])
        found.append((at, at + rand.choice([20.0, 40.0, 90.0, 200.0, 250.0, 1800.0])))
        at = found[-1][1]
    return found


def told_over(results: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """What a receiver is told of, if it is looked at every 15 s; and when."""
    state, told, latest, pending = {}, [], None, list(results)
    at = 0.0
    policies = {"c": Policy(frozenset({"run_failed"}), holds_secs=HOLDS)}
    while at < DAY:
        while pending and pending[0][0] <= at:
            latest = pending.pop(0)[1]
        if latest is not None:
            facts = Facts("0-of-1", int(at * 1e6), {"run_failed": "away" if latest else ""}, final=False)
            messages, state = alerts_of(state, facts, policies)
            state = told_of(state, messages)
            told += [(at, one.ill) for one in messages]
        at += LOOK
    return told


@pytest.mark.parametrize("seed", first_of(range(5)))
def test_a_source_that_comes_and_goes_does_not_flap(seed):
    away = outages(seed)
    error = UnavailableError("no answer")
    site = Site(down=lambda at: error if any(start <= at < end for start, end in away) else None)
    site.followed(DAY)
    results = [(at, result.stopped is not None) for at, result in site.results]
    changes = sum(before != after for (_, before), (_, after) in itertools.pairwise(results))
    told = told_over(results)
    assert 2 <= len(told) < changes
    # Ill and well in turn, and never two within the time that a state has to hold.
    assert [ill for _, ill in told] == [number % 2 == 0 for number in range(len(told))]
    assert all(later - earlier >= HOLDS for (earlier, _), (later, _) in itertools.pairwise(told))
    for at, ill in told:
        seen = [state for when, state in results if at - HOLDS + LOOK < when <= at]
        assert all(state is ill for state in seen), at
