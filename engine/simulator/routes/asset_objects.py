"""The objects of an asset server as the API shows them, and which one a WebID or a path names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from ..archive.points import Point
from ..assets.frames import NO_END, PlantFrame
from ..assets.ids import ASSET_SERVER, DATABASE, AssetId, decode, encode, guid, numbers_of
from ..assets.plant import Attribute, Element
from ..assets.templates import AttributeTemplate, Described, Template
from ..fields import Tree, below, pick, wants
from ..replies import Refusal, Reply, json_bytes, refused
from ..request import IncomingRequest
from ..site import Site
from ..times import iso
from ..webid import kind_of
from .catalog import page_links, point_object

_POINT_FIELDS: Tree = dict.fromkeys(
    (
        "webid",
        "id",
        "name",
        "path",
        "descriptor",
        "pointclass",
        "pointtype",
        "digitalsetname",
        "engineeringunits",
        "span",
        "zero",
    )
)
_ZERO = "1970-01-01T00:00:00Z"
Json = dict[str, Any]
# Kinds of things with nothing but a name: marker, route, what their path has before the name.
_SIMPLE = {
    "element category": ("EC", "elementcategories", "ElementCategories"),
    "attribute category": ("AC", "attributecategories", "AttributeCategories"),
    "enumeration set": ("MSR", "enumerationsets", "EnumerationSets"),
    "table": ("Bl", "tables", "Tables"),
    "analysis": ("Xs", "analyses", "Analyses"),
    "analysis template": ("XT", "analysistemplates", "AnalysisTemplates"),
    "unit class": ("UC", "unitclasses", "UOMClasses"),
}


def not_found(what: str) -> Refusal:
    return refused(404, f"{what} The object does not exist or you do not have access to it.")


def associations(request: IncomingRequest) -> set[str]:
    return {one.strip().lower() for text in request.query.many("associations") for one in text.split(";")}


def _wants_links(request: IncomingRequest) -> bool:
    """Whether links are to be made: they are the most of an object, and seldom asked for."""
    tree = request.query.fields()
    for level in ("items", "object"):  # of a list, and of a lookup of several
        if tree is not None and level in tree:
            tree = tree[level]
    return wants(tree, "Links")


def page(
    site: Site,
    request: IncomingRequest,
    found: Sequence[Any],
    show: Callable[[Any], Json],
    *,
    pages: bool = True,
    most: int | None = None,
    kept_as: str = "",
) -> Reply:
    """One page of a list. Raises a 400 for a page that is larger than allowed.

    `kept_as` names things that may be hashed and look alike until the plant changes: their text is kept.
    """
    limit = most or site.switches.max_items
    start = request.query.whole("startindex", 0) if pages else 0
    size = min(request.query.whole("maxcount", 1000, least=1, most=limit), site.switches.page_cap or limit)
    tree = request.query.fields()
    inner: Tree = below(tree, "Items") if wants(tree, "Items") else {}
    shown = found[start : start + size]

    def render(one: Any) -> bytes:
        return json_bytes(pick(show(one), inner))

    if kept_as:
        texts = site.plant.rendered((kept_as, *_looks(request)), shown, render)
    else:
        texts = [render(one) for one in shown]
    here = f"{request.base}/{'/'.join(request.parts)}"
    body: Json = {"Links": page_links(here, request, start, size, len(found))}
    stripped = site.switches.page_links
    if stripped != "given":
        body.pop("Links")
        if stripped != "absent":
            body["Links"] = {} if stripped == "empty" else None
    head = json_bytes({name: value for name, value in body.items() if wants(tree, name)})
    if not wants(tree, "Items"):
        return Reply(200, [head])
    return Reply(200, [head[:-1], b"" if head == b"{}" else b",", b'"Items":[', b",".join(texts), b"]}"])


def _looks(request: IncomingRequest) -> tuple[str, ...]:
    """What the look of an object depends on, beside the object."""
    query = request.query
    return request.base, query.one("selectedfields"), query.one("webidtype"), *query.many("associations")


def kept_text(site: Site, request: IncomingRequest, kept_as: str, thing: Any, render: Callable[[], Json]) -> bytes:
    """The text of one object that looks alike until the plant changes."""
    key = (kept_as, *_looks(request))
    return site.plant.rendered(key, (thing,), lambda _: json_bytes(render()))[0]


# --- who is asked for ------------------------------------------------------------


def require_database(site: Site, request: IncomingRequest, web_id: str | None = None) -> None:
    """The WebID in the path must be the database's. Raises a 400 or 404."""
    found = decode(web_id if web_id is not None else request.parts[1])
    path = site.plant.path_of(None)
    if (
        found.marker != "RD"
        or (found.path or "").casefold() not in {"", path.casefold()}
        or found.guids not in {(), (DATABASE,)}
    ):
        raise not_found("Asset database not found.")


