"""Credentials that live shorter than a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigurationError, UnavailableError
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
