"""What refusals mean, and what of them may be repeated to a user."""

from __future__ import annotations

import json
import time

import pytest

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    RetryError,
    SplitError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
)
from engine.model import Tag
from engine.piweb.http import Response
from engine.piweb.problems import (
    error_for,
    excerpt_of,
    is_batch_unsupported,
    is_csrf_refusal,
    retry_after_secs,
    sentence_of,
    tag_error,
    unauthorized,
)

CSRF = b'{"Message":"The X-Requested-With header is required for this request."}'
LIMIT = b'{"Errors":["Parameter (maxCount) is greater than the maximum allowed (150000)."]}'
NO_ROUTE = b'{"Message":"No HTTP resource was found that matches the request URI."}'
NOT_FOUND = b'{"Errors":["PI Point not found."]}'
DENIED = b'{"Errors":["[-10401] No Read Access - Secure Object"]}'


@pytest.mark.parametrize(
    ("status", "body", "tags", "error"),
    [
        (400, LIMIT, 1, SplitError),
        (400, LIMIT, 0, SplitError),
        (400, b"<HTML><TITLE>Bad Request</TITLE><BODY><h2>Bad Request - Request Too Long</h2>", 9, SplitError),
        (400, b'{"Errors":["nonsense"]}', 1, TagError),
        (400, b'{"Errors":["nonsense"]}', 5, SplitError),
        (400, b'{"Errors":["nonsense"]}', 0, ConfigurationError),
        (400, CSRF, 0, ConfigurationError),
        (403, CSRF, 5, ConfigurationError),
        (401, b"", 0, AuthenticationError),
        (401, b'{"Message":"Authorization has been denied for this request."}', 1, AuthenticationError),
        (403, b'{"Message":"no"}', 0, AccessDeniedError),
        (403, b'{"Message":"no"}', 1, TagForbiddenError),
        (403, b'{"Message":"no"}', 5, SplitError),
        (404, NOT_FOUND, 0, ConfigurationError),
        (404, NOT_FOUND, 1, TagGoneError),
        (404, NOT_FOUND, 5, SplitError),
        (404, NO_ROUTE, 1, ConfigurationError),
        (404, b"<html>nginx</html>", 1, ConfigurationError),
        (404, b"<html>nginx</html>", 5, SplitError),
        (404, b"", 1, ConfigurationError),
        (410, NOT_FOUND, 1, TagGoneError),
        (302, b"", 0, ConfigurationError),
        (405, b"", 0, ConfigurationError),
        (407, b"", 0, ConfigurationError),
        (408, b"", 0, UnavailableError),
        (409, NOT_FOUND, 5, SplitError),
        (413, b"", 0, ConfigurationError),
        (413, b"", 1, SplitError),  # of its window
        (413, b"", 2, SplitError),
        (414, b"", 3, SplitError),
        (429, b'{"Message":"Rate limit was reached."}', 0, ThrottledError),
        (500, b'{"Errors":["oops"]}', 5, UnavailableError),
        (500, DENIED, 0, AccessDeniedError),
        (500, DENIED, 1, TagForbiddenError),
        (500, DENIED, 5, SplitError),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", 1, UnavailableError),
        (503, b"<html>Service Unavailable</html>", 0, UnavailableError),
        (504, b"", 0, UnavailableError),
        (200, b" <!DOCTYPE html><html><title>Sign in</title>", 0, UnavailableError),
    ],
)
def test_each_refusal_has_the_class_that_says_what_to_do(
    status: int, body: bytes, tags: int, error: type[Exception]
) -> None:
    found = error_for(Response(status, body), "recorded values of X", tags=tags)
    assert type(found) is error
    assert str(found).startswith("recorded values of X: ")
    assert "\n" not in str(found)


@pytest.mark.parametrize("status", [200, 201, 204, 207])
def test_success_is_no_error(status: int) -> None:
    assert error_for(Response(status, b'{"Items":[]}'), "x") is None
    assert error_for(Response(status, b""), "x") is None


def test_a_login_refused_names_what_the_server_accepts() -> None:
    response = Response(401, b"", {"www-authenticate": 'Negotiate abc=, NTLM, Basic realm="pi"'})
    error = error_for(response, "x")
    assert error is not None
    assert str(error).endswith("it offers Negotiate, NTLM, Basic")
    assert error.hint == "set pi_web_api.auth_type: kerberos, or ntlm, or basic"
    assert "abc" not in str(error)


