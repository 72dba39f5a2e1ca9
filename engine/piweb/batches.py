"""Many GETs in one POST /batch, and the answer of each. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from config.errors import RetryError, UnavailableError

from .http import Request, Response
from .members import parsed
from .problems import REFUSAL_STATUSES, TIME_OUT_STATUSES, excerpt_of, retry_after_secs


def batch_of(paths: Sequence[str], base_url: str) -> Request:
    """One POST that carries a GET for each path below the base URL."""
    base_url = base_url.rstrip("/")
    parts = {str(n): {"Method": "GET", "Resource": f"{base_url}{path}"} for n, path in enumerate(paths)}
    return Request("POST", "/batch", msgspec.json.encode(parts), items=len(paths))


def parts_of(body: bytes, count: int) -> list[Response]:
    """The answers in a batch, in the order of its GETs. A part that is missing is a 502.

    Raises `UnavailableError` for a body that is no answer at all.
    """
    try:
        parts = _PARTS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _tolerantly(body, count)  # what JSON does not know, or a part that is none
    return [
        _EMPTY if (part := parts.get(str(n))) is None else Response(part.Status, bytes(part.Content))
        for n in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Overload:
    """A part of a batch was refused as too many, or has timed out."""

    refused: bool
    retry_after_secs: float  # the longest that any part asks for; 0 if none does


def overload_of(body: bytes) -> Overload | None:
    """What the parts of a batch say of overload; None if they say nothing. A body that is no answer says nothing.

    Nearly all batches hold no such status, and their text is only searched.
    """
    if not _OVERLOADED.search(body):
        return None
    try:
        parts = _STATUSES.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    met = [part for part in parts.values() if part.Status in REFUSAL_STATUSES | TIME_OUT_STATUSES]
    if not met:
        return None
    asked = [retry_after_secs(_lowered(part.Headers)) or 0.0 for part in met]
    return Overload(any(part.Status in REFUSAL_STATUSES for part in met), max(asked))


def overload_in(errors: Iterable[Exception]) -> Overload | None:
    """The same, by the errors that the parts of a batch stand for."""
    met = [
        error
        for error in errors
        if isinstance(error, RetryError) and error.status in REFUSAL_STATUSES | TIME_OUT_STATUSES
    ]
    if not met:
        return None
    return Overload(
        any(error.status in REFUSAL_STATUSES for error in met), max(error.retry_after_secs or 0.0 for error in met)
    )


def _lowered(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}


class _StatusOfPart(msgspec.Struct):
    Status: int
    Headers: Any = None


_STATUSES = msgspec.json.Decoder(dict[str, _StatusOfPart])
_OVERLOADED = re.compile(
    rb'"Status"\s*:\s*(?:'
    + b"|".join(b"%d" % status for status in sorted(REFUSAL_STATUSES | TIME_OUT_STATUSES))
    + rb")\b"
)


class _PlainPart(msgspec.Struct):
    """A part as the protocol says. Its content is not gone through: who asked for it decodes it."""

    Status: int
    Content: msgspec.Raw = msgspec.Raw(b"null")


_PARTS = msgspec.json.Decoder(dict[str, _PlainPart])
# A part that failed so because the batch took too long, or asked too much, may be answered alone; so may one that is missing.
WEAK_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_EMPTY = Response(502, b'{"Errors":["The answer holds nothing for it."]}')


def _tolerantly(body: bytes, count: int) -> list[Response]:
    found = parsed(body)
    if not isinstance(found, dict):
        raise UnavailableError(f"the answer is not what the protocol says: {excerpt_of(body)}")
    return [_part(found.get(str(n))) for n in range(count)]


def _part(part: Any) -> Response:
    status = part.get("Status") if isinstance(part, dict) else None
    if not isinstance(status, int):
        return _EMPTY
    return Response(status, json.dumps(part.get("Content"), ensure_ascii=False).encode("utf-8", "replace"))
