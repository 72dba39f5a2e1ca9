"""What a person sees while a run goes on: a live display on a terminal, else a log line now and then.

Both read the same tally. Nothing here decides anything, and nothing is printed to standard output.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from ..clock import monotonic
from .events import (
    Answered,
    Committed,
    DatasetProgress,
    DatasetSynced,
    Finished,
    Planned,
    RequestFailed,
    RunEvent,
    Started,
    Stopping,
    TagsFound,
)

LOG = logging.getLogger("osipi.run")
LOG_EVERY_SECS = 5.0
# Without an answer for so long, the remaining time is unknown: the display says how long there was no answer.
SILENT_SECS = 30.0
# Columns of the bar, on a screen that is at least so wide and on others.
_WIDE_BAR, _NARROW_BAR, _WIDE_SCREEN = 30, 20, 100


class Display(Protocol):
    """A subscriber to events that has to be closed."""

    def __call__(self, event: RunEvent) -> None: ...

    def close(self) -> None: ...


def display_for(console: Console) -> Display:
    """A live display on a terminal that can move its cursor, else log lines."""
    return LiveProgress(console) if can_move(console) else LogProgress()


def can_move(console: Console) -> bool:
    """Whether the console is a terminal that can overwrite what it shows."""
    return console.is_terminal and not console.is_dumb_terminal


def spinner(console: Console) -> str:
    """One whose signs the encoding has: a sign that is spelt out is longer than it looks, and lines would pile up."""
    return "line" if console.options.ascii_only else "dots"


def in_time(secs: float) -> str:
    """The remaining time, rounded to what is known."""
    if secs < 90:
        return f"about {max(1, round(secs))} s left"
    if secs < 90 * 60:
        return f"about {secs / 60:.0f} min left"
    return f"about {secs / 3600:.1f} h left" if secs < 48 * 3600 else f"about {secs / 86_400:.1f} d left"


class Left:
    """The remaining time by the last answer; or, without answers for some time, how long there was none."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._at: float | None = None

    def take(self, event: RunEvent) -> None:
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
    """Computed at each refresh of the display."""

    max_refresh = 0.5

    def __init__(self, left: Left, table_column: Column) -> None:
        super().__init__(table_column)
        self._left = left

    def render(self, task: Task) -> Text:
        return Text(str(self._left) if task.id == 0 else "", style="cyan")  # of the run; datasets have lines below


class Rates:
    """Events so far and per second."""

    def __init__(self) -> None:
        self.read = self.written = self.failed = 0
        self._since = monotonic()

    def take(self, event: RunEvent) -> None:
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
    """A line with a bar and the remaining time, and the rates in a line of their own. Lines wrap between words only, and
    the bar stays as wide as it is: 80 columns are enough.
    """

    def __init__(self, console: Console) -> None:
        self._rates = Rates()
        self._left = Left()
        whole = partial(Column, no_wrap=True)
        self._progress = Progress(
            SpinnerColumn(spinner(console), table_column=whole()),
            TextColumn("{task.description}", markup=False, table_column=Column()),
            BarColumn(bar_width=_WIDE_BAR if console.width >= _WIDE_SCREEN else _NARROW_BAR, table_column=whole()),
            TaskProgressColumn(table_column=whole()),
            _LeftColumn(self._left, table_column=whole()),
            console=console,
        )
        self._detail = Text()
        self._live = Live(get_renderable=self.drawn, console=console, transient=True, refresh_per_second=10)
        self._task = self._progress.add_task("connecting", total=None)
        self._datasets: dict[str, TaskID] = {}
        self._live.start()

    def __call__(self, event: RunEvent) -> None:
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
                self._update(completed=event.fraction_done)
                self._detail = Text(str(self._rates))
            case Committed():
                self._detail = Text(str(self._rates))
            case DatasetProgress():
                self._of_dataset(event)
            case DatasetSynced():
                self._end_of_dataset(event.dataset)
            case Stopping():
                self._update(description=f"stopping ({event.reason})")
            case _:
                pass

    def _of_dataset(self, event: DatasetProgress) -> None:
        """A line of its own, while the dataset is read."""
        if event.dataset not in self._datasets:
            self._datasets[event.dataset] = self._progress.add_task("", total=1.0)
        task = self._datasets[event.dataset]
        self._progress.update(task, description=event.text, total=None if event.share is None else 1.0)
        if event.share is not None:
            self._progress.update(task, completed=event.share)

    def _end_of_dataset(self, name: str) -> None:
        if (task := self._datasets.pop(name, None)) is not None:
            self._progress.remove_task(task)

    def _update(self, **fields: object) -> None:
        self._progress.update(self._task, **fields)  # type: ignore[arg-type]  # rich types each field apart

    def drawn(self) -> RenderableType:
        """What the screen shows now."""
        return Group(self._progress.get_renderable(), self._detail) if self._detail else self._progress.get_renderable()

    def close(self) -> None:
        self._live.stop()


class LogProgress:
    """One line every few seconds, for logs of jobs."""

    def __init__(self, *, every_secs: float = LOG_EVERY_SECS) -> None:
        self._every_secs = every_secs
        self.begin()

    def begin(self) -> None:
        """Start counting."""
        self._rates = Rates()
        self._last = self._progressed = monotonic()

    def __call__(self, event: RunEvent) -> None:
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
                    extra={"dataset": event.dataset},
                )
            case DatasetSynced():
                log_changes(event)
            case DatasetProgress() if monotonic() - self._progressed >= self._every_secs:
                self._progressed = monotonic()
                share = "" if event.share is None else f"{100 * event.share:.1f} % done: "
                LOG.info("%s%s", share, event.text, extra={"dataset": event.dataset})
            case Answered() if monotonic() - self._last >= self._every_secs:
                self._last = monotonic()
                left = "" if event.left_secs is None else f", {in_time(event.left_secs)}"
                done = 100 * event.fraction_done
                LOG.info("%.1f %% done%s: %s", done, left, self._rates, extra={"dataset": event.dataset})
            case Stopping():
                LOG.warning("stopping: %s; what is complete is committed", event.reason)
            case Finished():
                LOG.info("%s: %s", event.status, self._rates)
            case _:
                pass

    def close(self) -> None:
        """Nothing to close."""


def log_changes(event: DatasetSynced) -> None:
    """Log what has changed in a table that follows the source."""
    if event.added or event.changed or event.missing:
        what = event.dataset.replace("_", " ")
        extra = {"dataset": event.dataset}
        LOG.info("%s: %d new, %d changed, %d gone", what, event.added, event.changed, event.missing, extra=extra)
