"""A run in a process of its own.

Lands two events a commit until UNTIL commits are in, whoever made them; opens again when it is fenced.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from config.errors import FencedError
from tests.crash.process import Process, redirect
from tests.landing.lake import Lake, land
from writers import open_lakehouse


def worker(folder: Path, run_id: str, *, shard: str = "0-of-1", until: int = 6, kill: str = "") -> Process:
    """Start one; what it says goes beside the tables."""
    return Process(_work, folder / "said" / run_id, str(folder), run_id, shard, until, kill)


def _work(said: str, root: str, run_id: str, shard: str, until: int, kill: str) -> None:
    redirect(said)
    lake, tag = Lake(open_lakehouse(root)), f"tag of {shard}"
    reached: list[str] = []

    def on_step(step: str) -> None:
        reached.append(step)
        if step == kill and reached.count(step) == 2:  # in its second commit
            os.kill(os.getpid(), signal.SIGKILL)

    while True:
        landing = lake.landing(shard, run_id, on_step=on_step)
        try:
            marks = landing.open()
            while (start := marks[tag].high if tag in marks else 0) < 2 * until:
                land(landing, tag, start, start + 2)
        except FencedError:
            continue
        return
