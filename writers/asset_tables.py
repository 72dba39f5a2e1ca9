"""The tables of the asset framework and of event frames: one Arrow schema, grain and comment each.

Keys are WebIDs without a path, so a thing that is moved or renamed keeps its row. `last_updated` is when a run last wrote
the row, `deleted_at` when the source was found not to have it any more.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from .tables import Grain, TableSpec, column, flag, instant, text

_TEXTS = pa.list_(pa.string())


# How a value lands: as in pi_timeseries.
_VALUE = (
    column("value", pa.float64(), "The number, where the value is one"),
    text("value_string", "The text, state name or JSON of a value that is not a plain number"),
    column("state_code", pa.int32(), "Code of an enumeration value"),
    text("value_kind", "number, string, digital, system, boolean, timestamp, blob, array, null or error"),
    flag("good", "PI quality flag as sent"),
)
_OWN = (
    instant("first_seen", "First run that saw it"),
    instant("last_updated", "Run that last wrote the row, because something had changed"),
    instant("deleted_at", "When the source was found not to have it any more; null while it exists"),
)


def _mirror(
    name: str,
    comment: str,
    key: Sequence[str],
    columns: Sequence[pa.Field],
    *,
    stats: Sequence[str] = (),
    few: Sequence[str] = (),
) -> TableSpec:
    return TableSpec(
        name=name,
        schema_role="schema",
        comment=f"{comment}; key {', '.join(key) if len(key) == 1 else '(' + ', '.join(key) + ')'}.",
        grain=Grain(key=tuple(key)),
        stats_columns=tuple(dict.fromkeys((*key, *stats))),
        dictionary_columns=tuple(few),
        schema=pa.schema([*columns, *_OWN]),
    )


PI_ASSET_HIERARCHY = _mirror(
    "pi_asset_hierarchy",
    "One element of an AF database",
    ("element_webid",),
    [
        text(
            "element_webid",
            "WebID of the element, without a path in it: it stays the same when the element is moved or renamed",
        ),
        text("element_id", "GUID of the element"),
        text("element_name", "Name of the element"),
        text("element_path", "Primary path, \\\\SERVER\\Database\\Parent\\Element"),
        text("parent_webid", "WebID of the element above it on the primary path; null right below the database"),
        text("database", "Name of the AF database"),
        text("template_name", "Name of its template; empty where it has none"),
        text("description", "Description of the element"),
        column("category_names", _TEXTS, "Names of its categories"),
        column("depth", pa.int32(), "Levels below the database; 0 right below it"),
        flag("has_children", "Whether elements lie below it, references included"),
    ],
    stats=("element_path", "element_name"),
    few=("database", "template_name", "parent_webid"),
)

PI_ASSET_REFERENCES = _mirror(
    "pi_asset_references",
    "One further parent of an element, beside the one of its primary path",
    ("element_webid", "parent_webid"),
    [
        text("element_webid", "WebID of the element that is referred to"),
        text("parent_webid", "WebID of the element, or of the AF database, that it lies below as well"),
        text("reference_path", "Path of the element through this parent"),
        text("reference_type", "parent-child; PI Web API does not tell other types apart"),
        text("database", "Name of the AF database"),
    ],
    few=("database", "reference_type"),
)

PI_ASSET_ATTRIBUTES = _mirror(
    "pi_asset_attributes",
    "One attribute of an element",
    ("attribute_webid",),
    [
        text("attribute_webid", "WebID of the attribute, without a path in it"),
        text("attribute_id", "GUID of the attribute"),
        text("element_webid", "WebID of its element; joins pi_asset_hierarchy"),
        text("attribute_name", "Name of the attribute"),
        text("attribute_path", "Path of the attribute, \\\\SERVER\\Database\\Element|Attribute|Attribute"),
        text("parent_attribute_webid", "WebID of the attribute that it lies below; null for most"),
        text("value_type", "Double, Int32, String, EnumerationValue, ..."),
        text("type_qualifier", "Of an enumeration value: the name of the enumeration set"),
        text("units", "Abbreviation of its default units"),
        text("data_reference", "PI Point, Formula, Table Lookup, String Builder, ...; empty: a value of its own"),
        text("config_string", "Configuration of the data reference, as written"),
        text("tag_webid", "WebID of the PI point behind it; joins pi_tags and pi_timeseries"),
        text("tag_path", "Path of the PI point behind it"),
        *_VALUE,
        text("description", "Description of the attribute"),
        column("category_names", _TEXTS, "Names of its categories"),
        text("trait", "Name of its trait, such as LimitHi; empty for most"),
        flag("is_hidden", "Whether it is hidden from users of AF clients"),
        flag("is_excluded", "Whether the template's attribute is left out of this element"),
        flag("is_configuration_item", "Whether its value is configuration, not data"),
        flag("is_manual_data_entry", "Whether people enter its value"),
        text("database", "Name of the AF database"),
    ],
    stats=("element_webid", "attribute_name", "tag_webid"),
    few=(
        *(
            "element_webid",
            "attribute_name",
            "value_type",
            "type_qualifier",
            "units",
            "data_reference",
            "config_string",
        ),
        *("value_kind", "description", "trait", "database"),
    ),
)

PI_ASSET_TEMPLATES = _mirror(
    "pi_asset_templates",
    "One template of elements or of event frames",
    ("template_webid",),
    [
        text("template_webid", "WebID of the template"),
        text("template_name", "Name of the template"),
        text("base_template", "Name of the template that it inherits from; empty for none"),
        text("instance_type", "Element or EventFrame"),
        text("description", "Description of the template"),
        text("naming_pattern", "Pattern that names of its elements follow"),
        column("category_names", _TEXTS, "Names of its categories"),
        text("severity", "Of event frames: their severity"),
        flag("can_be_acknowledged", "Of event frames: whether they are to be acknowledged"),
        text("database", "Name of the AF database"),
    ],
)

PI_ASSET_TEMPLATE_ATTRIBUTES = _mirror(
    "pi_asset_template_attributes",
    "One attribute of a template, inherited ones with each template that has them",
    ("template_webid", "attribute_template_webid"),
    [
        text("template_webid", "WebID of the template; joins pi_asset_templates"),
        text("attribute_template_webid", "WebID of the attribute's template"),
        text("attribute_name", "Name of the attribute"),
        text("attribute_path", "Path of the attribute's template"),
        flag("is_inherited", "Whether a base template brings it"),
        text("value_type", "Double, Int32, String, EnumerationValue, ..."),
        text("type_qualifier", "Of an enumeration value: the name of the enumeration set"),
        text("units", "Abbreviation of its default units"),
        text("data_reference", "PI Point, Formula, ...; empty: a value of its own"),
        text("config_string", "Configuration of the data reference, as written"),
        text("default_value", "Default value, as JSON"),
        text("description", "Description"),
        text("trait", "Name of its trait; empty for most"),
        flag("is_hidden", "Whether it is hidden"),
        flag("is_excluded", "Whether it is left out"),
        flag("is_configuration_item", "Whether its value is configuration, not data"),
        text("database", "Name of the AF database"),
    ],
)

PI_ENUMERATION_VALUES = _mirror(
    "pi_enumeration_values",
    "One value of an enumeration set of an AF database",
    ("set_webid", "value_code"),
    [
        text("set_webid", "WebID of the enumeration set"),
        column("value_code", pa.int32(), "Code of the value in its set"),
        text("set_name", "Name of the set"),
        text("value_name", "Name of the value"),
        text("description", "Description of the value"),
        text("database", "Name of the AF database"),
    ],
)

PI_ASSET_CATEGORIES = _mirror(
    "pi_asset_categories",
    "One category of elements or of attributes",
    ("category_webid",),
    [
        text("category_webid", "WebID of the category"),
        text("category_name", "Name of the category"),
        text("category_of", "element or attribute"),
        text("description", "Description of the category"),
        text("database", "Name of the AF database"),
    ],
)

PI_UNITS_OF_MEASURE = _mirror(
    "pi_units_of_measure",
    "One unit of measure of an AF server",
    ("unit_webid",),
    [
        text("unit_webid", "WebID of the unit"),
        text("unit_name", "Name of the unit"),
        text("abbreviation", "Abbreviation of the unit, as in pi_timeseries.units"),
        text("unit_class", "Class of units that it is converted in"),
        column("factor", pa.float64(), "Value in the reference unit: value * factor + offset"),
        column("offset", pa.float64(), "See factor"),
        text("reference_unit", "Abbreviation of the unit of the class that others are converted to"),
        text("asset_server", "Name of the AF server"),
    ],
)

ASSET_TABLES = (
    PI_ASSET_HIERARCHY,
    PI_ASSET_ATTRIBUTES,
    PI_ASSET_REFERENCES,
    PI_ASSET_TEMPLATES,
    PI_ASSET_TEMPLATE_ATTRIBUTES,
    PI_ENUMERATION_VALUES,
    PI_ASSET_CATEGORIES,
    PI_UNITS_OF_MEASURE,
)

PI_EVENT_FRAMES = _mirror(
    "pi_event_frames",
    "One event frame, as it is now",
    ("event_frame_webid",),
    [
        text("event_frame_webid", "WebID of the event frame, without a path in it"),
        text("event_id", "GUID of the event frame"),
        text("event_name", "Name of the event frame; many may share one"),
        text("template_name", "Name of its template; empty where it has none"),
        instant("start_time", "Start, UTC, truncated to microseconds"),
        instant("end_time", "End, UTC, truncated to microseconds; null while it is open"),
        flag("is_open", "Whether it has not ended yet"),
        text("severity", "None, Information, Warning, Minor, Major or Critical"),
        text("primary_element_webid", "WebID of the element that it is about first; joins pi_asset_hierarchy"),
        column("referenced_element_webids", _TEXTS, "WebIDs of all elements that it refers to, the primary one first"),
        text("parent_webid", "WebID of the event frame above it; null for most"),
        column("category_names", _TEXTS, "Names of its categories"),
        flag("can_be_acknowledged", "Whether it is to be acknowledged"),
        flag("is_acknowledged", "Whether it was acknowledged"),
        text("acknowledged_by", "Who has acknowledged it"),
        instant("acknowledged_at", "When it was acknowledged"),
        flag("is_annotated", "Whether it has annotations"),
        flag("is_locked", "Whether it is locked"),
        flag("values_captured", "Whether the values of its attributes have been captured"),
        text("description", "Description of the event frame"),
        text("event_path", "Path of the event frame; ambiguous where names are"),
        text("database", "Name of the AF database"),
        column("event_date", pa.date32(), "UTC date of start_time"),
    ],
    stats=("start_time", "end_time", "template_name"),
    few=("template_name", "severity", "primary_element_webid", "event_name", "database", "acknowledged_by"),
)

PI_EVENT_FRAME_ATTRIBUTES = _mirror(
    "pi_event_frame_attributes",
    "One attribute of an event frame with its value",
    ("event_frame_webid", "attribute_name"),
    [
        text("event_frame_webid", "WebID of the event frame; joins pi_event_frames"),
        text("attribute_name", "Name of the attribute; names above it, with |, where it lies below another one"),
        text("attribute_webid", "WebID of the attribute, without a path in it"),
        *_VALUE,
        text("units", "Engineering units of the value"),
        instant("value_timestamp", "Timestamp of the value"),
        flag(
            "captured", "Whether the value was captured when the frame closed; else it is the one of the last reading"
        ),
        column("event_date", pa.date32(), "UTC date of the start of the event frame"),
    ],
    few=("attribute_name", "units", "value_kind", "value_string"),
)

PI_EVENT_FRAME_ELEMENTS = _mirror(
    "pi_event_frame_elements",
    "One element that an event frame refers to",
    ("event_frame_webid", "element_webid"),
    [
        text("event_frame_webid", "WebID of the event frame; joins pi_event_frames"),
        text("element_webid", "WebID of the element; joins pi_asset_hierarchy"),
        flag("is_primary", "Whether the event frame is about this element first"),
        column("event_date", pa.date32(), "UTC date of the start of the event frame"),
    ],
    few=("element_webid",),
)

PI_EVENT_FRAME_ANNOTATIONS = _mirror(
    "pi_event_frame_annotations",
    "One annotation of an event frame",
    ("event_frame_webid", "annotation_id"),
    [
        text("event_frame_webid", "WebID of the event frame; joins pi_event_frames"),
        text("annotation_id", "Id of the annotation"),
        text("annotation_name", "Name of the annotation"),
        text("description", "Description of the annotation"),
        text("value", "Its text"),
        text("creator", "Who has written it"),
        instant("created_at", "When it was written"),
        column("event_date", pa.date32(), "UTC date of the start of the event frame"),
    ],
)

FRAME_TABLES = (
    PI_EVENT_FRAMES,
    PI_EVENT_FRAME_ATTRIBUTES,
    PI_EVENT_FRAME_ELEMENTS,
    PI_EVENT_FRAME_ANNOTATIONS,
)
