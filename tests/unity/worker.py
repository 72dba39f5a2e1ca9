"""A run in a process of its own: `worker.py JSON`, with host, token, catalog, kind, location, options,
run_id, shard, until and kill.

Lands two events a commit until `until` commits are in, whoever made them; opens again when it is fenced.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from config.errors import FencedError
from tests.landing.lake import Lake, land
from writers import Names
from writers.unity import open_unity


def main(what: dict[str, Any]) -> None:
    reached: list[str] = []

    def on_step(step: str) -> None:
        reached.append(step)
        if step == what["kill"] and reached.count(step) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    lakehouse = open_unity(
        host=what["host"],
        token=what["token"],
        names=Names(catalog=what["catalog"]),
        table_type=what["kind"],
        location=what["location"],
        storage_options=what["options"],
        on_step=on_step,
        creates=what["shard"].startswith("0-"),
    )
    lake, tag, until = Lake(lakehouse), f"tag of {what['shard']}", 2 * what["until"]
    while True:
        landing = lake.landing(what["shard"], what["run_id"], on_step=on_step)
        try:
            marks = landing.open()
            while (start := marks[tag].high if tag in marks else 0) < until:
                land(landing, tag, start, start + 2)
        except FencedError:
            continue
        return


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)  # as the command ends; see engine.__main__
