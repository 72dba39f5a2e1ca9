"""Everything that can be had is read, whatever the server cannot give, and however little it gives at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import ExtractError, SplitError, UnavailableError
from engine.model import Ask, AskOutcome, AskOutcomes, Tag, Window
from engine.plan.chunk_result import RowDisposition
from engine.plan.narrowing import most_asks
from engine.plan.overlap import Overlap
from engine.plan.planner import Plan
from engine.plan.tag_cursor import GapKind, RequestLimits, TagCursor, cursors_for
from engine.plan.timeline import DAY, SECOND
from tests.examples import examples
from tests.landing.widening import moves_in
from writers.watermarks.holes import Hole, HoleChange, after

END = 4 * DAY
LIMITS = RequestLimits(tags_per_request=4, values_per_answer=40, max_count_per_tag=16, server_max_count=64)


@dataclass
class Server:
    """Answers as long as a window is not too long, holds not too much, and touches nothing that is damaged."""

    events: dict[str, list[int]]
    damaged: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    longest: int = END
    most: int = 1 << 30
    refusal: Callable[[], ExtractError] = lambda: UnavailableError("no", status=504)
    whole: bool = False  # one tag's trouble fails the request
    fails: Callable[[], bool] = lambda: False  # for no reason at all
    asked: int = 0
    failed: int = 0

    def answer(self, ask: Ask) -> tuple[AskOutcome, list[int]]:
        every = self.events[ask.tag.web_id]
        held = every[bisect_left(every, ask.start) : bisect_left(every, ask.end)]
        if self.fails():
            return AskOutcome(ask, 0, ask.start, error=UnavailableError("no", status=503)), []
        if ask.end - ask.start > self.longest or min(len(held), ask.max_count) > self.most:
            return AskOutcome(ask, 0, ask.start, error=self.refusal()), []
        found = held[: ask.max_count]
        reached = ask.end if len(found) < ask.max_count else found[-1] + 1
        if any(first < reached and ask.start < last for first, last in self.damaged.get(ask.tag.web_id, ())):
            damage = UnavailableError("Record Header Data Mismatch", status=500)
            return AskOutcome(ask, 0, ask.start, error=damage), []
        if len(found) < ask.max_count:
            return AskOutcome(ask, len(found), ask.end, found[-1] if found else None), found
        kept = [t for t in found if t < found[-1]]
        return AskOutcome(ask, len(kept), found[-1], kept[-1] if kept else None), kept


@dataclass
class Lake:
    """What has landed of each tag: rows, the window that is done, and holes."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    done: dict[str, Window] = field(default_factory=dict)
    holes: dict[str, tuple[Hole, ...]] = field(default_factory=dict)

    def take(self, web_id: str, ask: Ask, disposition: int, rows: list[int]) -> None:
        if disposition == RowDisposition.REPLACE:
            outside = [t for t in self.rows[web_id] if not ask.start <= t < ask.end]
            self.rows[web_id] = [*outside, *rows]
        elif disposition == RowDisposition.FRESH:
            self.rows[web_id] = [*self.rows.get(web_id, []), *rows]


def run(plan: Plan, server: Server, lake: Lake, *, steps: int = 4_000) -> dict[str, ExtractError]:
    """Carry a plan out, one commit an answer. Gives the tags that were given up."""
    failures: dict[str, ExtractError] = {}
    for _ in range(steps):
        chunk = plan.take()
        if chunk is None:
            assert plan.done
            return failures
        server.asked += 1
        answers = [server.answer(ask) for ask in chunk.asks]
        errors = [outcome.error for outcome, _ in answers if outcome.error]
        server.failed += bool(errors)
        if errors and (server.whole or len(answers) == 1):
            result = plan.record_failure(chunk, errors[0])
            answers = []
        else:
            result = plan.record_answer(chunk, AskOutcomes.of([outcome for outcome, _ in answers]))
        for disposition, ask, (_, rows) in zip(result.dispositions, chunk.asks, answers, strict=False):
            lake.take(ask.tag.web_id, ask, disposition, rows)
        for move in chain.from_iterable(map(moves_in, result.moves)):
            before = lake.done.get(move.tag_webid)
            if before is None or before.start == before.end:
                lake.done[move.tag_webid] = Window(move.low, move.high)
            else:
                assert move.low <= before.end
                assert before.start <= move.high
                lake.done[move.tag_webid] = Window(min(before.start, move.low), max(before.end, move.high))
        for note in result.holes:
            web_id, change = note.tag.web_id, note.change
            lake.holes[web_id] = after(lake.holes.get(web_id, ()), [change], 0)
        failures |= {failure.tag.web_id: failure.error for failure in result.failures}
        plan.give_back(chunk)
    raise AssertionError("the plan does not end")


