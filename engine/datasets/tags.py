"""The tags of a run: resolves WebIDs, paths, names and patterns of the configuration to PI points with WebIDs.

Invariant: each configured name leads to a tag, or is unresolved with the reason. A tag that is named twice is read once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config import AssetFrameworkConfig, Config, ExtractionConfig
from config.errors import ConfigurationError, TagError

from ..clock import wall_micros
from ..model import Micros, Tag
from ..net.client import PIClient
from ..piweb import points, requests
from ..piweb.attribute_tags import ATTRIBUTE, decode_attributes
from ..piweb.clocks import Clocks, SourceTime, source_time
from ..piweb.http import Request, Response
from ..piweb.limits import kind_of_request
from ..piweb.paging import Paging, PagingFacts
from ..piweb.points import TAGS_SCHEMA, Points
from ..piweb.states import SYSTEM
from ..piweb.times import parse_http_date, parse_micros
from ..piweb.webid import TagText, kind_of, parse_tag, tag_path
from ..piweb.wire import DataServer
from ..plan.shards import Shard
from .attribute_choice import choose_attributes
from .halving import ask, ask_by_halves, one_request
from .paged_lists import PAGES_AT_ONCE, each_page

_log = logging.getLogger("osipi.tags")
_WILD = frozenset("*?")
# After so many lookups in a row that are refused, it is not for the tags that they name.
_ALL_REFUSED = 20
# The report names so many attributes that show a tag which is read.
_TWICE_NAMED = 5


@dataclass(frozen=True, slots=True)
class WantedSets:
    """Digital sets of one data server, by name: those that its tags use, and SYSTEM, which any tag may use."""

    server: str
    web_id: str  # empty where the PI Web API does not list the server
    names: frozenset[str]

    @property
    def used(self) -> frozenset[str]:
        """The sets that tags use, without SYSTEM."""
        return self.names - {SYSTEM}

    def without(self, known: Iterable[tuple[str, str]]) -> WantedSets:
        """The sets without the known ones, given as (server, set)."""
        there = {name.casefold() for server, name in known if server == self.server}
        return replace(self, names=frozenset(name for name in self.names if name.casefold() not in there))


@dataclass(frozen=True, slots=True)
class Inventory:
    """The tags of a run.

    `rows` are pi_tags rows in the order of `tags`; `unresolved` what was named and not found, with
    the reason; `complete` whether that is known to be all that is selected, so that a tag that is missing may be gone;
    `server_now` the source's clock; `sets` the digital sets that are used, by tags of any shard; `server` the data
    server of names and patterns; `warnings` what is wrong and keeps no tag from being read.
    """

    tags: tuple[Tag, ...]
    rows: pa.Table
    unresolved: tuple[tuple[str, str], ...]
    complete: bool
    server_now: Micros
    sets: tuple[WantedSets, ...] = ()
    server: str | None = None
    warnings: tuple[str, ...] = ()
    servers: tuple[DataServer, ...] = ()  # data servers that the PI Web API lists
    all_servers: bool = True  # whether each item of that list could be read

    @property
    def attributes(self) -> int:
        """How many of the tags are attributes of elements."""
        if "point_class" not in self.rows.schema.names:
            return 0
        return pc.sum(pc.equal(self.rows["point_class"], ATTRIBUTE)).as_py() or 0

    def require_tags(self) -> Inventory:
        """The same inventory. Raises `ConfigurationError` if it is empty: an account without permission sees no points,
        and gets no error.
        """
        if self.tags or self.unresolved:
            return self
        raise ConfigurationError(
            "the configuration selects no tag at all",
            hint="Look at extraction.tags and tag_name_filter, at asset_framework.values and af_query, and whether this "
            "account may see the points and attributes.",
        )

    def with_unlisted(self, known: Inventory, left_out: Collection[str]) -> Inventory:
        """These tags, and `known` ones that are missing in the list and not deleted: those `left_out`, or all if the list
        may be incomplete.
        """
        listed = {tag.web_id for tag in self.tags}
        kept = [tag.web_id not in listed and (tag.web_id in left_out or not self.complete) for tag in known.tags]
        if not any(kept):
            return self
        return replace(
            self,
            tags=(*self.tags, *(tag for tag, still in zip(known.tags, kept, strict=True) if still)),
            rows=pa.concat_tables([self.rows, known.rows.filter(pa.array(kept, pa.bool_()))]),
        )

    def of_shard(self, shard: Shard) -> Inventory:
        """The tags of one shard."""
        if shard.count == 1:
            return self
        mine = [shard.owns(tag.web_id) for tag in self.tags]
        return replace(
            self,
            tags=tuple(tag for tag, own in zip(self.tags, mine, strict=True) if own),
            rows=self.rows.filter(pa.array(mine, pa.bool_())),
            unresolved=tuple((name, why) for name, why in self.unresolved if shard.owns(name)),
        )


async def selected_tags(
    client: PIClient, base_url: str, config: Config, *, on_answer: Callable[[], None] = lambda: None
) -> Inventory:
    """Resolve everything that a configuration selects, as `find_tags` does. Raises what that raises."""
    return await find_tags(client, config.extraction, config.asset_framework, base_url=base_url, on_answer=on_answer)


async def find_tags(
    client: PIClient,
    extraction: ExtractionConfig,
    assets: AssetFrameworkConfig | None = None,
    *,
    base_url: str = "",
    on_answer: Callable[[], None] = lambda: None,
) -> Inventory:
    """Resolve everything `extraction` selects, and the attributes that `assets` chooses as tags.

    `on_answer` is called once the source has let us in, and has the data server that is configured.
    Raises `ConfigurationError` for a data server that does not exist or must be named, and what the
    client raises. A single tag that cannot be resolved is no error here.
    """
    (servers, all_servers), headers = await _list_servers(client, "listing the data servers")
    server = _choose_server(servers, extraction)
    on_answer()
    found: list[Points] = []
    named = _split_by_kind(extraction.tags, server)
    failures = named.failures
    room = partial(client.limits.max_url_chars, kind_of_request(Request("GET", requests.MULTIPLE)))
    found += await _find_points(client, partial(requests.points_by_web_id, max_chars=room), named.web_ids)
    found += await _find_points(client, partial(requests.points_by_path, max_chars=room), named.paths)
    now = _now(server, headers, extraction)
    facts, complete = PagingFacts(), True
    for pattern in extraction.tag_name_filter:
        pages, whole = await _list_points(client, _required_server(server, servers), pattern, facts)
        found += pages
        complete &= whole
        if any(page.count for page in pages):
            continue
        if _WILD.isdisjoint(pattern):
            failures[pattern] = "no point that we may see has this name"
        else:
            _log.warning("extraction.tag_name_filter: no point that we may see matches %r", pattern)
    attributes, shown_points = await _find_attributes(client, named)
    chosen = await choose_attributes(client, base_url, extraction, assets or AssetFrameworkConfig())
    attributes.append(chosen.tags.found)
    twice = _read_twice(attributes, shown_points | dict(chosen.tags.points), found)
    tags, rows = _merge([*found, *(_without(piece, twice) for piece in attributes)])
    failures |= {name: why for piece in attributes for name, why in piece.failures} | chosen.failures
    points_only = rows.filter(pc.not_equal(pc.fill_null(rows["point_class"], ""), ATTRIBUTE))
    return Inventory(
        tags,
        rows,
        tuple({**failures, **{name: why for piece in found for name, why in piece.failures}}.items()),
        complete=complete and chosen.complete,
        server_now=now.at,
        sets=sets_wanted(points_only, {each.Name: each.WebId for each in servers}),
        server=server.Name if server else None,
        warnings=(*((now.warning,) if now.warning else ()), *chosen.warnings, *_words_of(twice)),
        servers=servers,
        all_servers=all_servers,
    )


async def ask_time(client: PIClient, extraction: ExtractionConfig) -> Micros:
    """The time of the source's clock, by the smallest request that tells it. Raises like `find_tags`."""
    (servers, _), headers = await _list_servers(client, "asking for the time")
    return _now(_choose_server(servers, extraction), headers, extraction).at


