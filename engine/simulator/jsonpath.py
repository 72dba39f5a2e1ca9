"""The JSONPath that batches use to take ids from their parents' answers. Pure.

`$.pts.Content.Items[*].WebId`, `$['a b'].Content.Items[0].WebId`; stars on objects select all members.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["select"]

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?:'(?P<quoted>[^']*)'|(?P<place>-?\d+)|(?P<star>\*))\]")


def select(document: Any, path: str) -> list[Any] | None:
    """What a path selects, in document order; `None` for a path that cannot be read here."""
    if not path.startswith("$"):
        return None
    found, at = [document], 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        at = step.end()
        name = step["quoted"] if step["quoted"] is not None else step["name"]
        if step["star"] or name == "*":
            found = [child for value in found for child in _children(value)]
        elif step["place"] is not None:
            place = int(step["place"])
            found = [value[place] for value in found if isinstance(value, list) and -len(value) <= place < len(value)]
        else:
            found = [value[name] for value in found if isinstance(value, dict) and name in value]
    return found


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
