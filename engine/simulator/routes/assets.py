"""Routes of the asset tree: servers, databases, elements, templates, categories, enumeration sets, units, tables, analyses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from ..assets.ids import decode as decode_asset
from ..assets.ids import is_asset
from ..assets.plant import Attribute, Element
from ..assets.templates import TABLES, UNIT_CLASSES, AttributeTemplate, Template
from ..replies import Reply, json_reply, refused
from ..request import IncomingRequest
from ..site import Site
from ..webid import kind_of
from ..wildcards import wildcard
from . import states
from .asset_objects import (
    Json,
    attribute_at,
    attribute_of,
    element_of,
    element_web_id,
    named_of,
    not_found,
    page,
    require_database,
    show_attribute,
    show_attribute_template,
    show_database,
    show_element,
    show_server,
    show_template,
    simple,
)
from .catalog import looked_up

Condition: TypeAlias = tuple[str, str, str]  # of a search: field, operator, value
_CACHED = (
    "namefilter",
    "searchfullhierarchy",
    "sortfield",
    "sortorder",
    "templatename",
    "categoryname",
    "descriptionfilter",
)
# Conditions of a search: `Name:=P*`, `Template:Pump`, `Element:{Name:='P*'}`.
_TERM = re.compile(r"(\w+):(<>|<=|>=|=|<|>)?('[^']*'|\"[^\"]*\"|\{[^}]*\}|\S+)")


def sorted_by(
    request: IncomingRequest, found: Iterable[Any], keys: dict[str, Callable[[Any], Any]], tie: Callable[[Any], Any]
) -> list[Any]:
    """In the order that was asked for, `Name` by default; equal ones in a firm order. Raises a 400."""
    field = request.query.one("sortfield").lower() or "name"
    if field not in keys:
        raise refused(400, f"The value '{request.query.one('sortfield')}' is not valid for parameter 'sortField'.")
    down = request.query.one("sortorder").lower().startswith("desc")
    return sorted(sorted(found, key=tie), key=keys[field], reverse=down)


def derived(site: Site, name: str, instance: str) -> set[str]:
    """A template and all that inherit from it, by lower-case name. Raises a 400 for an unknown one."""
    templates = site.plant.templates.values()
    names = {one.name.lower() for one in templates if one.name.lower() == name.lower() and one.instance == instance}
    if not names:
        raise refused(400, "The specified element template was not found in the specified Asset Database.")
    while more := {one.name.lower() for one in templates if one.base.lower() in names} - names:
        names |= more
    return names


# --- servers and databases ---------------------------------------------------------


def _servers(site: Site, request: IncomingRequest) -> Reply:
    name = request.query.one("name") or request.query.one("path").removeprefix("\\\\")
    if not name:
        return page(site, request, [None], lambda _: show_server(site, request))
    if name.casefold() != site.options.asset_server.casefold():
        raise not_found(f"PI AF Server not found '{name}'.")
    return request.answer(show_server(site, request))


def _require_server(request: IncomingRequest) -> None:
    if decode_asset(request.parts[1]).marker != "RS":
        raise not_found("PI AF Server not found.")


def _server(site: Site, request: IncomingRequest) -> Reply:
    _require_server(request)
    return request.answer(show_server(site, request))


def _databases(site: Site, request: IncomingRequest) -> Reply:
    _require_server(request)
    return page(site, request, [None], lambda _: show_database(site, request))


def _database(site: Site, request: IncomingRequest) -> Reply:
    if len(request.parts) > 1:
        require_database(site, request)
    elif request.query.one("path").casefold() != site.plant.path_of(None).casefold():
        if not request.query.one("path"):
            raise refused(400, "The path parameter is required.")
        raise not_found(f"Asset database not found '{request.query.one('path')}'.")
    return request.answer(show_database(site, request))


# --- elements ----------------------------------------------------------------------


def _top(site: Site, request: IncomingRequest) -> int | None:
    """The element in the path, or None for the database."""
    if request.parts[0].lower() == "elements":
        return element_of(site, request.parts[1])
    require_database(site, request)
    return None


def _matching(site: Site, request: IncomingRequest, numbers: Iterable[int], names: dict[str, str]) -> list[int]:
    """Elements that all filters let through; `names`: how the parameters are called here."""
    plant, query = site.plant, request.query
    template, category = query.one(names["template"]), query.one(names["category"])
    templates = derived(site, template, "Element") if template else None
    if category and category.lower() not in {one.lower() for one in plant.element_categories}:
        raise refused(400, "The specified element category was not found in the specified Asset Database.")
    name, words = wildcard(query.one(names["name"]) or "*"), wildcard(query.one(names["description"]) or "*")
    if not (template or category or query.one(names["name"]) or query.one(names["description"])):
        return list(numbers)

    def fits(element: Element) -> bool:
        return (
            (templates is None or element.template.lower() in templates)
            and (not category or category.lower() in {one.lower() for one in element.categories})
            and name(element.name)
            and words(element.description)
        )

    return [number for number in numbers if fits(plant.element(number))]


_OWN = {
    "template": "templatename",
    "category": "categoryname",
    "name": "namefilter",
    "description": "descriptionfilter",
}
_OF_ELEMENT = {
    "template": "elementtemplate", "category": "elementcategory", "name": "elementnamefilter",
    "description": "elementdescriptionfilter",
}  # fmt: skip


def _in_order(site: Site, request: IncomingRequest, numbers: Iterable[int]) -> list[int]:
    plant = site.plant
    keys = {
        "name": lambda number: plant.element(number).name.casefold(),
        "id": lambda number: number,
        "type": lambda _: 0,
        "template": lambda number: plant.element(number).template.casefold(),
    }
    return sorted_by(request, numbers, keys, lambda number: number)


def _elements(site: Site, request: IncomingRequest) -> Reply:
    top = _top(site, request)

    def make() -> list[int]:
        deep = request.query.flag("searchfullhierarchy")
        found = site.plant.below(top) if deep else [*site.plant.children(top), *site.plant.referred(top)]
        return _in_order(site, request, _matching(site, request, found, _OWN))

    found = site.plant.listing(("elements", top, *(request.query.one(name) for name in _CACHED)), make)
    return page(site, request, found, partial(show_element, site, request), kept_as="elements")


def _referenced(site: Site, request: IncomingRequest) -> Reply:
    found = _matching(site, request, site.plant.referred(_top(site, request)), _OWN)
    return page(site, request, _in_order(site, request, found), partial(show_element, site, request))


def _element(site: Site, request: IncomingRequest) -> Reply:
    return request.answer(show_element(site, request, _asked_element(site, request)))


def _asked_element(site: Site, request: IncomingRequest) -> int:
    if len(request.parts) > 1:
        return element_of(site, request.parts[1])
    path = request.query.one("path")
    number = site.plant.find(path)
    if not path:
        raise refused(400, "The path parameter is required.")
    if number is None:
        raise not_found(f"Element not found '{path}'.")
    return number


def _element_paths(site: Site, request: IncomingRequest) -> Reply:
    number = element_of(site, request.parts[1])
    element = site.plant.element(number)
    paths = [site.plant.path_of(number), *(site.plant.path_of(number, by=over) for over in element.also)]
    return request.answer({"Items": paths})


def multiple(request: IncomingRequest, by_id: Callable[[str], Json], by_path: Callable[[str], Json]) -> Reply:
    items = looked_up(request.query.many("webid"), "WebId", by_id)
    items += looked_up(request.query.many("path"), "Path", by_path)
    return request.answer_list(items, 207 if any(item["Exception"] for item in items) else 200)


def _elements_multiple(site: Site, request: IncomingRequest) -> Reply:
    def at(path: str) -> Json:
        number = site.plant.find(path)
        if number is None:
            raise not_found(f"Element not found '{path}'.")
        return show_element(site, request, number)

    return multiple(request, lambda one: show_element(site, request, element_of(site, one)), at)


def terms(query: str) -> list[Condition]:
    """The conditions of a search: field in lower case, operator, value without its quotes."""
    return [(field.lower(), sign or "=", value.strip("'\"")) for field, sign, value in _TERM.findall(query)]


def _elements_search(site: Site, request: IncomingRequest) -> Reply:
    require_database(site, request, request.query.one("databasewebid"))
    conditions = terms(request.query.one("query"))
    found = [number for number in site.plant.numbers() if element_fits(site, site.plant.element(number), conditions)]
    return page(site, request, _in_order(site, request, found), partial(show_element, site, request))


def fits_all(conditions: Iterable[Condition], tests: Mapping[str, Callable[[str, str], bool]]) -> bool:
    """Whether all conditions of a search hold. `tests`: by field, whether it has a value. Raises a 400 for other fields."""
    for field, sign, value in conditions:
        if field not in tests:
            raise refused(400, f"The search filter '{field}' is not valid.")
        if tests[field](sign, value) == (sign == "<>"):
            return False
    return True


def element_fits(site: Site, element: Element, conditions: Iterable[Condition]) -> bool:
    tests = {
        "name": lambda _, value: wildcard(value)(element.name),
        "template": lambda _, value: element.template.lower() in derived(site, value, "Element"),
        "category": lambda _, value: value.lower() in {one.lower() for one in element.categories},
        "description": lambda _, value: wildcard(value)(element.description),
    }
    return fits_all(conditions, tests)


# --- attributes ----------------------------------------------------------------------


def _shown(request: IncomingRequest, one: Attribute) -> bool:
    return (not one.hidden or request.query.flag("showhidden")) and (
        not one.excluded or request.query.flag("showexcluded")
    )


def _attributes(site: Site, request: IncomingRequest) -> Reply:
    """Attributes of one element, or of an attribute, those of attributes too with `searchFullHierarchy`."""
    above = attribute_of(site, request, request.parts[1]) if request.parts[0].lower() == "attributes" else None
    number = element_of(site, request.parts[1]) if above is None else above.owner
    everything, deep = site.plant.attributes(number), request.query.flag("searchfullhierarchy")
    name = wildcard(request.query.one("namefilter") or "*")
    top = None if above is None else above.place
    chosen = {top}
    found = []
    for one in everything:
        if one.above in chosen:
            if deep:
                chosen.add(one.place)
            found.append(one)
    found = [one for one in found if _shown(request, one) and name(one.name)]
    ordered = sorted_by(request, found, _ATTRIBUTE_KEYS, lambda one: one.place)
    return page(site, request, ordered, partial(show_attribute, site, request))


_ATTRIBUTE_KEYS: dict[str, Callable[[Attribute], Any]] = {
    "name": lambda one: one.name.casefold(),
    "id": lambda one: (one.owner, one.place),
    "type": lambda one: one.type,
}


def _element_attributes(site: Site, request: IncomingRequest) -> Reply:
    """Attributes of many elements at once: of all that the filters choose. Hidden and excluded ones are never among them."""
    top, query = _top(site, request), request.query
    nested = site.switches.bulk_nested_attributes

    def make() -> list[tuple[str, int, int]]:
        below = site.plant.below(top) if request.query.flag("searchfullhierarchy") else site.plant.children(top)
        owners = _matching(site, request, below if top is None else [top, *below], _OF_ELEMENT)
        name = wildcard(query.one("attributenamefilter") or "*")
        category, kind = query.one("attributecategory").lower(), query.one("attributetype").lower()
        found = [
            (one.name, owner, one.place)
            for owner in owners
            for one in site.plant.attributes(owner)
            if (nested or one.above is None)
            and not one.hidden
            and not one.excluded
            and name(one.name)
            and (not category or category in {c.lower() for c in one.categories})
            and (not kind or kind == one.type.lower())
        ]
        down = query.one("sortorder").lower().startswith("desc")
        return sorted(found, key=lambda one: one[0].casefold(), reverse=down)

    key = (
        "attributes",
        top,
        *(query.one(n) for n in (*_OF_ELEMENT.values(), "attributenamefilter", "attributecategory")),
    )
    key += tuple(query.one(n) for n in ("attributetype", "searchfullhierarchy", "sortorder"))
    found = site.plant.listing(key, make)

    def show(one: tuple[str, int, int]) -> Json:
        attribute = site.plant.attribute(one[1], one[2])
        assert attribute is not None  # noqa: S101 - a change makes a new list
        return show_attribute(site, request, attribute)

    return page(site, request, found, show, kept_as="attributes")


def _attribute(site: Site, request: IncomingRequest) -> Reply:
    if len(request.parts) > 1:
        one = attribute_of(site, request, request.parts[1])
        if decode_asset(request.parts[1]).marker == "AbF":
            return request.answer(show_attribute(site, request, one, site.frames.frame(one.owner, request.now)))
    elif path := request.query.one("path"):
        one = attribute_at(site, path)
    else:
        raise refused(400, "The path parameter is required.")
    return request.answer(show_attribute(site, request, one))


def _attributes_multiple(site: Site, request: IncomingRequest) -> Reply:
    return multiple(
        request,
        lambda one: show_attribute(site, request, attribute_of(site, request, one)),
        lambda path: show_attribute(site, request, attribute_at(site, path)),
    )


def _attributes_search(site: Site, request: IncomingRequest) -> Reply:
    require_database(site, request, request.query.one("databasewebid"))
    conditions = terms(request.query.one("query"))

    def fits(one: Attribute) -> bool:
        tests = {
            "name": lambda _, value: wildcard(value)(one.name),
            "category": lambda _, value: value.lower() in {c.lower() for c in one.categories},
            "type": lambda _, value: value.lower() == one.type.lower(),
            "element": lambda _, value: element_fits(site, site.plant.element(one.owner), terms(value.strip("{}"))),
        }
        return fits_all(conditions, tests)

    found = [
        one
        for number in site.plant.numbers()
        for one in site.plant.attributes(number)
        if one.above is None and not one.hidden and not one.excluded and fits(one)
    ]
    return page(
        site,
        request,
        sorted_by(request, found, _ATTRIBUTE_KEYS, _ATTRIBUTE_KEYS["id"]),
        partial(show_attribute, site, request),
    )


# --- templates, categories, sets, units, tables ------------------------------------------


def _templates(site: Site, request: IncomingRequest) -> Reply:
    require_database(site, request)
    name = wildcard(request.query.one("query") or "*")
    found = [one for one in site.plant.templates.values() if name(one.name)]
    ordered = sorted_by(
        request, found, {"name": lambda one: one.name.casefold(), "id": lambda one: one.name}, lambda one: one.name
    )
    return page(site, request, ordered, partial(show_template, site, request), pages=False)


def _template(site: Site, request: IncomingRequest) -> Reply:
    if len(request.parts) == 1:
        path = request.query.one("path")
        for one in site.plant.templates.values():
            if path.casefold() == f"{site.plant.path_of(None)}\\ElementTemplates[{one.name}]".casefold():
                return request.answer(show_template(site, request, one))
        raise not_found(f"Element template not found '{path}'.")
    return request.answer(show_template(site, request, _asked_template(site, request)))


def _asked_template(site: Site, request: IncomingRequest) -> Template:
    return site.plant.templates[named_of(site, "template", request.parts[1], list(site.plant.templates))]


def _attribute_templates(site: Site, request: IncomingRequest) -> Reply:
    template = _asked_template(site, request)
    found: list[tuple[Template, AttributeTemplate]] = [(template, one) for one in template.attributes]
    if request.query.flag("showinherited"):
        at = template
        while at.base in site.plant.templates:
            at = site.plant.templates[at.base]
            found += [(at, one) for one in at.attributes]
    if not request.query.flag("showdescendants"):
        found = [one for one in found if not one[1].under]
    return page(site, request, found, lambda one: show_attribute_template(site, request, *one))


def _named_list(what: str, names: Callable[[Site], Sequence[str]]) -> Callable[[Site, IncomingRequest], Reply]:
    def route(site: Site, request: IncomingRequest) -> Reply:
        require_database(site, request)
        return page(site, request, sorted(names(site)), lambda name: simple(site, request, what, name))

    return route


def _named_one(what: str, names: Callable[[Site], Sequence[str]]) -> Callable[[Site, IncomingRequest], Reply]:
    def route(site: Site, request: IncomingRequest) -> Reply:
        return request.answer(simple(site, request, what, named_of(site, what, request.parts[1], names(site))))

    return route


def _set_values(site: Site, request: IncomingRequest) -> Reply:
    sets = site.plant.enumerations
    name = named_of(site, "enumeration set", request.parts[1], list(sets))
    here = simple(site, request, "enumeration set", name)
    items = [
        {
            "WebId": f"{here['WebId']}{code:04d}",
            "Id": f"{here['Id'][:-4]}{code:04d}",
            "Name": word,
            "Description": "",
            "Value": code,
            "Path": f"{here['Path']}\\{word}",
            "Parent": None,
            "Links": {"EnumerationSet": here["Links"]["Self"]},
        }
        for code, word in sets[name].items()
    ]
    return request.answer_list(items)


def _of_either(
    asset: Callable[[Site, IncomingRequest], Reply], archive: Callable[[Site, IncomingRequest], Reply]
) -> Callable[[Site, IncomingRequest], Reply]:
    """Sets are known to the asset server and to the archive, under the same routes."""

    def route(site: Site, request: IncomingRequest) -> Reply:
        known = is_asset(request.parts[1]) if len(request.parts) > 1 else "PIServers[" not in request.query.one("path")
        return (asset if known else archive)(site, request)

    return route


def _set_at_path(site: Site, request: IncomingRequest) -> Reply:
    path = request.query.one("path")
    for name in site.plant.enumerations:
        if path.casefold() == f"{site.plant.path_of(None)}\\EnumerationSets[{name}]".casefold():
            return request.answer(simple(site, request, "enumeration set", name))
    return states.ROUTES["enumerationsets"](site, request)


def _unit_classes(site: Site, request: IncomingRequest) -> Reply:
    _require_server(request)
    return page(site, request, sorted(UNIT_CLASSES), lambda name: simple(site, request, "unit class", name))


def _units(site: Site, request: IncomingRequest) -> Reply:
    name = named_of(site, "unit class", request.parts[1], list(UNIT_CLASSES))
    here = simple(site, request, "unit class", name)
    items = [
        {
            "WebId": f"{here['WebId']}{number:04d}",
            "Id": f"{here['Id'][:-4]}{number:04d}",
            "Name": unit,
            "Abbreviation": short,
            "Description": "",
            "Path": f"{here['Path']}\\{unit}",
            "Factor": 1.0 if number == 0 else 0.001,
            "Offset": 0.0,
            "ReferenceUnitAbbreviation": UNIT_CLASSES[name][0][1],
            "Links": {"Class": here["Links"]["Self"]},
        }
        for number, (unit, short) in enumerate(UNIT_CLASSES[name])
    ]
    return request.answer_list(items)


def _table_data(site: Site, request: IncomingRequest) -> Reply:
    columns, rows = TABLES[named_of(site, "table", request.parts[1], list(TABLES))]
    kinds = {name: "String" if isinstance(rows[0][place], str) else "Double" for place, name in enumerate(columns)}
    return request.answer({"Columns": kinds, "Rows": [dict(zip(columns, row, strict=True)) for row in rows]})


def _analyses(site: Site) -> list[str]:
    return [f"Efficiency of {name}" for name in ("Pump", "Compressor")] if site.options.elements else []


def _search_all(site: Site, request: IncomingRequest) -> Reply:
    """`search/query`: everything whose name holds the words, elements only, as the indexed search shows them."""
    words = re.sub(r"^\w+:", "", request.query.one("q")).strip("*").casefold()
    kind = kind_of(request.query.one("webidtype"))
    count = request.query.whole("count", 10, least=1, most=1000)
    found = [n for n in site.plant.numbers() if words in site.plant.element(n).name.casefold()] if words else []
    items = [
        {
            "Name": site.plant.element(number).name,
            "ItemType": "element",
            "WebId": element_web_id(site, kind, number),
            "UniqueID": str(number),
            "Paths": [site.plant.path_of(number)],
        }
        for number in found[:count]
    ]
    return json_reply({"TotalHits": len(found), "Links": {}, "Errors": [], "Items": items})


_SETS = lambda site: list(site.plant.enumerations)  # noqa: E731 - a name for a short function
ROUTES: dict[str, Callable[[Site, IncomingRequest], Reply]] = {
    "assetservers": _servers,
    "assetservers/*": _server,
    "assetservers/*/assetdatabases": _databases,
    "assetservers/*/unitclasses": _unit_classes,
    "unitclasses/*": _named_one("unit class", lambda _: list(UNIT_CLASSES)),
    "unitclasses/*/units": _units,
    "assetdatabases": _database,
    "assetdatabases/*": _database,
    "assetdatabases/*/elements": _elements,
    "assetdatabases/*/referencedelements": _referenced,
    "assetdatabases/*/elementattributes": _element_attributes,
    "assetdatabases/*/elementtemplates": _templates,
    "assetdatabases/*/elementcategories": _named_list("element category", lambda site: site.plant.element_categories),
    "assetdatabases/*/attributecategories": _named_list(
        "attribute category", lambda site: site.plant.attribute_categories
    ),
    "assetdatabases/*/enumerationsets": _named_list("enumeration set", _SETS),
    "assetdatabases/*/tables": _named_list("table", lambda _: list(TABLES)),
    "assetdatabases/*/analyses": _named_list("analysis", _analyses),
    "assetdatabases/*/analysistemplates": _named_list("analysis template", _analyses),
    "elementcategories/*": _named_one("element category", lambda site: site.plant.element_categories),
    "attributecategories/*": _named_one("attribute category", lambda site: site.plant.attribute_categories),
    "enumerationsets": _of_either(_set_at_path, states.ROUTES["enumerationsets"]),
    "enumerationsets/*": _of_either(_named_one("enumeration set", _SETS), states.ROUTES["enumerationsets/*"]),
    "enumerationsets/*/enumerationvalues": _of_either(
        _set_values, states.ROUTES["enumerationsets/*/enumerationvalues"]
    ),
    "tables/*": _named_one("table", lambda _: list(TABLES)),
    "tables/*/data": _table_data,
    "analyses/*": _named_one("analysis", _analyses),
    "analysistemplates/*": _named_one("analysis template", _analyses),
    "elements": _element,
    "elements/*": _element,
    "elements/search": _elements_search,
    "elements/multiple": _elements_multiple,
    "elements/*/elements": _elements,
    "elements/*/referencedelements": _referenced,
    "elements/*/paths": _element_paths,
    "elements/*/attributes": _attributes,
    "elements/*/elementattributes": _element_attributes,
    "attributes": _attribute,
    "attributes/*": _attribute,
    "attributes/search": _attributes_search,
    "attributes/multiple": _attributes_multiple,
    "attributes/*/attributes": _attributes,
    "elementtemplates": _template,
    "elementtemplates/*": _template,
    "elementtemplates/*/attributetemplates": _attribute_templates,
    "search/query": _search_all,
}
