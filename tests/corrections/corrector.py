"""A run in a process of its own.

In each round it appends one event and makes everything before it what the source holds in that round.
The watermark says which rounds are done, whoever did them; it opens again when it loses.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from config.errors import CommitConflictError, FencedError
from tests.corrections.events import Event, batch_of
from tests.crash.process import Process, redirect
from tests.landing.lake import Lake
from writers import Move, Replacement, open_lakehouse

STEPS = ("before_staging", "before_correction", "after_staging", "after_data_commit", "after_watermark_commit")
ROUNDS = 8


def truth(tag: str, number: int) -> list[Event]:
    """What the source holds after a round: history changes with each."""
    return [
        *(Event(tag, at, value=float(number if at % 2 else at)) for at in range(number - 1) if (at + number) % 4),
        Event(tag, number - 1),
    ]


def corrector(folder: Path, run_id: str, shard: str = "0-of-1", kill: str = "", rounds: int = ROUNDS) -> Process:
    """Start one; what it says goes beside the tables."""
    return Process(_work, folder / "said" / run_id, str(folder), run_id, shard, rounds, kill)


def _work(said: str, root: str, run_id: str, shard: str, rounds: int, kill: str) -> None:
    redirect(said)
    lake, tag = Lake(open_lakehouse(root)), f"tag of {shard}"
    reached: list[str] = []

    def on_step(step: str) -> None:
        reached.append(step)
        if step == kill and reached.count(step) == 3:  # in a commit that corrects
            os.kill(os.getpid(), signal.SIGKILL)

    while True:
        landing = lake.landing(shard, run_id, on_step=on_step)
        try:
            marks = landing.open()
            while (done := marks[tag].high if tag in marks else 0) < rounds:
                *corrected, new = truth(tag, done + 1)
                batch = landing.begin()
                batch.write(batch_of([new]))
                batch.replace([Replacement(tag, 0, done)], batch_of(corrected))
                batch.commit([Move(tag, done, done + 1, new.at, 1)])
        except (FencedError, CommitConflictError):
            continue
        return
