"""Measure scenarios, hold them against their bars, and keep the results.

    python benchmarks/run.py all                       everything, about fifteen minutes on two cores
    python benchmarks/run.py dense wide                two scenarios
    python benchmarks/run.py all --scale small         does it all still run? A minute; judges nothing
    python benchmarks/run.py dense --json              the result as JSON on standard output

Exit code 1: a bar was missed at full scale.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.lab import (
    assets,
    committing,
    decoders,
    decoding,
    extract,
    killed,
    landing,
    on_spark,
    peers,
    planning,
    reconcile,
    results,
    scenarios,
    shards,
    short,
    throttled,
)
from benchmarks.lab.machine import machine
from benchmarks.lab.processes import claim_cores

KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "assets": assets.measure,
    "committing": committing.measure,
    "decoders": decoders.measure,
    "decoding": decoding.measure,
    "landing": landing.measure,
    "extract": extract.measure,
    "killed": killed.measure,
    "memory": extract.measure_memory,
    "on_spark": on_spark.measure,
    "peers": peers.measure,
    "planning": planning.measure,
    "reconcile": reconcile.measure,
    "shards": shards.measure,
    "short": short.measure,
    "throttled": throttled.measure,
}


def measured(name: str, scale: str, cores: int) -> dict[str, Any]:
    """Measure one scenario, saying on standard error how it goes."""
    scenario = scenarios.load(name, scale)
    tell(f"{scenario.name}: {scenario.title}")
    where = machine(cores)
    began = time.perf_counter()
    found = KINDS[scenario.kind](scenario.settings, scale, lambda text: tell(f"  {text}"))
    result = results.result_of(scenario, scale, found, where)
    for line in results.summary(result):
        tell(f"  {line}")
    tell(f"  took {time.perf_counter() - began:.0f} s")
    return result


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "benchmarks/run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = scenarios.names()
    parser.add_argument(
        "scenarios", nargs="+", metavar="SCENARIO", choices=[*known, "all"], help=f"{', '.join(known)}; or all"
    )
    parser.add_argument("--scale", choices=scenarios.SCALES, default="full", help="small: only whether it runs")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go (full scale: benchmarks/results)")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON list")
    given = parser.parse_args(arguments)
    missing = {} if decoders.is_measurable() else {"native": decoders.NOT_HERE}
    missing |= {} if on_spark.is_measurable() else {"spark": on_spark.NOT_HERE}
    wanted = known if "all" in given.scenarios else list(dict.fromkeys(given.scenarios))
    chosen = [name for name in wanted if name not in missing]
    for name in wanted:
        if name in missing:
            tell(f"{name} is left out: {missing[name]}")
    if not chosen:
        return 1
    cores = claim_cores()
    found = [measured(name, given.scale, cores) for name in chosen]
    folder = given.out or (results.FOLDER if given.scale == "full" else None)
    if folder is not None:
        for result in found:
            tell(f"wrote {results.write(result, folder)}")
    if given.json:
        print(json.dumps(found))
    missed = [f"{result['scenario']}: {bar['says']}" for result in found for bar in result["bars"] if not bar["met"]]
    if missed and given.scale == "full":
        tell(f"bars missed: {'; '.join(missed)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
