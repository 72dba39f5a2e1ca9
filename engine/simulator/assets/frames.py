"""Event frames, as a function of their number and the clock, plus what became of them since.

PlantFrame `n` begins in the `n`-th of equal slots from the beginning of history; it is there from its start on, and open until
its end. Batches have phases below them. Only frames that were changed or created are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..options import SimulatorOptions
from ..times import DAY, HOUR, MINUTE, ticks_of
from .edits import AssetEdit
from .plant import Attribute, Plant
from .templates import ENUMERATIONS, lineage

NO_END = 253_402_300_799 * 10_000_000  # 9999-12-31T23:59:59Z, as AF shows the end of an open frame
# A root and the phases below it take as many numbers.
_FAMILY = 3
_LONGEST = 10 * DAY


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation."""

    name: str
    at: int
    by: str


@dataclass(frozen=True, slots=True)
class PlantFrame:
    """One event frame. `elements`: numbers of those it refers to, the first is the primary one. Times in ticks."""

    number: int
    name: str
    start: int
    end: int | None = None
    template: str = ""
    parent: int | None = None
    elements: tuple[int, ...] = ()
    severity: str = "None"
    description: str = ""
    categories: tuple[str, ...] = ()
    acknowledged: tuple[str, int] | None = None
    locked: bool = False
    captured: bool = False
    notes: tuple[Note, ...] = ()


