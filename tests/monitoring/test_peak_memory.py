"""The memory that a run reports is its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.telemetry.peak_memory import peak_rss_bytes

CHILD = "from engine.telemetry.peak_memory import peak_rss_bytes; print(peak_rss_bytes())"
PARENT = (
    "import subprocess, sys; held = b'x' * (600 << 20); subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
)


@pytest.mark.skipif(sys.platform != "linux", reason="getrusage inherits on Linux alone")
def test_a_large_program_that_starts_us_is_not_counted() -> None:
    told = subprocess.check_output([sys.executable, "-c", PARENT, CHILD], text=True)
    assert 10 << 20 < int(told) < 500 << 20


def test_what_we_hold_is_counted_even_after_we_let_go() -> None:
    before = peak_rss_bytes()
    held = b"x" * (before + (64 << 20))
    del held
    assert peak_rss_bytes() > before + (32 << 20)
