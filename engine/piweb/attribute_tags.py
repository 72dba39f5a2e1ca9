"""Attributes of elements that are read like tags: from the answers of a lookup to points. Pure.

A stream is a point's or an attribute's, under the same routes (PI Web API reference, Stream controller), so an attribute that
was found is a tag like any other: its WebID has recorded values, counts and a watermark. In pi_tags its `point_class` is
`attribute`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .members import Item, linked, parsed_list, text
from .points import Points, points_of

ATTRIBUTE = "attribute"
# What values of a type are to the decoder, which knows the types of points.
_POINT_TYPES = {
    "Double": "Float64", "Single": "Float32", "Int64": "Int64", "Int32": "Int32", "Int16": "Int16", "Byte": "Byte",
    "DateTime": "Timestamp", "EnumerationValue": "Digital",
}  # fmt: skip
_NO_HISTORY = "the attribute has a value of its own and no history: pi_asset_attributes holds it"


@dataclass(frozen=True, slots=True)
class AttributeTags:
    """Attributes as tags. `points`: by the WebID of an attribute, that of the PI point that it shows unchanged."""

    found: Points
    points: Mapping[str, str]


def decode_attributes(body: bytes, asked: Sequence[str]) -> AttributeTags:
    """Attributes of `/attributes/multiple`. Raises `UnavailableError` for a body that is no such answer."""
    _, items = parsed_list(body)
    return _attribute_tags([one for one in items if isinstance(one, dict)], asked)


def as_tags(items: Sequence[Item]) -> AttributeTags:
    """Attributes of a list, each with a WebID that can be used."""
    results = [{"Identifier": one["WebId"], "Object": one} for one in items]
    return _attribute_tags(results, [one["WebId"] for one in items])


def names_below_element(item: Item) -> str:
    """`Limits|High`: the name of an attribute behind those of the attributes above it."""
    return (text(item, "Path") or "").partition("|")[2] or text(item, "Name") or ""


def _attribute_tags(results: Sequence[Item], asked: Sequence[str]) -> AttributeTags:
    points = {
        web_id: point
        for one in results
        if isinstance(shown := one.get("Object"), dict) and text(shown, "DataReferencePlugIn") == "PI Point"
        if (web_id := text(shown, "WebId")) and (point := linked(shown, "Point"))
    }
    return AttributeTags(points_of(list(map(_as_point, results)), asked), points)


def _as_point(result: Item) -> Item:
    """A result of a lookup, with the attribute as a point of the same WebID."""
    shown = result.get("Object")
    if not isinstance(shown, dict):
        return result
    if not text(shown, "DataReferencePlugIn"):
        return {**result, "Object": None, "Exception": {"Errors": [_NO_HISTORY]}}
    kind = text(shown, "Type") or ""
    point: dict[str, Any] = {
        "WebId": shown.get("WebId"),
        "Name": _name(shown),
        "Path": shown.get("Path"),
        "Descriptor": shown.get("Description"),
        "PointClass": ATTRIBUTE,
        "PointType": _POINT_TYPES.get(kind, kind),
        "DigitalSetName": text(shown, "TypeQualifier") if kind == "EnumerationValue" else None,
        "EngineeringUnits": text(shown, "DefaultUnitsNameAbbreviation") or text(shown, "DefaultUnitsName"),
        "Span": shown.get("Span"),
        "Zero": shown.get("Zero"),
        "Step": shown.get("Step"),
    }
    return {**result, "Object": point}


def _name(shown: Item) -> str:
    r"""`Site 01\Unit 02|Feed`: the path below the database, since names of attributes repeat."""
    path = text(shown, "Path") or ""
    return path.removeprefix("\\\\").split("\\", 2)[-1] if path.count("\\") > 3 else text(shown, "Name") or path
