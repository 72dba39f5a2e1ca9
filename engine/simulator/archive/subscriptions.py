"""Subscriptions to the updates of streams, and how far each of them has come.

A subscription keeps no events, only an instant and a count of changes; the updates are computed when a client asks.
So 30,000 subscriptions take a few megabytes. Each instance behind a load balancer knows only its own subscriptions.
Idle subscriptions expire.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from uuid import uuid4

from ..faults.plan import Switches
from ..replies import refused
from ..times import SECOND

_MARKER = re.compile(r"([0-9a-f]{32})_(\d{1,18})", re.ASCII)


@dataclass(slots=True)
class Subscription:
    """One stream on one instance. The client knows all events up to `since`, and the first `changes` changes of history."""

    identity: str
    instance: int
    index: int
    since: int
    changes: int
    version: int
    touched: float
    sent: int = 0

    @property
    def marker(self) -> str:
        return f"{self.identity}_{self.sent}"


class Subscriptions:
    """All subscriptions of all instances."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._known: dict[str, Subscription] = {}
        self._by_tag: dict[tuple[int, int], Subscription] = {}
        self._instance = 0
        self._swept = 0.0

    def __repr__(self) -> str:
        return f"Subscriptions({len(self)})"

    def __len__(self) -> int:
        return len(self._known)

    def visit(self) -> None:
        """Route a request: the load balancer passes it to the next instance."""
        self._instance = (self._instance + 1) % self._switches.updates_instances

    def forget(self) -> None:
        """Forget all subscriptions, as when all instances are restarted."""
        self._known.clear()
        self._by_tag.clear()

    def drop(self, subscription: Subscription) -> None:
        self._known.pop(subscription.identity, None)
        self._by_tag.pop((subscription.instance, subscription.index), None)

    def register(self, index: int, now: int, *, changes: int, version: int) -> tuple[Subscription, bool]:
        """Subscribe to a tag. Returns the subscription, and whether it is new on this instance."""
        at = self._secs(now)
        self._sweep(at)
        known = self._by_tag.get((self._instance, index))
        if known is not None and not self._idle(known, at):
            known.touched = at
            return known, False
        if known is not None:
            self.drop(known)
        # Random, not from the seed: a marker from before a restart must not be valid after it.
        subscription = Subscription(uuid4().hex, self._instance, index, now, changes, version, at)
        self._known[subscription.identity] = self._by_tag[subscription.instance, index] = subscription
        return subscription, True

    def find(self, marker: str, now: int) -> Subscription:
        """The subscription of a marker. Raises a 409 for a malformed or old marker, a 404 for a lost one."""
        match = _MARKER.fullmatch(marker)
        if match is None:
            raise refused(409, f"The marker '{marker}' is invalid.")
        at = self._secs(now)
        subscription = self._known.get(match[1])
        if subscription is not None and self._idle(subscription, at):
            self.drop(subscription)
            subscription = None
        if subscription is None or subscription.instance != self._instance:
            raise refused(404, f"The cache for marker '{marker}' was not found.")
        if subscription.marker != marker:
            raise refused(409, f"The marker '{marker}' is invalid.")
        subscription.touched = at
        return subscription

    def _secs(self, now: int) -> float:
        return now / SECOND if self._switches.updates_clock == "simulated" else time.monotonic()

    def _idle(self, subscription: Subscription, at: float) -> bool:
        return at - subscription.touched > self._switches.updates_idle_secs

    def _sweep(self, at: float) -> None:
        """Drop idle subscriptions. Runs once per idle time, not at every registration."""
        if at - self._swept > self._switches.updates_idle_secs:
            self._swept = at
            for subscription in [subscription for subscription in self._known.values() if self._idle(subscription, at)]:
                self.drop(subscription)
