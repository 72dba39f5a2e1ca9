"""The closed form: deterministic, gapless, and the same text whichever way it is rendered."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.simulator import DigitalState, SimulatorOptions, events, point
from engine.simulator.archive.points import find, matching, name_of
from engine.simulator.archive.signals import rhythm, signal
from engine.simulator.fields import parse_fields
from engine.simulator.render import Layout, fast_items, slow_items
from engine.simulator.times import DAY, HOUR, MICROSECOND, MINUTE, SECOND, ticks_of

START = ticks_of("2024-03-05T00:00:00Z")
INTERVALS = st.sampled_from([SECOND, 5 * SECOND, 7 * SECOND, MINUTE, 90 * SECOND, HOUR, DAY, 3_700_000, 1_234_567])
SHAPES = st.sampled_from(["steady", "jittered", "doubled", "crowded"])


@given(INTERVALS, SHAPES, st.integers(0, 5000), st.integers(-3, 3))
def test_counting_events_before_an_instant_agrees_with_listing_them(interval, shape, number, nudge):
    beat = rhythm(interval, shape)
    tag = signal(SimulatorOptions(tags=1), 0)._replace(start=0, rhythm=beat)
    instant = beat.when(number) + nudge
    around = range(max(0, number - 10), number + 10)
    assert tag.before(instant) == around[0] + sum(beat.when(other) < instant for other in around)
    assert tag.until(instant) == around[0] + sum(beat.when(other) <= instant for other in around)


@given(st.integers(0, 59), st.lists(st.integers(0, 6 * HOUR), min_size=2, max_size=6))
def test_cutting_a_window_anywhere_loses_and_repeats_nothing(index, cuts):
    options = SimulatorOptions(tags=60, shapes=(("doubled", 1.0), ("crowded", 1.0)))
    cuts = sorted(START + cut for cut in cuts)
    pieces = [event for a, b in pairwise(cuts) for event in events(options, index, a, b)]
    assert repr(pieces) == repr(events(options, index, cuts[0], cuts[-1]))


def test_the_same_seed_gives_the_same_events_for_ever():
    """Pinned: expected tables in other places are computed from this form."""
    found = events(SimulatorOptions(), 0, ticks_of("2024-03-04T12:00:00Z"), ticks_of("2024-03-04T12:02:00Z"))
    assert [event.ticks for event in found] == [ticks_of(f"2024-03-04T12:0{minute}:31Z") for minute in (0, 1)]
    assert found[0].value == 23.49373
    assert found[0].good
    assert found[1].value == DigitalState("No Data", 248, is_system=True)
    assert not found[1].good


def test_another_seed_is_another_plant():
    assert events(SimulatorOptions(), 0, START, START + HOUR) != events(
        SimulatorOptions(seed=2), 0, START, START + HOUR
    )


def test_tags_differ_in_values_and_phases(make_plant):
    options = SimulatorOptions(tags=500)
    firsts = {(event := events(options, index, START, START + 5 * MINUTE)[0]).ticks for index in range(500)}
    assert len(firsts) > 300
    values = [repr(events(options, index, START, START + HOUR)) for index in range(500)]
    assert len(set(values)) == 500
    assert event.ticks


def test_every_tag_has_one_event_per_interval_on_average(make_plant):
    for index in range(60):
        assert len(events(make_plant(), index, START, START + HOUR)) == 60
        assert len(events(make_plant(), index, START, START + 5 * MINUTE)) == 5


def test_the_plant_shows_every_oddity(make_plant):
    options = make_plant()
    found = {index: events(options, index, START, START + DAY) for index in range(60)}
    everything = [event for tag in found.values() for event in tag]
    assert {point(options, index).type for index in found} == {name for name, _ in options.types}
    assert any(isinstance(event.value, float) and math.isnan(event.value) and event.good for event in everything)
    assert any(event.value is None and not event.good for event in everything)
    bad = sum(not event.good for event in everything) / len(everything)
    assert 0.01 < bad < 0.03
    assert any(event.questionable for event in everything)
    assert any(event.substituted for event in everything)
    assert any(event.annotated for event in everything)
    assert any(event.ticks % MICROSECOND for event in everything)
    for index, name in ((index, point(options, index).type) for index in found):
        assert any(isinstance(event.value, DigitalState) and event.value.is_system for event in found[index]), name
    same = [a.ticks == b.ticks for tag in found.values() for a, b in pairwise(tag)]
    assert any(same)
    crowded = [
        tag
        for tag in found.values()
        if any(a.ticks // 10 == c.ticks // 10 and a.ticks != c.ticks for a, c in zip(tag, tag[2:], strict=False))
    ]
    assert crowded


def test_mixed_rates_reach_from_a_second_to_a_day():
    options = SimulatorOptions(tags=400, profile="mixed")
    assert {point(options, index).interval_ticks // SECOND for index in range(400)} == {1, 5, 10, 60, 300, 3600, 86400}


@pytest.mark.parametrize("interval", [1.0, 7.0, 60.0, 0.37, 3600.0, 5400.0])
@pytest.mark.parametrize("fields", ["", "Timestamp;Value", "Value;Good", "Timestamp;Value.Name", "Timestamp"])
def test_fast_and_slow_rendering_write_the_same_events(make_plant, interval, fields):
    options = make_plant(interval_secs=interval)
    layout = Layout.of(parse_fields(fields), "bare")
    for index in range(0, 60, 3):
        tag = signal(options, index)
        number = tag.before(START + 12345)
        fast = fast_items(tag, number, number + 130, layout)
        slow = slow_items([tag.event(other) for other in range(number, number + 130)], layout)
        # Parsed, because a whole double may print as 5 or 5.0.
        assert repr(_numbers(fast)) == repr(_numbers(slow))


def _numbers(fragments: list[bytes]) -> list[dict]:
    return json.loads(b"[" + b"".join(fragments)[1:] + b"]", parse_int=float)


def test_a_window_longer_than_the_value_table_goes_round():
    tag = signal(SimulatorOptions(tags=1, types=(("Digital", 1.0),)), 0)
    count = 2 * len(tag.table) + 17
    items = fast_items(tag, 5, 5 + count, Layout.of(None, "bare"))
    assert len(_numbers(items)) == count
    assert items[2::3][: count - len(tag.table)] == items[2::3][len(tag.table) :]


def test_names_lead_back_to_their_tags_in_any_case():
    options = SimulatorOptions(tags=300)
    for index in range(300):
        assert find(options, name_of(options, index).lower()) == index
    assert find(options, "Unit0000.Flow.000300") is None
    assert find(options, "Unit0000.Nothing.000001") is None
    assert any(sign in name_of(options, 96) for sign in "#&%+;")


def test_name_filters_know_star_and_question_mark():
    options = SimulatorOptions(tags=1000)
    assert list(matching(options, "unit0001.*")) == list(range(50, 100))
    assert [name_of(options, index)[-6:] for index in matching(options, "*.00001?")] == [f"00001{n}" for n in range(10)]
    assert matching(options, "*") == range(1000)
    assert list(matching(options, "[")) == []


def test_half_a_million_tags_cost_no_memory_per_tag():
    options = SimulatorOptions(tags=500_000)
    assert len(events(options, 499_999, START, START + HOUR)) == 60
    with pytest.raises(IndexError):
        events(options, 500_000, START, START + HOUR)


def test_options_that_make_no_sense_are_refused_together():
    with pytest.raises(ValueError, match=r"tags is -1.*profile is 'fast'.*Float is not among"):
        SimulatorOptions(tags=-1, profile="fast", types=(("Float", 1.0),))
