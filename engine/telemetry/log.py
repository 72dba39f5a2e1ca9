"""Logging: to standard error, as text or as one JSON object a line. Names begin with `osipi`."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict

from rich.console import Console
from rich.logging import RichHandler

from ..clock import monotonic
from .events import Cleared, DiscoveryFailed, Event, HoleNoted, Paused, RequestFailed, StatesSynced, TagFailed
from .report_text import named, window

__all__ = ["EventLog", "set_up_logging"]

LOG = logging.getLogger("osipi.run")
REPEAT_SECS = 10.0


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime


def set_up_logging(console: Console, *, level: str, as_json: bool) -> None:
    """Send the product's log to the console (standard error). Foreign loggers keep their own level."""
    handler: logging.Handler
    if console.is_terminal and not as_json:
        handler = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S", rich_tracebacks=False)
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_JsonLines() if as_json else _TextLines())
    logger = logging.getLogger("osipi")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # It warns of every host that does not describe itself, and goes on all the same.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)


class EventLog:
    """Lines from events, those about tags and requests at most once in ten seconds of a kind."""

    def __init__(self, *, follow: bool = False) -> None:
        self._how_long = "for some cycles" if follow else "of this run"
        self._last: dict[type, float] = {}
        self._held: dict[type, int] = defaultdict(int)

    def __call__(self, event: Event) -> None:
        match event:
            case RequestFailed():
                self._say(logging.WARNING, event, "request for %d tags failed: %s", event.tags, event.reason)
            case TagFailed():
                reason = event.reason.removeprefix(f"tag {event.tag}: ")
                self._say(logging.WARNING, event, f"tag %s is left out {self._how_long}: %s", event.tag, reason)
            case HoleNoted(tag=tag, change=change):
                where = window(change.start, change.end)
                if change.error is None:
                    self._say(logging.INFO, event, "tag %s: what could not be read %s was read now", tag, where)
                else:
                    why = change.error.removeprefix(f"tag {tag}: ")
                    self._say(
                        logging.WARNING, event, "tag %s cannot be read %s, and is read around it: %s", tag, where, why
                    )
            case Cleared():
                self._say(logging.INFO, event, "tag %s fails no more", event.tag)
            case Paused():
                LOG.warning("the source gave out: %s; it is asked again in %.0f s", event.reason, event.seconds)
            case DiscoveryFailed():
                LOG.warning("looking for new tags failed: %s; those that are known are read on", event.reason)
            case StatesSynced():
                _warn_of_states(event)
            case _:
                pass

    def _say(self, level: int, event: Event, text: str, *values: object) -> None:
        kind = type(event)
        now = monotonic()
        if now - self._last.get(kind, -REPEAT_SECS) < REPEAT_SECS:
            self._held[kind] += 1
            return
        held = self._held.pop(kind, 0)
        LOG.log(level, text + "%s", *values, f" ({held} more like this)" if held else "")  # noqa: G003 - text is ours
        self._last[kind] = now


def _warn_of_states(event: StatesSynced) -> None:
    if event.unread:
        LOG.warning("digital sets could not be read, and stay as they were: %s", named(event.unread))
    if event.doubled:
        sets = ", ".join(event.doubled)
        LOG.warning("digital sets have several states of one code, of which the first by name is taken: %s", sets)
    if event.problem:
        LOG.warning("pi_digital_states was not written: %s; values are read all the same", event.problem.rstrip("."))
