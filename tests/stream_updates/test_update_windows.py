"""Messages of stream updates as windows: nothing that was said is left out, and little is added."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.model import Window
from engine.plan.update_windows import FOREVER, JOIN_WITHIN, MOST_WINDOWS, clip, windows_of

MINUTE = 60_000_000
HOUR = 60 * MINUTE
NOW = 1_709_640_000_000_000

INSTANTS = st.integers(NOW - 365 * 24 * HOUR, NOW) | st.integers(NOW - 10 * MINUTE, NOW)
OF_ONE_EVENT = st.sampled_from(["Add", "Insert", "Update", "Delete"])
OTHERS = st.sampled_from(["Refresh", "", "add", "Replaced", "0"])
MESSAGES = st.lists(st.tuples(OF_ONE_EVENT, INSTANTS), max_size=60)


@given(st.lists(st.tuples(OF_ONE_EVENT | OTHERS, INSTANTS), max_size=60))
def test_every_message_lies_in_a_window(messages):
    found = windows_of(messages)
    for action, at in messages:
        end = at + 1 if action in {"Add", "Insert", "Update", "Delete"} else FOREVER
        assert any(one.start <= at and end <= one.end for one in found)


@given(st.lists(st.tuples(OF_ONE_EVENT | OTHERS, INSTANTS), max_size=60))
def test_windows_are_few_in_order_and_apart(messages):
    found = windows_of(messages)
    assert len(found) <= MOST_WINDOWS
    assert bool(found) == bool(messages)
    assert all(one.start < one.end for one in found)
    assert all(after.start - before.end >= JOIN_WITHIN for before, after in pairwise(found))


@given(MESSAGES)
def test_only_short_breaks_are_filled_in(messages):
    """What is read for nothing: breaks below a minute, and above the cap the shortest of all."""
    instants = sorted({at for _, at in messages})
    breaks = sorted((after - before - 1 for before, after in pairwise(instants)), reverse=True)
    left_out = [one for one in breaks if one >= JOIN_WITHIN][: MOST_WINDOWS - 1]
    found = windows_of(messages)
    assert sum(after.start - before.end for before, after in pairwise(found)) == sum(left_out)
    if instants:
        assert (found[0].start, found[-1].end) == (instants[0], instants[-1] + 1)


@given(MESSAGES, INSTANTS, st.integers(0, 400 * 24 * HOUR))
def test_clipping_leaves_what_was_read(messages, low, length):
    done = Window(low, low + length)
    found = windows_of(messages)
    kept = clip(found, done)
    assert all(done.start <= one.start < one.end <= done.end for one in kept)
    for _, at in messages:
        assert any(one.start <= at < one.end for one in kept) == (done.start <= at < done.end)


def test_one_event_is_its_microsecond():
    assert windows_of([("Update", NOW)]) == (Window(NOW, NOW + 1),)


def test_neighbours_are_read_in_one_piece():
    near, far = NOW + JOIN_WITHIN, NOW + 1 + JOIN_WITHIN
    assert windows_of([("Delete", near), ("Insert", NOW)]) == (Window(NOW, near + 1),)
    assert windows_of([("Delete", far), ("Insert", NOW)]) == (Window(NOW, NOW + 1), Window(far, far + 1))


def test_a_refresh_takes_the_trust_from_all_that_follows():
    found = windows_of([("Refresh", NOW), ("Insert", NOW + HOUR), ("Delete", NOW - HOUR)])
    assert found == (Window(NOW - HOUR, NOW - HOUR + 1), Window(NOW, FOREVER))
    assert clip(found, Window(NOW - 2 * HOUR, NOW + 3)) == (
        Window(NOW - HOUR, NOW - HOUR + 1),
        Window(NOW, NOW + 3),
    )


def test_a_new_event_beyond_what_is_done_is_left_to_the_next_reading():
    done = Window(NOW - HOUR, NOW)
    assert clip(windows_of([("Add", NOW)]), done) == ()
    assert clip(windows_of([("Add", NOW - 1)]), done) == (Window(NOW - 1, NOW),)


def test_an_edit_of_last_year_is_not_joined_to_many_of_today():
    today = [("Insert", NOW - n * HOUR) for n in range(3 * MOST_WINDOWS)]
    long_ago = NOW - 365 * 24 * HOUR
    assert windows_of([*today, ("Update", long_ago)])[0] == Window(long_ago, long_ago + 1)
