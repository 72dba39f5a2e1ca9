"""Reads a list page by page: several pages at once, shorter ones where the server gives no longer ones, and past a thing
that it cannot give.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from config.errors import SplitError, TagError, UnavailableError

from ..piweb.paging import ListEnd, PageLinks, Paging

# So many pages of a long list are asked for at once.
PAGES_AT_ONCE = 4
# Where a server does not give pages as long as asked for, they get shorter in a few steps: each may take a time-out.
_SHORTER_BY = 4
_LEAST_PAGE = 25
_INTERNAL_ERROR = 500


class Page(Protocol):
    """What came of a list: the number of things on the page, the WebIDs of those that have one, and what its links say."""

    @property
    def count(self) -> int: ...
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def links(self) -> PageLinks: ...


P = TypeVar("P", bound=Page)


async def each_page(
    walk: Paging,
    what: str,
    ask_page: Callable[[int, int, bool], Awaitable[P]],
    take: Callable[[P], Awaitable[None]],
    leave_out: Callable[[int, str], Awaitable[None]],
) -> bool:
    """Give all pages of a list to `take`, in order; then whether it is known that there are no more things.

    `ask_page` gets where a page begins, how many things it may hold, and whether it is worth all attempts. `leave_out`
    gets the number of a thing that the server cannot give, from 0 on, and why; once it has given one behind it, or ended
    the list.
    Raises `UnavailableError` where the server begins anew, and what asking raises if not even a short page comes; then
    some pages may have been given.
    """
    unsure: list[tuple[int, str]] = []
    trouble: Exception | None = None

    async def make_sure() -> None:
        for number, why in unsure:
            await leave_out(number, why)
        unsure.clear()

    while True:
        asked = deque(asyncio.ensure_future(ask_page(start, walk.size, walk.patient)) for start in walk.starts)
        try:
            while asked:
                try:
                    page = await asked[0]
                except (SplitError, UnavailableError, TagError) as error:
                    trouble = trouble or error
                    if _left_out(walk, error):
                        unsure.append((walk.start - 1, error.message))
                    break
                await make_sure()
                asked.popleft()  # what was taken is not held while the next ones come
                await take(page)
                goes_on = walk.take(page.keys, page.count, page.links)
                del page
                if walk.end is not None or not goes_on:
                    break
            else:
                walk.widen()
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if walk.end is ListEnd.RESTARTED:
            # A list that has no pages begins anew only because pages got shorter.
            raise trouble or UnavailableError(
                f"{what}: from {walk.stale_from:,} on the server shows the first ones again",
                hint="Something between us and the PI Web API drops startIndex, or answers from a cache.",
            )
        if walk.end is not None:
            return walk.end is ListEnd.COMPLETE


def may_hold_what_is_damaged(error: Exception) -> bool:
    """Whether the server did answer, and cannot give what was asked for: one thing of it may be at fault."""
    return isinstance(error, UnavailableError) and error.status == _INTERNAL_ERROR


def _left_out(walk: Paging, error: Exception) -> bool:
    """Make the walk ask for less. True: the thing at `start` is left out. Raises the error where there is no way on."""
    if may_hold_what_is_damaged(error):
        if walk.narrow():
            return False
        if walk.skip():
            return True
        raise error
    # A page that is too long may be one of a single thing; one that comes too late is so for another reason.
    if not walk.shrink(_SHORTER_BY, least=1 if isinstance(error, SplitError) else _LEAST_PAGE):
        raise error
    return False
