"""What the status, body and headers of an answer mean: which statuses are retried, and which error they are. Pure.

Bodies of errors come as JSON objects (`Errors`, `Message`), bare strings, HTML of a proxy or of
Windows' HTTP layer, or nothing. Invariant: at most 200 characters of them reach a message, without
markup, line breaks or anything that looks like a credential, and they can be printed and stored.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExtractError,
    SplitError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    TooMuch,
    UnavailableError,
)
from engine.model import AskError, Tag

from .http import Response
from .times import parse_http_date
from .values import parse_json, well_formed

_EXCERPT_CHARS = 200
# No more of a body is looked at: what it says, it says at its beginning.
_BODY_BYTES = 16_000
_ERRORS_NAMED = 20
# Each pattern goes over any text once: what is not closed ends with the text, or at the next `<`.
_MARKUP = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME = r"(?:basic|bearer|negotiate|ntlm)\s+"
_SECRETS = re.compile(
    rf"(?P<key>(?:password|passwd|pwd|secret|token|api[-_]?key|authorization)[\"']?\s*[:=]\s*[\"']?(?:{_SCHEME})?)"
    r"[^\s,;&\"']+"
    rf"|(?P<scheme>\b{_SCHEME})[\w+/=.~-]{{8,}}"
    r"|(?P<user>://[^/\s:@]+:)[^@\s/]+(?=@)",
    re.IGNORECASE,
)
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
_COUNT_TOO_GREAT = re.compile(r"greater than the maximum", re.IGNORECASE)
# An archive holds more than ArcMaxCollect for one answer: the same again brings the same.
_TOO_MANY_EVENTS = re.compile(r"-11091\b|exceeded the maximum allowed", re.IGNORECASE)
# An archive that did not answer PI Web API in time: it may be busy, or have been asked for too much.
_TOO_SLOW = re.compile(r"-10722\b|\btime[- ]?out\b|\btimed out\b", re.IGNORECASE)
# What Windows' HTTP layer, nginx and others say of a request whose headers are too long.
_HEADERS_TOO_LONG = re.compile(r"request headers? (is|are) too long|header (or cookie )?too large", re.IGNORECASE)
_REQUEST_TOO_LONG = re.compile(r"too long|invalid url", re.IGNORECASE)
# PI Web API's own errors, also where the rest of a long one was not read.
_OWN_KEYS = ("Errors", "Message", "WebException", "ExceptionMessage")
_OWN = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:Errors|Message|WebException|ExceptionMessage)"\s*:')
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
# 501 (not supported) and 505 (HTTP version) do not change by waiting.
_NEVER_BY_WAITING = frozenset({501, 505})
RETRIED_STATUSES = frozenset({408, 429, *range(500, 600)} - _NEVER_BY_WAITING)
REFUSAL_STATUSES = frozenset({429, 503})
TIME_OUT_STATUSES = frozenset({408, 504})
_TOO_LARGE = 413
LENGTH_STATUSES = frozenset({_TOO_LARGE, 414, 431})
# What an offered way to log in is called in pi_web_api.auth_type.
_WAYS = {
    "negotiate": ("Negotiate", "kerberos"),
    "kerberos": ("Kerberos", "kerberos"),
    "ntlm": ("NTLM", "ntlm"),
    "basic": ("Basic", "basic"),
    "bearer": ("Bearer", "oauth (or bearer)"),
    "digest": ("Digest", ""),
}
_ADDRESS_HINT = (
    "check pi_web_api.url: it should end in /piwebapi; or ask who runs the proxy, gateway or firewall in between"
)


def error_for(response: Response, what: str, *, tags: int = 0) -> ExtractError | None:
    """The error a whole answer stands for, or None if it succeeded.

    `what` was asked, in words ("recorded values of Unit1.Flow"). `tags` it names: with one, a refusal
    is that tag's; with several, it may be one tag's alone, and `SplitError` tells to find out which;
    with none (a batch answers for its tags one by one) it is that of all tags. What comes from a layer before
    PI Web API is no tag's: there, the number of `response.items` counts.
    """
    status = response.status
    if 200 <= status < 300:
        return _error_in_success(response, what)
    own, text = is_from_pi(response), excerpt_of(response.body)
    said = f"{what}: {_answerer(own, response.headers)} answered {status_text(status)}" + (f": {text}" if text else "")
    items = max(tags, response.items)
    if status in {401, 407}:
        return unauthorized(response, said)
    if own and (too_much := _too_much(status, text, said, items)):
        return too_much
    if again := _retry_error(status, text, said, response.headers):
        return again
    if wrong := _wrong_setup(response, text, said):
        return wrong
    if not own or status in LENGTH_STATUSES:
        return _refused_before_pi(response, text, said, items)
    if tags > 1:
        return SplitError(said, hint="one of the tags may be at fault: ask for fewer at once")
    return _refused_tag(status, text, said) if tags else _refused_call(status, said)


def insist_on_object(response: Response) -> None:
    """Raise `UnavailableError` for an answer of success that is damaged: every answer of success is an object of JSON.

    Its members are not gone through: who asked decodes them.
    """
    if page := _error_in_success(response, "the answer is damaged"):
        raise page
    if _is_object(response.body):
        return
    try:  # once more, with patience
        content = parse_json(response.body)
    except ValueError as error:
        raise UnavailableError(f"the answer cannot be read ({error}): {excerpt_of(response.body)}") from error
    if not isinstance(content, dict):
        raise UnavailableError(f"the answer is not what the protocol says: {excerpt_of(response.body)}")


def _is_object(body: bytes) -> bool:
    try:
        _OBJECT.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def tag_error(status: int, content: Any, tag: Tag, headers: Any = None) -> AskError:
    """The error of one tag inside an answer that succeeded as a whole. `content` is parsed JSON."""
    text = sentence_of(content)
    lowered = {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
    own = not isinstance(content, str) or not content.lstrip().startswith("<")
    said = f"tag {tag.name}: {_answerer(own, lowered)} answered {status_text(status)}" + (f": {text}" if text else "")
    if own and (too_much := _too_much(status, text, said, 1)):
        return too_much
    if retry := _retry_error(status, text, said, lowered):
        return retry
    if status in LENGTH_STATUSES:
        of_what: TooMuch = "answer" if status == _TOO_LARGE else "request"
        return SplitError(said, hint="ask for fewer tags or events at once", too_much=of_what)
    if not own:
        return TagError(said, hint="ask who runs the proxy or gateway through which PI Web API reaches itself")
    return _refused_tag(status, text, said)


def status_text(status: int) -> str:
    """A status for people. That of a part of an answer may be any number, with thousands of digits."""
    return str(status) if 100 <= status <= 999 else "with a number that is no status"


def is_from_pi(response: Response) -> bool:
    """Whether PI Web API itself has answered: with success that is no web page, or with an error of its own shape.

    Gateways, proxies, IIS and Windows' HTTP layer refuse by a page, by JSON of their own, or by nothing at all.
    """
    if 200 <= response.status < 300:
        return response.body[:100].lstrip()[:1] != b"<"
    if _OWN.match(response.body):
        return True
    try:
        content = parse_json(response.body[:_BODY_BYTES])
    except ValueError:
        return False
    return isinstance(content, dict) and any(key in content for key in _OWN_KEYS)


def is_too_long(response: Response) -> bool:
    """Whether an answer may mean that the request is too long for what stands before PI Web API."""
    if response.status in LENGTH_STATUSES:
        return True
    return response.status in {400, 403, 404} and not is_from_pi(response)


def is_final(response: Response) -> bool:
    """Whether a 500 would be the same again: it tells of a permission, or of too many events."""
    if response.status != 500 or not is_from_pi(response):
        return False
    text = excerpt_of(response.body)
    return bool(_NO_PERMISSION.search(text) or _TOO_MANY_EVENTS.search(text))


def is_worth_retrying(response: Response) -> bool:
    """Whether the same request may be answered later."""
    return response.status in RETRIED_STATUSES and not is_final(response)


def is_refused(response: Response) -> bool:
    """Whether the server asks for fewer requests."""
    return response.status in REFUSAL_STATUSES


def is_timed_out(response: Response) -> bool:
    """Whether the server, or a gateway before it, has given up waiting."""
    return response.status in TIME_OUT_STATUSES


def redirect_error(status: int, *, host: str, target: str) -> ConfigurationError:
    """The error of a redirect. It is not followed: credentials do not travel to where a server points."""
    return ConfigurationError(
        f"{host} answered {status} and points to {target}.",
        hint="Is this PI Web API, or a login page in front of it? Set pi_web_api.url to the final address.",
    )


def unauthorized(response: Response, said: str, *, auth: str = "") -> ExtractError:
    """What a 401 or 407 means. `auth`: the way of logging in that was tried, as `pi_web_api.auth_type` has it."""
    names = "proxy-authenticate" if response.status == 407 else "www-authenticate"
    challenge = response.headers.get(names, "")
    offered = offered_ways(challenge)
    offers = f"; it offers {', '.join(_WAYS[way][0] for way in offered)}" if offered else ""
    if response.status == 407:
        return ConfigurationError(
            f"{said}{offers}",
            hint="the proxy wants a login of its own, which is not supported: have this address let through",
        )
    if "invalid_token" in challenge:
        return AuthenticationError(f"{said}{offers}", hint="the token has expired or was revoked: give a new one")
    return AuthenticationError(f"{said}{offers}", hint=_login_hint(offered, auth))


def _login_hint(offered: Sequence[str], auth: str) -> str:
    """What to write in the configuration, by what the server offers."""
    usable = list(dict.fromkeys(_WAYS[way][1] for way in offered if _WAYS[way][1]))
    if not offered:
        return "check user name and password or token, and pi_web_api.auth_type"
    if not usable:
        return (
            "none of these is supported here: have Kerberos (Negotiate), OpenID Connect, NTLM or Basic enabled on the "
            "PI Web API"
        )
    if auth and any(auth in way for way in usable):
        return f"check user name and password or token of pi_web_api, and whether the account may log in ({auth})"
    return f"set pi_web_api.auth_type: {', or '.join(usable)}"


def offered_ways(challenge: str) -> list[str]:
    """The ways to log in that a header names; not what follows them, which may be a challenge."""
    bare = re.sub(r'"[^"]*"', '""', challenge[:4000])
    found = re.findall(r"(?:^|,)\s*([A-Za-z]+)(?=\s*(?:,|$)|\s+[^\s=])", bare)
    return list(dict.fromkeys(name.lower() for name in found if name.lower() in _WAYS))


def way_name(way: str) -> str:
    """What the header calls a way to log in that `offered_ways` found."""
    return _WAYS[way][0]


def is_batch_unsupported(response: Response) -> bool:
    """Whether a POST /batch was refused because this server, or a proxy, does not let batches through."""
    if response.status in {404, 405, 501}:
        return True
    return response.status == 403 and bool(_READ_ONLY.search(excerpt_of(response.body)))


def is_csrf_refusal(response: Response) -> bool:
    """Whether a POST was refused for want of the X-Requested-With header."""
    return response.status in {400, 403} and bool(_CSRF.search(excerpt_of(response.body)))


def retry_after_secs(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds the server asked us to wait; None if it did not, or not understandably.

    A date is one of the server's clock, so it is measured against the answer's own Date; where there is none,
    against `now` (seconds since 1970), if given.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        until = parse_http_date(text)
    except ValueError:
        return None
    try:
        sent: float = parse_http_date(headers.get("date", ""))
    except ValueError:
        if now is None:
            return None
        sent = now * 1_000_000
    return max(0.0, (until - sent) / 1_000_000)


def excerpt_of(body: bytes) -> str:
    """What an error's body says, in one short line."""
    text = body[:_BODY_BYTES].decode("utf-8-sig", "replace").strip()
    if text[:1] in {"{", "[", '"'}:
        try:
            return sentence_of(parse_json(text))
        except ValueError as error:
            if isinstance(error.__cause__, RecursionError):  # nested as nothing that speaks to people is
                return ""
    if text.startswith("<"):
        title, said = _TITLE.search(text), _MARKUP.sub(" ", text)
        if title and title[1].strip() not in said:
            said = f"{title[1]} {said}"
        text = said
    return _shorten(_unescaped(text))


