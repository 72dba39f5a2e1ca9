"""Several answers about one tag become one move; what failed is said with the rows that came before."""

from __future__ import annotations

from config.errors import TagGoneError
from engine.flow.committer import join
from engine.model import Tag
from engine.plan.settled import Advance, Failure

A, B = Tag("a", "A"), Tag("b", "B")


def test_pages_of_a_tag_add_up():
    moves = {}
    join(moves, [Advance(A, 0, 10, 3, 9), Advance(B, 0, 5, 0, None)], ())
    join(moves, [Advance(A, 0, 20, 2, 19)], ())
    assert (moves["a"].low, moves["a"].high, moves["a"].rows, moves["a"].last_event) == (0, 20, 5, 19)
    assert (moves["b"].rows, moves["b"].last_event) == (0, None)


def test_forward_and_backward_readings_of_a_tag_widen_it_on_both_sides():
    moves = {}
    join(moves, [Advance(A, 50, 70, 1, 60)], ())
    join(moves, [Advance(A, 40, 50, 2, 45)], ())
    assert (moves["a"].low, moves["a"].high, moves["a"].rows, moves["a"].last_event) == (40, 70, 3, 60)


def test_a_failure_keeps_what_was_read_before_it():
    moves = {}
    join(moves, [Advance(A, 0, 10, 3, 9)], [Failure(A, TagGoneError("gone"), 0, 10)])
    move = moves["a"]
    assert (move.low, move.high, move.rows, move.status, move.last_error) == (0, 10, 3, "failed", "gone")


def test_a_failure_alone_moves_nothing():
    moves = {}
    join(moves, (), [Failure(A, TagGoneError("gone"), 0, 10)])
    assert moves["a"].low == moves["a"].high == 10
    assert moves["a"].status == "failed"


def test_a_tag_that_failed_in_one_gap_stays_failed_when_another_advances():
    moves = {}
    join(moves, (), [Failure(A, TagGoneError("gone"), 50, 60)])
    join(moves, [Advance(A, 50, 70, 1, 65)], ())
    assert (moves["a"].low, moves["a"].high, moves["a"].status, moves["a"].last_error) == (50, 70, "failed", "gone")
