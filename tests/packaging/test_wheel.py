"""The wheel holds what it should and nothing else, and works from where it is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel as the build backend makes it, without fetching anything."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def members(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()}


def test_it_holds_the_product_and_nothing_else(wheel):
    inside = {name for name in members(wheel) if ".dist-info/" not in name}
    assert inside == tracked("config", "writers", "engine", "osipi_connector.py", "osipi_start.py")


def test_it_carries_what_is_read_at_run_time(wheel):
    inside = members(wheel)
    assert {
        "config/schema.json",
        "config/examples/local.yaml",
        "engine/commands/report/style.css",
        "engine/commands/views/sql/pi_tag_progress.sql",
    } <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_it_is_pure_python_and_offers_its_command(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        [entry_points] = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        text = archive.read(entry_points).decode()
    assert "osipi-connector = osipi_start:program" in text


def test_it_works_where_it_is_installed(wheel, tmp_path):
    """From a folder of its own, with a `config.py` lying in the way."""
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    (tmp_path / "config.py").write_text("raise SystemExit('the wrong config')")
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); "
        "import engine.cli; assert engine.cli.__file__.startswith(sys.path[0]); "
        "sys.exit(engine.cli.main(['config', 'show']))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pipeline: demo" in done.stdout
