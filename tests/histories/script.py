"""What a round is: a setting and a list of steps, drawn from a seed. Pure.

Invariant: each step throws its own dice, so that a round may be replayed without some of its steps and
the others still do what they did.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random

__all__ = ["OURS", "SOURCES", "Script", "Setting", "Step", "script_of"]

# What happens at the source, and how often.
SOURCES = {
    "insert": 6, "insert_hidden": 3, "replace": 5, "delete": 3, "delete_newest": 3, "delete_range": 2, "hide": 4,
    "compress": 6, "rename": 1, "retype": 1, "delete_point": 1, "restore_point": 2, "create_point": 1, "forbid": 1,
    "allow": 2,
}  # fmt: skip
# What we do.
OURS = {"run": 6, "look_back": 6, "kill": 8, "interrupt": 1, "backfill": 2, "repair": 2}


@dataclass(frozen=True, slots=True)
class Setting:
    """What all steps of a round share. Spans are in units, the shortest interval between two events of a tag.

    With a `horizon` one of the tags is a forecast. A `flaky` server does that to one request in eight; see `source`."""

    unit_secs: int
    lag: int
    lookback: int
    start: int
    shows_snapshot: bool
    compress_every: int | None
    streamset_max_count: str
    request_mode: str
    max_count: int
    values_per_answer: int
    commit_rows: int
    optimize: bool
    flaky: str | None
    processes: bool
    horizon: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens. `dice` seeds all that is random about it."""

    place: int
    kind: str
    dice: str


@dataclass(frozen=True, slots=True)
class Script:
    """A round."""

    seed: int
    number: int
    setting: Setting
    steps: tuple[Step, ...]

    def only(self, places: Collection[int]) -> Script:
        """The same round with these steps alone."""
        return Script(self.seed, self.number, self.setting, tuple(s for s in self.steps if s.place in places))


def script_of(seed: int, number: int, *, processes: bool | None = None) -> Script:
    """The round of this number, with or without processes as drawn, or as told. It ends with everything allowed, read, repaired and read again."""
    dice = Random(f"{seed}/{number}")
    setting = Setting(
        unit_secs=dice.choice([1, 60, 600]),
        lag=dice.choice([0, 0, 3]),
        lookback=dice.choice([4, 40, 400]),
        start=dice.randrange(60),
        shows_snapshot=dice.random() < 0.6,
        compress_every=dice.choice([None, None, 2, 3]),
        streamset_max_count=dice.choice(["per_stream", "total"]),
        request_mode=dice.choice(["auto", "streamset", "single"]),
        max_count=dice.choice([7, 50, 10_000]),
        values_per_answer=dice.choice([30, 300, 25_000]),
        commit_rows=dice.choice([20, 200, 100_000]),
        optimize=dice.random() < 0.2,
        flaky=dice.choice([None, None, None, "refuses", "breaks_off", "drops", "halves"]),
        processes=dice.random() < 0.125,
        horizon=Random(f"{seed}/{number}/forecast").choice([0, 6, 60]),
    )
    if processes is not None:
        setting = replace(setting, processes=processes)
    kinds = ["run"]
    for _ in range(dice.randint(11, 24)):
        choices = SOURCES if dice.random() < 0.55 else OURS
        kinds += dice.choices(list(choices), list(choices.values()))
    kinds += ["allow_all", "run", "repair", "look_back"]
    steps = tuple(Step(place, kind, f"{seed}/{number}/{place}") for place, kind in enumerate(kinds))
    return Script(seed, number, setting, steps)
