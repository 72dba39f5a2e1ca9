"""One Spark for all tests: a process of its own, asked over a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.exactness.expected import COLUMNS, Row, exact_double
from tests.unity.jars import jars

__all__ = ["SourceSpark", "Spark", "SparkError", "started", "started_with_source", "table"]

_ROOT = Path(__file__).resolve().parents[2]


class SparkError(Exception):
    """What Spark said instead of an answer."""


def table(path: Path) -> str:
    """Name a table by its place, as SQL has it."""
    return f"delta.`{path}`"


@dataclass(frozen=True, slots=True)
class Spark:
    process: subprocess.Popen[str]
    log: Path

    def sql(self, text: str, **conf: str) -> list[tuple[Any, ...]]:
        """Run one statement; settings are written with `__` for their dots."""
        return [tuple(row) for row in self._ask(do="sql", text=text, conf=_dotted(conf))["rows"]]

    def records(self, text: str, **conf: str) -> list[dict[str, Any]]:
        answer = self._ask(do="sql", text=text, conf=_dotted(conf))
        return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]

    def scanned(self, text: str, **conf: str) -> tuple[list[tuple[Any, ...]], int]:
        """Run one query; give its rows, and how many files were opened for them."""
        answer = self._ask(do="scanned", text=text, conf=_dotted(conf))
        return [tuple(row) for row in answer["rows"]], answer["files"]

    def events(self, path: Path, **conf: str) -> list[Row]:
        """Rows of a timeseries table, spelled as the closed form spells them."""
        place = COLUMNS.index("value")
        found = self.sql(f"SELECT {', '.join(COLUMNS)} FROM {table(path)}", **conf)
        return [(*row[:place], exact_double(row[place]), *row[place + 1 :]) for row in found]

    def history(self, path: Path) -> list[dict[str, Any]]:
        """Commits of a table, newest first."""
        return self.records(f"DESCRIBE HISTORY {table(path)}")

    def stream(self, source: Path, target: Path, **options: str) -> None:
        """Append to `target` what a stream over `source` has not given it yet."""
        checkpoint = target.with_name(f"{target.name}.checkpoint")
        self._ask(do="stream", source=str(source), target=str(target), checkpoint=str(checkpoint), options=options)

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BaseException:
            self.process.kill()  # its answer would be taken for that to the next question
            raise
        assert line, f"Spark has died: {self.log.read_text()[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SparkError(answer["error"])
        return answer


class SourceSpark(Spark):
    """Spark that knows the data source `pi_web_api`."""

    def read(self, options: dict[str, str], target: Path) -> list[str]:
        """Write what a batch gives into a new Delta table. Gives its columns with their types."""
        return [row[0] for row in self._ask(do="read", options=options, target=str(target))["rows"]]

    def plan(self, options: dict[str, str]) -> str:
        """What Spark shows of the plan of a batch."""
        return str(self._ask(do="plan", options=options)["rows"][0][0])

    def follow(self, options: dict[str, str], target: Path, *, every: str | None = None) -> None:
        """Append a stream to a Delta table: what there is now, or, with `every`, from now on, until `rest`."""
        checkpoint = target.with_name(f"{target.name}.checkpoint")
        self._ask(do="follow", options=options, target=str(target), checkpoint=str(checkpoint), every=every)

    def rest(self) -> None:
        """Stop the stream, once it has read what there is."""
        self._ask(do="rest")

    def kill(self) -> None:
        """Kill it, with Java and all workers."""
        parent = psutil.Process(self.process.pid)
        for each in [parent, *parent.children(recursive=True)]:
            each.kill()
        self.process.wait()


@contextmanager
def started(folder: Path) -> Iterator[Spark]:
    """Start Spark, with its warehouse and its log under this folder."""
    python = jars("spark-4.0.1", "spark") / "bin" / "python"
    with _driven(folder, python, "driver.py", {}) as process:
        yield Spark(process, folder / "spark.log")
        # At the end of its input it ends, and takes Java with it.


@contextmanager
def started_with_source(folder: Path) -> Iterator[SourceSpark]:
    """The same on the Python of the tests, which has what the source needs."""
    home = jars("spark-4.0.1", "spark")
    [packages] = (home / "lib").glob("python*/site-packages")
    if packages.parent.name != f"python{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip("Spark was installed for another Python")
    # Spark puts its own zip of PySpark first, which Python would compile anew in each worker: here it has none.
    place = folder / "home"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("bin", "jars"):
        if not (place / name).exists():
            (place / name).symlink_to(packages / "pyspark" / name)
    env = {"PYTHONPATH": os.pathsep.join([str(_ROOT), str(packages)]), "SPARK_HOME": str(place)}
    with _driven(folder, Path(sys.executable), "source_driver.py", env) as process:
        yield SourceSpark(process, folder / "spark.log")


@contextmanager
def _driven(folder: Path, python: Path, driver: str, more: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    delta = ",".join(map(str, sorted(jars("delta-4.0.1", "spark").glob("*.jar"))))
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "SPARK_HOME"}}
    folder.mkdir(exist_ok=True)
    with (folder / "spark.log").open("a") as log:
        process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name(driver)), delta, str(folder / "warehouse")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={**env, "TZ": "UTC", "PYSPARK_PYTHON": str(python), **more},
        )
        with process:
            yield process


def _dotted(conf: dict[str, str]) -> dict[str, str]:
    return {name.replace("__", "."): value for name, value in conf.items()}
