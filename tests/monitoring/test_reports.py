"""What a report says of a run: every tag once, and a status and an exit code that hide nothing."""

from __future__ import annotations

import pytest

from config.errors import AuthenticationError, ExtractError, UnavailableError
from engine.net.settings import ClientStats
from engine.run.report import CycleResult, report_of
from engine.telemetry.events import Cleared, DatasetSynced, TagFailed, TagsFound
from engine.telemetry.report import RunReport, Tally

GONE = UnavailableError("it does not answer")


def reported(
    *,
    failed: int = 0,
    unresolved: int = 0,
    undone: int = 0,
    stopped: ExtractError | None = None,
    interrupted: bool = False,
    follows: bool = False,
) -> RunReport:
    """Of a run that was to read 5,000 tags."""
    tally = Tally()
    tally(TagsFound(5_000 - unresolved, unresolved, 0.0))
    for n in range(failed):
        tally(TagFailed("recorded", f"tag{n}", "gone", f"id{n}"))
    return report_of(
        tally,
        CycleResult(0, unfinished=[f"id{n}" for n in range(undone)], stopped=stopped),
        ClientStats(),
        run=("r", "p", "0/1"),
        unresolved=[(f"stranger{n}", "no such tag") for n in range(unresolved)],
        interrupted=interrupted,
        follows=follows,
        seconds=1.0,
        tables={},
        warnings=(),
    )


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({}, "succeeded", 0),
        ({"failed": 1}, "incomplete", 1),
        ({"unresolved": 1}, "incomplete", 1),
        ({"undone": 1}, "incomplete", 1),
        ({"stopped": GONE}, "incomplete", 1),
        ({"stopped": AuthenticationError("it does not know us any more")}, "incomplete", 3),
        ({"undone": 1, "interrupted": True}, "interrupted", 130),
        ({"undone": 1, "interrupted": True, "follows": True}, "succeeded", 0),
        ({"failed": 1, "interrupted": True, "follows": True}, "incomplete", 1),
    ],
)
def test_all_that_is_left_undone_shows_in_status_and_exit_code(given, status: str, code: int) -> None:
    report = reported(**given)
    assert (report.status, report.exit_code) == (status, code)
    assert (report.failure() is None) == (code == 0)


def test_a_tag_is_extracted_failed_or_undone() -> None:
    report = reported(failed=3, unresolved=2, undone=4)
    assert (report.tags_requested, len(report.tags_failed), report.tags_undone) == (5_000, 5, 4)
    assert report.tags_extracted == 5_000 - 5 - 4


def test_a_report_lists_a_thousand_failed_tags_and_counts_them_all() -> None:
    said = reported(failed=1_200).as_dict()
    assert (len(said["tags_failed"]), said["tags_failed_count"], said["tags_extracted"]) == (1_000, 1_200, 3_800)


def test_what_could_not_be_read_is_said_until_it_is_read() -> None:
    tally = Tally()
    tally(DatasetSynced("digital_states", "pi_digital_states", added=2, unread=(("Pump", "denied"),)))
    tally(DatasetSynced("digital_states", "pi_digital_states", problem="the disk is full"))
    assert tally.warnings == ("pi_digital_states is not up to date: the disk is full",)
    tally(DatasetSynced("digital_states", "pi_digital_states", added=1))
    found = tally.datasets["digital_states"]
    assert (found.rows_written, found.unread, found.problem, tally.warnings) == (3, (), "", ())


def test_a_tag_that_is_read_again_fails_no_more() -> None:
    tally = Tally()
    for name in ("a", "b"):
        tally(TagFailed("recorded", name, "gone", f"id of {name}"))
    tally(Cleared("a"))
    assert tally.failed == {"b": "gone"}
