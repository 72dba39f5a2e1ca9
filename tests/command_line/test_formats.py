"""Numbers, times and command lines as people read and copy them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.commands import terminal
from engine.commands.run.summary import query
from engine.telemetry.formats import count, format_age, format_duration, format_time, printable, size


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (0, "0.0 s"), (3.14, "3.1 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3_600, "1 h"),
        (3_661, "1 h 1 min"), (86_399, "23 h 59 min"), (90_000, "1 d 1 h"), (86_400 * 400, "400 d"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(secs: float, text: str):
    assert format_duration(secs) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (345_000_000, "345 MB"), (2.5e12, "2.5 TB")]
)
def test_sizes_have_few_digits(number: float, text: str):
    assert size(number) == text


def test_counts_have_separators_and_plurals():
    assert (count(1, "tag"), count(0, "tag"), count(1000, "tag"), count(1_234_567)) == (
        "1 tag", "0 tags", "1,000 tags", "1,234,567",
    )  # fmt: skip


def test_a_clock_that_is_behind_does_not_make_negative_ages():
    assert format_age(5) == "5.0 s ago"
    assert format_age(-90) == "1 min 30 s ahead of this machine's clock"


def test_stamps_are_utc_and_before_1970_too():
    assert (format_time(0), format_time(-1), format_time(None)) == (
        "1970-01-01 00:00:00Z",
        "1969-12-31 23:59:59Z",
        "never",
    )


@given(st.text())
def test_plain_text_steers_no_terminal(text: str):
    assert all(character.isprintable() or character == "\n" for character in printable(text))
    assert len(printable(text)) == len(text)


def test_commands_are_called_as_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr(terminal.shutil, "which", {"python": sys.executable, "osipi-connector": None}.get)
    assert terminal.command_line(("status", "-c", "my plant.yaml")) == "python -m engine status -c 'my plant.yaml'"

    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "osipi-connector")])
    monkeypatch.chdir(tmp_path)
    assert terminal.command_line(("status",)) == "bin/osipi-connector status", (
        "a script that is not on the PATH, by its place"
    )

    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert terminal.command_line(("status",)) == "uv run osipi-connector status"
    assert terminal.python_command_line("pass") == "uv run python -c pass"


@pytest.mark.parametrize("place", ["/plain", "/with space", "/it's", '/"quoted"', "s3://bucket/ä"])
def test_a_query_survives_the_shell_for_any_name_of_the_folder(place: str):
    code = shlex.split(query(place))[-1]
    opened = []
    names = {"DeltaTable": opened.append, "print": lambda *_: None}
    line = code.replace("from deltalake import DeltaTable, QueryBuilder; ", "").partition("; ")[0]
    exec(line, names)
    assert opened == [place]
