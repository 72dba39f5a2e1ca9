"""What is learnt of the lengths that pass: a search that ends soon, and errs on no side."""

from __future__ import annotations

from math import log2

from hypothesis import given
from hypothesis import strategies as st

from engine.piweb.http import Request, Response
from engine.piweb.limits import Bound, LearnedLimits, kind_of_request
from engine.piweb.requests import without_fields

PAGE, GOOD = Response(404, b"<html></html>"), Response(200, b"{}")


@given(limit=st.integers(200, 8_000), most=st.integers(200, 8_000))
def test_a_limit_is_found_by_a_logarithm_of_refusals_and_nearly_filled(limit: int, most: int) -> None:
    bound = Bound(most)
    for _ in range(30):
        length = bound.budget()
        if length <= limit:
            bound.passed(length)
        else:
            bound.was_refused(length)
        assert bound.budget() <= (bound.refused or most)
        assert bound.budget() >= min(bound.worked, most)
    assert bound.refusals <= log2(max(2, most / limit)) + 4
    assert bound.worked >= min(most, limit) * 7 / 8 - 64
    assert bound.worked <= limit


@given(st.lists(st.tuples(st.integers(1, 9_000), st.booleans()), max_size=60))
def test_a_budget_is_above_nothing_refused_and_below_nothing_that_worked(
    told: list[tuple[int, bool]],
) -> None:
    bound = Bound(8_000)
    for length, passed in told:
        (bound.passed if passed else bound.was_refused)(length)
        assert 0 < bound.budget() <= 8_000
        assert bound.refused is None or bound.worked < bound.refused
        assert bound.budget() <= (bound.refused or 8_000)
        assert bound.budget() >= min(8_000, bound.worked)


def test_a_length_that_passes_later_was_not_why_it_was_refused() -> None:
    bound = Bound(8_000)
    bound.was_refused(600)
    tries = 0
    while bound.budget() < 600:
        bound.passed(min(300, bound.budget()))
        tries += 1
    assert tries < 40
    bound.passed(600)
    assert bound.budget() == 8_000


def test_kinds_of_requests_are_learnt_of_apart() -> None:
    limits = LearnedLimits()
    limits.note(Request("GET", "/streamsets/recorded?" + "x" * 5_000, items=9), PAGE)
    assert limits.max_url_chars("GET streamsets/recorded") < 5_000
    assert limits.max_url_chars("GET points/multiple") == 8_000
    assert kind_of_request(Request("GET", "/streams/F1/recorded?x=1")) == "GET streams/recorded"
    assert kind_of_request(Request("POST", "/batch", b"{}")) == "POST batch"


def test_an_error_of_pis_own_shows_that_the_length_passes() -> None:
    limits, request = LearnedLimits(), Request("GET", "/points/multiple?" + "x" * 3_000, items=9)
    limits.note(request, Response(404, b'{"Errors": ["PI Point not found."]}'))
    assert limits.reached
    assert limits.worked(request)
    assert limits.max_url_chars("GET points/multiple") == 8_000


def test_a_closed_connection_counts_only_if_shorter_requests_come_through() -> None:
    limits, request = LearnedLimits(), Request("GET", "/points/multiple?" + "x" * 3_000, items=9)
    assert not limits.note_dropped(request)
    limits.note(Request("GET", "/dataservers"), GOOD)
    assert limits.note_dropped(request)
    assert not limits.note_dropped(Request("GET", "/points/multiple?x", items=1))
    assert limits.advice() == []


def test_fields_can_be_left_out_of_a_get_alone() -> None:
    get = Request("GET", "/streams/F1/recorded?startTime=a&selectedFields=Items.Value%3BErrors&maxCount=5", items=1)
    assert without_fields(get).path == "/streams/F1/recorded?startTime=a&maxCount=5"
    assert without_fields(get).items == 1
    assert without_fields(Request("GET", "/system?selectedFields=A")).path == "/system"
    bare = Request("GET", "/streams/F1/recorded?maxCount=5")
    assert without_fields(bare) is bare
    post = Request("POST", "/streamsets/updates?selectedFields=A")
    assert without_fields(post) is post
