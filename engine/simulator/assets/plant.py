"""The asset tree: sites, units, equipment and components, as a function of their number, plus what became of them since.

Of each block of 1,111 elements the first is a site, the next ten its units, then a hundred pieces of equipment and a
thousand components, ten below each. Only elements that were changed are held, so 100,000 cost no memory. Numbers never
come back, so a moved or renamed element stays the same one. Changes count up `version`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..archive.point_registry import ChangeRefusedError, PointRegistry
from ..options import SimulatorOptions
from .edits import AssetEdit
from .ids import guid
from .templates import (
    ATTRIBUTE_CATEGORIES,
    ELEMENT_CATEGORIES,
    ENUMERATIONS,
    TEMPLATES,
    AttributeTemplate,
    Described,
    Template,
    lineage,
    with_more,
)

_FAN_OUT, _BLOCK = 10, 1111
# Equipment is the last level that has something below it.
_LAST_PARENT = _FAN_OUT + _FAN_OUT**2
_MOST_KNOWN = 200_000
# So many rendered things are held at most: those of 10,000 elements and their attributes, with room to spare.
_MOST_RENDERED = 200_000
_EQUIPMENT = ("Pump", "Compressor", "Tank", "Heater")
_ODD = (" #1", " & Co", " 100%", " A+B", " \u00bd", " in/out")
ERRORS = {"Errors": ["The table could not be read."]}


@dataclass(frozen=True, slots=True)
class Element:
    """One element. `parent` None: right below the database. `also`: its further parents."""

    number: int
    name: str
    parent: int | None
    template: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    also: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute(Described):
    """One attribute of an element or of a frame; `place` tells those of one owner apart. `above` is a place."""

    owner: int
    place: int
    above: int | None = None
    # Of a PI Point: the index of the tag, or None where there is no such point. Of a formula: that of the tag it reads.
    tag: int | None = None
    value: Any = None
    good: bool = True
    template: str = ""


class Plant:
    """The elements of one asset database as they stand now."""

    def __init__(self, options: SimulatorOptions, registry: PointRegistry) -> None:
        self.options = options
        self.registry = registry
        self.version = 0
        self.templates = with_more(TEMPLATES, options.more_attributes)
        self.element_categories = list(ELEMENT_CATEGORIES)
        self.attribute_categories = list(ATTRIBUTE_CATEGORIES)
        self.enumerations = {name: dict(states) for name, states in ENUMERATIONS.items()}
        self._next = options.elements
        self._changed: dict[int, Element] = {}
        self._gone: set[int] = set()
        self._moved_in: dict[int | None, list[int]] = {}
        self._referred: dict[int | None, list[int]] = {}
        self._attributes: dict[tuple[int, int], Attribute | None] = {}  # None: deleted
        self._added: dict[int, list[int]] = {}
        # Worked out once, until something changes.
        self._listing: dict[Any, Any] = {}
        self._rendered: dict[Any, dict[Any, bytes]] = {}
        self._rendered_of = (0, 0)
        self._rendered_room = _MOST_RENDERED
        self._known_attributes: dict[int, tuple[Attribute, ...]] = {}
        self._known_paths: dict[int, str] = {}

    # --- elements --------------------------------------------------------------

    def exists(self, number: int) -> bool:
        return 0 <= number < self._next and number not in self._gone

    def element(self, number: int) -> Element:
        return self._changed.get(number) or self._original(number)

    def _original(self, number: int) -> Element:
        block, offset = divmod(number, _BLOCK)
        parent = None if offset == 0 else block * _BLOCK + (offset - 1) // _FAN_OUT
        which = (offset - 1) % _FAN_OUT
        if offset == 0:
            return Element(number, f"Site {block + 1:02d}", None, "Site", f"Site {block + 1}", ("Geography",))
        if offset <= _FAN_OUT:
            return Element(
                number, f"Unit {which + 1:02d}", parent, "Unit", f"Unit {which + 1} of site {block + 1}", ("Process",)
            )
        if offset <= _LAST_PARENT:
            kind = _EQUIPMENT[which % len(_EQUIPMENT)]
            odd = _ODD[number % len(_ODD)] if self.options.odd_names and offset % 29 == 0 else ""
            # Some pumps are kept under the site, too, and a few under the database itself.
            also: tuple[int | None, ...] = ()
            if kind == "Pump" and offset % 3 == 0:
                also = (block * _BLOCK, None) if offset % 9 == 0 else (block * _BLOCK,)
            categories = self.templates[kind].categories if kind in self.templates else ()
            return Element(number, f"{kind} {number:05d}{odd}", parent, kind, "", categories, also)
        kind = ("Sensor", "Motor")[which % 2]
        if offset % 53 == 0:
            return Element(number, f"Part {which + 1:02d}", parent)
        return Element(
            number,
            f"{kind} {which + 1:02d}",
            parent,
            kind,
            f"{kind} {which + 1}" if which < 3 else "",
            ("Instruments",),
        )

    def numbers(self) -> Iterator[int]:
        """All elements there are, in no order that matters."""
        return (number for number in range(self._next) if number not in self._gone)

    def children(self, number: int | None) -> list[int]:
        """What lies right below an element, or the database, under its primary path."""
        found = [
            child
            for child in self._first_children(number)
            if child not in self._gone and (child not in self._changed or self._changed[child].parent == number)
        ]
        return found + [child for child in self._moved_in.get(number, ()) if child not in self._gone]

    def _first_children(self, number: int | None) -> Iterator[int]:
        size = self.options.elements
        if number is None:
            yield from range(0, size, _BLOCK)
        elif number < size and (offset := number % _BLOCK) <= _LAST_PARENT:
            first = number - offset + offset * _FAN_OUT + 1
            yield from range(first, min(first + _FAN_OUT, size))

    def referred(self, number: int | None) -> list[int]:
        """Elements that have an element, or the database, as a further parent."""
        if number is None or (number < self.options.elements and number % _BLOCK == 0):
            first = [0] if number is None else [number]
            blocks = range(0, self.options.elements, _BLOCK) if number is None else first
            candidates = [
                other
                for block in blocks
                for other in range(block + _FAN_OUT + 1, min(block + _FAN_OUT + 1 + _FAN_OUT**2, self.options.elements))
                if other not in self._changed
            ]
            found = [other for other in candidates if other not in self._gone and number in self._original(other).also]
        else:
            found = []
        return found + [
            o for o in self._referred.get(number, ()) if o not in self._gone and number in self.element(o).also
        ]

    def below(self, number: int | None) -> list[int]:
        """Everything below an element, or the database, under primary paths."""
        found: list[int] = []
        waiting = self.children(number)
        while waiting:
            found += waiting
            waiting = [child for parent in waiting for child in self.children(parent)]
        return found

    def path_of(self, number: int | None, *, by: int | None = -1) -> str:
        r"""`\\SERVER\Database\Site\Unit`; `by`: through this parent instead of the primary one."""
        if number is None:
            return f"\\\\{self.options.asset_server}\\{self.options.asset_database}"
        if by == -1 and number in self._known_paths:
            return self._known_paths[number]
        element = self.element(number)
        path = f"{self.path_of(element.parent if by == -1 else by)}\\{element.name}"
        if by == -1:
            self._known_paths[number] = path
        return path

    def find(self, path: str) -> int | None:
        """The element at a path below the database, primary or not; None where there is none."""
        root = self.path_of(None)
        if path.casefold()[: len(root) + 1] != root.casefold() + "\\":
            return None
        at: int | None = None
        for name in path[len(root) + 1 :].split("\\"):
            below = self.children(at) + self.referred(at)
            found = next((n for n in below if self.element(n).name.casefold() == name.casefold()), None)
            if found is None:
                return None
            at = found
        return at

    def listing(self, key: Any, make: Any) -> Any:
        """What `make` gives, kept until something changes: long lists are asked for page by page."""
        kept = self._listing.get(key)
        if kept is None or kept[0] != self.version:
            if len(self._listing) > 32:
                self._listing.clear()
            kept = self._listing[key] = (self.version, make())
        return kept[1]

    def rendered(self, key: Any, things: Sequence[Any], render: Callable[[Any], bytes]) -> list[bytes]:
        """The text of each of these things, kept until an element or a point changes. `key`: all else that it depends on.

        A real server has caches, too; without this one a run would wait for the simulator.
        """
        of = (self.version, self.registry.changes)
        if of != self._rendered_of or self._rendered_room < len(things):
            self._rendered.clear()
            self._rendered_of, self._rendered_room = of, _MOST_RENDERED
        kept = self._rendered.setdefault(key, {})
        found: list[bytes] = []
        for thing in things:
            text = kept.get(thing)
            if text is None:
                self._rendered_room -= 1
                text = kept[thing] = render(thing)
            found.append(text)
        return found

    # --- attributes --------------------------------------------------------------

    def attributes(self, number: int) -> tuple[Attribute, ...]:
        """The attributes of an element, nested ones included, in the order of their numbers."""
        found = self._known_attributes.get(number)
        if found is None:
            if len(self._known_attributes) > _MOST_KNOWN:
                self._known_attributes.clear()
            found = self._known_attributes[number] = tuple(self._attributes_of(self.element(number)))
        return found

    def _attributes_of(self, element: Element) -> list[Attribute]:
        number = element.number
        found: list[Attribute] = []
        numbers: dict[str, int] = {}
        place = 0
        for template in lineage(element.template, self.templates):
            for one in template.attributes:
                numbers.setdefault(one.name, place)
                kept = self._attributes.get((number, place), _UNTOUCHED)
                if kept is _UNTOUCHED:
                    found.append(self._templated(element, template.name, one, place, numbers.get(one.under)))
                elif kept is not None:
                    found.append(kept)
                place += 1
        for added in self._added.get(number, ()):
            kept = self._attributes.get((number, added))
            if kept is not None:
                found.append(kept)
        return found

    def _templated(
        self, element: Element, template: str, one: AttributeTemplate, place: int, above: int | None
    ) -> Attribute:
        tag = None
        if one.reference in {"PI Point", "Formula", "Table Lookup"} and self.options.tags:
            # A formula reads the tag of the attribute before it; a table has the history of a tag.
            tag = (element.number * 7 + place - (one.reference == "Formula")) % self.options.tags
        value, good = self._value(element, place, one.name, one.type, one.reference)
        shared, owner = one.shared(), element.number
        return Attribute(
            **shared, owner=owner, place=place, above=above, tag=tag, value=value, good=good, template=template
        )

    def attribute(self, number: int, place: int) -> Attribute | None:
        return next((one for one in self.attributes(number) if one.place == place), None)

    def attribute_path(self, attribute: Attribute) -> str:
        return f"{self.path_of(attribute.owner)}|{self.names_of(attribute)}"

    def names_of(self, attribute: Attribute) -> str:
        """`Limits|High`: its name behind those of the attributes above it."""
        names, above = attribute.name, attribute.above
        while above is not None:
            one = self.attribute(attribute.owner, above)
            if one is None:
                break
            names, above = f"{one.name}|{names}", one.above
        return names

    def _value(self, element: Element, place: int, name: str, kind: str, reference: str) -> tuple[Any, bool]:
        """What an attribute that reads no tag shows, and whether that is good."""
        number = element.number
        if reference in {"PI Point", "Formula"}:
            return None, True
        if reference == "Table Lookup":
            return (ERRORS, False) if number % 5 == 0 else (round(50 + number % 400 / 2, 1), True)
        if reference == "String Builder":
            return f"Unit {element.name}", True
        if number % 41 == 0 and kind == "String":
            return None, True
        states = {2: "Running", 3: "Maintenance"}
        found: dict[str, Any] = {
            "Double": round((number * 31 + place * 7) % 10_000 / 8, 3),
            "Int32": number % 12 + 1,
            "Int64": 9_007_199_254_740_993 + number,
            "Boolean": number % 2 == 0,
            "String": f"{name} {number:05d}",
            "String[]": [f"P{number}", f"Q{number}"],
            "DateTime": f"20{10 + number % 15:02d}-0{1 + number % 9}-1{number % 10}T00:00:00Z",
            "Guid": str(guid("asset key", number)),
            "EnumerationValue": {"Name": states[2 + number % 2], "Value": 2 + number % 2, "IsSystem": False},
        }
        return found[kind], True

    # --- changes -----------------------------------------------------------------

    def change(self, edit: AssetEdit) -> int:
        """Make a change of the tree; gives the number of the element it was of.

        Raises:
            ChangeRefusedError: the change makes no sense as things stand.
            KeyError: there is no such element or attribute.
        """
        self.changed()
        try:
            return _CHANGES[edit.action](self, edit)
        finally:
            self.changed()

    def changed(self) -> None:
        """Forget what was worked out before a change."""
        self.version += 1
        self._known_attributes.clear()
        self._known_paths.clear()

    def require(self, path: str | int) -> int:
        number = path if isinstance(path, int) else self.find(self._absolute(path))
        if number is None or not self.exists(number):
            raise KeyError(f"no element {path!r}")
        return number

    def _absolute(self, path: str) -> str:
        return path if path.startswith("\\\\") else f"{self.path_of(None)}\\{path}"

    def _parent(self, to: str | int | None) -> int | None:
        return None if to is None or to == "" else self.require(to)

    def _keep(self, element: Element) -> None:
        number = element.number
        for several in self._moved_in.values():
            if number in several:
                several.remove(number)
        if number >= self.options.elements or self._original(number).parent != element.parent:
            self._moved_in.setdefault(element.parent, []).append(number)
        for parent in element.also:
            several = self._referred.setdefault(parent, [])
            if number not in several:
                several.append(number)
        self._changed[number] = element

    def _create(self, edit: AssetEdit) -> int:
        number = self._next
        self._next += 1
        categories = tuple(edit.categories or ())
        self._keep(
            Element(
                number, edit.name or "", self._parent(edit.to), edit.template or "", edit.description or "", categories
            )
        )
        return number

    def _edit(self, edit: AssetEdit) -> int:
        element = self.element(self.require(edit.element))
        changes: dict[str, Any] = {
            name: value
            for name, value in (("name", edit.name), ("description", edit.description), ("template", edit.template))
            if value is not None
        }
        if edit.categories is not None:
            changes["categories"] = tuple(edit.categories)
        self._keep(replace(element, **changes))
        return element.number

    def _move(self, edit: AssetEdit) -> int:
        number, to = self.require(edit.element), self._parent(edit.to)
        if to == number or to in self.below(number):
            raise ChangeRefusedError("an element cannot move below itself")
        self._keep(replace(self.element(number), parent=to))
        return number

    def _delete(self, edit: AssetEdit) -> int:
        number = self.require(edit.element)
        self._gone.update([number, *self.below(number)])
        return number

    def _refer(self, edit: AssetEdit) -> int:
        number, to = self.require(edit.element), self._parent(edit.to)
        element = self.element(number)
        if to == element.parent or to in element.also:
            raise ChangeRefusedError("it is there already")
        self._keep(replace(element, also=(*element.also, to)))
        return number

    def _release(self, edit: AssetEdit) -> int:
        number, to = self.require(edit.element), self._parent(edit.to)
        element = self.element(number)
        if to not in element.also:
            raise ChangeRefusedError("there is no such reference")
        self._keep(replace(element, also=tuple(one for one in element.also if one != to)))
        return number

    def _require_attribute(self, edit: AssetEdit) -> Attribute:
        number = self.require(edit.element)
        for one in self.attributes(number):
            if self.names_of(one).casefold() == (edit.attribute or "").casefold():
                return one
        raise KeyError(f"no attribute {edit.attribute!r} of {edit.element!r}")

    def _create_attribute(self, edit: AssetEdit) -> int:
        number = self.require(edit.element)
        place = 1000 + len(self._added.get(number, ()))
        self._added.setdefault(number, []).append(place)
        above, _, name = (edit.attribute or "").rpartition("|")
        over = None
        if above:
            over = next((one.place for one in self.attributes(number) if self.names_of(one) == above), None)
        self._attributes[number, place] = Attribute(
            name=name,
            type=edit.type or "Double",
            reference="PI Point" if edit.tag is not None else "",
            owner=number,
            place=place,
            above=over,
            tag=edit.tag,
            value=edit.value,
        )
        return number

    def _edit_attribute(self, edit: AssetEdit) -> int:
        one = self._require_attribute(edit)
        changes: dict[str, Any] = {}
        if edit.name is not None:
            changes["name"] = edit.name
        if edit.value is not None:
            changes["value"] = edit.value
        if edit.tag is not None:
            changes["tag"] = edit.tag
        self._attributes[one.owner, one.place] = replace(one, **changes)
        return one.owner

    def _delete_attribute(self, edit: AssetEdit) -> int:
        one = self._require_attribute(edit)
        for other in self.attributes(one.owner):
            if one.place in {other.place, other.above}:
                self._attributes[one.owner, other.place] = None
        return one.owner

    def _put_template(self, edit: AssetEdit) -> int:
        name = edit.template or ""
        known = self.templates.get(name)
        base = edit.to if isinstance(edit.to, str) else (known.base if known else "")
        if base and base not in self.templates:
            raise KeyError(f"no template {base!r}")
        description = edit.description if edit.description is not None else (known.description if known else "")
        self.templates[name] = replace(known or Template(name), base=base, description=description)
        return -1

    def _delete_template(self, edit: AssetEdit) -> int:
        if self.templates.pop(edit.template or "", None) is None:
            raise KeyError(f"no template {edit.template!r}")
        return -1


_UNTOUCHED: Any = object()
_CHANGES = {
    "create_element": Plant._create,  # noqa: SLF001 - a table of its own methods
    "edit_element": Plant._edit,  # noqa: SLF001
    "move_element": Plant._move,  # noqa: SLF001
    "delete_element": Plant._delete,  # noqa: SLF001
    "refer_element": Plant._refer,  # noqa: SLF001
    "release_element": Plant._release,  # noqa: SLF001
    "create_attribute": Plant._create_attribute,  # noqa: SLF001
    "edit_attribute": Plant._edit_attribute,  # noqa: SLF001
    "delete_attribute": Plant._delete_attribute,  # noqa: SLF001
    "put_template": Plant._put_template,  # noqa: SLF001
    "delete_template": Plant._delete_template,  # noqa: SLF001
}
