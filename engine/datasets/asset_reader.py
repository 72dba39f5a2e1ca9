"""Asks an asset server: a list page by page, many lists or things in batches, one thing alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeAlias, TypeVar

from config.errors import (
    ConfigurationError,
    ExtractError,
    RetryError,
    SplitError,
    TagError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
)

from ..net.client import PIClient
from ..piweb.assets import (
    ListPage,
    Named,
    as_named,
    at_path,
    decode_item,
    decode_list,
    get,
    list_path,
    object_path,
)
from ..piweb.batches import WEAK_STATUSES, batch_of, parts_of
from ..piweb.http import Response
from ..piweb.members import Item, has_web_id
from ..piweb.paging import PageLinks, Paging, PagingFacts
from ..piweb.problems import error_for, insist_on_object
from .halving import ask, ask_by_halves
from .paged_lists import PAGES_AT_ONCE, each_page, may_hold_what_is_damaged
from .request_mode import Mode

R = TypeVar("R")
# What asking raises when this thing, or this way of asking, is at fault, or the server for the time being.
SOURCE_ERRORS = (TagError, SplitError, UnavailableError, ThrottledError, ConfigurationError)
PAGE_SIZE = 5000
# The first page of a list that is asked for together with others.
_SHORT_PAGE = 1000
# Of lists that are asked for together, so many may hold something damaged. Where more fail, it is the server.
_MOST_DAMAGED = 3
# Without batches, so many requests are under way at a time.
_SINGLE_AT_ONCE = 8
_NAMED = ("WebId", "Name", "Path")
# The path of a page of a list, from where the page begins and how many items it may hold.
PathOf: TypeAlias = Callable[[int, int], str]


@dataclass(frozen=True, slots=True)
class ListRead:
    """A list, and why some of its items could not be read. `proven`: it is known that there are no more items."""

    items: tuple[Item, ...]
    unreadable: tuple[str, ...] = ()
    proven: bool = True


class AssetReader:
    """Asks one server. Learns how it gives its lists."""

    def __init__(self, client: PIClient, base_url: str, mode: Mode, *, batch_size: int) -> None:
        self._client = client
        self._base_url = base_url
        self._batch = mode is Mode.BATCH
        self._batch_size = batch_size
        self._facts = PagingFacts()

    @property
    def takes_batches(self) -> bool:
        return self._batch

    async def item(self, path: str, what: str) -> Item:
        """One object. Raises what asking raises, `TagGoneError` where there is no such thing."""
        return await self._ask(path, what, decode_item)

    async def page(self, path: str, what: str, *, patient: bool = True) -> ListPage:
        """One page of a list; if not `patient`, it is asked for once. Raises what asking raises."""
        return await self._ask(path, what, decode_list, patient=patient)

    async def all(self, path_of: PathOf, what: str) -> ListRead:
        """All pages of a list.

        Raises `UnavailableError` where the server begins anew, and what asking raises if not even a short page comes.
        """
        items: dict[str, Item] = {}
        unreadable: list[str] = []

        async def take(page: ListPage) -> None:
            items.update((one["WebId"], one) for one in page.items)
            unreadable.extend(page.unreadable)

        proven = await self.each_page(path_of, what, take)
        return ListRead(tuple(items.values()), tuple(unreadable), proven)

    async def each_page(self, path_of: PathOf, what: str, take: Callable[[ListPage], Awaitable[None]]) -> bool:
        """Give all pages of a list to `take`, in order; then whether it is known that there are no more items.

        Raises as `all` does; then some pages may have been given.
        """

        async def ask_page(start: int, size: int, patient: bool) -> ListPage:
            return await self.page(path_of(start, size), what, patient=patient)

        before = ""

        async def taken(page: ListPage) -> None:
            nonlocal before
            before = str(page.items[-1].get("Name") or "") if page.items else before
            await take(page)

        async def leave_out(number: int, why: str) -> None:
            place = f"item {number + 1:,} of the list" + (f", after {before}" if before else "")
            await take(ListPage((), 1, (), PageLinks.ABSENT, (f"{place}: {why}",)))

        walk = Paging(PAGE_SIZE, at_once=PAGES_AT_ONCE, facts=self._facts)
        return await each_page(walk, what, ask_page, taken, leave_out)

    async def lists(self, paths: Sequence[PathOf], what: str, *, each: bool = False) -> list[ListRead | None]:
        """Many lists, most of which are short: the first pages together, the rest of long ones page by page.

        None for a list whose owner the server does not know (any more). Raises the error of the first other one; if they are
        taken `each` by itself, only where none can be read, and a list that cannot be read holds the reason instead.
        """
        found: list[ListRead | None] = []
        answers = await self.many([path_of(0, _SHORT_PAGE) for path_of in paths], what)
        failures: list[ExtractError] = []
        is_ill = sum(answer.status == 500 for answer in answers) > _MOST_DAMAGED
        for path_of, answer in zip(paths, answers, strict=True):
            try:
                found.append(await self._rest_of(path_of, answer, what, is_ill=is_ill))
            except SOURCE_ERRORS as error:
                if not each:
                    raise
                failures.append(error)
                found.append(ListRead((), (error.message,), proven=False))
        if failures and len(failures) == len(found):
            raise failures[0]
        return found

    async def _rest_of(self, path_of: PathOf, answer: Response, what: str, *, is_ill: bool) -> ListRead | None:
        """A list whose first page is there. None without its owner; raises what the answer stands for, and what asking raises.

        Unless the server is ill, a page that it cannot give is read past what is damaged on it.
        """
        error = error_for(answer, what, tags=1)
        if isinstance(error, TagGoneError):
            return None
        if error is not None:
            if may_hold_what_is_damaged(error) and not is_ill:
                return await self.all(path_of, what)
            raise error
        try:
            page = decode_list(answer.body)
        except UnavailableError:  # it broke off: asked alone it is asked again
            return await self.all(path_of, what)
        if page.links is PageLinks.NEXT or page.count >= _SHORT_PAGE:
            return await self.all(path_of, what)
        return ListRead(page.items, page.unreadable)

    async def many(self, paths: Sequence[str], what: str) -> list[Response]:
        """The answer to each of these GETs, with any status: in batches, or one by one where batches are refused."""
        if not self._batch:
            return await self._single(paths)
        chunks = [paths[first : first + self._batch_size] for first in range(0, len(paths), self._batch_size)]
        answers: list[Response] = []
        for first in range(0, len(chunks), PAGES_AT_ONCE):
            for found in await together(
                [self._batched(chunk, what) for chunk in chunks[first : first + PAGES_AT_ONCE]]
            ):
                answers += found
        return answers

    async def _batched(self, paths: Sequence[str], what: str) -> list[Response]:
        async def at_once(some: Sequence[str]) -> list[Response]:
            try:
                return await ask(
                    self._client,
                    batch_of(some, self._base_url),
                    what,
                    lambda answer: parts_of(answer.body, len(some)),
                )
            except SplitError:
                if len(some) > 1:
                    raise
                return await self._single(some)

        answers = [answer for part in await ask_by_halves(paths, at_once) for answer in part]
        weak = [place for place, answer in enumerate(answers) if answer.status in WEAK_STATUSES]
        if weak and len(paths) > 1:
            for place, answer in zip(weak, await self._single([paths[place] for place in weak]), strict=True):
                answers[place] = answer
        return answers

    async def _single(self, paths: Sequence[str]) -> list[Response]:
        async def one(path: str) -> Response:
            try:
                return await self._client.send(get(path), check=insist_on_object)
            except (UnavailableError, ThrottledError, SplitError) as error:
                status = error.status if isinstance(error, RetryError) else None
                return Response(status or 502, json.dumps({"Errors": [error.message]}).encode())

        found: list[Response] = []
        for first in range(0, len(paths), _SINGLE_AT_ONCE):
            found += await together([one(path) for path in paths[first : first + _SINGLE_AT_ONCE]])
        return found

    async def _ask(self, path: str, what: str, decode: Callable[[bytes], R], *, patient: bool = True) -> R:
        try:
            # `tags=1`: what is refused is this one thing.
            request = replace(get(path), patient=patient)
            return await ask(self._client, request, what, lambda answer: decode(answer.body), tags=1)
        except TagError as error:
            raise type(error)(error.message) from None  # the hint is for points


# Waits until it is one's turn.
Turn: TypeAlias = Callable[[], Awaitable[None]]


class Beside:
    """Work that goes on beside the reading, so many pieces at a time. All is done when the block is left; the first error
    of a piece is raised there, or when the next one is started, and ends the others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: set[asyncio.Future[None]] = set()
        self._last: asyncio.Future[None] | None = None

    async def start(self, call: Callable[[Turn], Awaitable[None]]) -> None:
        """Begin a piece of work once there is room for it. Its turn comes when the piece before it is done."""
        while len(self._running) >= self._most:
            await self._some(asyncio.FIRST_COMPLETED)
        self._last = asyncio.ensure_future(call(partial(_done, self._last)))
        self._running.add(self._last)

    async def _some(self, until: str) -> None:
        done, self._running = await asyncio.wait(self._running, return_when=until)
        for one in done:
            one.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._running:
                await self._some(asyncio.FIRST_COMPLETED)
        finally:
            for one in self._running:
                one.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)


