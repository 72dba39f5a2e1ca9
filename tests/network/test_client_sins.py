"""The client against a server that commits every sin: it never hangs, lies, or repeats what it must not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web
from multidict import CIMultiDict

from config.errors import (
    AuthenticationError,
    ConfigurationError,
    SplitError,
    ThrottledError,
    UnavailableError,
)
from engine.datasets.recorded_values import RecordedSource
from engine.datasets.request_mode import Mode
from engine.model import Ask, Tag
from engine.net.auth import Auth, Basic, Credential
from engine.net.client import ClientSettings, PIClient
from engine.piweb.http import Request
from tests.network.sinner import (
    Sinner,
    answer,
    gzipped,
    reset_before_answer,
    reset_in_body,
    too_short_for_its_length,
)
from tests.patience import patiently

GET = Request("GET", "/system")
FRESH = answer(b'{"fresh":1}')


def client(url: str, **changes: object) -> PIClient:
    settings = ClientSettings(
        url,
        timeout_secs=5.0,
        max_requests_per_second=1000.0,
        retry_attempts=3,
        retry_initial_wait_secs=0.01,
        retry_max_wait_secs=0.05,
    )
    return PIClient(dataclasses.replace(settings, **changes))


async def test_an_answer_comes_back_whole_with_the_headers_pi_wants() -> None:
    async with Sinner([answer(b'{"a":1}', X_Served="yes")]) as pi, client(pi.url) as piweb:
        response = await piweb.send(Request("POST", "/batch", b'{"1":{}}'))
        assert (response.status, response.body) == (200, b'{"a":1}')
        assert response.headers["x-served"] == "yes"
        assert 0 < response.first_byte_secs <= response.elapsed_secs < patiently(5)
    (arrival,) = pi.arrivals
    assert (arrival.method, arrival.raw_path, arrival.body) == ("POST", "/piwebapi/batch", b'{"1":{}}')
    assert arrival.headers["accept"] == "application/json"
    assert arrival.headers["accept-encoding"] == "gzip"
    assert arrival.headers["x-requested-with"] == "XMLHttpRequest"
    assert arrival.headers["content-type"] == "application/json"
    assert "authorization" not in arrival.headers
    assert "cookie" not in arrival.headers


async def test_a_path_goes_out_as_it_was_encoded() -> None:
    path = "/points?path=%5C%5CSRV%5CA%2BB%3B%26%23&startTime=2024-01-01T00%3A00%3A00Z"
    async with Sinner([answer()]) as pi, client(pi.url + "/") as piweb:
        await piweb.send(Request("GET", path))
    assert pi.arrivals[0].raw_path == "/piwebapi" + path


@pytest.mark.parametrize("status", [204, 207, 400, 403, 404, 405, 409, 413, 501])
async def test_a_status_that_speaks_of_the_request_is_an_answer(status: int) -> None:
    async with Sinner([answer(b"" if status == 204 else b'{"Errors":["x"]}', status)]) as pi, client(pi.url) as piweb:
        response = await piweb.send(GET)
    assert response.status == status
    assert len(pi.arrivals) == 1


@pytest.mark.parametrize(
    "sin",
    [
        answer(status=500),
        answer(status=502),
        answer(status=504),
        answer(status=429),
        answer(status=503),
        answer(b"x" * 2_000_000, status=503),
        reset_before_answer,
        reset_in_body,
        too_short_for_its_length,
        gzipped(b"[" + b"1," * 5000 + b"1]", keep=0.6),
        answer(b"this is not gzip", Content_Encoding="gzip"),
        answer(b"brotli?", Content_Encoding="br"),
    ],
    ids=[
        "500", "502", "504", "429", "503", "503 with 2 MB", "reset", "reset in the body", "too short",
        "gzip cut", "gzip damaged", "encoding not asked for",
    ],
)  # fmt: skip
async def test_a_passing_sin_is_forgiven_and_the_whole_answer_is_had(sin: object) -> None:
    async with Sinner([sin, FRESH]) as pi, client(pi.url, max_in_flight=1) as piweb:
        response = await piweb.send(GET)
        assert response.body == b'{"fresh":1}'
        assert piweb.statistics().requests == len(pi.arrivals)
    assert len(pi.arrivals) == 2


async def test_a_burst_of_large_503_does_not_use_up_the_connections() -> None:
    """One connection, bodies of 2 MB that nobody wants: each must give the connection back."""
    large = answer(b"x" * 2_000_000, status=503)
    async with Sinner([large, large, FRESH]) as pi, client(pi.url, max_in_flight=1) as piweb:
        async with asyncio.timeout(patiently(5)):
            assert (await piweb.send(GET)).body == b'{"fresh":1}'
        assert piweb.statistics().throttled == 2
        assert piweb.statistics().retries == 2


async def test_500_for_ever_becomes_an_error_with_the_words_of_pi() -> None:
    body = json.dumps({"Errors": ["The specified server\n is not   responding."]}).encode()
    async with Sinner([answer(body, status=500)]) as pi, client(pi.url) as piweb:
        with pytest.raises(UnavailableError) as caught:
            await piweb.send(Request("GET", "/streams/P0abc/recorded?startTime=secret"))
    assert len(pi.arrivals) == 3
    assert caught.value.status == 500
    assert str(caught.value) == (
        f"GET /streams/P0abc/recorded at 127.0.0.1:{pi.port} after 3 attempts: the server answered 500: "
        "The specified server is not responding."
    )


@pytest.mark.parametrize(("base", "path"), [("", "/"), ("", "/dataservers?x=1"), ("/", "/")])
async def test_a_redirect_that_only_takes_away_or_adds_a_slash_is_followed(base: str, path: str) -> None:
    async def moved(request: web.Request) -> web.Response:
        other = request.path[:-1] if request.path.endswith("/") else f"{request.path}/"
        where = other + (f"?{request.query_string}" if request.query_string else "")
        return web.Response(status=301, headers={"Location": where})

    async with Sinner([moved, FRESH]) as pi, client(pi.url + base) as piweb:
        assert (await piweb.send(Request("GET", path))).body == b'{"fresh":1}'
    assert len(pi.arrivals) == 2


async def test_a_redirect_of_slashes_does_not_go_round() -> None:
    async def moved(request: web.Request) -> web.Response:
        other = request.path[:-1] if request.path.endswith("/") else f"{request.path}/"
        return web.Response(status=301, headers={"Location": other})

    async with Sinner([moved]) as pi, client(pi.url) as piweb:
        with pytest.raises(ConfigurationError, match="answered 301 and points to"):
            await piweb.send(Request("GET", "/"))
    assert len(pi.arrivals) == 2


async def test_each_header_that_offers_a_way_to_log_in_is_heard() -> None:
    async def guarded(_request: web.Request) -> web.Response:
        headers = [("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", 'Basic realm="pi, NTLM"')]
        return web.Response(status=401, headers=CIMultiDict(headers))

    async with Sinner([guarded]) as pi, client(pi.url) as piweb:
        with pytest.raises(AuthenticationError, match=r"it offers Negotiate, Basic$") as caught:
            await piweb.send(GET)
    assert caught.value.hint == "set pi_web_api.auth_type: kerberos, or basic"


@pytest.mark.parametrize(
    "words", ["[-10401] No Read Access - Secure Object", "[-11091] Event collection exceeded the maximum allowed"]
)
async def test_a_500_that_would_be_the_same_again_is_not_repeated(words: str) -> None:
    async with Sinner([answer(json.dumps({"Errors": [words]}).encode(), status=500)]) as pi, client(pi.url) as piweb:
        assert (await piweb.send(GET)).status == 500
    assert len(pi.arrivals) == 1


async def test_what_is_not_safe_is_sent_once() -> None:
    async with Sinner([answer(status=503), FRESH]) as pi, client(pi.url) as piweb:
        with pytest.raises(UnavailableError):
            await piweb.send(Request("POST", "/streams/x/value", b"{}", safe=False))
    assert len(pi.arrivals) == 1


async def test_retry_after_is_waited_for() -> None:
    async with Sinner([answer(status=429, Retry_After="1"), FRESH]) as pi, client(pi.url) as piweb:
        assert (await piweb.send(GET)).body == b'{"fresh":1}'
    first, second = (arrival.at for arrival in pi.arrivals)
    assert 1.0 <= second - first < 2.0


async def test_retry_after_holds_back_the_others_too() -> None:
    async with Sinner([answer(status=429, Retry_After="1"), FRESH]) as pi, client(pi.url, retry_attempts=1) as piweb:
        with pytest.raises(ThrottledError):
            await piweb.send(GET)
        await piweb.send(GET)
    first, second = (arrival.at for arrival in pi.arrivals)
    assert 1.0 <= second - first < 2.0


async def test_an_absurd_retry_after_is_capped_and_reported() -> None:
    sin = answer(b'{"Message":"Rate limit was reached."}', status=429, Retry_After="86400")
    async with Sinner([sin]) as pi, client(pi.url, max_retry_after_secs=0.05) as piweb:
        with pytest.raises(ThrottledError, match="after 3 attempts: the server answered 429: Rate limit") as caught:
            await piweb.send(GET)
    assert caught.value.retry_after_secs == 86400
    assert len(pi.arrivals) == 3


@pytest.mark.parametrize("sin", ["hang", "drip"])
async def test_neither_silence_nor_a_drip_outlasts_the_timeout(sin: str) -> None:
    pi = Sinner([])
    pi.sins = [getattr(pi, sin)]
    async with pi, client(pi.url, timeout_secs=0.15, retry_attempts=2, max_in_flight=8) as piweb:
        async with asyncio.timeout(patiently(3)):
            with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:\d+ did not answer within 0\.15 s"):
                await piweb.send(GET)
        assert piweb.statistics().window < 8  # a time-out is a sign of overload
        assert piweb.statistics().in_flight == 0
    assert len(pi.arrivals) == 2


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_body_over_the_cap_asks_for_less(packed: bool) -> None:
    body = b"7" * 3_000_000
    async with Sinner([gzipped(body) if packed else answer(body)]) as pi, client(pi.url) as piweb:
        with pytest.raises(SplitError, match="sends more than 1000000 bytes"):
            await piweb.send(GET, max_body_bytes=1_000_000)
        assert (await piweb.send(GET, max_body_bytes=3_000_000)).body == body
    assert len(pi.arrivals) == 2  # too large is too large: not tried again


async def test_a_gzip_body_is_unpacked_and_counted_as_sent() -> None:
    body = b'{"Items":[' + b'{"Value":1.5},' * 200_000 + b"null]}"
    async with Sinner([gzipped(body)]) as pi, client(pi.url) as piweb:
        assert (await piweb.send(GET)).body == body
        assert 0 < piweb.statistics().bytes_received < len(body) / 10


async def test_a_redirect_is_not_followed_and_takes_no_credentials_along() -> None:
    async with Sinner([answer()]) as elsewhere:
        there = f"{elsewhere.url}/login?token=abc"
        async with (
            Sinner([answer(status=302, Location=there)]) as pi,
            client(pi.url, auth=Basic("u", "p4ssw0rd")) as piweb,
        ):
            with pytest.raises(ConfigurationError, match=r"answered 302 and points to http://127") as caught:
                await piweb.send(GET)
    assert "token=abc" not in str(caught.value)
    assert elsewhere.arrivals == []
    assert len(pi.arrivals) == 1


class Renewing:
    """A login whose first credential has gone stale."""

    def __init__(self, fresh: int) -> None:
        self.fresh = fresh
        self.now = 0

    def __repr__(self) -> str:
        return "renewing"

    async def credential(self, _session: object) -> Credential:
        return Credential(f"Bearer {self.now}")

    async def refresh(self, _rejected: Credential) -> bool:
        self.now += 1
        return self.now <= self.fresh


async def test_a_401_is_answered_with_one_fresh_credential() -> None:
    auth: Auth = Renewing(fresh=9)
    async with Sinner([answer(status=401), FRESH]) as pi, client(pi.url, auth=auth) as piweb:
        assert (await piweb.send(Request("POST", "/x", b"{}", safe=False))).body == b'{"fresh":1}'
    assert [arrival.headers["authorization"] for arrival in pi.arrivals] == ["Bearer 0", "Bearer 1"]


async def test_a_credential_does_not_age_at_the_gate() -> None:
    """A ticket is good for minutes, and so long one may wait there."""
    asked: list[float] = []

    class Noting(Renewing):
        async def credential(self, session: object) -> Credential:
            asked.append(time.monotonic())
            return await super().credential(session)

    busy = answer(status=429, Retry_After="1")
    async with Sinner([busy, FRESH]) as pi, client(pi.url, auth=Noting(fresh=0), retry_attempts=1) as piweb:
        with pytest.raises(ThrottledError):
            await piweb.send(GET)
        await piweb.send(GET)
    assert asked[1] - pi.arrivals[0].at >= 1.0


@pytest.mark.parametrize(("fresh", "asked"), [(9, 2), (0, 1)])
async def test_a_401_that_stays_stops_the_run(fresh: int, asked: int) -> None:
    async with Sinner([answer(status=401)]) as pi, client(pi.url, auth=Renewing(fresh)) as piweb:
        with pytest.raises(AuthenticationError, match=r"127\.0\.0\.1:\d+ does not accept our credentials \(renewing\)"):
            await piweb.send(GET)
    assert len(pi.arrivals) == asked


async def test_a_refused_connection_names_the_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with client(f"http://127.0.0.1:{port}/piwebapi") as piweb:
            with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} cannot be connected to") as caught:
                await piweb.send(GET)
    assert caught.value.status is None
    assert piweb.statistics().in_flight == 0


async def test_no_cause_of_an_error_shows_the_credential_either() -> None:
    """aiohttp's own error about an answer that is not HTTP holds the request with all its headers."""
    gigantic = answer(X_Big="x" * 100_000)
    async with Sinner([gigantic]) as pi, client(pi.url, auth=Basic("svc_pi", "p4ssw0rd"), retry_attempts=1) as piweb:
        with pytest.raises(UnavailableError, match="something that is not HTTP") as caught:
            await piweb.send(GET)
    assert "authorization" in pi.arrivals[0].headers
    assert "xxxx" in str(caught.value.__cause__)  # what was wrong with the answer can still be seen
    error: BaseException | None = caught.value
    while error is not None:
        assert "Basic" not in repr(error) + repr(error.args) + repr(vars(error))
        error = error.__cause__ or error.__context__


