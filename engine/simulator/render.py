"""Events to JSON text. Most of the text of an answer comes from caches.

Pure, except for bounded caches. An event is three fragments: its minute (`,{"Timestamp":"2024-03-05T10:00:`,
one per minute for all tags), its second and fraction (one per place in the tag's cycle), and the
rest of the object (one per row of the value table and choice of fields). A page of events is three
list slices and one join. Tags with edits take `slow_items`, event by event, to the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from .archive.signals import Signal
from .archive.values import FLAGS, DigitalState, Event, Table, Value, event_value
from .fields import Tree, below, pick, wants
from .replies import json_bytes
from .times import MINUTE, SECOND, iso

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_MINUTES = 1440
_BLOCK_ROWS = 512
_NAN = {"bare": "NaN", "string": '"NaN"', "null": "null"}
_QUALITY = ("Good", "Questionable", "Substituted", "Annotated")


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Which members of a TimedValue are written, and how NaN is. Compared by identity, a quick key of caches."""

    timestamp: bool = True
    value: bool = True
    units: bool = True
    quality: tuple[str, ...] = _QUALITY
    state: tuple[str, ...] | None = None  # members wanted of a digital state; None: all
    nan: str = _NAN["string"]

    @staticmethod
    def of(tree: Tree, nan: str) -> Layout:
        """Layout for the part of `selectedFields` that speaks of one event."""
        state = below(tree, "Value") if wants(tree, "Value") else None
        quality = tuple(name for name in _QUALITY if wants(tree, name))
        return _layout(
            wants(tree, "Timestamp"),
            wants(tree, "Value"),
            wants(tree, "UnitsAbbreviation"),
            quality,
            None if state is None else tuple(state),
            _NAN[nan],
        )


_layout = lru_cache(maxsize=256)(Layout)


def fast_items(found: Signal, first: int, to: int, layout: Layout) -> list[bytes]:
    """Fragments of events `[first, to)`, each event begun by a comma. The list is the caller's."""
    count = to - first
    if count <= 0:
        return []
    if not found.rhythm.minutes:
        return slow_items([found.event(number) for number in range(first, to)], layout)
    tails = _tails(found.table, layout).after(found.offset + first, count)
    if not layout.timestamp:
        return tails
    heads, seconds = _clock_texts(found, first, count)
    fragments = heads * 3
    fragments[0::3] = heads
    fragments[1::3] = seconds
    fragments[2::3] = tails
    return fragments


def slow_items(events: list[Event], layout: Layout) -> list[bytes]:
    """The same text, one fragment per event, for events that are in no table."""
    items = []
    for event in events:
        flags = (event.good, event.questionable, event.substituted, event.annotated)
        rest = _value_text(event.value, json_bytes(event_value(event.value)).decode(), layout) + _quality_text(
            flags, layout
        )
        head = f',"Timestamp":"{iso(event.ticks)}"' if layout.timestamp else ""
        items.append(f",{{{(head + rest)[1:]}}}".encode())
    return items


def event_object(event: Event, nan: str) -> dict[str, Any]:
    """One event as the object its JSON is made of."""
    value = event_value(event.value)
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        value = {"bare": value, "string": "NaN", "null": None}[nan]
    return {
        "Timestamp": iso(event.ticks),
        "Value": value,
        "UnitsAbbreviation": "",
        "Good": event.good,
        "Questionable": event.questionable,
        "Substituted": event.substituted,
        "Annotated": event.annotated,
    }