def test_a_token_that_expired_is_told_from_a_wrong_one() -> None:
    response = Response(401, b"", {"www-authenticate": 'Bearer error="invalid_token"'})
    error = error_for(response, "x")
    assert isinstance(error, AuthenticationError)
    assert "expired" in error.hint


@pytest.mark.parametrize(
    ("challenge", "auth", "offered", "hint"),
    [
        ("Negotiate", "basic", "Negotiate", "set pi_web_api.auth_type: kerberos"),
        ("negotiate, NTLM", "basic", "Negotiate, NTLM", "set pi_web_api.auth_type: kerberos"),
        ('Basic realm="pi, Bearer x", charset="UTF-8"', "kerberos", "Basic", "set pi_web_api.auth_type: basic"),
        ('Bearer realm="x"', "anonymous", "Bearer", "set pi_web_api.auth_type: oauth (or bearer)"),
        ("NTLM", "basic", "NTLM", "set pi_web_api.auth_type: ntlm"),
        ("Digest", "basic", "Digest", "none of these is supported here"),
        ('Basic realm="pi"', "basic", "Basic", "check user name and password"),
        ('Bearer realm="x"', "bearer", "Bearer", "check user name and password or token"),
    ],
)
def test_a_way_to_log_in_that_is_offered_is_named_as_the_configuration_calls_it(
    challenge: str, auth: str, offered: str, hint: str
) -> None:
    error = unauthorized(Response(401, b"", {"www-authenticate": challenge}), "x", auth=auth)
    assert str(error) == f"x; it offers {offered}"
    assert error.hint.startswith(hint)


def test_a_proxy_that_wants_a_login_is_named() -> None:
    response = Response(407, b"", {"proxy-authenticate": 'Basic realm="out"', "www-authenticate": "NTLM"})
    error = error_for(response, "x")
    assert isinstance(error, ConfigurationError)
    assert str(error).endswith("it offers Basic")
    assert "proxy" in error.hint


GATEWAY = {"server": "Microsoft-Azure-Application-Gateway/v2"}


@pytest.mark.parametrize(
    "body", [b"<html><h1>No</h1></html>", b'{"message":"no route"}', b'{"status":403}', b"", b"No."]
)
@pytest.mark.parametrize("status", [400, 403, 404, 409, 414, 502, 503])
@pytest.mark.parametrize("items", [0, 1, 9])
def test_what_another_layer_answers_is_not_credited_to_pi(status: int, body: bytes, items: int) -> None:
    error = error_for(Response(status, body, GATEWAY, items=items), "reading")
    assert str(error).startswith(
        f"reading: something before PI Web API (Microsoft-Azure-Application-Gateway/v2) answered {status}"
    )
    assert not isinstance(error, AccessDeniedError | TagGoneError | TagForbiddenError)


def test_too_large_means_tags_of_several_and_time_of_one() -> None:
    page = b"Request entity too large"
    of_several, of_one = error_for(Response(413, page, items=3), "x"), tag_error(413, {"Message": "no"}, Tag("w", "X"))
    assert isinstance(of_several, SplitError)
    assert isinstance(of_one, SplitError)
    assert (of_several.too_much, of_one.too_much) == ("request", "answer")


@pytest.mark.parametrize("status", [400, 403, 404, 413, 414, 431])
def test_a_refusal_from_before_pi_depends_on_what_the_request_holds_and_what_has_worked(status: int) -> None:
    page = b"<html><title>Refused</title></html>"
    several = error_for(Response(status, page, items=60, reached=True), "x")
    assert isinstance(several, SplitError)
    assert several.too_much == "request"
    worked = error_for(Response(status, page, items=1, worked=True), "x")
    alone = error_for(Response(status, page, items=1), "x")
    if status == 413:  # of a single tag, its window may be too much
        assert isinstance(worked, SplitError)
        assert isinstance(alone, SplitError)
        assert worked.too_much == alone.too_much == "answer"
        return
    assert isinstance(worked, TagError | AuthenticationError)
    assert isinstance(alone, ConfigurationError | AuthenticationError)


