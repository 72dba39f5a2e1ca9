"""What a refusal means: from status, body and headers to our error classes. Pure.

Bodies of errors come as JSON objects (`Errors`, `Message`), bare strings, HTML of a proxy or of
Windows' HTTP layer, or nothing. Invariant: at most 200 characters of them reach a message, without
markup, line breaks or anything that looks like a credential, and they can be printed and stored.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExpiredError,
    ExtractError,
    SplitError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
)
from engine.model import AskError, Tag

from .http import Response
from .times import parse_http_date
from .values import parse_json, well_formed

__all__ = [
    "error_for",
    "excerpt_of",
    "excerpt_of_json",
    "is_batch_unsupported",
    "is_csrf_refusal",
    "retry_after_secs",
    "sentence_of",
    "tag_error",
]

_EXCERPT_CHARS = 200
_MARKUP = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_SCHEME = r"(?:basic|bearer|negotiate|ntlm)\s+"
_SECRETS = re.compile(
    rf"(?P<key>(?:password|passwd|pwd|secret|token|api[-_]?key|authorization)[\"']?\s*[:=]\s*[\"']?(?:{_SCHEME})?)"
    r"[^\s,;&\"']+"
    rf"|(?P<scheme>\b{_SCHEME})[\w+/=.~-]{{8,}}"
    r"|(?P<user>://[^/\s:@]+:)[^@\s/]+(?=@)",
    re.IGNORECASE,
)
_OVER_THE_LIMIT = "greater than the maximum"
# A missing PI permission is reported as an internal error by some releases.
_NO_PERMISSION = re.compile(
    r"-10401|secure object|access (is |was )?denied|permission|not authori[sz]ed|no (read|data) access", re.IGNORECASE
)
_NOT_FOUND = re.compile(
    r"not found|does not exist|no longer (exists|valid)|has been deleted|was deleted", re.IGNORECASE
)
_CSRF = re.compile(r"x-requested-with|csrf|cross[- ]site", re.IGNORECASE)
_READ_ONLY = re.compile(r"writes? (are|is|have been|has been)?\s*(disabled|not allowed)|read[- ]only", re.IGNORECASE)
_NO_ROUTE = re.compile(r"no HTTP resource was found|no type was found that matches", re.IGNORECASE)


def error_for(response: Response, what: str, *, tags: int = 0) -> ExtractError | None:
    """The error a whole answer stands for, or None if it succeeded.

    `what` was asked, in words ("recorded values of Unit1.Flow"). `tags` it names: with one, a refusal
    is that tag's; with several, it may be one tag's alone, and `SplitError` tells to find out which;
    with none (a batch answers for its tags one by one) it is everybody's.
    """
    status = response.status
    if 200 <= status < 300:
        return _error_in_success(response, what)
    text = excerpt_of(response.body)
    said = f"{what}: the server answered {status}" + (f": {text}" if text else "")
    if status in {401, 407}:
        return _not_known(response, said)
    if again := _retry_error(status, text, said, response.headers):
        return again
    if split := _too_large(status, text, said):
        return split
    if wrong := _wrong_setup(response, text, said):
        return wrong
    if tags > 1:
        return SplitError(said, hint="one of the tags may be at fault: ask for fewer at once")
    return _refused_tag(status, text, said) if tags else _refused_call(status, said)


def tag_error(status: int, content: Any, tag: Tag, headers: Any = None) -> AskError:
    """The error of one tag inside an answer that succeeded as a whole. `content` is parsed JSON."""
    text = sentence_of(content)
    said = f"tag {tag.name}: the server answered {status}" + (f": {text}" if text else "")
    lowered = {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
    if retry := _retry_error(status, text, said, lowered):
        return retry
    return _too_large(status, text, said) or _refused_tag(status, text, said)


def is_batch_unsupported(response: Response) -> bool:
    """Whether a POST /batch was refused because this server, or a proxy, does not let batches through."""
    if response.status in {404, 405, 501}:
        return True
    return response.status == 403 and bool(_READ_ONLY.search(excerpt_of(response.body)))


def is_csrf_refusal(response: Response) -> bool:
    """Whether a POST was refused for want of the X-Requested-With header."""
    return response.status in {400, 403} and bool(_CSRF.search(excerpt_of(response.body)))


def retry_after_secs(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait; None if it did not, or not understandably.

    A date is one of the server's clock, so it is measured against the answer's own Date.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parse_http_date(text) - parse_http_date(headers.get("date", ""))) / 1_000_000)
    except ValueError:
        return None


def excerpt_of(body: bytes) -> str:
    """What an error's body says, in one short line."""
    text = body[:100_000].decode("utf-8-sig", "replace").strip()
    if text[:1] in {"{", "[", '"'}:
        try:
            return sentence_of(parse_json(text))
        except ValueError:
            pass
    if text.startswith("<"):
        title = _TITLE.search(text)
        text = f"{title[1] if title else ''} {_MARKUP.sub(' ', text)}"
    return _shorten(html.unescape(text))


