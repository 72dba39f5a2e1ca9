"""What cannot be read is narrowed down, in few asks, whatever it is: too much at once, an instant, or years."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from engine.plan.narrowing import Narrowing, NarrowingState, most_asks
from engine.plan.timeline import DAY, HOUR, SECOND
from tests.examples import examples

LONG = 31 * DAY
SHORT = 10_000


class Search:
    """One narrowing against a server that answers by a rule."""

    def __init__(self, answers: Callable[[int, int], bool], total: int, failed: int, **options) -> None:
        assert not answers(0, failed)
        self.narrowing = Narrowing(total, failed, **options)
        self.asks: list[tuple[int, int]] = []
        self.landed: list[tuple[int, int]] = []
        while self.narrowing.state is NarrowingState.SEARCHING:
            now = self.narrowing
            start, end = now.start, now.end
            assert 0 <= start < end <= total
            self.asks.append((start, end))
            assert len(self.asks) < 1000, now
            if answers(start, end):
                if now.lands:
                    self.landed.append((start, end))
                now.worked(end)
            else:
                now.failed()
        if self.narrowing.state is NarrowingState.DONE and "resolution" not in options:
            # What it has read follows on what was read before, but for the one hole.
            hole = self.narrowing.hole
            assert self.uncovered(self.narrowing.read) == ([] if hole is None else [hole]), self.narrowing

    def uncovered(self, end: int) -> list[tuple[int, int]]:
        """What of `[0, end)` has not landed."""
        at, left = 0, []
        for start, stop in sorted(self.landed):
            if at < start:
                left.append((at, start))
            at = max(at, stop)
        return left + ([(at, end)] if at < end else [])


def touching(bad: Sequence[tuple[int, int]]) -> Callable[[int, int], bool]:
    return lambda start, end: all(end <= first or last <= start for first, last in bad)


@given(st.integers(1, LONG), st.data())
@examples(300)
def test_one_instant_is_found_wherever_it_lies(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total - 1))
    failed = data.draw(st.integers(bad + 1, total))
    search = Search(touching([(bad, bad + 1)]), total, failed)
    if bad == total - 1:
        assert search.narrowing.state is NarrowingState.HOPELESS  # nothing lies behind it that could land with it
        assert search.uncovered(bad) == []
    else:
        assert search.narrowing.hole == (bad, bad + 1)
        assert search.uncovered(search.narrowing.read) == [(bad, bad + 1)]
    assert len(search.asks) <= failed.bit_length() * 5 // 4 + 11


@given(st.integers(2, LONG), st.data())
@examples(300)
def test_a_stretch_is_found_with_both_its_ends(total: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, total - 2))
    last = data.draw(st.integers(first + 1, total - 1))
    failed = data.draw(st.integers(first + 1, total))
    search = Search(touching([(first, last)]), total, failed)
    assert search.narrowing.hole == (first, last)
    assert search.uncovered(search.narrowing.read) == [(first, last)]
    assert len(search.asks) <= most_asks(total)


@given(st.integers(1, LONG), st.data())
@examples(200)
def test_a_limit_on_the_length_leaves_no_hole(total: int, data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, total))
    failed = data.draw(st.integers(min(limit + 1, total), total))
    if failed <= limit:
        return
    search = Search(lambda start, end: end - start <= limit, total, failed)
    assert search.narrowing.state is NarrowingState.DONE
    assert search.narrowing.hole is None
    assert search.uncovered(search.narrowing.read) == []
    assert search.narrowing.read > 0
    assert limit // 2 <= search.narrowing.worked_length <= limit
    assert len(search.asks) <= (failed // limit).bit_length() + 5


@given(
    st.lists(st.tuples(st.integers(0, SHORT - 1), st.integers(1, 300)), min_size=1, max_size=8),
    st.integers(20, SHORT),
)
@examples(300)
def test_any_holes_and_any_limit_at_once_lose_nothing_else(found: list[tuple[int, int]], limit: int) -> None:
    """Narrowing again and again, as a reading does, gets to the end, or to where nothing more is answered."""
    bad = [(first, min(first + length, SHORT)) for first, length in found]
    answers_all = touching(bad)
    at, holes, asks = 0, [], 0
    while at < SHORT:
        begun = at
        length = min(limit, SHORT - at)
        if answers_all(at, at + length):
            at += length
            continue

        def answers(start: int, end: int, begun: int = begun) -> bool:
            return end - start <= limit and answers_all(begun + start, begun + end)

        search = Search(answers, SHORT - begun, length)
        asks += len(search.asks)
        if search.narrowing.state is NarrowingState.HOPELESS:
            break
        if search.narrowing.hole is not None:
            holes.append((begun + search.narrowing.hole[0], begun + search.narrowing.hole[1]))
        at = begun + search.narrowing.read
        assert at > begun
    good_after = [
        t for t in (*(b for _, b in bad), *(a - 1 for a, _ in bad)) if at <= t < SHORT and answers_all(t, t + 1)
    ]
    assert at == SHORT or len(good_after) <= 1 or not answers_all(SHORT - 1, SHORT)
    for first, last in holes:
        assert not answers_all(first, first + 1)
        assert not answers_all(last - 1, last)
    assert asks <= (len(holes) + 1) * most_asks(SHORT)


@given(st.integers(1, 3 * DAY), st.integers(1, 3 * DAY), st.integers(1, 3 * DAY), st.integers(0, 5 * DAY))
def test_two_stretches_are_two_holes_unless_little_lies_between_them(
    one: int, between: int, other: int, first: int
) -> None:
    bad = [(first, first + one), (first + one + between, first + one + between + other)]
    search = Search(touching(bad), LONG, LONG)
    start, end = search.narrowing.hole or (0, 0)
    assert start == first
    if end > bad[0][1]:
        assert end == bad[1][1]
        # Eight instants of a hole longer than a minute are tried, so what is left out between two stretches
        # is shorter than the distance of two of them.
        assert end - start <= 60 * SECOND or between <= (end - start) // 9 + 1
    assert len(search.asks) <= most_asks(LONG)


@given(
    st.lists(st.tuples(st.integers(1, 399), st.integers(1, 200)), max_size=6),
    st.integers(1, 4) | st.integers(1, 400_000),
    st.integers(0, 5),
    st.integers(1, 1_000),
)
@example(good=[(274, 52)], failed=1, retries=0, unit=1)
@examples(1000)
def test_among_much_damage_only_what_follows_on_what_was_read_is_landed(
    good: list[tuple[int, int]], failed: int, retries: int, unit: int
) -> None:
    """`Search` sees to that. Narrowing may begin with an instant of the reading: a page that is full of it."""
    total = 400 * unit
    stretches = [(first * unit, min((first + length) * unit, total)) for first, length in good]

    def answers(start: int, end: int) -> bool:
        return any(first <= start and end <= last for first, last in stretches)

    search = Search(answers, total, min(failed, total), retries=retries)
    assert len(search.asks) <= most_asks(total)


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.integers(1, HOUR))
@examples(100)
def test_what_can_be_read_between_two_damages_is_found_by_asking_again(
    one: int, between: int, other: int, unit: int
) -> None:
    """Whatever the first search took for one hole: each retry looks in other places, and most find it at once."""
    one, between, other = one * unit, between * unit, other * unit
    total = one + between + other
    answers = touching([(0, one), (one + between, total)])
    for retries in range(1, total // between + 2):
        search = Search(answers, total, total, retries=retries)
        assert len(search.asks) <= most_asks(total)
        if search.narrowing.state is NarrowingState.DONE:
            assert search.narrowing.hole == (0, one)
            assert search.uncovered(search.narrowing.read) == [(0, one)]
            return
        # One that is damaged all through costs little, again and again.
        assert len(search.asks) <= (7 if total > 8 else 16)
    raise AssertionError("never found")


def test_a_source_that_heals_meanwhile_is_soon_read_as_before() -> None:
    asked = 0

    def answers(start: int, end: int) -> bool:
        nonlocal asked
        asked += 1
        return asked > 7 or end <= DAY // 3

    search = Search(answers, LONG, DAY)
    assert search.narrowing.state is NarrowingState.DONE
    assert search.narrowing.hole is None
    assert len(search.asks) <= 7 + 5


def test_what_is_never_answered_is_given_up_at_once() -> None:
    search = Search(lambda _start, _end: False, LONG, DAY)
    assert search.narrowing.state is NarrowingState.HOPELESS
    assert len(search.asks) == 6


@given(st.integers(0, DAY), st.integers(1, 3 * DAY))
@examples(100)
def test_the_hole_of_another_tag_is_tried_first(first: int, length: int) -> None:
    bad = (first, first + length)
    search = Search(touching([bad]), LONG, LONG // 2, known=bad)
    assert search.narrowing.hole == bad
    assert len(search.asks) <= 4


@given(st.integers(0, DAY), st.integers(1, 3 * DAY), st.integers(0, LONG - 2))
@examples(200)
def test_the_hole_of_another_tag_misleads_no_tag(first: int, length: int, bad: int) -> None:
    failed = max(bad + 1, LONG // 2)
    search = Search(touching([(bad, bad + 1)]), LONG, failed, known=(first, first + length))
    hole = search.narrowing.hole
    if hole is not None:
        assert hole == (bad, bad + 1)
    assert search.uncovered(search.narrowing.read) in ([], [(bad, bad + 1)])
    assert len(search.asks) <= most_asks(LONG)


@given(st.integers(1, LONG), st.data())
@examples(200)
def test_a_coarse_resolution_costs_less_and_still_covers_what_is_bad(total: int, data: st.DataObject) -> None:
    resolution = data.draw(st.integers(1, DAY))
    bad = data.draw(st.integers(0, total - 1))
    failed = data.draw(st.integers(bad + 1, total))
    search = Search(touching([(bad, bad + 1)]), total, failed, resolution=resolution)
    if search.narrowing.state is NarrowingState.HOPELESS:
        assert total - search.narrowing.read <= resolution
        return
    [(first, last)] = search.uncovered(search.narrowing.read)
    assert first <= bad < last
    assert last - first <= resolution