async def test_words_of_pi_that_cannot_be_written_down_are_made_fit() -> None:
    async with Sinner([answer(b'{"Errors":["half a pair: \\ud800"]}', status=500)]) as pi, client(pi.url) as piweb:
        with pytest.raises(UnavailableError, match="half a pair: \ufffd"):
            await piweb.send(GET)


async def test_an_answer_that_is_nested_beyond_reading_is_not_repeated() -> None:
    async with Sinner([answer(b'{"Errors":' + b"[" * 50_000, status=500)]) as pi, client(pi.url) as piweb:
        with pytest.raises(UnavailableError, match=r"answered 500$"):
            await piweb.send(GET)


@pytest.mark.parametrize("host", ["pi..corp.example", "p" * 64 + ".example"])
async def test_a_name_that_no_host_can_have_is_a_matter_of_the_configuration(host: str) -> None:
    async with client(f"http://{host}/piwebapi") as piweb:
        with pytest.raises(ConfigurationError, match="is not valid"):
            await piweb.send(GET)


async def test_a_name_that_does_not_resolve_is_said_to_be_one() -> None:
    async with client("http://pi.invalid/piwebapi", retry_attempts=1) as piweb:
        with pytest.raises(UnavailableError, match=r"pi\.invalid is not a host name that can be resolved") as caught:
            await piweb.send(GET)
    assert "pi_web_api.url" in caught.value.hint


