"""What a person sees while a run follows: on a terminal one line that stays, else a line for each cycle.

Either way a sum of the last cycles now and then. Nothing here grows with time, decides anything, or is
printed to standard output.
"""

from __future__ import annotations

import logging
import time

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

from ..clock import wall_micros
from .events import (
    Answered,
    Cycled,
    DatasetSynced,
    Finished,
    Paused,
    Planned,
    RunEvent,
    Started,
    Stopping,
    Summed,
    TagsFound,
)
from .freshness import Freshness
from .progress import Display, LogProgress, can_move, log_changes, spinner

LOG = logging.getLogger("osipi.run")


def display_of_following(console: Console) -> Display:
    """A live display on a terminal, else log lines."""
    return FollowedLive(console) if can_move(console) else FollowedLog()


class FollowedLog(LogProgress):
    """The lines of a run, and one for each cycle. The plan is logged for the first cycle only, which may be long."""

    def __init__(self) -> None:
        super().__init__()
        self._first = True

    def __call__(self, event: RunEvent) -> None:
        match event:
            case Cycled() | Summed():
                self._first = False
                LOG.info("%s", in_words(event))
            case Planned() if not self._first:
                self.begin()
            case TagsFound() if not self._first:
                pass
            case Finished():
                LOG.info("%s", event.status)
            case _:
                super().__call__(event)


class _Next:
    """What comes next, and when. Computed at each refresh."""

    def __init__(self, text: str, waits: str, secs: float, then: str) -> None:
        self._text, self._waits, self._then = text, waits, then
        self._at = wall_micros() / 1e6 + secs

    def __rich__(self) -> Text:
        if wall_micros() / 1e6 >= self._at:
            return Text(f"{self._text}{self._then}")
        at = time.strftime("%H:%M:%S", time.localtime(self._at))
        return Text(f"{self._text}{self._waits} {at}")


class FollowedLive:
    """One line on a terminal, about the last cycle and the next one. Sums are logged."""

    def __init__(self, console: Console) -> None:
        self._status = Status("connecting", console=console, spinner=spinner(console), refresh_per_second=4)
        self._last = ""
        self._status.start()

    def __call__(self, event: RunEvent) -> None:
        match event:
            case Started():
                self._show(f"reaching {event.source}")
            case TagsFound() if not self._last:
                self._show(f"{event.tags:,} tags found, reading watermarks")
            case Planned():
                self._show(f"{self._last}reading {event.tags:,} tags")
            case Answered() if not self._last:
                self._show(f"first cycle, {event.fraction_done:.0%} done")
            case Cycled():
                self._last = f"{in_words(event)}; "
                self._status.update(_Next(self._last, "next at", event.next_secs, "asking the server for its time"))
            case Paused():
                waits = "the source gave out; it is asked again at"
                self._status.update(
                    _Next(self._last, waits, event.seconds, "the source gave out; it is asked again now")
                )
            case Summed():
                LOG.info("%s", in_words(event))
            case DatasetSynced() if self._last:
                log_changes(event)
            case Stopping():
                self._show(f"stopping ({event.reason})")
            case Finished():
                LOG.info("%s", event.status)
            case _:
                pass

    def _show(self, text: str) -> None:
        self._status.update(Text(text))  # no markup: an address may have brackets

    def drawn(self) -> RenderableType:
        """What the screen shows now."""
        return self._status.renderable

    def close(self) -> None:
        self._status.stop()


def in_words(event: Cycled | Summed) -> str:
    """A cycle, or several, in one line."""
    failing = f", {event.failing:,} failing" if event.failing else ""
    skipped = f", {event.skipped:,} ticks skipped" if event.skipped else ""
    if isinstance(event, Cycled):
        return (
            f"cycle {event.number:,} ({', '.join(event.classes)}): {event.tags:,} tags, {event.rows:,} events "
            f"in {event.seconds:.1f} s{failing}{skipped}"
        )
    return (
        f"{event.cycles:,} cycles in {event.seconds / 60:.0f} min: {event.rows:,} events"
        f"{_fresh(event.fresh)}{failing}{skipped}"
    )


def _fresh(fresh: Freshness | None) -> str:
    return f", behind the source {fresh.p50:.0f} s (p50), {fresh.p95:.0f} s (p95)" if fresh else ""
