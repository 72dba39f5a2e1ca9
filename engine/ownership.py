"""Is what Python finds what we need: our own `config` and `writers`, and the packages of others?

Imports the standard library alone. Our names are common: another distribution may have written over
them, and a `config.py` in the working directory comes first under `python -m`. So `shadowed` must be
asked before any of them is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DISTRIBUTION", "HOME", "Misfit", "claimed", "missing", "shadowed"]

DISTRIBUTION = "osipi-connector"
HOME = Path(__file__).parent.parent
_PACKAGES = ("config", "engine", "writers")


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is not as it must be, and what to do."""

    sentence: str
    hint: str


def shadowed() -> Misfit | None:
    """The first package that Python would take from elsewhere than from beside this one. Imports nothing."""
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None or origin.parent != HOME / name:
            return Misfit(
                f"the package `{name}` that Python finds, {origin or 'nothing'}, is not that of {DISTRIBUTION}",
                "Start in another folder or with `python -P -m engine`, or take that one off PYTHONPATH.",
            )
    return None


def missing(error: ModuleNotFoundError) -> Misfit | None:
    """What to say of an import that failed; None if it was one of ours, which is a bug."""
    package = (error.name or "").partition(".")[0]
    if not package or package in _PACKAGES:
        return None
    return Misfit(
        f"the package `{package}` is missing in this Python, {sys.executable}",
        f"Use the Python that {DISTRIBUTION} is installed in, or install it here: `python -m pip install -e {HOME}`"
        if (HOME / "pyproject.toml").exists()
        else f"Use the Python that {DISTRIBUTION} is installed in, or install it again here.",
    )


def claimed() -> Misfit | None:
    """The first package that another installed distribution has put files into, too."""
    import importlib.metadata

    owners = importlib.metadata.packages_distributions()
    for name in _PACKAGES:
        others = sorted(set(owners.get(name, ())) - {DISTRIBUTION})
        if others:
            return Misfit(
                f"the distribution {others[0]} also installs a package `{name}`",
                f"Uninstall {others[0]}, then reinstall {DISTRIBUTION}: one may have written over the other.",
            )
    return None
