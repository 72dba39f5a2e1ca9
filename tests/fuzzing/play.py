"""Fuzzes what reads foreign bytes, guided by coverage (atheris, libFuzzer): every target for its share of the time.

    python -m tests.fuzzing.play --secs 60                         all targets, two at a time
    python -m tests.fuzzing.play --secs 600 --only catalog         one of them
    python -m tests.fuzzing.play --secs 600 --runs 2500            so many inputs each at most: the same on each machine
    python -m tests.fuzzing.play --secs 600 --keep                 and keep what reached new code, beside the seeds
    python -m tests.fuzzing.play --only catalog --input FILE       one input again, with its traceback

What breaks a rule is written to `tests/fuzzing/regressions/<target>/`, where the default tests find it from then
on, and ends this with 1. Half of the mutations are ours, which know JSON; the others are libFuzzer's.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.fuzzing.mutate import DICTIONARY, MAX_BYTES, mutated

__all__ = ["main"]

_HERE = Path(__file__).parent
# A target that is being watched takes a few times as long as in production, and the machine may be busy.
_LONGEST_SECS = 5.0
_HANGS_AFTER_SECS = 60
_LEAST_SECS = 2
_AT_ONCE = 2
Try = Callable[[str, bytes], object]
# The packages that are watched for coverage.
_WATCHED = ("engine.piweb", "engine.datasets", "engine.net", "engine.plan", "writers")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.input:
        from tests.fuzzing.harness import try_out

        try_out(options.only[0], options.input.read_bytes())
        return 0
    try_one, targets = _watched()
    names = options.only or targets
    secs = max(_LEAST_SECS, round(options.secs * _AT_ONCE / len(names)))
    with tempfile.TemporaryDirectory() as folder:
        waiting = [_Player(name, Path(folder, name)) for name in names]
        playing: dict[int, _Player] = {}
        found = False
        while waiting or playing:
            while waiting and len(playing) < _AT_ONCE:
                player = waiting.pop(0)
                playing[_in_child(try_one, player, player.playing(secs, options))] = player
            process, status = os.wait()
            player = playing.pop(process)
            found = player.has_found(os.waitstatus_to_exitcode(status)) or found
            if options.keep:
                merging = _in_child(try_one, player, player.merging())
                os.waitpid(merging, 0)
    return 1 if found else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--secs", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--input", type=Path)
    return parser.parse_args(arguments)


def _watched() -> tuple[Try, list[str]]:
    """Import what is to be watched for coverage: once, for all the children that are forked from here."""
    import atheris

    with atheris.instrument_imports(include=list(_WATCHED)):
        from tests.fuzzing.harness import try_out
        from tests.fuzzing.targets import TARGETS

    def try_one(name: str, data: bytes) -> object:
        return try_out(name, data, longest_secs=_LONGEST_SECS)

    return try_one, list(TARGETS)


class _Player:
    """One target, and where what it finds goes."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.told = folder / "told"
        self._found, self.artifacts = folder / "found", folder / "artifacts"
        for one in (self._found, self.artifacts):
            one.mkdir(parents=True)
        self._corpus, self._regressions = _HERE / "corpus" / name, _HERE / "regressions" / name

    def playing(self, secs: int, options: argparse.Namespace) -> list[str]:
        places = [self._found, self._corpus, *([self._regressions] if self._regressions.is_dir() else [])]
        return [
            f"-max_total_time={secs}", f"-runs={options.runs}", f"-seed={options.seed}", f"-max_len={MAX_BYTES}", f"-timeout={_HANGS_AFTER_SECS}",
            f"-dict={DICTIONARY}", f"-artifact_prefix={self.artifacts}/", "-rss_limit_mb=4096", "-print_final_stats=1", "-report_slow_units=3600",
            *map(str, places),
        ]  # fmt: skip

    def merging(self) -> list[str]:
        return ["-merge=1", f"-max_len={MAX_BYTES}", str(self._corpus), str(self._found)]

    def has_found(self, code: int) -> bool:
        """Tell what became of it; keep what breaks a rule."""
        told = self.told.read_text(errors="replace")
        inputs = next((line.split()[-1] for line in told.splitlines() if "number_of_executed_units" in line), "?")
        broken = sorted(self.artifacts.iterdir())
        print(f"{self.name}: {inputs} inputs", flush=True)
        for file in broken:
            self._regressions.mkdir(parents=True, exist_ok=True)
            kept = self._regressions / file.name.partition("-")[2][:12]
            kept.write_bytes(file.read_bytes())
            print(f"{self.name}: FOUND {kept.relative_to(_HERE)}\n{_last_words(told)}", flush=True)
        if code and not broken:
            print(f"{self.name}: it ended with {code}\n{told[-3000:]}", flush=True)
        return bool(code or broken)


def _last_words(told: str) -> str:
    lines = told.splitlines()
    first = next((n for n, line in enumerate(lines) if "Uncaught Python exception" in line), max(0, len(lines) - 20))
    return "\n".join(f"  {line[:300]}" for line in lines[first : first + 60])


def _in_child(try_one: Try, player: _Player, arguments: Sequence[str]) -> int:
    """Give a child to libFuzzer, which does not give it back."""
    import atheris

    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    told = os.open(player.told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 1)
    os.dup2(told, 2)
    logging.disable()
    dice = Random(0)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        dice.seed(seed)
        return mutated(data, dice, most=most) if seed % 2 else atheris.Mutate(data, most)[:most]

    def one(data: bytes) -> None:
        try:
            try_one(player.name, data)
        except AssertionError:  # as libFuzzer names it; of the empty input, it keeps nothing
            name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            (player.artifacts / f"crash-{name}").write_bytes(data)
            raise

    try:
        atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutate)
        atheris.Fuzz()
    except (AssertionError, SystemExit):  # what the parent has set up is not this child's to take down
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
