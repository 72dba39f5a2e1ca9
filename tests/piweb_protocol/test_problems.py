"""What refusals mean, and what of them may be repeated to a user."""

from __future__ import annotations

import pytest

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExpiredError,
    RetryError,
    SplitError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
)
from engine.piweb.http import Response
from engine.piweb.problems import error_for, excerpt_of, is_batch_unsupported, is_csrf_refusal, retry_after_secs

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
        (404, b"<html>nginx</html>", 5, ConfigurationError),
        (404, b"", 1, ConfigurationError),
        (410, NOT_FOUND, 1, TagGoneError),
        (302, b"", 0, ConfigurationError),
        (405, b"", 0, ConfigurationError),
        (407, b"", 0, ConfigurationError),
        (408, b"", 0, UnavailableError),
        (409, NOT_FOUND, 5, SplitError),
        (413, b"", 0, SplitError),
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
    assert error.hint.endswith("the server accepts Negotiate, NTLM, Basic")
    assert "abc" not in error.hint


def test_a_token_that_expired_is_told_from_a_wrong_one() -> None:
    response = Response(401, b"", {"www-authenticate": 'Bearer error="invalid_token"'})
    assert isinstance(error_for(response, "x"), ExpiredError)


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

    def test_of_a_date_needs_the_servers_own_clock(self) -> None:
        assert retry_after_secs({"retry-after": self.DATE}) is None

    def test_makes_a_busy_server_a_throttling_one(self) -> None:
        error = error_for(Response(503, b"", {"retry-after": "4"}), "x")
        assert isinstance(error, ThrottledError)
        assert error.retry_after_secs == 4

    def test_reaches_the_caller_of_a_rate_limit(self) -> None:
        error = error_for(Response(429, b"", {"retry-after": "Tue, 05 Mar 2024 10:15:31 GMT", "date": self.DATE}), "x")
        assert isinstance(error, RetryError)
        assert error.retry_after_secs == 1


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
