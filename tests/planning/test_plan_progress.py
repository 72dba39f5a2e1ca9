"""How long a run still takes, held against runs by a virtual clock: tags, a server and fetchers that are values."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field

import pytest

from engine.model import AskOutcome, AskOutcomes, Tag, Window
from engine.plan.plan_progress import PlanProgress
from engine.plan.planner import Plan
from engine.plan.tag_cursor import RequestLimits, cursors_for
from engine.plan.timeline import DAY
from tests.variants import slowly

NOW = 20_000 * DAY
ASSUMED = 1 / 60_000_000  # one a minute
SECOND, MINUTE, HOUR = 1 / 1e6, 1 / 60e6, 1 / 3600e6  # an event each, per microsecond


@dataclass(frozen=True)
class Kind:
    """So many tags that show an event every so often; `done` days of `wanted` are read, up to `behind` days ago."""

    tags: int
    rate: float
    wanted: float
    done: float = 0.0
    behind: float = 0.0


@dataclass
class Server:
    """What an answer takes: so long for itself and for each value, give or take, and so many a second at most."""

    secs: float = 0.2
    secs_per_value: float = 2e-6
    noise: float = 0.3
    per_second: float = 1e9
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    free_at: float = 0.0
    waited: float = 0.0

    def answers_at(self, now: float, values: float) -> float:
        begins = max(now, self.free_at)
        self.free_at = begins + 1 / self.per_second
        self.waited += begins - now
        return begins + (self.secs + self.secs_per_value * values) * math.exp(self.chance.gauss(0, self.noise))


def planned(kinds: list[Kind], limits: RequestLimits) -> tuple[Plan, dict[str, float]]:
    cursors, rates = [], {}
    chance = random.Random(3)
    for number, kind in enumerate(kinds):
        for n in range(kind.tags):
            web_id = f"{number}-{n}"
            rate = rates[web_id] = kind.rate * math.exp(chance.gauss(0, 0.5))
            high = NOW - int(kind.behind * DAY)
            done = Window(high - int(kind.done * DAY), high) if kind.done else None
            cursors.append((chance.random(), web_id, rate, Window(NOW - int(kind.wanted * DAY), NOW), done))
    # In whatever order a server lists them.
    found = [
        cursor
        for _, web_id, rate, wanted, done in sorted(cursors)
        for cursor in cursors_for(
            Tag(web_id, web_id),
            wanted,
            done,
            rows_done=round(rate * (done.end - done.start)) if done else 0,
            assumed_rate=ASSUMED,
        )
    ]
    return Plan(found, limits), rates


def answer(plan: Plan, chunk, rates: dict[str, float]) -> AskOutcomes:
    outcomes = []
    for ask in chunk.asks:
        rate = rates[ask.tag.web_id]
        rows, until = math.floor(ask.end * rate) - math.floor(ask.start * rate), ask.end
        if rows >= ask.max_count:
            rows = ask.max_count - 1
            until = max(ask.start + 1, int((math.floor(ask.start * rate) + ask.max_count) / rate))
        outcomes.append(AskOutcome(ask, rows=rows, until=until))
    return AskOutcomes.of(outcomes)


def carried_out(
    plan: Plan, rates: dict[str, float], server: Server, fetchers: int
) -> list[tuple[float, float | None, float]]:
    """Run it to its end; gives when something was answered, and what was then said to be left, and which share done."""
    clock = [0.0]
    remaining = PlanProgress(plan, lambda: clock[0], lambda: server.waited)
    told: list[tuple[float, float | None, float]] = []
    flying: list[tuple[float, int, float, object, AskOutcomes]] = []
    number = 0
    while True:
        while len(flying) < fetchers and (chunk := plan.take()) is not None:
            remaining.took(chunk, 1)
            outcomes = answer(plan, chunk, rates)
            at = server.answers_at(clock[0], float(outcomes.rows.sum()))
            heapq.heappush(flying, (at, number, clock[0], chunk, outcomes))
            number += 1
        if not flying:
            return told
        clock[0], _, began, chunk, outcomes = heapq.heappop(flying)
        plan.record_answer(chunk, outcomes)
        remaining.answered(chunk, outcomes, clock[0] - began)
        plan.give_back(chunk)
        share = remaining.fraction_done()
        assert told == [] or told[-1][2] <= share <= 1
        told.append((clock[0], remaining.left_secs(), share))


# What was never read begins for all tags at one start_date.
PLANTS = {
    "mixed, some never read": [
        Kind(130, MINUTE, 30, done=60, behind=2), Kind(20, SECOND, 3, done=30, behind=1),
        Kind(100, HOUR, 30), Kind(30, MINUTE, 30), Kind(3, SECOND, 30), Kind(70, HOUR / 5, 30),
    ],
    "never read, of all kinds": [Kind(100, HOUR / 24, 60), Kind(100, MINUTE / 5, 60), Kind(7, SECOND / 5, 60)],
    "never read, one day": [Kind(600, HOUR, 1), Kind(500, MINUTE * 2, 1), Kind(100, SECOND, 1)],
    "backfill beside the present": [
        Kind(100, MINUTE, 120, done=20), Kind(100, HOUR, 700, done=20), Kind(10, SECOND / 2, 25, done=20, behind=0.1),
    ],
    "digital tags that hardly change": [Kind(400, HOUR / 50, 300), Kind(10, MINUTE, 300)],
    "a few dense ones alone": [Kind(6, SECOND, 30), Kind(100, HOUR, 30)],
    "one long tag behind many": [Kind(1, SECOND * 2, 40, done=1, behind=39), Kind(200, MINUTE, 40)],
}  # fmt: skip
LIMITS = [RequestLimits(one_window=False), RequestLimits(one_window=False, values_per_answer=75_000)]
SERVERS = {
    "quick to begin, slow by value": {"secs": 0.02, "secs_per_value": 2e-5},
    "slow to begin": {"secs": 0.5, "secs_per_value": 1e-6},
    "limited": {"secs": 0.1, "per_second": 10},
}


@pytest.mark.parametrize(
    ("plant", "server", "limits"),
    [
        *((plant, next(iter(SERVERS)), LIMITS[0]) for plant in PLANTS),
        (next(iter(PLANTS)), "limited", LIMITS[1]),
        *slowly(*((plant, server, LIMITS[0]) for plant in PLANTS for server in [*SERVERS][1:])),
    ],
)
def test_after_a_tenth_the_rest_is_foretold_within_a_factor_of_one_and_a_half(
    plant: str, server: str, limits: RequestLimits
):
    plan, rates = planned(PLANTS[plant], limits)
    told = carried_out(plan, rates, Server(**SERVERS[server]), fetchers=4)
    whole = told[-1][0]
    assert told[-1][1:] == (0.0, 1.0)
    wrong = []
    for tenth in range(1, 9):
        at, left, _ = next(found for found in told if found[0] >= whole * tenth / 10)
        assert left is not None
        factor = (left + 0.02 * whole) / (whole - at + 0.02 * whole)
        if not 1 / 1.5 <= factor <= 1.5:
            wrong.append(f"{tenth}/10: {left:.0f} s foretold, {whole - at:.0f} s it was")
    assert not wrong, f"{wrong} of {whole:.0f} s, {len(told)} requests"
