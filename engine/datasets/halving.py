"""Ways to ask: for an answer that must be whole, and for many things at once, or half of them where that is too much."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from config.errors import SplitError

from ..net.client import PIClient
from ..piweb.http import Request, Response
from ..piweb.problems import error_for

T = TypeVar("T")
R = TypeVar("R")


async def ask(client: PIClient, request: Request, what: str, decode: Callable[[Response], R], *, tags: int = 0) -> R:
    """What `decode` makes of the answer of success. An answer for which it raises `UnavailableError` is asked for again.

    Raises what `PIClient.send` and `decode` raise, and the error that another answer stands for.
    `what` is asked, in words; `tags` says how many tags it names.
    """
    decoded: list[R] = []

    def check(response: Response) -> None:
        _insist_on_success(response, what, tags)
        decoded[:] = [decode(response)]

    response = await client.send(request, check=check)
    _insist_on_success(response, what, tags)
    return decoded[0]


def _insist_on_success(response: Response, what: str, tags: int) -> None:
    error = error_for(response, what, tags=tags)
    if error is not None:
        raise error


async def ask_by_halves(things: Sequence[T], ask_for: Callable[[Sequence[T]], Awaitable[R]]) -> list[R]:
    """Every answer, in the order of the things. `ask_for` raises `SplitError` where it is too much at once.

    Raises what `ask_for` raises, and its `SplitError` where a single thing is too much.
    """
    try:
        return [await ask_for(things)]
    except SplitError:
        if len(things) < 2:
            raise
    half = len(things) // 2
    return await ask_by_halves(things[:half], ask_for) + await ask_by_halves(things[half:], ask_for)


def one_request(built: Iterable[tuple[Request, Sequence[T]]]) -> tuple[Request, Sequence[T]]:
    """The request that asks for all of it, with what it asks for. Raises `SplitError` where it takes several."""
    first, *more = built
    if more:
        raise SplitError("too long for one request", hint="ask for fewer at once", too_much="request")
    return first
