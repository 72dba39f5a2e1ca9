"""Attributes of points, out of the answers of `/points/{webId}/attributes`. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .assets import name_matches
from .members import parsed_list
from .problems import sentence_of
from .values import value_error, value_or_error, well_formed


@dataclass(frozen=True, slots=True)
class PointAttributes:
    """The wanted attributes of a point by name in lower case, as text; and why others could not be read."""

    texts: dict[str, str | None]
    unread: tuple[str, ...] = ()


def decode_point_attributes(body: bytes, wanted: Sequence[str]) -> PointAttributes:
    """The attributes of a point whose names fit one of `wanted`, with `*` and `?`. An item that is none costs no other one.

    Raises `UnavailableError` for a body that is no such list.
    """
    _, items = parsed_list(body)
    texts: dict[str, str | None] = {}
    unread: list[str] = []
    for item in items:
        name = item.get("Name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            unread.append("an item of the list has no name")
            continue
        name = well_formed(name).lower()
        if not name_matches(wanted, name) or name in texts:
            continue
        wrong = value_error(item)
        if wrong is not None:
            unread.append(f"{name}: {sentence_of(wrong) or 'it does not say why'}")
        else:
            texts[name] = _text(item.get("Value"))
    return PointAttributes(texts, tuple(unread))


def _text(value: Any) -> str | None:
    """A value as text: a number as it was sent, a state by its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    text = value_or_error(value).text
    if text is None and isinstance(value, (int, float)):
        return repr(value)
    return text if text is None else well_formed(text)
