"""A list is read to its end whatever a server says of its pages, and no list is read for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.piweb.paging import ListEnd, PageLinks, Paging, PagingFacts


@dataclass
class Source:
    """Things 0 .. total - 1, at most `cap` a page. `links`: those of the protocol, or what became of them on the way."""

    total: int
    cap: int = 1_000
    links: str = "given"
    deaf: bool = False
    clamps: bool = False  # beyond the end it repeats its last page
    grows: int = 0  # so many are created in front of all others with each page
    things: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.things = list(range(self.total))

    def page(self, start: int, count: int) -> tuple[list[int], PageLinks]:
        count = min(count, self.cap)
        if self.deaf:
            start = 0
        if self.clamps and start >= len(self.things):
            start = max(0, len(self.things) - count)
        items = self.things[start : start + count]
        more = start + count < len(self.things)
        if self.grows:
            first = min(self.things, default=0)
            self.things = [*range(first - self.grows, first), *self.things]
        said = {"next only": PageLinks.EMPTY, "given": PageLinks.NO_NEXT, "empty": PageLinks.EMPTY}
        if more and self.links in {"next only", "given"}:
            return items, PageLinks.NEXT
        return items, said.get(self.links, PageLinks.ABSENT)


def walked(
    source: Source, size: int = 1_000, at_once: int = 1, facts: PagingFacts | None = None
) -> tuple[list[int], ListEnd, int]:
    """What is found, how it ended, and how many pages it took."""
    walk = Paging(size, at_once=at_once, facts=facts)
    found: list[int] = []
    asked = 0
    while walk.end is None:
        starts = walk.starts
        asked += len(starts)
        pages = [source.page(start, walk.size) for start in starts]
        for items, links in pages:
            found += items
            if not walk.take(items, len(items), links):
                break
        else:
            walk.widen()
        assert asked < 10_000, "without end"
    return found, walk.end, asked


LINKS = st.sampled_from(["given", "next only", "empty", "missing"])


@given(st.integers(0, 400), st.integers(1, 120), LINKS, st.integers(1, 100), st.integers(1, 4))
def test_everything_is_found_and_the_list_is_known_to_be_whole(
    total: int, cap: int, links: str, size: int, at_once: int
) -> None:
    found, end, _ = walked(Source(total, cap, links), size, at_once)
    assert found == list(range(total))
    assert end is ListEnd.COMPLETE


@given(st.integers(1, 400), st.integers(1, 120), LINKS, st.integers(1, 100))
def test_it_takes_one_page_more_than_there_are_at_most(total: int, cap: int, links: str, size: int) -> None:
    _, _, asked = walked(Source(total, cap, links), size)
    pages = -(-total // min(size, cap))
    assert asked <= pages + 1
    if links == "given" and total % min(size, cap):
        assert asked == pages


@pytest.mark.parametrize("links", ["given", "next only", "empty", "missing"])
def test_thirty_thousand_take_one_request_more_at_most(links: str) -> None:
    for total in (29_999, 30_000):
        assert walked(Source(total, links=links))[2] <= 31


def test_what_a_long_list_has_shown_serves_the_others() -> None:
    """Of many filters, only the first has to prove where a page may end."""
    facts = PagingFacts()
    walked(Source(800, links="missing"), facts=facts)
    assert [walked(Source(total, links="missing"), facts=facts)[2] for total in (1, 100, 400, 0)] == [1, 1, 1, 1]


@given(st.integers(0, 300), st.integers(1, 60), LINKS, st.integers(1, 50))
def test_a_server_that_repeats_its_last_page_ends_the_list(total: int, cap: int, links: str, size: int) -> None:
    found, end, asked = walked(Source(total, cap, links, clamps=True), size)
    assert set(found) == set(range(total))
    one_page = 0 < total <= min(size, cap)  # the last page is the first one, too: that looks like a server that is deaf
    assert one_page or end is ListEnd.COMPLETE
    assert asked <= -(-total // min(size, cap)) + 3


@given(st.integers(1, 300), st.integers(1, 60), LINKS, st.integers(1, 50), st.integers(0, 3))
def test_a_server_that_ignores_the_start_is_not_taken_for_one_that_is_whole(
    total: int, cap: int, links: str, size: int, grows: int
) -> None:
    page = min(size, cap)
    found, end, asked = walked(Source(total, cap, links, deaf=True, grows=grows if 4 * grows <= page else 0), size)
    if set(range(total)) - set(found):
        # One page that is capped and repeated: nothing tells it from one that holds all there is.
        assert end is ListEnd.RESTARTED or (end is ListEnd.UNPROVEN and cap < size)
    assert asked <= 6 + 4 * size / page + page / 4


@given(st.integers(0, 300), st.integers(2, 60), LINKS, st.integers(2, 50))
def test_points_that_are_created_meanwhile_end_nothing_early(total: int, cap: int, links: str, size: int) -> None:
    """They come in front of all others, so that each page begins with the last one of the page before."""
    found, _, _ = walked(Source(total, cap, links, grows=1), size)
    assert set(found) >= set(range(total))


def test_a_link_beside_an_empty_page_is_followed_once() -> None:
    walk = Paging(10)
    assert walk.take([], 0, PageLinks.NEXT)
    assert walk.start == 10
    assert walk.take([1], 1, PageLinks.NEXT) is False
    assert walk.end is None
    for _ in range(2):
        walk.take([], 0, PageLinks.NEXT)
    assert walk.end is ListEnd.UNPROVEN


def test_pages_shrink_to_one_and_no_further() -> None:
    walk = Paging(3)
    assert walk.shrink()
    assert walk.size == 1
    assert not walk.shrink()


@given(
    st.integers(0, 3_000), st.integers(1, 400), st.integers(1, 40), st.integers(0, 12), st.integers(1, 4),
    st.integers(1, 4),
)  # fmt: skip
def test_pages_that_an_outage_cut_short_get_long_again(
    total: int, size: int, begins: int, failing: int, at_once: int, by: int
) -> None:
    """Nothing is lost or shown twice, and the rest of the list takes a few requests more, not as many as short pages would."""
    source, walk = Source(total, cap=400), Paging(size, at_once=at_once)
    found: list[int] = []
    asked = 0
    while walk.end is None:
        for start in walk.starts:
            asked += 1
            if begins <= asked < begins + failing and walk.shrink(1 + by):
                break
            items, links = source.page(start, walk.size)
            found += items
            if not walk.take(items, len(items), links):
                break
        else:
            walk.widen()
    assert found == list(range(total))
    assert walk.end is ListEnd.COMPLETE
    assert asked <= -(-total // size) + 1 + failing + 4 * (7 + 8)


@given(st.integers(0, 50), st.integers(1, 30), st.integers(1, 40), LINKS)
def test_a_server_that_puts_what_cannot_be_read_on_every_page_ends_the_list(
    total: int, bad: int, size: int, links: str
) -> None:
    source, walk = Source(total, links=links), Paging(size)
    found: list[int] = []
    asked = 0
    while walk.end is None:
        asked += 1
        assert asked < 150, "without end"
        items, said = source.page(walk.start, max(0, walk.size - bad))
        found += items
        walk.take(items, len(items) + bad, said)
    assert len(found) == len(set(found))


def test_pages_that_are_always_too_long_are_tried_ever_more_seldom() -> None:
    source, walk = Source(200_000), Paging(1_000)
    tried = [0]
    asked = 0
    while walk.end is None:
        asked += 1
        if walk.size > 100:
            tried.append(asked)
            assert walk.shrink()
            continue
        items, links = source.page(walk.start, walk.size)
        if walk.take(items, len(items), links):
            walk.widen()
    assert asked < 200_000 / 62 + len(tried) + 20
    assert len(tried) < 20


def read_past(source: Source, walk: Paging, fails: Callable[[int, int], bool]) -> tuple[list[int], list[int], int]:
    """What is found and what is left out of a server that cannot give some pages, and how many pages were asked for."""
    found: list[int] = []
    left_out: list[int] = []
    asked = 0
    while walk.end is None:
        for start in walk.starts:
            asked += 1
            items, links = source.page(start, walk.size)
            if fails(start, start + max(1, len(items))):
                if not walk.narrow():
                    assert walk.skip()
                    left_out.append(start)
                break
            found += items
            if not walk.take(items, len(items), links):
                break
        else:
            walk.widen()
    return found, left_out, asked


@given(st.data(), st.integers(1, 3_000), st.integers(1, 1_000), LINKS, st.integers(1, 1_000), st.integers(1, 4))
def test_what_a_server_cannot_give_costs_no_other_thing_and_few_requests(
    data: st.DataObject, total: int, cap: int, links: str, size: int, at_once: int
) -> None:
    bad = data.draw(st.sets(st.integers(0, total - 1), max_size=8).map(apart))
    source, walk = Source(total, cap, links), Paging(size, at_once=at_once)
    found, left_out, asked = read_past(source, walk, lambda start, stop: any(start <= one < stop for one in bad))
    assert left_out == sorted(bad)
    assert found == [one for one in range(total) if one not in bad]
    assert walk.end is ListEnd.COMPLETE
    length = min(size, cap)
    assert asked <= at_once * (-(-total // length) + 1 + 2 * len(bad)) + len(bad) * (2 * size.bit_length() + 2)


def apart(bad: set[int]) -> set[int]:
    """Without what stands beside three others: such a server is taken for one that is ill."""
    return {one for one in bad if not {one - 1, one - 2, one - 3} <= bad}


@given(st.integers(0, 3_000), st.integers(1, 1_000), st.integers(1, 1_000), LINKS)
def test_a_server_that_cannot_give_long_pages_loses_nothing(total: int, longest: int, size: int, links: str) -> None:
    walk = Paging(size, at_once=4)
    found, left_out, _ = read_past(Source(total, links=links), walk, lambda start, stop: stop - start > longest)
    assert found == list(range(total))
    assert left_out == []


def test_a_server_that_gives_nothing_any_more_is_soon_seen_to_be_ill() -> None:
    walk = Paging(1_000)
    asked = worth_all_attempts = 0
    while asked < 60:
        asked += 1
        worth_all_attempts += walk.patient
        if not walk.narrow() and not walk.skip():
            break
    assert (asked, worth_all_attempts, walk.skipped) == (40, 5, 3)


def test_what_a_server_cannot_give_in_great_number_is_not_left_out_for_ever() -> None:
    walk, asked = Paging(1), 0
    while walk.narrow() or walk.skip():
        asked += 1
        walk.take([str(walk.start)], 1, PageLinks.ABSENT)
    assert asked == 100
