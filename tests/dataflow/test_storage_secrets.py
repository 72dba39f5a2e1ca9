"""Options of the object store may name secrets; they are looked up before the store is opened."""

from __future__ import annotations

import config
from engine import wiring


def test_secrets_in_storage_options_reach_the_store_resolved(monkeypatch):
    opened = {}
    monkeypatch.setattr(wiring, "open_lakehouse", lambda root, **given: opened.update(given, root=root))
    reader = {("lake", "key"): "s3cret"}
    resolve = config.resolve_secrets
    monkeypatch.setattr(wiring, "resolve_secrets", lambda c: resolve(c, lambda scope, key: reader[scope, key]))
    options = {"AWS_SECRET_ACCESS_KEY": "${secret:lake/key}", "AWS_REGION": "eu-west-1"}
    loaded = config.from_mapping({"storage": {"root": "s3://bucket/pi", "options": options}})
    wiring.lakehouse_of(loaded.config)
    assert opened["storage_options"] == {"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "eu-west-1"}
