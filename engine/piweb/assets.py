"""The asset framework: requests for it, and rows made of the answers. Pure.

WebIDs are asked for without a path (`webIdType=IDOnly`), so that a key stays the same when a thing is moved or renamed.
An item that cannot be read harms no other item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from re import IGNORECASE
from re import compile as pattern_of
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa

from config.errors import UnavailableError
from writers.asset_tables import (
    PI_ASSET_ATTRIBUTES,
    PI_ASSET_CATEGORIES,
    PI_ASSET_HIERARCHY,
    PI_ASSET_REFERENCES,
    PI_ASSET_TEMPLATE_ATTRIBUTES,
    PI_ASSET_TEMPLATES,
    PI_ENUMERATION_VALUES,
    PI_UNITS_OF_MEASURE,
)
from writers.tables import TableSpec

from .http import Request
from .members import Item, fault_of, has_web_id, id_only, parsed, parsed_list
from .members import flag as _flag
from .members import linked as _linked
from .members import text as _text
from .members import texts as _texts
from .paging import PageLinks
from .problems import excerpt_of, sentence_of
from .values import KINDS, ValueKind, value_error, value_or_error

_OWN = frozenset({"first_seen", "last_updated", "deleted_at"})
_NO_PATHS: list[str] = []
_LINKS = ("Links.First", "Links.Next", "Links.Last", "Links.Previous")

ELEMENT_FIELDS = (
    *("WebId", "Id", "Name", "Description", "Path", "Paths", "TemplateName", "HasChildren", "CategoryNames"),
    *("Links.Parent", "Errors", "WebException"),
)
ATTRIBUTE_FIELDS = (
    *("WebId", "Id", "Name", "Description", "Path", "Type", "TypeQualifier", "DefaultUnitsName"),
    *("DefaultUnitsNameAbbreviation", "DataReferencePlugIn", "ConfigString", "IsConfigurationItem", "IsExcluded"),
    *("IsHidden", "IsManualDataEntry", "HasChildren", "CategoryNames", "TraitName", "DataReference.PIPoint.WebId"),
    *("DataReference.PIPoint.Path", "Links.Element", "Links.Parent", "Links.Point", "Errors", "WebException"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """A database or another thing of an asset server, by WebID, name and path."""

    web_id: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list: the items that can be read, the number of all items, and what the links say.

    `keys` are the WebIDs of `items`; `unreadable` says why the other items cannot be read.
    """

    items: tuple[Item, ...]
    count: int
    keys: tuple[str, ...]
    links: PageLinks
    unreadable: tuple[str, ...] = field(default=())


# --- what to ask -------------------------------------------------------------------


def object_path(room: str, web_id: str, fields: Sequence[str] = (), **parameters: str) -> str:
    """The path of one object: `/elements/{webId}`."""
    return _path(f"/{room}/{quote(web_id, safe='')}", fields, (), parameters)


def at_path(room: str, path: str, fields: Sequence[str] = ()) -> str:
    """The path of one object by its own path in AF: `/assetdatabases?path=...`."""
    return _path(f"/{room}", fields, (), {"path": path})


