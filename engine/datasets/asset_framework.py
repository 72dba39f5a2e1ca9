"""The dataset `assets`: elements, attributes, references, templates, enumeration sets, categories and units of measure.

Elements and attributes come in bulk, in lists of everything below the database. A server that refuses such lists is asked
level by level, and element by element. Values are read of the attributes that have one of their own.

Invariant: a list that is not whole changes nothing. Its rows stay as they were, and the result names the list. An element
or an attribute is marked as deleted only if the server says so of this very one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import ConfigurationError, TagGoneError, UnavailableError
from writers import KeyedTable, Listing, Mirror, SeenRows, SyncReceipt, TableSpec
from writers.asset_tables import (
    ASSET_TABLES,
    PI_ASSET_ATTRIBUTES,
    PI_ASSET_CATEGORIES,
    PI_ASSET_HIERARCHY,
    PI_ASSET_REFERENCES,
    PI_ASSET_TEMPLATE_ATTRIBUTES,
    PI_ASSET_TEMPLATES,
    PI_ENUMERATION_VALUES,
    PI_UNITS_OF_MEASURE,
)

from ..model import Micros
from ..piweb import assets
from ..piweb.assets import ATTRIBUTE_FIELDS, ELEMENT_FIELDS, ListPage, Named, list_path, object_path
from ..piweb.members import Item, has_web_id
from ..piweb.problems import error_for
from .asset_attributes import AttributeRows
from .asset_reader import SOURCE_ERRORS, AssetReader, Beside, ListRead, PathOf, Turn, find_databases, together
from .dataset import SyncContext, SyncedDataset, SyncResult

R = TypeVar("R")
_HOUR: Micros = 3_600_000_000
# So many WebIDs fit into a URL that every server takes.
_VALUES_PER_REQUEST = 60
# If all of so many groups fail, it is not for one of them.
_LEAST_GROUPS = 8
# A run looks so many missing things up at most; without batches, where each takes a request, fewer. The next runs look
# up the others.
_MOST_LOOKED_UP = 20_000
_MOST_LOOKED_UP_SINGLE = 500
# So many pages of attributes wait for their values at a time, while others are read.
_PAGES_BESIDE = 3
# Of so many owners the attributes are held at a time, where each has a list of its own.
_OWNERS_AT_ONCE = 1000
# Trees are not that deep: a server that shows more levels goes round in a circle.
_MOST_LEVELS = 200
_NAMED = ("WebId", "Name", "Path")
_TEMPLATE_FIELDS = (
    *("WebId", "Name", "Path", "Description", "BaseTemplate", "InstanceType", "NamingPattern", "CategoryNames"),
    *("Severity", "CanBeAcknowledged"),
)
_TEMPLATE_ATTRIBUTE_FIELDS = (
    *("WebId", "Name", "Path", "Description", "Type", "TypeQualifier", "DefaultUnitsName"),
    *("DefaultUnitsNameAbbreviation", "DefaultValue", "DataReferencePlugIn", "ConfigString", "IsConfigurationItem"),
    *("IsExcluded", "IsHidden", "TraitName"),
)


# Of the rows that a list did not show: the first columns of the keys of those that are gone, rows of those that exist, and
# the first columns of the keys of those that may be either.
_Missing: TypeAlias = tuple[set[str], pa.Table, set[str]]
# Takes items of a list, and why others could not be read.
_Take: TypeAlias = Callable[[Sequence[Item], Sequence[str]], Awaitable[None]]
_LookFor: TypeAlias = Callable[[pa.Table], Awaitable[_Missing]]


@dataclass(slots=True)
class _Result:
    """What has changed in the tables so far, and what could not be read."""

    added: int = 0
    changed: int = 0
    missing: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)

    def add(self, receipt: SyncReceipt | _Result) -> None:
        self.added += receipt.added
        self.changed += receipt.changed
        self.missing += receipt.missing

    def merge(self, other: _Result) -> None:
        self.add(other)
        self.unread += other.unread


async def _sync(context: SyncContext) -> SyncResult | None:
    """Bring the asset tables up to date. Only the first shard does it; None for the others."""
    settings = context.config.asset_framework
    if context.shard.index != 0:
        return None
    reader = AssetReader(context.client, context.base_url, context.mode, batch_size=context.extraction.batch_size)
    result = _Result()
    found: dict[str, Named] = {}
    for text in (*settings.databases, *([settings.database] if settings.database else [])):
        try:
            found.update((one.web_id, one) for one in await find_databases(reader, [text]))
        except SOURCE_ERRORS as error:
            result.unread.append((f"AF database {text}", error.message))
    if not settings.databases and not settings.database:
        found.update((one.web_id, one) for one in await find_databases(reader, []))
    for database in found.values():
        await _crawl(context, reader, database, result)
    return SyncResult(added=result.added, changed=result.changed, missing=result.missing, unread=tuple(result.unread))


@dataclass(slots=True)
class _Names:
    """Names that a database had before it was renamed. The elements show them best: `known` once these are read."""

    earlier: set[str] = field(default_factory=set)
    known: asyncio.Event = field(default_factory=asyncio.Event)


async def _crawl(context: SyncContext, reader: AssetReader, database: Named, result: _Result) -> None:
    """Read one database, and write its tables.

    Each part by itself, beside the others: the tables of one that cannot be read stay as they are, and the others are
    brought up to date.
    """
    names = _Names()
    tree = _Crawl(context, reader, database, names, is_tree=True)
    others = [_Crawl(context, reader, database, names) for _ in range(4)]
    templates, enumerations, categories, units = others
    await together(
        [
            tree.keep_tree(),
            templates.tried("templates", templates.keep_templates),
            enumerations.tried("enumeration sets", enumerations.keep_enumerations),
            categories.tried("categories", categories.keep_categories),
            units.tried("units of measure", units.keep_units),
        ]
    )
    for part in (tree, *others):
        result.merge(part.result)


class _Crawl:
    """Reads a part of one database, and writes its tables."""

    def __init__(
        self, context: SyncContext, reader: AssetReader, database: Named, names: _Names, *, is_tree: bool = False
    ) -> None:
        self.result = _Result()
        self._context = context
        self._reader = reader
        self._database = database
        settings = context.config.asset_framework
        self._root, self._hidden = settings.root, settings.hidden_attributes
        self._templates, self._categories = settings.templates, settings.categories
        self._patterns = settings.attributes
        self._names, self._is_tree = names, is_tree
        # Where the tree begins: the database, or the element `root`.
        self._top = ("assetdatabases", database.web_id)
        self._gives_values = False

    async def keep_tree(self) -> None:
        """Elements, then their attributes."""
        try:
            kept = await self.tried("elements", self._keep_elements)
        finally:
            self._names.known.set()
        if kept is not None:
            await self.tried("attributes", partial(self._keep_attributes, *kept))

    async def tried(self, what: str, call: Callable[[], Awaitable[R]]) -> R | None:
        """What the call gives; None, and a note in the result, where the source does not give it."""
        try:
            return await call()
        except SOURCE_ERRORS as error:
            self.result.unread.append((f"{what} of {self._database.name}", error.message))
            return None

    @property
    def _is_filtered(self) -> bool:
        return bool(self._templates or self._categories or self._root)

    # --- elements --------------------------------------------------------------------

    async def _read_elements(self) -> ListRead:
        found: dict[str, Item] = {}
        if self._root:
            path = self._root if self._root.startswith("\\\\") else f"{self._database.path}\\{self._root}"
            root = await self._reader.item(
                assets.at_path("elements", path, ELEMENT_FIELDS), f"looking for the element {path}"
            )
            if not has_web_id(root):
                raise UnavailableError(f"looking for the element {path}: the answer has no WebID")
            self._top = ("elements", root["WebId"])
            found[root["WebId"]] = root
        unreadable: list[str] = []

        shared: dict[Any, Any] = {}

        async def take(items: Sequence[Item], reasons: Sequence[str]) -> None:
            for one in items:
                # What is shown again is newer, or is shown under a further parent, where some servers repeat it.
                if one["WebId"] not in found or assets.is_at_first_path(one):
                    found[one["WebId"]] = assets.compact_element(one, shared)
            unreadable.extend(reasons)

        filters = ("templateName", "categoryName")
        proven = await self._in_bulk(self._elements_path, filters, "elements", take, self._level_by_level)
        return ListRead(tuple(found.values()), tuple(unreadable), proven)

    async def _in_bulk(
        self,
        path: Callable[[Mapping[str, str]], PathOf],
        filters: tuple[str, str],
        what: str,
        take: _Take,
        instead: Callable[[_Take], Awaitable[None]],
    ) -> bool:
        """Take the lists of everything below the top, one for each template and category; give whether they are proven
        to be whole. `instead` takes the same where the server gives not even a first page.
        """
        pages = 0

        async def page_of(page: ListPage) -> None:
            nonlocal pages
            pages += 1
            await take(page.items, page.unreadable)

        proven = True
        for chosen in product(self._templates or ("",), self._categories or ("",)):
            before = pages
            paths = path(dict(zip(filters, chosen, strict=True)))
            try:
                is_whole = await self._reader.each_page(paths, f"listing the {what} of {self._database.name}", page_of)
            except SOURCE_ERRORS as refusal:
                if pages > before:
                    raise
                try:
                    await instead(take)
                except SOURCE_ERRORS:
                    raise refusal from None
                return True
            proven = proven and is_whole
        return proven

    def _elements_path(self, filters: Mapping[str, str]) -> PathOf:
        return _pages(
            *self._top, "elements", ELEMENT_FIELDS, searchFullHierarchy="true", associations="Paths", **filters
        )

    async def _level_by_level(self, take: _Take) -> None:
        """Take all elements below the top: its children, those of its children, and so on; then what the filters choose."""
        is_chosen = await self._filter()
        found: dict[str, Item] = {}
        unreadable: list[str] = []
        level = [self._top]
        for _ in range(_MOST_LEVELS):
            lists = [_pages(*above, "elements", ELEMENT_FIELDS, associations="Paths") for above in level]
            level = []
            for read in await self._reader.lists(
                lists, f"listing the elements of {self._database.name} level by level"
            ):
                unreadable += read.unreadable if read else ()
                for one in read.items if read else ():
                    if one["WebId"] not in found and one.get("HasChildren") is not False:
                        level.append(("elements", one["WebId"]))
                    found.setdefault(one["WebId"], one)
            if not level:
                return await take(tuple(filter(is_chosen, found.values())), unreadable)
        raise UnavailableError(f"the tree of {self._database.name} has more than {_MOST_LEVELS} levels")

    async def _filter(self) -> Callable[[Item], bool]:
        """Whether an element is of the templates that are configured, or of ones derived from them, and of the categories.

        Raises `UnavailableError` for one that is not there.
        """
        templates = {name.casefold() for name in self._templates}
        categories = {name.casefold() for name in self._categories}
        if templates:
            listed = (await self._read_list("elementtemplates", _TEMPLATE_FIELDS)).items
            self._require(templates, listed, "element template")
            base_of = {str(one.get("Name")).casefold(): str(one.get("BaseTemplate")).casefold() for one in listed}
            while derived := {name for name, base in base_of.items() if base in templates} - templates:
                templates |= derived
        if categories:
            listed = (await self._read_list("elementcategories", _NAMED)).items
            self._require(categories, listed, "element category")

        def is_chosen(one: Item) -> bool:
            of = {str(name).casefold() for name in one.get("CategoryNames") or ()}
            return (not templates or str(one.get("TemplateName")).casefold() in templates) and (
                not categories or bool(categories & of)
            )

        return is_chosen

    def _require(self, names: Collection[str], listed: Sequence[Item], what: str) -> None:
        if unknown := sorted(set(names) - {str(one.get("Name")).casefold() for one in listed}):
            raise UnavailableError(f"there is no {what} {unknown[0]!r} in {self._database.name}")

    async def _keep_elements(self) -> tuple[pa.Table, set[str]]:
        """Write elements and references. Gives the rows, and the WebIDs of elements that are gone."""
        elements = await self._read_elements()
        self._note_unreadable("elements", elements.unreadable)
        rows = assets.element_rows(elements.items, self._database)
        gone = await self._mirror(_HIERARCHY, rows, self._missing_elements if elements.items else self._none_left)
        references = assets.reference_rows(elements.items, rows, self._database)
        # With a filter, parents are left out: which references are gone is not known then.
        if references is not None and not self._is_filtered:
            whole = elements.proven and not elements.unreadable
            await self._mirror(_REFERENCES, references, _all_gone if whole else _none_gone)
        return rows, gone

    # --- attributes --------------------------------------------------------------------

    async def _keep_attributes(self, hierarchy: pa.Table, gone_elements: Collection[str]) -> None:
        elements: list[str] = hierarchy["element_webid"].to_pylist()
        paths = map(str.casefold, hierarchy["element_path"].to_pylist())
        element_of = dict(zip(paths, elements, strict=True))
        rows = AttributeRows(_ATTRIBUTES.collect(), element_of, self._database)
        keyed = _ATTRIBUTES.keyed()
        blocking, table = self._context.blocking, self._context.lakehouse.table(_ATTRIBUTES.spec)
        async with Beside(_PAGES_BESIDE) as beside:
            # What is stored is read while the first pages come.
            await beside.start(lambda _: blocking(lambda: keyed.look(table.open()) if table.exists() else None))

            async def take(items: Sequence[Item], reasons: Sequence[str]) -> None:
                self._note_unreadable("attributes", reasons)
                rows.note(items)
                wanted = [one for one in items if self._is_wanted(one, element_of)]
                await beside.start(partial(self._add_attributes, rows, wanted))

            one_by_one = partial(self._attributes_below, "elements", elements)
            if self._hidden:
                await one_by_one(take)
            else:
                filters = ("elementTemplate", "elementCategory")
                await self._in_bulk(self._attributes_path, filters, "attributes", take, one_by_one)
            if self._root:  # some servers leave out those of the element itself
                await self._attributes_below("elements", [self._top[1]], take)
            # On some servers the list of all holds only the top ones.
            while unshown := rows.unshown():
                await self._attributes_below("attributes", unshown, take)
        await blocking(rows.close)
        look_for = partial(self._missing_attributes, keyed, gone_elements, element_of)
        await self._mirror(_ATTRIBUTES, rows.seen, look_for, keyed)

    async def _add_attributes(self, rows: AttributeRows, items: Sequence[Item], turn: Turn) -> None:
        """Ask for values while the next page comes, and add the rows in the order of the pages."""
        values = await self._values(items)
        await turn()
        await self._context.blocking(partial(rows.take, items, values))

    def _attributes_path(self, filters: Mapping[str, str]) -> PathOf:
        return _pages(
            *(*self._top, "elementattributes", ATTRIBUTE_FIELDS),
            searchFullHierarchy="true",
            associations="DataReference",
            **filters,
        )

    async def _attributes_below(self, room: str, web_ids: Sequence[str], take: _Take) -> None:
        """Take the attributes of elements, or below attributes, each in a list of its own."""
        shown = {"showHidden": "true", "showExcluded": "true"} if self._hidden else {}
        for first in range(0, len(web_ids), _OWNERS_AT_ONCE):
            lists = [
                _pages(
                    *(room, web_id, "attributes", ATTRIBUTE_FIELDS),
                    searchFullHierarchy="true",
                    associations="DataReference",
                    **shown,
                )
                for web_id in web_ids[first : first + _OWNERS_AT_ONCE]
            ]
            what = f"listing the attributes of {self._database.name}"
            reads = [read for read in await self._reader.lists(lists, what, each=True) if read]
            await take(
                [one for read in reads for one in read.items], [why for read in reads for why in read.unreadable]
            )

    def _is_wanted(self, one: Item, element_of: Mapping[str, str]) -> bool:
        of, _, names = str(one.get("Path")).partition("|")
        if self._root and of.casefold() not in element_of:
            return False
        top = names.partition("|")[0]
        return assets.name_matches(self._patterns, top) or assets.name_matches(self._patterns, names)

    async def _values(self, items: Sequence[Item]) -> dict[str, Any]:
        """By WebID, the values of attributes that have one of their own."""
        own = [one["WebId"] for one in items if not one.get("DataReferencePlugIn")]
        groups = [own[first : first + _VALUES_PER_REQUEST] for first in range(0, len(own), _VALUES_PER_REQUEST)]
        return await self._values_of(groups)

    async def _values_of(self, groups: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Raises what the server says where it gives no group of several its values, and gave none before."""
        values: dict[str, Any] = {}
        again: list[Sequence[str]] = []
        what = f"asking for values of attributes of {self._database.name}"
        answers = await self._reader.many([assets.values_path(group) for group in groups], what)
        for group, answer in zip(groups, answers, strict=True):
            error = error_for(answer, what, tags=len(group))
            if error is None:
                values.update(assets.decode_values(answer.body))
                self._gives_values = True
            elif isinstance(error, ConfigurationError) or (
                len(groups) > _LEAST_GROUPS and not self._gives_values and group is groups[-1]
            ):
                raise error
            elif len(group) > 1:  # one of them may spoil the answer for the others
                again += [group[: len(group) // 2], group[len(group) // 2 :]]
            else:
                values[group[0]] = {"Value": {"Errors": [error.message]}, "Good": False}
        return values | (await self._values_of(again) if again else {})

    # --- the rest ----------------------------------------------------------------------

    async def keep_templates(self) -> None:
        listed = await self._read_list("elementtemplates", _TEMPLATE_FIELDS)
        rows = assets.template_rows(listed.items, self._database)
        found, whole = await self._lists_of(
            *("elementtemplates", listed.items, "attributetemplates", _TEMPLATE_ATTRIBUTE_FIELDS),
            showInherited="true",
            showDescendants="true",
        )
        await self._mirror(_TEMPLATES, rows, _gone_if(listed.proven))
        rows = assets.template_attribute_rows(found, self._database)
        await self._mirror(_TEMPLATE_ATTRIBUTES, rows, _gone_if(listed.proven and whole))

    async def keep_enumerations(self) -> None:
        listed = await self._read_list("enumerationsets", _NAMED)
        fields = ("WebId", "Name", "Description", "Value")
        found, whole = await self._lists_of("enumerationsets", listed.items, "enumerationvalues", fields)
        rows = assets.enumeration_rows(found, self._database)
        await self._mirror(_ENUMERATIONS, rows, _gone_if(listed.proven and whole))

    async def keep_categories(self) -> None:
        found: list[tuple[str, Item]] = []
        whole = True
        for what in ("element", "attribute"):
            listed = await self._read_list(f"{what}categories", ("WebId", "Name", "Description"))
            found += [(what, one) for one in listed.items]
            whole = whole and listed.proven
        await self._mirror(_CATEGORIES, assets.category_rows(found, self._database), _gone_if(whole))

    async def keep_units(self) -> None:
        name = _server_of(self._database)
        server = await self._reader.item(
            assets.at_path("assetservers", f"\\\\{name}", ("WebId", "Name")), f"looking for the AF server {name}"
        )
        classes = await self._reader.all(
            _pages("assetservers", str(server.get("WebId")), "unitclasses", _NAMED, sort_by=""),
            f"listing the classes of units of {name}",
        )
        fields = ("WebId", "Name", "Abbreviation", "Factor", "Offset", "ReferenceUnitAbbreviation")
        found, whole = await self._lists_of("unitclasses", classes.items, "units", fields)
        rows = assets.unit_rows([(one.name, units) for one, units in found], name)
        await self._mirror(_UNITS, rows, _gone_if(classes.proven and whole))

    async def _read_list(self, what: str, fields: Sequence[str]) -> ListRead:
        """A list right below the database."""
        read = await self._reader.all(
            _pages("assetdatabases", self._database.web_id, what, fields, sort_by=""),
            f"listing the {what} of {self._database.name}",
        )
        self._note_unreadable(what, read.unreadable)
        return ListRead(read.items, proven=read.proven and not read.unreadable)

    async def _lists_of(
        self, room: str, of: Sequence[Item], what: str, fields: Sequence[str], **parameters: str
    ) -> tuple[list[tuple[Named, Sequence[Item]]], bool]:
        """A list of each of these things, and whether they are whole."""
        lists = [_pages(room, one["WebId"], what, fields, sort_by="", **parameters) for one in of]
        reads = await self._reader.lists(lists, f"listing the {what} of {self._database.name}")
        found = [(assets.as_named(one), read) for one, read in zip(of, reads, strict=True) if read is not None]
        for _, read in found:
            self._note_unreadable(what, read.unreadable)
        whole = all(read.proven and not read.unreadable for _, read in found)
        return [(one, read.items) for one, read in found], whole

    # --- tables ------------------------------------------------------------------------

    async def _mirror(
        self, mirror: Mirror, rows: pa.Table | SeenRows, look_for: _LookFor, keyed: KeyedTable | None = None
    ) -> set[str]:
        """Write what differs. Gives the first columns of the keys of what is gone."""
        context = self._context
        keyed = keyed or mirror.keyed()
        receipt = await context.blocking(partial(self._write, mirror, rows, (), keyed))
        self.result.add(receipt)
        self._names.earlier.update(_earlier_names(receipt))
        if not self._is_tree:
            await self._names.known.wait()
        unseen = _unseen(receipt, mirror, rows, self._database, self._names.earlier)
        if not unseen.num_rows:
            return set()
        gone, still, undecided = await look_for(unseen)
        if gone or still.num_rows:
            if isinstance(rows, SeenRows):
                rows.add(still)
            elif still.num_rows:
                rows = pa.concat_tables([rows, still.cast(rows.schema)])
            self.result.add(await context.blocking(partial(self._write, mirror, rows, gone, keyed)))
        if undecided:
            await context.blocking(partial(context.on_undecided, mirror, undecided))
        return gone

    def _write(
        self, mirror: Mirror, rows: pa.Table | SeenRows, gone: Collection[str], keyed: KeyedTable
    ) -> SyncReceipt:
        context = self._context
        listing = Listing(rows, context.inventory.server_now, gone=gone)
        return context.sync_mirror(context.lakehouse, mirror, listing, on_step=context.on_step, keyed=keyed)

    async def _missing_elements(self, unseen: pa.Table) -> _Missing:
        gone, still, undecided = await self._look_up("elements", ELEMENT_FIELDS, unseen)
        # Elements that exist, but that the configuration leaves out, are not brought in by this.
        return gone, assets.element_rows([] if self._is_filtered else still, self._database), undecided

    async def _none_left(self, unseen: pa.Table) -> _Missing:
        """An empty tree looks like one that the account may not see any more."""
        if not self._is_filtered:
            raise UnavailableError(
                f"the server shows none of {unseen.num_rows:,} elements of {self._database.name}: may the account read them?"
            )
        return await self._missing_elements(unseen)

    async def _missing_attributes(
        self, keyed: KeyedTable, gone_elements: Collection[str], element_of: Mapping[str, str], unseen: pa.Table
    ) -> _Missing:
        """Attributes of elements that are gone need not be asked for."""
        gone: set[str] = set()
        if gone_elements:
            gone = await self._context.blocking(partial(self._attributes_of, keyed, gone_elements, unseen))
        of_gone = pc.is_in(unseen["attribute_webid"], value_set=pa.array(list(gone), pa.string()))
        left = unseen.filter(pc.invert(of_gone))
        more, still, undecided = await self._look_up("attributes", ATTRIBUTE_FIELDS, left)
        rows = assets.attribute_rows(still, await self._values(still), element_of, self._database)
        return gone | more, rows, undecided

    def _attributes_of(self, keyed: KeyedTable, elements: Collection[str], unseen: pa.Table) -> set[str]:
        """WebIDs of the attributes among these that are of one of the elements, as the table has them."""
        table = self._context.lakehouse.table(_ATTRIBUTES.spec).open()
        rows = keyed.rows_with(table, "attribute_webid", unseen["attribute_webid"])
        found = pc.is_in(rows["element_webid"], value_set=pa.array(list(elements), pa.string()))
        return set(rows.filter(found)["attribute_webid"].to_pylist())

    async def _look_up(
        self, room: str, fields: Sequence[str], unseen: pa.Table
    ) -> tuple[set[str], list[Item], set[str]]:
        """Ask for things that a list did not show, each alone: those that are gone, those that are there, and WebIDs of
        those that may be either.
        """
        most = _MOST_LOOKED_UP if self._reader.takes_batches else _MOST_LOOKED_UP_SINGLE
        web_ids: list[str] = unseen.column(0).to_pylist()
        undecided = set(web_ids)
        # Begin elsewhere each hour, so that those that can never be asked for do not block the others.
        first = self._context.inventory.server_now // _HOUR * most % len(web_ids) if len(web_ids) > most else 0
        web_ids = (web_ids[first:] + web_ids[:first])[:most]
        more = {"associations": "DataReference"} if room == "attributes" else {}
        answers = await self._reader.many(
            [object_path(room, one, fields, **more) for one in web_ids], f"looking for missing {room}"
        )
        gone: set[str] = set()
        still: list[Item] = []
        for web_id, answer in zip(web_ids, answers, strict=True):
            error = error_for(answer, f"looking for one of the missing {room}", tags=1)
            if isinstance(error, TagGoneError):
                gone.add(web_id)
            elif error is None:
                with suppress(UnavailableError):  # what cannot be read is there
                    item = assets.decode_item(answer.body)
                    if item.get("WebId") == web_id:
                        still.append(item)
        return gone, still, undecided - gone - {one["WebId"] for one in still}

    def _note_unreadable(self, what: str, reasons: Sequence[str]) -> None:
        self.result.unread += [(f"{what} of {self._database.name}", why) for why in reasons]


def _pages(room: str, web_id: str, what: str, fields: Sequence[str], *, sort_by: str = "ID", **more: str) -> PathOf:
    """The pages of a list. Sorted by ID where the list can be: several things may have the same name."""
    parameters = MappingProxyType({**more, "sortField": sort_by})
    return lambda start, count: list_path(room, web_id, what, fields, start=start, count=count, parameters=parameters)


def _server_of(database: Named) -> str:
    return database.path.removeprefix("\\\\").partition("\\")[0]


async def _all_gone(unseen: pa.Table) -> _Missing:
    """What a whole list does not show is gone."""
    return set(unseen.column(0).to_pylist()), unseen.slice(0, 0), set()


async def _none_gone(unseen: pa.Table) -> _Missing:
    """What a list that may not be whole does not show may exist."""
    return set(), unseen.slice(0, 0), set(unseen.column(0).to_pylist())


def _gone_if(is_whole: bool) -> _LookFor:
    return _all_gone if is_whole else _none_gone


def _unseen(
    receipt: SyncReceipt, mirror: Mirror, rows: pa.Table | SeenRows, database: Named, earlier: Collection[str]
) -> pa.Table:
    """Rows of a database that were not seen, and are not marked as deleted."""
    unseen = receipt.unseen
    if unseen is None or not unseen.num_rows:
        return mirror.spec.schema.empty_table()
    by_database = "database" in unseen.schema.names
    of, names = ("database", (database.name, *earlier)) if by_database else ("asset_server", (_server_of(database),))
    unseen = unseen.filter(pc.is_in(unseen[of], value_set=pa.array(names)))
    key = mirror.spec.grain.key[0]
    # Databases of two servers may have one name. A WebID holds the GUID of the server, in that of a database after I1RD.
    server = database.web_id[4:26]
    shown = rows.rows if isinstance(rows, SeenRows) else rows
    if pc.all(pc.match_substring(shown[key], server)).as_py():
        unseen = unseen.filter(pc.match_substring(unseen[key], server))
    return unseen


def _earlier_names(receipt: SyncReceipt) -> list[str]:
    """Names that the database had before it was renamed: those of rows that were seen in it now."""
    before = receipt.before
    if before is None or not before.num_rows or "database" not in before.schema.names:
        return []
    found: list[str] = pc.unique(before["database"].filter(receipt.was_seen)).to_pylist()
    return found


def _mirror_of(spec: TableSpec, things: str, *named_by: str) -> Mirror:
    return Mirror(spec, things=things, kept=("database",), named_by=named_by)


_HIERARCHY = _mirror_of(PI_ASSET_HIERARCHY, "elements", "element_path")
_REFERENCES = _mirror_of(PI_ASSET_REFERENCES, "references", "reference_path")
_ATTRIBUTES = _mirror_of(PI_ASSET_ATTRIBUTES, "attributes", "attribute_path")
_TEMPLATES = _mirror_of(PI_ASSET_TEMPLATES, "templates", "template_name")
_TEMPLATE_ATTRIBUTES = _mirror_of(PI_ASSET_TEMPLATE_ATTRIBUTES, "template_attributes", "attribute_name")
_ENUMERATIONS = _mirror_of(PI_ENUMERATION_VALUES, "enumeration_values", "set_name", "value_name")
_CATEGORIES = _mirror_of(PI_ASSET_CATEGORIES, "categories", "category_name")
_UNITS = Mirror(PI_UNITS_OF_MEASURE, things="units", kept=("asset_server",), named_by=("unit_class", "unit_name"))

ASSETS = SyncedDataset(
    name="assets",
    tables=ASSET_TABLES,
    sync=_sync,
    beside_values=True,
    must_be_whole=True,
    is_wanted=lambda config: config.asset_framework.enabled,
    wanted_by="asset_framework.enabled",
    interval_of=lambda config: config.asset_framework.interval,
)