def excerpt_of_json(content: Any) -> str:
    """A short piece of parsed JSON, for people who look for what is wrong with it."""
    try:
        return _shorten(json.dumps(content, ensure_ascii=False, default=str)[:2000])
    except RecursionError:
        return "JSON nested too deep"


def sentence_of(content: Any) -> str:
    """What the parsed JSON of an error says, in one short line."""
    try:
        return _shorten(_words(content))
    except RecursionError:  # nested as nothing that speaks to people is
        return ""


def _words(content: Any) -> str:
    """The sentences inside an error's JSON, wherever this release puts them."""
    if isinstance(content, str):
        return _unescaped(_MARKUP.sub(" ", content[:_BODY_BYTES]))
    if isinstance(content, list):
        return "; ".join(filter(None, map(_words, content[:_ERRORS_NAMED])))
    if isinstance(content, dict):
        for key in ("Errors", "Message", "MessageDetail", "error_description", "error", "message"):
            if words := _words(content.get(key)):
                return words
    return ""


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # an entity of more digits than Python reads
        return text


def _shorten(text: str) -> str:
    text = well_formed(" ".join(_CONTROL.sub(" ", text[:2000]).split()))
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


def _answerer(own: bool, headers: Mapping[str, str]) -> str:
    """Who has answered, for a sentence: PI Web API, or what stands before it, by the name it gives itself."""
    if own:
        return "the server"
    server = _shorten(headers.get("server", ""))[:60]
    return "something before PI Web API" + (f" ({server})" if server else "")


