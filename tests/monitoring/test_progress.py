"""What is shown while a run goes on: how long the rest takes, and no time that has passed."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from engine.telemetry import progress, progress_following
from engine.telemetry.events import Answered, Cycled, Paused, Planned, RequestFailed
from engine.telemetry.progress import LiveProgress, LogProgress, in_time
from engine.telemetry.progress_following import FollowedLive


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, as both clocks have them."""
    clock = [1_000_000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress_following, "wall_micros", lambda: int(clock[0] * 1e6))
    return clock


def planned() -> Planned:
    return Planned(tags=5, tags_done=0, expected_values=10, start=0, until=1, seconds=0.1)


def answered(left_secs: float | None, fraction: float = 0.1) -> Answered:
    return Answered(
        tags=5, read=100, body_bytes=9, fetch_secs=1, decode_secs=0, fraction_done=fraction, left_secs=left_secs
    )


def shown(display: LiveProgress | FollowedLive) -> str:
    """What the display would draw now."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(display.drawn())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen() -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=True)


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (0, "about 1 s left"), (89, "about 89 s left"), (90, "about 2 min left"), (3000, "about 50 min left"),
        (9000, "about 2.5 h left"), (400_000, "about 4.6 d left"),
    ],
)  # fmt: skip
def test_how_long_is_told_as_coarse_as_it_is_known(secs: float, text: str):
    assert in_time(secs) == text


def test_the_rest_shrinks_with_time_and_is_not_told_where_nothing_is_answered(clock: list[float]):
    display = LiveProgress(screen())
    try:
        display(planned())
        assert "left" not in shown(display)
        display(answered(600))
        assert "about 10 min left" in shown(display)
        clock[0] += 29
        assert "about 10 min left" in shown(display)
        clock[0] += 20
        assert "no answer for 49 s" in shown(display)
        display(RequestFailed(5, "no answer"))
        clock[0] += 3600
        told = shown(display)
        assert "no answer for 61 min" in told
        assert "left" not in told
        display(answered(700))
        assert "about 12 min left" in shown(display)
    finally:
        display.close()


def test_a_log_says_how_long_too(clock: list[float], caplog: pytest.LogCaptureFixture):
    display = LogProgress(every_secs=5)
    with caplog.at_level(logging.INFO, "osipi.run"):
        for left in (None, 600.0):
            clock[0] += 6
            display(answered(left))
    assert [message.split(":")[0] for message in caplog.messages] == [
        "10.0 % done", "10.0 % done, about 10 min left",
    ]  # fmt: skip


def test_while_a_source_is_down_no_time_is_shown_that_has_passed(clock: list[float]):
    display = FollowedLive(screen())
    try:
        display(
            Cycled(
                number=1, classes=("default",), tags=5, failing=0, rows=7, until=0, seconds=1, late_secs=0, skipped=0,
                next_secs=60,
            )
        )  # fmt: skip
        assert "next at" in shown(display)
        clock[0] += 59
        assert "next at" in shown(display)
        clock[0] += 1
        assert "next at" not in shown(display)
        display(Paused("no answer", 300))
        told = shown(display)
        assert "the source gave out; it is asked again at" in told
        assert "next at" not in told
        clock[0] += 300
        told = shown(display)
        assert "it is asked again now" in told
        assert "again at" not in told
    finally:
        display.close()
