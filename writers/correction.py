"""Corrections: what has to change in a table so that a window of a tag holds what the source holds.

Imports nothing of the engine. Invariant: rows outside the windows, and rows that do not differ, stay as
they are, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UNCHANGED", "CorrectionCounts", "Replacement"]


@dataclass(frozen=True, slots=True)
class Replacement:
    """In `[low, high)` the source holds, of this tag, exactly the rows that come along; microseconds, UTC."""

    tag_webid: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class CorrectionCounts:
    """What corrections did to the table. Changed: the key was there, with another event behind it."""

    inserted: int = 0
    changed: int = 0
    deleted: int = 0
    files_rewritten: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserted or self.changed or self.deleted or self.files_rewritten)

    def __add__(self, other: CorrectionCounts) -> CorrectionCounts:
        return CorrectionCounts(
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.deleted + other.deleted,
            self.files_rewritten + other.files_rewritten,
        )


UNCHANGED = CorrectionCounts()