def _retry_error(
    status: int, text: str, said: str, headers: Mapping[str, str]
) -> ThrottledError | UnavailableError | None:
    wait = retry_after_secs(headers)
    if status == 429 or (status == 503 and wait is not None):
        return ThrottledError(
            said,
            hint="lower pi_web_api.max_requests_per_second or max_in_flight; the limit may be shared with others",
            retry_after_secs=wait,
            status=status,
        )
    if status == 500 and _NO_PERMISSION.search(text):
        return None
    if status == 408 or (status >= 500 and status not in _NEVER_BY_WAITING):
        return UnavailableError(said, retry_after_secs=wait, status=status)
    return None


def _too_much(status: int, text: str, said: str, items: int) -> SplitError | None:
    """A refusal by PI Web API that asks for less."""
    if status in {400, 409, 422} and _COUNT_TOO_GREAT.search(text):
        # Of what there may be so many, it says in its own words: maxCount, or items of a batch.
        if items > 1 and "count" not in text.lower():
            return SplitError(said, hint="ask for fewer tags at once", too_much="request")
        return SplitError(said, hint="ask for fewer events at once", too_much="count")
    if status in {408, 429, 502, 503, 504}:
        return None
    if _TOO_MANY_EVENTS.search(text) or (status >= 500 and items and _TOO_SLOW.search(text)):
        return SplitError(said, hint="ask for fewer tags, or a shorter time, at once")
    return None


