"""A catalog that fails, or for which something else answers: it is waited for, and what it has done is looked up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config import from_mapping
from config.errors import AuthenticationError, LostStateError, UnavailableError, UnknownCommitError
from engine.flow.stop import Stop
from engine.run.connect import patience_of
from tests.landing.lake import Lake, land
from tests.unity.stand_in import TOKEN, Instead, StandIn
from writers import PI_TIMESERIES, Lakehouse
from writers.unity import Patience
from writers.unity.transport import Transport

Opened = Callable[..., Lakehouse]
NAME = "main.bronze.pi_timeseries"
QUICK = Patience(attempts=4, first_secs=0.001, longest_secs=0.001)
KINDS = ("get-table", "load", "add-commit", "set-latest-backfilled-version", "metrics")
PAGE, ERROR = b"<html><title>Sign in</title></html>", b'{"error": {"type": "INTERNAL", "code": 500, "message": "gone"}}'
ANSWERS = {
    "500": Instead(500, ERROR),
    "500 when done": Instead(500, ERROR, done=True),
    "503 of a proxy": Instead(503, PAGE),
    "a web page": Instead(200, PAGE),
    "a web page when done": Instead(200, PAGE, done=True),
    "an empty object": Instead(200, b"{}"),
    "an empty object when done": Instead(200, b"{}", done=True),
    "nothing": Instead(200, b""),
    "another table": Instead(200, b'{"metadata": {"table-uuid": "another", "location": "file:///x"}}'),
    "no version": Instead(200, b'{"metadata": {"table-uuid": "", "location": ""}, "latest-table-version": null}'),
}
# Only what a proposal is answered is not believed: of other answers nothing tells that they are not of the catalog.
PASSING = ("500", "500 when done", "503 of a proxy", "a web page", "a web page when done")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_commit_is_there_once_for_every_answer_to_its_proposal(
    catalog: StandIn, opened: Opened, answer: str, times: int
) -> None:
    lake = Lake(opened(patience=QUICK))
    land(lake.opened(), "a", 0, 3)
    landing = lake.opened()
    landing.open()
    catalog.instead["add-commit"] = [ANSWERS[answer]] * times
    land(landing, "a", 3, 6)
    assert len(catalog.instead.pop("add-commit")) < times
    land(Lake(opened()).opened(), "a", 6, 9)
    assert Lake(opened()).events() == [("a", at) for at in range(9)]


@pytest.mark.parametrize("answer", PASSING)
@pytest.mark.parametrize("kind", KINDS)
def test_what_passes_is_ridden_out(catalog: StandIn, opened: Opened, answer: str, kind: str) -> None:
    land(Lake(opened()).opened(), "a", 0, 3)
    catalog.instead[kind] = [ANSWERS[answer]] * 3
    land(Lake(opened(patience=QUICK)).opened(), "a", 3, 6)
    assert len(catalog.instead.pop(kind)) < 3
    assert Lake(opened()).events() == [("a", at) for at in range(6)]


@pytest.mark.parametrize("kind", ["get-table", "load"])
@pytest.mark.parametrize("answer", ["an empty object", "nothing"])
def test_an_answer_that_says_nothing_of_a_table_is_not_one_about_it(
    catalog: StandIn, opened: Opened, answer: str, kind: str
) -> None:
    land(Lake(opened()).opened(), "a", 0, 3)
    catalog.instead[kind] = [ANSWERS[answer]]
    with pytest.raises(UnavailableError, match="its API does not know"):
        opened(patience=QUICK).table(PI_TIMESERIES).open()


@pytest.mark.parametrize("done", [False, True])
def test_a_catalog_that_stays_away_leaves_open_what_became_of_a_commit(
    catalog: StandIn, opened: Opened, done: bool
) -> None:
    land(Lake(opened()).opened(), "a", 0, 3)
    landing = Lake(opened(patience=QUICK)).opened()
    landing.open()

    def leave() -> bool:
        catalog.away = "failing"
        return True

    (catalog.at_answer if done else catalog.at_request)["add-commit"] = leave
    with pytest.raises(UnknownCommitError):
        land(landing, "a", 3, 6)
    assert catalog.missed == QUICK.attempts  # the look; nothing is sent again before it
    catalog.away = ""
    catalog.at_answer.clear()
    catalog.at_request.clear()
    marks = Lake(opened()).opened().open()
    assert marks["a"].high == (6 if done else 3)
    land(Lake(opened()).opened(), "a", marks["a"].high, 9)
    assert Lake(opened()).events() == [("a", at) for at in range(9)]


def test_a_table_that_was_dropped_midway_is_named(catalog: StandIn, opened: Opened) -> None:
    landing = Lake(opened(patience=QUICK)).opened()
    land(landing, "a", 0, 3)
    del catalog.tables[NAME]
    with pytest.raises(LostStateError, match=f"The table {NAME} is gone") as ended:
        land(landing, "a", 3, 6)
    assert "UNDROP" in ended.value.hint


def test_a_token_that_was_renewed_where_it_came_from_is_used(catalog: StandIn) -> None:
    tokens = ["an-old-one", TOKEN]

    def with_token(token: str) -> Callable[[], dict[str, str]]:
        return lambda: {"Authorization": f"Bearer {token}"}

    transport = Transport(catalog.host, with_token("an-old-one"), log_in_anew=lambda: with_token(tokens.pop(0)))
    assert transport.get("catalogs/main").status == 401  # what is read again is the same
    assert transport.get("catalogs/main").ok
    assert transport.get("catalogs/main").ok
    assert tokens == []


def test_a_login_that_cannot_be_read_again_is_refused_as_before(catalog: StandIn, opened: Opened) -> None:
    def log_in_anew():
        raise AuthenticationError("no profile")

    transport = Transport(catalog.host, lambda: {"Authorization": "Bearer old"}, log_in_anew=log_in_anew)
    assert transport.get("catalogs/main").status == 401


@pytest.mark.parametrize("follow", [False, True])
def test_a_run_waits_as_retry_says(follow: bool) -> None:
    retry = {"max_attempts": 6, "initial_wait": "1s", "max_wait": "5s"}
    patience = patience_of(from_mapping({"retry": retry}, env={}).config, Stop(), follow=follow)
    waited: list[float] = []
    attempts = 1
    while patience.wait(attempts, None, waited.append):
        attempts += 1
    assert attempts == (4 if follow else 6)
    pauses = [1, 2, 4, 5, 5][: attempts - 1]
    assert 0.8 * sum(pauses) <= sum(waited) <= 1.2 * sum(pauses) + 0.01
    assert [patience.pause(attempt) for attempt in range(1, attempts)] == pauses


def test_who_is_asked_to_stop_waits_no_longer() -> None:
    stop, waited = Stop(), []
    patience = patience_of(from_mapping({}, env={}).config, stop, follow=False)

    def sleep(secs: float) -> None:
        waited.append(secs)
        stop.ask("enough")

    assert not patience.wait(1, None, sleep)
    assert len(waited) == 1
