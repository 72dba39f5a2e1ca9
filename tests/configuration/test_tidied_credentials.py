"""What a secret or a file ends with besides its content is left out, and said; the secret is not."""

from __future__ import annotations

import pytest

import config
from config import PiWebApiConfig, tidied

CLEAN = {"url": "https://pi.example/piwebapi", "username": "svc", "password": "pass word", "token": "abc"}


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\t", "\ufeff", "\u200b\n", "\xa0"])
@pytest.mark.parametrize("key", list(CLEAN))
def test_blanks_and_line_breaks_around_a_credential_are_left_out_with_a_warning(key: str, around: str) -> None:
    found, warnings = tidied(PiWebApiConfig.model_validate({**CLEAN, key: CLEAN[key] + around}))
    assert found == PiWebApiConfig.model_validate(CLEAN)
    [warning] = warnings
    assert warning.startswith(f"pi_web_api.{key} begins or ends with blanks or a line break")
    assert CLEAN[key] not in warning


def test_a_clean_configuration_stays_as_it_is() -> None:
    pi = PiWebApiConfig.model_validate(CLEAN)
    assert tidied(pi) == (pi, ())


def test_an_address_with_a_slash_and_a_line_break_loses_both() -> None:
    found, _ = tidied(PiWebApiConfig.model_validate({"url": "https://pi.example/piwebapi/\n"}))
    assert found.url == "https://pi.example/piwebapi"


def test_a_secret_from_a_scope_is_tidied_too() -> None:
    document = {"pi_web_api": {**CLEAN, "password": None, "secrets_scope": "plant"}}
    resolved = config.resolve_secrets(config.from_mapping(document).config, lambda _scope, _key: "hunter2\n")
    found, warnings = tidied(resolved.pi_web_api)
    assert found.password is not None
    assert found.password.get_secret_value() == "hunter2"
    assert len(warnings) == 1


def test_client_credentials_are_tidied_too() -> None:
    oauth = {"client_id": "id\n", "client_secret": "s\n", "token_url": "https://login.example/token\n"}
    found, warnings = tidied(PiWebApiConfig.model_validate({"oauth": oauth}))
    assert (found.oauth.client_id, found.oauth.token_url) == ("id", "https://login.example/token")
    assert [warning.partition(" ")[0] for warning in warnings] == [
        "pi_web_api.oauth.client_id",
        "pi_web_api.oauth.client_secret",
        "pi_web_api.oauth.token_url",
    ]
