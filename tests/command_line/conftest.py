"""The command line as users meet it: commands in this process or another, the simulator on a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click import Context

from engine.cli import commands, main
from engine.commands.simulate import simulate
from engine.simulator import Simulator
from engine.simulator.process import options_of
from tests.patience import HANGS_AFTER_SECS

REPOSITORY = Path(__file__).parent.parent.parent
PASSWORD = "correct horse battery"
NOW = "2024-03-05T12:00:00Z"


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which holds one JSON object and nothing else."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """That of somebody whose shell holds no surprises."""
    unwanted = ("PYTHONWARNINGS", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "UV_RUN_RECURSION_DEPTH")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"} | changes


@contextlib.contextmanager
def process(*arguments: str, cwd: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m engine` in a process of its own, gone at the end."""
    command = [sys.executable, "-m", "engine", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=cwd, env=environment(**changes), **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


def engine(*arguments: str, cwd: Path, **changes: str) -> Done:
    """Run `python -m engine` to its end in a process of its own."""
    with process(*arguments, cwd=cwd, **changes) as started:
        out, err = started.communicate(timeout=HANGS_AFTER_SECS)
        return Done(started.returncode, out, err)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("COLUMNS", "100"), ("UV_RUN_RECURSION_DEPTH", None), ("FORCE_COLOR", None)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    return tmp_path


Called = Callable[..., Done]


@pytest.fixture
def called(here: Path, capsys: pytest.CaptureFixture[str]) -> Called:
    """Call a command in this process: the same `main`, without the seconds it takes to start a Python."""

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


@contextlib.contextmanager
def simulated(*arguments: str, **changes: str) -> Iterator[str]:
    """A simulator on a thread of its own, by the options of its command; gives its URL."""
    with patch.dict(os.environ, changes):
        # Below `commands`, as people call it: click keeps the help option of the first context, and pages are made of it.
        context = simulate.make_context(
            "simulate", list(arguments), parent=Context(commands, **commands.context_settings)
        )
        simulator = Simulator(options_of(context.params))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        serving = simulator.serve()
        url = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
        try:
            yield url
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """A simulator whose clock stands still, that anybody may ask."""
    with simulated("--tags", "50", "--now", NOW) as url:
        yield url


@pytest.fixture(scope="session")
def guarded_site() -> Iterator[str]:
    """One that asks for a user name and a password."""
    with simulated("--tags", "5", "--now", NOW, "--basic", "pi:SIM_PASSWORD", SIM_PASSWORD=PASSWORD) as url:
        yield url


def written(folder: Path, url: str = "", *, name: str = "plant.yaml", **sections: Mapping[str, Any]) -> Path:
    """A configuration file, of which `sections` change or extend a part."""
    document: dict[str, Any] = {
        "pipeline": "plant",
        "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 100_000} if url else {},
        "extraction": {"tag_name_filter": "*", "start_date": "2024-03-05T11:00:00Z"},
        "storage": {"root": str(folder / "lakehouse")},
        "retry": {"max_attempts": 1},
    }
    for section, keys in sections.items():
        document[section] = {**document.get(section, {}), **keys}
    file = folder / name
    file.write_text(json.dumps(document, indent=2))  # JSON is YAML, too
    return file


def plain(text: str, folder: Path) -> str:
    """Text with what differs from run to run replaced: places, ports, times, run names."""
    for found, instead in (
        (re.escape(str(folder)), "FOLDER"),
        (re.escape(str(REPOSITORY)), "REPOSITORY"),
        (r"[^\s`]*python\S* -m engine", "python -m engine"),
        (r"127\.0\.0\.1:\d+", "HOST:PORT"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (?=INFO|WARNING)", "TIME "),
        (r"\brun [0-9a-f]{12}\b", "run RUN"),
        (r"decoded by native", "decoded by python"),
        (r"in \d+ ms", "in N ms"),
        (r"in \d+\.\d s", "in N s"),
        (r" +$", ""),
    ):
        text = re.sub(found, instead, text, flags=re.MULTILINE)
    return text
