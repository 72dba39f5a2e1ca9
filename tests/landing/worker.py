"""A run in a process of its own: `worker.py ROOT RUN_ID SHARD UNTIL KILL_AT`.

Lands two events a commit until UNTIL commits are in, whoever made them; opens again when it is fenced.
"""

from __future__ import annotations

import os
import signal
import sys

from config.errors import FencedError
from tests.landing.lake import Lake, land
from writers import open_lakehouse


def main(root: str, run_id: str, shard: str, until: str, kill: str) -> None:
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
            while (start := marks[tag].high if tag in marks else 0) < 2 * int(until):
                land(landing, tag, start, start + 2)
        except FencedError:
            continue
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # as the command ends; see engine.__main__
