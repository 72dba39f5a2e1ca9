"""From a URL to an answer: finds the route, turns refusals into replies, lets the fault plan strike.

No I/O. The same function serves what arrives over the network and the parts of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from . import catalog, home, recorded, states, streams
from .call import Call, Scope
from .mischief import Mischief
from .replies import Refusal, Reply, message
from .site import Site

__all__ = ["ROOT", "Dispatch"]

ROOT = "/piwebapi"
# What a batch asks a hundred times: recognised in one go, with the same result as the long way.
_RECORDED = re.compile(r"(?:https?://[^/]+)?(?:/piwebapi)?/?streams/([\w-]+)/recorded\?(.*)")
ROUTES: dict[str, Callable[[Site, Call], Reply]] = {
    **home.ROUTES,
    **catalog.ROUTES,
    **states.ROUTES,
    **streams.ROUTES,
    **recorded.ROUTES,
}


class Dispatch:
    """Answers questions about a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.mischief = Mischief(site)
        self._faulty = bool(site.options.faults.tags or site.options.faults.rules)

    def answer(self, method: str, target: str, base: str, scope: Scope, now: int) -> Reply:
        """Answer one question. `target` is the URL below the root or with it, absolute or not."""
        if hot := _RECORDED.fullmatch(target):
            call = Call(method, "streams/*/recorded", ("streams", hot[1], "recorded"), hot[2], base, scope, now)
        else:
            path, _, query_text = target.partition("?")
            parts = _parts(path)
            call = Call(method, _route(parts), parts, query_text, base, scope, now)
        try:
            reply = self._known(call, target)
        except Refusal as refusal:
            reply = refusal.reply()
        return self.struck(call, reply)

    def struck(self, call: Call, reply: Reply) -> Reply:
        """The answer after the fault plan had its say."""
        return self.mischief.strike(call, reply) if self._faulty else reply

    def _known(self, call: Call, target: str) -> Reply:
        requests = self.site.requests
        found = ROUTES.get(call.route)
        if found is None:
            path = target.partition("?")[0]
            requests.unknown.append(f"{call.method} {path}")
            requests.count("unknown", call.scope)
            raise message(501, f"The simulator does not know the route '{path}'.")
        requests.count(call.route, call.scope)
        if call.method != "GET":
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
        return f"{parts[0]}/*/{parts[2]}".lower()
    if len(parts) == 2:
        exact = f"{parts[0]}/{parts[1]}".lower()
        return exact if exact in ROUTES else f"{parts[0].lower()}/*"
    if len(parts) == 4:
        return f"{parts[0]}/*/{parts[2]}/*".lower()
    return "/".join(parts).lower()
