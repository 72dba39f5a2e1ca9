"""Secrets of a workspace: asked for when needed, once each, and named but never shown."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import config
from config.errors import AccessDeniedError, AuthenticationError, ConfigurationError, UnavailableError

SECRET = "hunter2-very-secret"
ROOT = Path(config.__file__).parents[1]
REFUSALS = {
    "forbidden": (403, "PERMISSION_DENIED"),
    "stranger": (401, "UNAUTHENTICATED"),
    "broken": (500, "INTERNAL_ERROR"),
}


class Workspace(ThreadingHTTPServer):
    """`GET /api/2.0/secrets/get` of a Databricks workspace, and what was asked of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.values = {("pi", "user"): b"svc_pi", ("pi", "pi_password"): SECRET.encode(), ("pi", "blob"): b"\xff\xfe"}
        self.asked: list[tuple[str, str]] = []


class Answer(BaseHTTPRequestHandler):
    server: Workspace

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path != "/api/2.0/secrets/get":
            return self.answer(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": url.path})
        query = parse_qs(url.query)
        address = (query["scope"][0], query["key"][0])
        self.server.asked.append(address)
        if address in self.server.values:
            value = base64.b64encode(self.server.values[address]).decode()
            return self.answer(200, {"key": address[1], "value": value})
        status, code = REFUSALS.get(address[1], (404, "RESOURCE_DOES_NOT_EXIST"))
        return self.answer(status, {"error_code": code, "message": f"about {SECRET}"})

    def answer(self, status: int, document: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def workspace(monkeypatch, tmp_path) -> Iterator[Workspace]:
    with Workspace() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_TOKEN", "token-of-the-test")
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
        yield server
        server.shutdown()
        thread.join()


def loaded(document):
    return config.from_mapping(document, env={}).config


def basic(**keys):
    return loaded({"pi_web_api": {"auth_type": "basic", "secrets_scope": "pi", "username_key": "user", **keys}})


def shown(error: ConfigurationError) -> str:
    return f"{error} {error.hint} {error!r} {error.__cause__} {error.__context__}"


def test_credentials_of_the_scope_are_put_in(workspace):
    pi = config.resolve_secrets(basic()).pi_web_api
    assert pi.username == "svc_pi"
    assert pi.password is not None
    assert pi.password.get_secret_value() == SECRET
    assert SECRET not in repr(pi)
    assert workspace.asked == [("pi", "user"), ("pi", "pi_password")]


def test_what_is_given_in_the_configuration_is_not_looked_up(workspace):
    resolved = config.resolve_secrets(basic(username="me"))
    assert resolved.pi_web_api.username == "me"
    assert workspace.asked == [("pi", "pi_password")]


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ({"auth_type": "oauth"}, ["oauth_token"]),
        ({"auth_type": "bearer", "oauth_token_key": "mine"}, ["mine"]),
        ({"auth_type": "ntlm"}, ["pi_username", "pi_password"]),
        ({"auth_type": "auto"}, ["pi_username", "pi_password"]),
        ({"auth_type": "oauth", "oauth": {"client_id": "c", "client_secret": "s"}}, []),
        ({"auth_type": "kerberos"}, []),
        ({"auth_type": "anonymous"}, []),
        ({"auth_type": "bearer", "token": "t"}, []),
    ],
)
def test_a_way_to_log_in_asks_for_its_own_secrets_only(login, expected):
    asked = []

    def reader(scope, key):
        asked.append(key)
        return f"{scope}/{key}"

    resolved = config.resolve_secrets(loaded({"pi_web_api": {"secrets_scope": "pi", **login}}), reader)
    assert asked == expected
    if login["auth_type"] in {"oauth", "bearer"} and expected:
        assert resolved.pi_web_api.token is not None
        assert resolved.pi_web_api.token.get_secret_value() == f"pi/{expected[0]}"


def test_the_simulator_needs_no_credentials(workspace):
    before = loaded({"pi_web_api": {"secrets_scope": "pi"}, "development": {"simulator": {}}})
    assert config.resolve_secrets(before) is before
    assert workspace.asked == []


