"""`status --watch` shows the status until Ctrl-C: a line each time without a terminal, redrawn in place on one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engine.clock
from config.errors import StorageError
from engine.commands.status import main as status_main
from engine.commands.status.watch import watch
from tests.command_line.conftest import Called, written
from tests.command_line.test_nothing_raw import EVIL, OF_RICH, assert_clean

NOW = 1_709_640_300_000_000  # five minutes after the clock of the site
Waits = Callable[[int], list[float]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Each wait takes no time, and lets the clock leap; Ctrl-C comes in the last of them."""
    now = [NOW]

    def of(number: int) -> list[float]:
        waited: list[float] = []

        def sleep(secs: float) -> None:
            waited.append(secs)
            now[0] += int(secs * 1e6)
            if len(waited) == number:
                raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        return waited

    monkeypatch.setattr(engine.clock, "wall_micros", lambda: now[0])
    return of


def test_without_a_terminal_each_look_is_a_line(called: Called, here: Path, site: str, waits: Waits) -> None:
    written(here, site)
    assert called("run", "-c", "plant.yaml").code == 0
    waited = waits(3)
    done = called("status", "-c", "plant.yaml", "--watch", "10", "--max-age", "5m45s")
    lines = done.out.splitlines()
    assert [line.partition("Z  ")[0] for line in lines] == [
        "2024-03-05 12:05:00", "2024-03-05 12:05:10", "2024-03-05 12:05:20",
    ]  # fmt: skip
    assert lines[0].endswith("pipeline plant: all of 50 tags read up to 2024-03-05 11:59:30Z, 5 min 30 s ago")
    assert lines[-1].endswith("--max-age allows 5 min 45 s")
    assert (waited, done.code, done.err) == ([10, 10, 10], 1, ""), "it ends as what was seen last"
    waited = waits(1)
    assert called("status", "-c", "plant.yaml", "--watch").code == 0
    assert waited == [5]


def test_on_a_terminal_it_is_redrawn_in_place(
    called: Called, here: Path, site: str, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(here, site)
    called("run", "-c", "plant.yaml")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    waits(2)
    shown = called("status", "-c", "plant.yaml", "--watch", "1").out
    assert_clean(shown)
    assert "\x1b[1A\x1b[2K" in shown, "the cursor goes up, and the old lines away"
    plain = OF_RICH.sub("", shown)
    assert plain.count("pipeline plant: all of 50 tags") >= 2
    assert "Last runs" in plain
    waits(1)
    gaps = OF_RICH.sub("", called("status", "-c", "plant.yaml", "--watch", "--gaps").out)
    assert re.search(r"Gaps: 50 of 50 tags complete", gaps)


def test_a_look_that_fails_is_told_and_the_next_one_is_taken(
    called: Called, here: Path, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(here, "http://127.0.0.1:9/piwebapi")
    real, looks = status_main.read_status, iter([False, True, False])

    def sometimes(*arguments: object, **options: object) -> object:
        if next(looks):
            raise StorageError(f"the bucket does not answer {EVIL}")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(status_main, "read_status", sometimes)
    waits(3)
    done = called("status", "-c", "plant.yaml", "--watch", "1")
    assert_clean(done.out)
    first, second, third = done.out.splitlines()
    assert "it has never run" in first
    assert second.startswith("2024-03-05 12:05:01Z  cannot be read: the bucket does not answer")
    assert "it has never run" in third


def test_the_first_look_that_fails_ends_it() -> None:
    def fails() -> None:
        raise StorageError("no bucket")

    with pytest.raises(StorageError):
        watch(fails, lambda _found, _trouble: None, lambda: None)


def test_what_was_read_last_comes_back() -> None:
    readings: Iterator[int] = iter([1, 2])
    shown: list[tuple[int, str]] = []

    def wait() -> None:
        if len(shown) == 2:
            raise KeyboardInterrupt

    assert watch(lambda: next(readings), lambda found, trouble: shown.append((found, trouble)), wait) == 2
    assert shown == [(1, ""), (2, "")]


@pytest.mark.parametrize("options", [("--watch", "0"), ("--watch", "soon"), ("--watch", "--json")])
def test_what_cannot_be_watched_is_refused(called: Called, here: Path, options: tuple[str, ...]) -> None:
    written(here)
    done = called("status", "-c", "plant.yaml", *options)
    assert done.code == 2
    assert "--watch" in done.err
