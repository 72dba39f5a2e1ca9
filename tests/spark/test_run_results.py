"""What tasks give back: it comes back whole, and one report adds it up."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import errors
from config.errors import AuthenticationError, ExtractError, FencedError, StorageError
from engine.net.settings import ClientStats
from engine.spark.run_results import ShareResult, decode_result, encode_result, merged
from engine.telemetry.report import DatasetReport, OpenHole, RunReport
from writers import CorrectionCounts, Hole

COUNTS = ("tags_requested", "tags_extracted", "tags_undone", "records_read", "records_written", "watermarks_moved", "commits",
          "files_written", "bytes_written", "requests", "retries", "throttled", "bytes_fetched")  # fmt: skip

ERRORS = st.sampled_from(
    sorted(
        (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ExtractError)),
        key=lambda kind: kind.__name__,
    )
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
HOLES = st.builds(
    OpenHole,
    WORDS,
    st.builds(Hole, WORDS, st.integers(0, 9), st.integers(10, 19), WORDS, st.integers(0, 9), st.integers(1, 9), st.integers(0, 9)),
)  # fmt: skip
DATASETS = st.dictionaries(
    st.sampled_from(["recorded", "tags"]),
    st.builds(
        DatasetReport, WORDS, st.integers(0, 99), unread=st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple)
    ),
)


@st.composite
def reports(draw: st.DrawFn) -> RunReport:
    numbers: dict[str, Any] = {name: draw(st.integers(0, 1 << 40)) for name in COUNTS}
    return RunReport(
        **numbers,
        run_id="run",
        pipeline="plant",
        shard="0-of-2",
        status=draw(st.sampled_from(["succeeded", "incomplete", "interrupted"])),
        tags_failed=tuple(draw(st.lists(st.tuples(WORDS, WORDS), max_size=3))),
        duration_seconds=1.5,
        seconds={"fetch": draw(st.floats(0, 1e6)), "commit": 0.25},
        peak_rss_bytes=draw(st.integers(0, 1 << 40)),
        until="2024-03-05T01:00:00Z",
        tables={"pi_timeseries": "/lake/pi_timeseries"},
        warnings=tuple(draw(st.lists(WORDS, max_size=2))),
        error=draw(st.none() | st.builds(lambda kind, text: kind(text, hint="do"), ERRORS, WORDS)),
        corrections=CorrectionCounts(*draw(st.tuples(*[st.integers(0, 99)] * 4))),
        datasets=draw(DATASETS),
        holes=tuple(draw(st.lists(HOLES, max_size=2))),
    )


def told(value: Any) -> Any:
    """A result as plain values: errors have no equality of their own."""
    if isinstance(value, ExtractError):
        return type(value), value.message, value.hint, value.exit_code
    if isinstance(value, ShareResult | RunReport):
        return {one.name: told(getattr(value, one.name)) for one in fields(value)}
    return value


def one_report(**values: Any) -> RunReport:
    plain: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    report = RunReport(
        **plain,
        run_id="run",
        pipeline="plant",
        shard="",
        status="succeeded",
        tags_failed=(),
        duration_seconds=1.0,
        seconds={},
        peak_rss_bytes=0,
        until="2024-03-05T01:00:00Z",
        tables={},
    )
    return replace(report, **values)


def all_of(*results: ShareResult, **values: Any) -> RunReport:
    return merged(results, **{"run_id": "run", "pipeline": "plant", "stats": ClientStats(), "seconds": 9.0, **values})


@given(st.none() | reports(), ERRORS, WORDS, st.integers(0, 3))
def test_a_result_comes_back_as_it_was(
    report: RunReport | None, kind: type[ExtractError], text: str, lost: int
) -> None:
    result = ShareResult("1-of-3", 12, report, None if report else kind(text, hint=text), lost)
    assert told(decode_result(encode_result(result))) == told(result)


@given(st.lists(reports(), min_size=1, max_size=4))
def test_one_report_adds_up_all_of_them(several: list[RunReport]) -> None:
    report = all_of(*(ShareResult(f"{n}-of-{len(several)}", 1, one) for n, one in enumerate(several)))
    for name in COUNTS:
        assert getattr(report, name) == sum(getattr(one, name) for one in several)
    assert report.tags_failed == tuple(each for one in several for each in one.tags_failed)
    assert report.holes == tuple(each for one in several for each in one.holes)
    assert report.corrections.deleted == sum(one.corrections.deleted for one in several)
    for name in ("recorded", "tags"):
        rows = [one.datasets[name].rows_written for one in several if name in one.datasets]
        assert (report.datasets[name].rows_written if rows else 0) == sum(rows)
    assert (report.exit_code == 0) == all(one.exit_code == 0 for one in several)
    assert report.peak_rss_bytes == max(one.peak_rss_bytes for one in several)


def test_tags_of_a_share_without_a_report_are_undone() -> None:
    report = all_of(
        ShareResult("1-of-2", 30, error=StorageError("the disk is full", hint="Make room.")),
        ShareResult("0-of-2", 20, one_report(tags_requested=20, tags_extracted=20, records_written=5)),
    )
    assert (report.status, report.exit_code) == ("failed", StorageError.exit_code)
    assert (report.tags_requested, report.tags_extracted, report.tags_undone) == (50, 20, 30)
    assert "the disk is full" in str(report.failure())
    assert any("share 1-of-2" in warning for warning in report.warnings)


def test_an_error_of_all_shares_is_raised() -> None:
    shares = [ShareResult(f"{n}-of-2", 1, error=AuthenticationError("no login")) for n in range(2)]
    with pytest.raises(AuthenticationError, match="no login"):
        all_of(*shares)


def test_what_was_asked_to_find_the_tags_counts() -> None:
    report = all_of(ShareResult("0-of-1", 1, one_report(requests=5)), stats=ClientStats(requests=3))
    assert report.requests == 8


def test_a_share_that_was_begun_again_is_told() -> None:
    report = all_of(ShareResult("0-of-1", 1, one_report(), lost_before=1))
    assert [warning for warning in report.warnings if "0-of-1 was begun again" in warning]
    assert report.exit_code == 0


def test_an_interrupted_share_makes_the_run_interrupted() -> None:
    shares = ShareResult("0-of-2", 1, one_report(status="interrupted")), ShareResult("1-of-2", 1, one_report())
    assert all_of(*shares).exit_code == 130


def test_the_first_error_tells_the_exit_code() -> None:
    shares = (
        ShareResult("0-of-2", 1, one_report(status="incomplete")),
        ShareResult("1-of-2", 1, error=FencedError("busy")),
    )
    assert all_of(*shares).exit_code == FencedError.exit_code
