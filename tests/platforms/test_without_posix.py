"""A Python without the parts that Windows lacks: everything imports, and whole runs work.

It shows that nothing of ours asks for those parts, not that Windows gives what else we ask for.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.command_line.conftest import REPOSITORY, environment, here, simulated, site, written  # noqa: F401
from tests.patience import HANGS_AFTER_SECS

POOR = REPOSITORY / "tests/platforms/windows.py"


def poor(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(POOR), *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment(), text=True, **pipes)


def ended(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    with poor(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=HANGS_AFTER_SECS)
        return process.returncode, out, err


def test_every_module_imports(here: Path):  # noqa: F811
    code = f"""
import importlib, pathlib, sys
sys.path.insert(0, {str(POOR.parent)!r})
import windows
windows.impoverish()
root = pathlib.Path({str(REPOSITORY)!r})
names = ["osipi_connector", "osipi_start"]
for room in ("config", "writers", "engine"):
    names += [".".join(p.relative_to(root).with_suffix("").parts) for p in (root / room).rglob("*.py")]
for name in names:
    # What needs an extra: a login, Spark.
    if not name.endswith("__main__") and not any(part in name for part in ("kerberos", "ntlm", "spark.source")):
        importlib.import_module(name.removesuffix(".__init__"))
print(len(names))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_runs_bring_everything_in_once(here: Path, site: str):  # noqa: F811
    written(here, site)
    for _ in range(2):
        code, out, err = ended("run", "-c", "plant.yaml", "--json", cwd=here)
        assert (code, json.loads(out)["status"]) == (0, "succeeded"), err
    report = json.loads(out)
    assert report["peak_rss_bytes"] is None or report["peak_rss_bytes"] > 0
    rows = DeltaTable(str(here / "lakehouse/main/bronze/pi_timeseries")).to_pyarrow_table(
        columns=["tag_webid", "timestamp", "sequence"]
    )
    assert len(rows) > 1000
    assert len(rows.group_by(rows.column_names).aggregate([])) == len(rows)
    code, _, err = ended("verify", "-c", "plant.yaml", cwd=here)
    assert code == 0, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_follows_ends_well_when_it_is_told_to(here: Path, site: str, number: signal.Signals):  # noqa: F811
    written(here, site)
    with poor("run", "-c", "plant.yaml", "--follow", cwd=here) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "tags to read" in line:
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=HANGS_AFTER_SECS)
    assert process.returncode == 0, err
    assert f"stopping: {number.name}" in err