async def _list_servers(client: PIClient, what: str) -> tuple[tuple[tuple[DataServer, ...], bool], Mapping[str, str]]:
    """The data servers, whether that is all of them, and the headers of the answer."""

    def decode(answer: Response) -> tuple[tuple[tuple[DataServer, ...], bool], Mapping[str, str]]:
        return points.listed_servers(answer.body), answer.headers

    return await ask(client, requests.data_servers(), what, decode)


async def _find_points(
    client: PIClient,
    requests_for: Callable[[Sequence[str]], Iterable[tuple[Request, Sequence[str]]]],
    texts: Sequence[str],
    decode: Callable[[bytes, Sequence[str]], Points] = points.decode_multiple,
) -> list[Points]:
    """The points that these texts name. A request is halved if a proxy takes shorter URLs than PI does, and if a server
    refuses all of it for one tag.
    """
    found: list[Points] = []
    refused: list[TagError] = []

    async def look_up(some: Sequence[str]) -> Points:
        request, asked = one_request(requests_for(some))
        what = f"looking up {len(asked)} tags"
        try:
            answer = await ask(client, request, what, lambda answer: decode(answer.body, asked), tags=len(asked))
        except TagError as error:
            refused.append(error)
            if len(refused) >= _ALL_REFUSED:
                raise ConfigurationError(error.message, hint=error.hint) from error
            return points.points_of([{"Identifier": asked[0], "Exception": {"Errors": [error.message]}}], asked)
        refused.clear()
        return answer

    for _, asked in requests_for(texts):
        found += await ask_by_halves(asked, look_up)
    return found


