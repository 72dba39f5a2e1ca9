"""Which connection a session has: for logins that hold for one connection.

The client gives such a login sessions of one connection each. How many connections a session has opened so far tells
whether the one that logged in is still the one that is used.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import aiohttp


class Connections:
    """Counts the connections that each session has opened."""

    def __init__(self) -> None:
        self._opened: WeakKeyDictionary[aiohttp.ClientSession, int] = WeakKeyDictionary()

    def opened(self, session: aiohttp.ClientSession) -> int:
        return self._opened.get(session, 0)

    def trace(self) -> aiohttp.TraceConfig:
        """What a session needs to be counted."""

        async def opened(session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
            self._opened[session] = self.opened(session) + 1

        config = aiohttp.TraceConfig()
        config.on_connection_create_end.append(opened)
        return config


@runtime_checkable
class PerConnection(Protocol):
    """A way to log in that may hold for one connection: it wants sessions of one connection each, with this trace."""

    connections: Connections
