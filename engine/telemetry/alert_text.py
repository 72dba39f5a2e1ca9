"""The words of an alert, and the body in which each kind of receiver takes them. Pure.

Invariant: no text of a server is markup. It can mention no one, and shows no link that is not its own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from ..model import Micros
from .alerts import Kind, Message
from .formats import format_time, one_line

ReceiverKind: TypeAlias = Literal["slack", "teams", "webhook"]
DEFAULT_TEMPLATE: Final = "{title}: pipeline {pipeline}: {text}"
TEST_TEXT: Final = "a test message; nothing is wrong"
_LONGEST_DETAIL: Final = 1500
_ILL: Final[dict[Kind, str]] = {
    "run_failed": "the run failed",
    "tags_failed": "tags failed",
    "holes": "some time could not be read",
    "stale": "the data is too old",
}
_WELL: Final[dict[Kind, str]] = {
    "run_failed": "runs succeed again",
    "tags_failed": "no tag fails any more",
    "holes": "there are no holes any more",
    "stale": "the data is fresh again",
}


@dataclass(frozen=True, slots=True)
class Sender:
    """Which run sends it."""

    pipeline: str
    run_id: str
    shard: str


def fields_of(message: Message, sender: Sender, title: str) -> dict[str, str]:
    """What a template may name (`config.ALERT_FIELDS`), one line each."""
    detail = message.detail
    detail = detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}..."
    head = (_ILL if message.ill else _WELL)[message.kind]
    status = "alert" if message.ill else "recovered"
    text = f"{head}: {detail}" if detail else f"{head} (since {format_time(message.since)})"
    return _fields(sender, title, message.since, state=message.kind, status=status, text=text, detail=detail)


def fields_of_test(sender: Sender, title: str, at: Micros) -> dict[str, str]:
    """The same of a message that only tries the channel."""
    return _fields(sender, title, at, state="test", status="test", text=TEST_TEXT, detail="")


def _fields(sender: Sender, title: str, since: Micros, **of_message: str) -> dict[str, str]:
    found = {
        "title": title,
        "pipeline": sender.pipeline,
        **of_message,
        "since": datetime.fromtimestamp(since // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "run_id": sender.run_id,
        "shard": sender.shard,
    }
    return {name: one_line(text) for name, text in found.items()}


def body_of(kind: ReceiverKind, fields: dict[str, str], template: str) -> dict[str, Any]:
    """The JSON body of the request: a Slack message, an Adaptive Card of Teams, or an object of the fields."""
    match kind:
        case "slack":
            # What Slack reads as markup begins with one of these three.
            return {"text": template.format_map({name: _escaped(text) for name, text in fields.items()})}
        case "teams":
            return _card(fields["title"], template.format_map(fields))
        case "webhook":
            return {**fields, "text": template.format_map(fields)}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _card(title: str, text: str) -> dict[str, Any]:
    """Runs of text know no Markdown, unlike blocks of text."""
    runs = [{"type": "TextRun", "text": text}]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": title,
        "body": [{"type": "RichTextBlock", "inlines": runs}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}
