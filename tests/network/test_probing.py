"""The probe at the start of a run asks what the run will ask, and finds the way of asking that is understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from config.errors import AuthenticationError, ConfigurationError, WrongWindowError
from engine.datasets.recorded_values import RecordedSource
from engine.datasets.request_mode import Mode, choose_mode
from engine.model import Ask, AskOutcome, AskOutcomes, DecodedAnswer, Tag
from engine.net.client import ClientSettings, PIClient
from tests.network.sinner import Sinner
from writers import PI_TIMESERIES

START, END = 1_704_067_200_000_000, 1_704_153_600_000_000
SAMPLE = [Ask(Tag(f"F1DP{n}", f"T{n}"), START, END, 10) for n in range(3)]
GOOD = {"Items": [{"Timestamp": "2024-01-01T05:00:00Z", "Value": 1.0, "Good": True}], "UnitsAbbreviation": ""}
STRAY = {"Items": [{"Timestamp": "2031-01-01T00:00:00Z", "Value": 1.0, "Good": True}], "UnitsAbbreviation": ""}
PAGE = "<html><title>Forbidden</title></html>"
NO_ROUTE = {"Message": "No HTTP resource was found that matches the request URI."}
Post = Callable[[int], tuple[int, Any]]  # by the number of sub-requests


def all_subs(status: int, content: Any) -> Post:
    subs = lambda n: {str(i): {"Status": status, "Headers": {}, "Content": content} for i in range(n)}  # noqa: E731
    return lambda n: (207, subs(n))


def server(post: Post, streamset: tuple[int, Any] | None = None) -> Callable[[web.Request], Any]:
    async def sin(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            status, content = post(len(json.loads(await request.read())))
        elif request.path.endswith("/streamsets/recorded"):
            ids = [v for k, v in parse_qsl(urlsplit(request.raw_path).query) if k == "webId"]
            status, content = streamset or (200, {"Items": [{"WebId": i, **GOOD} for i in ids]})
        else:
            status, content = 200, {"Links": {}}
        if isinstance(content, str):
            return web.Response(status=status, text=content, content_type="text/html", headers={"Server": "wall/2"})
        return web.json_response(content, status=status)

    return sin


async def chosen(sin: Any, wanted: str = "auto") -> tuple[Mode, list[str], int]:
    async with Sinner([sin]) as pi:
        settings = ClientSettings(pi.url, max_requests_per_second=1e5, retry_attempts=2, retry_initial_wait_secs=0.001)
        async with PIClient(settings) as client:
            mode = await choose_mode(client, pi.url, wanted, SAMPLE)
            return mode, client.limits.advice(), len(pi.arrivals)


@pytest.mark.parametrize(
    "post",
    [
        all_subs(200, GOOD),
        all_subs(200, {"Items": [], "UnitsAbbreviation": ""}),
        # Tags in trouble of their own say nothing against batches.
        all_subs(404, {"Errors": ["PI Point not found."]}),
        all_subs(403, {"Message": "Access denied"}),
        all_subs(500, {"Errors": ["[-11002] Record Header Data Mismatch"]}),
        all_subs(502, {"Errors": ["The archive does not respond."]}),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "batch"])
async def test_batches_that_are_understood_are_used_at_the_cost_of_one_request(post: Post, wanted: str) -> None:
    assert await chosen(server(post), wanted) == (Mode.BATCH, [], 1)


@pytest.mark.parametrize("status", [408, 413, 502, 503, 504])
@pytest.mark.parametrize("wanted", ["auto", "batch"])
async def test_a_sample_that_is_too_much_at_once_says_nothing_against_batches(status: int, wanted: str) -> None:
    """What lies between a batch and its sub-requests refuses a long window, and lets a short one through."""
    answers = iter([all_subs(status, PAGE), all_subs(200, {"Items": []})])

    def post(subs: int) -> tuple[int, Any]:
        return next(answers)(subs)

    assert await chosen(server(post), wanted) == (Mode.BATCH, [], 2)


REFUSALS = [
    (all_subs(404, NO_ROUTE), "No HTTP resource was found"),  # a gateway serves PI under another path
    (all_subs(404, PAGE), "answered 404: Forbidden"),
    (all_subs(403, PAGE), "answered 403: Forbidden"),
    (all_subs(502, PAGE), "answered 502: Forbidden"),  # the host inside cannot be reached
    (all_subs(502, None), "answered 502"),
    (all_subs(404, {"message": "no route"}), "answered 404: no route"),
    (all_subs(401, {"Message": "Authorization has been denied for this request."}), "answered 401"),
    (all_subs(200, PAGE), "not with values"),
    (all_subs(200, STRAY), "2031-01-01T00:00:00Z: the question was not understood"),
    (lambda _: (207, {}), "was not answered"),
    (lambda _: (200, {"Items": []}), "was not answered"),
    (lambda _: (200, []), "none to a batch"),
    (lambda _: (403, PAGE), "something before PI Web API (wall/2) answered 403"),
    (lambda _: (403, {"Message": "Writes are disabled."}), "answers 403 to POST /batch"),
    (lambda _: (403, {"Message": "no"}), "answered 403: no"),
    (lambda _: (400, PAGE), "answered 400"),
    (lambda _: (404, PAGE), "answers 404"),
    (lambda _: (405, PAGE), "answers 405"),
    (lambda _: (413, PAGE), "answered 413"),
    (lambda _: (501, ""), "answers 501"),
    (lambda _: (400, {"Message": "The X-Requested-With header is required."}), "X-Requested-With"),
]


@pytest.mark.parametrize(("post", "why"), REFUSALS)
async def test_what_keeps_batches_from_being_understood_is_told_and_gone_round(post: Post, why: str) -> None:
    mode, advice, requests = await chosen(server(post))
    assert mode is Mode.STREAMSET
    assert len([told for told in advice if why in told]) == 1
    assert requests == (3 if why.startswith("answered 502") else 2)  # a 502 may mean too much at once: a second is, too
    with pytest.raises(ConfigurationError) as caught:
        await chosen(server(post), "batch")
    assert str(caught.value).startswith("$.extraction.request_mode: batch, but ")
    assert why in str(caught.value)


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_post_that_never_comes_through_while_a_get_does_is_gone_round(status: int) -> None:
    mode, advice, _ = await chosen(server(lambda _: (status, PAGE)))
    assert mode is Mode.STREAMSET
    assert f"answered {status}" in advice[0]


@pytest.mark.parametrize(
    ("answer", "mode"),
    [
        ((403, PAGE), Mode.SINGLE),
        ((404, NO_ROUTE), Mode.SINGLE),
        ((405, ""), Mode.SINGLE),
        ((200, PAGE), Mode.SINGLE),
        ((200, {"Items": [{"WebId": "F1DP0", **STRAY}]}), Mode.SINGLE),
        # One tag's trouble: the plan will find out which.
        ((404, {"Errors": ["PI Point not found."]}), Mode.STREAMSET),
        ((403, {"Errors": ["No access"]}), Mode.STREAMSET),
    ],
)
async def test_streamsets_are_tried_before_they_are_used(answer: tuple[int, Any], mode: Mode) -> None:
    found, _, _ = await chosen(server(lambda _: (403, PAGE), answer))
    assert found is mode


def test_a_way_that_is_mistrusted_later_gives_way_to_a_simpler_one(caplog: pytest.LogCaptureFixture) -> None:
    client = PIClient(ClientSettings("http://127.0.0.1:1"))
    source = RecordedSource(client, "", Mode.BATCH, None, now=lambda: 0, may_change=True)  # type: ignore[arg-type]
    assert source.mistrust_batches("it answers another question")
    assert source.mode is Mode.STREAMSET
    assert source.mistrust_batches("again")
    assert source.mode is Mode.SINGLE
    assert not source.mistrust_batches("and again")
    assert [told.partition(":")[0] for told in client.limits.advice()] == [
        "batch requests are not used any more",
        "streamset requests are not used any more",
    ]
    assert len(caplog.records) == 2
    fixed = RecordedSource(client, "", Mode.BATCH, None, now=lambda: 0)  # type: ignore[arg-type]
    assert not fixed.mistrust_batches("as configured")
    assert fixed.mode is Mode.BATCH


@pytest.mark.parametrize(
    ("right", "wrong", "mode"), [(3, 1, Mode.BATCH), (3, 2, Mode.STREAMSET), (0, 1, Mode.STREAMSET)]
)
def test_batches_are_left_if_most_answers_are_for_another_window(right: int, wrong: int, mode: Mode) -> None:
    """One wrong answer among many is the error of one tag."""
    client = PIClient(ClientSettings("http://127.0.0.1:1"))
    source = RecordedSource(client, "", Mode.BATCH, None, now=lambda: 0, may_change=True)  # type: ignore[arg-type]
    asks = [Ask(Tag(f"w{n}", f"T{n}"), 0, 100, 10) for n in range(right + wrong)]
    outcomes = [AskOutcome(ask, 5, 100, 90) for ask in asks[:right]]
    outcomes += [AskOutcome(ask, 0, 0, error=WrongWindowError("another window")) for ask in asks[right:]]
    source._look_for_other_windows(DecodedAnswer(PI_TIMESERIES.schema.empty_table(), AskOutcomes.of(outcomes), 0))
    assert source.mode is mode


@pytest.mark.parametrize("status", [302, 401])
async def test_a_login_that_stands_before_posts_alone_is_gone_round(status: int) -> None:
    """IIS may guard by verb, and a portal may send every POST to its page."""

    async def sin(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=status, headers={"Location": "https://login.example/"})
        return await server(lambda _: (403, PAGE))(request)

    mode, advice, _ = await chosen(sin)
    assert mode is Mode.STREAMSET
    assert "batches are not used" in advice[0]
    with pytest.raises((AuthenticationError, ConfigurationError)):
        await chosen(sin, "batch")


async def test_a_login_that_is_refused_for_every_request_ends_the_run() -> None:
    async def sin(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    with pytest.raises(AuthenticationError):
        await chosen(sin)
