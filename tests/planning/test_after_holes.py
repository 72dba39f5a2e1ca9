"""What a run compares again of a tag with a hole: from the end of its last hole on, and nothing of the hole."""

from __future__ import annotations

import pytest

from config import from_mapping
from engine.datasets.request_mode import Mode
from engine.model import AskOutcome, AskOutcomes, Tag
from engine.plan.tag_cursor import GapKind
from engine.plan.timeline import DAY, SECOND
from engine.run.plans import limits_of, plan_of
from tests.landing.widening import moves_in
from writers import Watermark, WatermarkStore
from writers.watermarks.holes import Hole
from writers.watermarks.store import WatermarkColumns

MINUTE = 60 * SECOND
HIGH, NOW = 20_000 * DAY, 20_000 * DAY + MINUTE
DIGEST = 7


def planned(last_event: int, hole: tuple[int, int]):
    """The plan of a tag that is done up to HIGH, with its last event and one hole, which is not due."""
    config = from_mapping({"extraction": {"start_date": "2024-09-04T00:00:00Z", "lag": "0s"}}).config
    low = HIGH - 30 * DAY
    marks = WatermarkStore()
    columns = WatermarkColumns.of([Watermark("a", low, HIGH, last_event, 10, last_event_digest=DIGEST)])
    marks.replace_all(columns, {"a": (Hole("a", *hole, "damaged", low, 1, NOW + DAY),)})
    return plan_of(config, [Tag("a", "A")], marks, {}, now=NOW, limits=limits_of(config, Mode.BATCH))


def forward_ask(plan):
    """The first chunk, and what it asks behind the hole; what lies before the hole is a repair of its own."""
    chunk = plan.take()
    [ask] = [ask for cursor, ask in zip(chunk.cursors, chunk.asks, strict=True) if cursor.kind is GapKind.FORWARD]
    return chunk, ask


@pytest.mark.parametrize("before_high", [SECOND, 3 * SECOND, MINUTE, DAY])
def test_reading_begins_behind_the_last_hole_and_never_in_it(before_high: int) -> None:
    end = HIGH - before_high
    _, ask = forward_ask(planned(HIGH - 1, (end - 2 * DAY, end)))
    assert end <= ask.start < HIGH


@pytest.mark.parametrize("before_hole", [1, DAY])
def test_the_last_event_before_a_hole_is_not_expected_behind_it(before_hole: int) -> None:
    end = HIGH - DAY
    start = end - DAY
    plan = planned(start - before_hole, (start, end))
    chunk, ask = forward_ask(plan)
    assert ask.start >= end
    result = plan.record_answer(chunk, AskOutcomes.of([AskOutcome(each, 0, each.end) for each in chunk.asks]))
    assert all(swap.end <= start for swap in result.replaced), "neither source nor table holds anything behind the hole"
    assert [move.high for moves in result.moves for move in moves_in(moves)] == [ask.end]


def test_a_last_event_behind_the_hole_is_expected_there() -> None:
    last = HIGH - MINUTE
    plan = planned(last, (HIGH - 2 * DAY, HIGH - DAY))
    chunk, ask = forward_ask(plan)
    same = AskOutcome(ask, 1, ask.end, last, last_digest=DIGEST, overlap_digest=DIGEST, overlap_rows=1)
    assert plan.record_answer(chunk, AskOutcomes.of([same])).replaced == ()
    plan = planned(last, (HIGH - 2 * DAY, HIGH - DAY))
    chunk, ask = forward_ask(plan)
    result = plan.record_answer(chunk, AskOutcomes.of([AskOutcome(ask, 0, ask.end)]))
    assert [(swap.start, swap.end) for swap in result.replaced] == [(last, HIGH)]
