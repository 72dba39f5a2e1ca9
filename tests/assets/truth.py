"""What the asset tables must hold, from the closed form of the simulated plant: a second reading of the protocol.

Columns that a table keeps itself are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.simulator import Simulator
from engine.simulator.assets.ids import DATABASE, encode, guid
from engine.simulator.assets.plant import Attribute, Plant
from engine.simulator.assets.templates import UNIT_CLASSES, lineage

__all__ = ["Row", "attribute_web_id", "attributes", "categories", "element_web_id", "elements", "everything"]

Row = dict[str, Any]
DATABASE_WEB_ID = encode("I", "RD", (DATABASE,), "")


def element_web_id(number: int | None) -> str:
    return DATABASE_WEB_ID if number is None else encode("I", "Em", (guid("element", number),), "")


def attribute_web_id(one: Attribute) -> str:
    return encode("I", "AbE", (guid("element", one.owner), guid("attribute", one.owner, one.place)), "")


def plant_of(simulator: Simulator) -> Plant:
    return simulator._site.plant


def elements(simulator: Simulator) -> list[Row]:
    plant = plant_of(simulator)

    def depth(number: int) -> int:
        parent = plant.element(number).parent
        return 0 if parent is None else depth(parent) + 1

    return [
        {
            "element_webid": element_web_id(number),
            "element_id": str(guid("element", number)),
            "element_name": one.name,
            "element_path": plant.path_of(number),
            "parent_webid": None if one.parent is None else element_web_id(one.parent),
            "database": simulator.options.asset_database,
            "template_name": one.template,
            "description": one.description,
            "category_names": list(one.categories),
            "depth": depth(number),
            "has_children": bool(plant.children(number) or plant.referred(number)),
        }
        for number in plant.numbers()
        if (one := plant.element(number))
    ]


def references(simulator: Simulator) -> list[Row]:
    plant = plant_of(simulator)
    return [
        {
            "element_webid": element_web_id(number),
            "parent_webid": element_web_id(over),
            "reference_path": plant.path_of(number, by=over),
            "reference_type": "parent-child",
            "database": simulator.options.asset_database,
        }
        for number in plant.numbers()
        for over in plant.element(number).also
        if over is None or plant.exists(over)
    ]


def attributes(simulator: Simulator, *, hidden: bool = False) -> list[Row]:
    plant = plant_of(simulator)
    return [
        _attribute(simulator, one)
        for number in plant.numbers()
        for one in plant.attributes(number)
        if hidden or not (one.hidden or one.excluded)
    ]


def _attribute(simulator: Simulator, one: Attribute) -> Row:
    plant = plant_of(simulator)
    above = None if one.above is None else plant.attribute(one.owner, one.above)
    points_to = one.tag if one.reference == "PI Point" else None
    return {
        "attribute_webid": attribute_web_id(one),
        "attribute_id": str(guid("attribute", one.owner, one.place)),
        "element_webid": element_web_id(one.owner),
        "attribute_name": one.name,
        "attribute_path": plant.attribute_path(one),
        "parent_attribute_webid": None if above is None else attribute_web_id(above),
        "value_type": one.type,
        "type_qualifier": one.qualifier or None,
        "units": one.units[1],
        "data_reference": one.reference,
        "config_string": one.config,
        "tag_webid": None if points_to is None else simulator.web_id(points_to),
        "tag_path": None if points_to is None else f"\\\\{simulator.options.server}\\{simulator.point(points_to).name}",
        **(_value(one) if not one.reference else dict.fromkeys(_VALUE)),
        "description": one.description,
        "category_names": list(one.categories),
        "trait": one.trait,
        "is_hidden": one.hidden,
        "is_excluded": one.excluded,
        "is_configuration_item": one.configuration_item,
        "is_manual_data_entry": one.manual,
        "database": simulator.options.asset_database,
    }


_VALUE = ("value", "value_string", "state_code", "value_kind", "good")


def _value(one: Attribute) -> Row:
    value = one.value
    found: tuple[Any, ...]
    match value:
        case None:
            found = (None, None, None, "null")
        case bool():
            found = (None, str(value).lower(), None, "boolean")
        case int() if int(float(value)) != value:
            found = (float(value), str(value), None, "number")
        case int() | float():
            found = (float(value), None, None, "number")
        case str():
            found = (None, value, None, "timestamp" if one.type == "DateTime" else "string")
        case list():
            found = (None, value, None, "array")
        case _:
            found = (None, value["Name"], value["Value"], "digital")
    return dict(zip(_VALUE, (*found, one.good), strict=True))


def templates(simulator: Simulator) -> Iterator[tuple[str, str, str, str]]:
    for one in plant_of(simulator).templates.values():
        yield one.name, one.base, one.instance, one.description


def template_attributes(simulator: Simulator) -> Iterator[tuple[str, str, bool]]:
    known = plant_of(simulator).templates
    for template in known.values():
        for over in lineage(template.name, known):
            for one in over.attributes:
                yield template.name, one.name, over.name != template.name


def enumeration_values(simulator: Simulator) -> Iterator[tuple[str, int, str]]:
    for name, states in plant_of(simulator).enumerations.items():
        for code, word in states.items():
            yield name, code, word


def categories(simulator: Simulator) -> Iterator[tuple[str, str]]:
    plant = plant_of(simulator)
    yield from (("element", name) for name in plant.element_categories)
    yield from (("attribute", name) for name in plant.attribute_categories)


def units(_simulator: Simulator) -> Iterator[tuple[str, str, str, str]]:
    for name, several in UNIT_CLASSES.items():
        for unit, short in several:
            yield name, unit, short, several[0][1]


def everything(simulator: Simulator) -> dict[str, Any]:
    """What each table must hold, without rows of what is gone."""
    return {
        "pi_asset_hierarchy": ordered(elements(simulator)),
        "pi_asset_references": ordered(references(simulator)),
        "pi_asset_attributes": ordered(attributes(simulator)),
        "pi_asset_templates": sorted(templates(simulator)),
        "pi_asset_template_attributes": sorted(template_attributes(simulator)),
        "pi_enumeration_values": sorted(enumeration_values(simulator)),
        "pi_asset_categories": sorted(categories(simulator)),
        "pi_units_of_measure": sorted(units(simulator)),
    }


def ordered(rows: list[Row]) -> list[Row]:
    """In a firm order, arrays as values."""
    for row in rows:
        if row.get("value_kind") == "array" and isinstance(row["value_string"], str):
            row["value_string"] = json.loads(row["value_string"])
    return sorted(
        rows, key=lambda row: (row.get("attribute_webid") or row["element_webid"], row.get("parent_webid") or "")
    )
