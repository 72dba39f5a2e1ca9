"""The wheel beside the pins of each Databricks Runtime: it resolves, installs, and runs the example.

Environments of their own, from the package index: `make runtimes` runs this, the default tests do not.
deltalake is not pinned, though runtimes ship an older one: a library of the job replaces it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "3.12"
PINS = {
    "17.3-lts": ("pyarrow==19.0.1", "databricks-sdk==0.49.0", "pydantic==2.10.*", "pandas==2.2.3"),
    "18-lts": (
        "pyarrow==21.0.0", "databricks-sdk==0.67.0", "pydantic==2.10.*", "pandas==2.2.3", "aiohttp==3.11.10",
    ),
    "19": ("pyarrow==21.0.0", "databricks-sdk==0.108.*", "pydantic==2.13.*", "pandas==2.3.3"),
}  # fmt: skip

pytestmark = [pytest.mark.runtimes, pytest.mark.timeout(900)]


def done(*command: str, cwd: Path, **env: str) -> str:
    ended = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def uv() -> tuple[str, ...]:
    command = (sys.executable, "-m", "uv")
    if subprocess.run([*command, "python", "find", PYTHON], capture_output=True, check=False).returncode:
        reason = f"there is no uv with a Python {PYTHON} here"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return command


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.mark.parametrize("runtime", PINS)
def test_it_installs_beside_the_pins_and_runs_the_example(runtime, uv, wheel, tmp_path):
    home = tmp_path / "env"
    done(*uv, "venv", "--no-project", "--python", PYTHON, str(home), cwd=tmp_path)
    python = str(home / "bin/python")
    done(*uv, "pip", "install", "--python", python, str(wheel), *PINS[runtime], cwd=tmp_path)
    done(*uv, "pip", "check", "--python", python, cwd=tmp_path)
    report = json.loads(done(str(home / "bin/osipi-connector"), "run", "--json", cwd=tmp_path, PYTHONPATH=""))
    assert (report["status"], report["tags_extracted"]) == ("succeeded", 1000)
    assert report["records_written"] > 10_000
    # The parts of the runtime that our example does not touch by itself.
    code = "import databricks.sdk, pandas, osipi_connector; print(databricks.sdk.version.__version__)"
    pinned = next(pin for pin in PINS[runtime] if pin.startswith("databricks-sdk")).partition("==")[2].rstrip("*")
    assert done(python, "-c", code, cwd=tmp_path, PYTHONPATH="").startswith(pinned)
    done(str(home / "bin/osipi-connector"), "maintain", cwd=tmp_path, PYTHONPATH="")
