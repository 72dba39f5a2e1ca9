"""What became of a staged commit, once the catalog has refused it or its answer was lost. Pure.

Imports values only. Invariant: the uuid in the name of the staged file is the token. A commit is ours if
the catalog names our file for its version, or, where the catalog no longer remembers (the version is
published), if the published file is byte for byte ours.
"""

from __future__ import annotations

from enum import Enum, auto

from .delta_api import LoadedTable

__all__ = ["Verdict", "verdict"]


class Verdict(Enum):
    """What to do next."""

    WON = auto()
    LOST = auto()  # another commit has our version: rebuild on it
    AGAIN = auto()  # it never arrived: send the same once more
    COMPARE = auto()  # published, and the catalog has forgotten by whom: read the file


def verdict(version: int, file_name: str, table: LoadedTable) -> Verdict:
    """Judge by what the catalog says of the table now."""
    if table.latest < version:
        return Verdict.AGAIN
    named = table.unpublished.get(version)
    if named is None:
        return Verdict.COMPARE
    return Verdict.WON if named == file_name else Verdict.LOST
