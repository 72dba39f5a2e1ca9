"""Runs in processes of their own: killed at every step, racing, rerun. The tables are exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest

from tests.landing.lake import Lake
from tests.patience import HANGS_AFTER_SECS
from tests.unity.stand_in import SINS, TOKEN, StandIn
from writers import Names
from writers.unity import open_unity

ROOT = Path(__file__).parents[2]
LANDING_STEPS = ("before_staging", "after_staging", "after_data_commit", "after_watermark_commit")
COMMIT_STEPS = ("staged", "ratified", "copied", "published")
CATALOGS = ["stand-in", *SINS, pytest.param("server", marks=pytest.mark.unity)]  # these tests are slow anyway


@dataclass(frozen=True)
class Runs:
    """Starts runs against one catalog."""

    target: dict[str, Any]
    unique_names: bool = True
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, kind: str, *, shard: str = "0-of-1", until: int = 4, kill: str = "") -> subprocess.Popen[str]:
        what = {**self.target, "kind": kind, "shard": shard, "until": until, "kill": kill, "run_id": uuid4().hex}
        command = [sys.executable, "-m", "tests.unity.worker", json.dumps(what)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def lake(self, kind: Literal["managed", "external"] = "managed") -> Lake:
        return Lake(
            open_unity(
                host=self.target["host"],
                token=self.target["token"],
                names=Names(catalog=self.target["catalog"]),
                table_type=kind,
                location=self.target["location"],
            )
        )


@pytest.fixture(params=CATALOGS)
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    target = {"location": f"file://{tmp_path}/external", "options": {}, "catalog": "main", "token": TOKEN}
    if request.param == "server":
        server = request.getfixturevalue("server")
        name = server.create_catalog(f"c{uuid4().hex[:8]}", f"file://{tmp_path}/managed")
        yield Runs({**target, "host": server.host, "catalog": name}, unique_names=False)
        return
    with StandIn(f"file://{tmp_path}", **SINS.get(request.param, {})) as catalog:
        yield Runs({**target, "host": catalog.host}, unique_names=request.param != "twins")


def finish(process: subprocess.Popen[str]) -> int:
    try:
        _, errors = process.communicate(timeout=HANGS_AFTER_SECS)
    finally:
        process.kill()
    assert process.returncode in {0, -signal.SIGKILL}, errors
    return process.returncode


DEATHS = [*(("managed", s) for s in (*LANDING_STEPS, *COMMIT_STEPS)), *(("external", s) for s in LANDING_STEPS)]
TELLING = {("managed", "staged"), ("managed", "ratified"), ("managed", "copied"), ("external", "after_data_commit")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "step"), [pytest.param(*d, marks=() if d in TELLING else pytest.mark.unity) for d in DEATHS]
)
def test_a_killed_run_is_finished_by_the_next(runs: Runs, kind: str, step: str) -> None:
    assert finish(runs.start(kind, kill=step)) == -signal.SIGKILL
    assert finish(runs.start(kind)) == 0
    assert runs.lake().events() == [("tag of 0-of-1", t) for t in range(8)]
    assert runs.lake().opened().open()["tag of 0-of-1"].rows_total == 8


# Which request of each kind: of those that create a table the first, of those that commit one in the middle.
REQUESTS = {
    "stage": 1,
    "create-managed": 1,
    "add-commit": 3,
    "set-latest-backfilled-version": 3,
    "metrics": 3,
}
AT_REQUESTS = [(kind, arrives) for kind in REQUESTS for arrives in (False, True)]
TELLING_REQUESTS = {("create-managed", True), ("add-commit", True), ("set-latest-backfilled-version", False)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_kind", "arrives"),
    [pytest.param(*d, marks=() if d in TELLING_REQUESTS else pytest.mark.unity) for d in AT_REQUESTS],
)
def test_a_run_that_dies_while_it_asks_the_catalog_is_finished_by_the_next(
    tmp_path: Path, request_kind: str, arrives: bool
) -> None:
    """Whether the catalog still hears it or not: the run is gone before it knows."""
    started, asked, doomed = threading.Event(), count(1), []

    def kill() -> bool:
        if next(asked) != REQUESTS[request_kind]:
            return False
        assert started.wait(HANGS_AFTER_SECS)
        os.kill(doomed[0].pid, signal.SIGKILL)
        return True

    with StandIn(f"file://{tmp_path}") as catalog:
        (catalog.at_answer if arrives else catalog.at_request)[request_kind] = kill
        runs = Runs({"location": None, "options": {}, "catalog": "main", "token": TOKEN, "host": catalog.host})
        doomed.append(runs.start("managed"))
        started.set()
        assert finish(doomed[0]) == -signal.SIGKILL
        assert finish(runs.start("managed")) == 0
        assert runs.lake().events() == [("tag of 0-of-1", t) for t in range(8)]
        assert runs.lake().opened().open()["tag of 0-of-1"].rows_total == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["managed", "external"])
def test_two_shards_with_two_runs_each_race_and_one_of_them_dies(runs: Runs, kind: str) -> None:
    shards = ["0-of-2", "1-of-2"]
    if not runs.unique_names:
        # Two starts of shard 0 on an empty schema would both create: that is the one thing that has to be left alone.
        runs.lake(kind).opened()
    doomed = [runs.start(kind, shard=shards[0], until=6, kill="after_data_commit")]
    racing = [runs.start(kind, shard=shard, until=6) for shard in (*shards, shards[1])]
    outcomes = [finish(process) for process in (*doomed, *racing)]
    assert outcomes[1:] == [0, 0, 0]
    assert runs.lake().events() == sorted((f"tag of {shard}", t) for shard in shards for t in range(12))
