"""The values of events: one long cyclic table for each point type, the same for equal seeds.

Pure. A tag starts at its own place in the table of its type, and each event takes the next entry. So a value follows
from (type, seed, event number) without any state. Floats are made from random integers by exact division, so a table
is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeAlias

import msgspec
import numpy as np

from ..times import SECOND, iso


@dataclass(frozen=True, slots=True)
class DigitalState:
    """A state of a digital set, or of the SYSTEM set, which may stand in for a value of any type."""

    name: str
    code: int
    is_system: bool


Value: TypeAlias = float | int | str | bool | DigitalState | list[int] | None


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded event. `ticks` are 100 ns since 1970."""

    ticks: int
    value: Value
    good: bool = True
    questionable: bool = False
    substituted: bool = False
    annotated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Column by column: the value, and a mark that says how good it is (see `FLAGS`)."""

    point_type: str
    values: list[Value]
    marks: bytes

    def __len__(self) -> int:
        return len(self.values)

    def event(self, row: int, ticks: int) -> Event:
        return Event(ticks, self.values[row], *FLAGS[self.marks[row]])

    def text(self, row: int) -> str:
        """The JSON text of a value. Most rows of a table are never asked for."""
        return _text(self.values[row], self.point_type)

    def good(self, first: int, to: int) -> int:
        """How many events of the endless cycle are good among numbers `[first, to)`."""
        (turns, row), (turns_to, row_to) = divmod(first, len(self)), divmod(to, len(self))
        before = _good_before(self.marks)
        return (turns_to - turns) * before[-1] + before[row_to] - before[row]


# mark -> good, questionable, substituted, annotated
FLAGS = (
    (True, False, False, False),
    (True, True, False, False),
    (True, False, True, False),
    (True, False, False, True),
    (False, False, False, False),
)
_QUESTIONABLE, _SUBSTITUTED, _ANNOTATED, _BAD = 1, 2, 3, 4
# Primes: no period of a tag's rhythm divides them, so states and values drift against the clock.
_FLOAT_ROWS, _ROWS = 32749, 4093

SYSTEM_SET = "SYSTEM"
SYSTEM_STATES = {
    "Access Denied": 210, "Bad Output": 237, "Scan Off": 238, "Scan On": 239, "Configure": 240, "Failed": 241,
    "Error": 242, "Filtered": 244, "Calc Off": 245, "I/O Timeout": 246, "Set to Bad": 247, "No Data": 248,
    "Calc Failed": 249, "Calc Overflow": 250, "Under Range": 251, "Over Range": 252, "Pt Created": 253,
    "Shutdown": 254, "Bad Input": 255, "Bad Total": 256, "No Alarm": 257,
}  # fmt: skip
DIGITAL_SETS = {
    "Pump": ("Stopped", "Running", "Starting", "Tripped"),
    "Valve": ("Closed", "Opening", "Open", "Closing", "Störung"),
    "Mode": ("Manual", "Automatic", "Cascade"),
}
_STRINGS = (
    "", "Batch 4711", 'says "stop"', "tab\there", "line\nbreak", "Überdruck °C µm", "back\\slash", "123", "NaN", "null",
    "true", "日本語 ✓", "a,b;c", "{not json}", "2024-03-05T10:00:00Z", " padded ", "Shutdown", "x" * 976,
)  # fmt: skip
_SEEN_STATES = (
    "I/O Timeout",
    "Bad Input",
    "Pt Created",
    "Shutdown",
    "No Data",
    "Calc Failed",
    "Over Range",
    "Set to Bad",
)


@lru_cache(maxsize=64)
def _good_before(marks: bytes) -> list[int]:
    """How many good events lie before each row."""
    return list(accumulate((FLAGS[mark][0] for mark in marks), initial=0))


@lru_cache(maxsize=64)
def table(point_type: str, digital_set: str, seed: int, bad: float) -> Table:
    """The table of a point type; a few milliseconds the first time."""
    name = f"{point_type}/{digital_set}"
    rng = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFF, *name.encode()]))
    rows = _FLOAT_ROWS if point_type in {"Float32", "Float64"} else _ROWS
    if digital_set:
        states = DIGITAL_SETS[digital_set]
        known = [DigitalState(state, code, is_system=False) for code, state in enumerate(states)]
        values: list[Value] = [known[code] for code in _whole(rng, rows, len(known))]
    else:
        values = _MAKE[point_type](rng, rows)
    dice = rng.integers(0, 1_000_000, rows).tolist()
    marks = bytearray(rows)
    bad_below = round(bad * 1_000_000)
    seen = [DigitalState(name, SYSTEM_STATES[name], is_system=True) for name in _SEEN_STATES]
    for row, die in enumerate(dice):
        if die < bad_below:
            marks[row] = _BAD
            # One bad event in sixteen comes without any value.
            values[row] = None if die % 16 == 0 else seen[row % len(seen)]
        elif die >= 994_000:
            marks[row] = (_QUESTIONABLE, _SUBSTITUTED, _ANNOTATED)[die % 3]
        elif die >= 993_000 and point_type.startswith("Float"):
            values[row] = float("nan")
    return Table(point_type, values, bytes(marks))


@lru_cache(maxsize=64)
def with_state_names(found: Table, names: frozenset[tuple[bool, int, str]]) -> Table:
    """The same table with other names for some states: (whether of the SYSTEM set, code, name)."""
    new = {(is_system, code): DigitalState(name, code, is_system) for is_system, code, name in names}
    values = found.values[:]
    for row, value in enumerate(values):
        if isinstance(value, DigitalState) and (state := new.get((value.is_system, value.code))):
            values[row] = state
    return Table(found.point_type, values, found.marks)


def _text(value: Value, point_type: str) -> str:
    if isinstance(value, DigitalState):
        return _state_text(value)
    if isinstance(value, float):
        # A whole double may print either way; a reader must not take the text for the type.
        if point_type == "Float64" and value.is_integer() and value % 2:
            return str(int(value))
        return repr(value) if value == value else "NaN"  # noqa: PLR0124 - NaN alone differs from itself
    return msgspec.json.encode(value).decode()


@lru_cache(maxsize=256)
def _state_text(state: DigitalState) -> str:
    return msgspec.json.encode(event_value(state)).decode()


def _whole(rng: np.random.Generator, rows: int, below: int) -> list[int]:
    found: list[int] = rng.integers(0, below, rows).tolist()
    return found


def _float32(rng: np.random.Generator, rows: int) -> list[Value]:
    """A walk between 0 and 100, folded back at the ends; its shortest single-precision text."""
    steps = rng.integers(-50_000, 50_001, rows)
    level = np.abs((np.cumsum(steps) + 5_000_000) % 20_000_000 - 10_000_000)
    return [float(str(value)) for value in (level / 100_000).astype(np.float32)]


def _float64(rng: np.random.Generator, rows: int) -> list[Value]:
    wide = rng.integers(-(2**52), 2**52, rows)
    scale = rng.integers(0, 60, rows)
    values: list[Value] = (wide / (2.0**scale)).tolist()
    for row in range(0, rows, 97):
        values[row] = float(row % 1000)
    return values


def _float16(rng: np.random.Generator, rows: int) -> list[Value]:
    return [float(str(value)) for value in (rng.integers(0, 32768, rows) * 100 / 32767).astype(np.float32)]


def _int32(rng: np.random.Generator, rows: int) -> list[Value]:
    values: list[Value] = rng.integers(-2147450880, 2147483648, rows).tolist()
    values[0], values[1], values[2] = -2147450880, 2147483647, 0
    return values


def _string(rng: np.random.Generator, rows: int) -> list[Value]:
    # The longest text a tag can hold is rare; the others come as often as they like.
    picks = _whole(rng, rows, len(_STRINGS) - 1)
    values: list[Value] = [f"{_STRINGS[pick]}{row}" if row % 2 else _STRINGS[pick] for row, pick in enumerate(picks)]
    values[0] = _STRINGS[-1]
    return values


def _timestamp(rng: np.random.Generator, rows: int) -> list[Value]:
    return [iso(ticks - ticks % 10 ** (row % 8)) for row, ticks in enumerate(_whole(rng, rows, 2_145_916_800 * SECOND))]


def _blob(rng: np.random.Generator, rows: int) -> list[Value]:
    return [rng.integers(0, 256, size).tolist() for size in _whole(rng, rows, 33)]


_MAKE: dict[str, Callable[[np.random.Generator, int], list[Value]]] = {
    "Float32": _float32,
    "Float64": _float64,
    "Float16": _float16,
    "Int32": _int32,
    "Int16": lambda rng, rows: [*_whole(rng, rows, 32768)],
    "String": _string,
    "Timestamp": _timestamp,
    "Blob": _blob,
}


def event_value(value: Value) -> Any:
    """A value as the object its JSON is made of."""
    if isinstance(value, DigitalState):
        return {"Name": value.name, "Value": value.code, "IsSystem": value.is_system}
    return value