def _clock_texts(found: Signal, first: int, count: int) -> tuple[list[bytes], list[bytes]]:
    """The two fragments of every timestamp: up to the minute, and from the second on."""
    minutes, slots = found.rhythm.minutes, len(found.rhythm.slots)
    if slots == 1:
        heads = _minute_heads(found.start_minute + first * minutes, count, minutes)
        return heads, [_second_text(found.start_rest)] * count
    cycle, place = divmod(first, slots)
    start_minute = found.start_minute + cycle * minutes
    offsets, seconds = _slot_texts(found.rhythm.slots, found.start_rest)
    cycles = (place + count - 1) // slots + 1
    known = _minute_heads(start_minute, cycles * minutes + 1 + offsets[-1] // minutes, 1)
    heads = [known[turn + offset] for turn in range(0, cycles * minutes, minutes) for offset in offsets]
    return heads[place : place + count], (seconds * cycles)[place : place + count]


@lru_cache(maxsize=1024)
def _slot_texts(slots: tuple[int, ...], phase: int) -> tuple[list[int], list[bytes]]:
    """For every slot of a cycle: which minute of it, and the text from the second on."""
    split = [divmod(phase + slot, MINUTE) for slot in slots]
    return [minute for minute, _ in split], [_second_text(rest) for _, rest in split]


@lru_cache(maxsize=65536)
def _second_text(ticks: int) -> bytes:
    second, fraction = divmod(ticks, SECOND)
    if not fraction:
        return b'%02dZ"' % second
    return b'%02d.%sZ"' % (second, (b"%07d" % fraction).rstrip(b"0"))


def _minute_heads(first: int, count: int, step: int) -> list[bytes]:
    """Heads of `count` minutes since 1970, `step` apart."""
    if step > 60:
        return [
            _day_heads(minute // _DAY_MINUTES)[minute % _DAY_MINUTES]
            for minute in range(first, first + count * step, step)
        ]
    day, minute = divmod(first, _DAY_MINUTES)
    stop = minute + (count - 1) * step + 1
    if stop <= _DAY_MINUTES:
        return _day_heads(day)[minute:stop:step]
    heads: list[bytes] = []
    for turn in range(-(-stop // _DAY_MINUTES)):
        heads += _day_heads(day + turn)
    return heads[minute:stop:step]


@lru_cache(maxsize=128)
def _day_heads(day: int) -> list[bytes]:
    text = date.fromordinal(_EPOCH_ORDINAL + day).isoformat()
    return [f',{{"Timestamp":"{text}T{minute // 60:02d}:{minute % 60:02d}:'.encode() for minute in range(_DAY_MINUTES)]


class _Tails:
    """What follows the timestamp, for the rows of a table. Blocks of rows are made when they are first asked for: a
    short run sees few of them. Threads that make the same block make the same.
    """

    def __init__(self, table: Table, layout: Layout) -> None:
        self._table, self._layout = table, layout
        self._quality = [_quality_text(flags, layout) for flags in FLAGS]
        self._made = bytearray(-(-len(table) // _BLOCK_ROWS))
        self._doubled = [b""] * (2 * len(table))  # twice over, so that a slice may run past the end

    def after(self, row: int, count: int) -> list[bytes]:
        """Those of `count` rows from this one on, around the table as often as it takes."""
        rows = len(self._table)
        row %= rows
        end = row + min(count, rows)
        self._make(row, min(end, rows))
        self._make(0, end - rows)
        if row + count <= 2 * rows:
            return self._doubled[row : row + count]
        return (self._doubled * (count // (2 * rows) + 2))[row : row + count]

    def _make(self, row: int, to: int) -> None:
        rows = len(self._table)
        for block in range(row // _BLOCK_ROWS, -(-to // _BLOCK_ROWS)):
            if not self._made[block]:
                first, last = block * _BLOCK_ROWS, min(rows, (block + 1) * _BLOCK_ROWS)
                tails = list(map(self._tail, range(first, last)))
                self._doubled[first:last] = self._doubled[rows + first : rows + last] = tails
                self._made[block] = 1

    def _tail(self, row: int) -> bytes:
        table, layout = self._table, self._layout
        rest = _value_text(table.values[row], table.text(row), layout) + self._quality[table.marks[row]]
        return f"{rest}}}".encode() if layout.timestamp else f",{{{rest[1:]}}}".encode()


_tails = lru_cache(maxsize=24)(_Tails)


def _value_text(value: Value, text: str, layout: Layout) -> str:
    if not layout.value:
        return ""
    if layout.state is not None and isinstance(value, DigitalState):
        text = json_bytes(pick(event_value(value), dict.fromkeys(layout.state))).decode()
    elif text == "NaN":
        text = layout.nan
    return f',"Value":{text}'


def _quality_text(flags: tuple[bool, ...], layout: Layout) -> str:
    text = ',"UnitsAbbreviation":""' if layout.units else ""
    for name, flag in zip(_QUALITY, flags, strict=True):
        if name in layout.quality:
            text += f',"{name}":{"true" if flag else "false"}'
    return text
