"""Offsets, windows and shares of the Spark source: nothing lost, nothing twice, and the same again in a replay."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ExtractionConfig
from config.errors import LostStateError
from engine.model import Tag
from engine.plan.timeline import DAY, HOUR, SECOND
from engine.spark.micro_batches import (
    Offset,
    StreamTag,
    TagWindow,
    next_end,
    secs_to_next,
    shares,
    tags_after,
    windows_between,
    windows_of,
)

NOW = 20_000 * DAY
START = "2024-03-05T00:00:00Z"
START_MICROS = 1_709_596_800 * SECOND
WEB_IDS = "abcdef"


def tag(web_id: str) -> Tag:
    return Tag(web_id, web_id.upper())


def extraction(**keys: object) -> ExtractionConfig:
    return ExtractionConfig.model_validate({"lag": "0s", "start_date": START, "interval": "1us", **keys})


@dataclass
class Stream:
    """What the reader of a stream does, without Spark and without a server: each offset has the tags of its own."""

    extraction: ExtractionConfig
    compares: bool
    known: Offset = field(default_factory=Offset)
    tags: tuple[StreamTag, ...] = ()

    def micro_batch(self, listed: set[str], now: int, *, complete: bool) -> list[TagWindow]:
        end = next_end(self.extraction, self.known, now)
        if end is None:
            return []
        after = tags_after(self.tags, map(tag, listed), self.known.end, complete=complete)
        told = Offset.of_json(json.loads(json.dumps(Offset(now, end, "mark").as_json())))
        windows = windows_between(self.extraction, self.known, told, self.tags, after, compares=self.compares)
        again = windows_between(
            self.extraction, self.known, told, reversed(self.tags), tuple(after), compares=self.compares
        )
        assert windows == again
        self.known, self.tags = told, after
        return windows


STEPS = st.lists(
    st.tuples(st.sets(st.sampled_from(WEB_IDS)), st.integers(0, 3 * HOUR), st.booleans()), min_size=1, max_size=12
)


@given(STEPS, st.sampled_from(["0s", "30m", "2d"]), st.sampled_from(["1us", "5m", "1h"]))
def test_new_windows_of_a_tag_join_on_from_the_beginning_to_the_last_offset(
    steps: list[tuple[set[str], int, bool]], lookback: str, interval: str
) -> None:
    stream = Stream(extraction(lookback=lookback, interval=interval), compares=lookback != "0s")
    done: dict[str, int] = {}
    now = START_MICROS + DAY
    last: tuple[set[str], bool] | None = None
    for listed, passed, complete in steps:
        now += passed
        before = stream.known.end
        windows = stream.micro_batch(listed, now, complete=complete)
        if stream.known.end != before:
            last = listed, complete
        assert len({each.tag.web_id for each in windows}) == len(windows)
        for each in windows:
            assert each.new_from == done.get(each.tag.web_id, START_MICROS)
            assert START_MICROS <= each.start <= each.new_from < each.end == stream.known.end
            assert each.end <= now
            done[each.tag.web_id] = each.end
    if last is not None:
        assert {web_id for web_id, end in done.items() if end == stream.known.end} >= last[0]


@given(STEPS)
def test_a_tag_that_may_only_be_missing_in_the_list_is_read_on(steps: list[tuple[set[str], int, bool]]) -> None:
    stream = Stream(extraction(), compares=False)
    now, seen = START_MICROS + DAY, set()
    for listed, passed, _ in steps:
        now += passed + 1
        seen |= listed
        assert {each.tag.web_id for each in stream.micro_batch(listed, now, complete=False)} == seen


def test_a_deleted_tag_that_comes_back_goes_on_where_it_was_left() -> None:
    stream = Stream(extraction(), compares=False)
    one, two, three = (START_MICROS + hours * HOUR for hours in (1, 2, 3))
    stream.micro_batch({"a", "b"}, one, complete=True)
    assert [each.tag.web_id for each in stream.micro_batch({"b"}, two, complete=True)] == ["b"]
    assert [(each.tag.web_id, each.new_from) for each in stream.micro_batch({"a", "b"}, three, complete=True)] == [
        ("a", one),
        ("b", two),
    ]


def test_micro_batches_stay_an_interval_apart_but_for_the_last_one() -> None:
    end_date = "2024-03-05T03:00:00Z"
    keys = extraction(interval="2h", end_date=end_date, lag="1m")
    at = Offset(START_MICROS + HOUR, START_MICROS + HOUR, "")
    assert next_end(keys, at, START_MICROS + 3 * HOUR) is None
    assert next_end(keys, Offset(), START_MICROS + HOUR) == START_MICROS + HOUR - 60 * SECOND
    assert next_end(keys, at, START_MICROS + 9 * HOUR) == START_MICROS + 3 * HOUR
    assert next_end(keys, Offset(NOW, START_MICROS + 3 * HOUR, ""), START_MICROS + 9 * HOUR) is None


def test_the_server_is_asked_again_when_a_micro_batch_may_be_due() -> None:
    keys = extraction(interval="5m", lag="30s")
    assert secs_to_next(keys, NOW - 30 * SECOND, NOW) == 300
    assert secs_to_next(keys, NOW - 330 * SECOND + 1, NOW) == 10
    assert secs_to_next(extraction(interval="1s"), NOW - DAY, NOW) == 1


def test_a_relative_start_is_that_of_the_micro_batch_in_which_a_tag_appears() -> None:
    stream = Stream(extraction(start_date="now-1h"), compares=False)
    [first] = stream.micro_batch({"a"}, NOW, complete=True)
    assert (first.start, first.end) == (NOW - HOUR, NOW)
    both = stream.micro_batch({"a", "b"}, NOW + DAY, complete=True)
    assert [(each.start, each.end) for each in both] == [(NOW, NOW + DAY), (NOW + DAY - HOUR, NOW + DAY)]


@given(
    st.lists(st.tuples(st.integers(0, 5 * DAY), st.integers(1, 5 * DAY)), max_size=30),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_shares_hold_each_window_once_and_about_as_much_each(
    spans: list[tuple[int, int]], count: int, random: object
) -> None:
    windows = [TagWindow(tag(f"{n:02}"), start, start + long, start) for n, (start, long) in enumerate(spans)]
    dealt = shares(windows, count)
    shuffled = list(windows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shares(shuffled, count) == dealt
    assert len(dealt) <= count
    pieces: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for share in dealt:
        assert len({each.tag.web_id for each in share}) == len(share)
        for each in share:
            pieces[each.tag.web_id].append((each.start, each.end))
    for each in windows:
        found = sorted(pieces[each.tag.web_id])
        assert (found[0][0], found[-1][1]) == (each.start, each.end)
        assert all(one[1] == two[0] for one, two in pairwise(found))
        assert all(start < end for start, end in found)
    fair = sum(long for _, long in spans) / count
    for share in dealt:
        assert sum(each.end - each.start for each in share) <= fair + HOUR + 1


def test_a_batch_ends_at_the_servers_present_less_the_lag() -> None:
    keys = extraction(lag="1m")
    [window] = windows_of(keys, [tag("a")], START_MICROS + HOUR)
    assert (window.start, window.end) == (START_MICROS, START_MICROS + HOUR - 60 * SECOND)
    assert windows_of(keys, [tag("a")], START_MICROS) == []


@pytest.mark.parametrize(
    "document",
    [{}, {"version": 2, "now": None, "end": None, "tags": ""}, {"version": 1, "now": "x", "end": "y", "tags": ""},
     {"version": 1, "now": None, "end": START, "tags": ""}, {"version": 1, "now": None, "end": None, "tags": 3}],
)  # fmt: skip
def test_an_offset_of_something_else_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(LostStateError, match="does not know"):
        Offset.of_json(document)