@pytest.mark.parametrize(
    "body",
    [
        b"<h2>Bad Request - Request Too Long</h2><p>HTTP Error 400. The size of the request headers is too long.</p>",
        b"<title>400 Request Header Or Cookie Too Large</title>",
    ],
)
@pytest.mark.parametrize(("items", "reached"), [(0, False), (1, False), (60, False), (1, True)])
def test_headers_that_are_too_long_are_the_logins(body: bytes, items: int, reached: bool) -> None:
    error = error_for(Response(400, body, items=items, reached=reached), "x")
    assert isinstance(error, AuthenticationError)
    assert "header" in str(error)
    assert "ticket" in error.hint
    assert "fewer tags" not in error.hint


def test_headers_are_too_long_together_with_a_long_url_if_shorter_ones_pass() -> None:
    body = b"<h2>Bad Request - Request Too Long</h2>The size of the request headers is too long."
    assert isinstance(error_for(Response(400, body, items=60, reached=True), "x"), SplitError)


@pytest.mark.parametrize(
    ("status", "words", "too_much"),
    [
        (400, "Parameter (maxCount) is greater than the maximum allowed (150000).", "count"),
        (500, "[-11091] Event collection exceeded the maximum allowed", "answer"),
        (200, "[-11091] Event collection exceeded the maximum allowed", "answer"),
        (500, "[-10722] PINET: Timeout on PI RPC or System Call.", "answer"),
        (500, "The operation has timed out.", "answer"),
        (500, "Data archive request time-out", "answer"),
    ],
)
def test_what_was_too_much_is_told(status: int, words: str, too_much: str) -> None:
    content = {"Errors": [words]}
    found = [tag_error(status, content, Tag("w", "X"))]
    if status != 200:
        found.append(error_for(Response(status, json.dumps(content).encode(), items=3), "x"))
    for error in found:
        assert isinstance(error, SplitError)
        assert error.too_much == too_much


def test_a_time_out_of_what_names_no_tag_passes_by_itself() -> None:
    error = error_for(Response(500, b'{"Errors":["[-10722] PINET: Timeout"]}'), "listing the data servers")
    assert isinstance(error, UnavailableError)
    assert error.status == 500


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_server_in_trouble_is_told_by_its_status(status: int) -> None:
    for body in (b"", b"<html>x</html>", b'{"Errors":["oops"]}'):
        error = error_for(Response(status, body, items=3), "x")
        assert isinstance(error, UnavailableError)
        assert error.status == status


def test_a_page_in_the_place_of_one_tags_answer_says_nothing_of_the_tag() -> None:
    error = tag_error(404, "<html><title>404 Not Found</title></html>", Tag("w", "X"), {"Server": "nginx"})
    assert type(error) is TagError
    assert str(error) == "tag X: something before PI Web API (nginx) answered 404: 404 Not Found"


class TestRetryAfter:
    DATE = "Tue, 05 Mar 2024 10:15:30 GMT"

    @pytest.mark.parametrize(
        ("header", "wait"),
        [
            ("7", 7.0),
            (" 0 ", 0.0),
            ("Tue, 05 Mar 2024 10:16:00 GMT", 30.0),
            ("Tue, 05 Mar 2024 10:00:00 GMT", 0.0),
            ("soon", None),
            ("", None),
            ("-3", None),
            ("1.5", None),
            ("²", None),
        ],
    )
    def test_comes_in_seconds_or_as_a_date(self, header: str, wait: float | None) -> None:
        assert retry_after_secs({"retry-after": header, "date": self.DATE}) == wait

    def test_is_not_required(self) -> None:
        assert retry_after_secs({}) is None

    def test_of_a_date_needs_the_servers_own_clock_or_ours(self) -> None:
        assert retry_after_secs({"retry-after": self.DATE}) is None
        assert retry_after_secs({"retry-after": self.DATE}, now=1709633725.0) == 5.0

    @pytest.mark.parametrize(
        "date", ["Tue, 05 Mar 99999999999 10:15:30 GMT", "x", "Tue, 05 Mar 2024 10:15:30 +99999999"]
    )
    def test_survives_a_date_that_is_none(self, date: str) -> None:
        assert retry_after_secs({"retry-after": date, "date": self.DATE}) is None
        assert retry_after_secs({"retry-after": self.DATE, "date": date}) is None

    def test_makes_a_busy_server_a_throttling_one(self) -> None:
        error = error_for(Response(503, b"", {"retry-after": "4"}), "x")
        assert isinstance(error, ThrottledError)
        assert error.retry_after_secs == 4

    def test_reaches_the_caller_of_a_rate_limit(self) -> None:
        error = error_for(Response(429, b"", {"retry-after": "Tue, 05 Mar 2024 10:15:31 GMT", "date": self.DATE}), "x")
        assert isinstance(error, RetryError)
        assert error.retry_after_secs == 1


