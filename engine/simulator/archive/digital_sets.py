"""The digital sets as they are now: their states, the names of the states, and which sets may not be read.

Pure, except for its own state. An archive stores codes only: recorded events show the new name of a renamed state.
Events of a removed state keep its last name.
"""

from __future__ import annotations

from collections.abc import Mapping

from .edits import Edit
from .point_registry import ChangeRefusedError
from .values import DIGITAL_SETS, SYSTEM_SET, SYSTEM_STATES


class DigitalSets:
    """All sets of the server. The SYSTEM set is number 0."""

    def __init__(self) -> None:
        self._states: dict[str, dict[int, str]] = {SYSTEM_SET: {code: name for name, code in SYSTEM_STATES.items()}}
        self._states |= {name: dict(enumerate(states)) for name, states in DIGITAL_SETS.items()}
        self._renamed: dict[str, dict[int, str]] = {}
        self.names = tuple(self._states)
        # Sets that may not be read, with the status that says so.
        self.forbidden: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"StateSets({', '.join(f'{name}: {len(states)}' for name, states in self._states.items())})"

    def states(self, name: str) -> Mapping[int, str]:
        """The states of a set by code."""
        return self._states[name]

    def shown(self, name: str) -> frozenset[tuple[bool, int, str]]:
        """Renamed states of a set and of the SYSTEM set, each as (whether of SYSTEM, code, new name)."""
        return frozenset(
            (each == SYSTEM_SET, code, new)
            for each in {SYSTEM_SET, name}
            for code, new in self._renamed.get(each, {}).items()
        )

    def change(self, edit: Edit) -> None:
        """Change a set.

        Raises:
            ChangeRefusedError: it has such a state already, or none of this code.
        """
        name = edit.digital_set or ""
        if edit.action == "forbid_set":
            self.forbidden[name] = edit.status
        elif edit.action == "allow_set":
            self.forbidden.pop(name, None)
        else:
            self._change_state(edit, name, edit.code or 0)

    def _change_state(self, edit: Edit, name: str, code: int) -> None:
        states = self._states[name]
        if (code in states) == (edit.action == "add_state"):
            there = f"already has a state {code}" if code in states else f"has no state {code}"
            raise ChangeRefusedError(f"{edit.action}: the set {name!r} {there}")
        if edit.action == "remove_state":
            del states[code]
            return
        states[code] = edit.name or ""
        self._renamed.setdefault(name, {})[code] = states[code]
