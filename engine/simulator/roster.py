"""The points as they stand now: the closed form, plus what became of single points since.

Pure but for its own state. Only points that were changed are held, so half a million tags still
cost no memory. Points created later carry on the numbers of those from the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .edits import Edit
from .options import SimulatorOptions
from .points import Course, Point, course, find, is_future, matching, name_of, point
from .times import SECOND, parse_span
from .values import DIGITAL_SETS
from .wildcards import wildcard

__all__ = ["ChangeRefusedError", "Roster", "Standing"]

# Filters whose points are remembered; of many tags each is a long list.
_MOST_FOUND = 16


class ChangeRefusedError(ValueError):
    """A change of a point that cannot be made, in one sentence."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a point. `retyped` says from which instant its events are of which type and set."""

    point: Point
    begin: int
    created: int
    changed: int
    version: int = 0
    gone: bool = False
    forbidden: int | None = None
    retyped: tuple[tuple[int, str, str], ...] = ()


class Roster:
    """All points, by number and by name."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.size = options.tags
        # Numbers of points that are deleted or forbidden, and of those whose events are not one signal.
        self.closed: set[int] = set()
        self.uneven: set[int] = set()
        self._standings: dict[int, Standing] = {}
        self._names: dict[str, int] = {}
        self._found: dict[str, Sequence[int]] = {}

    def __repr__(self) -> str:
        return f"Roster(size={self.size}, changed={len(self._standings)})"

    # --- who is who ----------------------------------------------------------

    def standing(self, index: int) -> Standing:
        found = self._standings.get(index)
        if found is None:
            begin = self.options.begin_ticks
            found = Standing(point(self.options, index), begin, begin, begin)
        return found

    def point(self, index: int) -> Point:
        found = self._standings.get(index)
        return point(self.options, index) if found is None else found.point

    def name(self, index: int) -> str:
        found = self._standings.get(index)
        return name_of(self.options, index) if found is None else found.point.name

    def course(self, index: int) -> tuple[Course, int]:
        """How a point runs, whatever its type became later, and since when."""
        if index < self.options.tags:
            return course(self.options, index), self.options.begin_ticks
        found = self._standings[index]
        made, first = found.point, (found.retyped[0][1:] if found.retyped else None)
        kind, states = first or (made.type, made.digital_set)
        return Course(kind, states, made.shape, made.interval_ticks, made.phase_ticks, made.offset), found.begin

    def is_future(self, index: int) -> bool:
        """Whether a point stores future data."""
        if index < self.options.tags:
            return is_future(self.options, index)
        return self._standings[index].point.future

    def find(self, name: str) -> int | None:
        """Number of the point of this name, be it deleted; of two that had it, the later."""
        folded = name.casefold()
        if (given := self._names.get(folded)) is not None:
            return given
        index = find(self.options, name)
        return index if index is not None and self.name(index).casefold() == folded else None

    def matching(self, pattern: str) -> Sequence[int]:
        """Numbers of the points a name filter selects, ascending; deleted ones are not among them."""
        first = matching(self.options, pattern)
        if not self._standings:
            return first
        known = self._found.get(pattern)
        if known is None:
            test = wildcard(pattern)
            changed = (index for index, found in self._standings.items() if not found.gone and test(found.point.name))
            known = sorted([*(index for index in first if index not in self._standings), *changed])
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[pattern] = known
        return known

    # --- what becomes of them ------------------------------------------------

    def change(self, edit: Edit, index: int | None, at: int) -> int:
        """Change a point, or create one where there is no number; gives its number.

        Raises:
            ChangeRefusedError: the point is not in a state for that, or the name is taken.
        """
        self._found.clear()
        if index is None:
            return self._create(edit, at)
        found = self.standing(index)
        if found.gone != (edit.action == "restore_point"):
            state = "deleted" if found.gone else "there"
            raise ChangeRefusedError(f"{edit.action}: the point {found.point.name!r} is {state}")
        self._put(index, _MAKE[edit.action](self, edit, found, at), at)
        return index

    def _put(self, index: int, found: Standing, at: int) -> None:
        before = self._names.get(self.name(index).casefold()) if index in self._standings else None
        if before == index:
            del self._names[self.name(index).casefold()]
        self._standings[index] = replace(found, changed=at, version=found.version + 1)
        self._names.setdefault(found.point.name.casefold(), index)
        _mark(self.closed, index, found.gone or found.forbidden is not None)
        _mark(self.uneven, index, found.gone or bool(found.retyped))

    def _create(self, edit: Edit, at: int) -> int:
        name = str(edit.tag)
        self._claim(name)
        kind = edit.type or "Float32"
        interval = parse_span(edit.interval) if edit.interval else self.options.interval_ticks
        states = edit.digital_set or next(iter(DIGITAL_SETS))
        made = Point(
            self.size,
            name,
            edit.units or "",
            kind,
            states if kind == "Digital" else "",
            "steady",
            interval,
            min(SECOND, interval - 1),
            self.size * 7919 + self.options.seed * 104_729,
            edit.future,
        )
        self._put(made.index, Standing(made, at, at, at), at)
        self.size += 1
        return made.index

    def _claim(self, name: str) -> None:
        """Make sure that no point there has this name; one that is gone gives it up."""
        index = self.find(name)
        if index is not None and not self.standing(index).gone:
            raise ChangeRefusedError(f"there is already a point {name!r}")
        self._names.pop(name.casefold(), None)

    def _renamed(self, edit: Edit, found: Standing, _at: int) -> Standing:
        name = edit.name or ""
        if name.casefold() != found.point.name.casefold():
            self._claim(name)
        return replace(found, point=replace(found.point, name=name))

    def _retyped(self, edit: Edit, found: Standing, at: int) -> Standing:
        kind = edit.type or found.point.type
        states = (edit.digital_set or next(iter(DIGITAL_SETS))) if kind == "Digital" else ""
        origin = found.retyped or ((found.begin, found.point.type, found.point.digital_set),)
        shown = replace(found.point, type=kind, digital_set=states)
        return replace(found, point=shown, retyped=(*origin, (at, kind, states)))

    def _restored(self, _edit: Edit, found: Standing, _at: int) -> Standing:
        holder = self.find(found.point.name)
        if holder is not None and holder != found.point.index:
            self._claim(found.point.name)
        return replace(found, gone=False)


_MAKE: dict[str, Callable[[Roster, Edit, Standing, int], Standing]] = {
    "rename": Roster._renamed,  # noqa: SLF001 - its own
    "retype": Roster._retyped,  # noqa: SLF001
    "restore_point": Roster._restored,  # noqa: SLF001
    "delete_point": lambda _roster, _edit, found, _at: replace(found, gone=True),
    "forbid": lambda _roster, edit, found, _at: replace(found, forbidden=edit.status),
    "allow": lambda _roster, _edit, found, _at: replace(found, forbidden=None),
}


def _mark(numbers: set[int], index: int, wanted: bool) -> None:
    (numbers.add if wanted else numbers.discard)(index)
