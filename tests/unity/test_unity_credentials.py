"""Credentials that live shorter than a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import AccessDeniedError, ConfigurationError, UnavailableError
from writers.unity.credentials import Credentials, VendedCredentials, from_delta_api, from_temporary, is_due

SECONDS = st.floats(0, 1e6)


def test_each_cloud_is_read_from_both_spellings() -> None:
    aws = {"access_key_id": "k", "secret_access_key": "s", "session_token": "t"}
    options = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    config = {"s3.access-key-id": "k", "s3.secret-access-key": "s", "s3.session-token": "t"}
    assert from_temporary({"aws_temp_credentials": aws, "expiration_time": 5000}) == Credentials(options, 5.0)
    assert from_delta_api({"storage-credentials": [{"config": config, "expiration-time-ms": 5000}]}) == Credentials(
        options, 5.0
    )
    sas = Credentials({"azure_storage_sas_key": "sig"}, None)
    assert from_temporary({"azure_user_delegation_sas": {"sas_token": "sig"}}) == sas
    assert from_delta_api({"storage-credentials": [{"config": {"azure.sas-token": "sig"}}]}) == sas


def test_local_files_need_none() -> None:
    for answer in ({}, {"storage-credentials": []}, {"storage-credentials": [{"config": {}, "expiration-time-ms": 0}]}):
        assert from_delta_api(answer) == Credentials({}, None)
    assert from_temporary({"expiration_time": None, "aws_temp_credentials": None}) == Credentials({}, None)


def test_google_is_refused_by_name() -> None:
    for read, answer in (
        (from_temporary, {"gcp_oauth_token": {"oauth_token": "a-secret"}}),
        (from_delta_api, {"storage-credentials": [{"config": {"gcs.oauth-token": "a-secret"}}]}),
    ):
        with pytest.raises(ConfigurationError, match="Google Cloud Storage") as refused:
            read(answer)
        assert "a-secret" not in str(refused.value) + refused.value.hint


def test_no_secret_is_shown() -> None:
    found = Credentials({"AWS_SECRET_ACCESS_KEY": "a-secret"}, 5.0)
    vended = VendedCredentials(lambda: found)
    vended.options()
    assert "a-secret" not in repr(found) + repr(vended)


@given(SECONDS, st.floats(1, 1e6), SECONDS)
def test_fresh_ones_are_kept_and_old_ones_never(fetched_at: float, lives: float, later: float) -> None:
    expires_at = fetched_at + lives
    assert not is_due(fetched_at, fetched_at, expires_at)
    assert is_due(expires_at, fetched_at, expires_at)
    assert is_due(expires_at + later, fetched_at, expires_at)
    # A commit that starts with them has a quarter of an hour, or half their life.
    if not is_due(fetched_at + later, fetched_at, expires_at):
        assert expires_at - (fetched_at + later) >= min(900, lives / 2) * 0.999


def test_they_are_asked_for_once_and_again_when_they_are_due() -> None:
    now, given_out = [1000.0], []

    def fetch() -> Credentials:
        given_out.append(now[0])
        return Credentials({"AWS_ACCESS_KEY_ID": f"k{len(given_out)}"}, now[0] + 3600)

    vended = VendedCredentials(fetch, clock=lambda: now[0])
    assert vended.options() is vended.options()
    now[0] += 2699
    assert vended.options() == {"AWS_ACCESS_KEY_ID": "k1"}
    now[0] += 1
    assert vended.options() == {"AWS_ACCESS_KEY_ID": "k2"}
    assert given_out == [1000.0, 3700.0]


def test_a_catalog_that_does_not_answer_is_not_mistaken_for_no_credentials() -> None:
    def fetch() -> Credentials:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError):
        VendedCredentials(fetch).options()


@pytest.mark.parametrize(("lives", "due", "usable"), [(3600.0, 2700, 3539), (600.0, 300, 539), (None, 1800, 3539)])
def test_old_ones_do_while_a_catalog_cannot_give_new_ones_and_they_are_good(
    lives: float | None, due: int, usable: int
) -> None:
    now, asked, away = [1000.0], [], [False]

    def fetch() -> Credentials:
        asked.append(now[0])
        if away[0]:
            raise UnavailableError("away")
        return Credentials({"AWS_ACCESS_KEY_ID": f"k{len(asked)}"}, None if lives is None else now[0] + lives)

    vended = VendedCredentials(fetch, clock=lambda: now[0])
    vended.options()
    away[0] = True
    for second in range(due, usable + 1):
        now[0] = 1000.0 + second
        assert vended.options() == {"AWS_ACCESS_KEY_ID": "k1"}
    # A catalog that is away takes time to say so: it is not asked by every step of a commit.
    assert len(asked) <= 2 + (usable - due) / 60
    now[0] += 2
    with pytest.raises(UnavailableError):
        vended.options()
    away[0] = False
    assert vended.options() == {"AWS_ACCESS_KEY_ID": f"k{len(asked)}"}


def test_who_may_not_have_new_ones_any_more_is_told() -> None:
    now, refused = [1000.0], [False]

    def fetch() -> Credentials:
        if refused[0]:
            raise AccessDeniedError("no more")
        return Credentials({}, now[0] + 3600)

    vended = VendedCredentials(fetch, clock=lambda: now[0])
    vended.options()
    now[0], refused[0] = 3800.0, True
    with pytest.raises(AccessDeniedError):
        vended.options()