def test_references_are_put_in_wherever_they_stand_and_each_is_asked_for_once():
    asked = []

    def reader(scope, key):
        asked.append((scope, key))
        return {"host": "pi.example", "pw": SECRET, "tag": "SINUSOID"}[key]

    before = loaded(
        {
            "pi_web_api": {"url": "https://${secret:s/host}/piwebapi/", "password": "${secret:s/pw}", "timeout": "5s"},
            "storage": {"options": {"AWS_SECRET_ACCESS_KEY": "${secret:s/pw}", "AWS_ALLOW_HTTP": True}},
            "extraction": {"tags": ["A", "${secret:s/tag}.PV"], "start_date": "now-1h"},
        }
    )
    after = config.resolve_secrets(before, reader)
    assert after.pi_web_api.url == "https://pi.example/piwebapi"
    assert after.pi_web_api.password is not None
    assert after.pi_web_api.password.get_secret_value() == SECRET
    assert after.storage.options["AWS_SECRET_ACCESS_KEY"].get_secret_value() == SECRET
    assert after.storage.options["AWS_ALLOW_HTTP"].get_secret_value() == "true"
    assert after.extraction.tags == ("A", "SINUSOID.PV")
    assert (after.extraction.start_date, after.pi_web_api.timeout) == (
        before.extraction.start_date,
        before.pi_web_api.timeout,
    )
    assert asked == [("s", "host"), ("s", "pw"), ("s", "tag")]
    assert SECRET not in f"{after!r} {config.masked(after)}"
    assert config.resolve_secrets(after, reader) is after, "nothing is left to look up"


def test_a_secret_that_does_not_fit_is_named_and_not_shown():
    document = loaded({"pi_web_api": {"url": "${secret:s/url}"}})
    with pytest.raises(config.InvalidConfigurationError) as caught:
        config.resolve_secrets(document, lambda _scope, _key: SECRET)
    assert "$.pi_web_api.url: found the value of ${secret:s/url}; expected an address" in str(caught.value)
    assert SECRET not in shown(caught.value)


def test_every_secret_that_is_missing_is_named(workspace):
    workspace.values.clear()
    document = loaded(
        {
            "pi_web_api": {"auth_type": "basic", "secrets_scope": "pi"},
            "monitoring": {"slack_webhook_url": "${secret:x/hook}"},
        }
    )
    with pytest.raises(config.InvalidConfigurationError) as caught:
        config.resolve_secrets(document)
    assert [str(problem).split(";")[0] for problem in caught.value.problems] == [
        "$.monitoring.slack_webhook_url: found secret x/hook, which does not exist",
        "$.pi_web_api.username: found secret pi/pi_username, which does not exist",
        "$.pi_web_api.password: found secret pi/pi_password, which does not exist",
    ]
    assert "put-secret" in caught.value.hint


def test_a_secret_that_is_no_text_is_named(workspace):
    with pytest.raises(config.InvalidConfigurationError, match="secret pi/blob, which is not text; expected"):
        config.resolve_secrets(basic(username="u", password_key="blob"))


@pytest.mark.parametrize(
    ("key", "error", "sentence"),
    [
        ("forbidden", AccessDeniedError, "does not let us read secret pi/forbidden"),
        ("stranger", AuthenticationError, "needed to read secret pi/stranger"),
        ("broken", UnavailableError, "gave no answer for secret pi/broken"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_a_workspace_that_refuses_is_one_sentence_and_a_hint(key, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        config.resolve_secrets(basic(username="u", password_key=key))
    assert caught.value.hint
    assert SECRET not in shown(caught.value), "the workspace's answer is not passed on"


def test_no_login_to_any_workspace_says_how_to_get_one(monkeypatch, tmp_path):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AuthenticationError, match="no login to the Databricks workspace") as caught:
        config.resolve_secrets(basic())
    assert "DATABRICKS_HOST" in caught.value.hint


def test_without_secrets_the_sdk_is_not_even_imported():
    code = "import sys, config; config.resolve_secrets(config.load(None).config); sys.exit('databricks.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
