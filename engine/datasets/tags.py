"""Tags: from what a user wrote (WebIDs, paths, names, patterns) to PI points with stable WebIDs.

The answers also make pi_tags. Invariant: everything that was named comes back as a tag, or as
unresolved with the reason; a tag named twice comes back once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from config import Extraction
from config.errors import ConfigurationError, SplitError, UnavailableError

from ..model import Micros, Tag
from ..net.client import PIClient
from ..piweb import points, requests
from ..piweb.http import Request, Response
from ..piweb.points import TAGS_SCHEMA, Points
from ..piweb.problems import error_for
from ..piweb.times import parse_http_date, parse_micros
from ..piweb.webid import TagText, kind_of, parse_tag, tag_path
from ..piweb.wire import DataServer
from ..plan.shards import Shard
from .states import WantedSets, sets_wanted

__all__ = ["Inventory", "ask_time", "find_tags"]

_log = logging.getLogger("osipi.tags")
_WILD = frozenset("*?")
# Pages of a long list that are asked for at a time, once it has shown to be long.
_PAGES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Inventory:
    """The tags of a run.

    `rows` are pi_tags rows in the order of `tags`; `unresolved` what was named and not found, with
    the reason; `complete` whether these are all points of the server; `server_now` the source's clock;
    `sets` the digital sets that are used, by tags of any shard.
    """

    tags: tuple[Tag, ...]
    rows: pa.Table
    unresolved: tuple[tuple[str, str], ...]
    complete: bool
    server_now: Micros
    sets: tuple[WantedSets, ...] = ()

    def insist(self) -> Inventory:
        """The same. Raises `ConfigurationError` where it is nothing at all: an account that may not see the points
        is shown none, and no error.
        """
        if self.tags or self.unresolved:
            return self
        raise ConfigurationError(
            "the configuration selects no tag at all",
            hint="Look at extraction.tags and tag_name_filter, and whether this account may see the points.",
        )

    def share(self, shard: Shard) -> Inventory:
        """The tags of one shard."""
        if shard.count == 1:
            return self
        mine = [shard.owns(tag.web_id) for tag in self.tags]
        return Inventory(
            tuple(tag for tag, own in zip(self.tags, mine, strict=True) if own),
            self.rows.filter(pa.array(mine, pa.bool_())),
            tuple((name, why) for name, why in self.unresolved if shard.owns(name)),
            complete=False,
            server_now=self.server_now,
            sets=self.sets,
        )


async def find_tags(client: PIClient, extraction: Extraction) -> Inventory:
    """Resolve everything `extraction` selects.

    Raises `ConfigurationError` for a data server that does not exist or must be named, and what the
    client raises. A single tag that cannot be resolved is no error here.
    """
    response = await _ask(client, requests.data_servers(), "listing the data servers")
    servers = points.data_servers(response.body)
    server = _choose(servers, extraction)
    found: list[Points] = []
    web_ids, paths, failures = _sort_out(extraction.tags, server)
    found += await _look_up(client, requests.points_by_web_id, web_ids)
    found += await _look_up(client, requests.points_by_path, paths)
    for pattern in extraction.tag_name_filter:
        pages = await _crawl(client, _needed(server, servers), pattern)
        found += pages
        if any(page.tags for page in pages):
            continue
        if _WILD.isdisjoint(pattern):
            failures[pattern] = "no point that we may see has this name"
        else:
            _log.warning("extraction.tag_name_filter: no point that we may see matches %r", pattern)
    tags, rows = _merge(found)
    return Inventory(
        tags,
        rows,
        tuple({**failures, **{name: why for piece in found for name, why in piece.failures}}.items()),
        complete="*" in extraction.tag_name_filter,
        server_now=_now(server, response),
        sets=sets_wanted(rows, {each.Name: each.WebId for each in servers}),
    )


async def ask_time(client: PIClient, extraction: Extraction) -> Micros:
    """The source's clock, by the smallest question that tells it. Raises what `find_tags` does."""
    response = await _ask(client, requests.data_servers(), "asking for the time")
    return _now(_choose(points.data_servers(response.body), extraction), response)


async def _ask(client: PIClient, request: Request, what: str) -> Response:
    response = await client.send(request)
    error = error_for(response, what)
    if error is not None:
        raise error
    return response