@pytest.mark.parametrize(
    "piece",
    [
        b"<",
        b"<a",
        b"<!--",
        b"<script",
        b"<script>",
        b"<title",
        b"<title>",
        b"</head",
        b"&lt;",
        b"<head <",
        b"<style>a",
        b"< ",
    ],
)
def test_no_text_takes_long_to_strip_of_markup(piece: bytes) -> None:
    began = time.process_time()
    for body in (
        piece * 200_000,
        b"<html>" + piece * 200_000,
        json.dumps({"Message": piece.decode() * 200_000}).encode(),
    ):
        assert len(excerpt_of(body)) <= 200
    assert len(sentence_of({"Errors": [piece.decode() * 200_000] * 30})) <= 200
    assert time.process_time() - began < 1.0


class TestExcerpt:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"Errors":["a","b"]}', "a; b"),
            (b'{"Errors":[{"FieldName":"Value","Message":["c"]}]}', "c"),
            (b'{"Message":"d","MessageDetail":"e"}', "d"),
            (b'{"Errors":[],"Message":"f"}', "f"),
            (b'"bare"', "bare"),
            (b"plain\r\n  text", "plain text"),
            (b"", ""),
            (b"{}", ""),
            (b'{"Errors":["cut', '{"Errors":["cut'),
            (b"<html><head><title>502 Bad</title><style>x{}</style></head><body>A &amp; B</body>", "502 Bad A & B"),
            (b"<h1>Oops<script>evil()</script></h1>", "Oops"),
            (b'{"Message":"<b>bold</b> word"}', "bold word"),
            ("Zugriff verweigert für Prüfstand".encode(), "Zugriff verweigert für Prüfstand"),
        ],
    )
    def test_is_what_the_body_says_without_markup(self, body: bytes, said: str) -> None:
        assert excerpt_of(body) == said

    def test_can_be_stored_even_where_it_holds_half_a_surrogate_pair(self) -> None:
        assert excerpt_of(b'{"Errors":["tag \\ud800 is gone"]}') == "tag \ufffd is gone"

    @pytest.mark.parametrize("depth", [500, 900, 50_000])
    def test_is_looked_for_only_as_deep_as_one_can_read(self, depth: int) -> None:
        excerpt_of(b"[" * depth + b'"x"' + b"]" * depth)

    def test_is_short(self) -> None:
        assert len(excerpt_of(b"x" * 1000)) == 200

    @pytest.mark.parametrize(
        "text",
        [
            "sent Authorization: Basic aGVsbG86aHVudGVyMg== to it",
            "Bearer hunter2hunter2.abc-def rejected",
            "password=hunter2",
            'posted {"token": "hunter2"}',
            "see https://joe:hunter2@pi.example/piwebapi",
            "api_key: hunter2, more",
        ],
    )
    def test_holds_no_secret(self, text: str) -> None:
        assert "***" in excerpt_of(text.encode())
        for secret in ("hunter2", "aGVsbG8"):
            assert secret not in excerpt_of(text.encode())


def test_a_server_without_batches_is_recognised() -> None:
    assert is_batch_unsupported(Response(404, NO_ROUTE))
    assert is_batch_unsupported(Response(405, b""))
    assert is_batch_unsupported(Response(501, b""))
    assert is_batch_unsupported(Response(403, b'{"Message":"Writes are disabled."}'))
    assert not is_batch_unsupported(Response(403, b'{"Message":"Access denied"}'))
    assert not is_batch_unsupported(Response(503, b""))


def test_a_csrf_refusal_is_recognised() -> None:
    assert is_csrf_refusal(Response(403, CSRF))
    assert is_csrf_refusal(Response(400, b'{"Message":"CSRF defense"}'))
    assert not is_csrf_refusal(Response(403, b'{"Message":"Access denied"}'))
    assert not is_csrf_refusal(Response(500, CSRF))
