"""What a process of ours imports. A list instead of a time: it says what came in, and no other program disturbs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine import own_process
from tests.command_line.conftest import environment, written

# Costs much to import. A run over recorded values from an open server into a folder needs none of it.
UNNEEDED = {
    "pandas", "matplotlib", "IPython", "pyspark", "databricks.sdk", "requests", "spnego", "gssapi", "adbc_driver_manager",
    "aiohttp.web", "engine.simulator", "engine.run.follow", "engine.run.repair", "engine.run.full",
    "engine.commands.verify", "engine.commands.status", "engine.commands.report", "engine.commands.check",
}  # fmt: skip
# What comes later may wait until there is something to write.
UNNEEDED_YET = {"pyarrow.dataset", "pyarrow.acero", "numpy.random", "dateutil"}
_PROGRAM = """
import os, runpy, sys
def tell(*_):
    print(*sorted(sys.modules), file=sys.stderr, flush=True)
    leave(0)
leave = os._exit
os._exit = tell
if sys.argv.pop(1) == "first request":
    import socket
    def connect(*_):
        tell()
    socket.socket.connect = connect
runpy.run_module("engine", run_name="__main__", alter_sys=True)
"""


def modules_of(until: str, config: Path) -> set[str]:
    """What is imported in a process that runs, until its first request or to its end."""
    command = [sys.executable, "-c", _PROGRAM, until, "run", "-c", str(config), "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return set(done.stderr.splitlines()[-1].split())


def test_a_run_imports_only_what_it_needs(tmp_path: Path, site: str):
    config = written(tmp_path, site)
    found = modules_of("first request", config)
    assert {"aiohttp", "engine.net.client"} <= found
    assert found & (UNNEEDED | UNNEEDED_YET) == set()
    whole = modules_of("end", config)
    assert {"deltalake", "engine.run.once"} <= whole
    assert whole & UNNEEDED == set()


def test_a_process_of_others_keeps_its_pandas():
    code = """
import engine.net.client, pandas, pyarrow
assert pyarrow.table({"a": [1]}).to_pandas()["a"].tolist() == [1]
"""
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


def test_pandas_is_there_beside_spark(monkeypatch: pytest.MonkeyPatch):
    unseen = own_process._PandasUnseen()
    monkeypatch.delitem(sys.modules, "pyspark", raising=False)
    with pytest.raises(ModuleNotFoundError):
        unseen.find_spec("pandas", None)
    monkeypatch.setitem(sys.modules, "pyspark", own_process)
    assert unseen.find_spec("pandas", None) is None
