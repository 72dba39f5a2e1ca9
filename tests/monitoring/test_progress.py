"""What is shown while a run goes on: how long the rest takes, and no time that has passed."""

from __future__ import annotations

import io
import logging
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from engine.telemetry import progress, progress_following, progress_notebook
from engine.telemetry.events import Answered, Cycled, DatasetProgress, Finished, Paused, Planned, RequestFailed
from engine.telemetry.progress import LiveProgress, LogProgress, in_time
from engine.telemetry.progress_following import FollowedLive
from engine.telemetry.progress_notebook import NotebookProgress, ProgressBar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, as both clocks have them."""
    clock = [1_000_000.0]
    for module in (progress, progress_notebook):
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress_following, "wall_micros", lambda: int(clock[0] * 1e6))
    return clock


def planned() -> Planned:
    return Planned("recorded", tags=5, tags_done=0, expected_values=10, start=0, until=1, seconds=0.1)


def answered(left_secs: float | None, fraction: float = 0.1) -> Answered:
    return Answered(
        "recorded",
        tags=5,
        read=100,
        body_bytes=9,
        fetch_secs=1,
        decode_secs=0,
        fraction_done=fraction,
        left_secs=left_secs,
    )


def shown(display: LiveProgress | FollowedLive, width: int = 200) -> str:
    """What the display would draw now."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    console.print(display.drawn())
    assert isinstance(console.file, io.StringIO)
    return Text.from_ansi(console.file.getvalue()).plain


def screen(width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True)


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
        display(RequestFailed("recorded", 5, "no answer"))
        clock[0] += 3600
        told = shown(display)
        assert "no answer for 61 min" in told
        assert "left" not in told
        display(answered(700))
        assert "about 12 min left" in shown(display)
    finally:
        display.close()


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("left_secs", [None, 55.0, 4_000_000.0])
def test_progress_fits_a_screen_with_a_bar_of_20_columns_and_whole_words(
    clock: list[float], width: int, left_secs: float | None
):
    display = LiveProgress(screen(width))
    try:
        display(Planned("recorded", tags=30_000, tags_done=0, expected_values=9, start=0, until=1, seconds=0.1))
        display(DatasetProgress("assets", "1,234,567 attributes of 45,678 elements of Plant", share=0.5))
        clock[0] += 7
        event = answered(left_secs, fraction=0.5)
        display(replace(event, read=1_234_567_890))
        display(RequestFailed("recorded", 5, "no answer"))
        told = shown(display, width)
        lines = told.splitlines()
        assert all(len(line.rstrip()) <= width for line in lines)
        assert all(len(re.findall("[\u2501\u2578\u257a]", line)) >= 20 for line in lines if "%" in line)
        for word in ("30,000", "tags", "attributes", "45,678", "elements", "1,234,567,890", "committed", "50%"):
            assert re.search(rf"(?<!\S){re.escape(word)}", told)
        assert "\u2026" not in told
        if left_secs is not None:
            assert in_time(left_secs) in told
    finally:
        display.close()


def test_a_notebook_gets_one_bar_that_is_updated_now_and_then_and_at_the_end(clock: list[float]):
    drawn: list[ProgressBar] = []
    display = NotebookProgress(drawn.append)
    assert [bar.text for bar in drawn] == ["connecting"]
    for event in (planned(), answered(600), answered(600), answered(600)):
        display(event)
    assert len(drawn) == 1
    clock[0] += 1
    display(answered(600, fraction=0.25))
    assert repr(drawn[-1]) == " 25 %  5 tags; 400 events read (400/s), 0 committed; about 10 min left"
    assert 'value="0.2500"' in drawn[-1]._repr_html_()
    display(DatasetProgress("assets", "<b>\x1b[2J", share=None))
    display(Finished("succeeded"))
    display.close()
    assert repr(drawn[-1]).startswith("100 %  succeeded: 400 events read")
    assert len(drawn) == 3


def test_a_bar_in_a_notebook_escapes_names_and_does_not_stay_half_full(clock: list[float]):
    drawn: list[ProgressBar] = []
    display = NotebookProgress(drawn.append)
    clock[0] += 1
    display(DatasetProgress("assets", "<b>\x1b[2J", share=None))
    assert "&lt;b&gt;" in drawn[-1]._repr_html_()
    assert "\x1b" not in drawn[-1]._repr_html_()
    display.close()
    assert "<progress" not in drawn[-1]._repr_html_()


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
