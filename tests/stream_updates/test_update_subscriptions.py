"""The list of what is watched: nothing untold is forgotten, and what is of no use is given up."""

from __future__ import annotations

import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.model import Window
from engine.plan.update_subscriptions import HOPELESS_AFTER, UpdateSubscriptions
from tests.examples import examples

TAGS = ["a", "b"]
ANSWERS = st.fixed_dictionaries(dict.fromkeys(TAGS, st.sampled_from(["told", "broken", "throttled"])))
TAKEN = st.fixed_dictionaries(dict.fromkeys(TAGS, st.booleans()))


class Untold(RuleBasedStateMachine):
    """Something happens to tags all the time; whatever the server does, it is told, or the tag is named."""

    def __init__(self) -> None:
        super().__init__()
        self.list = UpdateSubscriptions()
        self.markers = 0
        self.happened: dict[str, set[int]] = {}  # and is not known to whoever listens
        self.ever: dict[str, set[int]] = {web_id: set() for web_id in TAGS}
        self.at_server: dict[str, set[int]] = {}  # kept for us, by the marker that brings it
        self.at = 0

    def _sign_up(self, web_id):
        self.markers += 1
        marker = f"m{self.markers}"
        self.list.registered(web_id, marker)
        self.at_server[marker] = set()

    @rule(wanted=st.sets(st.sampled_from(TAGS)), taken=TAKEN)
    def replace(self, wanted, taken):
        new = self.list.replace(sorted(wanted))
        assert set(new) == wanted - self.happened.keys()
        self.happened = {web_id: self.happened.get(web_id, set()) for web_id in wanted}
        for web_id in new:
            self._sign_up(web_id) if taken[web_id] else self.list.refused(web_id)
        self.list.forget_loss(new)
        self.list.end_round()

    @rule(web_id=st.sampled_from(TAGS))
    def happen(self, web_id):
        self.at += 10
        self.ever[web_id].add(self.at)
        if web_id in self.happened:
            self.happened[web_id].add(self.at)
        for marker, owner in self.list.markers().items():
            if owner == web_id and marker in self.at_server:
                self.at_server[marker].add(self.at)

    @rule(tag=st.sampled_from(TAGS))
    def server_forgets(self, tag):
        for marker, web_id in self.list.markers().items():
            if web_id == tag:
                self.at_server.pop(marker, None)

    @rule(answers=ANSWERS, taken=TAKEN)
    def poll(self, answers, taken):
        restored = set()
        for marker, web_id in self.list.markers().items():
            self.list.use_marker(web_id)
            if answers[web_id] == "throttled":
                self.list.restore_marker(web_id, marker)
                restored.add(marker)
                continue
            kept = self.at_server.pop(marker, None)
            if kept is None or answers[web_id] == "broken":
                self.list.unanswered(1)
                continue
            self.markers += 1
            self.at_server[f"m{self.markers}"] = set()
            self.list.received(web_id, f"m{self.markers}", tuple(Window(at, at + 1) for at in sorted(kept)))
        for web_id in self.list.due():
            self._sign_up(web_id) if taken[web_id] else self.list.refused(web_id)
        self.list.end_round()
        assert self.list.markers().keys() - self.at_server.keys() <= restored

    @rule()
    def take_changes(self):
        touched, lost = self.list.take_changes()
        for web_id, found in touched.items():
            told = {window.start for window in found}
            assert told <= self.ever[web_id]  # what was compared since the tag was lost may be told all the same
            self.happened[web_id] -= told
        for web_id in lost:
            self.happened[web_id].clear()  # who listens compares everything

    @invariant()
    def what_is_unknown_is_on_its_way(self):
        """Once nothing is in hand, a watched tag has nothing untold but what its marker will bring."""
        touched, lost = self.list._touched, self.list._lost
        for marker, web_id in self.list.markers().items():
            if web_id in lost or marker not in self.at_server:
                continue
            on_its_way = self.at_server[marker] | {window.start for window in touched.get(web_id, ())}
            assert self.happened[web_id] <= on_its_way


Untold.TestCase.settings = settings(examples(100), stateful_step_count=40)
TestUntold = Untold.TestCase


def signed_up(*web_ids):
    found = UpdateSubscriptions()
    for web_id in found.replace(web_ids):
        found.registered(web_id, f"marker of {web_id}")
    found.forget_loss(web_ids)
    return found


def lose_all(found):
    for web_id in found.markers().values():
        found.use_marker(web_id)
        found.unanswered(1)
    for web_id in found.due():
        found.registered(web_id, f"next marker of {web_id}")
    found.end_round()


def tell_all(found):
    for marker, web_id in found.markers().items():
        found.use_marker(web_id)
        found.received(web_id, marker, ())
    found.end_round()


def test_what_was_turned_away_unread_is_asked_last_next_time():
    found = signed_up("a", "b", "c")
    found.use_marker("a")
    found.restore_marker("a", "marker of a")
    assert list(found.markers().values()) == ["b", "c", "a"]
    assert found.take_changes() == ({}, frozenset())


def test_a_lost_tag_is_named_once_it_is_watched_again():
    found = signed_up("a", "b")
    found.use_marker("a")
    found.unanswered(1)
    assert (found.take_changes()[1], found.due(), found.watched) == (frozenset(), ["a"], 1)
    found.registered("a", "anew")
    assert found.take_changes()[1] == {"a"}
    assert found.take_changes()[1] == frozenset()


def test_what_two_rounds_told_is_kept_until_it_is_harvested():
    found = signed_up("a")
    for at in (10, 20):
        found.use_marker("a")
        found.received("a", f"marker {at}", (Window(at, at + 1),))
        found.end_round()
    assert found.take_changes() == ({"a": (Window(10, 11), Window(20, 21))}, frozenset())


def test_a_restart_now_and_then_is_no_reason_to_give_up():
    found = signed_up("a", "b")
    for _ in range(20):
        lose_all(found)
        tell_all(found)
        assert not found.hopeless


def test_losing_all_of_them_every_time_is():
    found = signed_up("a", "b")
    rounds = 0
    while not found.hopeless:
        lose_all(found)
        rounds += 1
    assert rounds == HOPELESS_AFTER


def test_rounds_in_which_nothing_was_asked_say_nothing():
    found = signed_up("a")
    for _ in range(HOPELESS_AFTER - 1):
        lose_all(found)
        found.end_round()
    assert not found.hopeless
    lose_all(found)
    assert found.hopeless


def test_a_tag_that_cannot_be_signed_up_is_tried_ever_more_rarely():
    found = signed_up("good")
    found.replace(["good", "bad"])
    found.refused("bad")
    tried = []
    for number in range(1, 200):
        tell_all(found)
        if found.due():
            tried.append(number)
            found.refused("bad")
    assert tried == [1, 3, 7, 15, 31, 63, 127, 191]
    assert not found.hopeless


def test_giving_up_names_what_is_not_watched():
    found = signed_up("a", "b")
    found.use_marker("b")
    found.unwatch_all()
    assert (found.take_changes(), len(found)) == (({}, frozenset({"b"})), 0)


def test_thirty_thousand_tags_are_a_few_megabytes():
    web_ids = [f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}" for n in range(30_000)]
    markers = [f"{n:032x}_{n}" for n in range(30_000)]
    tracemalloc.start()
    found = UpdateSubscriptions()
    for web_id, marker in zip(found.replace(web_ids), markers, strict=True):
        found.registered(web_id, marker)
    found.forget_loss(web_ids)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.watched == 30_000
    assert used < 8 << 20