async def test_a_server_that_does_not_speak_http_is_named() -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(gibberish, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, client(f"http://127.0.0.1:{port}", retry_attempts=1) as piweb:
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} answered with something that is not HTTP"):
            await piweb.send(GET)


async def test_aiohttps_own_repetition_of_a_get_is_counted_and_paced() -> None:
    """aiohttp sends a GET again by itself when the connection breaks before the answer."""
    async with (
        Sinner([reset_before_answer, FRESH]) as pi,
        client(pi.url, retry_attempts=1, max_requests_per_second=10.0) as piweb,
    ):
        assert (await piweb.send(GET)).body == b'{"fresh":1}'
        assert piweb.statistics().requests == len(pi.arrivals) == 2
    first, second = (arrival.at for arrival in pi.arrivals)
    assert second - first > 0.09


async def test_a_cancelled_request_gives_its_place_back() -> None:
    pi = Sinner([])
    pi.sins = [pi.hang, FRESH]
    async with pi, client(pi.url, max_in_flight=1) as piweb:
        hanging = asyncio.create_task(piweb.send(GET))
        await pi.arrived.wait()
        waiting = asyncio.create_task(piweb.send(GET))
        await asyncio.sleep(0)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await waiting).body == b'{"fresh":1}'
        assert piweb.statistics().in_flight == 0