def planned(server: Server, lake: Lake, wanted: Window, limits: RequestLimits = LIMITS) -> Plan:
    cursors = []
    for web_id in server.events:
        done = lake.done.get(web_id)
        rate = len(server.events[web_id]) / END
        cursors += cursors_for(Tag(web_id, web_id), wanted, done, rows_done=0, assumed_rate=rate)
    return Plan(cursors, limits)


def filling(lake: Lake) -> Plan:
    cursors = [
        TagCursor(
            Tag(web_id, web_id),
            hole.start,
            hole.end,
            GapKind.HOLE,
            rate=1e-9,
            low=lake.done[web_id].start,
            high=lake.done[web_id].end,
            hole_attempts=hole.attempts,
        )
        for web_id, holes in lake.holes.items()
        for hole in holes
    ]
    return Plan(cursors, LIMITS)


def in_a_short_break(t: int, damaged: list[tuple[int, int]], hole: Hole) -> bool:
    """Whether an instant lies between two damages that are closer to each other than one of them is long.

    The end of a hole is looked for at growing distances, which may step over such a break.
    """
    before = max((last for _, last in damaged if last <= t), default=None)
    behind = min((first for first, _ in damaged if t < first), default=None)
    if before is None or behind is None:
        return False
    return behind - before < max(before - hole.start, hole.end - behind)


def assert_all_that_can_be_had(server: Server, lake: Lake, wanted: Window) -> None:
    for web_id, events in server.events.items():
        assert lake.done[web_id] == wanted
        holes = lake.holes.get(web_id, ())
        readable = [t for t in events if not any(first <= t < last for first, last in server.damaged.get(web_id, ()))]
        missing = [t for t in readable if t not in set(lake.rows.get(web_id, ()))]
        assert all(any(hole.start <= t < hole.end for hole in holes) for t in missing)
        # A hole is no wider than what is damaged, unless there are very many, or a break between two is short.
        damaged = server.damaged.get(web_id, ())
        if len(damaged) < 8:
            assert all(
                in_a_short_break(t, damaged, hole) for hole in holes for t in missing if hole.start <= t < hole.end
            )
        assert len(lake.rows.get(web_id, ())) == len(set(lake.rows.get(web_id, ()))) == len(readable) - len(missing)
        for first, last in server.damaged.get(web_id, ()):
            assert all(
                any(hole.start <= t < hole.end for hole in holes)
                for t in (max(first, wanted.start), min(last, wanted.end) - 1)
            )


instants = st.lists(st.integers(0, END - 2), max_size=30, unique=True).map(sorted)
tags = st.dictionaries(st.sampled_from("abcdef"), instants, min_size=1)
# The last microsecond is left alone: nothing lies behind it that its hole could land with.
stretches = st.lists(
    st.tuples(st.integers(1, END - 2), st.sampled_from([1, 1, 1, SECOND, DAY])).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], END - 1))
    ),
    max_size=3,
)
refusals = st.sampled_from(
    [
        lambda: UnavailableError("no", status=408),
        lambda: UnavailableError("no", status=502),
        lambda: UnavailableError("no", status=503),
        lambda: UnavailableError("no", status=504),
        lambda: UnavailableError("dropped"),
        lambda: SplitError("[-11091] Event collection exceeded the maximum allowed"),
    ]
)


