"""The simulated PI System as routes see it: options, clock, history, and who a WebID names.

No I/O. The clock is read once per question, so one answer never mixes two instants.
"""

from __future__ import annotations

import time
from collections import Counter, deque

from .call import Call
from .history import History
from .options import SimulatorOptions
from .points import FIRST_ID, Point, find, point
from .replies import refused
from .times import SECOND, ticks_of
from .webid import decode, encode, point_index_fast

__all__ = ["RequestLog", "Site"]


class RequestLog:
    """What was asked, counted; bounded however long the server runs."""

    def __init__(self) -> None:
        self.routes: Counter[str] = Counter()
        self.sub_routes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.unknown: deque[str] = deque(maxlen=100)

    def __repr__(self) -> str:
        return (
            f"RequestLog(routes={dict(self.routes)}, sub_routes={dict(self.sub_routes)}, unknown={list(self.unknown)})"
        )

    def count(self, route: str, scope: str) -> None:
        (self.routes if scope == "outer" else self.sub_routes)[route] += 1


class Site:
    """One PI System."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.switches = options.faults.switches
        self.history = History(options)
        self.requests = RequestLog()
        self.watch_tags = bool(options.faults.tags or options.faults.rules)
        self._now = options.now

    def now(self) -> int:
        if self._now is None:
            return time.time_ns() // 100
        return ticks_of(self._now() if callable(self._now) else self._now)

    def tag(self, call: Call, web_id: str) -> int:
        """Index of the tag a WebID of any kind names. Raises a 400 or 404, or what a tag in trouble says."""
        number = point_index_fast(web_id)
        if number is None:
            found = decode(web_id)
            if found.marker != "DP":
                raise refused(400, f"The specified WebId '{web_id}' is not of a supported type.")
            index = self._by_path(found.path) if found.path is not None else found.numbers[0] - FIRST_ID
        else:
            index = number - FIRST_ID
        return self.checked(call, index, "")

    def tag_by_path(self, call: Call, path: str) -> int:
        r"""Index of the tag at `\\SERVER\TAG`. Raises a 404."""
        return self.checked(call, self._by_path(path), path.rpartition("\\")[2])

    def checked(self, call: Call, index: int | None, name: str) -> int:
        if index is None or not 0 <= index < self.options.tags:
            raise refused(404, f"PI Point not found '{name}'." if name else "PI Point not found.")
        if self.watch_tags:
            call.touched.append(index)
            fault = self.history.fault(index)
            if fault and fault.gone:
                raise refused(404, f"PI Point not found '{name}'." if name else "PI Point not found.")
            if fault and fault.forbidden == 403:
                raise refused(403, "Access to the requested resource is denied.")
            if fault and fault.forbidden == 500:
                raise refused(500, "[-10401] No Read Access - Secure Object")
        return index

    def _by_path(self, path: str | None) -> int | None:
        server, _, name = (path or "").removeprefix("\\\\").partition("\\")
        return find(self.options, name) if server.casefold() == self.options.server.casefold() else None

    def point(self, index: int) -> Point:
        return point(self.options, index)

    def path(self, tag: Point) -> str:
        return f"\\\\{self.options.server}\\{tag.name}"

    def web_id(self, kind: str, tag: Point) -> str:
        return encode(kind, "DP", (tag.id,), self.path(tag) if kind in "FP" else "")

    def server_web_id(self, kind: str) -> str:
        return encode(kind, "DS", (), f"\\\\{self.options.server}")

    def uptime_minutes(self, now: int) -> int:
        return max(0, now - self.options.begin_ticks) // (60 * SECOND)
