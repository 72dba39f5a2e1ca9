"""One commit of staged files: by delta-rs at a path, to an external table and to a managed table of a catalog.

Each way runs as a child (`python -m benchmarks.lab.committing WAY FOLDER SETTINGS [HOST]`), in turns, against a
catalog in another process. That catalog is the stand-in of the tests, over loopback: what is measured is what we and
the storage do for a commit, and how often the catalog is asked, not the time that a network and a real server take.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.lab import ROOT
from benchmarks.lab.landing import batches
from benchmarks.lab.processes import ChildError, json_of, run_child
from tests.unity.stand_in import TOKEN
from writers import PI_TIMESERIES, Commit, CommitKey, CommitTable, StagedFile, open_lakehouse
from writers.unity import open_unity

__all__ = ["WAYS", "measure"]

WAYS = ("path", "external", "managed")
# The requests of a commit; the other requests open or create the table.
_OF_COMMITS = ("add-commit", "set-latest-backfilled-version", "metrics")


@dataclass(slots=True)
class _Catalog:
    """A running stand-in for the catalog. `asked` and `cpu_seconds` are set when it has ended."""

    host: str
    asked: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0


def measure(settings: Mapping[str, Any], _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every variant in turns; returns the figures and the single runs."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(settings["repeats"]):
        for way in WAYS:
            runs[way].append(_once(way, settings))
            say(f"turn {turn + 1}: {way} {runs[way][-1]['median_ms']:.2f} ms a commit")
    best = {way: min(found, key=lambda run: float(run["median_ms"])) for way, found in runs.items()}
    path, external, managed = (best[way]["median_ms"] for way in WAYS)
    commits = settings["commits"]
    figures = {
        "commits": commits,
        "files_per_commit": best["path"]["files"] / commits,
        "path_ms": path,
        "external_ms": external,
        "managed_ms": managed,
        "ratio_external": external / path,
        "ratio_managed": managed / path,
        "requests_per_external_commit": best["external"]["requests"] / commits,
        "requests_per_managed_commit": best["managed"]["requests"] / commits,
        "stand_in_cpu_ms": best["managed"]["catalog_cpu_seconds"] / commits * 1000,
        "path_p95_ms": best["path"]["p95_ms"],
        "managed_p95_ms": best["managed"]["p95_ms"],
    }
    return {"figures": figures, "runs": runs}


def _once(way: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="osipi-committing-") as folder:
        command = ["-m", "benchmarks.lab.committing", way, folder, json.dumps(dict(settings))]
        if way == "path":
            return json_of(run_child(command))
        with _catalog(f"file://{folder}/managed") as catalog:
            found = json_of(run_child([*command, catalog.host]))
        requests = sum(catalog.asked.get(kind, 0) for kind in _OF_COMMITS)
        return {**found, "requests": requests, "asked": catalog.asked, "catalog_cpu_seconds": catalog.cpu_seconds}


@contextlib.contextmanager
def _catalog(root: str) -> Iterator[_Catalog]:
    command = [sys.executable, "-m", "tests.unity.serve", root]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        if not first.startswith("listening on "):
            raise ChildError("the catalog did not start")
        catalog = _Catalog(first.removeprefix("listening on ").strip())
        yield catalog
        times = psutil.Process(child.pid).cpu_times()
        catalog.cpu_seconds = float(times.user + times.system)
        catalog.asked = json.loads(child.communicate()[0])


def _open(way: str, folder: str, host: str) -> CommitTable:
    if way == "path":
        return open_lakehouse(f"{folder}/path").table(PI_TIMESERIES).open()
    kind: Any = way
    lakehouse = open_unity(host=host, token=TOKEN, table_type=kind, location=f"file://{folder}/external")
    return lakehouse.table(PI_TIMESERIES).open()


def _staged(table: CommitTable, settings: Mapping[str, Any]) -> list[tuple[StagedFile, ...]]:
    """The same rows for every variant. Each commit has files of its own, one for each day."""
    found = []
    for number in range(settings["commits"]):
        stage = table.stage()
        for batch in batches({**settings, "seed": settings["seed"] + number}):
            stage.write(batch)
        found.append(stage.close())
    return found


def _commit(way: str, folder: str, settings: Mapping[str, Any], host: str) -> dict[str, Any]:
    table = _open(way, folder, host)
    staged, took = _staged(table, settings), []
    for sequence, files in enumerate(staged, 1):
        begun = time.perf_counter()
        table.commit(Commit(CommitKey("benchmark", sequence), files))
        took.append(1000 * (time.perf_counter() - begun))
    rows = table.open().read(["sequence"]).read_all().num_rows
    if rows != sum(file.rows for files in staged for file in files):
        raise SystemExit(f"{rows} rows are in the table, which is not what was committed")
    return {
        "median_ms": statistics.median(took),
        "p95_ms": statistics.quantiles(took, n=20)[-1],
        "files": sum(map(len, staged)),
        "rows": rows,
    }


if __name__ == "__main__":
    print(json.dumps(_commit(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), "".join(sys.argv[4:]))))
