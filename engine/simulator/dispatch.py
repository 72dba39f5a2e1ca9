"""From a URL to an answer: finds the route, turns refusals into replies, lets the fault plan strike.

No I/O. The same function serves what arrives over the network and the parts of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from . import catalog, home, recorded, states, streams, summaries, updates
from .call import Call, Scope
from .lane import Lane, lane
from .mischief import Mischief
from .points import FIRST_ID
from .replies import Refusal, Reply, message
from .site import Site
from .webid import point_index_fast

__all__ = ["ROOT", "Dispatch"]

ROOT = "/piwebapi"
# What a batch asks a hundred times, recognised in one go.
_RECORDED = re.compile(r"(?:https?://[^/]+)?(?:/piwebapi)?/?streams/([\w-]+)/recorded\?(.*)")
_MAX_LANES = 64
ROUTES: dict[str, Callable[[Site, Call], Reply]] = {
    **home.ROUTES,
    **catalog.ROUTES,
    **states.ROUTES,
    **streams.ROUTES,
    **summaries.ROUTES,
    **recorded.ROUTES,
    **updates.ROUTES,
}
WRITES: dict[str, Callable[[Site, Call], Reply]] = {**updates.WRITES}
# An instance knows only its own sign-ups, so it matters to which one a request goes.
_BALANCED = {*updates.ROUTES, *updates.WRITES}


class Dispatch:
    """Answers questions about a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.mischief = Mischief(site)
        self._faulty = bool(site.options.faults.tags or site.options.faults.rules)
        self._lanes: dict[str, Lane] = {}

    def answer(self, method: str, target: str, base: str, scope: Scope, now: int) -> Reply:
        """Answer one question. `target` is the URL below the root or with it, absolute or not."""
        path, _, query_text = target.partition("?")
        parts = _parts(path)
        call = Call(method, _route(parts), parts, query_text, base, scope, now)
        try:
            reply = self._known(call, path)
        except Refusal as refusal:
            reply = refusal.reply()
        return self.struck(call, reply)

    def express(self, method: str, target: str, now: int) -> tuple[bytes, int] | None:
        """Answer the commonest part of a batch the short way, with the result of the long one, or not at all."""
        hot = _RECORDED.fullmatch(target)
        if hot is None or method != "GET" or self._faulty:
            return None
        number = point_index_fast(hot[1])
        if number is None:
            return None
        roster, index = self.site.roster, number - FIRST_ID
        if not 0 <= index < roster.size or index in roster.closed:
            return None
        asked = self._lanes.get(hot[2])
        if asked is None or asked.now != now:
            try:
                asked = lane(self.site, hot[2], now)
            except Refusal:
                return None
            if len(self._lanes) >= _MAX_LANES:
                self._lanes.clear()
            self._lanes[hot[2]] = asked
        try:
            text = asked.text(index)
        except Refusal:
            return None
        self.site.requests.sub_routes["streams/*/recorded"] += 1
        return text

    def struck(self, call: Call, reply: Reply) -> Reply:
        """The answer after the fault plan had its say."""
        return self.mischief.strike(call, reply) if self._faulty else reply

    def _known(self, call: Call, path: str) -> Reply:
        requests = self.site.requests
        if call.scope == "outer" and call.route in _BALANCED:
            self.site.signups.visit()
        found = (ROUTES if call.method == "GET" else WRITES).get(call.route)
        if found is None and call.route not in ROUTES and call.route not in WRITES:
            requests.unknown.append(f"{call.method} {path}")
            requests.count("unknown", call.scope)
            raise message(501, f"The simulator does not know the route '{path}'.")
        requests.count(call.route, call.scope)
        if found is None:
            raise message(405, f"The requested resource does not support http method '{call.method}'.")
        return found(self.site, call)


def _parts(path: str) -> tuple[str, ...]:
    """Segments below the root. The host of an absolute URL does not matter: it is always us."""
    if "://" in path:
        path = path[path.index("/", path.index("://") + 3) :] if "/" in path[path.index("://") + 3 :] else ""
    if path[: len(ROOT)].lower() == ROOT:
        path = path[len(ROOT) :]
    path = path.strip("/")
    if "%" in path:
        return tuple(unquote(part) for part in path.split("/"))
    return tuple(path.split("/"))


def _route(parts: tuple[str, ...]) -> str:
    """The name of a route, with a star for every id: `streams/*/recorded`."""
    if len(parts) == 3:
        under = f"{parts[0]}/{parts[1]}/*".lower()
        if under in ROUTES:
            return under
        return f"{parts[0]}/*/{parts[2]}".lower()
    if len(parts) == 2:
        exact = f"{parts[0]}/{parts[1]}".lower()
        return exact if exact in ROUTES else f"{parts[0].lower()}/*"
    if len(parts) == 4:
        return f"{parts[0]}/*/{parts[2]}/*".lower()
    return "/".join(parts).lower()