def _numbers(found: AssetId, marker: str, kind: str) -> tuple[int, int] | None:
    return numbers_of(kind, found.guids[-1]) if found.marker == marker and found.guids else None


def _decoded(web_id: str, marker: str) -> AssetId:
    found = decode(web_id)
    if not found.marker.startswith(marker):
        raise refused(400, f"The specified WebId '{web_id}' is not of a supported type.")
    return found


def element_of(site: Site, web_id: str) -> int:
    """Number of the element a WebID names. Raises a 400 or 404."""
    found = _decoded(web_id, "Em")
    number = site.plant.find(found.path) if found.path else (_numbers(found, "Em", "element") or (None,))[0]
    if number is None or not site.plant.exists(number):
        raise not_found("Element not found.")
    return number


def frame_of(site: Site, request: IncomingRequest, web_id: str) -> PlantFrame:
    """The frame a WebID names. Raises a 400 or 404."""
    found = _decoded(web_id, "Fm")
    numbers = _numbers(found, "Fm", "frame")
    frame = site.frames.frame(numbers[0], request.now) if numbers else None
    if frame is None:
        raise not_found("Event frame not found.")
    return frame


def attribute_of(site: Site, request: IncomingRequest, web_id: str) -> Attribute:
    """The attribute a WebID names, of an element or of a frame. Raises a 400 or 404."""
    found = _decoded(web_id, "Ab")
    if found.path:
        return attribute_at(site, found.path)
    of_frame = found.marker == "AbF"
    numbers = numbers_of("frame attribute" if of_frame else "attribute", found.guids[-1])
    if numbers is not None:
        number, place = numbers
        if of_frame:
            frame = site.frames.frame(number, request.now)
            several: Sequence[Attribute] = site.frames.attributes(frame) if frame else ()
        else:
            several = site.plant.attributes(number) if site.plant.exists(number) else ()
        for one in several:
            if one.place == place:
                return one
    raise not_found("Attribute not found.")


def attribute_at(site: Site, path: str) -> Attribute:
    """The attribute of an element at a path. Raises a 404."""
    of, _, names = path.partition("|")
    number = site.plant.find(of)
    for one in site.plant.attributes(number) if number is not None else ():
        if site.plant.names_of(one).casefold() == names.casefold():
            return one
    raise not_found(f"Attribute not found '{path}'.")


# --- objects ---------------------------------------------------------------------


def _link(request: IncomingRequest, room: str, web_id: str, *more: str) -> str:
    return "/".join((request.base, room, web_id, *more))


def element_web_id(site: Site, kind: str, number: int | None) -> str:
    path = site.plant.path_of(number) if kind in "FP" else ""
    if number is None:
        return encode(kind, "RD", (DATABASE,), path)
    return encode(kind, "Em", (guid("element", number),), path)


def frame_web_id(site: Site, kind: str, frame: PlantFrame, now: int) -> str:
    return encode(kind, "Fm", (guid("frame", frame.number),), frame_path(site, frame, now) if kind in "FP" else "")


def frame_path(site: Site, frame: PlantFrame, now: int) -> str:
    parent = None if frame.parent is None else site.frames.frame(frame.parent, now)
    over = site.plant.path_of(None) if parent is None else frame_path(site, parent, now)
    return f"{over}\\EventFrames[{frame.name}]"


def attribute_web_id(site: Site, kind: str, one: Attribute, frame: PlantFrame | None = None, now: int = 0) -> str:
    path = ""
    if kind in "FP":
        path = attribute_path(site, one, frame, now)
    if frame is None:
        guids = (guid("element", one.owner), guid("attribute", one.owner, one.place))
        return encode(kind, "AbE", guids, path)
    return encode(kind, "AbF", (guid("frame", one.owner), guid("frame attribute", one.owner, one.place)), path)


