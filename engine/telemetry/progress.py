"""What a person sees while a run goes on: a live display on a terminal, else a log line now and then.

Both read the same tally. Nothing here decides anything, and nothing is printed to standard output.
"""

from __future__ import annotations

import logging
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from ..clock import monotonic
from .events import (
    Answered,
    Committed,
    Event,
    Finished,
    Planned,
    RequestFailed,
    Started,
    StatesSynced,
    Stopping,
    TagsFound,
)

__all__ = [
    "Display",
    "LiveProgress",
    "LogProgress",
    "can_move",
    "display_for",
    "in_time",
    "spinner",
    "tell_of_states",
]

LOG = logging.getLogger("osipi.run")
LOG_EVERY_SECS = 5.0
# Without an answer for so long, how long the rest would take says nothing: it is told how long nothing came.
SILENT_SECS = 30.0


class Display(Protocol):
    """A subscriber to events that must be closed."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


def display_for(console: Console) -> Display:
    """Live where somebody can watch, lines elsewhere, and on a terminal that cannot move its cursor."""
    return LiveProgress(console) if can_move(console) else LogProgress()


def can_move(console: Console) -> bool:
    """Whether it is a terminal that can write over what it has shown."""
    return console.is_terminal and not console.is_dumb_terminal


def spinner(console: Console) -> str:
    """One whose signs the encoding has: a sign that is spelt out is longer than it looks, and lines would pile up."""
    return "line" if console.options.ascii_only else "dots"


def in_time(secs: float) -> str:
    """About how long, as coarse as it is known."""
    if secs < 90:
        return f"about {max(1, round(secs))} s left"
    if secs < 90 * 60:
        return f"about {secs / 60:.0f} min left"
    return f"about {secs / 3600:.1f} h left" if secs < 48 * 3600 else f"about {secs / 86_400:.1f} d left"


class _Left:
    """How long the rest takes, as the last answer had it; where none comes any more, since when none has come."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._at: float | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._left, self._at = None, monotonic()
        elif isinstance(event, Answered):
            self._left, self._at = event.left_secs, monotonic()

    def __str__(self) -> str:
        if self._at is None:
            return ""
        silent = monotonic() - self._at
        if silent > SILENT_SECS:
            return f"no answer for {silent:.0f} s" if silent < 90 else f"no answer for {silent / 60:.0f} min"
        return "" if self._left is None else in_time(max(0.0, self._left - silent))


class _LeftColumn(ProgressColumn):
    """Asked again whenever the display is drawn, so that what it says has not passed."""

    max_refresh = 0.5

    def __init__(self, left: _Left) -> None:
        super().__init__()
        self._left = left

    def render(self, _task: Task) -> Text:
        return Text(str(self._left), style="cyan")


class _Rates:
    """Events so far and per second."""

    def __init__(self) -> None:
        self.read = self.written = self.failed = 0
        self._since = monotonic()

    def take(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._since = monotonic()
        elif isinstance(event, Answered):
            self.read += event.read
        elif isinstance(event, Committed):
            self.written += event.rows
        elif isinstance(event, RequestFailed):
            self.failed += 1

    def __str__(self) -> str:
        per_second = self.read / max(1e-6, monotonic() - self._since)
        failed = f", {self.failed} requests failed" if self.failed else ""
        return f"{self.read:,} events read ({per_second:,.0f}/s), {self.written:,} committed{failed}"


class LiveProgress:
    """A bar over the time that the plan takes, with rates, on the console it is given."""

    def __init__(self, console: Console) -> None:
        self._rates = _Rates()
        self._left = _Left()
        self._progress = Progress(
            SpinnerColumn(spinner(console)),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            _LeftColumn(self._left),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("connecting", total=None, detail="")
        self._progress.start()

    def __call__(self, event: Event) -> None:
        self._rates.take(event)
        self._left.take(event)
        match event:
            case Started():
                self._update(description=f"reaching {event.source}")
            case TagsFound():
                self._update(description=f"{event.tags:,} tags found, reading watermarks")
            case Planned():
                self._update(description=f"{event.tags:,} tags", total=1.0)
            case Answered():
                self._update(completed=event.fraction_done, detail=str(self._rates))
            case Committed():
                self._update(detail=str(self._rates))
            case Stopping():
                self._update(description=f"stopping ({event.reason})")
            case _:
                pass

    def _update(self, **fields: object) -> None:
        self._progress.update(self._task, **fields)  # type: ignore[arg-type]  # rich types each field apart

    def drawn(self) -> RenderableType:
        """What is on the screen, as of now."""
        return self._progress.get_renderable()

    def close(self) -> None:
        self._progress.stop()


class LogProgress:
    """One line every few seconds, for logs of jobs."""

    def __init__(self, *, every_secs: float = LOG_EVERY_SECS) -> None:
        self._every_secs = every_secs
        self.begin()

    def begin(self) -> None:
        """Count from here on."""
        self._rates = _Rates()
        self._last = monotonic()

    def __call__(self, event: Event) -> None:
        self._rates.take(event)
        match event:
            case Started():
                LOG.info(
                    "run %s of %s (shard %s): %s -> %s",
                    event.run_id, event.pipeline, event.shard, event.source, event.target,
                )  # fmt: skip
            case TagsFound():
                LOG.info("%d tags found, %d not, in %.1f s", event.tags, event.unresolved, event.seconds)
            case Planned():
                LOG.info(
                    "%d tags to read, %d up to date, about %d events",
                    event.tags,
                    event.tags_done,
                    event.expected_values,
                )
            case StatesSynced():
                tell_of_states(event)
            case Answered() if monotonic() - self._last >= self._every_secs:
                self._last = monotonic()
                left = "" if event.left_secs is None else f", {in_time(event.left_secs)}"
                LOG.info("%.1f %% done%s: %s", 100 * event.fraction_done, left, self._rates)
            case Stopping():
                LOG.warning("stopping: %s; what is complete is committed", event.reason)
            case Finished():
                LOG.info("%s: %s", event.status, self._rates)
            case _:
                pass

    def close(self) -> None:
        """Nothing is held."""


def tell_of_states(event: StatesSynced) -> None:
    """A line where digital states are not what they were."""
    if event.added or event.changed or event.missing:
        LOG.info("digital states: %d new, %d changed, %d gone", event.added, event.changed, event.missing)
