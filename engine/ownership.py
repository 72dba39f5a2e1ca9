"""Are the packages that Python finds as `config` and `writers` ours? Imports the standard library alone.

Their names are common. Another distribution may have written over ours, and a `config.py` in the
working directory comes first under `python -m`. Must be asked before any of them is imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DISTRIBUTION", "HOME", "Stranger", "claimed", "shadowed"]

DISTRIBUTION = "osipi-connector"
HOME = Path(__file__).parent.parent
_PACKAGES = ("config", "engine", "writers")


@dataclass(frozen=True, slots=True)
class Stranger:
    """A package of our name that is not, or not only, ours."""

    sentence: str
    hint: str


def shadowed() -> Stranger | None:
    """The first package that Python would take from elsewhere than from beside this one. Imports nothing."""
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None or origin.parent != HOME / name:
            return Stranger(
                f"the package `{name}` that Python finds, {origin or 'nothing'}, is not that of {DISTRIBUTION}",
                "Start in another folder or with `python -P -m engine`, or take that one off PYTHONPATH.",
            )
    return None


def claimed() -> Stranger | None:
    """The first package that another installed distribution has put files into, too."""
    import importlib.metadata

    owners = importlib.metadata.packages_distributions()
    for name in _PACKAGES:
        others = sorted(set(owners.get(name, ())) - {DISTRIBUTION})
        if others:
            return Stranger(
                f"the distribution {others[0]} also installs a package `{name}`",
                f"Uninstall {others[0]}, then reinstall {DISTRIBUTION}: one may have written over the other.",
            )
    return None
