"""Tags: from what a user wrote (WebIDs, paths, names, patterns) to PI points with stable WebIDs.

The answers also make pi_tags. Invariant: everything that was named comes back as a tag, or as
unresolved with the reason; a tag named twice comes back once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import numpy as np
import pyarrow as pa

from config import Extraction
from config.errors import ConfigurationError, SplitError, UnavailableError

from ..clock import wall_micros
from ..model import Micros, Tag
from ..net.client import PIClient
from ..piweb import points, requests
from ..piweb.clocks import Clocks, Now, now_by
from ..piweb.http import Request, Response
from ..piweb.limits import kind_of_request
from ..piweb.paging import End, Habits, Paging
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

    def and_still(self, known: Inventory, left_out: Collection[str]) -> Inventory:
        """These tags, and those that were `known` before and are not gone: the list has left them out, or is not known
        to be whole.
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

    def share(self, shard: Shard) -> Inventory:
        """The tags of one shard."""
        if shard.count == 1:
            return self
        mine = [shard.owns(tag.web_id) for tag in self.tags]
        return Inventory(
            tuple(tag for tag, own in zip(self.tags, mine, strict=True) if own),
            self.rows.filter(pa.array(mine, pa.bool_())),
            tuple((name, why) for name, why in self.unresolved if shard.owns(name)),
            complete=self.complete,
            server_now=self.server_now,
            sets=self.sets,
            server=self.server,
            warnings=self.warnings,
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
    room = partial(client.limits.max_url_chars, kind_of_request(Request("GET", requests.MULTIPLE)))
    found += await _look_up(client, partial(requests.points_by_web_id, max_chars=room), web_ids)
    found += await _look_up(client, partial(requests.points_by_path, max_chars=room), paths)
    now = _now(server, response, extraction)
    habits, complete = Habits(), True
    for pattern in extraction.tag_name_filter:
        pages, whole = await _crawl(client, _needed(server, servers), pattern, habits)
        found += pages
        complete &= whole
        if any(page.items for page in pages):
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
        complete=complete,
        server_now=now.at,
        sets=sets_wanted(rows, {each.Name: each.WebId for each in servers}),
        server=server.Name if server else None,
        warnings=(now.warning,) if now.warning else (),
    )


async def ask_time(client: PIClient, extraction: Extraction) -> Micros:
    """The source's clock, by the smallest question that tells it. Raises what `find_tags` does."""
    response = await _ask(client, requests.data_servers(), "asking for the time")
    return _now(_choose(points.data_servers(response.body), extraction), response, extraction).at


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


async def _crawl(client: PIClient, server: DataServer, pattern: str, habits: Habits) -> tuple[list[Points], bool]:
    """All pages of the points that match a pattern, in smaller ones where the server gives no more; and whether that
    is known to be the whole list.

    A point created or deleted meanwhile shifts the pages; the next run sees what this one missed.
    Raises `UnavailableError` for a server that begins anew instead of going on: there may be more.
    """
    pages: list[Points] = []
    walk = Paging(requests.MAX_POINTS_PER_PAGE, at_once=_PAGES_AT_ONCE, habits=habits)
    while True:
        starts = walk.starts
        try:
            found = await _pages(client, server, pattern, starts, walk.size)
        except SplitError:
            if not walk.shrink():
                raise
            continue
        walk.widen()
        for page in found:
            pages.append(page)
            goes_on = walk.take(page.keys, page.items, page.links)
            # A name is that of one point.
            if walk.end is not None or (page.items and _WILD.isdisjoint(pattern)):
                return pages, _whole(walk, pattern)
            if not goes_on:
                break


def _whole(walk: Paging, pattern: str) -> bool:
    """Whether a list that has ended is the whole one."""
    if walk.end is End.AGAIN:
        raise UnavailableError(
            f"listing the points {pattern!r}: from {walk.stale_from:,} on the server shows the first ones again",
            hint="Something between us and the PI Web API drops startIndex, or answers from a cache.",
        )
    if walk.end is End.UNSURE:
        _log.warning(
            "listing the points %r: the server repeats itself from %s on, so there may be more than it shows",
            pattern,
            f"{walk.stale_from:,}",
        )
    return walk.end is not End.UNSURE


async def _pages(client: PIClient, server: DataServer, pattern: str, starts: range, size: int) -> list[Points]:
    """Some pages of the points that match a pattern, side by side."""
    what = f"listing the points {pattern!r}"
    tasks = [
        asyncio.create_task(
            _ask(
                client,
                requests.points_page(server.WebId, name_filter=pattern, start_index=start, max_count=size),
                what,
            )
        )
        for start in starts
    ]
    try:
        answers = await asyncio.gather(*tasks)
        return [points.decode_page(answer.body, start=start) for start, answer in zip(starts, answers, strict=True)]
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


def _now(server: DataServer | None, response: Response, extraction: Extraction) -> Now:
    """The source's present, by three clocks. Raises `UnavailableError` where one is too far ahead of the others.

    A server that does not know its time may say so by the first instant there is: nothing would be due then.
    """
    archive = web_api = None
    with contextlib.suppress(ValueError):
        archive = parse_micros((server.ServerTime if server else None) or "")
    with contextlib.suppress(ValueError):
        web_api = parse_http_date(response.headers.get("date", ""))
    clocks = Clocks(
        archive if archive and archive > 0 else None, web_api if web_api and web_api > 0 else None, wall_micros()
    )
    return now_by(clocks, extraction.clock_tolerance // timedelta(microseconds=1))


def _merge(found: Sequence[Points]) -> tuple[tuple[Tag, ...], pa.Table]:
    """All tags once, with their rows in the same order."""
    tags = [tag for piece in found for tag in piece.tags]
    if not tags:
        return (), TAGS_SCHEMA.empty_table()
    first = {tag.web_id: n for n, tag in reversed(list(enumerate(tags)))}
    chosen = np.sort(np.fromiter(first.values(), np.int64, len(first)))
    rows = pa.Table.from_batches([piece.rows for piece in found if piece.rows.num_rows])
    return tuple(tags[n] for n in chosen), rows.take(pa.array(chosen))
