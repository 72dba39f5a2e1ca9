"""What every simulated asset database holds: templates, categories, enumeration sets, units, tables. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Described:
    """What a template says of an attribute, and every attribute of the template has in common with it."""

    name: str
    type: str = "Double"
    reference: str = ""  # "": a value of its own; PI Point, Formula, Table Lookup, String Builder
    units: tuple[str, str] = ("", "")
    qualifier: str = ""
    config: str = ""
    hidden: bool = False
    excluded: bool = False
    configuration_item: bool = False
    manual: bool = False
    trait: str = ""
    categories: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class AttributeTemplate(Described):
    """An attribute that every element, or frame, of a template has. `under`: the attribute above it."""

    under: str = ""

    def shared(self) -> dict[str, Any]:
        """What an attribute of the template has of it, by the names of `Described`."""
        return {name: getattr(self, name) for name in _DESCRIBED}


_DESCRIBED = tuple(one.name for one in fields(Described))


@dataclass(frozen=True, slots=True)
class Template:
    """A template of elements or of event frames; `base` is the one it inherits from."""

    name: str
    base: str = ""
    instance: str = "Element"
    description: str = ""
    categories: tuple[str, ...] = ()
    attributes: tuple[AttributeTemplate, ...] = field(default=())
    severity: str = "None"
    can_be_acknowledged: bool = False
    naming: str = ""


_M3H = ("cubic meter per hour", "m3/h")
_BAR = ("bar", "bar")
_CELSIUS = ("degree Celsius", "\u00b0C")
_KW = ("kilowatt", "kW")
_POINT = "\\\\%Server%\\%Element%.%Attribute%"

ELEMENT_CATEGORIES = ("Geography", "Process", "Rotating equipment", "Instruments")
ATTRIBUTE_CATEGORIES = ("Measurement", "Calculation", "Nameplate")
ENUMERATIONS: dict[str, dict[int, str]] = {
    "Unit states": {0: "Stopped", 1: "Starting", 2: "Running", 3: "Maintenance"},
    "Phases": {0: "Idle", 1: "Fill", 2: "Heat", 3: "Drain"},
    "Reasons": {10: "Mechanical", 20: "Electrical", 30: "No feed"},
}
UNIT_CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "Volume Flow Rate": (_M3H, ("liter per minute", "L/min")),
    "Pressure": (_BAR, ("kilopascal", "kPa")),
    "Temperature": (_CELSIUS, ("kelvin", "K")),
    "Power": (_KW, ("megawatt", "MW")),
}
TABLES: dict[str, tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]] = {
    "Tank capacities": (("Tank", "Capacity"), (("Tank 03", 120.5), ("Tank 07", 88.0), ("Tank 11", 240.25))),
}

_NAMEPLATE = (
    AttributeTemplate("Serial", "String", configuration_item=True, categories=("Nameplate",)),
    AttributeTemplate("Installed", "DateTime", configuration_item=True, categories=("Nameplate",)),
)
_LIMITS = (
    AttributeTemplate("Limits", "String"),
    AttributeTemplate("High", under="Limits", trait="LimitHi"),
    AttributeTemplate("Low", under="Limits", trait="LimitLo"),
)

TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template("Site", categories=("Geography",), attributes=(
            AttributeTemplate("Latitude", units=("degree", "\u00b0")),
            AttributeTemplate("Region", "String"),
        )),
        Template("Unit", categories=("Process",), attributes=(
            AttributeTemplate("Status", "EnumerationValue", qualifier="Unit states", manual=True),
            AttributeTemplate("Feed", reference="PI Point", units=_M3H, config=_POINT, categories=("Measurement",)),
            AttributeTemplate("Feed doubled", reference="Formula", units=_M3H, config="A=Feed;[A*2]", categories=("Calculation",)),
            AttributeTemplate("Title", "String", "String Builder", config='"Unit ";%Element%'),
        )),
        Template("Equipment", attributes=(*_NAMEPLATE, *_LIMITS)),
        Template("Pump", "Equipment", categories=("Rotating equipment",), attributes=(
            AttributeTemplate("Flow", reference="PI Point", units=_M3H, config=_POINT, categories=("Measurement",)),
            AttributeTemplate("Flow doubled", reference="Formula", units=_M3H, config="A=Flow;[A*2]"),
            AttributeTemplate("Rated power", units=_KW, configuration_item=True, categories=("Nameplate",)),
        )),
        Template("Compressor", "Equipment", categories=("Rotating equipment",), attributes=(
            AttributeTemplate("Pressure", reference="PI Point", units=_BAR, config=_POINT),
            AttributeTemplate("Stages", "Int32"),
            AttributeTemplate("Spare parts", "String[]"),
        )),
        Template("Tank", "Equipment", attributes=(
            AttributeTemplate("Level", reference="PI Point", units=("percent", "%"), config=_POINT),
            AttributeTemplate("Capacity", reference="Table Lookup", config="SELECT Capacity FROM [Tank capacities] WHERE Tank = '%Element%'"),
            AttributeTemplate("Ledger number", "Int64"),
        )),
        Template("Heater", "Equipment", attributes=(
            AttributeTemplate("Temperature", reference="PI Point", units=_CELSIUS, config=_POINT),
            AttributeTemplate("Certified", "Boolean"),
            AttributeTemplate("Asset key", "Guid"),
        )),
        Template("Component", categories=("Instruments",), attributes=(
            AttributeTemplate("Model", "String", categories=("Nameplate",)),
            AttributeTemplate("Value", reference="PI Point", config=_POINT, categories=("Measurement",)),
            AttributeTemplate("Range", units=("percent", "%")),
        )),
        Template("Sensor", "Component", attributes=(
            AttributeTemplate("Accuracy"),
            AttributeTemplate("Calibrated", "DateTime"),
            AttributeTemplate("Internal note", "String", hidden=True),
        )),
        Template("Motor", "Component", attributes=(
            AttributeTemplate("Rated power", units=_KW),
            AttributeTemplate("Remark", "String"),
            AttributeTemplate("Retired", "String", excluded=True),
        )),
        Template("Batch", instance="EventFrame", naming="Batch", attributes=(
            AttributeTemplate("Max temperature", reference="PI Point", units=_CELSIUS, config=".\\Elements[.]|Temperature;TimeRangeMethod=Maximum"),
            AttributeTemplate("Operator", "String"),
            AttributeTemplate("Phase", "EnumerationValue", qualifier="Phases"),
            AttributeTemplate("Yield", reference="Formula", config="A=Max temperature;[100/A]"),
            AttributeTemplate("Remark", "String"),
        )),
        Template("Phase", instance="EventFrame", attributes=(AttributeTemplate("Setpoint", units=_CELSIUS),)),
        Template("Stop", instance="EventFrame", severity="Warning", can_be_acknowledged=True, attributes=(
            AttributeTemplate("Reason", "EnumerationValue", qualifier="Reasons"),
        )),
        Template("Downtime", "Stop", "EventFrame", severity="Major", can_be_acknowledged=True, attributes=(
            AttributeTemplate("Lost tons"),
        )),
        Template("Trip", "Stop", "EventFrame", severity="Critical", can_be_acknowledged=True, attributes=(
            AttributeTemplate("Cause", "String"),
        )),
    )
}  # fmt: skip


def lineage(name: str, templates: dict[str, Template]) -> list[Template]:
    """A template and those it inherits from, the oldest first; empty for an unknown one."""
    found: list[Template] = []
    while name in templates and templates[name] not in found:
        found.insert(0, templates[name])
        name = templates[name].base
    return found


def with_more(templates: dict[str, Template], count: int) -> dict[str, Template]:
    """The same, but elements of each have so many more attributes: every other one reads a tag."""
    more = tuple(
        AttributeTemplate(f"Signal {n:03d}", reference="PI Point" if n % 2 else "", config=_POINT if n % 2 else "")
        for n in range(1, count + 1)
    )
    return {
        name: one if one.base or one.instance != "Element" else replace(one, attributes=(*one.attributes, *more))
        for name, one in templates.items()
    }
