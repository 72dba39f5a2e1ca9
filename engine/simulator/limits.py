"""What is checked before a question is looked at: size, credentials, rate, and the header against forgery.

Pure but for the counter of the rate limit, which is told the time.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from .faults import Switches
from .options import Basic, Bearer, SimulatorOptions
from .replies import HTML, Reply, html, json_reply

__all__ = ["RateLimit", "refuse_forgery", "refuse_stranger", "refuse_url", "too_many"]


class RateLimit:
    """So many requests in every stretch of time; stretches do not slide."""

    def __init__(self, switches: Switches) -> None:
        self._most, self._secs = switches.rate_limit, switches.rate_limit_secs
        self._stretch, self._used = -1, 0

    def __repr__(self) -> str:
        return f"RateLimit(most={self._most}, used={self._used})"

    def take(self, count: int, at: float) -> int:
        """How many of `count` requests may pass at this moment, in seconds of any clock."""
        if self._most is None:
            return count
        stretch = int(at // self._secs)
        if stretch != self._stretch:
            self._stretch, self._used = stretch, 0
        granted = max(0, min(count, self._most - self._used))
        self._used += granted
        return granted


def too_many(switches: Switches) -> Reply:
    reply = json_reply({"Message": "Rate limit was reached."}, 429)
    if switches.retry_after is not None:
        reply.headers["Retry-After"] = str(switches.retry_after)
    return reply


def refuse_url(target: str, switches: Switches) -> Reply | None:
    """What the HTTP layer of the operating system says to a URL too long for it."""
    if len(target) > switches.url_max_bytes:
        return html(400, "Bad Request - Request Too Long", "The size of the request headers is too long.")
    path = target.partition("?")[0]
    if len(path) > switches.segment_max_chars and any(
        len(part) > switches.segment_max_chars for part in path.split("/")
    ):
        return html(400, "Bad Request - Invalid URL", "The request URL is invalid.")
    return None


def refuse_stranger(headers: Mapping[str, str], options: SimulatorOptions) -> Reply | None:
    """A 401 with the scheme we expect, unless the caller showed the right credentials."""
    auth = options.auth
    if auth is None:
        return None
    scheme, expected = _expected(auth)
    given = headers.get("Authorization", "")
    word, _, credential = given.partition(" ")
    if word.lower() == scheme.lower() and hmac.compare_digest(credential.strip().encode(), expected.encode()):
        return None
    challenge = 'Basic realm="PI Web API"' if isinstance(auth, Basic) else "Bearer"
    kind = options.faults.switches.unauthorized_body
    if kind == "message":
        reply = json_reply({"Message": "Authorization has been denied for this request."}, 401)
    elif kind == "html":
        reply = html(401, "Not Authorized", "The requested resource requires user authentication.")
    else:
        reply = Reply(401, [], HTML)
    reply.headers["WWW-Authenticate"] = challenge
    return reply


def _expected(auth: Basic | Bearer) -> tuple[str, str]:
    if isinstance(auth, Bearer):
        return "Bearer", auth.token
    return "Basic", base64.b64encode(f"{auth.user}:{auth.password}".encode()).decode()


def refuse_forgery(method: str, headers: Mapping[str, str], switches: Switches) -> Reply | None:
    """Whoever changes something, or posts a batch, must send `X-Requested-With`."""
    if method in {"GET", "HEAD", "OPTIONS"} or "X-Requested-With" in headers:
        return None
    return json_reply({"Message": "A required header is missing: X-Requested-With."}, switches.csrf_status)
