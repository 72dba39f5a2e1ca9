"""Attributes of elements that are chosen by what they are, to be read like tags: by `asset_framework.values`, and by the
queries of `extraction.af_query`.

Attributes come in lists of thousands. Invariant: a list that cannot be read, or may not be whole, is a failure with its
name and reason, and costs no other list and no tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType

from config import AssetFrameworkConfig, AttributeValuesConfig, ExtractionConfig
from config.errors import ConfigurationError, TagGoneError

from ..net.client import PIClient
from ..piweb.assets import Named, at_path, decode_list, list_path, name_matches, path_above
from ..piweb.attribute_tags import AttributeTags, as_tags, names_below_element
from ..piweb.members import Item, has_web_id, text, texts
from ..piweb.paging import PageLinks
from ..piweb.problems import error_for
from ..piweb.requests import ATTRIBUTE_FIELDS
from .asset_reader import SOURCE_ERRORS, AssetReader, PathOf, find_databases
from .request_mode import Mode, choose_mode

_FIELDS = (*ATTRIBUTE_FIELDS, "CategoryNames", "HasChildren", "Errors", "WebException")
_KEY = "asset_framework.values"
# Most attributes have few attributes below them: one page holds them all.
_PAGE_BELOW = 1000


@dataclass(slots=True)
class ChosenAttributes:
    """Attributes that are chosen. `failures`: lists and items that could not be read, with the reason; `complete`: it is
    known that these are all. `warnings` are for the report.
    """

    tags: AttributeTags = field(default_factory=lambda: as_tags(()))
    failures: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    warnings: list[str] = field(default_factory=list)


async def choose_attributes(
    client: PIClient, base_url: str, extraction: ExtractionConfig, settings: AssetFrameworkConfig
) -> ChosenAttributes:
    """Find what the configuration chooses.

    Raises `ConfigurationError` where it is not clear which AF database is meant, and what a login or a lost server raises.
    """
    if not settings.values.enabled and not extraction.af_query:
        return ChosenAttributes()
    return await _Choice(client, base_url, extraction, settings).made()


class _Choice:
    """Reads the lists of one choice."""

    def __init__(
        self, client: PIClient, base_url: str, extraction: ExtractionConfig, settings: AssetFrameworkConfig
    ) -> None:
        self._client, self._base_url = client, base_url
        self._extraction, self._settings = extraction, settings
        self._reader = AssetReader(client, base_url, Mode.SINGLE, batch_size=extraction.batch_size)
        self._chosen = ChosenAttributes()
        self._found: dict[str, Item] = {}

    async def made(self) -> ChosenAttributes:
        for database in await self._databases():
            if self._settings.values.enabled:
                await self._by_what_they_are(database)
            for query in self._extraction.af_query:
                parameters = {"databaseWebId": database.web_id, "query": query}
                name = f"extraction.af_query {query!r} in {database.name}"
                listed = await self._list(name, _pages("attributes/search", "", "", parameters))
                # Others have no history.
                self._add(name, {one["WebId"]: one for one in listed if text(one, "DataReferencePlugIn")})
        self._chosen.tags = as_tags(tuple(self._found.values()))
        return self._chosen

    async def _databases(self) -> list[Named]:
        settings = self._settings
        wanted = [*settings.databases, *([settings.database] if settings.database else [])]
        found: dict[str, Named] = {}
        for text_ in wanted or [""]:
            try:
                found.update((one.web_id, one) for one in await find_databases(self._reader, [text_] if text_ else []))
            except SOURCE_ERRORS as error:
                if isinstance(error, ConfigurationError):
                    raise
                self._failed(f"AF database {text_}".strip(), error.message)
        return list(found.values())

    async def _by_what_they_are(self, database: Named) -> None:
        """The attributes that `asset_framework.values` chooses of a database."""
        room, web_id = "assetdatabases", database.web_id
        if self._settings.root:
            root = self._settings.root
            path = root if root.startswith("\\\\") else f"{database.path}\\{root}"
            try:
                element = await self._reader.item(
                    at_path("elements", path, ("WebId",)), f"looking for the element {path}"
                )
            except SOURCE_ERRORS as error:
                return self._failed(f"asset_framework.root {root}", error.message)
            if not has_web_id(element):
                return self._failed(f"asset_framework.root {root}", "the answer has no WebID")
            room, web_id = "elements", element["WebId"]
        found: dict[str, Item] = {}
        for filters in _filters(self._settings):
            name = " ".join(
                [_KEY, *(f"{_WORDS[key]} {value!r}" for key, value in filters.items()), "in", database.name]
            )
            pages = _pages(room, web_id, "elementattributes", {**filters, "searchFullHierarchy": "true"})
            found.update((one["WebId"], one) for one in await self._list(name, pages))
        if room == "elements":  # some servers leave out those of the element itself
            await self._add_own(web_id, found)
        await self._add_nested(found, database)
        name = f"{_KEY} in {database.name}"
        self._add(name, {key: one for key, one in found.items() if is_chosen(one, self._settings)})
        return None

    def _add(self, name: str, chosen: Mapping[str, Item]) -> None:
        self._found |= chosen
        if not chosen and self._chosen.complete:
            self._chosen.warnings.append(f"{name}: no attribute that we may see is chosen")

    async def _list(self, name: str, pages: PathOf) -> Sequence[Item]:
        try:
            read = await self._reader.all(pages, f"listing the attributes of {name}")
        except SOURCE_ERRORS as error:
            self._failed(name, error.message)
            return ()
        self._note(name, read.unreadable, proven=read.proven)
        return read.items

    async def _add_own(self, web_id: str, found: dict[str, Item]) -> None:
        """Add the attributes of the element `root`, where it is chosen itself and the list of all left them out."""
        if any(key.startswith("element") for filters in _filters(self._settings) for key in filters):
            return  # only the server knows whether the element is of a template, or of one derived from it
        pages = _pages("elements", web_id, "attributes", {})
        for one in await self._list(f"asset_framework.root {self._settings.root}", pages):
            found.setdefault(one["WebId"], one)

    async def _add_nested(self, found: dict[str, Item], database: Named) -> None:
        """Add attributes below attributes: a list by name holds none of them, and on some servers no list does."""
        asked: set[str] = set()
        by_name = any("attributeNameFilter" in filters for filters in _filters(self._settings))
        while waiting := _with_children(found, asked, by_name=by_name):
            name = f"{_KEY}: attributes below attributes in {database.name}"
            try:
                if not asked and self._base_url:
                    mode = await choose_mode(self._client, self._base_url, self._extraction.request_mode)
                    size = self._extraction.batch_size
                    self._reader = AssetReader(self._client, self._base_url, mode, batch_size=size)
                asked.update(waiting)
                await self._add_below(found, waiting, name)
            except SOURCE_ERRORS as error:
                return self._failed(name, error.message)
        return None

    async def _add_below(self, found: dict[str, Item], above: Sequence[str], name: str) -> None:
        """Add what lies below some attributes. One whose list is refused costs no other one."""
        lists = [_pages("attributes", one, "attributes", {"searchFullHierarchy": "true"}) for one in above]
        answers = await self._reader.many([pages(0, _PAGE_BELOW) for pages in lists], f"listing the {name}")
        for web_id, pages, answer in zip(above, lists, answers, strict=True):
            of = f"{_KEY}: attributes below {text(found[web_id], 'Path') or web_id}"
            error = error_for(answer, f"listing the {of}", tags=1)
            if isinstance(error, TagGoneError):
                continue
            if error is not None:
                self._failed(of, error.message)
                continue
            page = decode_list(answer.body)
            items: Sequence[Item] = page.items
            if page.links is PageLinks.NEXT or page.count >= _PAGE_BELOW:
                items = await self._list(of, pages)
            else:
                self._note(of, page.unreadable, proven=True)
            for one in items:
                found.setdefault(one["WebId"], one)

    def _failed(self, name: str, why: str) -> None:
        self._chosen.failures[name] = why
        self._chosen.complete = False

    def _note(self, name: str, unreadable: Sequence[str], *, proven: bool) -> None:
        for number, why in enumerate(unreadable, 1):
            self._failed(
                name if len(unreadable) == 1 else f"{name}, {number:,}",
                f"the list has an item that is no attribute: {why}",
            )
        self._chosen.complete = self._chosen.complete and proven


_WORDS = {"elementTemplate": "template", "elementCategory": "category", "attributeNameFilter": "attribute"}


def _filters(settings: AssetFrameworkConfig) -> Iterator[Mapping[str, str]]:
    """What the server is asked to leave out: one list for each combination of a template, a category and a name."""
    values = settings.values
    names = {_top_filter(one) for one in values.attributes or settings.attributes}
    for chosen in product(
        values.templates or settings.templates or ("",),
        values.categories or settings.categories or ("",),
        ("",) if "*" in names else sorted(names) or ("",),
    ):
        yield {key: value for key, value in zip(_WORDS, chosen, strict=True) if value}


def _top_filter(pattern: str) -> str:
    """A pattern that the top one of the attributes in each name fits which `pattern` fits. A `*` stands for a `|`, too."""
    for place, char in enumerate(pattern):
        if char == "|":
            return pattern[:place]
        if char in "*?":
            return pattern[:place] + "*"
    return pattern


def is_chosen(one: Item, settings: AssetFrameworkConfig) -> bool:
    """Whether an attribute of the lists fits what no list is asked by: full name, data reference, own category. Pure."""
    values: AttributeValuesConfig = settings.values
    names = names_below_element(one)
    patterns = values.attributes or settings.attributes
    reference = text(one, "DataReferencePlugIn") or ""
    of = {name.casefold() for name in texts(one, "CategoryNames")}
    return (
        reference != ""
        and name_matches(values.data_references, reference)
        and (name_matches(patterns, names) or name_matches(patterns, names.partition("|")[0]))
        and (not values.attribute_categories or any(name.casefold() in of for name in values.attribute_categories))
    )


def _with_children(found: Mapping[str, Item], asked: set[str], *, by_name: bool) -> list[str]:
    """Attributes whose own attributes are to be asked for. A list by name is no list of all that lies below one."""
    seen = set() if by_name else {path_above(one) for one in found.values()}
    return [
        web_id
        for web_id, one in found.items()
        if one.get("HasChildren") is True
        and web_id not in asked
        and text(one, "Path") not in seen
        and (not by_name or "|" not in names_below_element(one))
    ]


def _pages(room: str, web_id: str, what: str, parameters: Mapping[str, str]) -> PathOf:
    """The pages of a list, sorted by ID where it can be: several things may have the same name."""
    more = parameters if room == "attributes/search" else {**parameters, "sortField": "ID"}
    frozen = MappingProxyType(dict(more))
    return lambda start, count: list_path(room, web_id, what, _FIELDS, start=start, count=count, parameters=frozen)
