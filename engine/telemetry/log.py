"""Logging: to standard error, as text or as one JSON object a line. Names begin with `osipi`."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from ..clock import monotonic
from .events import (
    Cleared,
    DatasetSynced,
    DiscoveryFailed,
    HoleNoted,
    Paused,
    RequestFailed,
    RunEvent,
    TagFailed,
)
from .formats import json_text, one_line, printable, reason
from .log_fields import RUN_FIELDS
from .report import named, window

LOG = logging.getLogger("osipi.run")
REPEAT_SECS = 10.0


class _JsonLines(logging.Formatter):
    """One JSON object a line. Control characters are escaped, so that values stay exact."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(RUN_FIELDS.get() or {}),
        }
        dataset = getattr(record, "dataset", None)
        if dataset:
            line["dataset"] = dataset
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json_text(line)


class _TextLines(logging.Formatter):
    """Text. A record is one line, with any text of a server in it; of a traceback, each line is one."""

    def __init__(self, form: str = "%(asctime)sZ %(levelname)-7s %(message)s") -> None:
        super().__init__(form, "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's
        return printable(super().formatException(ei))


def set_up_logging(console: Console, *, level: str, as_json: bool) -> None:
    """Send the product's log to the console (standard error). Foreign loggers keep their own level."""
    handler: logging.Handler
    if logging.lastResort is not None:  # it prints the warnings of libraries, which may quote a server
        logging.lastResort.setFormatter(_TextLines("%(message)s"))
    if console.is_terminal and not as_json:
        handler = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S", rich_tracebacks=False)
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_JsonLines() if as_json else _TextLines())
    logger = logging.getLogger("osipi")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # It warns about hosts without metadata, and works anyway.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)


class EventLog:
    """Logs events. Of events about tags and requests, one of each kind in ten seconds."""

    def __init__(self, *, follow: bool = False) -> None:
        self._how_long = "for some cycles" if follow else "of this run"
        self._last: dict[type, float] = {}
        self._held: dict[type, int] = defaultdict(int)

    def __call__(self, event: RunEvent) -> None:
        match event:
            case RequestFailed():
                self._say(logging.WARNING, event, "request for %d tags failed: %s", event.tags, event.reason)
            case TagFailed():
                why = reason(event.tag, event.reason)
                self._say(logging.WARNING, event, f"tag %s is left out {self._how_long}: %s", event.tag, why)
            case HoleNoted(tag=tag, change=change):
                where = window(change.start, change.end)
                if change.error is None:
                    self._say(logging.INFO, event, "tag %s: what could not be read %s was read now", tag, where)
                else:
                    why = reason(tag, change.error)
                    self._say(
                        logging.WARNING, event, "tag %s cannot be read %s, and is read around it: %s", tag, where, why
                    )
            case Cleared():
                self._say(logging.INFO, event, "tag %s fails no more", event.tag)
            case Paused():
                LOG.warning("the source gave out: %s; it is asked again in %.0f s", event.reason, event.seconds)
            case DiscoveryFailed():
                LOG.warning("looking for new tags failed: %s; those that are known are read on", event.reason)
            case DatasetSynced():
                _warn_of(event)
            case _:
                pass

    def _say(self, level: int, event: RunEvent, text: str, *values: object) -> None:
        kind = type(event)
        now = monotonic()
        if now - self._last.get(kind, -REPEAT_SECS) < REPEAT_SECS:
            self._held[kind] += 1
            return
        held = self._held.pop(kind, 0)
        more = f" ({held} more like this)" if held else ""
        LOG.log(level, text + "%s", *values, more, extra=_of(event))  # noqa: G003 - text is ours
        self._last[kind] = now


def _of(event: RunEvent) -> dict[str, str]:
    """The dataset that an event is about, for lines in JSON."""
    return {"dataset": getattr(event, "dataset", "")}


def _warn_of(event: DatasetSynced) -> None:
    if event.unread:
        what = event.dataset.replace("_", " ")
        LOG.warning("%s could not be read, and stay as they were: %s", what, named(event.unread), extra=_of(event))
    if event.problem:
        text = "%s was not written: %s; values are read all the same"
        LOG.warning(text, event.table, event.problem.rstrip("."), extra=_of(event))
