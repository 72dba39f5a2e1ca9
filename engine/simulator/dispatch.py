"""From a URL to an answer: finds the route, turns refusals into replies, and applies the fault plan.

No I/O. The same function answers requests over the network and the parts of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from .archive.points import FIRST_ID
from .faults.injection import FaultInjector
from .replies import Refusal, Reply, message
from .request import IncomingRequest, Scope
from .routes import assets, calculation, catalog, event_frames, recorded, states, streams, summaries, system, updates
from .routes.attribute_streams import routes_over
from .routes.recorded_query import RecordedQuery, recorded_query
from .site import Site
from .webid import fast_point_id

ROOT = "/piwebapi"
# The most frequent part of a batch, for the fast path.
_RECORDED = re.compile(r"(?:https?://[^/]+)?(?:/piwebapi)?/?streams/([\w-]+)/recorded\?(.*)")
_MAX_QUERIES = 64
ROUTES: dict[str, Callable[[Site, IncomingRequest], Reply]] = {
    **system.ROUTES,
    **catalog.ROUTES,
    **states.ROUTES,
    **updates.ROUTES,
    **routes_over({**streams.ROUTES, **summaries.ROUTES, **recorded.ROUTES}),
    **calculation.ROUTES,
    **assets.ROUTES,
    **event_frames.ROUTES,
}
WRITES: dict[str, Callable[[Site, IncomingRequest], Reply]] = {**updates.WRITES}
# Routes whose answer depends on the instance: each one knows only its own subscriptions.
_BALANCED = {*updates.ROUTES, *updates.WRITES}


class Dispatch:
    """Answers requests to a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.fault_injector = FaultInjector(site)
        self._faulty = bool(site.options.faults.tags or site.options.faults.rules)
        self._queries: dict[str, RecordedQuery] = {}

    def answer(self, method: str, target: str, base: str, scope: Scope, now: int) -> Reply:
        """Answer one request. `target` is the URL below the root or with it, absolute or not."""
        path, _, query_text = target.partition("?")
        parts = _parts(path)
        request = IncomingRequest(method, _route(parts), parts, query_text, base, scope, now)
        try:
            reply = self._known(request, path)
        except Refusal as refusal:
            reply = refusal.reply()
        return self.with_faults(request, reply)

    def answer_fast(self, method: str, target: str, now: int) -> tuple[bytes, int] | None:
        """Answer the most frequent part of a batch, as `answer` would, but faster. None where it needs `answer`."""
        hot = _RECORDED.fullmatch(target)
        if hot is None or method != "GET" or self._faulty:
            return None
        number = fast_point_id(hot[1])
        if number is None:
            return None
        registry, index = self.site.registry, number - FIRST_ID
        if not 0 <= index < registry.size or index in registry.unreadable:
            return None
        asked = self._queries.get(hot[2])
        if asked is None or asked.now != now:
            try:
                asked = recorded_query(self.site, hot[2], now)
            except Refusal:
                return None
            if len(self._queries) >= _MAX_QUERIES:
                self._queries.clear()
            self._queries[hot[2]] = asked
        try:
            text = asked.text(index)
        except Refusal:
            return None
        self.site.requests.sub_routes["streams/*/recorded"] += 1
        return text

    def with_faults(self, request: IncomingRequest, reply: Reply) -> Reply:
        """Apply the fault plan to an answer."""
        return self.fault_injector.inject(request, reply) if self._faulty else reply

    def _known(self, request: IncomingRequest, path: str) -> Reply:
        requests = self.site.requests
        if request.scope == "outer" and request.route in _BALANCED:
            self.site.subscriptions.visit()
        found = (ROUTES if request.method == "GET" else WRITES).get(request.route)
        if found is None and request.route not in ROUTES and request.route not in WRITES:
            requests.unknown.append(f"{request.method} {path}")
            requests.count("unknown", request.scope)
            raise message(501, f"The simulator does not know the route '{path}'.")
        requests.count(request.route, request.scope)
        if found is None:
            raise message(405, f"The requested resource does not support http method '{request.method}'.")
        return found(self.site, request)


def _parts(path: str) -> tuple[str, ...]:
    """Segments of the path below the root. The host of an absolute URL is ignored."""
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