async def _look_up(
    client: PIClient, requests_for: Callable[[Sequence[str]], Iterable[tuple[Request, Sequence[str]]]], texts: list[str]
) -> list[Points]:
    """The points these texts name; where a proxy takes shorter URLs than PI does, by halves."""
    found: list[Points] = []
    for request, asked in requests_for(texts):
        try:
            answer = await _ask(client, request, f"looking up {len(asked)} tags")
        except SplitError:
            if len(asked) == 1:
                raise
            half = len(asked) // 2
            found += await _look_up(client, requests_for, list(asked[:half]))
            found += await _look_up(client, requests_for, list(asked[half:]))
        else:
            found.append(points.decode_multiple(answer.body, asked))
    return found


async def _crawl(client: PIClient, server: DataServer, pattern: str) -> list[Points]:
    """All pages of the points that match a pattern, in smaller ones where the server gives no more.

    A point created or deleted meanwhile shifts the pages; the next run sees what this one missed.
    Raises `UnavailableError` for a server that begins anew instead of going on: the list would have no end.
    """
    pages: list[Points] = []
    start, size, width = 0, requests.MAX_POINTS_PER_PAGE, 1
    while True:
        try:
            found = await _pages(client, server, pattern, range(start, start + width * size, size))
        except SplitError:
            if size == 1:
                raise
            size, width = size // 2, 1
            continue
        width = min(2 * width, _PAGES_AT_ONCE)
        for page in found:
            if pages and page.tags and page.tags == pages[0].tags:
                raise UnavailableError(
                    f"listing the points {pattern!r}: from {start:,} on the server shows the first ones again",
                    hint="Something between us and the PI Web API drops startIndex, or answers from a cache.",
                )
            pages.append(page)
            start += len(page.tags)
            if not page.more:
                return pages
            if len(page.tags) < size:  # less than was asked for: the pages after it begin elsewhere
                size, width = len(page.tags), 1
                break


async def _pages(client: PIClient, server: DataServer, pattern: str, starts: range) -> list[Points]:
    """Some pages of the points that match a pattern, side by side."""
    what = f"listing the points {pattern!r}"
    tasks = [
        asyncio.create_task(
            _ask(
                client,
                requests.points_page(server.WebId, name_filter=pattern, start_index=start, max_count=starts.step),
                what,
            )
        )
        for start in starts
    ]
    try:
        return [points.decode_page(answer.body) for answer in await asyncio.gather(*tasks)]
    finally:
        for task in tasks:
            task.cancel()


def _sort_out(texts: Sequence[str], server: DataServer | None) -> tuple[list[str], list[str], dict[str, str]]:
    """WebIDs, paths, and what can be neither, with the reason."""
    web_ids: list[str] = []
    paths: list[str] = []
    failures: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        ref = parse_tag(text)
        if ref.kind is TagText.PATH:
            paths.append(ref.text)
        elif ref.kind is TagText.NAME and server is not None:
            paths.append(tag_path(server.Name, ref.text))
        elif ref.kind is TagText.NAME:
            failures[text] = "a name needs extraction.data_server, since there are several data servers"
        elif (kind := kind_of(ref.text)) not in {"point", None}:
            failures[text] = f"the WebID is that of an {kind}; this version reads PI points"
        else:
            web_ids.append(ref.text)
    return web_ids, paths, failures


def _choose(servers: Sequence[DataServer], extraction: Extraction) -> DataServer | None:
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


def _needed(server: DataServer | None, servers: Sequence[DataServer]) -> DataServer:
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


def _now(server: DataServer | None, response: Response) -> Micros:
    """The source's clock: the archive's own, else that of the PI Web API, by the Date of its answer.

    A server that does not know its time may say so by the first instant there is: nothing would be due then.
    """
    if server is not None and server.ServerTime:
        with contextlib.suppress(ValueError):
            if (told := parse_micros(server.ServerTime)) > 0:
                return told
    if "date" not in response.headers:
        raise UnavailableError(
            "the server does not tell its time (no Date header)", hint="Check the proxy in front of the PI Web API."
        )
    try:
        return parse_http_date(response.headers["date"])
    except ValueError as error:
        raise UnavailableError(
            "the server does not tell its time (its Date header is none that can be read)",
            hint="Check the proxy in front of the PI Web API.",
        ) from error


def _merge(found: Sequence[Points]) -> tuple[tuple[Tag, ...], pa.Table]:
    """All tags once, with their rows in the same order."""
    tags = [tag for piece in found for tag in piece.tags]
    if not tags:
        return (), TAGS_SCHEMA.empty_table()
    first = {tag.web_id: n for n, tag in reversed(list(enumerate(tags)))}
    chosen = np.sort(np.fromiter(first.values(), np.int64, len(first)))
    rows = pa.Table.from_batches([piece.rows for piece in found if piece.rows.num_rows])
    return tuple(tags[n] for n in chosen), rows.take(pa.array(chosen))