async def _find_attributes(client: PIClient, named: _Named) -> tuple[list[Points], dict[str, str]]:
    """The attributes that are named, as points; and by WebID the PI points that they show."""
    shown: dict[str, str] = {}

    def decode(body: bytes, asked: Sequence[str]) -> Points:
        answer = decode_attributes(body, asked)
        shown.update(answer.points)
        return answer.found

    room = partial(client.limits.max_url_chars, kind_of_request(Request("GET", requests.ATTRIBUTES_MULTIPLE)))
    by_web_id = partial(requests.attributes_by_web_id, max_chars=room)
    by_path = partial(requests.attributes_by_path, max_chars=room)
    found = await _find_points(client, by_web_id, named.attribute_web_ids, decode)
    return found + await _find_points(client, by_path, named.attribute_paths, decode), shown


def _read_twice(
    attributes: Sequence[Points], shown_points: Mapping[str, str], found: Sequence[Points]
) -> dict[str, str]:
    """By WebID, attributes that show a point which is read itself, as `Feed shows the tag U1.Flow`."""
    if not shown_points:
        return {}
    names = {tag.web_id: tag.name for piece in found for tag in piece.tags}
    return {
        tag.web_id: f"{tag.name} shows the tag {names[point]}"
        for piece in attributes
        for tag in piece.tags
        if (point := shown_points.get(tag.web_id, "")) in names
    }


def _words_of(twice: Mapping[str, str]) -> Iterable[str]:
    """What the report says of attributes that show points which are read."""
    if len(twice) <= _TWICE_NAMED:
        return [f"{one}, which is read: it is not read twice" for one in twice.values()]
    some = "; ".join(list(twice.values())[:_TWICE_NAMED])
    return [f"{len(twice):,} attributes show tags that are read, and are not read twice: {some}; ..."]


def _without(piece: Points, web_ids: Collection[str]) -> Points:
    kept = [tag.web_id not in web_ids for tag in piece.tags]
    tags = tuple(tag for tag, stays in zip(piece.tags, kept, strict=True) if stays)
    return piece if all(kept) else replace(piece, tags=tags, rows=piece.rows.filter(pa.array(kept, pa.bool_())))


async def _list_points(
    client: PIClient, server: DataServer, pattern: str, facts: PagingFacts
) -> tuple[list[Points], bool]:
    """All pages of the points that match a pattern; and whether that is known to be the whole list.

    A point that the server cannot give is a failure, by its number in the list and the point before it.
    A point created or deleted meanwhile shifts the pages; the next run sees what this one missed.
    Raises `UnavailableError` for a server that begins anew instead of going on: there may be more.
    """
    what = f"listing the points {pattern!r}"
    pages: list[Points] = []

    async def ask_page(start: int, size: int, patient: bool) -> Points:
        request = requests.points_page(server.WebId, name_filter=pattern, start_index=start, max_count=size)
        return await ask(client, replace(request, patient=patient), what, partial(_page, start))

    async def take(page: Points) -> None:
        pages.append(page)

    async def leave_out(number: int, why: str) -> None:
        before = next((page.tags[-1].name for page in reversed(pages) if page.tags), "")
        pages.append(points.unreadable_point(number, before, why))

    walk = Paging(
        requests.MAX_POINTS_PER_PAGE, at_once=PAGES_AT_ONCE, facts=facts, most=1 if _WILD.isdisjoint(pattern) else None
    )
    whole = await each_page(walk, what, ask_page, take, leave_out)
    if not whole:
        _log.warning(
            "%s: the server repeats itself from %s on, so there may be more than it shows", what, f"{walk.stale_from:,}"
        )
    return pages, whole and not walk.skipped


def _page(start: int, answer: Response) -> Points:
    return points.decode_page(answer.body, start=start)


