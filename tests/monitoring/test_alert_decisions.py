"""Who is told what, and when: once when a state begins, once when it is over, whatever the shards and the clock do."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import UnavailableError
from engine.telemetry.alerts import (
    CLAIM_SECS,
    KINDS,
    Facts,
    Policy,
    Standing,
    alerts_of,
    decode,
    encode,
    facts_of_error,
    told_of,
)
from tests.examples import examples

SECOND = 1_000_000
MINUTE = 60 * SECOND
ALL = Policy(frozenset(KINDS), holds_secs=300)
SHARDS = ("0-of-2", "1-of-2")


def at_once(state, facts, policies):
    """Decide, and deliver everything."""
    messages, state = alerts_of(state, facts, policies)
    return messages, told_of(state, messages)


def failed(at, text="PI is away", *, shard="0-of-1", final=True):
    return Facts(shard, at, {"run_failed": text}, final=final)


def texts(messages):
    return [(one.kind, one.ill) for one in messages]


def test_a_state_is_told_once_and_its_end_once():
    state, told = {}, []
    for number, text in enumerate(["PI is away", "PI is away", "still away", "", "", "away again"]):
        messages, state = at_once(state, failed(number * MINUTE, text), {"c": ALL})
        told.append(texts(messages))
    assert told == [[("run_failed", True)], [], [], [("run_failed", False)], [], [("run_failed", True)]]


def test_a_pipeline_that_is_well_from_the_start_is_told_of_nothing_and_keeps_nothing():
    facts = Facts("0-of-1", MINUTE, {"run_failed": "", "tags_failed": "", "holes": ""}, age_secs=10)
    assert alerts_of({}, facts, {"c": ALL}) == ((), {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recovered", [True, False])
def test_a_receiver_is_told_of_the_kinds_that_it_asks_for(kind, recovered):
    ill = Facts("0-of-1", MINUTE, dict.fromkeys(("run_failed", "tags_failed", "holes"), "bad"), age_secs=100)
    well = Facts("0-of-1", 9 * MINUTE, dict.fromkeys(("run_failed", "tags_failed", "holes"), ""), age_secs=1)
    policies = {"c": Policy(frozenset({kind}), recovered=recovered, max_age_secs=60)}
    messages, state = at_once({}, ill, policies)
    assert texts(messages) == [(kind, True)]
    messages, state = at_once(state, well, policies)
    assert texts(messages) == ([(kind, False)] if recovered else [])
    assert texts(at_once(state, ill, policies)[0]) == [(kind, True)]


def test_what_is_not_known_changes_nothing():
    _, state = at_once({}, Facts("0-of-1", 0, {"holes": "1 hole"}), {"c": ALL})
    messages, after = at_once(state, failed(MINUTE, ""), {"c": ALL})
    assert (messages, after) == ((), state)


def test_a_message_that_did_not_arrive_is_sent_again_a_minute_later_and_by_one_run():
    messages, state = alerts_of({}, failed(0), {"c": ALL})
    assert len(messages) == 1
    assert alerts_of(state, failed(1), {"c": ALL})[0] == ()  # another run may be sending it at this moment
    assert texts(alerts_of(state, failed(CLAIM_SECS * SECOND), {"c": ALL})[0]) == [("run_failed", True)]


def test_a_state_that_ends_while_it_is_being_told_is_told_to_be_over():
    messages, state = alerts_of({}, failed(0), {"c": ALL})
    _, state = alerts_of(state, failed(1, ""), {"c": ALL})
    state = told_of(state, messages)
    assert texts(alerts_of(state, failed(2, ""), {"c": ALL})[0]) == [("run_failed", False)]


def test_a_run_that_goes_on_tells_only_what_has_held():
    state = {}
    for minute, expected in [(0, []), (4, []), (5, [("run_failed", True)]), (6, [])]:
        messages, state = at_once(state, failed(minute * MINUTE, final=False), {"c": ALL})
        assert texts(messages) == expected, minute
    for minute, expected in [(7, []), (11, []), (12, [("run_failed", False)])]:
        messages, state = at_once(state, failed(minute * MINUTE, "", final=False), {"c": ALL})
        assert texts(messages) == expected, minute


def test_shards_that_fail_together_are_one_state_that_ends_with_the_last_of_them():
    state, told = {}, []
    for at, shard, text in [(0, 0, "a"), (1, 1, "b"), (2, 0, ""), (3, 1, "")]:
        messages, state = at_once(state, failed(at, text, shard=SHARDS[shard]), {"c": ALL})
        told.append(texts(messages))
    assert told == [[("run_failed", True)], [], [], [("run_failed", False)]]


def test_shards_of_another_division_are_forgotten():
    _, state = at_once({}, failed(0, shard="3-of-4"), {"c": ALL})
    messages, _ = at_once(state, failed(1, "", shard="0-of-2"), {"c": ALL})
    assert texts(messages) == [("run_failed", False)]


def test_a_receiver_that_is_added_is_told_and_one_that_is_taken_away_is_forgotten():
    _, state = at_once({}, failed(0), {"c": ALL})
    messages, state = at_once(state, failed(1), {"d": ALL})
    assert [(one.receiver, one.ill) for one in messages] == [("d", True)]
    assert set(state) == {"d"}


def test_a_clock_that_is_put_back_keeps_nothing_back():
    _, state = alerts_of({}, failed(1000 * MINUTE), {"c": ALL})
    assert len(alerts_of(state, failed(0), {"c": ALL})[0]) == 1


def test_a_bug_is_told_by_its_class_alone():
    assert facts_of_error(ValueError("s3cret"), "0-of-1", None, 0).problems == {"run_failed": "a bug: ValueError"}
    error = UnavailableError("PI is away.", hint="Wait.")
    assert facts_of_error(error, "0-of-1", None, 0).problems == {"run_failed": "PI is away (Wait.)"}


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b'{"c": 1}', b'{"c": {"holes": {"x": 1}}}', b"\xff"])
def test_a_state_that_cannot_be_read_is_an_empty_one(content):
    assert decode(content) == {}


steps = st.lists(
    st.tuples(
        st.sampled_from(SHARDS),
        st.integers(0, 600),  # seconds since the step before
        st.dictionaries(st.sampled_from(KINDS[:3]), st.sampled_from(["", "bad", "worse"])),
        st.none() | st.integers(0, 120),
        st.booleans(),  # final
        st.booleans(),  # delivered
    ),
    max_size=30,
)


@given(steps)
@examples(300)
def test_what_arrives_alternates_and_is_true_when_it_is_sent(history):
    policies = {"c": Policy(frozenset(KINDS), max_age_secs=60, holds_secs=300)}
    state, at = {}, 0
    ill = defaultdict(dict)  # by kind and shard, computed apart
    said = dict.fromkeys(KINDS, False)
    for shard, wait, problems, age, final, delivered in history:
        at += wait * SECOND
        known = {**problems, **({} if age is None else {"stale": "old" if age > 60 else ""})}
        for kind, text in known.items():
            ill[kind][shard] = bool(text)
        facts = Facts(shard, at, problems, age, final)
        messages, after = alerts_of(state, facts, policies)
        assert decode(encode(after)) == after
        for one in messages:
            assert one.ill == any(ill[one.kind].values())
            assert one.ill != said[one.kind]
            assert bool(one.detail) == one.ill
        # The same facts again: nothing is told twice, and nothing is written.
        assert alerts_of(after, facts, policies) == ((), after)
        state = after
        if delivered:
            state = told_of(after, messages)
            said |= {one.kind: one.ill for one in messages}
            assert alerts_of(state, facts, policies)[0] == ()
    # Once all is quiet for long, every receiver knows how it is.
    for shard in SHARDS:
        quiet = Facts(shard, at + 3600 * SECOND, dict.fromkeys(KINDS[:3], ""), 0, True)
        messages, state = at_once(state, quiet, policies)
        said |= {one.kind: one.ill for one in messages}
    assert said == dict.fromkeys(KINDS, False)


@given(st.lists(st.integers(1, 299), min_size=1, max_size=30))
@examples(200)
def test_a_source_that_comes_and_goes_within_the_time_is_told_of_not_at_all(gaps):
    state, at, away = {}, 0, True
    for gap in gaps:
        messages, state = alerts_of(state, failed(at, "away" if away else "", final=False), {"c": ALL})
        assert messages == ()
        at, away = at + gap * SECOND, not away


def test_standing_is_forgotten_once_all_is_told():
    _, state = at_once({}, failed(0), {"c": ALL})
    _, state = at_once(state, failed(1, ""), {"c": ALL})
    assert state["c"]["run_failed"] == Standing(since=1)
    assert alerts_of(state, failed(2, ""), {"c": ALL})[1] == {"c": {}}
