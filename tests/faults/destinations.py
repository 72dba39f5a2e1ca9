"""Places where tables lie, each with what goes wrong there: a folder, an object store, a catalog.

Each gives a run while the fault lasts, a run after it, and what the tables then hold.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from deltalake import DeltaTable

from config import from_mapping
from config.errors import ExtractError
from engine.datasets.registry import DATASETS
from engine.run import run
from tests.crash.process import Process, redirect, run_of
from tests.crash.process import command as command_of
from tests.crash.test_storage_gives_out import remount, small_disk
from tests.exactness.reading import is_table, version_of
from tests.faults import acts
from tests.faults.chaos import Act, ChaosProxy
from tests.faults.rig import Cell, Ended, Prepared, in_cell
from tests.faults.subjects import Content, Subject, rows_of_table
from tests.unity.stand_in import TOKEN, StandIn
from writers.unity import open_unity

__all__ = ["Place", "Turn", "in_bucket", "in_catalog", "in_crowd", "in_turns", "on_full_disk", "on_read_only_disk"]

_SERVER_ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
# What the storage client does about errors is its own: by default it goes on for three minutes.
_SOON = {
    "max_retries": "3",
    "retry_timeout": "5s",
    "backoff_config.init_backoff": "10ms",
    "backoff_config.max_backoff": "50ms",
}


@dataclass
class Place:
    """`faulty` and `healed` are runs; `content` is what the tables hold."""

    faulty: Callable[[], Any]
    healed: Callable[[], Any]
    content: Callable[[], Content]


# --- folders --------------------------------------------------------------------------


@asynccontextmanager
async def on_read_only_disk(subject: Subject, prepared: Prepared, folder: Path) -> AsyncIterator[Place]:
    """A folder that has become read-only. Skips where no disk can be mounted."""
    with small_disk(folder / "disk", "size=100m"):
        root = folder / "disk" / "lake"
        shutil.copytree(prepared.lake, root)
        async with _changed(subject, root) as cell:
            remount(folder / "disk", "ro")

            async def healed() -> Ended:
                remount(folder / "disk", "rw")
                return await cell.run(retry_holes=True)

            yield Place(cell.run, healed, cell.content)


@asynccontextmanager
async def on_full_disk(subject: Subject, prepared: Prepared, folder: Path) -> AsyncIterator[Place]:
    """A disk on which no file can grow: writing fails in the middle of each file that is not tiny."""
    root = folder / "lake"
    shutil.copytree(prepared.lake, root)
    async with _changed(subject, root) as cell:

        async def faulty() -> Ended:
            ended = await run_of(folder / "full", cell.document(), max_file_bytes=1_000).end()
            assert "Traceback" not in ended.output, ended.output
            return Ended(ended.code, ended.error)

        yield Place(faulty, lambda: cell.run(retry_holes=True), cell.content)


@asynccontextmanager
async def in_crowd(subject: Subject, prepared: Prepared, folder: Path) -> AsyncIterator[Place]:
    """Another writer commits to each table before each step of a landing."""
    root = folder / "lake"
    shutil.copytree(prepared.lake, root)
    tables = [root / "main" / "bronze" / spec.name for spec in DATASETS[subject.name].tables]
    tables.append(root / "main" / "checkpoints" / "pi_watermarks")
    async with _changed(subject, root) as cell:

        async def faulty() -> Ended:
            try:
                report = await run(
                    from_mapping(cell.document(), env={}).config, on_step=lambda _step: _others_commit(tables)
                )
            except ExtractError as error:
                return Ended(error.exit_code, error.message)
            return Ended(report.exit_code, report.failure() or "")

        yield Place(faulty, lambda: cell.run(retry_holes=True), cell.content)


def _others_commit(tables: Iterable[Path]) -> None:
    info = {"commitInfo": {"timestamp": 1_700_000_000_000, "operation": "OPTIMIZE", "engineInfo": "another engine"}}
    for table in tables:
        if is_table(table):
            (table / "_delta_log" / f"{version_of(table) + 1:020}.json").write_text(json.dumps(info) + "\n")


# --- an object store ------------------------------------------------------------------


@asynccontextmanager
async def in_bucket(
    subject: Subject, folder: Path, s3: dict[str, str], act: Act, *, hits: str, left: int | None
) -> AsyncIterator[Place]:
    """A bucket behind a proxy, which does `act` to requests whose method matches `hits`."""
    bucket, file = f"s3://lake/{uuid4().hex}", folder / "plant.yaml"
    pattern = re.compile(hits)
    async with (
        _changed(subject, folder) as cell,
        ChaosProxy(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2])).serve() as store,
    ):
        options = {**s3, **_SOON, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}"}
        document = cell.document()
        document["storage"] = {"root": bucket, "options": options}
        file.write_text(json.dumps(document))

        async def ended(name: str) -> Ended:
            return _as_told(await command_of(folder / name, "run", "-c", str(file), "--json").end())

        async def faulty() -> Ended:
            store.trouble(act, lambda request: bool(pattern.search(request.text)), left)
            return await ended("faulty")

        async def healed() -> Ended:
            store.trouble(None, lambda _: False, None)
            return await ended("healed")

        def content() -> Content:
            found = {}
            for spec in DATASETS[subject.name].tables:
                url = f"{bucket}/main/bronze/{spec.name}"
                there = DeltaTable.is_deltatable(url, s3)
                found[spec.name] = (
                    Counter(rows_of_table(DeltaTable(url, storage_options=s3).to_pyarrow_table()))
                    if there
                    else Counter()
                )
            return found

        yield Place(faulty, healed, content)


STORE_500 = acts.raw(acts.Answer.of(500, _SERVER_ERROR, "application/xml").wire(more=b"Connection: close\r\n"))
STORE_503 = acts.raw(acts.Answer.of(503, _SLOW_DOWN, "application/xml").wire(more=b"Connection: close\r\n"))


# --- a catalog ------------------------------------------------------------------------


@asynccontextmanager
async def in_catalog(subject: Subject, folder: Path, *, stays: bool) -> AsyncIterator[Place]:
    """A catalog that goes away in the middle of the first commit, and comes back when asked again, or after the run."""
    file = folder / "plant.yaml"
    with StandIn(f"file://{folder}/tables") as catalog:
        async with _changed(subject, folder) as cell:
            document = cell.document()
            del document["storage"]
            file.write_text(json.dumps(document))

            async def ended(name: str) -> Ended:
                arguments = ["run", "-c", str(file), "--json"]
                login = {"DATABRICKS_HOST": catalog.host, "DATABRICKS_TOKEN": TOKEN}
                return _as_told(await Process(_with_login, folder / name, login, arguments).end())

            async def faulty() -> Ended:
                def leave() -> bool:
                    catalog.at_answer.clear()
                    catalog.away = "failing" if stays else "silent"
                    return True

                catalog.at_answer["add-commit"] = leave
                catalog.back_after = None if stays else 2
                return await ended("faulty")

            async def healed() -> Ended:
                catalog.away = ""
                return await ended("healed")

            def content() -> Content:
                catalog.away = ""  # the run is over
                # A commit may be ratified and not published yet, so that it is the catalog who is asked.
                lakehouse = open_unity(
                    host=catalog.host, token=TOKEN, table_type="managed", location=f"file://{folder}/x"
                )
                found: dict[str, Counter[Any]] = {}
                for spec in DATASETS[subject.name].tables:
                    there = f"main.bronze.{spec.name}" in catalog.tables
                    rows = lakehouse.table(spec).open().read().read_all() if there else None
                    found[spec.name] = Counter() if rows is None else Counter(rows_of_table(rows))
                return found

            yield Place(faulty, healed, content)


def _with_login(folder: str, login: dict[str, str], arguments: list[str]) -> None:
    from tests.crash.process import _command

    os.environ.update(login)
    _command(folder, arguments)


# --- signals --------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """A turn of the event loop, as a share of all turns of a whole run, and the signal that comes then."""

    share: float
    number: signal.Signals


@asynccontextmanager
async def in_turns(subject: Subject, prepared: Prepared, folder: Path, turn: Turn) -> AsyncIterator[Place]:
    """A run that gets a signal at one turn of its event loop, which is between two awaits."""
    root, file = folder / "lake", folder / "plant.yaml"
    shutil.copytree(prepared.lake, root)
    async with _changed(subject, root) as cell:
        counted = folder / "counted-lake"
        shutil.copytree(prepared.lake, counted)
        cell.root = counted
        file.write_text(json.dumps(cell.document()))
        arguments = ["run", "-c", str(file), "--json"]
        whole = await Process(_at_turn, folder / "counted", arguments, 0, 0).end()
        assert whole.code == 0, whole
        turns = int((folder / "counted" / "turns").read_text())
        cell.root = root
        file.write_text(json.dumps(cell.document()))

        async def faulty() -> Ended:
            at = max(1, int(turn.share * turns))
            return _as_told(await Process(_at_turn, folder / "signalled", arguments, at, int(turn.number)).end())

        yield Place(faulty, lambda: cell.run(retry_holes=True), cell.content)


def _at_turn(folder: str, arguments: list[str], turn: int, number: int) -> None:
    """The command, which sends itself a signal at this turn of its event loop. Writes down how many there were."""
    from asyncio import base_events

    from engine.cli import main

    redirect(folder)
    sys.stdout = Path(folder, "report.json").open("w")  # noqa: SIM115 - until the process ends
    turns, once = 0, base_events.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def counted(loop: Any) -> None:
        nonlocal turns
        turns += 1
        if turns == turn:
            os.kill(os.getpid(), number)
        once(loop)

    base_events.BaseEventLoop._run_once = counted  # type: ignore[attr-defined]
    code = main(arguments)
    sys.stdout.flush()
    Path(folder, "turns").write_text(str(turns))
    sys.exit(code)


# --- all ------------------------------------------------------------------------------


@asynccontextmanager
async def _changed(subject: Subject, root: Path) -> AsyncIterator[Cell]:
    """The source in the state of the second run."""
    async with in_cell(subject, root) as cell:
        subject.change(cell.server)
        yield cell


def _as_told(ended: Any) -> Ended:
    assert "Traceback" not in ended.output, ended.output
    return Ended(ended.code, json.dumps(ended.report) + ended.output)
