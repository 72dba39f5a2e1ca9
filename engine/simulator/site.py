"""The simulated PI System as routes see it: options, clock, points, history, and the point that a WebID names.

No I/O. The clock is read once for each request, so an answer never mixes two instants.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from heapq import heappop, heappush
from itertools import count

from .archive.digital_sets import DigitalSets
from .archive.edits import Edit
from .archive.history import NEVER, Change, History, change_of
from .archive.point_registry import ChangeRefusedError, PointRegistry
from .archive.points import FIRST_ID, Point
from .archive.subscriptions import Subscriptions
from .assets.edits import AssetEdit
from .assets.frames import Frames
from .assets.plant import Plant
from .faults.plan import FaultPlanError
from .options import SimulatorOptions
from .replies import Refusal, refused
from .request import IncomingRequest
from .times import SECOND, ticks_of
from .webid import decode, encode, fast_point_id

_LONGEST_LOG = 100_000
_LONGEST_NAME = 40


class RequestLog:
    """Counts of requests, and when the last of them came. Bounded, however long the server runs.

    `arrivals`: seconds of a clock that only goes forward, and the end of the path. Requests that are refused are in it.
    """

    def __init__(self) -> None:
        self.routes: Counter[str] = Counter()
        self.sub_routes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.unknown: deque[str] = deque(maxlen=100)
        self.arrivals: deque[tuple[float, str]] = deque(maxlen=_LONGEST_LOG)

    def __repr__(self) -> str:
        return (
            f"RequestLog(routes={dict(self.routes)}, sub_routes={dict(self.sub_routes)}, unknown={list(self.unknown)})"
        )

    def count(self, route: str, scope: str) -> None:
        (self.routes if scope == "outer" else self.sub_routes)[route] += 1

    def arrived(self, secs: float, path: str) -> None:
        self.arrivals.append((secs, path.rstrip("/").rpartition("/")[2][:_LONGEST_NAME].lower()))


class Site:
    """One PI System. Raises `FaultPlanError` where an edit of the plan is of no point there is."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.switches = options.faults.switches
        self.registry = PointRegistry(options)
        self.digital_sets = DigitalSets()
        self.history = History(options, self.registry, self.digital_sets)
        self.subscriptions = Subscriptions(self.switches)
        self.plant = Plant(options, self.registry)
        self.frames = Frames(options, self.plant)
        self.requests = RequestLog()
        self.watch_tags = bool(options.faults.tags or options.faults.rules)
        # Changes of points and sets whose time has not come, and those that could not be made when it came.
        self._waiting: list[tuple[int, int, Edit]] = []
        self._order = count()
        self.failed: deque[str] = deque(maxlen=100)
        self._clock = options.now if callable(options.now) else None
        self._fixed = None if options.now is None or callable(options.now) else ticks_of(options.now)
        for number, edit in enumerate(options.faults.edits):
            try:
                self.change(edit)
            except (ChangeRefusedError, KeyError) as error:
                raise FaultPlanError(f"fault plan: {error.args[0]} - at `$.edits[{number}]`") from error
        for number, asset_edit in enumerate(options.faults.asset_edits):
            try:
                self.change_assets(asset_edit)
            except (ChangeRefusedError, KeyError) as error:
                raise FaultPlanError(f"fault plan: {error.args[0]} - at `$.asset_edits[{number}]`") from error

    # --- the clock -----------------------------------------------------------

    def now(self) -> int:
        now = self._read()
        if self._waiting and self._waiting[0][0] <= now:
            self._apply_due(now)
        return now

    def _read(self) -> int:
        if self._fixed is not None:
            return self._fixed
        return ticks_of(self._clock()) if self._clock else time.time_ns() // 100

    def set_clock(self, now: int) -> None:
        """Put a clock that stands still at a later instant.

        Raises:
            ChangeRefusedError: the clock runs by itself, or the instant is in its past.
        """
        if self._fixed is None:
            raise ChangeRefusedError("this server's clock runs by itself")
        if now < self._fixed:
            raise ChangeRefusedError("a clock goes forward only")
        self._fixed = now

    # --- changes -------------------------------------------------------------

    def change(self, edit: Edit) -> int | None:
        """Make a change, or keep it until its time comes. Returns the number of the point, if it is of one and known.

        Raises:
            ChangeRefusedError: the point is not in a state for that.
            KeyError: there is no such point.
        """
        now = self._read()
        if edit.is_of_history:
            index = self.history.index(edit.tag)
            if edit.action in {"damage", "heal"}:
                self.history.damage(index, change_of(edit))
            else:
                self.history.change(index, change_of(edit))
            return index
        at = now if edit.at is None else ticks_of(edit.at)
        if at > now:
            heappush(self._waiting, (at, next(self._order), edit))
            return None
        return self._make(edit, at)

    def change_assets(self, edit: AssetEdit) -> int:
        """Change the asset tree or an event frame, at once. Returns the number of the element or frame.

        Raises:
            ChangeRefusedError: the change makes no sense as things stand.
            KeyError: there is no such element, attribute or frame.
        """
        return self.frames.change(edit, self._read()) if edit.is_of_frame else self.plant.change(edit)

    def _make(self, edit: Edit, at: int) -> int | None:
        if edit.is_of_set:
            self.digital_sets.change(edit)
            self.history.state_names_changed()
            return None
        return self._change_point(edit, at)

    def _change_point(self, edit: Edit, at: int) -> int:
        index = None if edit.action == "create_point" else self.history.index(edit.tag)
        changed = self.registry.change(edit, index, at)
        if edit.action == "restore_point" and not edit.history:
            self.history.change(changed, Change("delete", NEVER, at))
        self.history.point_names_changed()
        return changed

    def _apply_due(self, now: int) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            at, _, edit = heappop(self._waiting)
            try:
                self._make(edit, at)
            except (ChangeRefusedError, KeyError) as error:
                self.failed.append(f"{edit.action} of {edit.digital_set if edit.is_of_set else edit.tag!r}: {error}")

    # --- who a WebID names ---------------------------------------------------

    def tag(self, request: IncomingRequest, web_id: str) -> int:
        """Index of the tag a WebID of any kind names. Raises a 400 or 404, or what a tag in trouble says."""
        number = fast_point_id(web_id)
        if number is None:
            found = decode(web_id)
            if found.marker != "DP":
                raise refused(400, f"The specified WebId '{web_id}' is not of a supported type.")
            index = self._by_path(found.path) if found.path is not None else found.numbers[0] - FIRST_ID
        else:
            index = number - FIRST_ID
        return self.require_readable(request, index, "")

    def tag_by_path(self, request: IncomingRequest, path: str) -> int:
        r"""Index of the tag at `\\SERVER\TAG`. Raises a 404."""
        return self.require_readable(request, self._by_path(path), path.rpartition("\\")[2])

    def require_readable(self, request: IncomingRequest, index: int | None, name: str) -> int:
        if index is None or not 0 <= index < self.registry.size:
            raise _missing(name)
        forbidden = None
        if index in self.registry.unreadable:
            state = self.registry.state(index)
            forbidden = state.forbidden
            if state.gone:
                raise _missing(name)
        if self.watch_tags:
            request.touched.append(index)
            fault = self.history.fault(index)
            if fault and fault.gone:
                raise _missing(name)
            forbidden = forbidden or (fault.forbidden if fault else None)
        if forbidden == 403:
            raise refused(403, "Access to the requested resource is denied.")
        if forbidden == 500:
            raise refused(500, "[-10401] No Read Access - Secure Object")
        return index

    def _by_path(self, path: str | None) -> int | None:
        server, _, name = (path or "").removeprefix("\\\\").partition("\\")
        return self.registry.find(name) if server.casefold() == self.options.server.casefold() else None

    def point(self, index: int) -> Point:
        return self.registry.point(index)

    def path(self, tag: Point) -> str:
        return f"\\\\{self.options.server}\\{tag.name}"

    def web_id(self, kind: str, tag: Point) -> str:
        return encode(kind, "DP", (tag.id,), self.path(tag) if kind in "FP" else "")

    def server_web_id(self, kind: str) -> str:
        return encode(kind, "DS", (), f"\\\\{self.options.server}")

    def uptime_minutes(self, now: int) -> int:
        return max(0, now - self.options.begin_ticks) // (60 * SECOND)


def _missing(name: str) -> Refusal:
    return refused(404, f"PI Point not found '{name}'." if name else "PI Point not found.")