async def test_answers_that_say_the_server_is_broken_do_not_widen_what_is_in_flight() -> None:
    sins = [answer(status=429), *[answer(status=500)] * 6, FRESH]
    async with Sinner(sins) as pi, client(pi.url, max_in_flight=8, retry_attempts=8) as piweb:
        await piweb.send(GET)
        assert len(pi.arrivals) == 8
        assert piweb.statistics().window == 4  # half of it, and one good answer widens it by a quarter


async def test_cookies_are_not_sent_back() -> None:
    """Each request stands for itself, with the credentials it was given."""
    async with (
        Sinner([answer(Set_Cookie="session=1; Path=/"), FRESH]) as pi,
        client(pi.url.replace("127.0.0.1", "localhost")) as piweb,
    ):
        await piweb.send(GET)
        await piweb.send(GET)
    assert ["cookie" in arrival.headers for arrival in pi.arrivals] == [False, False]


async def test_of_a_refusal_only_so_much_is_read_as_an_error_text_may_be_long() -> None:
    async with Sinner([answer(b"x" * 10_000_000, status=404)]) as pi, client(pi.url) as piweb:
        assert len((await piweb.send(GET)).body) == 1 << 16


# --- what the pace hears ------------------------------------------------------------

BATCH = Request("POST", "/batch", b"{}", items=3)