def list_path(
    room: str,
    web_id: str,
    what: str,
    fields: Sequence[str] = (),
    *,
    start: int | None = None,
    count: int | None = None,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The path of a list below an object: `/assetdatabases/{webId}/elements`, one page of it where `start` is given."""
    paging = {} if start is None else {"startIndex": str(start)}
    paging |= {} if count is None else {"maxCount": str(count)}
    base = f"/{room}/{quote(web_id, safe='')}/{what}" if web_id else f"/{room}"
    return _path(
        base,
        [f"Items.{name}" for name in fields],
        (*_LINKS, "Errors", "WebException") if fields else (),
        {**parameters, **paging},
    )


def values_path(web_ids: Sequence[str]) -> str:
    """The path that asks for the values of several attributes now."""
    ids = "&".join(f"webId={quote(web_id, safe='')}" for web_id in web_ids)
    return f"/streamsets/value?{ids}&selectedFields=Items.WebId;Items.Value;Items.Errors&webIdType=IDOnly"


def get(path: str, *, items: int = 0) -> Request:
    return Request("GET", path, items=items)


def _path(base: str, fields: Sequence[str], more: Sequence[str], parameters: Mapping[str, str]) -> str:
    query = {name: value for name, value in parameters.items() if value}
    if fields:
        query["selectedFields"] = ";".join((*fields, *more))
    query["webIdType"] = "IDOnly"
    return f"{base}?{urlencode(query, quote_via=quote, safe=';.,')}"


# --- what came ---------------------------------------------------------------------


def decode_list(body: bytes, *, of_values: bool = False) -> ListPage:
    """One page of a list. Raises `UnavailableError` for a body that is no list, or an incomplete one.

    `of_values`: an item that is an error in place of a value can be read.
    """
    content, items = parsed_list(body)
    links = content.get("Links")
    said = PageLinks.of(links.get("First"), links.get("Next")) if isinstance(links, dict) else PageLinks.ABSENT
    good: list[Item] = []
    bad: list[str] = []
    for one in items:
        fault = fault_of(one)
        if fault is None or (of_values and has_web_id(one)):
            good.append(_keyed(one))
        else:
            bad.append(fault)
    return ListPage(tuple(good), len(items), tuple(one["WebId"] for one in good), said, tuple(bad))


def decode_item(body: bytes) -> Item:
    """One object. Raises `UnavailableError` for a body that is no object, or an error in place of one."""
    content = parsed(body)
    if not isinstance(content, dict):
        raise UnavailableError(f"the answer is not what the protocol says: {excerpt_of(body)}")
    fault = fault_of(content) if "WebId" in content else None
    if fault is not None:
        raise UnavailableError(f"the answer cannot be read: {fault}")
    return _keyed(content)


def _keyed(one: dict[str, Any]) -> Item:
    """An item with the form of its WebID that stays the same."""
    web_id = one.get("WebId")
    if isinstance(web_id, str) and (key := id_only(web_id)) != web_id:
        return {**one, "WebId": key}
    return one


def decode_values(body: bytes) -> dict[str, Any]:
    """By WebID, the values of attributes, as events. An attribute that is an error has the error as its value.

    Raises `UnavailableError` for a body that is no list.
    """
    found: dict[str, Any] = {}
    for one in decode_list(body, of_values=True).items:
        event = one.get("Value")
        if isinstance(event, dict):
            found[one["WebId"]] = event
        elif one.get("Errors"):
            found[one["WebId"]] = {"Value": {"Errors": one["Errors"]}, "Good": False}
    return found


def as_named(one: Item) -> Named:
    return Named(one["WebId"], _text(one, "Name") or "", _text(one, "Path") or "")


def path_above(one: Item) -> str:
    """The path of the attribute, or of the element, that an attribute lies below."""
    return (_text(one, "Path") or "").rpartition("|")[0]


def is_nested(one: Item) -> bool:
    """Whether an attribute lies below another one."""
    return (_text(one, "Path") or "").count("|") > 1


def name_matches(patterns: Sequence[str], name: str) -> bool:
    """Whether a name fits one of the patterns with `*` and `?`. Without patterns every name fits."""
    return not patterns or any(
        pattern_of(translate(one.replace("[", "[[]")), IGNORECASE).match(name) for one in patterns
    )


# --- rows --------------------------------------------------------------------------


def source_schema(spec: TableSpec) -> pa.Schema:
    """The columns that the source fills."""
    return pa.schema([one for one in spec.schema if one.name not in _OWN])


def rows_of(spec: TableSpec, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Rows of a table, without the columns that it keeps itself."""
    return pa.Table.from_pydict(dict(columns), schema=source_schema(spec))


def element_rows(items: Sequence[Item], database: Named) -> pa.Table:
    """Rows of pi_asset_hierarchy. The parent is found by its link; without links, by the path."""
    paths = [_text(one, "Path") or "" for one in items]
    by_path = {path.casefold(): one["WebId"] for path, one in zip(paths, items, strict=True)}
    known = set(by_path.values())

    def parent(one: Item, path: str) -> str | None:
        linked = _linked(one, "Parent")
        if linked in known or (linked is not None and linked[2:4] == "Em"):
            return linked
        return by_path.get(path.rpartition("\\")[0].casefold())

    return rows_of(
        PI_ASSET_HIERARCHY,
        {
            "element_webid": [one["WebId"] for one in items],
            "element_id": [_text(one, "Id") for one in items],
            "element_name": [_text(one, "Name") for one in items],
            "element_path": paths,
            "parent_webid": [parent(one, path) for one, path in zip(items, paths, strict=True)],
            "database": [database.name] * len(items),
            "template_name": [_text(one, "TemplateName") or "" for one in items],
            "description": [_text(one, "Description") or "" for one in items],
            "category_names": [_texts(one, "CategoryNames") for one in items],
            "depth": [max(0, path[len(database.path) :].count("\\") - 1) for path in paths],
            "has_children": [_flag(one, "HasChildren") for one in items],
        },
    )


def is_at_first_path(one: Item) -> bool:
    """Whether an element is shown where it lies, and not under a further parent: the first of its paths, where it has some."""
    paths = _texts(one, "Paths")
    return not paths or paths[0].casefold() == (_text(one, "Path") or "").casefold()


def compact_element(one: Item, shared: dict[Any, Any]) -> Item:
    """An element of a long list with no more around it than its rows need; what many have alike is held once, in `shared`."""

    def once(found: Any) -> Any:
        return shared.setdefault(found, found) if isinstance(found, str) else found

    path = (_text(one, "Path") or "").casefold()
    paths = one.get("Paths")
    above = _linked(one, "Parent")
    names = _texts(one, "CategoryNames")
    return {
        **{name: one.get(name) for name in ("WebId", "Id", "Name", "Path", "HasChildren")},
        **{name: once(one.get(name)) for name in ("Description", "TemplateName")},
        "CategoryNames": shared.setdefault(tuple(names), names),
        "Paths": None if paths is None else [p for p in _texts(one, "Paths") if p.casefold() != path] or _NO_PATHS,
        "Links": shared.setdefault(("Parent", above), {"Parent": above}),
    }


def reference_rows(items: Sequence[Item], hierarchy: pa.Table, database: Named) -> pa.Table | None:
    """Rows of pi_asset_references; None where the server does not show the further paths of elements."""
    if items and all(one.get("Paths") is None for one in items):
        return None
    at: dict[str, str] = {database.path.casefold(): database.web_id}
    for one in items:
        for path in (_text(one, "Path"), *_texts(one, "Paths")):
            if path:
                at.setdefault(path.casefold(), one["WebId"])
    primary = dict(zip(hierarchy["element_webid"].to_pylist(), hierarchy["parent_webid"].to_pylist(), strict=True))
    found: dict[tuple[str, str], str] = {}
    for one in items:
        for path in _texts(one, "Paths"):
            over = at.get(path.rpartition("\\")[0].casefold())
            is_primary = path.casefold() == (_text(one, "Path") or "").casefold()
            if over is not None and not is_primary and over != (primary.get(one["WebId"]) or database.web_id):
                found.setdefault((one["WebId"], over), path)
    return rows_of(
        PI_ASSET_REFERENCES,
        {
            "element_webid": [element for element, _ in found],
            "parent_webid": [over for _, over in found],
            "reference_path": list(found.values()),
            "reference_type": ["parent-child"] * len(found),
            "database": [database.name] * len(found),
        },
    )


def attribute_rows(
    items: Sequence[Item], values: Mapping[str, Any], element_of: Mapping[str, str], database: Named
) -> pa.Table:
    """Rows of pi_asset_attributes. `values`: by WebID, what attributes without a data reference show, as events.

    `element_of`: elements by path in lower case, for a server that gives no links.
    """

    def element(one: Item) -> str | None:
        linked = _linked(one, "Element")
        return linked if linked is not None else element_of.get((_text(one, "Path") or "").partition("|")[0].casefold())

    def above(one: Item, path: str) -> str | None:
        """The attribute that this one lies below: by its path among these, or by its link."""
        linked = _linked(one, "Parent") or ""
        return of_path.get(path.rpartition("|")[0].casefold()) or (linked if linked[2:4] == "Ab" else None)

    paths = [_text(one, "Path") or "" for one in items]
    of_path = {path.casefold(): one["WebId"] for path, one in zip(paths, items, strict=True)}
    points = [_point_of(one) for one in items]
    return rows_of(
        PI_ASSET_ATTRIBUTES,
        {
            "attribute_webid": [one["WebId"] for one in items],
            "attribute_id": [_text(one, "Id") for one in items],
            "element_webid": [element(one) for one in items],
            "attribute_name": [_text(one, "Name") for one in items],
            "attribute_path": paths,
            "parent_attribute_webid": [
                above(one, path) if path.count("|") > 1 else None for one, path in zip(items, paths, strict=True)
            ],
            "value_type": [_text(one, "Type") for one in items],
            "type_qualifier": [_text(one, "TypeQualifier") or None for one in items],
            "units": [
                _text(one, "DefaultUnitsNameAbbreviation") or _text(one, "DefaultUnitsName") or "" for one in items
            ],
            "data_reference": [_text(one, "DataReferencePlugIn") or "" for one in items],
            "config_string": [_text(one, "ConfigString") or "" for one in items],
            "tag_webid": [web_id for web_id, _ in points],
            "tag_path": [path for _, path in points],
            **value_columns([values.get(one["WebId"]) for one in items], [_text(one, "Type") or "" for one in items]),
            "description": [_text(one, "Description") or "" for one in items],
            "category_names": [_texts(one, "CategoryNames") for one in items],
            "trait": [_text(one, "TraitName") or "" for one in items],
            "is_hidden": [_flag(one, "IsHidden") for one in items],
            "is_excluded": [_flag(one, "IsExcluded") for one in items],
            "is_configuration_item": [_flag(one, "IsConfigurationItem") for one in items],
            "is_manual_data_entry": [_flag(one, "IsManualDataEntry") for one in items],
            "database": [database.name] * len(items),
        },
    )


def value_columns(events: Sequence[Any], types: Sequence[str]) -> dict[str, list[Any]]:
    """The columns value, value_string, state_code, value_kind and good of events; all null where there is no event."""
    columns: dict[str, list[Any]] = {name: [] for name in ("value", "value_string", "state_code", "value_kind", "good")}
    for event, kind in zip(events, types, strict=True):
        if not isinstance(event, dict):
            for column in columns.values():
                column.append(None)
            continue
        error = value_error(event)
        if error is not None:
            found: tuple[Any, ...] = (None, sentence_of(error) or "it does not say why", None, ValueKind.ERROR)
        else:
            found = value_or_error(event.get("Value"), "Timestamp" if kind == "DateTime" else kind)
        good = event.get("Good")
        row = (*found[:3], KINDS[found[3]], False if error is not None else good if isinstance(good, bool) else None)
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
    return columns


def template_rows(items: Sequence[Item], database: Named) -> pa.Table:
    """Rows of pi_asset_templates."""
    return rows_of(
        PI_ASSET_TEMPLATES,
        {
            "template_webid": [one["WebId"] for one in items],
            "template_name": [_text(one, "Name") for one in items],
            "base_template": [_text(one, "BaseTemplate") or "" for one in items],
            "instance_type": [_text(one, "InstanceType") for one in items],
            "description": [_text(one, "Description") or "" for one in items],
            "naming_pattern": [_text(one, "NamingPattern") or "" for one in items],
            "category_names": [_texts(one, "CategoryNames") for one in items],
            "severity": [_text(one, "Severity") for one in items],
            "can_be_acknowledged": [_flag(one, "CanBeAcknowledged") for one in items],
            "database": [database.name] * len(items),
        },
    )


def template_attribute_rows(of: Sequence[tuple[Named, Sequence[Item]]], database: Named) -> pa.Table:
    """Rows of pi_asset_template_attributes: of each template, the attributes that it has, inherited or not."""
    pairs = [(template, one) for template, items in of for one in items]

    def inherited(template: Named, one: Item) -> bool:
        return not (_text(one, "Path") or "").casefold().startswith(template.path.casefold() + "|")

    return rows_of(
        PI_ASSET_TEMPLATE_ATTRIBUTES,
        {
            "template_webid": [template.web_id for template, _ in pairs],
            "attribute_template_webid": [one["WebId"] for _, one in pairs],
            "attribute_name": [_text(one, "Name") for _, one in pairs],
            "attribute_path": [_text(one, "Path") for _, one in pairs],
            "is_inherited": [inherited(template, one) for template, one in pairs],
            "value_type": [_text(one, "Type") for _, one in pairs],
            "type_qualifier": [_text(one, "TypeQualifier") or None for _, one in pairs],
            "units": [
                _text(one, "DefaultUnitsNameAbbreviation") or _text(one, "DefaultUnitsName") or "" for _, one in pairs
            ],
            "data_reference": [_text(one, "DataReferencePlugIn") or "" for _, one in pairs],
            "config_string": [_text(one, "ConfigString") or "" for _, one in pairs],
            "default_value": [_default(one) for _, one in pairs],
            "description": [_text(one, "Description") or "" for _, one in pairs],
            "trait": [_text(one, "TraitName") or "" for _, one in pairs],
            "is_hidden": [_flag(one, "IsHidden") for _, one in pairs],
            "is_excluded": [_flag(one, "IsExcluded") for _, one in pairs],
            "is_configuration_item": [_flag(one, "IsConfigurationItem") for _, one in pairs],
            "database": [database.name] * len(pairs),
        },
    )


def enumeration_rows(of: Sequence[tuple[Named, Sequence[Item]]], database: Named) -> pa.Table:
    """Rows of pi_enumeration_values: of each set, its values. Values without a code that can be read are left out."""
    pairs = [(one, value) for one, values in of for value in values if _code(value) is not None]
    return rows_of(
        PI_ENUMERATION_VALUES,
        {
            "set_webid": [one.web_id for one, _ in pairs],
            "value_code": [_code(value) for _, value in pairs],
            "set_name": [one.name for one, _ in pairs],
            "value_name": [_text(value, "Name") for _, value in pairs],
            "description": [_text(value, "Description") or "" for _, value in pairs],
            "database": [database.name] * len(pairs),
        },
    )


def category_rows(of: Iterable[tuple[str, Item]], database: Named) -> pa.Table:
    """Rows of pi_asset_categories, each with what it is a category of."""
    pairs = list(of)
    return rows_of(
        PI_ASSET_CATEGORIES,
        {
            "category_webid": [one["WebId"] for _, one in pairs],
            "category_name": [_text(one, "Name") for _, one in pairs],
            "category_of": [what for what, _ in pairs],
            "description": [_text(one, "Description") or "" for _, one in pairs],
            "database": [database.name] * len(pairs),
        },
    )


def unit_rows(of: Sequence[tuple[str, Sequence[Item]]], server: str) -> pa.Table:
    """Rows of pi_units_of_measure: of each class, by its name, the units."""
    pairs = [(name, unit) for name, units in of for unit in units]
    return rows_of(
        PI_UNITS_OF_MEASURE,
        {
            "unit_webid": [unit["WebId"] for _, unit in pairs],
            "unit_name": [_text(unit, "Name") for _, unit in pairs],
            "abbreviation": [_text(unit, "Abbreviation") for _, unit in pairs],
            "unit_class": [name for name, _ in pairs],
            "factor": [_number(unit, "Factor") for _, unit in pairs],
            "offset": [_number(unit, "Offset") for _, unit in pairs],
            "reference_unit": [_text(unit, "ReferenceUnitAbbreviation") for _, unit in pairs],
            "asset_server": [server] * len(pairs),
        },
    )


# --- members of an item -----------------------------------------------------------------


def _number(item: Item, name: str) -> float | None:
    found = item.get(name)
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def _code(item: Item) -> int | None:
    found = item.get("Value")
    return found if isinstance(found, int) and not isinstance(found, bool) and -(2**31) <= found < 2**31 else None


def _point_of(item: Item) -> tuple[str | None, str | None]:
    """WebID and path of the PI point behind an attribute.

    The text of the data reference does not tell: it may hold substitutions such as %Element%.
    """
    reference = item.get("DataReference")
    point = reference.get("PIPoint") if isinstance(reference, dict) else None
    if has_web_id(point):
        return point["WebId"], _text(point, "Path")
    return _linked(item, "Point"), None


def _default(item: Item) -> str | None:
    found = item.get("DefaultValue")
    return None if found is None else value_or_error(found).text or str(found)
