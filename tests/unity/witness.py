"""Delta Kernel, with its own client of the catalog, as tests call it. What it does is in Witness.java."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.landing.lake import event_rows
from tests.unity.jars import jars
from tests.unity.stand_in import TOKEN, StandIn
from writers import PI_TIMESERIES, Lakehouse

__all__ = ["APP", "NAME", "Seen", "Witness", "compiled"]

NAME = "main.bronze.pi_timeseries"
APP = "osipi/p/recorded/0-of-1"


@dataclass(frozen=True)
class Seen:
    """What the witness reads."""

    rows: list[tuple[str, int]]
    version: int
    sequence: int | None


@dataclass(frozen=True)
class Witness:
    classpath: str
    catalog: StandIn

    def __call__(self, *command: object) -> list[list[str]]:
        where = [self.catalog.host, TOKEN, *NAME.split(".")]
        done = subprocess.run(
            ["java", "-Xmx512m", "-cp", self.classpath, "Witness", *where, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=300,  # on a busy machine Java alone takes a minute to start
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [line.split("\t") for line in done.stdout.splitlines()]

    def read(self) -> Seen:
        *rows, (_, version), (_, sequence) = self("rows", APP)
        return Seen(
            sorted((tag, int(at)) for tag, at, _ in rows), int(version), None if sequence == "null" else int(sequence)
        )

    def tally(self) -> dict[str, tuple[int, int]]:
        """Of each tag the number of its rows, and the sum of their timestamps."""
        return {tag: (int(rows), int(total)) for tag, rows, total in self("tally")}

    def append(self, lakehouse: Lakehouse, tag: str, at: int, sequence: int, *, publish: bool) -> None:
        """Have it commit a file of ours in its own way."""
        stage = lakehouse.table(PI_TIMESERIES).open().stage()
        stage.write(event_rows(tag, [at]))
        [file] = stage.close()
        path = f"{self.catalog.tables[NAME].location}/{file.path}"
        self("append" if publish else "append-only", path, file.size_bytes, 0, "witness", sequence)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the class path it runs with."""
    folder, libraries = tmp_path_factory.mktemp("witness"), f"{jars('delta-kernel-4.4.0')}/*"
    source = Path(__file__).with_name("Witness.java")
    subprocess.run(["javac", "-nowarn", "-cp", libraries, "-d", str(folder), str(source)], check=True, timeout=100)
    return f"{folder}:{libraries}"
