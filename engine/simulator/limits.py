"""Checks before a request is routed: length of the URL, credentials, rate, and the header against CSRF.

Pure, except for the counter of the rate limit.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from .faults.plan import Switches
from .options import BasicLogin, BearerLogin, SimulatorOptions
from .replies import HTML, Reply, html, json_reply


class RateLimit:
    """A number of requests in each window of time, where windows do not slide; or a bucket of tokens.

    A bucket (`rate_limit_burst`) holds so many tokens, gains the same number in each window, and a request takes one.
    """

    def __init__(self, switches: Switches) -> None:
        self._most, self._secs, self._burst = switches.rate_limit, switches.rate_limit_secs, switches.rate_limit_burst
        self._window, self._used = -1, 0
        self._tokens, self._filled_at = float(self._burst or 0), 0.0

    def __repr__(self) -> str:
        return f"RateLimit(most={self._most}, used={self._used})"

    def take(self, count: int, at: float) -> int:
        """How many of `count` requests may pass at this moment, in seconds of any clock."""
        if self._most is None:
            return count
        if self._burst is not None:
            gained = (at - self._filled_at) * self._most / self._secs
            self._tokens, self._filled_at = min(float(self._burst), self._tokens + gained), at
            granted = min(count, int(self._tokens))
            self._tokens -= granted
            return granted
        window = int(at // self._secs)
        if window != self._window:
            self._window, self._used = window, 0
        granted = max(0, min(count, self._most - self._used))
        self._used += granted
        return granted


def too_many(switches: Switches) -> Reply:
    reply = json_reply({"Message": "Rate limit was reached."}, 429)
    if switches.retry_after is not None:
        reply.headers["Retry-After"] = str(switches.retry_after)
    return reply


def refuse_url(target: str, switches: Switches) -> Reply | None:
    """The answer of the operating system's HTTP layer to a URL that is too long."""
    if len(target) > switches.url_max_bytes:
        return html(400, "Bad Request - Request Too Long", "The size of the request headers is too long.")
    path = target.partition("?")[0]
    if len(path) > switches.segment_max_chars and any(
        len(part) > switches.segment_max_chars for part in path.split("/")
    ):
        return html(400, "Bad Request - Invalid URL", "The request URL is invalid.")
    return None


def refuse_unauthorized(headers: Mapping[str, str], options: SimulatorOptions) -> Reply | None:
    """A 401 with the expected scheme, unless the request has the right credentials."""
    auth = options.auth
    if auth is None:
        return None
    scheme, expected = _expected(auth)
    given = headers.get("Authorization", "")
    word, _, credential = given.partition(" ")
    if word.lower() == scheme.lower() and hmac.compare_digest(credential.strip().encode(), expected.encode()):
        return None
    challenge = 'Basic realm="PI Web API"' if isinstance(auth, BasicLogin) else "Bearer"
    kind = options.faults.switches.unauthorized_body
    if kind == "message":
        reply = json_reply({"Message": "Authorization has been denied for this request."}, 401)
    elif kind == "html":
        reply = html(401, "Not Authorized", "The requested resource requires user authentication.")
    else:
        reply = Reply(401, [], HTML)
    reply.headers["WWW-Authenticate"] = challenge
    return reply


def _expected(auth: BasicLogin | BearerLogin) -> tuple[str, str]:
    if isinstance(auth, BearerLogin):
        return "Bearer", auth.token
    return "Basic", base64.b64encode(f"{auth.user}:{auth.password}".encode()).decode()


def refuse_missing_csrf_header(method: str, headers: Mapping[str, str], switches: Switches) -> Reply | None:
    """A refusal of requests that change something, or post a batch, without `X-Requested-With`."""
    if not switches.csrf or method in {"GET", "HEAD", "OPTIONS"} or "X-Requested-With" in headers:
        return None
    return json_reply({"Message": "A required header is missing: X-Requested-With."}, switches.csrf_status)
