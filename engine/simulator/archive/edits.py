"""One change of history, of a point or of a digital set, as written in a fault plan or sent to the control route.

An edit with a key that its action does not take, or without one that it needs, is an error: a test must not pass
because its edit changed nothing.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from ..replies import Refusal
from ..times import parse_span, parse_time
from .values import DIGITAL_SETS, SYSTEM_SET

# ISO 8601 text: a datetime would lose the seventh digit.
Instant: TypeAlias = str
PointType: TypeAlias = Literal[
    "Float32", "Float64", "Float16", "Int32", "Int16", "Digital", "String", "Timestamp", "Blob"
]
Action: TypeAlias = Literal[
    "insert", "replace", "delete", "hide", "compress", "damage", "heal",
    "rename", "retype", "delete_point", "restore_point", "create_point", "forbid", "allow",
    "rename_state", "add_state", "remove_state", "forbid_set", "allow_set",
]  # fmt: skip

# The keys that each action takes; required ones are in capitals.
_TAKES: dict[str, str] = {
    "insert": "TAG AT value good visible_at",
    "replace": "TAG AT value good visible_at",
    "delete": "TAG AT until visible_at",
    "hide": "TAG AT until VISIBLE_AT",
    "compress": "TAG AT until",
    "damage": "TAG AT until",
    "heal": "TAG AT until",
    "rename": "TAG at NAME",
    "retype": "TAG at TYPE digital_set",
    "delete_point": "TAG at",
    "restore_point": "TAG at history",
    "create_point": "TAG at type digital_set units interval future",
    "forbid": "TAG at status",
    "allow": "TAG at",
    "rename_state": "DIGITAL_SET CODE NAME at",
    "add_state": "DIGITAL_SET CODE NAME at",
    "remove_state": "DIGITAL_SET CODE at",
    "forbid_set": "DIGITAL_SET at status",
    "allow_set": "DIGITAL_SET at",
}


class Edit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of history, of a point or of a digital set. `tag` is the point's name at that moment, or its index.

    History: `insert` adds an event, `replace` puts one in place of all at its instant, `delete`
    removes `[at, until)`, `hide` keeps it back until `visible_at` (late data), `compress` lets its
    events vanish as soon as a newer event exists. Without `until` the event at `at` is meant. Before
    `visible_at` the server answers as if nothing had happened. What is in `damage` cannot be read from now on,
    until it can again by `heal`.

    Points, from `at` on (without it: at once): `rename` to `name`, `retype` to `type`,
    `delete_point`, `restore_point` (as from a backup; with `history` false nothing from before comes
    back), `create_point` called `tag` (with `future` a forecast), `forbid` with a `status`, `allow`.

    Sets, likewise: `add_state`, `rename_state` to `name` and `remove_state` of the state `code` of
    `digital_set`; `forbid_set`, so that its states cannot be read, and `allow_set`.
    """

    action: Action
    tag: str | int = ""
    at: Instant | None = None
    until: Instant | None = None
    value: Any = None
    good: bool = True
    visible_at: Instant | None = None
    name: str | None = None
    type: PointType | None = None
    digital_set: str | None = None
    code: int | None = None
    units: str | None = None
    interval: str | None = None
    future: bool = False
    status: Literal[403, 500] = 403
    history: bool = True

    def __post_init__(self) -> None:
        require_instants(self.at, self.until, self.visible_at)
        takes = _TAKES[self.action].split()
        defaults = dict(
            zip(self.__struct_fields__[-len(self.__struct_defaults__) :], self.__struct_defaults__, strict=True)
        )
        for name, default in defaults.items():
            given = getattr(self, name) != default
            if given and name not in map(str.lower, takes):
                raise ValueError(f"`{self.action}` takes no `{name}`")
            if not given and name.upper() in takes:
                raise ValueError(f"`{self.action}` needs `{name}`")
        self._check_value()
        self._check_point()

    def _check_value(self) -> None:
        state = self.value
        if isinstance(state, dict) and not (isinstance(state.get("Name"), str) and isinstance(state.get("Value"), int)):
            raise ValueError("`value` is no state: it takes a `Name` and a `Value`")  # noqa: TRY004 - of a document

    def _check_point(self) -> None:
        if self.action == "create_point" and (not isinstance(self.tag, str) or not self.tag.strip()):
            raise ValueError("`create_point` needs a name as its `tag`")
        if self.name is not None and not self.name.strip():
            raise ValueError("`name` is empty")
        digital_sets = (SYSTEM_SET, *DIGITAL_SETS) if self.is_of_set else tuple(DIGITAL_SETS)
        if self.digital_set is not None and self.digital_set not in digital_sets:
            raise ValueError(f"no digital set {self.digital_set!r} among {', '.join(digital_sets)}")
        if self.digital_set is not None and self.type != "Digital" and not self.is_of_set:
            raise ValueError("only a point of type Digital has a `digital_set`")
        if self.interval is not None:
            try:
                parse_span(self.interval)
            except Refusal as refusal:
                raise ValueError(" ".join(refusal.payload["Errors"])) from refusal

    @property
    def is_of_history(self) -> bool:
        """Whether it changes what a point recorded, not the point itself."""
        return "AT" in _TAKES[self.action].split()

    @property
    def is_of_set(self) -> bool:
        """Whether it changes a digital set."""
        return "DIGITAL_SET" in _TAKES[self.action].split()


def require_instants(*texts: str | None) -> None:
    """Refuse text that is no absolute instant.

    Raises:
        ValueError: such a text.
    """
    for text in texts:
        try:
            known = text is None or parse_time(text).fixed is not None
        except Refusal:
            known = False
        if not known:
            raise ValueError(f"{text!r} is not an instant such as 2024-03-05T10:00:00Z")
