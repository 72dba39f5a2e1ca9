"""A file or folder of the user's own, named as a package of ours, is one sentence with the remedy in each way of starting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.import_check import ROOT, refuse_shadowed_package, shadowed_package
from tests.command_line.conftest import REPOSITORY, environment

PROGRAM = ("-c", "import sys; from osipi_start import program; sys.exit(program())")
MODULE = ("-m", "engine", "status")
NOTEBOOK = ("-c", "from osipi_connector import PILakeflowConnector")
WHEEL_TASK = ("-c", "import osipi_start; osipi_start.{name}([])")
TASK_FUNCTION = ("-c", "from engine.task import run; run([])")

IN_THE_WAY = {
    "config": "config.py",
    "writers": "writers/__init__.py",
    "engine": "engine/__init__.py",
}


def started(here: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In that folder, which comes first on the path of Python, as that of a notebook does."""
    path = os.pathsep.join((str(here), str(REPOSITORY)))
    done = [sys.executable, *command]
    return subprocess.run(done, cwd=here, env=environment(PYTHONPATH=path), capture_output=True, text=True, check=False)


def put(here: Path, package: str) -> Path:
    """Code that must not run."""
    file = here / IN_THE_WAY[package]
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('this must not run')")
    return file


def sentence(package: str, file: Path) -> str:
    return f"Python finds the package `{package}` at {file}, and that is not the one of osipi-connector"


@pytest.mark.parametrize("package", IN_THE_WAY)
def test_the_program_ends_with_a_sentence(here: Path, package: str):
    file = put(here, package)
    done = started(here, *PROGRAM)
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: {sentence(package, file)}"
    assert hint.startswith("hint: Rename it, start in another folder")


@pytest.mark.parametrize("package", ["config", "writers"])
def test_the_module_ends_with_a_sentence(here: Path, package: str):
    file = put(here, package)
    done = started(here, *MODULE)
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: {sentence(package, file)}"
    assert "`python -P -m engine`" in hint


@pytest.mark.parametrize("package", IN_THE_WAY)
def test_a_notebook_ends_with_a_sentence(here: Path, package: str):
    file = put(here, package)
    done = started(here, *NOTEBOOK)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        f"ShadowedPackageError: {sentence(package, file)}. "
        "Rename it, or take its folder off sys.path, then restart Python."
    )


@pytest.mark.parametrize("name", ["run", "check", "maintain", "verify"])
def test_a_wheel_task_ends_with_a_sentence(here: Path, name: str):
    file = put(here, "engine")
    command, code = WHEEL_TASK
    done = started(here, command, code.format(name=name))
    assert done.returncode == 1
    assert f"ShadowedPackageError: {sentence('engine', file)}. Rename it" in done.stderr.splitlines()[-1]


def test_a_program_of_the_user_that_calls_a_task_ends_with_a_sentence(here: Path):
    file = put(here, "config")
    done = started(here, *TASK_FUNCTION)
    assert done.returncode == 1
    assert f"TaskFailedError: {sentence('config', file)}. Rename it" in done.stderr.splitlines()[-1]


def test_a_notebook_shows_the_sentence_alone(here: Path):
    """IPython asks the error how to show itself."""
    put(here, "config")
    code = "import osipi_start\ntry:\n    import osipi_connector\nexcept ImportError as error:\n    print(*error._render_traceback_())"
    done = started(here, "-c", code)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("ImportError: Python finds the package `config` at ")


def test_a_module_that_a_program_made_by_itself_is_in_the_way_too():
    code = (
        "import sys, types; sys.modules['config'] = types.ModuleType('config')\n"
        "from engine.import_check import shadowed_package; print(shadowed_package().sentence)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Python finds the package `config` at no place")


def test_with_nothing_in_the_way_nothing_is_said(here: Path):
    assert Path(REPOSITORY) == ROOT
    assert shadowed_package() is None
    refuse_shadowed_package()
    done = started(here, "-c", "import sys; sys.argv[1:] = ['--version']; from osipi_start import program; program()")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("osipi-connector ")
