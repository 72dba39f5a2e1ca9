"""How `lake_of_0_1_0` was made: `python -m tests.compatibility.make_lake FOLDER`, with the code of version 0.1.0.

Kept so that the next lake can be made in the same way. A lake that was stored once is never made anew: it stands for what
users have.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, run_sync, text_of


class Killed(BaseException):
    """The run ends here, as if its process had been killed."""


def make(root: Path) -> None:
    """Two hours with a hole in tag 1; then a run that ends between the commit of data and that of watermarks."""
    plant = plant_of(root)
    damaged = [{"tag": plant.name(1), "start": text_of(BEGIN + 50 * MINUTE), "end": text_of(BEGIN + 52 * MINUTE)}]
    run_sync(plant, BEGIN + 2 * HOUR, faults={"damaged": damaged})

    def die(step: str) -> None:
        if step == "after_data_commit":
            raise Killed

    with contextlib.suppress(Killed):
        run_sync(plant, BEGIN + 3 * HOUR, faults={"damaged": damaged}, on_step=die)


def plant_of(root: Path) -> Plant:
    return Plant.of(root, tags=6, interval_secs=60, sections={"extraction": {"lookback": "10m"}})


if __name__ == "__main__":
    make(Path(sys.argv[1]))