async def _done(one: asyncio.Future[None] | None) -> None:
    if one is not None:
        await asyncio.wait([one])


async def together(calls: Sequence[Awaitable[R]]) -> list[R]:
    """Wait for all. The first error is raised, and the others are cancelled."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def find_databases(
    reader: AssetReader, wanted: Sequence[str], *, key: str = "asset_framework.databases"
) -> list[Named]:
    r"""The AF databases of these names, paths (`\\SERVER\Database`) or WebIDs. Without any: the only one there is.

    Raises `ConfigurationError`, with the `key` to name them by, where it is not clear which one is meant,
    `UnavailableError` for one that is not there, and what asking raises.
    """
    found: list[Named] = []
    listed: list[Named] | None = None
    for text in wanted:
        if text.startswith("\\\\"):
            found.append(await _database(reader, at_path("assetdatabases", text, _NAMED), text))
        elif text[2:4] == "RD" and " " not in text and len(text) > 40:
            found.append(await _database(reader, object_path("assetdatabases", text, _NAMED), text))
        else:
            listed = await list_databases(reader) if listed is None else listed
            found.append(_named(listed, text, key))
    if not wanted:
        listed = await list_databases(reader)
        if len(listed) != 1:
            raise ConfigurationError(
                f"$.{key}: there are {len(listed)} AF databases, and none is named"
                if listed
                else f"$.{key}: there is no AF database that this account can see",
                hint=f"Name those to read: {_names(listed)}."
                if listed
                else f"Give the account the right to read the database, or set {key.partition('.')[0]}.enabled: false.",
            )
        found = listed
    return list(dict.fromkeys(found))


async def _database(reader: AssetReader, path: str, text: str) -> Named:
    try:
        one = await reader.item(path, f"looking for the AF database {text!r}")
    except TagError as error:
        raise UnavailableError(f"the AF database {text!r} is not there: {error.message}") from error
    if not has_web_id(one):
        raise UnavailableError(f"the AF database {text!r}: the answer has no WebID")
    return as_named(one)


async def list_databases(reader: AssetReader) -> list[Named]:
    """All AF databases that the account can see. Raises what asking raises."""
    servers = await reader.page(list_path("assetservers", "", "", _NAMED), "listing the AF servers")
    if servers.unreadable and not servers.items:
        raise UnavailableError(f"the list of AF servers cannot be read: {servers.unreadable[0]}")
    found: list[Named] = []
    for server in servers.items:
        path = list_path("assetservers", server["WebId"], "assetdatabases", _NAMED)
        try:
            page = await reader.page(path, f"listing the databases of {server.get('Name')}")
        except (TagError, UnavailableError):
            if len(servers.items) == 1:
                raise
            continue  # the databases of the other servers are still found
        if page.unreadable and not page.items:
            raise UnavailableError(f"the list of AF databases cannot be read: {page.unreadable[0]}")
        found += map(as_named, page.items)
    return list(dict.fromkeys(found))


def _named(listed: Sequence[Named], text: str, key: str) -> Named:
    several = [one for one in listed if one.name.casefold() == text.casefold()]
    if len(several) == 1:
        return several[0]
    if several:
        raise ConfigurationError(
            f"$.{key}: {len(several)} AF databases are called {text!r}",
            hint=f"Give the path of the one: {', '.join(one.path for one in several)}.",
        )
    raise UnavailableError(f"there is no AF database {text!r}", hint=f"There are: {_names(listed)}.")


def _names(listed: Sequence[Named]) -> str:
    return ", ".join(one.name for one in listed) or "none that this account can see"
