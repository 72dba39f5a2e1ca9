"""Prints docs/licences.md: what a user of the wheel installs, and under which licence. `make licences`."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

HEAD = """# Licences

What `pip install osipi-connector` brings along, by the metadata of the packages. `make licences` writes this page.

| package | licence | needed by |
|---|---|---|
"""
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


def direct() -> list[str]:
    """The packages that ours names, without extras."""
    return sorted(_needs("osipi-connector"))


def rows() -> list[tuple[str, str, str]]:
    """Name, licence, and who needs it, of each package that is installed with ours."""
    found: dict[str, set[str]] = {}
    waiting = [(name, "osipi-connector") for name in direct()]
    while waiting:
        name, parent = waiting.pop()
        known = name in found
        found.setdefault(name, set()).add(parent)
        if not known:
            waiting += [(other, name) for other in _needs(name)]
    return [(name, licence_of(name), ", ".join(sorted(parents))) for name, parents in sorted(found.items())]


def licence_of(name: str) -> str:
    """By the expression of the metadata, else by its classifiers, else by the first line of its text."""
    try:
        said = distribution(name).metadata
    except PackageNotFoundError:
        return "not installed here"
    if said.get("License-Expression"):
        return str(said["License-Expression"])
    classified = [match[1] for one in said.get_all("Classifier") or () if (match := _CLASSIFIER.fullmatch(one))]
    text = str(said.get("License") or "").strip().splitlines()
    return ", ".join(classified) or (text[0][:60] if text else "not said")


FOOT = """
`osipi-connector-native` has these crates in it: jiter (MIT), pyo3 and bytemuck (MIT or Apache-2.0, bytemuck also Zlib). What they need
is under MIT, Apache-2.0 or Zlib, too. `cargo tree` in `native/` lists them.
"""


def page() -> str:
    return HEAD + "".join(f"| {name} | {licence} | {parents} |\n" for name, licence, parents in rows()) + FOOT


def _needs(name: str) -> set[str]:
    try:
        requirements = [Requirement(text) for text in distribution(name).requires or ()]
    except PackageNotFoundError:
        return set()
    return {
        re.sub(r"[-_.]+", "-", one.name).lower()
        for one in requirements
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }


if __name__ == "__main__":
    print(page(), end="")