def attribute_path(site: Site, one: Attribute, frame: PlantFrame | None, now: int) -> str:
    return site.plant.attribute_path(one) if frame is None else f"{frame_path(site, frame, now)}|{one.name}"


def show_server(site: Site, request: IncomingRequest) -> Json:
    kind = kind_of(request.query.one("webidtype"))
    path = f"\\\\{site.options.asset_server}"
    web_id = encode(kind, "RS", (), path)
    return {
        "WebId": web_id,
        "Id": str(ASSET_SERVER),
        "Name": site.options.asset_server,
        "Description": "",
        "Path": path,
        "IsConnected": True,
        "ServerVersion": "2.10.9.593",
        "ServerTime": iso(request.now),
        "ExtendedProperties": {},
        "Links": {
            "Self": _link(request, "assetservers", web_id),
            "Databases": _link(request, "assetservers", web_id, "assetdatabases"),
            "UnitClasses": _link(request, "assetservers", web_id, "unitclasses"),
        },
    }


def show_database(site: Site, request: IncomingRequest) -> Json:
    kind = kind_of(request.query.one("webidtype"))
    web_id = element_web_id(site, kind, None)
    rooms = (
        *("Elements", "ElementTemplates", "EventFrames", "ElementCategories", "AttributeCategories", "EnumerationSets"),
        *("Tables", "Analyses", "AnalysisTemplates"),
    )
    links = {"Self": _link(request, "assetdatabases", web_id)}
    return {
        "WebId": web_id,
        "Id": str(DATABASE),
        "Name": site.options.asset_database,
        "Description": "A simulated plant",
        "Path": site.plant.path_of(None),
        "ExtendedProperties": {},
        "Links": links | {room: _link(request, "assetdatabases", web_id, room.lower()) for room in rooms},
    }


def _element_links(site: Site, request: IncomingRequest, element: Element, web_id: str) -> dict[str, str]:
    plant, kind = site.plant, kind_of(request.query.one("webidtype"))
    links = {"Self": _link(request, "elements", web_id)}
    links |= {
        room: _link(request, "elements", web_id, room.lower()) for room in ("Attributes", "Elements", "EventFrames")
    }
    links["Database"] = _link(request, "assetdatabases", element_web_id(site, kind, None))
    if element.parent is not None:
        links["Parent"] = _link(request, "elements", element_web_id(site, kind, element.parent))
    if element.template in plant.templates:
        links["Template"] = _link(request, "elementtemplates", template_web_id(site, kind, element.template))
    links |= {n: _link(request, "streamsets", web_id, r) for n, r in (("Value", "value"), ("RecordedData", "recorded"))}
    return links


def show_element(site: Site, request: IncomingRequest, number: int) -> Json:
    plant = site.plant
    kind, element = kind_of(request.query.one("webidtype")), plant.element(number)
    web_id = element_web_id(site, kind, number)
    paths = None
    if "paths" in associations(request):
        paths = [plant.path_of(number), *(plant.path_of(number, by=over) for over in element.also)]
    return {
        "WebId": web_id,
        "Id": str(guid("element", number)),
        "Name": element.name,
        "Description": element.description,
        "Path": plant.path_of(number),
        "Paths": paths,
        "TemplateName": element.template,
        "HasChildren": bool(plant.children(number) or plant.referred(number)),
        "CategoryNames": list(element.categories),
        "ExtendedProperties": {},
        "Errors": None,
        "Links": _element_links(site, request, element, web_id) if _wants_links(request) else {},
    }


def _attribute_links(
    site: Site, request: IncomingRequest, one: Attribute, frame: PlantFrame | None, tag: Point | None
) -> dict[str, str]:
    plant, kind = site.plant, kind_of(request.query.one("webidtype"))
    web_id = attribute_web_id(site, kind, one, frame, request.now)
    links = {
        "Self": _link(request, "attributes", web_id),
        "Attributes": _link(request, "attributes", web_id, "attributes"),
    }
    if frame is None:
        links["Element"] = _link(request, "elements", element_web_id(site, kind, one.owner))
    else:
        links["EventFrame"] = _link(request, "eventframes", frame_web_id(site, kind, frame, request.now))
    above = None if one.above is None or frame is not None else plant.attribute(one.owner, one.above)
    if above is not None:
        links["Parent"] = _link(request, "attributes", attribute_web_id(site, kind, above))
    if tag is not None:
        links["Point"] = _link(request, "points", site.web_id(kind, tag))
    links |= {n: _link(request, "streams", web_id, r) for n, r in (("Value", "value"), ("RecordedData", "recorded"))}
    return links


