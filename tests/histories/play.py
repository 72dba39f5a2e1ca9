"""Plays random histories of a plant between random runs of ours, and holds the tables to account.

    python -m tests.histories.play --seed 1 --secs 600          rounds for ten minutes
    python -m tests.histories.play --seed 1 --round 17          one round again, told step by step
    python -m tests.histories.play --seed 1 --round 17 --only 0,4,9   ... with some of its steps

A round that fails is made smaller: steps without which it still fails are left out. Invariant: a round is
a function of seed and number (but for processes that are killed, whose last breath is the machine's).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from engine.simulator.times import SECOND, iso
from tests.crash.process import at_once
from tests.histories.account import assert_accounted
from tests.histories.changes import edits_for
from tests.histories.ledger import Page, page_of
from tests.histories.runs import Wish, carry_out
from tests.histories.script import OURS, Script, Setting, Step, script_of
from tests.histories.source import BEGIN, serving

__all__ = ["Told", "main", "play"]

# No round takes so long, unless it hangs.
_LONGEST_SECS = 120.0
_MICROS = 1_000_000


@dataclass(slots=True)
class Told:
    """What was done so far, line by line, and what became of the runs."""

    lines: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def play(script: Script, told: Told | None = None) -> Told:
    """Play a round; the error of one that fails has everything that was done as a note."""
    told = told or Told()
    told.lines.append(f"round {script.number} of seed {script.seed}: {script.setting}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(asyncio.wait_for(_play(script, Path(folder), told), _LONGEST_SECS))
        except Exception as error:  # whatever it was: what was played belongs beside it
            error.add_note(str(told))
            raise
    return told


async def _play(script: Script, folder: Path, told: Told) -> None:
    setting, root = script.setting, folder / "lake"
    if setting.processes:
        at_once()
    page = Page()
    async with serving(setting, script.seed * 10_000 + script.number, folder) as source:
        for step in script.steps:
            dice = Random(step.dice)
            if step.kind not in OURS:
                done = await source.change(edits_for(step.kind, source, setting, dice))
                told.lines.append(f"{step.place:3} {step.kind}: {done}")
                continue
            await source.set_clock(source.now + _pause(step, setting, dice))
            wish = _wish(step, setting, dice)
            told.lines.append(f"{step.place:3} {step.kind} at {iso(source.now)}: {wish}")
            ended = await carry_out(wish, source, setting, root, number=step.place)
            told.lines[-1] += f" {ended.status}{''.join(f', failed {name}' for name in sorted(ended.failed))}"
            told.ends.append(ended.status)
            before, page = page, page_of(root)
            assert_accounted(before, page, wish, ended, source, setting)


def _pause(step: Step, setting: Setting, dice: Random) -> int:
    """How many ticks pass before a run: none, a moment, or up to a hundred units and more."""
    unit = setting.unit_secs * SECOND
    if dice.random() < 0.1:
        return 0
    return dice.randint(1, dice.choice([1, 5, 20, 60, 150]) * unit)


def _wish(step: Step, setting: Setting, dice: Random) -> Wish:
    ahead = Random(f"{step.dice}/ahead").choice([0, setting.horizon // 3, setting.horizon, setting.horizon])
    return replace(_wish_of_kind(step, setting, dice), horizon=ahead * setting.unit_secs * _MICROS)


def _wish_of_kind(step: Step, setting: Setting, dice: Random) -> Wish:
    unit = setting.unit_secs * _MICROS
    lookback = setting.lookback * unit
    fate = (dice.choice(["step", "event"]), dice.choice([dice.randint(1, 6), dice.randint(1, 6), dice.randint(5, 20)]))
    match step.kind:
        case "look_back":
            return Wish(lookback)
        case "kill":
            return Wish(dice.choice([0, lookback]), die_at=fate)
        case "interrupt":
            return Wish(dice.choice([0, lookback]), die_at=("event", fate[1]), interrupt=True)
        case "backfill":
            start = BEGIN // 10 + dice.randrange(60) * unit
            end = dice.choice([None, start + dice.randint(1, 300) * unit])
            return Wish(dice.choice([0, lookback]), start, end, die_at=fate if dice.random() < 0.3 else None)
        case "repair":
            return Wish(repair=True)
        case _:
            return Wish()


# --- the command -----------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds; 1 if one fails."""
    parser = argparse.ArgumentParser("python -m tests.histories.play", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of all rounds (1)")
    parser.add_argument("--round", type=int, help="play only this one, and tell its steps")
    parser.add_argument("--processes", action=argparse.BooleanOptionalAction, help="in that round (default: as drawn)")
    parser.add_argument("--only", help="of that round only these steps, such as 0,4,9")
    parser.add_argument("--secs", type=float, default=60.0, help="begin no more rounds after so long (60)")
    given = parser.parse_args(arguments)
    if given.round is not None:
        script = script_of(given.seed, given.round, processes=given.processes)
        if given.only:
            script = script.only({int(place) for place in given.only.split(",")})
        print(play(script))
        return 0
    return _rounds(given.seed, given.secs)


def _rounds(seed: int, secs: float) -> int:
    began, number = time.monotonic(), 0
    ends: dict[str, int] = {}
    while time.monotonic() - began < secs:
        script = script_of(seed, number)
        try:
            told = play(script)
        except Exception as error:  # noqa: BLE001 - whatever a round fails with is what it is for
            print(f"{number} rounds were right, then one failed\n{error!r}")
            _tell_smaller(script, type(error))
            return 1
        for end in told.ends:
            ends[end] = ends.get(end, 0) + 1
        number += 1
    print(f"{number} rounds in {time.monotonic() - began:.0f} s; runs: {ends}")
    return 0


def _tell_smaller(script: Script, kind: type[BaseException]) -> None:
    smaller = _shrunk(script, lambda part: _fails(part, kind))
    places = ",".join(str(step.place) for step in smaller.steps)
    told = Told()
    try:
        play(smaller, told)
    except Exception as error:  # noqa: BLE001
        print(f"{told}\n{error!r}")
    print(f"again: python -m tests.histories.play --seed {script.seed} --round {script.number} --only {places}")


def _fails(script: Script, kind: type[BaseException]) -> bool:
    try:
        play(script)
    except Exception as error:  # noqa: BLE001
        return isinstance(error, kind)
    return False


def _shrunk(script: Script, fails: Callable[[Script], bool]) -> Script:
    """Leave out every step without which it still fails, from the last to the first."""
    for step in reversed(script.steps):
        without = script.only({s.place for s in script.steps} - {step.place})
        if fails(without):
            script = without
    return script


if __name__ == "__main__":
    sys.exit(main())