class Frames:
    """The frames of one asset database."""

    def __init__(self, options: SimulatorOptions, plant: Plant) -> None:
        self.options = options
        self.plant = plant
        self._slot = round(DAY / options.frames_per_day) if options.frames_per_day else 0
        self._changed: dict[int, dict[str, Any]] = {}
        self._created: dict[int, PlantFrame] = {}
        self._gone: set[int] = set()
        self._values: dict[tuple[int, str], Any] = {}
        self._next = 1 << 30

    def frame(self, number: int, now: int) -> PlantFrame | None:
        """A frame as it stands; None where there is none (yet)."""
        if number in self._gone:
            return None
        found = self._created.get(number) or self._original(number, now)
        if found is None or found.start > now:
            return None
        found = replace(found, **self._changed.get(number, {}))
        if found.end is not None and found.end > now:
            found = replace(found, end=None)
        return replace(found, captured=found.captured and found.end is not None)

    def _original(self, number: int, now: int) -> PlantFrame | None:
        root, part = divmod(number, _FAMILY)
        start = self._start(root)
        if not self._slot or number < 0 or start > now:
            return None
        element = self._element(root)
        if part:
            if self._kind(root) != "Batch" or root % 5:
                return None
            begin = start + part * 5 * MINUTE
            return PlantFrame(
                number, ("Fill", "Heat")[part - 1], begin, begin + 4 * MINUTE, "Phase", root * _FAMILY, element
            )
        kind = self._kind(root)
        if kind == "Batch":
            end = start + (20 + root % 40) * MINUTE + root % 7
            # Names of batches repeat.
            return PlantFrame(
                number, f"Batch {root % 4}", start, end, kind, None, element, categories=(), captured=True
            )
        end = start + (_LONGEST if root % 97 == 5 else (2 + root % 50) * HOUR // 10)
        acknowledged = ("PLANT\\op", end + HOUR) if root % 4 == 0 and end + HOUR <= now else None
        words = f"{kind} no. {root}" if root % 3 else ""
        severity = "Critical" if kind == "Trip" else "Major"
        return PlantFrame(
            number, kind, start, end, kind, None, element, severity, words, acknowledged=acknowledged, captured=root % 2 == 0
        )  # fmt: skip

    def _kind(self, root: int) -> str:
        return ("Batch", "Batch", "Batch", "Downtime", "Trip")[root % 5]

    def _start(self, root: int) -> int:
        return self.options.begin_ticks + root * self._slot + (root * 7919 % 1000) * self._slot // 2000

    def _element(self, root: int) -> tuple[int, ...]:
        size = self.options.elements
        if not size or root % 11 == 0:
            return ()
        first = (root * 13) % size
        return tuple(dict.fromkeys((first, (first + 1) % size))) if root % 7 == 0 else (first,)

    def overlapping(self, start: int, end: int, now: int) -> Iterator[PlantFrame]:
        """Frames that are there and active at any time of `[start, end]`, roots and others, in no order."""
        if self._slot:
            begin = self.options.begin_ticks
            first = max(0, (start - _LONGEST - begin) // self._slot - 1)
            last = (min(end, now) - begin) // self._slot + 1
            for number in range(first * _FAMILY, max(0, last) * _FAMILY + _FAMILY):
                if number not in self._changed:
                    frame = self.frame(number, now)
                    if frame is not None and frame.start <= end and (frame.end is None or frame.end >= start):
                        yield frame
        for number in (*self._changed, *self._created.keys() - self._changed.keys()):
            frame = self.frame(number, now)
            if frame is not None and frame.start <= end and (frame.end is None or frame.end >= start):
                yield frame

    def children(self, number: int, now: int) -> list[PlantFrame]:
        """What lies right below a frame."""
        found = []
        if number < 1 << 30 and number % _FAMILY == 0:
            found = [self.frame(number + part, now) for part in range(1, _FAMILY)]
        found += [self.frame(other, now) for other, one in self._created.items() if one.parent == number]
        return [one for one in found if one is not None]

    def attributes(self, frame: PlantFrame) -> list[Attribute]:
        """The attributes of a frame, with the values that were captured, or live now where none were."""
        found: list[Attribute] = []
        place = 0
        for template in lineage(frame.template, self.plant.templates):
            for one in template.attributes:
                place += 1
                if one.name == "Phase" and frame.number % 4 == 3:
                    continue  # some frames lack one
                value = self._value(frame, one.name)
                good = not (isinstance(value, dict) and "Errors" in value)
                found.append(
                    Attribute(
                        **one.shared(), owner=frame.number, place=place, value=value, good=good, template=template.name
                    )
                )
        return found

    def _value(self, frame: PlantFrame, name: str) -> Any:
        if (frame.number, name) in self._values:
            return self._values[frame.number, name]
        n = frame.number
        reasons = ENUMERATIONS["Reasons"]
        code = (10, 20, 30)[n % 3]
        found: dict[str, Any] = {
            "Max temperature": 60 + n % 400 / 8,
            "Operator": f"shift {'ABC'[n % 3]} | \u00bd",
            "Phase": {"Name": "Drain", "Value": 3, "IsSystem": False},
            "Yield": {"Errors": ["Division by zero."]} if n % 13 == 0 else round(100 / (1 + n % 9), 6),
            "Remark": None if n % 2 else f"remark {n}",
            "Setpoint": 40.5 + n % 10,
            "Reason": {"Name": reasons[code], "Value": code, "IsSystem": False},
            "Lost tons": n % 100 / 4,
            "Cause": f"cause {n}",
        }
        return found.get(name)

    # --- changes -----------------------------------------------------------------

    def change(self, edit: AssetEdit, now: int) -> int:
        """Make a change; gives the number of the frame.

        Raises:
            KeyError: there is no such frame or element.
        """
        self.plant.changed()
        if edit.action == "create_frame":
            return self._create(edit, now)
        number = -1 if edit.frame is None else edit.frame
        frame = self.frame(number, now)
        if frame is None:
            raise KeyError(f"no frame {edit.frame}")
        changed = self._changed.setdefault(number, {})
        at = 0 if edit.start is None else ticks_of(edit.start)
        match edit.action:
            case "delete_frame":
                self._gone.update([number, *(child.number for child in self.children(number, now))])
            case "acknowledge_frame":
                changed["acknowledged"] = (edit.by, at)
            case "annotate_frame":
                changed["notes"] = (*frame.notes, Note(edit.name or "", at, edit.by or "PLANT\\op"))
            case "edit_frame_value":
                self._values[number, edit.attribute or ""] = edit.value
            case _:
                for name in ("name", "template", "description", "severity", "locked"):
                    if getattr(edit, name) is not None:
                        changed[name] = getattr(edit, name)
                if edit.start is not None:
                    changed["start"] = at
                if edit.end is not None:
                    changed["end"] = None if edit.end == "open" else ticks_of(edit.end)
                if edit.elements is not None:
                    changed["elements"] = tuple(self.plant.require(one) for one in edit.elements)
        return number

    def _create(self, edit: AssetEdit, now: int) -> int:
        if edit.frame is not None and self.frame(edit.frame, now) is None:
            raise KeyError(f"no frame {edit.frame}")
        number, self._next = self._next, self._next + 1
        self._created[number] = PlantFrame(
            number=number,
            name=edit.name or "",
            start=ticks_of(edit.start or ""),
            end=None if edit.end in {None, "open"} else ticks_of(edit.end or ""),
            template=edit.template or "",
            parent=edit.frame,
            elements=tuple(self.plant.require(one) for one in edit.elements or ()),
            severity=edit.severity or "None",
            description=edit.description or "",
        )
        return number
