"""The points as they are now: computed from the options, plus the changes made to single points.

Pure, except for its own state. Only changed points are kept in memory. Points that are created later get the next
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..options import SimulatorOptions
from ..times import SECOND, parse_span
from ..wildcards import wildcard
from .edits import Edit
from .points import Point, SignalParameters, find, is_future, matching, name_of, point, signal_parameters
from .values import DIGITAL_SETS

# How many name filters are cached; with many tags each result is a long list.
_MOST_FOUND = 16


class ChangeRefusedError(ValueError):
    """A change of a point that cannot be made, in one sentence."""


@dataclass(frozen=True, slots=True)
class PointState:
    """The present state of a point. `retyped` lists (instant, type, digital set): the type of its events from then on."""

    point: Point
    begin: int
    created: int
    changed: int
    version: int = 0
    gone: bool = False
    forbidden: int | None = None
    retyped: tuple[tuple[int, str, str], ...] = ()


class PointRegistry:
    """All points, by number and by name."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.size = options.tags
        # Unreadable points are deleted or forbidden. The events of irregular ones do not come from one signal.
        self.unreadable: set[int] = set()
        self.irregular: set[int] = set()
        self.changes = 0  # counts up with every change of a point
        self._states: dict[int, PointState] = {}
        self._names: dict[str, int] = {}
        self._found: dict[str, Sequence[int]] = {}

    def __repr__(self) -> str:
        return f"PointRegistry(size={self.size}, changed={len(self._states)})"

    # --- look-ups ------------------------------------------------------------

    def state(self, index: int) -> PointState:
        found = self._states.get(index)
        if found is None:
            begin = self.options.begin_ticks
            found = PointState(point(self.options, index), begin, begin, begin)
        return found

    def point(self, index: int) -> Point:
        found = self._states.get(index)
        return point(self.options, index) if found is None else found.point

    def name(self, index: int) -> str:
        found = self._states.get(index)
        return name_of(self.options, index) if found is None else found.point.name

    def signal_parameters(self, index: int) -> tuple[SignalParameters, int]:
        """The parameters of a point's signal, with its first type, and when the signal begins."""
        if index < self.options.tags:
            return signal_parameters(self.options, index), self.options.begin_ticks
        found = self._states[index]
        made, first = found.point, (found.retyped[0][1:] if found.retyped else None)
        kind, states = first or (made.type, made.digital_set)
        return SignalParameters(
            kind, states, made.shape, made.interval_ticks, made.phase_ticks, made.offset
        ), found.begin

    def is_future(self, index: int) -> bool:
        """Whether a point stores future data."""
        if index < self.options.tags:
            return is_future(self.options, index)
        return self._states[index].point.future

    def find(self, name: str) -> int | None:
        """Number of the point of this name, also of a deleted one. Of two points that had the name, the later one."""
        folded = name.casefold()
        if (given := self._names.get(folded)) is not None:
            return given
        index = find(self.options, name)
        return index if index is not None and self.name(index).casefold() == folded else None

    def matching(self, pattern: str) -> Sequence[int]:
        """Numbers of the points a name filter selects, ascending; deleted ones are not among them."""
        first = matching(self.options, pattern)
        if not self._states:
            return first
        known = self._found.get(pattern)
        if known is None:
            test = wildcard(pattern)
            changed = (index for index, found in self._states.items() if not found.gone and test(found.point.name))
            known = sorted([*(index for index in first if index not in self._states), *changed])
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[pattern] = known
        return known

    # --- changes -------------------------------------------------------------

    def change(self, edit: Edit, index: int | None, at: int) -> int:
        """Change a point, or create one where there is no number; gives its number.

        Raises:
            ChangeRefusedError: the point is not in a state for that, or the name is taken.
        """
        self._found.clear()
        if index is None:
            return self._create(edit, at)
        found = self.state(index)
        if found.gone != (edit.action == "restore_point"):
            state = "deleted" if found.gone else "there"
            raise ChangeRefusedError(f"{edit.action}: the point {found.point.name!r} is {state}")
        self._put(index, _MAKE[edit.action](self, edit, found, at), at)
        return index

    def _put(self, index: int, found: PointState, at: int) -> None:
        before = self._names.get(self.name(index).casefold()) if index in self._states else None
        if before == index:
            del self._names[self.name(index).casefold()]
        self.changes += 1
        self._states[index] = replace(found, changed=at, version=found.version + 1)
        self._names.setdefault(found.point.name.casefold(), index)
        _mark(self.unreadable, index, found.gone or found.forbidden is not None)
        _mark(self.irregular, index, found.gone or bool(found.retyped))

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
        self._put(made.index, PointState(made, at, at, at), at)
        self.size += 1
        return made.index

    def _claim(self, name: str) -> None:
        """Take a name. A deleted point loses it; an existing point that has it is an error."""
        index = self.find(name)
        if index is not None and not self.state(index).gone:
            raise ChangeRefusedError(f"there is already a point {name!r}")
        self._names.pop(name.casefold(), None)

    def _renamed(self, edit: Edit, found: PointState, _at: int) -> PointState:
        name = edit.name or ""
        if name.casefold() != found.point.name.casefold():
            self._claim(name)
        return replace(found, point=replace(found.point, name=name))

    def _retyped(self, edit: Edit, found: PointState, at: int) -> PointState:
        kind = edit.type or found.point.type
        states = (edit.digital_set or next(iter(DIGITAL_SETS))) if kind == "Digital" else ""
        origin = found.retyped or ((found.begin, found.point.type, found.point.digital_set),)
        shown = replace(found.point, type=kind, digital_set=states)
        return replace(found, point=shown, retyped=(*origin, (at, kind, states)))

    def _restored(self, _edit: Edit, found: PointState, _at: int) -> PointState:
        holder = self.find(found.point.name)
        if holder is not None and holder != found.point.index:
            self._claim(found.point.name)
        return replace(found, gone=False)


_MAKE: dict[str, Callable[[PointRegistry, Edit, PointState, int], PointState]] = {
    "rename": PointRegistry._renamed,  # noqa: SLF001 - its own
    "retype": PointRegistry._retyped,  # noqa: SLF001
    "restore_point": PointRegistry._restored,  # noqa: SLF001
    "delete_point": lambda _registry, _edit, found, _at: replace(found, gone=True),
    "forbid": lambda _registry, edit, found, _at: replace(found, forbidden=edit.status),
    "allow": lambda _registry, _edit, found, _at: replace(found, forbidden=None),
}


def _mark(numbers: set[int], index: int, wanted: bool) -> None:
    (numbers.add if wanted else numbers.discard)(index)