@st.composite
def servers(draw: st.DrawFn) -> Server:
    events = draw(tags)
    return Server(
        events,
        damaged={web_id: draw(stretches) for web_id in events if draw(st.booleans())},
        longest=draw(st.sampled_from([END, END, DAY, DAY // 3, 3_600 * SECOND])),
        most=draw(st.sampled_from([1 << 30, 1 << 30, 16, 8])),
        refusal=draw(refusals),
        whole=draw(st.booleans()),
    )


@given(servers())
@example(Server({"d": [1_000_001]}, {"d": [(1, 1_000_001), (1_000_002, 2_000_002)]}))
@examples(150)
def test_what_can_be_had_is_there_behindone_run(server: Server) -> None:
    lake, wanted = Lake(), Window(0, END)
    assert run(planned(server, lake, wanted), server, lake) == {}
    assert_all_that_can_be_had(server, lake, wanted)


@given(servers(), st.integers(1, END - 2))
@examples(100)
def test_and_so_it_is_of_history(server: Server, since: int) -> None:
    server.damaged = {
        web_id: [(first, last) for first, last in damage if last <= since or since <= first]
        for web_id, damage in server.damaged.items()
    }
    lake = Lake(done={web_id: Window(since, since + 1) for web_id in server.events})
    lake.rows = {web_id: [t for t in events if t == since] for web_id, events in server.events.items()}
    for web_id in server.events:
        server.damaged[web_id] = [
            (max(first, 1), last) for first, last in server.damaged.get(web_id, ()) if not first <= since < last
        ]
    assert run(planned(server, lake, Window(0, END)), server, lake) == {}
    assert_all_that_can_be_had(server, lake, Window(0, END))


@given(servers())
@examples(100)
def test_a_source_that_heals_fills_its_holes(server: Server) -> None:
    lake, wanted = Lake(), Window(0, END)
    run(planned(server, lake, wanted), server, lake)
    server.damaged = {web_id: damage[:1] for web_id, damage in server.damaged.items()}
    run(filling(lake), server, lake)
    for web_id, holes in lake.holes.items():
        assert len(holes) <= 1 or any(last - first > 1 for first, last in server.damaged[web_id])
    server.damaged = {}
    run(filling(lake), server, lake)
    assert not any(lake.holes.values())
    assert {web_id: sorted(rows) for web_id, rows in lake.rows.items()} == {
        web_id: events for web_id, events in server.events.items() if web_id in lake.rows
    }
    assert sum(map(len, lake.rows.values())) == sum(map(len, server.events.values()))


@given(st.integers(1, END - 2), st.sampled_from([1, SECOND, DAY]))
@examples(60)
def test_finding_a_hole_costs_so_many_requests_at_most(first: int, length: int) -> None:
    """As many as `most_asks` says: 4 x log2 of the window in microseconds, and 29."""
    server = Server({"a": []}, {"a": [(first, min(first + length, END - 1))]})
    lake = Lake()
    run(planned(server, lake, Window(0, END)), server, lake)
    assert server.asked <= 1 + most_asks(END) + 1


@given(st.floats(0.05, 0.95), st.integers(0, 1 << 30), st.booleans(), st.integers(2, 16))
@examples(60)
def test_a_source_that_fails_at_random_is_not_asked_for_ever(
    share: float, seed: int, backward: bool, max_count: int
) -> None:
    """Whatever length it fails at says nothing, and a tag with several events in a microsecond is read to its end, or
    given up.
    """
    dice, minute = Random(seed), 60 * SECOND
    events = [n * minute + k for n in range(1, 60) for k in range(dice.choice((1, 3)))]
    server = Server({"a": events}, fails=lambda: dice.random() < share)
    lake = Lake(done={"a": Window(60 * minute, 61 * minute)}) if backward else Lake()
    limits = RequestLimits(tags_per_request=1, values_per_answer=25, max_count_per_tag=max_count, server_max_count=64)
    run(planned(server, lake, Window(0, 61 * minute), limits), server, lake, steps=8_000)


def test_a_count_that_was_refused_is_not_asked_for_again() -> None:
    """Nor by a page that is full of one microsecond and asks for more: the next count lies below what was refused."""
    server = Server({"a": [7] * 38 + list(range(8, 30))}, most=39, refusal=lambda: SplitError("no", too_much="count"))
    lake = Lake()
    limits = RequestLimits(values_per_answer=40, max_count_per_tag=40, server_max_count=40)
    assert run(planned(server, lake, Window(0, END), limits), server, lake) == {}
    assert sorted(lake.rows["a"]) == server.events["a"]
    assert server.failed == 1


@pytest.mark.parametrize("length", [1, 5 * SECOND])
def test_a_hole_that_still_cannot_be_read_stays_one_and_its_tag_does_not_fail(length: int) -> None:
    server = Server({"a": [3, DAY]}, {"a": [(1_000, 1_000 + length)]})
    lake = Lake()
    assert run(planned(server, lake, Window(0, END)), server, lake) == {}
    assert run(filling(lake), server, lake) == {}
    assert [(hole.start, hole.end, hole.attempts) for hole in lake.holes["a"]] == [(1_000, 1_000 + length, 2)]


def test_behind_a_hole_that_reaches_beyond_what_is_compared_rows_are_new() -> None:
    done, new = Window(0, DAY), [DAY + n * SECOND for n in range(100, 140)]  # several pages
    server = Server({"a": [5, *new]}, {"a": [(DAY - 50 * SECOND, DAY + 50 * SECOND)]})
    overlap = Overlap(DAY - 100 * SECOND, 0)
    cursors = cursors_for(Tag("a", "a"), Window(0, END), done, rows_done=1, assumed_rate=1e-9, overlap=overlap)
    plan, fresh = Plan(cursors, LIMITS), []
    while (chunk := plan.take()) is not None:
        [(outcome, rows)] = [server.answer(ask) for ask in chunk.asks]
        result = plan.record_answer(chunk, AskOutcomes.of([outcome]))
        assert all(swap.start < swap.end <= DAY for swap in result.replaced)
        fresh += rows if result.dispositions[0] == RowDisposition.FRESH else []
        plan.give_back(chunk)
    assert fresh == new


def test_the_damage_of_many_tags_is_looked_for_together() -> None:
    """An archive that is damaged for a day is so for every tag of it."""
    damage = [(DAY + 7, 2 * DAY + 11)]
    names = [f"t{n:03}" for n in range(400)]
    server = Server({name: [] for name in names}, dict.fromkeys(names, damage))
    lake = Lake()
    limits = RequestLimits(tags_per_request=100, values_per_answer=100_000)
    run(planned(server, lake, Window(0, END), limits), server, lake)
    assert_all_that_can_be_had(server, lake, Window(0, END))
    assert server.asked <= 4 * 10 + most_asks(END)


def test_a_tag_that_is_damaged_all_over_costs_little_and_fails() -> None:
    server = Server({"a": [], "b": [1]}, {"a": [(0, END)]})
    lake = Lake()
    failures = run(planned(server, lake, Window(0, END)), server, lake)
    assert list(failures) == ["a"]
    assert "Record Header" in str(failures["a"])
    assert lake.done == {"b": Window(0, END)}
    assert server.asked <= 10


@pytest.mark.parametrize("count", [60, 2_000])
def test_a_tag_full_of_bad_instants_is_passed_in_a_bounded_number_of_requests(count: int) -> None:
    """After eight holes the next are narrowed less and less; what they take too much is read another time."""
    step = END // (count + 1)
    bad = [(n * step, n * step + 1) for n in range(1, count + 1)]
    server = Server({"a": [first + 5 for first, _ in bad]}, {"a": bad})
    lake = Lake()
    run(planned(server, lake, Window(0, END)), server, lake)
    assert server.asked <= 40 * most_asks(END)
    holes = lake.holes["a"]
    assert lake.done["a"] == Window(0, END)
    assert all(any(hole.start <= first < hole.end for hole in holes) for first, _ in bad)
    rows = lake.rows["a"]
    outside = [t for t in server.events["a"] if not any(hole.start <= t < hole.end for hole in holes)]
    assert set(outside) <= set(rows)


def test_holes_are_stretches_of_time_that_open_and_close() -> None:
    found = after((), [HoleChange("a", 0, 100, "why")], now=1_000)
    assert [(h.start, h.end, h.attempts, h.since) for h in found] == [(0, 100, 1, 1_000)]
    found = after(found, [HoleChange("a", 0, 40), HoleChange("a", 50, 60, "still")], now=2_000)
    assert [(h.start, h.end, h.attempts, h.since) for h in found] == [
        (40, 50, 1, 1_000),
        (50, 60, 2, 1_000),
        (60, 100, 1, 1_000),
    ]
    assert after(found, [HoleChange("a", 0, 100)], now=3_000) == ()
