"""The two rules of every target: only our errors come out, and an input takes a second at most.

Pure but for the clock, which counts the processor's time of this thread: what else the machine does is no
input's fault.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from tests.fuzzing.mutate import MAX_BYTES, mutated
from tests.fuzzing.targets import TARGETS, Target

__all__ = ["LONGEST_SECS", "FindingError", "corpus_of", "round_of", "try_out"]

LONGEST_SECS = 1.0
_HERE = Path(__file__).parent


class FindingError(AssertionError):
    """An input that breaks a rule."""


def try_out(name: str, data: bytes, *, longest_secs: float = LONGEST_SECS) -> float:
    """Give the seconds that an input took. Raises `FindingError`."""
    target: Target = TARGETS[name]
    began = time.thread_time()
    try:
        target(data)
    except Exception as error:  # whatever a target lets out is what we look for
        shown = repr(data[:200]) + ("..." if len(data) > 200 else "")
        raise FindingError(
            f"{name}: {type(error).__name__}: {str(error)[:300]}\n  {len(data)} bytes: {shown}"
        ) from error
    took = time.thread_time() - began
    if took > longest_secs:
        raise FindingError(f"{name}: {took:.1f} s for {len(data)} bytes: {data[:200]!r}")
    return took


def corpus_of(name: str) -> Sequence[tuple[str, bytes]]:
    """Seeds of a target, and what was found in it before."""
    places = (_HERE / "corpus" / name, _HERE / "regressions" / name)
    files = [file for place in places if place.is_dir() for file in sorted(place.iterdir())]
    return [(f"{file.parent.parent.name}/{name}/{file.name}", file.read_bytes()) for file in files]


def round_of(name: str, *, seed: int) -> Iterator[bytes]:
    """Mutations without end, the same ones for the same seed."""
    dice = Random(f"{name}/{seed}")
    seeds = [data for _, data in corpus_of(name)] or [b""]
    while True:
        yield mutated(dice.choice(seeds), dice, most=MAX_BYTES)
