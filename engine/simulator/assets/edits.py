"""One change of the asset tree or of an event frame, as a fault plan or the control route words it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from ..archive.edits import Instant, require_instants

_Action: TypeAlias = Literal[
    "create_element", "edit_element", "move_element", "delete_element", "refer_element", "release_element",
    "create_attribute", "edit_attribute", "delete_attribute", "put_template", "delete_template",
    "create_frame", "edit_frame", "delete_frame", "acknowledge_frame", "annotate_frame", "edit_frame_value",
]  # fmt: skip

# What each action takes; what it cannot do without is in capitals.
_TAKES: dict[str, str] = {
    "create_element": "NAME to template description categories",
    "edit_element": "ELEMENT name template description categories",
    "move_element": "ELEMENT to",
    "delete_element": "ELEMENT",
    "refer_element": "ELEMENT to",
    "release_element": "ELEMENT to",
    "create_attribute": "ELEMENT ATTRIBUTE type value tag",
    "edit_attribute": "ELEMENT ATTRIBUTE name value tag",
    "delete_attribute": "ELEMENT ATTRIBUTE",
    "put_template": "TEMPLATE to description",
    "delete_template": "TEMPLATE",
    "create_frame": "NAME START end template elements frame description severity",
    "edit_frame": "FRAME name start end template elements description severity locked",
    "delete_frame": "FRAME",
    "acknowledge_frame": "FRAME BY START",
    "annotate_frame": "FRAME NAME START by",
    "edit_frame_value": "FRAME ATTRIBUTE value",
}


class AssetEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    r"""A change of the asset tree or of event frames, made at once.

    `element` and `to` are paths below the database (`Site 01\Unit 02`), or numbers; `to` left out is the database itself.
    `attribute` may be nested: `Limits|High`. `tag` is the index of a tag. Templates are put with the base `to`.
    `frame` is a number, as `create_frame` and the control route give it; of a frame to create, the one above it. `start`
    is also the time of an acknowledgement or annotation. `end` "open" opens a frame again.
    """

    action: _Action
    element: str | int = ""
    to: str | int | None = None
    attribute: str | None = None
    name: str | None = None
    template: str | None = None
    description: str | None = None
    categories: tuple[str, ...] | None = None
    type: str | None = None
    value: Any = None
    tag: int | None = None
    frame: int | None = None
    start: Instant | None = None
    end: Instant | None = None
    elements: tuple[str | int, ...] | None = None
    severity: Literal["None", "Information", "Warning", "Minor", "Major", "Critical"] | None = None
    by: str | None = None
    locked: bool | None = None

    def __post_init__(self) -> None:
        require_instants(self.start, None if self.end == "open" else self.end)
        takes = _TAKES[self.action].split()
        for name in self.__struct_fields__[1:]:
            given = getattr(self, name) not in (None, "")
            if given and name not in map(str.lower, takes):
                raise ValueError(f"`{self.action}` takes no `{name}`")
            if not given and name.upper() in takes:
                raise ValueError(f"`{self.action}` needs `{name}`")

    @property
    def is_of_frame(self) -> bool:
        """Whether it changes an event frame, not the tree."""
        return self.action.endswith(("_frame", "_frame_value"))