def _described(one: Described) -> Json:
    """What an attribute and its template show alike."""
    return {
        "Name": one.name,
        "Description": one.description,
        "Type": one.type,
        "TypeQualifier": one.qualifier,
        "DefaultUnitsName": one.units[0],
        "DefaultUnitsNameAbbreviation": one.units[1],
        "DataReferencePlugIn": one.reference,
        "ConfigString": one.config,
        "IsConfigurationItem": one.configuration_item,
        "IsExcluded": one.excluded,
        "IsHidden": one.hidden,
        "IsManualDataEntry": one.manual,
        "CategoryNames": list(one.categories),
        "TraitName": one.trait,
    }


def show_attribute(site: Site, request: IncomingRequest, one: Attribute, frame: PlantFrame | None = None) -> Json:
    plant, kind = site.plant, kind_of(request.query.one("webidtype"))
    web_id = attribute_web_id(site, kind, one, frame, request.now)
    tag = None
    if one.reference == "PI Point" and one.tag is not None and 0 <= one.tag < site.registry.size:
        tag = site.point(one.tag)
    reference = None
    if one.reference and "datareference" in associations(request):
        reference = {"Type": one.reference, "PIPoint": tag and point_object(site, request, tag, kind, _POINT_FIELDS)}
    has_children = frame is None and any(other.above == one.place for other in plant.attributes(one.owner))
    return {
        "WebId": web_id,
        "Id": str(guid("attribute" if frame is None else "frame attribute", one.owner, one.place)),
        "Path": attribute_path(site, one, frame, request.now),
        "Paths": None,
        **_described(one),
        "DisplayDigits": -5,
        "HasChildren": has_children,
        "Step": False,
        "Span": 100.0,
        "Zero": 0.0,
        "DataReference": reference,
        "Links": _attribute_links(site, request, one, frame, tag) if _wants_links(request) else {},
    }


def show_frame(site: Site, request: IncomingRequest, frame: PlantFrame) -> Json:
    kind = kind_of(request.query.one("webidtype"))
    web_id = frame_web_id(site, kind, frame, request.now)
    rooms = {"Attributes": "attributes", "EventFrames": "eventframes", "ReferencedElements": "referencedelements"}
    links = {
        "Self": _link(request, "eventframes", web_id),
        "Annotations": _link(request, "eventframes", web_id, "annotations"),
    }
    links |= {name: _link(request, "eventframes", web_id, room) for name, room in rooms.items()}
    links["Database"] = _link(request, "assetdatabases", element_web_id(site, kind, None))
    there = [one for one in frame.elements if site.plant.exists(one)]
    if there and there[0] == frame.elements[0]:
        links["PrimaryReferencedElement"] = _link(request, "elements", element_web_id(site, kind, there[0]))
    parent = None if frame.parent is None else site.frames.frame(frame.parent, request.now)
    if parent is not None:
        links["Parent"] = _link(request, "eventframes", frame_web_id(site, kind, parent, request.now))
    by, at = frame.acknowledged or ("", None)
    template = site.plant.templates.get(frame.template)
    return {
        "WebId": web_id,
        "Id": str(guid("frame", frame.number)),
        "Name": frame.name,
        "Description": frame.description,
        "Path": frame_path(site, frame, request.now),
        "TemplateName": frame.template,
        "HasChildren": bool(site.frames.children(frame.number, request.now)),
        "CategoryNames": list(frame.categories),
        "ExtendedProperties": {},
        "StartTime": iso(frame.start),
        "EndTime": iso(NO_END if frame.end is None else frame.end),
        "Severity": frame.severity,
        "AcknowledgedBy": by,
        "AcknowledgedDate": _ZERO if at is None else iso(at),
        "CanBeAcknowledged": template.can_be_acknowledged if template else False,
        "IsAcknowledged": at is not None,
        "IsAnnotated": bool(frame.notes),
        "IsLocked": frame.locked,
        "AreValuesCaptured": frame.captured,
        "RefElementWebIds": [element_web_id(site, kind, one) for one in there],
        "Security": {"CanRead": True, "CanWrite": False},
        "Links": links,
    }