def excerpt_of_json(content: Any) -> str:
    """A short piece of parsed JSON, for people who look for what is wrong with it."""
    return _shorten(json.dumps(content, ensure_ascii=False, default=str)[:2000])


def sentence_of(content: Any) -> str:
    """What the parsed JSON of an error says, in one short line."""
    try:
        return _shorten(_words(content))
    except RecursionError:  # nested as nothing that speaks to people is
        return ""


def _words(content: Any) -> str:
    """The sentences inside an error's JSON, wherever this release puts them."""
    if isinstance(content, str):
        return html.unescape(_MARKUP.sub(" ", content))
    if isinstance(content, list):
        return "; ".join(filter(None, map(_words, content)))
    if isinstance(content, dict):
        for key in ("Errors", "Message", "MessageDetail", "error_description", "error"):
            if words := _words(content.get(key)):
                return words
    return ""


def _shorten(text: str) -> str:
    text = well_formed(" ".join(text[:2000].split()))
    text = _SECRETS.sub(lambda found: (found["scheme"] or found["key"] or found["user"]) + "***", text)
    return text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1] + "…"


def _error_in_success(response: Response, what: str) -> ExtractError | None:
    """A proxy's page with a good status is no answer of PI's."""
    if response.body[:100].lstrip()[:1] != b"<":
        return None
    return UnavailableError(
        f"{what}: a web page came instead of an answer: {excerpt_of(response.body)}",
        hint="a proxy or a login page answers in place of PI Web API: check pi_web_api.url and the proxy",
    )


def _retry_error(
    status: int, text: str, said: str, headers: Mapping[str, str]
) -> ThrottledError | UnavailableError | None:
    wait = retry_after_secs(headers)
    if status == 429 or (status == 503 and wait is not None):
        return ThrottledError(said, hint="lower pi_web_api.max_requests_per_second", retry_after_secs=wait)
    if status == 500 and _NO_PERMISSION.search(text):
        return None
    if status == 408 or (status >= 500 and status not in {501, 505}):
        return UnavailableError(said, retry_after_secs=wait)
    return None


def _not_known(response: Response, said: str) -> ExtractError:
    if response.status == 407:
        return ConfigurationError(said, hint="the proxy wants credentials of its own")
    offered = response.headers.get("www-authenticate", "")
    if "invalid_token" in offered:
        return ExpiredError(said, hint="the token has expired or was revoked")
    # Schemes only: what follows them may be a challenge.
    schemes = re.findall(r"(?:^|,)\s*(Negotiate|NTLM|Basic|Bearer)\b", offered, re.IGNORECASE)
    return AuthenticationError(
        said,
        hint="check user name and password or token, and pi_web_api.auth_type"
        + (f"; the server accepts {', '.join(dict.fromkeys(schemes))}" if schemes else ""),
    )


def _too_large(status: int, text: str, said: str) -> SplitError | None:
    # "Invalid URL" and "Request Too Long" come from Windows' HTTP layer, before PI Web API.
    phrases = (_OVER_THE_LIMIT, "too long", "invalid url")
    if status in {413, 414, 431} or (status == 400 and any(phrase in text.lower() for phrase in phrases)):
        return SplitError(said, hint="ask for fewer tags or events at once")
    return None


def _wrong_setup(response: Response, text: str, said: str) -> ConfigurationError | None:
    """A refusal that does not come from PI's objects: a proxy's, or that of a wrong address."""
    if is_csrf_refusal(response):
        hint = "a proxy seems to remove the X-Requested-With header, which PI Web API wants on every POST"
        return ConfigurationError(said, hint=hint)
    page = response.status == 404 and response.body.lstrip()[:1] in {b"<", b""}
    if 300 <= response.status < 400 or response.status == 405 or page or _NO_ROUTE.search(text):
        hint = "check pi_web_api.url: it should end in /piwebapi; or a proxy is in between"
        return ConfigurationError(said, hint=hint)
    return None


def _refused_call(status: int, said: str) -> ExtractError:
    if status in {403, 500}:
        return AccessDeniedError(said, hint="the account needs read access to PI Web API and to the PI points")
    return ConfigurationError(said, hint="check that what is named there exists on this server")


def _refused_tag(status: int, text: str, said: str) -> TagError:
    """Why a tag cannot be read. A 200 may hold errors too; then the words decide."""
    if _NO_ROUTE.search(text):
        return TagError(said, hint="this release of PI Web API does not know the call")
    if status in {401, 403} or _NO_PERMISSION.search(text):
        return TagForbiddenError(said, hint="grant the account read access to the point and its data in PI")
    if status in {404, 410} or (status in {200, 400} and _NOT_FOUND.search(text)):
        return TagGoneError(said, hint="the point was deleted or never existed: take it out of extraction.tags")
    return TagError(said)
