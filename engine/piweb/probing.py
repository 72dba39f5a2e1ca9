"""What the answer to a probe proves: the server understands such requests, or what is wrong with them. Pure.

A probe asks what the run will ask. A gateway may serve PI Web API under another path, which the sub-requests of a batch
do not know. A firewall may refuse every POST. A server may answer another question. Invariant: an error of one tag
proves nothing against a way of asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.model import Ask

from .http import Response
from .problems import excerpt_of, is_from_pi, sentence_of, status_text
from .times import TICKS_PER_MICRO, iso_text, parse_ticks
from .values import parse_json

# Some servers round an event to the second, or show one just outside.
_SLACK = 1_000_000
# How a server, or what lies before it, may say that a sub-request asks for too long a time.
_TOO_MUCH = frozenset({408, 413, 502, 503, 504})
_NO_ROUTE_WORDS = ("no http resource was found", "no type was found that matches")


def batch_trouble(response: Response, keys: Sequence[str], asks: Sequence[Ask] = ()) -> str:
    """Why a batch was not understood; empty if it was. `asks` are those of its keys, where it asks for values."""
    try:
        parts = parse_json(response.body)
    except ValueError:
        parts = None
    if not isinstance(parts, dict):
        return "the answer is none to a batch"
    for n, key in enumerate(keys):
        part = parts.get(key)
        if not isinstance(part, dict) or not isinstance(status := part.get("Status"), int):
            return "a request inside of the batch was not answered"
        content = part.get("Content")
        if why := _inner_trouble(status, content):
            return f"a request inside of the batch was answered {status_text(status)}: {why}"
        if n < len(asks) and 200 <= status < 300 and (stray := stray_event(content, asks[n])):
            return stray
    return ""


def may_be_too_much(response: Response, keys: Sequence[str]) -> bool:
    """Whether a batch in trouble may only have asked for too much at once."""
    try:
        parts = parse_json(response.body)
    except ValueError:
        return False
    found = [parts.get(key) for key in keys] if isinstance(parts, dict) else []
    return any(isinstance(part, dict) and part.get("Status") in _TOO_MUCH for part in found)


def _inner_trouble(status: int, content: Any) -> str:
    """Why a sub-request never came to what it asks for; empty where it did, with any answer."""
    said = sentence_of(content)
    if 200 <= status < 300:
        page = isinstance(content, str)
        return f"not with values, but {said or 'with text'}" if page else ""
    if any(words in said.casefold() for words in _NO_ROUTE_WORDS):
        return said
    own = isinstance(content, dict) and any(key in content for key in ("Errors", "Message", "WebException"))
    if own and status not in {401, 407}:
        return ""  # of the tag, or of a server that is busy
    if status in {429, 503} and not said:
        return ""
    return said or "nothing is said of why"


def streamset_trouble(response: Response, asks: Sequence[Ask]) -> str:
    """Why a streamset was not understood; empty if it was, or if a tag's own error keeps it from being answered."""
    if not 200 <= response.status < 300:
        text = excerpt_of(response.body)
        if is_from_pi(response) and not any(words in text.casefold() for words in _NO_ROUTE_WORDS):
            return "" if response.status not in {405, 501} else f"it was answered {response.status}: {text}"
        return f"it was answered {status_text(response.status)}" + (f": {text}" if text else "")
    try:
        content = parse_json(response.body)
    except ValueError:
        return "the answer is no JSON"
    items = content.get("Items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        return "the answer holds no streams"
    by_id = {item.get("WebId"): item for item in items if isinstance(item, dict)}
    return next((stray for ask in asks if (stray := stray_event(by_id.get(ask.tag.web_id), ask))), "")


def stray_event(content: Any, ask: Ask) -> str:
    """What proves that a stream answers another question than the ask: an event outside of its window."""
    for text in _timestamps(content):
        try:
            at = parse_ticks(text) // TICKS_PER_MICRO
        except ValueError:
            continue  # that is the tag's trouble, and for the decoder to tell
        if not ask.start - _SLACK <= at <= ask.end + _SLACK:
            return (
                f"tag {ask.tag.name}: asked for {iso_text(ask.start)} to {iso_text(ask.end)}, it was answered an "
                f"event at {text[:40]}: the question was not understood"
            )
    return ""


def _timestamps(content: Any) -> Iterable[str]:
    items = content.get("Items") if isinstance(content, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(text := item.get("Timestamp"), str):
            yield text
