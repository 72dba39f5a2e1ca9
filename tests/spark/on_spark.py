"""`run --on spark` as a command in a process of its own, with a Spark of its own; its executors can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.unity.jars import jars

__all__ = ["CLUSTER", "Command", "Ended", "command", "connect_packages"]

CLUSTER = "local-cluster[2,1,1024]"
_REPOSITORY = Path(__file__).parent.parent.parent
# Starting Java machines on a machine that is busy elsewhere takes minutes.
HANGS_AFTER_SECS = 600
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    report: dict[str, Any]
    log: str


@dataclass(slots=True)
class Command:
    """A run on its way."""

    process: asyncio.subprocess.Process
    log: Path

    def executors(self) -> list[psutil.Process]:
        """The Java machines of the executors."""
        return [
            one
            for one in psutil.Process(self.process.pid).children(recursive=True)
            if _runs(one, "CoarseGrainedExecutorBackend")
        ]

    def kill_executor(self, which: int = 0) -> None:
        """As when a machine is lost: the Java machine and the tasks in it end at once."""
        executors = self.executors()
        one = executors[which % len(executors)]
        for each in (*one.children(recursive=True), one):
            each.kill()

    def kill(self) -> None:
        """Kill the driver and its Java machine, but not the executors."""
        [java] = [one for one in psutil.Process(self.process.pid).children() if _runs(one, "SparkSubmit")]
        self.process.send_signal(signal.SIGKILL)
        java.kill()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def end(self) -> Ended:
        assert self.process.stdout is not None
        output = await asyncio.wait_for(self.process.stdout.read(), HANGS_AFTER_SECS)
        code = await self.process.wait()
        return Ended(code, json.loads(output or "{}"), self.log.read_text())


@asynccontextmanager
async def command(
    folder: Path, document: Mapping[str, Any], *arguments: str, master: str = CLUSTER, **conf: str
) -> AsyncIterator[Command]:
    """The command with this configuration; `conf` as settings of Spark, with `__` for their dots.

    `master` is as Spark names it; `connect` is Spark Connect. What still runs in the end is killed.
    """
    home = next((jars("spark-4.0.1", "spark") / "lib").glob("python3*")) / "site-packages"
    file = _written(folder, document)
    settings = {**_SETTINGS, **{name.replace("__", "."): value for name, value in conf.items()}}
    path = [str(_REPOSITORY), str(home)]
    env = {key: value for key, value in os.environ.items() if key != "SPARK_HOME"}
    if master == "connect":
        path.append(str(connect_packages()))
        env |= {"SPARK_REMOTE": "local[2]", "SPARK_TESTING": "1"}  # the latter: a port of its own
    else:
        written = [part for name, value in settings.items() for part in ("--conf", f"'{name}={value}'")]
        env["PYSPARK_SUBMIT_ARGS"] = " ".join(["--master", f"'{master}'", *written, "pyspark-shell"])
    env |= {
        "PYTHONPATH": os.pathsep.join(path),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / "spark"),
        "SPARK_WORKER_DIR": str(folder / "work"),
        "PYTHONUTF8": "1",
    }
    log = folder / "log"
    with log.open("w") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine", "run", "-c", str(file), "--on", "spark", "--json", *arguments,
            cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=said,
        )  # fmt: skip
    begun = Command(process, log)
    try:
        yield begun
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.returncode is None else []
        for one in left:
            one.kill()
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(folder / "spark", ignore_errors=True)


def _runs(process: psutil.Process, name: str) -> bool:
    """Whether it is a Java machine with this class; one that has just ended is not."""
    try:
        return any(name in word for word in process.cmdline())
    except psutil.Error:
        return False


def _written(folder: Path, document: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True)
    file = folder / "config.yaml"
    file.write_text(json.dumps(document))
    return file


def connect_packages() -> Path:
    """What Spark Connect needs beside PySpark."""
    return jars("spark-connect-packages-4.0.1", "spark")