@dataclass(frozen=True, slots=True)
class _Named:
    """What a configuration names, by what it is; `failures`: texts that are nothing of it, with the reason."""

    web_ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    attribute_web_ids: list[str] = field(default_factory=list)
    attribute_paths: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def _split_by_kind(texts: Sequence[str], server: DataServer | None) -> _Named:
    """Tell apart points and attributes. No name of a point has a `|`: it parts an element from its attribute."""
    named = _Named()
    for text in dict.fromkeys(texts):
        ref = parse_tag(text)
        kind = kind_of(ref.text) if ref.kind is TagText.WEB_ID else None
        if ref.kind is TagText.PATH:
            (named.attribute_paths if "|" in ref.text else named.paths).append(ref.text)
        elif ref.kind is TagText.NAME and server is not None:
            named.paths.append(tag_path(server.Name, ref.text))
        elif ref.kind is TagText.NAME:
            named.failures[text] = "a name needs extraction.data_server, since there are several data servers"
        elif kind == "attribute":
            named.attribute_web_ids.append(ref.text)
        elif kind not in {"point", None}:
            named.failures[text] = (
                f"the WebID is that of an {kind}; this version reads PI points and attributes of elements"
            )
        else:
            named.web_ids.append(ref.text)
    return named


def _choose_server(servers: Sequence[DataServer], extraction: ExtractionConfig) -> DataServer | None:
    """The data server for names and patterns: the one configured, or the only one."""
    if extraction.data_server is None:
        return servers[0] if len(servers) == 1 else None
    for server in servers:
        if server.Name.casefold() == extraction.data_server.casefold():
            return server
    raise ConfigurationError(
        f"$.extraction.data_server: this PI Web API has no data server {extraction.data_server!r}",
        hint=f"It has: {_names(servers)}.",
    )


def _required_server(server: DataServer | None, servers: Sequence[DataServer]) -> DataServer:
    if server is not None:
        return server
    if not servers:
        raise ConfigurationError(
            "this PI Web API shows us no data server", hint="Ask its administrator for read access to one."
        )
    raise ConfigurationError(
        "$.extraction.tag_name_filter: there are several data servers to look on",
        hint=f"Set extraction.data_server to one of: {_names(servers)}.",
    )


def _names(servers: Iterable[DataServer]) -> str:
    return ", ".join(sorted(server.Name for server in servers)) or "none"


def _now(server: DataServer | None, headers: Mapping[str, str], extraction: ExtractionConfig) -> SourceTime:
    """The present time of the source, by three clocks. Raises `UnavailableError` if one is too far ahead of the others.

    A server that does not know its time may say so by the first instant there is: nothing would be due then.
    """
    archive = web_api = None
    with contextlib.suppress(ValueError):
        archive = parse_micros((server.ServerTime if server else None) or "")
    with contextlib.suppress(ValueError):
        web_api = parse_http_date(headers.get("date", ""))
    clocks = Clocks(
        archive if archive and archive > 0 else None, web_api if web_api and web_api > 0 else None, wall_micros()
    )
    return source_time(clocks, extraction.clock_tolerance // timedelta(microseconds=1))


def _merge(found: Sequence[Points]) -> tuple[tuple[Tag, ...], pa.Table]:
    """Each tag once, and their rows in the same order."""
    tags = [tag for piece in found for tag in piece.tags]
    if not tags:
        return (), TAGS_SCHEMA.empty_table()
    rows = pa.Table.from_batches([piece.rows for piece in found if piece.rows.num_rows])
    first = dict(zip(reversed([tag.web_id for tag in tags]), range(len(tags) - 1, -1, -1), strict=True))
    if len(first) == len(tags):
        return tuple(tags), rows.combine_chunks()
    chosen = np.sort(np.fromiter(first.values(), np.int64, len(first)))
    return tuple(tags[n] for n in chosen), rows.take(pa.array(chosen))


def sets_wanted(rows: pa.Table, servers: Mapping[str, str]) -> tuple[WantedSets, ...]:
    """The digital sets that tags use. `rows`: of pi_tags; `servers`: WebIDs of data servers by name."""
    web_ids = {name.casefold(): web_id for name, web_id in servers.items()}
    names: dict[str, set[str]] = {}
    for server, name in _pairs(rows["data_server"], rows["digital_set"]):
        if server:
            found = names.setdefault(server, {SYSTEM})
            if name and name.casefold() != SYSTEM.casefold():
                found.add(name)
    return tuple(
        WantedSets(server, web_ids.get(server.casefold(), ""), frozenset(found))
        for server, found in sorted(names.items())
    )


def _pairs(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Iterator[tuple[str | None, str | None]]:
    """The pairs of two columns of text, each once. (`group_by` would import all of Arrow's query engine.)"""
    one, two = (column.combine_chunks().dictionary_encode("encode") for column in (left, right))
    lefts, rights = one.dictionary.to_pylist(), two.dictionary.to_pylist()
    both = one.indices.to_numpy().astype(np.int64) * len(rights) + two.indices.to_numpy()
    return ((lefts[code // len(rights)], rights[code % len(rights)]) for code in set(both.tolist()))
