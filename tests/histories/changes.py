"""What a step at the source does: edits, worded for the simulator, that fit what there is now.

Pure but for what the plant tells. Invariant: every edit speaks of an existing tag by its number; whether
the state of the point allows it is the plant's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from engine.simulator import Event
from engine.simulator.times import SECOND, iso
from tests.histories.script import Setting
from tests.histories.source import BEGIN, TYPES, Edits, Source

__all__ = ["edits_for"]

_NAMES = ("Boiler", "Mixer", "Öl & Gas", "Unit0000.Flow.000001")
_STATES = ({"Name": "Bad Input", "Value": 255, "IsSystem": True}, {"Name": "No Data", "Value": 248, "IsSystem": True})
_POINT: dict[str, Callable[[Random, Source], dict[str, Any]]] = {
    "rename": lambda dice, _source: {"name": dice.choice(_NAMES)},
    "retype": lambda dice, _source: {"type": dice.choice(TYPES)},
    "delete_point": lambda _dice, _source: {},
    "restore_point": lambda dice, _source: {"history": dice.random() < 0.7},
    "forbid": lambda dice, _source: {"status": dice.choice([403, 500])},
    "allow": lambda _dice, _source: {},
}


def edits_for(kind: str, source: Source, setting: Setting, dice: Random) -> Edits:
    """One to three edits of a kind, of one tag or of several."""
    if kind == "allow_all":
        return [{"tag": index, "action": "allow"} for index in sorted(source.forbidden - source.gone)]
    if kind == "create_point":
        every = f"{dice.choice([1, 5, 60]) * setting.unit_secs}s"
        name = dice.choice(_NAMES)
        return [{"tag": name, "action": kind, "type": dice.choice(TYPES), "interval": every}]
    if kind in _POINT:
        return [{"tag": _chosen(kind, source, dice), "action": kind, **_POINT[kind](dice, source)}]
    edits: Edits = []
    for _ in range(dice.choice([1, 1, 2, 3])):
        index = dice.randrange(source.size)
        edits += _of_history(kind, index, source, setting, dice)
    return edits


def _chosen(kind: str, source: Source, dice: Random) -> int:
    """A tag that the change is likely to fit."""
    among = {"restore_point": source.gone, "allow": source.forbidden}.get(kind)
    return dice.choice(sorted(among)) if among else dice.randrange(source.size)


def _of_history(kind: str, index: int, source: Source, setting: Setting, dice: Random) -> Edits:
    unit = setting.unit_secs * SECOND
    seen = source.events(index)
    edit: dict[str, Any] = {"tag": index, "action": kind}
    if kind == "insert":
        return [edit | {"at": iso(_instant(seen, source, unit, dice)), **_value(source.point(index).type, dice)}]
    if kind == "insert_hidden":
        later = iso(source.now + dice.randint(1, 200 * unit))
        edit |= {"action": "insert", "visible_at": later, **_value(source.point(index).type, dice)}
        return [edit | {"at": iso(_instant(seen, source, unit, dice))}]
    if kind == "hide":
        start = _instant(seen, source, unit, dice)
        until, shown = start + dice.randint(1, 60 * unit), source.now + dice.randint(1, 200 * unit)
        return [edit | {"at": iso(start), "until": iso(until), "visible_at": iso(shown)}]
    if not seen:
        return []
    if kind == "compress":
        at = seen[-1] if dice.random() < 0.7 else _event(seen, dice)
        return [edit | {"at": iso(at.ticks)}]
    if kind == "replace":
        return [edit | {"at": iso(_event(seen, dice).ticks), **_value(source.point(index).type, dice)}]
    if kind == "delete_range":
        start = _event(seen, dice).ticks
        return [edit | {"action": "delete", "at": iso(start), "until": iso(start + dice.randint(1, 60 * unit))}]
    at = seen[-1] if kind == "delete_newest" else _event(seen, dice)
    return [edit | {"action": "delete", "at": iso(at.ticks)}]


def _event(seen: list[Event], dice: Random) -> Event:
    """The newest, one of the newest, or any."""
    return dice.choice(seen[-dice.choice([1, 2, 10, 10, len(seen)]) :])


def _instant(seen: list[Event], source: Source, unit: int, dice: Random) -> int:
    """Beside an event, or at its very instant; near the present, be it before or after; or any time."""
    die = dice.random()
    if seen and die < 0.4:
        return _event(seen, dice).ticks + dice.choice([0, 0, 1, 9, -1, unit // 3])
    if die < 0.8:
        return source.now - dice.randint(-2 * unit, 30 * unit)
    return dice.randint(BEGIN, source.now)


def _value(point_type: str, dice: Random) -> dict[str, Any]:
    """A value of a type; now and then a state of the system, or none at all."""
    die = dice.random()
    if die < 0.15:
        return {"value": dice.choice([None, *_STATES]), "good": False}
    if point_type.startswith("Float"):
        return {"value": dice.choice([0.0, -0.0, 1e300, dice.uniform(-1, 1), float(dice.randint(0, 9))])}
    if point_type.startswith("Int"):
        return {"value": dice.choice([0, dice.randint(-(2**31), 2**31 - 1), 2**53 + 1])}
    if point_type == "Digital":
        return {"value": {"Name": dice.choice(["Open", "Störung"]), "Value": dice.randint(0, 4), "IsSystem": False}}
    if point_type == "Timestamp":
        return {"value": iso(dice.randint(BEGIN // 2, BEGIN))}
    if point_type == "Blob":
        return {"value": [dice.randint(0, 255) for _ in range(dice.randint(0, 5))]}
    return {"value": dice.choice(["", "NaN", "Überdruck", 'says "stop"', f"Batch {dice.randint(0, 99)}"])}