def template_web_id(site: Site, kind: str, name: str) -> str:
    path = f"{site.plant.path_of(None)}\\ElementTemplates[{name}]"
    return encode(kind, "ET", (_named("template", name),), path if kind in "FP" else "")


def _named(kind: str, name: str) -> UUID:
    """The GUID of a thing known by its name."""
    return UUID(bytes=guid(kind, 0).bytes[6:] + guid(name, 0).bytes[6:12])


def show_template(site: Site, request: IncomingRequest, template: Template) -> Json:
    kind = kind_of(request.query.one("webidtype"))
    web_id = template_web_id(site, kind, template.name)
    return {
        "WebId": web_id,
        "Id": str(_named("template", template.name)),
        "Name": template.name,
        "Description": template.description,
        "Path": f"{site.plant.path_of(None)}\\ElementTemplates[{template.name}]",
        "AllowElementToExtend": False,
        "BaseTemplate": template.base,
        "InstanceType": template.instance,
        "NamingPattern": template.naming,
        "CategoryNames": list(template.categories),
        "ExtendedProperties": {},
        "Severity": template.severity,
        "CanBeAcknowledged": template.can_be_acknowledged,
        "Links": {
            "Self": _link(request, "elementtemplates", web_id),
            "AttributeTemplates": _link(request, "elementtemplates", web_id, "attributetemplates"),
            "Database": _link(request, "assetdatabases", element_web_id(site, kind, None)),
        },
    }


def show_attribute_template(site: Site, request: IncomingRequest, template: Template, one: AttributeTemplate) -> Json:
    kind = kind_of(request.query.one("webidtype"))
    names = f"{one.under}|{one.name}" if one.under else one.name
    path = f"{site.plant.path_of(None)}\\ElementTemplates[{template.name}]|{names}"
    found = _named(f"attribute template of {template.name}", names)
    web_id = encode(kind, "ATE", (found,), path if kind in "FP" else "")
    return {
        "WebId": web_id,
        "Id": str(found),
        "Path": path,
        **_described(one),
        "DefaultValue": None,
        "HasChildren": any(other.under == one.name for other in template.attributes),
        "Links": {
            "Self": _link(request, "attributetemplates", web_id),
            "ElementTemplate": _link(request, "elementtemplates", template_web_id(site, kind, template.name)),
        },
    }


def simple(site: Site, request: IncomingRequest, what: str, name: str) -> Json:
    """A thing that has a name and little else: a category, a set, a table, an analysis, a class of units."""
    marker, room, under = _SIMPLE[what]
    kind = kind_of(request.query.one("webidtype"))
    path = f"{site.plant.path_of(None)}\\{under}[{name}]"
    found = _named(what, name)
    web_id = encode(kind, marker, (found,), path if kind in "FP" else "")
    links = {
        "Self": _link(request, room, web_id),
        "Database": _link(request, "assetdatabases", element_web_id(site, kind, None)),
    }
    if what == "enumeration set":
        links["Values"] = _link(request, room, web_id, "enumerationvalues")
    if what == "table":
        links["Data"] = _link(request, room, web_id, "data")
    return {"WebId": web_id, "Id": str(found), "Name": name, "Description": "", "Path": path, "Links": links}


def named_of(site: Site, what: str, web_id: str, names: Sequence[str]) -> str:
    """Which of these names a WebID is of. Raises a 400 or 404."""
    found = decode(web_id)
    marker, _, under = _SIMPLE.get(what, ("ET", "", "ElementTemplates"))
    kind = "template" if what == "template" else what
    for name in names:
        path = f"{site.plant.path_of(None)}\\{under}[{name}]"
        if found.marker == marker and (found.path or "").casefold() == path.casefold():
            return name
        if found.marker == marker and found.guids and found.guids[-1] == _named(kind, name):
            return name
    raise not_found(f"{what.capitalize()} not found.")
