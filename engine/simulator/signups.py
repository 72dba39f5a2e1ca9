"""Who signed up for updates of which stream, and how far each has been told.

No events are kept: a sign-up is an instant and a count of changes, and what happened since is worked
out when somebody asks. So 30,000 of them cost a few megabytes. Every instance behind a load balancer
knows only its own; idle ones expire.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from uuid import uuid4

from .faults import Switches
from .replies import refused
from .times import SECOND

__all__ = ["Signup", "Signups"]

_MARKER = re.compile(r"([0-9a-f]{32})_(\d{1,18})", re.ASCII)


@dataclass(slots=True)
class Signup:
    """One stream signed up with one instance. Told are all events up to `since` and so many changes of history."""

    identity: str
    instance: int
    index: int
    since: int
    changes: int
    version: int
    touched: float
    told: int = 0

    @property
    def marker(self) -> str:
        return f"{self.identity}_{self.told}"


class Signups:
    """All sign-ups of all instances."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._known: dict[str, Signup] = {}
        self._by_tag: dict[tuple[int, int], Signup] = {}
        self._instance = 0
        self._swept = 0.0

    def __repr__(self) -> str:
        return f"Signups({len(self)})"

    def __len__(self) -> int:
        return len(self._known)

    def visit(self) -> None:
        """A request came in: the balancer hands it to the next instance."""
        self._instance = (self._instance + 1) % self._switches.updates_instances

    def forget(self) -> None:
        """Every instance was started anew."""
        self._known.clear()
        self._by_tag.clear()

    def drop(self, signup: Signup) -> None:
        self._known.pop(signup.identity, None)
        self._by_tag.pop((signup.instance, signup.index), None)

    def register(self, index: int, now: int, *, changes: int, version: int) -> tuple[Signup, bool]:
        """Sign up for a tag, and whether that is news to this instance."""
        at = self._secs(now)
        self._sweep(at)
        known = self._by_tag.get((self._instance, index))
        if known is not None and not self._idle(known, at):
            known.touched = at
            return known, False
        if known is not None:
            self.drop(known)
        # By chance, not by seed: a marker from before a restart must mean nothing after it.
        signup = Signup(uuid4().hex, self._instance, index, now, changes, version, at)
        self._known[signup.identity] = self._by_tag[signup.instance, index] = signup
        return signup, True

    def find(self, marker: str, now: int) -> Signup:
        """The sign-up a marker speaks of. Raises a 409 for a marker that is none, a 404 for a lost one."""
        match = _MARKER.fullmatch(marker)
        if match is None:
            raise refused(409, f"The marker '{marker}' is invalid.")
        at = self._secs(now)
        signup = self._known.get(match[1])
        if signup is not None and self._idle(signup, at):
            self.drop(signup)
            signup = None
        if signup is None or signup.instance != self._instance:
            raise refused(404, f"The cache for marker '{marker}' was not found.")
        if signup.marker != marker:
            raise refused(409, f"The marker '{marker}' is invalid.")
        signup.touched = at
        return signup

    def _secs(self, now: int) -> float:
        return now / SECOND if self._switches.updates_clock == "simulated" else time.monotonic()

    def _idle(self, signup: Signup, at: float) -> bool:
        return at - signup.touched > self._switches.updates_idle_secs

    def _sweep(self, at: float) -> None:
        """Drop what nobody asked for; looked for once in a lifetime, not at every sign-up."""
        if at - self._swept > self._switches.updates_idle_secs:
            self._swept = at
            for signup in [signup for signup in self._known.values() if self._idle(signup, at)]:
                self.drop(signup)