def parts(*statuses: int, **headers: str) -> bytes:
    return json.dumps(
        {str(n): {"Status": status, "Headers": headers, "Content": {}} for n, status in enumerate(statuses)}
    ).encode()


async def search(piweb: PIClient) -> None:
    """The client looks into the answer by itself."""
    response = await piweb.send(BATCH)
    assert response.status == 207


async def read(piweb: PIClient) -> None:
    """The source reads the parts, and tells the client of them."""
    asks = [Ask(Tag(f"P{n}", f"Unit.{n}"), 0, 1_000_000, 10) for n in range(3)]
    with ThreadPoolExecutor(1) as executor:
        source = RecordedSource(piweb, "http://pi/piwebapi", Mode.BATCH, executor, now=lambda: 0)
        await source.read(asks)


@pytest.mark.parametrize("ask", [search, read])
@pytest.mark.parametrize("statuses", [(200, 429, 200), (503, 503, 503), (200, 504, 408)])
async def test_a_part_of_a_batch_that_is_refused_slows_the_pace_once(
    statuses: tuple[int, ...], ask: Callable[[PIClient], Awaitable[None]]
) -> None:
    async with Sinner([answer(parts(*statuses), status=207)]) as pi, client(pi.url, max_in_flight=8) as piweb:
        await ask(piweb)
        assert len(pi.arrivals) == 1  # its parts are asked for again by who asked for them
        assert piweb.statistics().rate == 500.0
        assert piweb.statistics().throttled == (504 not in statuses)


@pytest.mark.parametrize("ask", [search, read])
async def test_a_part_of_a_batch_can_ask_for_silence(ask: Callable[[PIClient], Awaitable[None]]) -> None:
    refused = answer(parts(200, 429, **{"Retry-After": "60"}), status=207)
    async with Sinner([refused]) as pi, client(pi.url, max_retry_after_secs=0.3) as piweb:
        await ask(piweb)
        began = time.monotonic()
        await ask(piweb)
        assert time.monotonic() - began > 0.2


async def test_a_text_that_speaks_of_a_status_slows_nothing() -> None:
    words = {"0": {"Status": 200, "Headers": {}, "Content": {"Value": '"Status":429', "Status": 429}}}
    async with Sinner([answer(json.dumps(words).encode(), status=207)]) as pi, client(pi.url) as piweb:
        await piweb.send(BATCH)
        assert piweb.statistics().rate == 1000.0


@pytest.mark.parametrize("status", [408, 504])
async def test_a_server_or_gateway_that_gave_up_waiting_is_asked_less(status: int) -> None:
    async with Sinner([answer(status=status), FRESH]) as pi, client(pi.url, max_in_flight=8) as piweb:
        with contextlib.suppress(UnavailableError):
            await piweb.send(GET)
        assert piweb.statistics().rate <= 510.0
        assert piweb.statistics().window < 8
