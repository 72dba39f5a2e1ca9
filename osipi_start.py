"""Where an installed program, a wheel task and a notebook start: before any of our packages is imported.

`config`, `engine` and `writers` are common names. A file or folder of that name may come first on the path of Python,
and then one sentence says so. Invariant: imports the standard library only, until that is known.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

_CHECK = "osipi_import_check"


def program() -> NoReturn:
    """The console script. Ends the process with the exit code of the command."""
    problem = _import_check().shadowed_package()
    if problem is not None:
        sys.stderr.write(f"error: {problem.sentence}\nhint: {problem.hint}\n")
        sys.exit(2)
    from engine.__main__ import end

    end()


def refuse_shadowed_package() -> None:
    """Raises an `ImportError` with one sentence if Python would import a package of somebody else for one of ours."""
    _import_check().refuse_shadowed_package()


def run(arguments: Sequence[str] | None = None) -> None:
    """The wheel task `run`. Raises `engine.task.TaskFailedError`; `ImportError` if a package is in the way."""
    refuse_shadowed_package()
    from engine import task

    task.run(arguments)


def check(arguments: Sequence[str] | None = None) -> None:
    """The wheel task `check`. Raises as `run` does."""
    refuse_shadowed_package()
    from engine import task

    task.check(arguments)


def maintain(arguments: Sequence[str] | None = None) -> None:
    """The wheel task `maintain`. Raises as `run` does."""
    refuse_shadowed_package()
    from engine import task

    task.maintain(arguments)


def verify(arguments: Sequence[str] | None = None) -> None:
    """The wheel task `verify`. Raises as `run` does."""
    refuse_shadowed_package()
    from engine import task

    task.verify(arguments)


def _import_check() -> ModuleType:
    """`engine/import_check.py` beside this file, whichever `engine` Python would import."""
    if _CHECK in sys.modules:
        return sys.modules[_CHECK]
    spec = importlib.util.spec_from_file_location(_CHECK, Path(__file__).parent / "engine" / "import_check.py")
    if spec is None or spec.loader is None:
        raise ImportError("osipi-connector is not complete here: install it again")
    sys.modules[_CHECK] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
