"""What must still be true for a commit to land on top of others, without any storage."""

from __future__ import annotations

import pytest

from config.errors import CommitConflictError, FencedError
from writers import Commit, CommitKey, LiveFile
from writers.commit_rules import CommitGuard
from writers.log.entries import CORRECTS, TOKEN, LogEntry, classify

ME, OTHER = "osipi/p/recorded/0-of-2", "osipi/p/recorded/1-of-2"
DAY = {"partition_date": "2024-01-01"}


def commit(**what) -> Commit:
    return Commit(CommitKey(ME, 1), **what)


def entry(app_id: str = OTHER, *, corrects: bool = False, token: str = "theirs", **what) -> LogEntry:
    labels = {TOKEN: token, "run_id": "r", **({CORRECTS: "true"} if corrects else {})}
    return LogEntry(1, {app_id: 1}, labels, **what)


APPEND, REPLACE = commit(), commit(replace_where=DAY)
REMOVE = commit(removes=[LiveFile("a.parquet", 1, DAY)])
CORRECT = commit(conflicts_with_prefix="osipi/p/recorded/")


@pytest.mark.parametrize(
    ("other", "conflicting"),
    [
        (entry(touched_partitions=(DAY,)), [REPLACE]),
        (entry(touched_partitions=(None,)), [REPLACE]),
        (entry(touched_partitions=({"partition_date": "2024-01-02"},)), []),
        (entry(removed=frozenset({"a.parquet"})), [REMOVE]),
        (entry(removed=frozenset({"b.parquet"})), []),
        (entry(reshaped=True), [REMOVE, CORRECT]),
        (entry(corrects=True), [CORRECT]),
        (entry("osipi/q/recorded/0-of-1", corrects=True), []),
    ],
)
def test_another_commit_disturbs_only_what_depends_on_it(other: LogEntry, conflicting: list[Commit]) -> None:
    for each in (APPEND, REPLACE, REMOVE, CORRECT):
        guard = CommitGuard("somewhere")
        token = guard.admit(each, last=None, version=0)[TOKEN]
        if each in conflicting:
            with pytest.raises(CommitConflictError):
                guard.decide(each, classify([other], token))
        else:
            assert guard.decide(each, classify([other], token)) is None


@pytest.mark.parametrize("each", [APPEND, REPLACE, REMOVE, CORRECT])
def test_a_commit_under_the_same_name_fences_this_one_and_every_later_one(each: Commit) -> None:
    guard = CommitGuard("somewhere")
    token = guard.admit(each, last=None, version=0)[TOKEN]
    with pytest.raises(FencedError, match="Run r has committed"):
        guard.decide(each, classify([entry(ME)], token))
    with pytest.raises(FencedError, match="Run r has committed"):
        guard.admit(each, last=1, version=1)


def test_our_own_token_tells_that_it_has_landed_beside_any_other_commits() -> None:
    guard = CommitGuard("somewhere")
    token = guard.admit(REPLACE, last=None, version=0)[TOKEN]
    ours = LogEntry(2, {ME: 1}, {TOKEN: token})
    assert guard.decide(REPLACE, classify([ours, entry(touched_partitions=(DAY,))], token)) == 2
    guard.admit(REPLACE, last=1, version=2)
    with pytest.raises(FencedError):
        guard.admit(REPLACE, last=2, version=2)
