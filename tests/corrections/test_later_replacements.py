"""Of calls that replace the same stretch of time the last one counts, at a cost that many calls do not multiply."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.corrections.events import DAY, Event, batch_of, events_of
from writers import PI_TIMESERIES, Replacement
from writers.corrections.correction import Replacements

TIMES = st.integers(0, 12)
WINDOWS = st.lists(
    st.tuples(st.sampled_from("ab"), TIMES, TIMES).map(lambda w: (w[0], min(w[1:]), max(w[1:]))), min_size=1, max_size=3
)


def rows_of(calls: Sequence[Sequence[tuple[str, int, int]]]) -> list[Event]:
    """What is left of calls that give an event, which tells of its call, for each instant of their windows."""
    wanted = Replacements(PI_TIMESERIES)
    for number, windows in enumerate(calls):
        inside = sorted({(tag, at) for tag, low, high in windows for at in range(low, high)})
        rows = batch_of([Event(tag, DAY + at, value=float(number)) for tag, at in inside])
        wanted.add([Replacement(tag, DAY + low, DAY + high) for tag, low, high in windows], rows)
    return events_of(pa.Table.from_batches(wanted.batches()))


@given(st.lists(WINDOWS, min_size=1, max_size=8))
def test_the_last_call_counts(calls: list[list[tuple[str, int, int]]]):
    last = {
        (tag, at): float(number)
        for number, windows in enumerate(calls)
        for tag, low, high in windows
        for at in range(low, high)
    }
    assert {(event.tag, event.at - DAY): event.value for event in rows_of(calls)} == last
    assert len(rows_of(calls)) == len(last)


def test_thousands_of_short_windows_that_were_read_twice():
    """Each call held against each later one would take many minutes."""
    once = [[("a", at, at + 1)] for at in range(2_000)]
    found = rows_of([*once, *once])
    assert [event.value for event in found] == [float(n) for n in range(2_000, 4_000)]
