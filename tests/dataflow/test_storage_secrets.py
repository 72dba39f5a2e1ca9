"""Options of the object store may name secrets; they are looked up before the store is opened, and told to nobody."""

from __future__ import annotations

import traceback

import pytest

import config
from config.errors import ExtractError
from engine.run import connect
from writers.storage.errors import storage_errors
from writers.storage.location import TableLocation

SECRET = "hunter2-very-secret"


def test_secrets_in_storage_options_reach_the_store_resolved(monkeypatch):
    opened = {}
    monkeypatch.setattr(connect, "open_lakehouse", lambda root, **given: opened.update(given, root=root))
    reader = {("lake", "key"): "s3cret"}
    resolve = config.resolve_secrets
    monkeypatch.setattr(connect, "resolve_secrets", lambda c: resolve(c, lambda scope, key: reader[scope, key]))
    options = {"AWS_SECRET_ACCESS_KEY": "${secret:lake/key}", "AWS_REGION": "eu-west-1"}
    loaded = config.from_mapping({"storage": {"root": "s3://bucket/pi", "options": options}})
    connect.lakehouse_of(loaded.config)
    assert opened["storage_options"] == {"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize("what", ["it failed", "AccessDenied", "ExpiredToken", "unsupported reader feature"])
def test_no_signature_and_no_password_of_a_storage_reaches_an_error(what):
    url = f"https://b.s3.amazonaws.com/x?X-Amz-Signature={SECRET}"
    with (
        pytest.raises(ExtractError) as caught,
        storage_errors(f"s3://key:{SECRET}@bucket/x?sig={SECRET}"),
    ):
        raise OSError(f"{what}: PUT {url} said <?xml version='1.0'?><Error><Token>{SECRET}</Token></Error>")
    assert SECRET not in f"{caught.value.hint} {''.join(traceback.format_exception(caught.value))}"


def test_a_place_does_not_show_its_options():
    assert SECRET not in repr(TableLocation.parse("s3://bucket/x", {"AWS_SECRET_ACCESS_KEY": SECRET}))
