"""Does Python import our own packages `config` and `writers`, and are the packages that we need installed?

These names are common. Another distribution may have overwritten the packages, and with `python -m` a `config.py` in
the working directory comes first. So `shadowed_package` must be called before any of them is imported, and this module
imports the standard library only. `osipi_start.py` loads it by its path: `engine` itself may be the one in the way.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "osipi-connector"
ROOT = Path(__file__).parent.parent
_PACKAGES = ("config", "engine", "writers")
_START_HINT = "Rename it, start in another folder or with `python -P -m engine`, or take that place off PYTHONPATH."
_IMPORT_HINT = "Rename it, or take its folder off sys.path, then restart Python."


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """What is wrong, and what to do."""

    sentence: str
    hint: str


class ShadowedPackageError(ImportError):
    """A program or notebook would import a package of somebody else. The text says which, and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: where the import stands does not help."""
        return [f"ImportError: {self}"]


def installed_version() -> str:
    """The version of this package; empty for a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return ""


def shadowed_package() -> ImportProblem | None:
    """The first of our packages that Python would import from another place. Imports none of them."""
    for name in _PACKAGES:
        origin = _origin(name)
        if origin is None or origin.parent != ROOT / name:
            return ImportProblem(
                f"Python finds the package `{name}` at {origin or 'no place'}, and that is not the one of "
                f"{DISTRIBUTION}",
                _START_HINT,
            )
    return None


def refuse_shadowed_package() -> None:
    """For programs, notebooks and tasks, in a Python that is running. Raises `ShadowedPackageError`."""
    problem = shadowed_package()
    if problem is not None:
        raise ShadowedPackageError(f"{problem.sentence}. {_IMPORT_HINT}")


def _origin(name: str) -> Path | None:
    """The file that Python imports a package from, or has imported it from."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that a program has made by itself
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def missing_package(error: ModuleNotFoundError) -> ImportProblem | None:
    """What to say about an import that failed; None if the module is ours, which is a bug."""
    package = (error.name or "").partition(".")[0]
    if not package or package in _PACKAGES:
        return None
    return ImportProblem(
        f"the package `{package}` is missing in this Python, {sys.executable}",
        f"Use the Python that {DISTRIBUTION} is installed in, or install it here: `python -m pip install -e {ROOT}`"
        if (ROOT / "pyproject.toml").exists()
        else f"Use the Python that {DISTRIBUTION} is installed in, or install it again here.",
    )


def claimed_package() -> ImportProblem | None:
    """The first of our packages that another installed distribution has put files into, too."""
    import importlib.metadata  # slow, and only `check` needs it

    owners = importlib.metadata.packages_distributions()
    for name in _PACKAGES:
        others = sorted(set(owners.get(name, ())) - {DISTRIBUTION})
        if others:
            return ImportProblem(
                f"the distribution {others[0]} also installs a package `{name}`",
                f"Uninstall {others[0]}, then reinstall {DISTRIBUTION}: one may have overwritten the other.",
            )
    return None