def _wrong_setup(response: Response, text: str, said: str) -> ConfigurationError | None:
    """A refusal that a shorter request cannot help: a header that a proxy removes, a wrong address."""
    if is_csrf_refusal(response):
        hint = "a proxy seems to remove the X-Requested-With header, which PI Web API wants on every POST"
        return ConfigurationError(said, hint=hint)
    if 300 <= response.status < 400 or response.status in {405, 501, 505} or _NO_ROUTE.search(text):
        return ConfigurationError(said, hint=_ADDRESS_HINT)
    return None


def _refused_before_pi(response: Response, text: str, said: str, items: int) -> ExtractError:
    """What a refusal means that does not come from PI's objects.

    A request that names several items may be too long. Of one that does not, the address is wrong; if requests
    of its kind have worked in this run, something dislikes this one.
    """
    said_so = bool(_HEADERS_TOO_LONG.search(text))
    headers = response.status == 431 or said_so
    if headers and not (response.reached and (items > 1 or (items and not said_so))):
        return AuthenticationError(
            f"{said}: the headers of the request are too long, and nearly all of them is the login",
            hint="an account in many groups has a long Kerberos ticket: raise MaxFieldLength and MaxRequestBytes of "
            "HTTP.sys on the server (Microsoft KB 2020943), use an account in fewer groups, a shorter token, or "
            "another pi_web_api.auth_type",
        )
    if items > 1:
        return SplitError(said, hint="the request may be too long: ask for fewer tags at once", too_much="request")
    if items and response.status == _TOO_LARGE:  # of one tag, its window may be
        return SplitError(said, hint="ask for a shorter time at once")
    if response.worked and items:
        return TagError(said, hint="a proxy or firewall refuses requests for this tag alone: ask who runs it")
    if response.worked:
        return UnavailableError(said, hint=_ADDRESS_HINT, status=response.status)
    if response.status in LENGTH_STATUSES or _REQUEST_TOO_LONG.search(text):
        return ConfigurationError(
            f"{said}: it takes no request that is long enough for a single tag",
            hint="ask who runs the proxy, gateway or firewall before PI Web API to let longer URLs and bodies through",
        )
    return ConfigurationError(said, hint=_ADDRESS_HINT)


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
