"""Fuzzes what reads foreign bytes, guided by coverage (atheris, libFuzzer): every target for its share of the time.

    python -m tests.fuzzing.play --secs 60                         all targets, two at a time
    python -m tests.fuzzing.play --secs 600 --only catalog         one of them
    python -m tests.fuzzing.play --secs 600 --keep                 and keep what reached new code, beside the seeds
    python -m tests.fuzzing.play --only catalog --input FILE       one input again, with its traceback

What breaks a rule is written to `tests/fuzzing/regressions/<target>/`, where the default tests find it from then
on, and ends this with 1. Half of the mutations are ours, which know JSON; the others are libFuzzer's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from .mutate import DICTIONARY, MAX_BYTES, mutated

__all__ = ["main"]

_HERE = Path(__file__).parent
# A target that is being watched takes a few times as long as in production, and the machine may be busy.
_LONGEST_SECS = 5.0
_HANGS_AFTER_SECS = 60
_LEAST_SECS = 2
_AT_ONCE = 2
# The packages that are watched for coverage.
_WATCHED = ("engine.piweb", "engine.datasets", "engine.net", "engine.plan", "writers")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.child:
        _fuzz(options.child, options.arguments)
        return 0
    from .harness import try_out
    from .targets import TARGETS

    names = options.only or list(TARGETS)
    if options.input:
        try_out(names[0], options.input.read_bytes())
        return 0
    secs = max(_LEAST_SECS, round(options.secs * _AT_ONCE / len(names)))
    with ThreadPoolExecutor(_AT_ONCE) as players:
        ends = list(players.map(lambda name: _play(name, secs, options.seed, keep=options.keep), names))
    return 1 if any(ends) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--secs", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _play(name: str, secs: int, seed: int, *, keep: bool) -> bool:
    """Whether something was found."""
    corpus, regressions = _HERE / "corpus" / name, _HERE / "regressions" / name
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, artifacts = Path(folder, "found"), Path(folder, "artifacts")
        found.mkdir()
        artifacts.mkdir()
        flags = [
            f"-max_total_time={secs}", f"-seed={seed}", f"-max_len={MAX_BYTES}", f"-timeout={_HANGS_AFTER_SECS}",
            f"-dict={DICTIONARY}", f"-artifact_prefix={artifacts}/", "-rss_limit_mb=4096", "-print_final_stats=1",
        ]  # fmt: skip
        places = [str(found), str(corpus), *([str(regressions)] if regressions.is_dir() else [])]
        done = _in_child(name, [*flags, *places])
        inputs = next(
            (line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?"
        )
        broken = sorted(artifacts.iterdir())
        print(f"{name}: {inputs} inputs in {time.monotonic() - began:.0f} s", flush=True)
        if keep:
            _in_child(name, ["-merge=1", f"-max_len={MAX_BYTES}", str(corpus), str(found)])
        for file in broken:
            regressions.mkdir(parents=True, exist_ok=True)
            kept = regressions / file.name.partition("-")[2][:12]
            kept.write_bytes(file.read_bytes())
            print(f"{name}: FOUND {kept.relative_to(_HERE)}\n{_last_words(done.stderr)}", flush=True)
        if done.returncode and not broken:
            print(f"{name}: it ended with {done.returncode}\n{done.stderr[-3000:]}", flush=True)
        return bool(done.returncode or broken)


def _last_words(told: str) -> str:
    lines = told.splitlines()
    first = next((n for n, line in enumerate(lines) if "Uncaught Python exception" in line), max(0, len(lines) - 20))
    return "\n".join(f"  {line[:300]}" for line in lines[first : first + 60])


def _in_child(name: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzzing.play", "--child", name, "--", *arguments]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)


def _fuzz(name: str, arguments: Sequence[str]) -> None:
    """Give this process to libFuzzer, which does not give it back."""
    import logging

    import atheris

    logging.disable()
    with atheris.instrument_imports(include=list(_WATCHED)):
        from .harness import try_out

    dice = Random(0)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        dice.seed(seed)
        return mutated(data, dice, most=most) if seed % 2 else atheris.Mutate(data, most)[:most]

    def one(data: bytes) -> None:
        try_out(name, data, longest_secs=_LONGEST_SECS)

    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
